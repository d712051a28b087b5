//go:build linux || darwin

package gateways

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

const (
	partitions = 3
	batchSize  = 100
)

// load describes messages that are written to a topic through a gateway, in batches of
// a hundred.
type load struct {
	topic    string
	batches  int
	inFlight int // writers; each waits for one batch before the next
	ignore   bool
	opts     []kgo.Opt
	// spoil may make a record bad, and then returns the class that it must fail with.
	spoil func(i int, r *kgo.Record) guard.Class
	// halfway is called when half of the batches are written.
	halfway func()
}

// account has the outcome of each message of a load.
type account struct {
	verdicts map[string]guard.Verdict
	want     map[string]guard.Class // the classes of the messages that must fail
}

// run writes all messages.
func (l load) run(t *testing.T) account {
	t.Helper()
	a := account{map[string]guard.Verdict{}, map[string]guard.Class{}}
	g, err := guard.New(guard.Config{IgnoreRules: l.ignore, Retry: guard.Retry{InitialInterval: 50 * time.Millisecond}}, l.opts...)
	require.NoError(t, err)
	defer g.Close()
	var mu sync.Mutex
	next := 0
	var writers sync.WaitGroup
	for range l.inFlight {
		writers.Go(func() {
			for {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				if n >= l.batches {
					return
				}
				if n == l.batches/2 && l.halfway != nil {
					l.halfway()
				}
				records, classes := l.batch(n)
				verdicts := g.Write(t.Context(), records)
				mu.Lock()
				for i, v := range verdicts {
					id := string(records[i].Headers[0].Value)
					a.verdicts[id] = v
					if classes[i] != guard.None {
						a.want[id] = classes[i]
					}
				}
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	return a
}

func (l load) batch(n int) (records []*kgo.Record, classes []guard.Class) {
	for i := range batchSize {
		id := fmt.Sprintf("m-%04d-%02d", n, i)
		r := &kgo.Record{
			Topic: l.topic, Key: fmt.Appendf(nil, "k%d", i%7), Value: fmt.Appendf(nil, `{"id":%q}`, id),
			Headers: []kgo.RecordHeader{{Key: "id", Value: []byte(id)}},
		}
		class := guard.None
		if l.spoil != nil {
			class = l.spoil(n*batchSize+i, r)
		}
		records, classes = append(records, r), append(classes, class)
	}
	return records, classes
}

// check compares the verdicts with the expected classes and with the log. A delivered
// record is there once. With one writer, the records of each key are in their order. A
// failed record is not there.
func (a account) check(t *testing.T, l load) {
	t.Helper()
	failed := map[string]guard.Class{}
	for id, v := range a.verdicts {
		if v.Outcome != guard.Delivered {
			failed[id] = v.Class
		}
	}
	require.Equal(t, a.want, failed)
	require.Len(t, a.verdicts, l.batches*batchSize)
	found, last := map[string]int{}, map[string]string{}
	for _, r := range readAll(t, l.topic, l.opts) {
		id := string(r.Headers[0].Value)
		found[id]++
		if l.inFlight == 1 {
			require.Less(t, last[string(r.Key)], id, "the order of key %s", r.Key)
			last[string(r.Key)] = id
		}
	}
	for id, v := range a.verdicts {
		want := 0
		if v.Outcome == guard.Delivered {
			want = 1
		}
		require.Equal(t, want, found[id], "message %s in the log: %v", id, v.Err())
	}
}

// readAll reads a topic through the gateway.
func readAll(t *testing.T, topic string, opts []kgo.Opt) (log []*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	require.NoError(t, err)
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	require.NoError(t, ends.Error())
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	for left > int64(len(log)) {
		fetches := cl.PollFetches(t.Context())
		require.NoError(t, fetches.Err())
		log = append(log, fetches.Records()...)
	}
	return log
}
