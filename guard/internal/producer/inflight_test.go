package producer

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// twoInABatch has two of the records of these tests fill a batch.
func twoInABatch(cfg *Config) {
	two := 2*SizeOf(&kgo.Record{Value: []byte("a")}) - BatchOverhead
	cfg.MaxBatch = func(string, int32) (int, int) { return two, math.MaxInt32 }
}

// warm has a batch acked, and what the tests before it left forgotten.
func (w *world) warm() {
	for range calm {
		w.warmed++
		wait(w.T, w.send(1, func(_ int, r *Record) { r.Value = fmt.Appendf(nil, "warm-%d", w.warmed) })[0])
	}
	w.seen()
}

// fill has five batches in flight: the answer to the first of them, which is not returned,
// takes long.
func (w *world) fill(fault kafkafake.Fault, n int) (records []*Record) {
	w.warm()
	w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
	w.send(2, func(i int, r *Record) { r.Value = []byte{byte('0' + i)} })
	time.Sleep(2 * time.Millisecond)
	w.c.AddFault(fault)
	records = w.send(n, nil)
	time.Sleep(6 * time.Millisecond)
	require.Equal(w, mostInFlight, w.inFlight())
	return records
}

// inFlight is how many batches of partition 0 are in flight.
func (w *world) inFlight() int {
	p := w.p.topic("t").partitions[0]
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inFlight)
}

// Full batches follow one that is in flight, up to five, with successive numbers.
func TestFullBatchesFollowOneInFlight(t *testing.T) {
	inVirtualTime(t, 1, &plain{}, func(w *world) {
		records := w.fill(kafkafake.Fault{Do: kafkafake.DelayAnswer, Skip: 100}, 11)
		wait(w.T, records[0])
		came := w.seen()
		require.Len(w, came, 7)
		for i, b := range came {
			require.Equal(w, came[0].first+2*int32(i), b.first)
		}
		for i := 1; i < len(records); i++ {
			require.Equal(w, records[0].Offset+int64(i), records[i].Offset)
		}
	}, twoInABatch)
}

// A part of a batch follows later: half of one after a part of the round trip, and an eighth
// after some milliseconds.
func TestPartsOfABatchFollowOneInFlight(t *testing.T) {
	p := &partition{most: 1061, roundTrip: 5 * time.Millisecond}
	for after, want := range map[time.Duration]int{
		0: 1000, time.Millisecond - 1: 1000, time.Millisecond: 500, 2*time.Millisecond - 1: 500, 2 * time.Millisecond: 125, time.Hour: 125,
	} {
		require.Equal(t, want, p.enough(after), "%v", after)
	}
}

// The first batch under a producer ID has no other behind it: a broker takes any number then.
func TestNoBatchFollowsTheFirst(t *testing.T) {
	inVirtualTime(t, 2, &plain{}, func(w *world) {
		w.c.Topic("u", 1)
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Topic: "u"})
		records := w.send(8, func(_ int, r *Record) { r.Topic = "u" })
		wait(w.T, records[0])
		require.Equal(w, []string{"a b", "a b", "c d", "e f", "g h"}, w.valuesSeen())
		for i, r := range records {
			require.EqualValues(w, i, r.Offset)
		}
	}, twoInABatch)
}

// What follows a batch that is rejected keeps its place behind it, whatever it was answered.
func TestWhatFollowsARejectedBatchIsSentAgain(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"a": "0 1, a b, c d, e f, g h, i j, a, b, c d, e f, g h, i j",
		"d": "0 1, a b, c d, e f, g h, i j, c, d, e f, g h, i j",
		"h": "0 1, a b, c d, e f, g h, i j, g, h, i j",
	} {
		t.Run(value, func(t *testing.T) {
			inVirtualTime(t, 1, policyFunc(halves), func(w *world) {
				w.refuse(kerr.InvalidRecord, value)
				records := w.fill(kafkafake.Fault{Skip: 100}, 10)
				wait(w.T, records[0])
				require.Equal(w, want, strings.Join(w.valuesSeen(), ", "))
				offset := int64(0)
				for _, r := range records {
					require.Equal(w, string(r.Value) != value, r.Outcome() == Acked, "%s", r.Value)
					if r.Outcome() == Acked {
						require.Greater(w, r.Offset, offset)
						offset = r.Offset
					}
				}
				requireExact(w.T, w.c, records)
			}, twoInABatch)
		})
	}
}

// If the answers are lost, each batch is sent again as it is, in order: the broker has some of
// them, and not the others. Records that are given up meanwhile are Unknown, and hold up
// nothing.
func TestWhatFollowsALostBatchIsSentAgain(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]kafkafake.Fault{
		"the first, before": {Do: kafkafake.DisconnectBefore},
		"the first, after":  {Do: kafkafake.DisconnectAfter},
		"the third, before": {Do: kafkafake.DisconnectBefore, Skip: 2},
		"the third, after":  {Do: kafkafake.DisconnectAfter, Skip: 2},
		"again and again":   {Do: kafkafake.DisconnectAfter, Count: 5},
		"the last, after":   {Do: kafkafake.DisconnectAfter, Skip: 3},
		"no answer":         {Do: kafkafake.SwallowAnswer, Skip: 1},
	} {
		for _, given := range []string{"", "a", "b", "e"} {
			t.Run(name+" "+given, func(t *testing.T) {
				inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
					records := w.fill(lost, 10)
					at := strings.Index("abcdefghij", given)
					if given != "" {
						w.p.Withdraw(records[at:at+2], All, func(*Record) error { return errGivenUp })
					}
					wait(w.T, records[0])
					for i, r := range records {
						if given == "" || i < at || i > at+1 {
							require.Equal(w, Acked, r.Outcome(), "%s", r.Value)
						}
					}
					requireExact(w.T, w.c, records)
					more := w.send(4, func(i int, r *Record) { r.Value = []byte{byte('v' + i)} })
					wait(w.T, more[0])
					requireExact(w.T, w.c, more)
				}, twoInABatch)
			})
		}
	}
}

// Behind a broker that does not look at numbers, what follows a rejected batch is written
// before it, once. From then on one batch is in flight.
func TestABrokerThatDoesNotLookAtNumbersGetsOneBatch(t *testing.T) {
	d := kafkafake.Kafka()
	d.Numbering = kafkafake.NumbersIgnored
	besideDialect(t, d, 1, policyFunc(halves), func(w *world) {
		w.refuse(kerr.InvalidRecord, "a")
		records := w.fill(kafkafake.Fault{Skip: 100}, 10)
		wait(w.T, records[0])
		require.True(w, w.p.unordered.Load())
		requireExact(w.T, w.c, records)
		w.warm()
		next := w.send(10, func(i int, r *Record) { r.Value = []byte{byte('k' + i)} })
		time.Sleep(time.Millisecond)
		require.Equal(w, 1, w.inFlight())
		wait(w.T, next[0])
	}, twoInABatch)
}
