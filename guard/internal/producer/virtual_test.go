package producer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// world is a producer and its cluster in virtual time, and the batches that came there.
type world struct {
	*testing.T
	c *kafkafake.Cluster
	p *Producer

	mu     sync.Mutex
	came   []batchSeen
	warmed int
}

// batchSeen is a batch in a produce request.
type batchSeen struct {
	request int // its number
	size    int // of the request
	at      time.Time
	to      int32
	values  string // of its records
	stamps  []int64
	number  producerID
	first   int32 // sequence number
}

// inVirtualTime runs a test with a topic "t", in which each partition has a record already.
func inVirtualTime(t *testing.T, partitions int, policy Policy, test func(w *world), change ...func(*Config)) {
	t.Helper()
	besideDialect(t, kafkafake.Kafka(), partitions, policy, test, change...)
}

// besideDialect does that with a cluster of a dialect.
func besideDialect(t *testing.T, d kafkafake.Dialect, partitions int, policy Policy, test func(w *world), change ...func(*Config)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, c: kafkafake.StartDialect(t, d, &kafkafake.Network{Latency: time.Millisecond})}
		w.c.Topic("t", int32(partitions))
		w.p = newProducer(t, w.c, policy, change...)
		write(t, w.p, partitions, values("first", partitions)...)
		requests := 0
		w.c.AddFault(kafkafake.Fault{Count: -1, When: func(req kmsg.Request) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			requests++
			size := len(req.AppendTo(nil))
			for _, topic := range req.(*kmsg.ProduceRequest).Topics {
				for _, p := range topic.Partitions {
					b, records := readBatch(t, p.Records)
					s := batchSeen{request: requests, size: size, at: time.Now(), to: p.Partition, number: producerID{b.ProducerID, b.ProducerEpoch}, first: b.FirstSequence}
					for _, r := range records {
						s.values += " " + string(r.Value[:min(1, len(r.Value))])
						s.stamps = append(s.stamps, b.FirstTimestamp+r.TimestampDelta64)
					}
					s.values = strings.TrimSpace(s.values)
					w.came = append(w.came, s)
				}
			}
			return false
		}})
		test(w)
	})
}

// seen returns what came since the last time.
func (w *world) seen() []batchSeen {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	came := w.came
	w.came = nil
	return came
}

// valuesSeen are the records of each batch that came since the last time: a letter each.
func (w *world) valuesSeen() (values []string) {
	for _, b := range w.seen() {
		values = append(values, b.values)
	}
	return values
}

// records are a write of records, named a, b, c and so on.
func (w *world) records(n int, change func(i int, r *Record)) (records []*Record) {
	wr := NewWrite()
	wr.Expect(n)
	for i := range n {
		r := &Record{Record: &kgo.Record{Topic: "t", Value: []byte(string(rune('a' + i)))}, Write: wr}
		if change != nil {
			change(i, r) // before it is prepared
		}
		alone, single, apart := r.Alone, r.Single, r.Apart
		r.Prepare()
		r.Alone, r.Single, r.Apart = alone, single, apart
		records = append(records, r)
	}
	return records
}

func (w *world) send(n int, change func(i int, r *Record)) []*Record {
	records := w.records(n, change)
	w.p.Send(records)
	return records
}

func (w *world) refuse(code *kerr.Error, value string) *kafkafake.FaultHandle {
	is := func(v string) bool { return v == value }
	return w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: code, Count: -1, When: w.holds(is)})
}

// holds reports whether a produce request has a record with such a value.
func (w *world) holds(is func(value string) bool) func(kmsg.Request) bool {
	return func(req kmsg.Request) bool {
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range t.Partitions {
				_, records := readBatch(w.T, p.Records)
				if slices.ContainsFunc(records, func(r kmsg.Record) bool { return is(string(r.Value)) }) {
					return true
				}
			}
		}
		return false
	}
}

// A batch is as large as it may be, to the byte.
func TestHowBatchesAreCut(t *testing.T) {
	t.Parallel()
	two := 2*SizeOf(&kgo.Record{Value: []byte("a")}) - BatchOverhead
	for most, want := range map[int][]string{two: {"a b", "c d", "e"}, two - 1: {"a", "b", "c", "d", "e"}, two + 1: {"a b", "c d", "e"}} {
		t.Run(fmt.Sprint(most-two), func(t *testing.T) {
			inVirtualTime(t, 1, &plain{}, func(w *world) {
				records := w.send(5, nil)
				wait(w.T, records[0])
				require.Equal(w, want, w.valuesSeen())
				requireExact(w.T, w.c, records)
			}, func(cfg *Config) { cfg.MaxBatch = func(string, int32) (int, int) { return most, math.MaxInt32 } })
		})
	}
}

// checks is a Policy that has something against records of a size.
type checks struct {
	plain
	asked   []string
	leaders []int32
	against string
}

func (c *checks) Check(r *Record, leader int32) error {
	c.asked, c.leaders = append(c.asked, string(r.Value[:1])), append(c.leaders, leader)
	if string(r.Value[:1]) == c.against {
		return errGivenUp
	}
	return nil
}

// Records from a size on are sent in a batch of their own, once the Policy has nothing against
// that.
func TestLargeRecordsAreQuestioned(t *testing.T) {
	policy := &checks{against: "d"}
	value := func(n int) []byte { return []byte("x" + strings.Repeat(".", n)) }
	single := SizeOf(&kgo.Record{Value: value(100)})
	inVirtualTime(t, 1, policy, func(w *world) {
		lengths := []int{1, 100, 99, 200, 1, 1}
		records := w.send(len(lengths), func(i int, r *Record) {
			r.Value = value(lengths[i])
			r.Value[0] = byte('a' + i)
		})
		wait(w.T, records[0])
		require.Equal(w, []string{"a", "b", "c e f"}, w.valuesSeen())
		require.Equal(w, []string{"b", "d"}, slices.Compact(policy.asked))
		require.Equal(w, []int32{0}, slices.Compact(policy.leaders))
		require.Equal(w, NotWritten, records[3].Outcome())
		require.Equal(w, errGivenUp, records[3].Reason)
		requireExact(w.T, w.c, records)
	}, func(cfg *Config) { cfg.MaxBatch = func(string, int32) (int, int) { return 100_000, single } })
}

// What a record asks for: a batch of its own, a request of its own, or a batch with others of
// its kind.
func TestWhatARecordAsksFor(t *testing.T) {
	t.Parallel()
	t.Run("a batch of its own", func(t *testing.T) {
		inVirtualTime(t, 2, &plain{}, func(w *world) {
			records := w.send(6, func(i int, r *Record) { r.Partition, r.Single = int32(i%2), i == 2 })
			wait(w.T, records[0])
			var first, second []string
			for _, b := range w.seen() {
				if b.to == 0 {
					first = append(first, b.values)
				} else {
					second = append(second, b.values)
				}
			}
			require.Equal(w, [][]string{{"a", "c", "e"}, {"b d f"}}, [][]string{first, second})
		})
	})
	t.Run("others of its kind", func(t *testing.T) {
		inVirtualTime(t, 1, &plain{}, func(w *world) {
			wait(w.T, w.send(5, func(i int, r *Record) { r.Apart = i == 1 || i == 2 })[0])
			require.Equal(w, []string{"a", "b c", "d e"}, w.valuesSeen())
		})
	})
	for alone := range 4 {
		t.Run(fmt.Sprint("a request of its own, ", alone), func(t *testing.T) {
			inVirtualTime(t, 3, &plain{}, func(w *world) {
				records := w.send(6, func(i int, r *Record) {
					r.Partition = int32(i % 3)
					r.Alone = i == alone
					r.Single = r.Alone
				})
				wait(w.T, records[0])
				name, batches := string(rune('a'+alone)), map[int]int{}
				of := -1
				for _, b := range w.seen() {
					batches[b.request]++
					if strings.Contains(b.values, name) {
						require.Equal(w, name, b.values)
						of = b.request
					}
				}
				require.Equal(w, 1, batches[of])
				require.Less(w, len(batches), 6, "others share requests")
				requireExact(w.T, w.c, records)
			})
		})
	}
}

// A request is never larger than it may be, also when batches are sent again, and is used as
// far as that allows.
func TestHowLargeRequestsMayBe(t *testing.T) {
	t.Parallel()
	value := []byte("x" + strings.Repeat(".", 999))
	of := func(n int) int { return n*(SizeOf(&kgo.Record{Value: value})-BatchOverhead) + BatchOverhead }
	const beside = 32 + 16 // of a batch: its partition, lengths, and the topic's ID
	all := requestOverhead + 3*of(2) + 3*beside
	for name, test := range map[string]struct{ most, requests int }{
		"all fits":       {all, 1},
		"all but a byte": {all - 1, 2},
		"one batch":      {requestOverhead + of(2) + beside, 3},
	} {
		t.Run(name, func(t *testing.T) {
			for _, lost := range []bool{false, true} {
				t.Run(fmt.Sprint("lost ", lost), func(t *testing.T) {
					inVirtualTime(t, 3, &plain{}, func(w *world) {
						if lost {
							w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Count: 2})
						}
						records := w.send(6, func(i int, r *Record) { r.Partition, r.Value = int32(i%3), slices.Clone(value) })
						wait(w.T, records[0])
						requests := 0
						for _, b := range w.seen() {
							require.LessOrEqual(w, b.size, test.most)
							requests = b.request
						}
						if !lost {
							require.Equal(w, test.requests, requests)
						}
						for _, r := range records {
							require.Equal(w, Acked, r.Outcome())
						}
					}, func(cfg *Config) { cfg.MaxRequest = test.most })
				})
			}
		})
	}
}

// halves is a Policy that halves what is rejected, and fails a single record.
func halves(b *Batch, _ Answer) (plan Plan) {
	if len(b.Records) == 1 {
		return Plan{Failed: []Failed{{Record: b.Records[0], Reason: errGivenUp}}}
	}
	half := len(b.Records) / 2
	return Plan{Parts: []Part{{Records: b.Records[:half], Half: true}, {Records: b.Records[half:]}}}
}

// When the first half of a rejected batch is acked, the second is halved without being sent.
func TestARejectedBatchIsHalved(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][]string{
		"h": {"a b c d e f g h", "a b c d", "e f", "g", "h"},
		"f": {"a b c d e f g h", "a b c d", "e f", "e", "f", "g h"},
		"a": {"a b c d e f g h", "a b c d", "a b", "a", "b", "c d", "e f g h"},
	} {
		t.Run(value, func(t *testing.T) {
			inVirtualTime(t, 1, policyFunc(halves), func(w *world) {
				w.refuse(kerr.InvalidRecord, value)
				records := w.send(8, nil)
				wait(w.T, records[0])
				require.Equal(w, want, w.valuesSeen())
				for _, r := range records {
					require.Equal(w, string(r.Value) != value, r.Outcome() == Acked)
				}
				requireExact(w.T, w.c, records)
			})
		})
	}
}

// A plan's pause is kept, by what is queued meanwhile, too. Timestamps that the producer sets
// are those of the moment, unless the batch is in doubt: then they change if the plan says so.
func TestAPauseAndItsTimestamps(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault   kafkafake.Fault
		restamp bool
		stamped bool
	}{
		"rejected":           {fault: kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas}, stamped: true},
		"in doubt":           {fault: kafkafake.Fault{Do: kafkafake.DisconnectAfter}},
		"in doubt, stamped":  {fault: kafkafake.Fault{Do: kafkafake.DisconnectAfter}, restamp: true, stamped: true},
		"rejected, restamp":  {fault: kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas}, restamp: true, stamped: true},
		"cut before its end": {fault: kafkafake.Fault{Do: kafkafake.DisconnectBefore}},
	} {
		t.Run(name, func(t *testing.T) {
			policy := policyFunc(func(*Batch, Answer) Plan { return Plan{Same: true, Restamp: test.restamp, Pause: time.Minute} })
			inVirtualTime(t, 1, policy, func(w *world) {
				w.c.AddFault(test.fault)
				own := time.UnixMilli(time.Now().UnixMilli()).Add(-time.Hour)
				records := w.send(2, func(i int, r *Record) {
					if i == 0 {
						r.Timestamp = own
					}
				})
				time.Sleep(30 * time.Second)
				queued := w.send(1, func(_ int, r *Record) { r.Value = []byte("q") })
				wait(w.T, records[0], queued[0])
				came := w.seen()
				require.Len(w, came, 3)
				require.InDelta(w, time.Minute, came[1].at.Sub(came[0].at), float64(time.Second))
				require.Equal(w, came[0].first, came[1].first)
				for _, c := range came[:2] {
					require.Equal(w, own.UnixMilli(), c.stamps[0])
				}
				require.InDelta(w, came[0].at.UnixMilli(), came[0].stamps[1], 1000)
				want := came[0].stamps[1]
				if test.stamped {
					want += time.Minute.Milliseconds()
				}
				require.InDelta(w, want, came[1].stamps[1], 1000)
				requireExact(w.T, w.c, append(records, queued...))
			})
		})
	}
}

// A producer ID is asked for until it comes, after growing pauses. What the cluster refuses for
// good is for the Policy.
func TestAProducerIDIsAskedForUntilItComes(t *testing.T) {
	t.Parallel()
	ask := []kmsg.Key{kmsg.InitProducerID}
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
			c.Topic("t", 2)
			refused := c.AddFault(kafkafake.Fault{Keys: ask, Do: kafkafake.Refuse, Code: kerr.RequestTimedOut, Count: 3})
			policy := &plain{}
			p := newProducer(t, c, policy, func(cfg *Config) {
				cfg.Backoff = func(n int) time.Duration { return time.Duration(n) * 10 * time.Second }
			})
			began := time.Now()
			records := make([]*Record, 2)
			for n := range records {
				records[n] = send(p, kgo.Record{Partition: int32(n)})
			}
			time.Sleep(25 * time.Second)
			require.ErrorIs(t, p.Trouble(), kerr.RequestTimedOut)
			wait(t, records...)
			require.Equal(t, 3, refused.Hits(), "all partitions wait for one")
			require.InDelta(t, 60, time.Since(began).Seconds(), 1)
			require.Empty(t, policy.next)
		})
	})
	for name, own := range map[string]bool{"the shared one": false, "one of its own": true} {
		t.Run(name+" is refused", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
				c.Topic("t", 1)
				asks := c.AddFault(kafkafake.Fault{Keys: ask, Do: kafkafake.Delay, Count: -1})
				policy := &plain{}
				p := newProducer(t, c, policy)
				if own {
					wait(t, send(p, kgo.Record{Value: []byte("first")}))
					c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.OutOfOrderSequenceNumber})
				}
				c.AddFault(kafkafake.Fault{Keys: ask, Do: kafkafake.Refuse, Code: kerr.ClusterAuthorizationFailed})
				r := send(p, kgo.Record{Value: []byte("v")})
				wait(t, r)
				last := policy.next[len(policy.next)-1]
				require.Equal(t, Answer{Code: kerr.ClusterAuthorizationFailed.Code, Err: last.Err, Producer: true}, last)
				require.ErrorIs(t, last.Err, kerr.ClusterAuthorizationFailed)
				require.Equal(t, NotWritten, r.Outcome())
				again := send(p, kgo.Record{Value: []byte("again")})
				wait(t, again)
				require.Equal(t, Acked, again.Outcome())
				requireExact(t, c, []*Record{r, again})
				require.Equal(t, map[bool]int{false: 2, true: 3}[own], asks.Hits())
			})
		})
	}
}

// What is withdrawn: all, what is not in flight, or of that what is in doubt. Each ends once,
// with the reason of the withdrawal.
func TestWhatIsWithdrawn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		which     Withdrawal
		lost      bool     // the first answer is lost, and the next try waits
		want      []string // of the one in flight or waiting, and of one behind it: at once
		wantLater []string
	}{
		"queued":                     {Queued, false, []string{"pending", "not written"}, []string{"acked", "not written"}},
		"all":                        {All, false, []string{"unknown", "not written"}, []string{"unknown", "not written"}},
		"doubtful, and none is":      {Doubtful, false, []string{"pending", "pending"}, []string{"acked", "acked"}},
		"doubtful, and the first is": {Doubtful, true, []string{"unknown", "pending"}, []string{"unknown", "acked"}},
		"queued, in doubt":           {Queued, true, []string{"unknown", "not written"}, []string{"unknown", "not written"}},
	} {
		t.Run(name, func(t *testing.T) {
			policy := policyFunc(func(*Batch, Answer) Plan { return Plan{Same: true, Pause: time.Minute} })
			inVirtualTime(t, 1, policy, func(w *world) {
				fault := kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 8 * time.Second}
				if test.lost {
					fault.Do = kafkafake.DisconnectAfter
				}
				w.c.AddFault(fault)
				first := w.send(1, nil)
				time.Sleep(time.Second)
				behind := w.send(1, nil)
				synctest.Wait()
				records := []*Record{first[0], behind[0]}
				outcomes := func() (all []string) {
					for _, r := range records {
						all = append(all, []string{"pending", "acked", "not written", "unknown"}[r.Outcome()])
					}
					return all
				}
				w.p.Withdraw(records, test.which, func(r *Record) error { return fmt.Errorf("%w at %d", errGivenUp, r.Offset) })
				w.p.Withdraw(records, test.which, func(*Record) error { return errors.New("another reason") })
				synctest.Wait()
				require.Equal(w, test.want, outcomes())
				wait(w.T, records...)
				require.Equal(w, test.wantLater, outcomes())
				for _, r := range records {
					if r.Outcome() != Acked {
						require.EqualError(w, r.Reason, "given up at -1")
					}
				}
				last := w.send(1, nil)
				wait(w.T, last[0])
				require.Equal(w, Acked, last[0].Outcome())
			})
		})
	}
}

// A record that is sent again later waits for that long, and holds up its own key alone, in
// order.
func TestWhatALaterRecordHoldsUp(t *testing.T) {
	again := 0
	policy := policyFunc(func(b *Batch, _ Answer) (plan Plan) {
		again++
		for _, r := range b.Records {
			if string(r.Value) == "b" {
				plan.Later = append(plan.Later, Later{Record: r, After: time.Minute})
				continue
			}
			plan.Parts = append(plan.Parts, Part{Records: []*Record{r}})
		}
		return plan
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		refused := w.refuse(kerr.InvalidRecord, "b")
		keys := []string{"k", "k", "other", "k", "", "k"}
		began := time.Now()
		records := w.send(6, func(i int, r *Record) {
			if keys[i] != "" {
				r.Key = []byte(keys[i])
			}
		})
		time.Sleep(30 * time.Second)
		require.Equal(w, []string{"a b c d e f", "a", "c", "e"}, w.valuesSeen())
		behind := w.send(3, func(i int, r *Record) { r.Key, r.Value = []byte(keys[i+1]), []byte{byte('x' + i)} })
		time.Sleep(10 * time.Second)
		require.Equal(w, []string{"y"}, w.valuesSeen(), "x and z wait")
		time.Sleep(time.Minute - time.Since(began) + time.Second)
		require.Equal(w, []string{"b"}, w.valuesSeen())
		require.Equal(w, 2, again)
		refused.Over()
		wait(w.T, records[0], behind[0])
		require.Equal(w, []string{"b", "d f x z"}, w.valuesSeen())
		require.InDelta(w, 120, time.Since(began).Seconds(), 1)
		requireExact(w.T, w.c, append(records, behind...))
	})
}

// Close ends all that the producer has, wherever it is: what may be written is Unknown.
func TestCloseEndsWhatIsAnywhere(t *testing.T) {
	policy := policyFunc(func(b *Batch, _ Answer) (plan Plan) {
		for _, r := range b.Records {
			switch string(r.Value) {
			case "a": // later
				plan.Later = append(plan.Later, Later{Record: r, After: time.Hour})
			default:
				plan.Parts = append(plan.Parts, Part{Records: []*Record{r}})
			}
		}
		plan.Pause = time.Hour
		return plan
	})
	inVirtualTime(t, 3, policy, func(w *world) {
		w.refuse(kerr.InvalidRecord, "a")
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Partitions: []int32{1}, When: func(req kmsg.Request) bool {
			return req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Partition == 1
		}})
		waiting := w.send(3, func(i int, r *Record) { r.Key = []byte{byte('k' + i%2)} }) // a later, c behind it, b to be sent again
		time.Sleep(time.Second)
		queued := w.send(1, nil)
		doubtful := w.send(2, func(i int, r *Record) { r.Partition, r.Value = 1, []byte("x") })
		time.Sleep(time.Second)
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Hour, Count: -1})
		inFlight := w.send(1, func(_ int, r *Record) { r.Partition, r.Value = 2, []byte("y") })
		time.Sleep(time.Second)
		missing := w.send(1, func(_ int, r *Record) { r.Topic = "missing" })
		w.p.Close()
		wait(w.T, waiting[0], queued[0], missing[0])
		for _, r := range slices.Concat(waiting, queued, missing) {
			require.Equal(w, NotWritten, r.Outcome(), "%s", r.Value)
			require.ErrorIs(w, r.Reason, kgo.ErrClientClosed)
		}
		wait(w.T, doubtful[0], inFlight[0])
		for _, r := range slices.Concat(doubtful, inFlight) {
			require.Equal(w, Unknown, r.Outcome(), "%s", r.Value)
		}
		late := w.send(1, nil)
		wait(w.T, late[0])
		require.Equal(w, NotWritten, late[0].Outcome())
	})
}

// Close waits for no Policy: its context ends.
func TestTheContextOfThePolicyEndsWithTheProducer(t *testing.T) {
	ended := make(chan struct{})
	inVirtualTime(t, 1, contextPolicy{ended}, func(w *world) {
		w.refuse(kerr.InvalidRecord, "a")
		r := w.send(1, nil)
		time.Sleep(time.Second)
		w.p.Close()
		<-ended
		wait(w.T, r[0])
		require.Equal(w, NotWritten, r[0].Outcome())
	})
}

// contextPolicy waits for the end of its context.
type contextPolicy struct{ ended chan struct{} }

func (contextPolicy) Acked(*Batch)               {}
func (contextPolicy) Check(*Record, int32) error { return nil }
func (c contextPolicy) Next(ctx context.Context, _ *Batch, _ Answer) Plan {
	<-ctx.Done()
	close(c.ended)
	return Plan{Same: true}
}
