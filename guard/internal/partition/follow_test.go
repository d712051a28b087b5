package partition_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// What of several batches in doubt is known: the first one, of record a, is in the log. It waits
// to be sent again later. The second one, b and c, is in the log, too, and rejected when it is
// sent again. Then a is acked, as the batch that it was. That says nothing of b and c.
func TestAnAckOfABatchInDoubtSettlesNoOther(t *testing.T) {
	policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) (plan partition.Plan) {
		for _, r := range b.Records {
			if errors.Is(a.Err, kerr.InvalidRecord) {
				plan.Failed = append(plan.Failed, partition.Failed{Record: r, Reason: a.Err})
				plan.Pause = 2 * time.Minute // a waits meanwhile
			} else {
				plan.Later = append(plan.Later, partition.Later{Record: r, After: time.Minute})
			}
		}
		return plan
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		for _, value := range []string{"a", "b"} {
			w.OnBatchWith(value, kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		}
		w.OnBatchWith("b", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		w.Warm(partition.Calm)
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
		w.Send(2, func(i int, r *partition.Record) { r.Value = []byte{byte('0' + i)} })
		time.Sleep(2 * time.Millisecond)
		records := w.Send(3, func(i int, r *partition.Record) {
			if i == 0 {
				r.Value = []byte("a.") // so that b is not in its batch
			}
		})
		time.Sleep(6 * time.Millisecond)
		require.Equal(w, 3, w.Partition(0).InFlight())
		producertest.Wait(w.T, records[0])
		require.Equal(w, "0 1, a, b c, b c, a", strings.Join(w.ValuesSeen(), ", "))
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Unknown, partition.Unknown}, producertest.Outcomes(records))
		for _, r := range records[1:] {
			require.ErrorIs(w, r.Reason, kerr.InvalidRecord)
		}
		producertest.RequireExact(w.T, w.Cluster, records)
		require.Len(w, w.Cluster.Log("t"), 1+partition.Calm+5)
	}, producertest.TwoInABatch)
}

// Two batches are in doubt, and the third was acked. The next one is numbered behind all three.
func TestWhatWasAckedBehindTwoDoubtsKeepsItsNumbers(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		w.OnBatchWith("c", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 6)
		producertest.Wait(w.T, records[0])
		more := w.Send(2, func(i int, r *partition.Record) { r.Value = []byte{byte('x' + i)} })
		producertest.Wait(w.T, more[0])
		require.Equal(w, "0 1, a b, c d, e f, a b, c d, x y", strings.Join(w.ValuesSeen(), ", "))
		require.Len(w, w.Cluster.Log("t"), 1+partition.Calm+10)
		producertest.RequireExact(w.T, w.Cluster, append(records, more...))
	}, producertest.TwoInABatch)
}

// Records that are given up while their batch is in flight behind one that is rejected are not
// sent again.
func TestWhatIsGivenUpBehindARejectedBatchIsNotSentAgain(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 6)
		w.Producer.Withdraw(records[2:5], partition.Queued, producertest.GivenUp)
		require.Equal(w, partition.Pending, records[2].Outcome(), "it may still be acked")
		producertest.Wait(w.T, records[0])
		require.Equal(w, "0 1, a b, c d, e f, a b, f", strings.Join(w.ValuesSeen(), ", "))
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked, partition.NotWritten, partition.NotWritten, partition.NotWritten, partition.Acked}, producertest.Outcomes(records))
		producertest.RequireExact(w.T, w.Cluster, records)
	}, producertest.TwoInABatch)
}

// After a batch that was not acked, none follows until sixteen were acked.
func TestHowLongItStaysCalm(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Minute), func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		p := w.Partition(0)
		w.Warm(partition.Calm)
		before := p.Acks()
		r := w.Send(1, nil)
		time.Sleep(time.Second)
		require.Equal(w, before+16, p.CalmFrom())
		producertest.Wait(w.T, r[0])
	})
}

// A broker that appends what follows a rejected batch is not sent it again, and what comes after
// that has another producer ID: the numbers of the first one are in disorder.
func TestABatchBehindARejectedOneTakesTheNumbersWithIt(t *testing.T) {
	t.Parallel()
	ignoring := kafkafake.Kafka()
	ignoring.Numbering, ignoring.Content = kafkafake.NumbersIgnored, true
	for name, test := range map[string]struct {
		broker kafkafake.Dialect
		lost   *kafkafake.Fault
		want   string
	}{
		"acked":        {ignoring, nil, "2 3, a b, c d | a, b, x"},
		"answered":     {kafkafake.CountingRejected(), &kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.NotEnoughReplicasAfterAppend}, "2 3, a b, c d | a, b | x"},
		"not answered": {kafkafake.CountingRejected(), &kafkafake.Fault{Do: kafkafake.DisconnectAfter}, "2 3, a b, c d | a, b | x"},
	} {
		t.Run(name, func(t *testing.T) {
			producertest.BesideDialect(t, test.broker, 1, producertest.PolicyFunc(producertest.Halves), func(w *producertest.World) {
				value := func(first byte) []byte { return []byte(string(first) + strings.Repeat(".", len(kafkafake.Mark))) }
				w.Warm(partition.Calm)
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
				w.Send(2, func(i int, r *partition.Record) { r.Value = value('2' + byte(i)) })
				time.Sleep(2 * time.Millisecond)
				if test.lost != nil {
					w.OnBatchWith("c", *test.lost)
				}
				records := w.Send(4, func(i int, r *partition.Record) {
					if r.Value = value('a' + byte(i)); i == 0 {
						copy(r.Value[1:], kafkafake.Mark)
					}
				})
				producertest.Wait(w.T, records[0])
				next := w.Send(1, func(_ int, r *partition.Record) { r.Value = value('x') })
				producertest.Wait(w.T, next[0])
				var came string
				var last recordbatch.ProducerID
				for i, b := range w.Seen() {
					switch {
					case i > 0 && b.Number != last:
						came += " | "
					case i > 0:
						came += ", "
					}
					came, last = came+b.Values, b.Number
				}
				require.Equal(w, test.want, came)
				producertest.RequireExact(w.T, w.Cluster, append(records, next...))
			}, func(cfg *producer.Config) {
				two := 2*recordbatch.SizeOf(&kgo.Record{Value: make([]byte, 1+len(kafkafake.Mark))}) - recordbatch.Overhead
				cfg.MaxBatch = func(string, int32) (int, int) { return two, math.MaxInt32 }
			})
		})
	}
}
