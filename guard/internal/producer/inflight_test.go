package producer

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
	if n > 0 {
		require.Equal(w, min(mostInFlight, 1+n/2), w.inFlight())
	}
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
		records := w.fill(kafkafake.Fault{Do: kafkafake.DelayAnswer, Skip: 1 << 20}, 11)
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

// A part of a batch follows later: half of one after a part of the round trip, an eighth after
// some milliseconds, and any record after some more.
func TestPartsOfABatchFollowOneInFlight(t *testing.T) {
	p := &partition{most: 1061, node: &node{}}
	p.node.shortest.Store(int64(5 * time.Millisecond))
	for after, want := range map[time.Duration]int{
		0: 1000, time.Millisecond - 1: 1000, time.Millisecond: 500, 2*time.Millisecond - 1: 500, 2 * time.Millisecond: 125, time.Hour: 125,
	} {
		require.Equal(t, want, p.enough(after), "%v", after)
	}
	p.node.shortest.Store(int64(anyAfter + 1))
	require.Equal(t, 125, p.enough(anyAfter-1), "less follows later")
	require.Equal(t, 0, p.enough(anyAfter), "anything follows")
	p.node.shortest.Store(int64(apart - 1))
	require.Equal(t, 1000, p.enough(time.Hour), "the leader is near")
}

// Where a round trip is long, a record that is queued behind a batch in flight follows it,
// though nothing else happens: a fifth of the round trip later, or ten milliseconds.
func TestARecordFollowsBehindALongRoundTrip(t *testing.T) {
	t.Parallel()
	for pause, want := range map[time.Duration]time.Duration{
		10 * time.Millisecond: anyAfter,
		98 * time.Millisecond: 20 * time.Millisecond, // of 100
	} {
		t.Run(pause.String(), func(t *testing.T) {
			inVirtualTime(t, 1, &plain{}, func(w *world) {
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: pause, Count: -1})
				for range roundTrips + 1 { // the shortest of which counts
					wait(w.T, w.send(1, nil)[0])
				}
				w.send(1, nil)
				time.Sleep(time.Microsecond)
				last := w.send(1, nil)
				time.Sleep(want - 2*time.Microsecond)
				require.Equal(w, 1, w.inFlight())
				time.Sleep(2 * time.Microsecond)
				require.Equal(w, 2, w.inFlight())
				wait(w.T, last[0])
			})
		})
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

// No batch follows one that is written after a minute without an ack: the broker may have
// forgotten the producer by then.
func TestNoBatchFollowsAfterAMinuteWithoutAnAck(t *testing.T) {
	t.Parallel()
	for idle, want := range map[time.Duration]int{knownFor - time.Second: 3, knownFor + time.Second: 1} {
		t.Run(idle.String(), func(t *testing.T) {
			inVirtualTime(t, 1, &plain{}, func(w *world) {
				w.warm()
				time.Sleep(idle)
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
				records := w.send(6, nil)
				time.Sleep(8 * time.Millisecond)
				require.Equal(w, want, w.inFlight())
				wait(w.T, records[0])
				requireExact(w.T, w.c, records)
			}, twoInABatch)
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
			inVirtualTime(t, 1, policyFunc(halves), func(w *world) {
				w.refuse(kerr.InvalidRecord, value)
				records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 10)
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
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 10)
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

// in has a fault befall the batch with a record.
func in(w *world, value string, f kafkafake.Fault) {
	f.When = w.holds(func(v string) bool { return strings.HasPrefix(v, value) })
	w.c.AddFault(f)
}

func outcomes(records []*Record) (all []Outcome) {
	for _, r := range records {
		all = append(all, r.Outcome())
	}
	return all
}

// What follows a batch in doubt and was acked was numbered behind it: the next batch is, too.
func TestWhatWasAckedBehindADoubtKeepsItsNumbers(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		in(w, "a", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 8)
		wait(w.T, records[0])
		more := w.send(2, func(i int, r *Record) { r.Value = []byte{byte('x' + i)} })
		wait(w.T, more[0])
		require.Equal(w, "0 1, a b, c d, e f, g h, a b, x y", strings.Join(w.valuesSeen(), ", "))
		requireExact(w.T, w.c, append(records, more...))
	}, twoInABatch)
}

// Two batches in doubt are in the log. A record of the second is given up: the other one is
// still acked once, since its batch is sent again as it was.
func TestABatchInDoubtBehindAnotherIsSentAsItWas(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		in(w, "a", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		in(w, "c", kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 4)
		time.Sleep(20 * time.Millisecond)
		w.p.Withdraw(records[2:3], All, func(*Record) error { return errGivenUp })
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Acked, Acked, Unknown, Acked}, outcomes(records))
		requireExact(w.T, w.c, records)
	}, twoInABatch)
}

// The first of two batches in doubt is in the log, and rejected when it is sent again. So the
// second can't be sent as it was: with its number it would be taken for the first.
func TestABatchInDoubtBehindOneThatFailsIsNotTakenForIt(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		in(w, "a", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		in(w, "c", kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 4)
		time.Sleep(20 * time.Millisecond)
		w.refuse(kerr.InvalidRecord, "a")
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Unknown, Unknown}, outcomes(records[:2]))
		requireExact(w.T, w.c, records)
	}, twoInABatch)
}

// What follows a batch that was not appended is not in doubt, though its answer was lost.
func TestWhatFollowsARejectedBatchIsNotInDoubt(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		in(w, "a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		in(w, "c", kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 4)
		time.Sleep(20 * time.Millisecond)
		require.ErrorIs(w, records[2].Trouble(), kerr.NotEnoughReplicas, "what keeps all of them")
		w.p.Withdraw(records[2:], Queued, func(*Record) error { return errGivenUp })
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Acked, Acked, NotWritten, NotWritten}, outcomes(records))
		requireExact(w.T, w.c, records)
	}, twoInABatch)
}

// A batch that was not acked waits for those that follow it, and no other follows meanwhile.
// What is given up then is Unknown only if its own answer is not there.
func TestABatchWaitsForThoseThatFollowIt(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		in(w, "a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		in(w, "e", kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second})
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 6)
		time.Sleep(20 * time.Millisecond)
		more := w.send(4, func(i int, r *Record) { r.Value = []byte{byte('w' + i)} })
		synctest.Wait()
		require.Equal(w, 3, w.inFlight())
		w.p.Withdraw(records, All, func(*Record) error { return errGivenUp })
		require.Equal(w, []Outcome{NotWritten, NotWritten, NotWritten, NotWritten, Unknown, Unknown}, outcomes(records))
		wait(w.T, more[0])
		requireExact(w.T, w.c, append(records, more...))
	}, twoInABatch)
}

// After a batch that was not acked, one is in flight until some were acked.
func TestNoBatchFollowsSoonAfterAFailure(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		in(w, "c", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		wait(w.T, w.fill(kafkafake.Fault{Skip: 1 << 20}, 8)[0])
		for n := range calm {
			records := w.send(6, func(i int, r *Record) { r.Value = fmt.Appendf(nil, "%d-%d", n, i) })
			synctest.Wait()
			time.Sleep(1500 * time.Microsecond)
			if n == 0 || n == calm-1 {
				require.Equal(w, n > 0, w.inFlight() > 1)
			}
			wait(w.T, records[0])
		}
	}, twoInABatch)
}

// The Policy is told of a batch that followed as if it had been written after those that were
// acked before it. That its answer was lost counts as an attempt.
func TestWhatThePolicyIsToldOfABatchThatFollowed(t *testing.T) {
	var told []string
	policy := policyFunc(func(b *Batch, _ Answer) Plan {
		told = append(told, fmt.Sprintf("%s %d %d", b.Records[0].Value, b.Acks-calm-1, b.Attempts))
		return Plan{Same: true}
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		in(w, "c", kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		in(w, "e", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 6)
		wait(w.T, records[0])
		require.Equal(w, []string{"c 2 1", "e 3 2"}, told)
	}, twoInABatch)
}

// Close ends what is in flight.
func TestCloseEndsAllThatIsInFlight(t *testing.T) {
	inVirtualTime(t, 1, &plain{}, func(w *world) {
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 12)
		w.p.Close()
		wait(w.T, records[0])
		requireExact(w.T, w.c, records)
	}, twoInABatch)
}

// Less than a batch does not follow at once, and what was given up is not counted.
func TestHowMuchIsQueued(t *testing.T) {
	inVirtualTime(t, 1, &plain{}, func(w *world) {
		p := w.p.topic("t").partitions[0]
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 3)
		require.Equal(w, 2, w.inFlight())
		require.Equal(w, int(records[2].Size)-BatchOverhead, p.queuedSize)
		w.p.Withdraw(records[2:], Queued, func(*Record) error { return errGivenUp })
		wait(w.T, records[0])
		wait(w.T, w.send(1, nil)[0])
		require.Zero(w, p.queuedSize)
	}, twoInABatch)
}

// A broker that counts what it rejects may have taken the batch behind: that is not sent again.
// One that once refused such a batch has not taken it.
func TestWhatFollowsARejectedBatchMayBeInTheLog(t *testing.T) {
	t.Parallel()
	kafka := kafkafake.Kafka()
	kafka.Content = true
	policy := policyFunc(func(b *Batch, a Answer) Plan {
		if errors.Is(a.Err, kerr.InvalidRecord) {
			return halves(b, a)
		}
		return Plan{Same: true}
	})
	for name, test := range map[string]struct {
		broker kafkafake.Dialect
		lost   kafkafake.Fault
		want   Outcome
	}{
		"answered":              {kafkafake.CountingRejected(), kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.NotEnoughReplicasAfterAppend}, Unknown},
		"not answered":          {kafkafake.CountingRejected(), kafkafake.Fault{Do: kafkafake.DisconnectAfter}, Unknown},
		"not clearly":           {kafkafake.CountingRejected(), kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.KafkaStorageError}, Unknown},
		"not clearly, by Kafka": {kafka, kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.KafkaStorageError}, Acked},
		"not answered by Kafka": {kafka, kafkafake.Fault{Do: kafkafake.DisconnectAfter}, Acked},
	} {
		t.Run(name, func(t *testing.T) {
			besideDialect(t, test.broker, 1, policy, func(w *world) {
				padded := func(from byte, bad int) func(i int, r *Record) {
					return func(i int, r *Record) {
						r.Value = []byte(string(from+byte(i)) + strings.Repeat(".", len(kafkafake.Mark)))
						if i == bad {
							copy(r.Value[1:], kafkafake.Mark)
						}
					}
				}
				w.fill(kafkafake.Fault{Skip: 1 << 20}, 0)
				before := w.send(6, padded('A', 2)) // with what follows answered
				wait(w.T, before[0])
				require.Equal(w, test.want == Acked, w.p.refusesGaps.Load())
				w.p.unordered.Store(false)
				for n := range calm {
					wait(w.T, w.send(1, func(_ int, r *Record) { r.Value = fmt.Appendf(nil, "%d", n) })[0])
				}
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
				w.send(2, padded('2', -1))
				time.Sleep(2 * time.Millisecond)
				in(w, "c", test.lost)
				records := w.send(4, padded('a', 0))
				wait(w.T, records[0])
				require.Equal(w, []Outcome{NotWritten, Acked, test.want, test.want}, outcomes(records))
				requireExact(w.T, w.c, records)
				require.Equal(w, name == "answered", w.p.unordered.Load())
				require.NotErrorIs(w, records[2].Reason, kerr.InvalidRecord, "it is that of the batch before")
			}, func(cfg *Config) {
				two := 2*SizeOf(&kgo.Record{Value: make([]byte, 1+len(kafkafake.Mark))}) - BatchOverhead
				cfg.MaxBatch = func(string, int32) (int, int) { return two, math.MaxInt32 }
			})
		})
	}
}

// A queue keeps its array for the records to come, unless it is a large one.
func TestASmallQueueKeepsItsArray(t *testing.T) {
	t.Parallel()
	for n, kept := range map[int]bool{keptQueue - 1: true, 4 * keptQueue: false} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inVirtualTime(t, 1, &plain{}, func(w *world) {
				wait(w.T, w.send(n, func(_ int, r *Record) { r.Value = []byte("x") })[0])
				p := w.p.topic("t").partitions[0]
				require.Equal(w, kept, cap(p.queue) >= keptQueue/2)
			})
		})
	}
}

// The shortest of some round trips counts: the others waited for a CPU. It is taken anew now
// and then.
func TestTheShortestRoundTripCounts(t *testing.T) {
	t.Parallel()
	n := &node{}
	heard := func(took time.Duration) time.Duration {
		n.heard(took)
		return n.roundTrip()
	}
	require.Equal(t, 5*time.Millisecond, heard(5*time.Millisecond))
	require.Equal(t, 3*time.Millisecond, heard(3*time.Millisecond))
	for range roundTrips - 2 {
		require.Equal(t, 3*time.Millisecond, heard(9*time.Millisecond))
	}
	require.Equal(t, 9*time.Millisecond, heard(9*time.Millisecond))
}

// Two requests are in flight to a broker that is near: what becomes ready meanwhile goes into
// one request. To others there are five.
func TestTwoRequestsAreInFlightToABrokerThatIsNear(t *testing.T) {
	t.Parallel()
	for roundTrip, want := range map[time.Duration]string{
		apart - 1: "0|1|2 3 4 5 6",
		apart:     "0|1|2|3|4|5 6",
	} {
		t.Run(roundTrip.String(), func(t *testing.T) {
			inVirtualTime(t, 7, &plain{}, func(w *world) {
				n := w.p.topic("t").partitions[0].node
				n.mu.Lock()
				n.answers = 1
				n.shortest.Store(int64(roundTrip))
				n.mu.Unlock()
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second})
				var records []*Record
				for i := range 7 {
					records = append(records, w.send(1, func(_ int, r *Record) { r.Record.Partition, r.Value = int32(i), []byte{byte('0' + i)} })...)
					time.Sleep(time.Millisecond)
				}
				wait(w.T, records...)
				got, request := "", 0
				for _, b := range w.seen() {
					switch {
					case request == 0:
					case b.request == request:
						got += " "
					default:
						got += "|"
					}
					got, request = got+b.values, b.request
				}
				require.Equal(w, want, got)
			})
		})
	}
}
