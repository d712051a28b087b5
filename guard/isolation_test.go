package guard

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// slowly has the second of two records handed over only when kgo is done with the
// first, as a machine under load may.
type slowly struct {
	first, second *kgo.Record
	done          chan struct{}
	once          *sync.Once
}

func (h slowly) OnProduceRecordBuffered(r *kgo.Record) {
	if r == h.second {
		select {
		case <-h.done:
		case <-time.After(5 * time.Second):
		}
	}
}

func (h slowly) OnProduceRecordUnbuffered(r *kgo.Record, _ error) {
	if r == h.first {
		h.once.Do(func() { close(h.done) })
	}
}

// The records of a group may leave in two batches, of which one is refused and
// one is taken. Then a single suspect is left of two, that did not stand alone.
func TestIsolationOfAGroupThatLeftInTwoBatches(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	c.Refuse("t", 0, kafkafake.Mark, kerr.InvalidRecord)
	rs := records("t", "r", 2, 10)
	poison(rs, 0)
	g := newGuard(t, c, Config{}, kgo.WithHooks(slowly{rs[0], rs[1], make(chan struct{}), &sync.Once{}}))
	g.writers.Add(1) // with a writer besides, hand-overs are not waited for
	w, end := g.begin(t.Context(), rs)
	p := &part{all: w.preflight()}
	for _, s := range p.all {
		require.True(t, w.place(s))
	}
	solo, err := g.solo(p)
	require.NoError(t, err)
	defer g.done(solo)
	i := newSearch(w, p, solo, wire.Partition{Topic: "t"})
	require.NotPanics(t, func() { i.clear(p.all, true) })
	vs := end()
	require.Equal(t, map[int]Class{0: InvalidRecord}, classes(vs))
	account(t, c, rs, vs)
}
