package producer_test

import (
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

var forIDs = []kmsg.Key{kmsg.InitProducerID}

// idsAsked returns when a producer ID was asked for.
func idsAsked(w *producertest.World) func() []time.Time {
	var mu sync.Mutex
	var at []time.Time
	w.Cluster.AddFault(kafkafake.Fault{Keys: forIDs, Count: -1, When: func(req kmsg.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Now())
		if req.(*kmsg.InitProducerIDRequest).TransactionTimeoutMillis != math.MaxInt32 {
			w.Error("a broker rejects a time-out of a transaction that is too long, but not the longest one")
		}
		return false
	}})
	return func() []time.Time {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(at)
	}
}

// noID has the partition ask for another producer ID with its next record: one of its own, or
// the shared one.
func noID(w *producertest.World, own bool) {
	if own {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.OutOfOrderSequenceNumber})
	} else {
		w.Producer.Forget("t")
	}
}

// While a producer ID is asked for, records that come are queued and ask for no other. The
// shared one is for all partitions that come later, too.
func TestAProducerIDIsAskedForOnce(t *testing.T) {
	t.Parallel()
	for name, own := range map[string]bool{"one of its own": true, "the shared one": false} {
		t.Run(name, func(t *testing.T) {
			producertest.InVirtualTime(t, 2, producertest.SameAfter(time.Millisecond), func(w *producertest.World) {
				noID(w, own)
				asked := idsAsked(w)
				w.Cluster.AddFault(kafkafake.Fault{Keys: forIDs, Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
				var all []*partition.Record
				for n := range 4 {
					all = append(all, w.Send(1, func(_ int, r *partition.Record) { r.Value = []byte{byte('a' + n)} })...)
					time.Sleep(time.Second)
				}
				require.Equal(w, map[bool]int{false: 1}[own], w.Producer.WaitingForID())
				producertest.Wait(w.T, all...)
				for n, r := range all {
					require.EqualValues(w, n+1, r.Offset)
				}
				producertest.RequireExact(w.T, w.Cluster, all)
				w.Cluster.Topic("u", 1)
				producertest.Wait(w.T, w.Send(1, func(_ int, r *partition.Record) { r.Partition = 1 })[0], w.Send(1, func(_ int, r *partition.Record) { r.Topic = "u" })[0])
				require.Len(w, asked(), 1)
			})
		})
	}
}

// A partition keeps its producer ID when another one gets one.
func TestAPartitionKeepsItsProducerID(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		w.Cluster.Topic("u", 1)
		toU := func(_ int, r *partition.Record) { r.Topic = "u" }
		producertest.Wait(w.T, w.Send(1, nil)[0], w.Send(1, toU)[0])
		w.Producer.Forget("u")
		producertest.Wait(w.T, w.Send(1, toU)[0])
		producertest.Wait(w.T, w.Send(1, nil)[0])
		came := w.Seen()
		require.Len(w, came, 4)
		require.Equal(w, came[0].Number, came[1].Number)
		require.NotEqual(w, came[1].Number, came[2].Number)
		require.Equal(w, came[0].Number, came[3].Number)
		require.Equal(w, []int32{1, 0, 0, 2}, []int32{came[0].First, came[1].First, came[2].First, came[3].First})
	})
}

// A request for a producer ID without an answer is given up after ten seconds.
func TestAProducerIDIsAskedForAgain(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		noID(w, false)
		asked := idsAsked(w)
		w.Cluster.AddFault(kafkafake.Fault{Keys: forIDs, Do: kafkafake.Swallow})
		r := w.Send(1, nil)
		producertest.Wait(w.T, r[0])
		require.Equal(w, partition.Acked, r[0].Outcome())
		at := asked()
		require.Len(w, at, 2)
		require.InDelta(w, 10, at[1].Sub(at[0]).Seconds(), 0.5)
	})
}

// What is queued when the cluster gives no producer ID is put before the Policy together. What
// was withdrawn meanwhile is not.
func TestWhatWaitsForAProducerIDInVain(t *testing.T) {
	t.Parallel()
	for name, withdraw := range map[string]bool{"queued": false, "withdrawn": true} {
		t.Run(name, func(t *testing.T) {
			var batches []int
			policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) (plan partition.Plan) {
				batches = append(batches, len(b.Records))
				for _, r := range b.Records {
					plan.Failed = append(plan.Failed, partition.Failed{Record: r, Reason: a.Err})
				}
				return plan
			})
			producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
				noID(w, false)
				w.Cluster.AddFault(kafkafake.Fault{Keys: forIDs, Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
				w.Cluster.AddFault(kafkafake.Fault{Keys: forIDs, Do: kafkafake.Refuse, Code: kerr.ClusterAuthorizationFailed})
				records := w.Send(3, nil)
				time.Sleep(time.Second)
				want := []int{3}
				if withdraw {
					w.Producer.Withdraw(records, partition.Queued, producertest.GivenUp)
					want = nil
				}
				producertest.Wait(w.T, records[0])
				time.Sleep(time.Minute)
				require.Equal(w, want, batches)
				require.Equal(w, []partition.Outcome{partition.NotWritten, partition.NotWritten, partition.NotWritten}, producertest.Outcomes(records))
				producertest.RequireExact(w.T, w.Cluster, records)
				last := w.Send(1, nil)
				producertest.Wait(w.T, last[0])
				require.Equal(w, partition.Acked, last[0].Outcome())
			})
		})
	}
}

func unnumbered(cfg *producer.Config) { cfg.Idempotent = false }

// Without idempotence a batch has no numbers. What is sent again may be in the log twice.
func TestWithoutIdempotence(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		asked := idsAsked(w)
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		records := w.Send(2, nil)
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked}, producertest.Outcomes(records))
		require.Equal(w, []int64{3, 4}, []int64{records[0].Offset, records[1].Offset})
		came := w.Seen()
		require.Len(w, came, 2)
		for _, b := range came {
			require.Equal(w, recordbatch.NoProducer, b.Number)
			require.Equal(w, recordbatch.ProducerID{ID: -1, Epoch: -1}, b.Number)
			require.EqualValues(w, -1, b.First)
		}
		require.Equal(w, map[string]int{"first-00000": 1, "a": 2, "b": 2}, w.Cluster.Values("t"))
		require.Empty(w, asked())

		// A broker that complains of numbers all the same is asked again.
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.OutOfOrderSequenceNumber})
		again := w.Send(1, func(_ int, r *partition.Record) { r.Value = []byte("z") })
		producertest.Wait(w.T, again[0])
		producertest.RequireExact(w.T, w.Cluster, again)
		require.Empty(w, asked())
	}, unnumbered)
}

// Without idempotence, what may be in the log is Unknown unless it is acked itself. No other ack
// tells.
func TestWhatIsInDoubtWithoutIdempotence(t *testing.T) {
	policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) (plan partition.Plan) {
		for i, r := range b.Records {
			switch {
			case a.Code != 0:
				plan.Failed = append(plan.Failed, partition.Failed{Record: r, Reason: a.Err})
			case i == 0:
				plan.Parts = append(plan.Parts, partition.Part{Records: []*partition.Record{r}})
			default:
				plan.Later = append(plan.Later, partition.Later{Record: r, After: time.Duration(i) * time.Minute})
			}
		}
		return plan
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		w.OnBatchWith("b", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		records := w.Send(3, nil)
		time.Sleep(90 * time.Second)
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Unknown, partition.Pending}, producertest.Outcomes(records))
		require.ErrorIs(w, records[1].Reason, kerr.InvalidRecord)
		w.Producer.Withdraw(records[2:], partition.Doubtful, producertest.GivenUp)
		require.Equal(w, partition.Unknown, records[2].Outcome())
		require.Equal(w, producertest.ErrGivenUp, records[2].Reason)
		w.Refuse(kerr.InvalidRecord, "x")
		rejected := w.Send(1, func(_ int, r *partition.Record) { r.Value = []byte("x") })
		producertest.Wait(w.T, rejected[0])
		require.Equal(w, partition.NotWritten, rejected[0].Outcome())
		require.Equal(w, map[string]int{"first-00000": 1, "a": 2, "b": 1, "c": 1}, w.Cluster.Values("t"))
	}, unnumbered)
}

// With acks none, no answer comes: what left is acked, without an offset.
func TestWithoutAcks(t *testing.T) {
	policy := &producertest.Plain{}
	producertest.InVirtualTime(t, 2, policy, func(w *producertest.World) {
		w.Cluster.Topic("u", 2)
		to := func(value string) []*partition.Record {
			return w.Send(8, func(i int, r *partition.Record) {
				r.Topic, r.Partition, r.Value = []string{"t", "u"}[i/2%2], int32(i%2), []byte(value+string(rune('a'+i)))
			})
		}
		all := to("1")
		producertest.Wait(w.T, all[0])
		w.Cluster.Away(0, true)
		away := to("2")
		time.Sleep(time.Second)
		require.False(w, away[0].Ended())
		w.Cluster.Away(0, false)
		producertest.Wait(w.T, away[0])
		time.Sleep(time.Second)
		for _, b := range w.Seen() {
			require.Equal(w, recordbatch.NoProducer, b.Number)
		}
		log := map[string]int32{}
		for _, topic := range []string{"t", "u"} {
			for _, r := range w.Cluster.Log(topic) {
				require.NotContains(w, log, topic+string(r.Value))
				log[topic+string(r.Value)] = r.Partition
			}
		}
		for _, r := range append(all, away...) {
			require.Equal(w, partition.Acked, r.Outcome())
			require.EqualValues(w, -1, r.Offset)
			require.EqualValues(w, -1, r.Appended)
			require.Equal(w, r.Partition, log[r.Topic+string(r.Value)])
			require.Contains(w, log, r.Topic+string(r.Value))
		}
		require.Len(w, log, 2+16)
	}, unnumbered, func(cfg *producer.Config) { cfg.Acks = 0 })
}
