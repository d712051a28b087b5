package partition_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
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
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// fill has five batches in flight: the answer to the first of them, which is not returned,
// takes long.
func fill(w *producertest.World, fault kafkafake.Fault, n int) (records []*partition.Record) {
	w.Warm(partition.Calm)
	w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
	w.Send(2, func(i int, r *partition.Record) { r.Value = []byte{byte('0' + i)} })
	time.Sleep(2 * time.Millisecond)
	w.Cluster.AddFault(fault)
	records = w.Send(n, nil)
	time.Sleep(6 * time.Millisecond)
	if n > 0 {
		require.Equal(w, min(partition.MostInFlight, 1+n/2), w.Partition(0).InFlight())
	}
	return records
}

// Full batches follow one that is in flight, up to five, with successive numbers.
func TestFullBatchesFollowOneInFlight(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		records := fill(w, kafkafake.Fault{Do: kafkafake.DelayAnswer, Skip: 1 << 20}, 11)
		producertest.Wait(w.T, records[0])
		came := w.Seen()
		require.Len(w, came, 7)
		for i, b := range came {
			require.Equal(w, came[0].First+2*int32(i), b.First)
		}
		for i := 1; i < len(records); i++ {
			require.Equal(w, records[0].Offset+int64(i), records[i].Offset)
		}
	}, producertest.TwoInABatch)
}

// The first batch under a producer ID has no other behind it: a broker takes any number then.
func TestNoBatchFollowsTheFirst(t *testing.T) {
	producertest.InVirtualTime(t, 2, &producertest.Plain{}, func(w *producertest.World) {
		w.Cluster.Topic("u", 1)
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Topic: "u"})
		records := w.Send(8, func(_ int, r *partition.Record) { r.Topic = "u" })
		producertest.Wait(w.T, records[0])
		require.Equal(w, []string{"a b", "a b", "c d", "e f", "g h"}, w.ValuesSeen())
		for i, r := range records {
			require.EqualValues(w, i, r.Offset)
		}
	}, producertest.TwoInABatch)
}

// No batch follows one that is written after a minute without an ack: the broker may have
// forgotten the producer by then.
func TestNoBatchFollowsAfterAMinuteWithoutAnAck(t *testing.T) {
	t.Parallel()
	for idle, want := range map[time.Duration]int{partition.KnownFor - time.Second: 3, partition.KnownFor + time.Second: 1} {
		t.Run(idle.String(), func(t *testing.T) {
			producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
				w.Warm(partition.Calm)
				time.Sleep(idle)
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
				records := w.Send(6, nil)
				time.Sleep(8 * time.Millisecond)
				require.Equal(w, want, w.Partition(0).InFlight())
				producertest.Wait(w.T, records[0])
				producertest.RequireExact(w.T, w.Cluster, records)
			}, producertest.TwoInABatch)
		})
	}
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
			producertest.InVirtualTime(t, 1, producertest.PolicyFunc(producertest.Halves), func(w *producertest.World) {
				w.Refuse(kerr.InvalidRecord, value)
				records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 10)
				producertest.Wait(w.T, records[0])
				require.Equal(w, want, strings.Join(w.ValuesSeen(), ", "))
				offset := int64(0)
				for _, r := range records {
					require.Equal(w, string(r.Value) != value, r.Outcome() == partition.Acked, "%s", r.Value)
					if r.Outcome() == partition.Acked {
						require.Greater(w, r.Offset, offset)
						offset = r.Offset
					}
				}
				producertest.RequireExact(w.T, w.Cluster, records)
			}, producertest.TwoInABatch)
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
				producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
					records := fill(w, lost, 10)
					at := strings.Index("abcdefghij", given)
					if given != "" {
						w.Producer.Withdraw(records[at:at+2], partition.All, func(*partition.Record) error { return producertest.ErrGivenUp })
					}
					producertest.Wait(w.T, records[0])
					for i, r := range records {
						if given == "" || i < at || i > at+1 {
							require.Equal(w, partition.Acked, r.Outcome(), "%s", r.Value)
						}
					}
					producertest.RequireExact(w.T, w.Cluster, records)
					more := w.Send(4, func(i int, r *partition.Record) { r.Value = []byte{byte('v' + i)} })
					producertest.Wait(w.T, more[0])
					producertest.RequireExact(w.T, w.Cluster, more)
				}, producertest.TwoInABatch)
			})
		}
	}
}

// Behind a broker that does not look at numbers, what follows a rejected batch is written
// before it, once. From then on one batch is in flight.
func TestABrokerThatDoesNotLookAtNumbersGetsOneBatch(t *testing.T) {
	d := kafkafake.Kafka()
	d.Numbering = kafkafake.NumbersIgnored
	producertest.BesideDialect(t, d, 1, producertest.PolicyFunc(producertest.Halves), func(w *producertest.World) {
		w.Refuse(kerr.InvalidRecord, "a")
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 10)
		producertest.Wait(w.T, records[0])
		require.True(w, w.Partition(0).Unordered())
		producertest.RequireExact(w.T, w.Cluster, records)
		w.Warm(partition.Calm)
		next := w.Send(10, func(i int, r *partition.Record) { r.Value = []byte{byte('k' + i)} })
		time.Sleep(time.Millisecond)
		require.Equal(w, 1, w.Partition(0).InFlight())
		producertest.Wait(w.T, next[0])
	}, producertest.TwoInABatch)
}

// What follows a batch in doubt and was acked was numbered behind it: the next batch is, too.
func TestWhatWasAckedBehindADoubtKeepsItsNumbers(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 8)
		producertest.Wait(w.T, records[0])
		more := w.Send(2, func(i int, r *partition.Record) { r.Value = []byte{byte('x' + i)} })
		producertest.Wait(w.T, more[0])
		require.Equal(w, "0 1, a b, c d, e f, g h, a b, x y", strings.Join(w.ValuesSeen(), ", "))
		producertest.RequireExact(w.T, w.Cluster, append(records, more...))
	}, producertest.TwoInABatch)
}

// Two batches in doubt are in the log. A record of the second is given up: the other one is
// still acked once, since its batch is sent again as it was.
func TestABatchInDoubtBehindAnotherIsSentAsItWas(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		w.OnBatchWith("c", kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 4)
		time.Sleep(20 * time.Millisecond)
		w.Producer.Withdraw(records[2:3], partition.All, func(*partition.Record) error { return producertest.ErrGivenUp })
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked, partition.Unknown, partition.Acked}, producertest.Outcomes(records))
		producertest.RequireExact(w.T, w.Cluster, records)
	}, producertest.TwoInABatch)
}

// The first of two batches in doubt is in the log, and rejected when it is sent again. So the
// second can't be sent as it was: with its number it would be taken for the first.
func TestABatchInDoubtBehindOneThatFailsIsNotTakenForIt(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		w.OnBatchWith("c", kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 4)
		time.Sleep(20 * time.Millisecond)
		w.Refuse(kerr.InvalidRecord, "a")
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Unknown, partition.Unknown}, producertest.Outcomes(records[:2]))
		producertest.RequireExact(w.T, w.Cluster, records)
	}, producertest.TwoInABatch)
}

// What follows a batch that was not appended is not in doubt, though its answer was lost.
func TestWhatFollowsARejectedBatchIsNotInDoubt(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		w.OnBatchWith("c", kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 4)
		time.Sleep(20 * time.Millisecond)
		require.ErrorIs(w, records[2].Trouble(), kerr.NotEnoughReplicas, "what keeps all of them")
		w.Producer.Withdraw(records[2:], partition.Queued, func(*partition.Record) error { return producertest.ErrGivenUp })
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked, partition.NotWritten, partition.NotWritten}, producertest.Outcomes(records))
		producertest.RequireExact(w.T, w.Cluster, records)
	}, producertest.TwoInABatch)
}

// A batch that was not acked waits for those that follow it, and no other follows meanwhile.
// What is given up then is Unknown only if its own answer is not there.
func TestABatchWaitsForThoseThatFollowIt(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		w.OnBatchWith("e", kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second})
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 6)
		time.Sleep(20 * time.Millisecond)
		more := w.Send(4, func(i int, r *partition.Record) { r.Value = []byte{byte('w' + i)} })
		synctest.Wait()
		require.Equal(w, 3, w.Partition(0).InFlight())
		w.Producer.Withdraw(records, partition.All, func(*partition.Record) error { return producertest.ErrGivenUp })
		require.Equal(w, []partition.Outcome{partition.NotWritten, partition.NotWritten, partition.NotWritten, partition.NotWritten, partition.Unknown, partition.Unknown}, producertest.Outcomes(records))
		producertest.Wait(w.T, more[0])
		producertest.RequireExact(w.T, w.Cluster, append(records, more...))
	}, producertest.TwoInABatch)
}

// After a batch that was not acked, one is in flight until some were acked.
func TestNoBatchFollowsSoonAfterAFailure(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		w.OnBatchWith("c", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		producertest.Wait(w.T, fill(w, kafkafake.Fault{Skip: 1 << 20}, 8)[0])
		for n := range partition.Calm {
			records := w.Send(6, func(i int, r *partition.Record) { r.Value = fmt.Appendf(nil, "%d-%d", n, i) })
			synctest.Wait()
			time.Sleep(1500 * time.Microsecond)
			if n == 0 || n == partition.Calm-1 {
				require.Equal(w, n > 0, w.Partition(0).InFlight() > 1)
			}
			producertest.Wait(w.T, records[0])
		}
	}, producertest.TwoInABatch)
}

// The Policy is told of a batch that followed as if it had been written after those that were
// acked before it. That its answer was lost counts as an attempt.
func TestWhatThePolicyIsToldOfABatchThatFollowed(t *testing.T) {
	var told []string
	policy := producertest.PolicyFunc(func(b *partition.Batch, _ broker.Answer) partition.Plan {
		told = append(told, fmt.Sprintf("%s %d %d", b.Records[0].Value, b.Acks-partition.Calm-1, b.Attempts))
		return partition.Plan{Same: true}
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.OnBatchWith("c", kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		w.OnBatchWith("e", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 6)
		producertest.Wait(w.T, records[0])
		require.Equal(w, []string{"c 2 1", "e 3 2"}, told)
	}, producertest.TwoInABatch)
}

// Close ends what is in flight.
func TestCloseEndsAllThatIsInFlight(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 12)
		w.Producer.Close()
		producertest.Wait(w.T, records[0])
		producertest.RequireExact(w.T, w.Cluster, records)
	}, producertest.TwoInABatch)
}

// Less than a batch does not follow at once, and what was given up is not counted.
func TestHowMuchIsQueued(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		p := w.Partition(0)
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 3)
		require.Equal(w, 2, w.Partition(0).InFlight())
		require.Equal(w, int(records[2].Size)-recordbatch.Overhead, p.QueuedSize())
		w.Producer.Withdraw(records[2:], partition.Queued, func(*partition.Record) error { return producertest.ErrGivenUp })
		producertest.Wait(w.T, records[0])
		producertest.Wait(w.T, w.Send(1, nil)[0])
		require.Zero(w, p.QueuedSize())
	}, producertest.TwoInABatch)
}

// A broker that counts what it rejects may have taken the batch behind: that is not sent again.
// One that once refused such a batch has not taken it.
func TestWhatFollowsARejectedBatchMayBeInTheLog(t *testing.T) {
	t.Parallel()
	kafka := kafkafake.Kafka()
	kafka.Content = true
	policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
		if errors.Is(a.Err, kerr.InvalidRecord) {
			return producertest.Halves(b, a)
		}
		return partition.Plan{Same: true}
	})
	for name, test := range map[string]struct {
		broker kafkafake.Dialect
		lost   kafkafake.Fault
		want   partition.Outcome
	}{
		"answered":              {kafkafake.CountingRejected(), kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.NotEnoughReplicasAfterAppend}, partition.Unknown},
		"not answered":          {kafkafake.CountingRejected(), kafkafake.Fault{Do: kafkafake.DisconnectAfter}, partition.Unknown},
		"not clearly":           {kafkafake.CountingRejected(), kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.KafkaStorageError}, partition.Unknown},
		"not clearly, by Kafka": {kafka, kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.KafkaStorageError}, partition.Acked},
		"not answered by Kafka": {kafka, kafkafake.Fault{Do: kafkafake.DisconnectAfter}, partition.Acked},
	} {
		t.Run(name, func(t *testing.T) {
			producertest.BesideDialect(t, test.broker, 1, policy, func(w *producertest.World) {
				padded := func(from byte, bad int) func(i int, r *partition.Record) {
					return func(i int, r *partition.Record) {
						r.Value = []byte(string(from+byte(i)) + strings.Repeat(".", len(kafkafake.Mark)))
						if i == bad {
							copy(r.Value[1:], kafkafake.Mark)
						}
					}
				}
				fill(w, kafkafake.Fault{Skip: 1 << 20}, 0)
				before := w.Send(6, padded('A', 2)) // with what follows answered
				producertest.Wait(w.T, before[0])
				require.Equal(w, test.want == partition.Acked, w.Partition(0).RefusesGaps())
				w.Partition(0).ForgetDisorder()
				for n := range partition.Calm {
					producertest.Wait(w.T, w.Send(1, func(_ int, r *partition.Record) { r.Value = fmt.Appendf(nil, "%d", n) })[0])
				}
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
				w.Send(2, padded('2', -1))
				time.Sleep(2 * time.Millisecond)
				w.OnBatchWith("c", test.lost)
				records := w.Send(4, padded('a', 0))
				producertest.Wait(w.T, records[0])
				require.Equal(w, []partition.Outcome{partition.NotWritten, partition.Acked, test.want, test.want}, producertest.Outcomes(records))
				producertest.RequireExact(w.T, w.Cluster, records)
				require.Equal(w, name == "answered", w.Partition(0).Unordered())
				require.NotErrorIs(w, records[2].Reason, kerr.InvalidRecord, "it is that of the batch before")
			}, func(cfg *producer.Config) {
				two := 2*recordbatch.SizeOf(&kgo.Record{Value: make([]byte, 1+len(kafkafake.Mark))}) - recordbatch.Overhead
				cfg.MaxBatch = func(string, int32) (int, int) { return two, math.MaxInt32 }
			})
		})
	}
}

// A queue keeps its array for the records to come, unless it is a large one.
func TestASmallQueueKeepsItsArray(t *testing.T) {
	t.Parallel()
	for n, kept := range map[int]bool{partition.KeptQueue - 1: true, 4 * partition.KeptQueue: false} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
				producertest.Wait(w.T, w.Send(n, func(_ int, r *partition.Record) { r.Value = []byte("x") })[0])
				p := w.Partition(0)
				require.Equal(w, kept, p.QueueCap() >= partition.KeptQueue/2)
			})
		})
	}
}

// Two requests are in flight to a broker that is near: what becomes ready meanwhile goes into
// one request. To others there are five.
func TestTwoRequestsAreInFlightToABrokerThatIsNear(t *testing.T) {
	t.Parallel()
	for latency, want := range map[time.Duration]string{ // half of a round trip
		broker.Near/2 - 1: "0|1|2 3 4 5 6",
		broker.Near / 2:   "0|1|2|3|4|5 6",
	} {
		t.Run(latency.String(), func(t *testing.T) {
			producertest.WithLatency(t, latency, 7, &producertest.Plain{}, func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second})
				var records []*partition.Record
				for i := range 7 {
					records = append(records, w.Send(1, func(_ int, r *partition.Record) { r.Record.Partition, r.Value = int32(i), []byte{byte('0' + i)} })...)
					time.Sleep(time.Millisecond)
				}
				producertest.Wait(w.T, records...)
				got, request := "", 0
				for _, b := range w.Seen() {
					switch {
					case request == 0:
					case b.Request == request:
						got += " "
					default:
						got += "|"
					}
					got, request = got+b.Values, b.Request
				}
				require.Equal(w, want, got)
			})
		})
	}
}

// Where a round trip is long, a record that is queued behind a batch in flight follows it,
// though nothing else happens: a fifth of the round trip later, or ten milliseconds.
func TestARecordFollowsBehindALongRoundTrip(t *testing.T) {
	t.Parallel()
	for pause, want := range map[time.Duration]time.Duration{
		10 * time.Millisecond: partition.AnyAfter,
		98 * time.Millisecond: 20 * time.Millisecond, // of 100
	} {
		t.Run(pause.String(), func(t *testing.T) {
			producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: pause, Count: -1})
				for range 257 { // the shortest of 256 counts
					producertest.Wait(w.T, w.Send(1, nil)[0])
				}
				w.Send(1, nil)
				time.Sleep(time.Microsecond)
				last := w.Send(1, nil)
				time.Sleep(want - 2*time.Microsecond)
				require.Equal(w, 1, w.Partition(0).InFlight())
				time.Sleep(2 * time.Microsecond)
				require.Equal(w, 2, w.Partition(0).InFlight())
				producertest.Wait(w.T, last[0])
			})
		})
	}
}

// A record that may not follow waits for the answer, though the time is over after which any
// other would.
func TestARecordThatMayNotFollowWaits(t *testing.T) {
	producertest.WithLatency(t, 50*time.Millisecond, 1, &producertest.Plain{}, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
		records := w.Send(1, nil)
		time.Sleep(time.Second)
		records = append(records, w.Send(1, func(_ int, r *partition.Record) { r.Value, r.Single = []byte("b"), true })...)
		time.Sleep(time.Second)
		require.Equal(w, 1, w.Partition(0).InFlight())
		producertest.Wait(w.T, records...)
		producertest.RequireExact(w.T, w.Cluster, records)
	})
}

// A request has one batch of a partition, also if more are ready when it is written.
func TestARequestHasOneBatchOfAPartition(t *testing.T) {
	producertest.InVirtualTime(t, 2, &producertest.Plain{}, func(w *producertest.World) {
		w.Warm(partition.Calm)
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
		records := w.Send(1, func(_ int, r *partition.Record) { r.Partition = 1 })
		time.Sleep(2 * time.Millisecond)
		for range 3 {
			records = append(records, w.Send(2, nil)...)
		}
		time.Sleep(time.Second)
		require.True(w, records[len(records)-1].Ended())
		came := w.Seen()
		require.Len(w, came, 4)
		for i := 1; i < len(came); i++ {
			require.NotEqual(w, came[i-1].Request, came[i].Request)
		}
	}, producertest.TwoInABatch, func(cfg *producer.Config) { cfg.InFlight = 1 })
}
