package partition_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A record that is given up while it is in flight keeps its place in the batch, and the others
// are acked. The batch may be the first of its producer, with the number 0.
func TestARecordThatIsGivenUpInFlightKeepsItsPlace(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		which partition.Withdrawal
		after time.Duration
	}{
		"when its answer is lost": {partition.Queued, 0},
		"at once":                 {partition.All, 0},
		"after that":              {partition.All, 30 * time.Second},
		"after that, if in doubt": {partition.Doubtful, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Minute), func(w *producertest.World) {
				w.Cluster.Topic("u", 1)
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Topic: "u"})
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Delay, Pause: 100 * time.Millisecond, Topic: "u"})
				_, err := w.Producer.Refresh(w.Context(), "u")
				require.NoError(w, err)
				records := w.Send(2, func(_ int, r *partition.Record) {
					r.Topic, r.Write, r.Headers = "u", partition.NewWrite(), []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}
					r.Write.Expect(1)
				})
				time.Sleep(10*time.Millisecond + test.after)
				w.Producer.Withdraw(records[:1], test.which, producertest.GivenUp)
				time.Sleep(time.Second)
				require.Equal(w, []partition.Outcome{partition.Unknown, partition.Pending}, producertest.Outcomes(records))
				require.Equal(w, producertest.ErrGivenUp, records[0].Reason)
				producertest.Wait(w.T, records[0])
				records[0].Value[0], records[0].Key = 'x', []byte("x") // it is its owner's again
				records[0].Headers[0].Value[0] = 'x'
				producertest.Wait(w.T, records[1])
				require.Equal(w, partition.Acked, records[1].Outcome())
				came := w.Seen()
				require.Equal(w, []string{"a b", "a b"}, []string{came[0].Values, came[1].Values})
				require.Equal(w, came[0].Number, came[1].Number)
				require.Equal(w, map[string]int{"a": 1, "b": 1}, w.Cluster.Values("u"))
				for _, r := range w.Cluster.Log("u") {
					require.Equal(w, []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}, r.Headers)
				}
			})
		})
	}
}

// A record that was given up, and is used again, is none of those in doubt before.
func TestARecordThatIsUsedAgainIsInNoDoubt(t *testing.T) {
	producertest.InVirtualTime(t, 2, producertest.SameAfter(time.Minute), func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		records := w.Send(2, func(_ int, r *partition.Record) {
			r.Write = partition.NewWrite()
			r.Write.Expect(1)
		})
		time.Sleep(time.Second)
		w.Producer.Withdraw(records[:1], partition.All, producertest.GivenUp)
		producertest.Wait(w.T, records[0])
		require.Equal(w, partition.Unknown, records[0].Outcome())
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.OutOfOrderSequenceNumber, Partitions: []int32{0}})
		again := records[0]
		again.Write, again.Partition, again.Value = partition.NewWrite(), 1, []byte("z")
		again.Prepare()
		again.Write.Expect(1)
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Partitions: []int32{1}})
		time.Sleep(30 * time.Second)
		w.Producer.Send([]*partition.Record{again})
		producertest.Wait(w.T, records[1])
		require.Equal(w, partition.Unknown, records[1].Outcome(), "the broker has forgotten what became of it")
		require.False(w, again.Ended())
		producertest.Wait(w.T, again)
		require.Equal(w, partition.Acked, again.Outcome())
		producertest.RequireExact(w.T, w.Cluster, []*partition.Record{again})
	})
}

// Once nothing of a batch in doubt is waited for any more, it is not sent again. The next batch
// has another producer ID.
func TestABatchInDoubtThatIsGivenUpIsNotSentAgain(t *testing.T) {
	t.Parallel()
	for _, which := range []partition.Withdrawal{partition.Queued, partition.Doubtful, partition.All} {
		t.Run([]string{"queued", "doubtful", "all"}[which], func(t *testing.T) {
			producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Minute), func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
				records := w.Send(2, nil)
				time.Sleep(time.Second)
				w.OnBatchWith("x", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
				next := w.Send(2, func(i int, r *partition.Record) { r.Value = []byte{byte('x' + i)} })
				w.Producer.Withdraw(records, which, producertest.GivenUp)
				producertest.Wait(w.T, records[0], next[0])
				require.Equal(w, []partition.Outcome{partition.Unknown, partition.Unknown, partition.Acked, partition.Acked}, producertest.Outcomes(append(records, next...)))
				came := w.Seen()
				require.Len(w, came, 3)
				require.Equal(w, []string{"a b", "x y", "x y"}, []string{came[0].Values, came[1].Values, came[2].Values})
				require.NotEqual(w, came[0].Number, came[1].Number)
				require.Equal(w, came[1].Number, came[2].Number, "one is enough")
				require.Zero(w, came[1].First)
				producertest.RequireExact(w.T, w.Cluster, append(records, next...))
			})
		})
	}
}

// A record in doubt is not in doubt any more once another batch was acked with its number. So
// a rejection of it is told as one.
func TestADoubtThatIsSettledIsNone(t *testing.T) {
	var doubts []bool
	policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) (plan partition.Plan) {
		doubts = append(doubts, b.Doubt())
		if a.Code == 0 {
			return partition.Plan{Later: []partition.Later{{Record: b.Records[0], After: time.Minute}}}
		}
		return partition.Plan{Failed: []partition.Failed{{Record: b.Records[0], Reason: a.Err}}}
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		first := w.Send(1, nil)
		time.Sleep(time.Second)
		next := w.Send(2, func(i int, r *partition.Record) { r.Value = []byte{byte('x' + i)} })
		producertest.Wait(w.T, next[0])
		w.Refuse(kerr.InvalidRecord, "a")
		producertest.Wait(w.T, first[0])
		require.Equal(w, []bool{true, false}, doubts)
		require.Equal(w, []string{"a", "x y", "a"}, w.ValuesSeen())
		require.Equal(w, partition.NotWritten, first[0].Outcome())
		producertest.RequireExact(w.T, w.Cluster, append(first, next...))
	})
}

// What was in doubt under one producer ID is none under the next: a batch with as many records
// is sent as a whole.
func TestADoubtEndsWithTheProducerID(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		w.Cluster.Topic("u", 1)
		toU := func(i int, r *partition.Record) { r.Topic, r.Value = "u", []byte{byte('x' + i)} }
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Topic: "u"})
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownProducerID, Topic: "u", Skip: 1})
		records := w.Send(2, func(_ int, r *partition.Record) { r.Topic = "u" })
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Unknown, partition.Unknown}, producertest.Outcomes(records))
		p := records[0].Place()
		require.Zero(w, p.Doubts())
		next := w.Send(2, toU)
		producertest.Wait(w.T, next[0])
		require.Equal(w, []string{"a b", "a b", "x y"}, w.ValuesSeen())
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked}, producertest.Outcomes(next))
	})
}

// Records that failed in doubt are Unknown, with the reason why they failed, when the broker has
// forgotten the producer.
func TestWhatFailedInDoubtEndsWithTheProducerID(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(10*time.Second), func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		w.OnBatchWith("x", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownProducerID})
		records := w.Send(2, nil)
		time.Sleep(time.Second)
		next := w.Send(1, func(_ int, r *partition.Record) { r.Value = []byte("x") })
		producertest.Wait(w.T, records[0], next[0])
		for _, r := range records {
			require.Equal(w, partition.Unknown, r.Outcome())
			require.ErrorIs(w, r.Reason, kerr.InvalidRecord)
		}
		require.Equal(w, partition.Acked, next[0].Outcome())
		producertest.RequireExact(w.T, w.Cluster, append(records, next...))
	})
}

// A record that waited to be sent again is forgotten when it was acked.
func TestARecordThatWasSentLaterIsForgotten(t *testing.T) {
	policy := producertest.PolicyFunc(func(b *partition.Batch, _ broker.Answer) partition.Plan {
		return partition.Plan{Later: []partition.Later{{Record: b.Records[0], After: time.Minute}}}
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord})
		r := w.Send(1, func(_ int, r *partition.Record) { r.Key = []byte("k") })
		producertest.Wait(w.T, r[0])
		require.Equal(w, partition.Acked, r[0].Outcome())
		p := w.Partition(0)
		require.Zero(w, p.Blocked())
		require.Zero(w, p.Queued())
	})
}

// A batch all records of which fail before it is sent again is not sent.
func TestABatchThatFailsBeforeItIsSentAgain(t *testing.T) {
	policy := &checksAll{PolicyFunc: producertest.SameAfter(time.Minute)}
	var single atomic.Int64
	single.Store(1 << 30)
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		records := w.Send(2, nil)
		time.Sleep(time.Second)
		single.Store(1)
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.NotWritten, partition.NotWritten}, producertest.Outcomes(records))
		require.Equal(w, []string{"a b"}, w.ValuesSeen())
		single.Store(1 << 30)
		next := w.Send(1, func(_ int, r *partition.Record) { r.Value = []byte("x") })
		producertest.Wait(w.T, next[0])
		require.Equal(w, []string{"x"}, w.ValuesSeen())
		require.Equal(w, 2, policy.batches, "the first record, and this one")
		producertest.RequireExact(w.T, w.Cluster, append(records, next...))
	}, func(cfg *producer.Config) {
		cfg.MaxBatch = func(string, int32) (int, int) { return 100_000, int(single.Load()) }
	})
}

// checksAll is a Policy that has something against every questioned record, and counts the
// batches that were acked.
type checksAll struct {
	producertest.PolicyFunc
	batches int
}

func (c *checksAll) Acked(*partition.Batch)             { c.batches++ }
func (*checksAll) Check(*partition.Record, int32) error { return producertest.ErrGivenUp }

// A record that failed in doubt waits for an answer that tells. If that does not come before it
// is given up, it is Unknown, for the reason of that; after Close, for the reason why it failed.
func TestWhatFailedInDoubtIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, closes := range map[string]bool{"withdrawn": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			producertest.InVirtualTime(t, 1, producertest.FailsOnceAnswered, func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
				records := w.Send(2, nil)
				time.Sleep(time.Second)
				require.Equal(w, []partition.Outcome{partition.Pending, partition.Pending}, producertest.Outcomes(records))
				if closes {
					w.Producer.Close()
				} else {
					w.Producer.Withdraw(records, partition.Doubtful, producertest.GivenUp)
				}
				producertest.Wait(w.T, records[0])
				for _, r := range records {
					require.Equal(w, partition.Unknown, r.Outcome())
					require.ErrorIs(w, r.Reason, map[bool]error{false: producertest.ErrGivenUp, true: kerr.InvalidRecord}[closes])
				}
				producertest.RequireExact(w.T, w.Cluster, records)
			})
		})
	}
}

// A record ends once, also if its batch is acked after it was given up.
func TestARecordThatIsGivenUpEndsOnce(t *testing.T) {
	h := &producertest.Heard{}
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Minute), func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		records := w.Send(3, nil)
		time.Sleep(time.Second)
		w.Producer.Withdraw(records[1:2], partition.All, producertest.GivenUp)
		p := w.Partition(0)
		require.EqualValues(w, 2, p.Queued())
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Unknown, partition.Acked}, producertest.Outcomes(records))
		require.Equal(w, producertest.Heard{Buffered: 4, Unbuffered: 4, Failed: 1}, *h) // the first, and three
		require.Zero(w, p.Queued())
		producertest.RequireExact(w.T, w.Cluster, records)
	}, func(cfg *producer.Config) { cfg.Hooks = []kgo.Hook{h} })
}

// What is queued for a broker that refuses the login is put before the Policy together, and says
// why it waits.
func TestWhatABrokerRefusesToHear(t *testing.T) {
	var asked []string
	policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
		asked = append(asked, fmt.Sprint(len(b.Records), " ", a.Code, " ", a.Err))
		return partition.Plan{Same: true, Pause: time.Minute}
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second})
		first := w.Send(1, nil)
		time.Sleep(10 * time.Millisecond)
		waiting := w.Send(2, func(i int, r *partition.Record) { r.Value = []byte{byte('x' + i)} })
		p := w.Partition(0)
		p.Refused(errors.New("while one is in flight"))
		require.EqualError(w, waiting[0].Trouble(), "while one is in flight")
		require.Empty(w, asked)
		producertest.Wait(w.T, first[0])
		producertest.Wait(w.T, waiting[0])

		w.Cluster.Away(0, true)
		time.Sleep(time.Second)
		waiting = w.Send(2, func(i int, r *partition.Record) { r.Value = []byte{byte('m' + i)} }) // its request ends with the connection
		time.Sleep(time.Second)
		require.Zero(w, p.InFlight())
		require.Len(w, asked, 1)
		p.Refused(kerr.SaslAuthenticationFailed)
		require.ErrorIs(w, waiting[0].Trouble(), kerr.SaslAuthenticationFailed)
		synctest.Wait()
		require.Equal(w, []string{"2 0 " + kerr.SaslAuthenticationFailed.Error()}, asked[1:])
		w.Cluster.Away(0, false)
		producertest.Wait(w.T, waiting[0])
		producertest.RequireExact(w.T, w.Cluster, waiting)
	})
}

// Records that leave their partition have none.
func TestRecordsThatLeaveTheirPartition(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		w.Cluster.Away(0, true)
		records := w.Send(2, nil)
		p := w.Partition(0)
		require.Same(w, p, records[1].Place())
		require.Equal(w, records, p.Leave())
		require.False(w, records[0].Partitioned())
		require.False(w, records[1].Partitioned())
		require.Zero(w, p.Queued())
	})
}
