package producer

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

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

var forIDs = []kmsg.Key{kmsg.InitProducerID}

// idsAsked returns when a producer ID was asked for.
func (w *world) idsAsked() func() []time.Time {
	var mu sync.Mutex
	var at []time.Time
	w.c.AddFault(kafkafake.Fault{Keys: forIDs, Count: -1, When: func(req kmsg.Request) bool {
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
func (w *world) noID(own bool) {
	if own {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.OutOfOrderSequenceNumber})
	} else {
		w.p.Forget("t")
	}
}

// While a producer ID is asked for, records that come are queued and ask for no other. The
// shared one is for all partitions that come later, too.
func TestAProducerIDIsAskedForOnce(t *testing.T) {
	t.Parallel()
	for name, own := range map[string]bool{"one of its own": true, "the shared one": false} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, 2, sameAfter(time.Millisecond), func(w *world) {
				w.noID(own)
				asked := w.idsAsked()
				w.c.AddFault(kafkafake.Fault{Keys: forIDs, Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
				var all []*Record
				for n := range 4 {
					all = append(all, w.send(1, func(_ int, r *Record) { r.Value = []byte{byte('a' + n)} })...)
					time.Sleep(time.Second)
				}
				w.p.ids.mu.Lock()
				require.Len(w, w.p.ids.waiting, map[bool]int{false: 1}[own])
				w.p.ids.mu.Unlock()
				wait(w.T, all...)
				for n, r := range all {
					require.EqualValues(w, n+1, r.Offset)
				}
				requireExact(w.T, w.c, all)
				w.c.Topic("u", 1)
				wait(w.T, w.send(1, func(_ int, r *Record) { r.Partition = 1 })[0], w.send(1, func(_ int, r *Record) { r.Topic = "u" })[0])
				require.Len(w, asked(), 1)
			})
		})
	}
}

// A partition keeps its producer ID when another one gets one.
func TestAPartitionKeepsItsProducerID(t *testing.T) {
	inVirtualTime(t, 1, &plain{}, func(w *world) {
		w.c.Topic("u", 1)
		toU := func(_ int, r *Record) { r.Topic = "u" }
		wait(w.T, w.send(1, nil)[0], w.send(1, toU)[0])
		w.p.Forget("u")
		wait(w.T, w.send(1, toU)[0])
		wait(w.T, w.send(1, nil)[0])
		came := w.seen()
		require.Len(w, came, 4)
		require.Equal(w, came[0].number, came[1].number)
		require.NotEqual(w, came[1].number, came[2].number)
		require.Equal(w, came[0].number, came[3].number)
		require.Equal(w, []int32{1, 0, 0, 2}, []int32{came[0].first, came[1].first, came[2].first, came[3].first})
	})
}

// A request for a producer ID without an answer is given up after ten seconds.
func TestAProducerIDIsAskedForAgain(t *testing.T) {
	inVirtualTime(t, 1, &plain{}, func(w *world) {
		w.noID(false)
		asked := w.idsAsked()
		w.c.AddFault(kafkafake.Fault{Keys: forIDs, Do: kafkafake.Swallow})
		r := w.send(1, nil)
		wait(w.T, r[0])
		require.Equal(w, Acked, r[0].Outcome())
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
			policy := policyFunc(func(b *Batch, a Answer) (plan Plan) {
				batches = append(batches, len(b.Records))
				for _, r := range b.Records {
					plan.Failed = append(plan.Failed, Failed{Record: r, Reason: a.Err})
				}
				return plan
			})
			inVirtualTime(t, 1, policy, func(w *world) {
				w.noID(false)
				w.c.AddFault(kafkafake.Fault{Keys: forIDs, Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
				w.c.AddFault(kafkafake.Fault{Keys: forIDs, Do: kafkafake.Refuse, Code: kerr.ClusterAuthorizationFailed})
				records := w.send(3, nil)
				time.Sleep(time.Second)
				want := []int{3}
				if withdraw {
					w.p.Withdraw(records, Queued, givenUp)
					want = nil
				}
				wait(w.T, records[0])
				time.Sleep(time.Minute)
				require.Equal(w, want, batches)
				require.Equal(w, []Outcome{NotWritten, NotWritten, NotWritten}, outcomes(records))
				requireExact(w.T, w.c, records)
				last := w.send(1, nil)
				wait(w.T, last[0])
				require.Equal(w, Acked, last[0].Outcome())
			})
		})
	}
}

func unnumbered(cfg *Config) { cfg.Idempotent = false }

// Without idempotence a batch has no numbers. What is sent again may be in the log twice.
func TestWithoutIdempotence(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		asked := w.idsAsked()
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		records := w.send(2, nil)
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Acked, Acked}, outcomes(records))
		require.Equal(w, []int64{3, 4}, []int64{records[0].Offset, records[1].Offset})
		came := w.seen()
		require.Len(w, came, 2)
		for _, b := range came {
			require.Equal(w, noProducer, b.number)
			require.Equal(w, producerID{-1, -1}, b.number)
			require.EqualValues(w, -1, b.first)
		}
		require.Equal(w, map[string]int{"first-00000": 1, "a": 2, "b": 2}, w.c.Values("t"))
		require.Empty(w, asked())

		// A broker that complains of numbers all the same is asked again.
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.OutOfOrderSequenceNumber})
		again := w.send(1, func(_ int, r *Record) { r.Value = []byte("z") })
		wait(w.T, again[0])
		requireExact(w.T, w.c, again)
		require.Empty(w, asked())
	}, unnumbered)
}

// Without idempotence, what may be in the log is Unknown unless it is acked itself. No other ack
// tells.
func TestWhatIsInDoubtWithoutIdempotence(t *testing.T) {
	policy := policyFunc(func(b *Batch, a Answer) (plan Plan) {
		for i, r := range b.Records {
			switch {
			case a.Code != 0:
				plan.Failed = append(plan.Failed, Failed{Record: r, Reason: a.Err})
			case i == 0:
				plan.Parts = append(plan.Parts, Part{Records: []*Record{r}})
			default:
				plan.Later = append(plan.Later, Later{Record: r, After: time.Duration(i) * time.Minute})
			}
		}
		return plan
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		in(w, "b", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		records := w.send(3, nil)
		time.Sleep(90 * time.Second)
		require.Equal(w, []Outcome{Acked, Unknown, Pending}, outcomes(records))
		require.ErrorIs(w, records[1].Reason, kerr.InvalidRecord)
		w.p.Withdraw(records[2:], Doubtful, givenUp)
		require.Equal(w, Unknown, records[2].Outcome())
		require.Equal(w, errGivenUp, records[2].Reason)
		w.refuse(kerr.InvalidRecord, "x")
		rejected := w.send(1, func(_ int, r *Record) { r.Value = []byte("x") })
		wait(w.T, rejected[0])
		require.Equal(w, NotWritten, rejected[0].Outcome())
		require.Equal(w, map[string]int{"first-00000": 1, "a": 2, "b": 1, "c": 1}, w.c.Values("t"))
	}, unnumbered)
}

// With acks none, no answer comes: what left is acked, without an offset.
func TestWithoutAcks(t *testing.T) {
	policy := &plain{}
	inVirtualTime(t, 2, policy, func(w *world) {
		w.c.Topic("u", 2)
		to := func(value string) []*Record {
			return w.send(8, func(i int, r *Record) {
				r.Topic, r.Partition, r.Value = []string{"t", "u"}[i/2%2], int32(i%2), []byte(value+string(rune('a'+i)))
			})
		}
		all := to("1")
		wait(w.T, all[0])
		w.c.Away(0, true)
		away := to("2")
		time.Sleep(time.Second)
		require.False(w, away[0].Ended())
		w.c.Away(0, false)
		wait(w.T, away[0])
		time.Sleep(time.Second)
		for _, b := range w.seen() {
			require.Equal(w, noProducer, b.number)
		}
		log := map[string]int32{}
		for _, topic := range []string{"t", "u"} {
			for _, r := range w.c.Log(topic) {
				require.NotContains(w, log, topic+string(r.Value))
				log[topic+string(r.Value)] = r.Partition
			}
		}
		for _, r := range append(all, away...) {
			require.Equal(w, Acked, r.Outcome())
			require.EqualValues(w, -1, r.Offset)
			require.EqualValues(w, -1, r.Appended)
			require.Equal(w, r.Partition, log[r.Topic+string(r.Value)])
			require.Contains(w, log, r.Topic+string(r.Value))
		}
		require.Len(w, log, 2+16)
	}, unnumbered, func(cfg *Config) { cfg.Acks = 0 })
}
