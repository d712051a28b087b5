package partition_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A batch is as large as it may be, to the byte.
func TestHowBatchesAreCut(t *testing.T) {
	t.Parallel()
	two := 2*recordbatch.SizeOf(&kgo.Record{Value: []byte("a")}) - recordbatch.Overhead
	for most, want := range map[int][]string{two: {"a b", "c d", "e"}, two - 1: {"a", "b", "c", "d", "e"}, two + 1: {"a b", "c d", "e"}} {
		t.Run(fmt.Sprint(most-two), func(t *testing.T) {
			producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
				records := w.Send(5, nil)
				producertest.Wait(w.T, records[0])
				require.Equal(w, want, w.ValuesSeen())
				producertest.RequireExact(w.T, w.Cluster, records)
			}, func(cfg *producer.Config) {
				cfg.MaxBatch = func(string, int32) (int, int) { return most, math.MaxInt32 }
			})
		})
	}
}

// checks is a Policy that has something against records of a size.
type checks struct {
	producertest.Plain
	asked   []string
	leaders []int32
	against string
}

func (c *checks) Check(r *partition.Record, leader int32) error {
	c.asked, c.leaders = append(c.asked, string(r.Value[:1])), append(c.leaders, leader)
	if string(r.Value[:1]) == c.against {
		return producertest.ErrGivenUp
	}
	return nil
}

// Records from a size on are sent in a batch of their own, once the Policy has nothing against
// that.
func TestLargeRecordsAreQuestioned(t *testing.T) {
	policy := &checks{against: "d"}
	value := func(n int) []byte { return []byte("x" + strings.Repeat(".", n)) }
	single := recordbatch.SizeOf(&kgo.Record{Value: value(100)})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		lengths := []int{1, 100, 99, 200, 1, 1}
		records := w.Send(len(lengths), func(i int, r *partition.Record) {
			r.Value = value(lengths[i])
			r.Value[0] = byte('a' + i)
		})
		producertest.Wait(w.T, records[0])
		require.Equal(w, []string{"a", "b", "c e f"}, w.ValuesSeen())
		require.Equal(w, []string{"b", "d"}, slices.Compact(policy.asked))
		require.Equal(w, []int32{0}, slices.Compact(policy.leaders))
		require.Equal(w, partition.NotWritten, records[3].Outcome())
		require.Equal(w, producertest.ErrGivenUp, records[3].Reason)
		producertest.RequireExact(w.T, w.Cluster, records)
	}, func(cfg *producer.Config) { cfg.MaxBatch = func(string, int32) (int, int) { return 100_000, single } })
}

// What a record asks for: a batch of its own, a request of its own, or a batch with others of
// its kind.
func TestWhatARecordAsksFor(t *testing.T) {
	t.Parallel()
	t.Run("a batch of its own", func(t *testing.T) {
		producertest.InVirtualTime(t, 2, &producertest.Plain{}, func(w *producertest.World) {
			records := w.Send(6, func(i int, r *partition.Record) { r.Partition, r.Single = int32(i%2), i == 2 })
			producertest.Wait(w.T, records[0])
			var first, second []string
			for _, b := range w.Seen() {
				if b.To == 0 {
					first = append(first, b.Values)
				} else {
					second = append(second, b.Values)
				}
			}
			require.Equal(w, [][]string{{"a", "c", "e"}, {"b d f"}}, [][]string{first, second})
		})
	})
	t.Run("others of its kind", func(t *testing.T) {
		producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
			producertest.Wait(w.T, w.Send(5, func(i int, r *partition.Record) { r.Apart = i == 1 || i == 2 })[0])
			require.Equal(w, []string{"a", "b c", "d e"}, w.ValuesSeen())
		})
	})
	for alone := range 4 {
		t.Run(fmt.Sprint("a request of its own, ", alone), func(t *testing.T) {
			producertest.InVirtualTime(t, 3, &producertest.Plain{}, func(w *producertest.World) {
				records := w.Send(6, func(i int, r *partition.Record) {
					r.Partition = int32(i % 3)
					r.Alone = i == alone
					r.Single = r.Alone
				})
				producertest.Wait(w.T, records[0])
				name, batches := string(rune('a'+alone)), map[int]int{}
				of := -1
				for _, b := range w.Seen() {
					batches[b.Request]++
					if strings.Contains(b.Values, name) {
						require.Equal(w, name, b.Values)
						of = b.Request
					}
				}
				require.Equal(w, 1, batches[of])
				require.Less(w, len(batches), 6, "others share requests")
				producertest.RequireExact(w.T, w.Cluster, records)
			})
		})
	}
}

// A request is never larger than it may be, also when batches are sent again, and is used as
// far as that allows.
func TestHowLargeRequestsMayBe(t *testing.T) {
	t.Parallel()
	value := []byte("x" + strings.Repeat(".", 999))
	of := func(n int) int {
		return n*(recordbatch.SizeOf(&kgo.Record{Value: value})-recordbatch.Overhead) + recordbatch.Overhead
	}
	const beside = 32 + 16 // of a batch: its partition, lengths, and the topic's ID
	all := besideBatches + 3*of(2) + 3*beside
	for name, test := range map[string]struct{ most, requests int }{
		"all fits":       {all, 1},
		"all but a byte": {all - 1, 2},
		"one batch":      {besideBatches + of(2) + beside, 3},
	} {
		t.Run(name, func(t *testing.T) {
			for _, lost := range []bool{false, true} {
				t.Run(fmt.Sprint("lost ", lost), func(t *testing.T) {
					producertest.InVirtualTime(t, 3, &producertest.Plain{}, func(w *producertest.World) {
						if lost {
							w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Count: 2})
						}
						records := w.Send(6, func(i int, r *partition.Record) { r.Partition, r.Value = int32(i%3), slices.Clone(value) })
						producertest.Wait(w.T, records[0])
						requests := 0
						for _, b := range w.Seen() {
							require.LessOrEqual(w, b.Size, test.most)
							requests = b.Request
						}
						if !lost {
							require.Equal(w, test.requests, requests)
						}
						for _, r := range records {
							require.Equal(w, partition.Acked, r.Outcome())
						}
					}, func(cfg *producer.Config) { cfg.MaxRequest = test.most })
				})
			}
		})
	}
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
			producertest.InVirtualTime(t, 1, producertest.PolicyFunc(producertest.Halves), func(w *producertest.World) {
				w.Refuse(kerr.InvalidRecord, value)
				records := w.Send(8, nil)
				producertest.Wait(w.T, records[0])
				require.Equal(w, want, w.ValuesSeen())
				for _, r := range records {
					require.Equal(w, string(r.Value) != value, r.Outcome() == partition.Acked)
				}
				producertest.RequireExact(w.T, w.Cluster, records)
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
			policy := producertest.PolicyFunc(func(*partition.Batch, broker.Answer) partition.Plan {
				return partition.Plan{Same: true, Restamp: test.restamp, Pause: time.Minute}
			})
			producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
				w.Cluster.AddFault(test.fault)
				own := time.UnixMilli(time.Now().UnixMilli()).Add(-time.Hour)
				records := w.Send(2, func(i int, r *partition.Record) {
					if i == 0 {
						r.Timestamp = own
					}
				})
				time.Sleep(30 * time.Second)
				queued := w.Send(1, func(_ int, r *partition.Record) { r.Value = []byte("q") })
				producertest.Wait(w.T, records[0], queued[0])
				came := w.Seen()
				require.Len(w, came, 3)
				require.InDelta(w, time.Minute, came[1].At.Sub(came[0].At), float64(time.Second))
				require.Equal(w, came[0].First, came[1].First)
				for _, c := range came[:2] {
					require.Equal(w, own.UnixMilli(), c.Stamps[0])
				}
				require.InDelta(w, came[0].At.UnixMilli(), came[0].Stamps[1], 1000)
				want := came[0].Stamps[1]
				if test.stamped {
					want += time.Minute.Milliseconds()
				}
				require.InDelta(w, want, came[1].Stamps[1], 1000)
				producertest.RequireExact(w.T, w.Cluster, append(records, queued...))
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
			policy := &producertest.Plain{}
			p := producertest.New(t, c, policy, func(cfg *producer.Config) {
				cfg.Backoff = func(n int) time.Duration { return time.Duration(n) * 10 * time.Second }
			})
			began := time.Now()
			records := make([]*partition.Record, 2)
			for n := range records {
				records[n] = producertest.Send(p, kgo.Record{Partition: int32(n)})
			}
			time.Sleep(25 * time.Second)
			require.ErrorIs(t, p.Trouble(), kerr.RequestTimedOut)
			producertest.Wait(t, records...)
			require.Equal(t, 3, refused.Hits(), "all partitions wait for one")
			require.InDelta(t, 60, time.Since(began).Seconds(), 1)
			require.Empty(t, policy.Asked())
		})
	})
	for name, own := range map[string]bool{"the shared one": false, "one of its own": true} {
		t.Run(name+" is refused", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
				c.Topic("t", 1)
				asks := c.AddFault(kafkafake.Fault{Keys: ask, Do: kafkafake.Delay, Count: -1})
				policy := &producertest.Plain{}
				p := producertest.New(t, c, policy)
				if own {
					producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("first")}))
					c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.OutOfOrderSequenceNumber})
				}
				c.AddFault(kafkafake.Fault{Keys: ask, Do: kafkafake.Refuse, Code: kerr.ClusterAuthorizationFailed})
				r := producertest.Send(p, kgo.Record{Value: []byte("v")})
				producertest.Wait(t, r)
				last := policy.Asked()[len(policy.Asked())-1]
				require.Equal(t, broker.Answer{Code: kerr.ClusterAuthorizationFailed.Code, Err: last.Err, Producer: true}, last)
				require.ErrorIs(t, last.Err, kerr.ClusterAuthorizationFailed)
				require.Equal(t, partition.NotWritten, r.Outcome())
				again := producertest.Send(p, kgo.Record{Value: []byte("again")})
				producertest.Wait(t, again)
				require.Equal(t, partition.Acked, again.Outcome())
				producertest.RequireExact(t, c, []*partition.Record{r, again})
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
		which     partition.Withdrawal
		lost      bool     // the first answer is lost, and the next try waits
		want      []string // of the one in flight or waiting, and of one behind it: at once
		wantLater []string
	}{
		"queued":                     {partition.Queued, false, []string{"pending", "not written"}, []string{"acked", "not written"}},
		"all":                        {partition.All, false, []string{"unknown", "not written"}, []string{"unknown", "not written"}},
		"doubtful, and none is":      {partition.Doubtful, false, []string{"pending", "pending"}, []string{"acked", "acked"}},
		"doubtful, and the first is": {partition.Doubtful, true, []string{"unknown", "pending"}, []string{"unknown", "acked"}},
		"queued, in doubt":           {partition.Queued, true, []string{"unknown", "not written"}, []string{"unknown", "not written"}},
	} {
		t.Run(name, func(t *testing.T) {
			policy := producertest.PolicyFunc(func(*partition.Batch, broker.Answer) partition.Plan {
				return partition.Plan{Same: true, Pause: time.Minute}
			})
			producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
				fault := kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 8 * time.Second}
				if test.lost {
					fault.Do = kafkafake.DisconnectAfter
				}
				w.Cluster.AddFault(fault)
				first := w.Send(1, nil)
				time.Sleep(time.Second)
				behind := w.Send(1, nil)
				synctest.Wait()
				records := []*partition.Record{first[0], behind[0]}
				outcomes := func() (all []string) {
					for _, r := range records {
						all = append(all, []string{"pending", "acked", "not written", "unknown"}[r.Outcome()])
					}
					return all
				}
				w.Producer.Withdraw(records, test.which, func(r *partition.Record) error { return fmt.Errorf("%w at %d", producertest.ErrGivenUp, r.Offset) })
				w.Producer.Withdraw(records, test.which, func(*partition.Record) error { return errors.New("another reason") })
				synctest.Wait()
				require.Equal(w, test.want, outcomes())
				producertest.Wait(w.T, records...)
				require.Equal(w, test.wantLater, outcomes())
				for _, r := range records {
					if r.Outcome() != partition.Acked {
						require.EqualError(w, r.Reason, "given up at -1")
					}
				}
				last := w.Send(1, nil)
				producertest.Wait(w.T, last[0])
				require.Equal(w, partition.Acked, last[0].Outcome())
			})
		})
	}
}

// A record that is sent again later waits for that long, and holds up its own key alone, in
// order.
func TestWhatALaterRecordHoldsUp(t *testing.T) {
	again := 0
	policy := producertest.PolicyFunc(func(b *partition.Batch, _ broker.Answer) (plan partition.Plan) {
		again++
		for _, r := range b.Records {
			if string(r.Value) == "b" {
				plan.Later = append(plan.Later, partition.Later{Record: r, After: time.Minute})
				continue
			}
			plan.Parts = append(plan.Parts, partition.Part{Records: []*partition.Record{r}})
		}
		return plan
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		refused := w.Refuse(kerr.InvalidRecord, "b")
		keys := []string{"k", "k", "other", "k", "", "k"}
		began := time.Now()
		records := w.Send(6, func(i int, r *partition.Record) {
			if keys[i] != "" {
				r.Key = []byte(keys[i])
			}
		})
		time.Sleep(30 * time.Second)
		require.Equal(w, []string{"a b c d e f", "a", "c", "e"}, w.ValuesSeen())
		behind := w.Send(3, func(i int, r *partition.Record) { r.Key, r.Value = []byte(keys[i+1]), []byte{byte('x' + i)} })
		time.Sleep(10 * time.Second)
		require.Equal(w, []string{"y"}, w.ValuesSeen(), "x and z wait")
		time.Sleep(time.Minute - time.Since(began) + time.Second)
		require.Equal(w, []string{"b"}, w.ValuesSeen())
		require.Equal(w, 2, again)
		refused.Over()
		producertest.Wait(w.T, records[0], behind[0])
		require.Equal(w, []string{"b", "d f x z"}, w.ValuesSeen())
		require.InDelta(w, 120, time.Since(began).Seconds(), 1)
		producertest.RequireExact(w.T, w.Cluster, append(records, behind...))
	})
}

// Close ends all that the producer has, wherever it is: what may be written is Unknown.
func TestCloseEndsWhatIsAnywhere(t *testing.T) {
	policy := producertest.PolicyFunc(func(b *partition.Batch, _ broker.Answer) (plan partition.Plan) {
		for _, r := range b.Records {
			switch string(r.Value) {
			case "a": // later
				plan.Later = append(plan.Later, partition.Later{Record: r, After: time.Hour})
			default:
				plan.Parts = append(plan.Parts, partition.Part{Records: []*partition.Record{r}})
			}
		}
		plan.Pause = time.Hour
		return plan
	})
	producertest.InVirtualTime(t, 3, policy, func(w *producertest.World) {
		w.Refuse(kerr.InvalidRecord, "a")
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Partitions: []int32{1}, When: func(req kmsg.Request) bool {
			return req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Partition == 1
		}})
		waiting := w.Send(3, func(i int, r *partition.Record) { r.Key = []byte{byte('k' + i%2)} }) // a later, c behind it, b to be sent again
		time.Sleep(time.Second)
		queued := w.Send(1, nil)
		doubtful := w.Send(2, func(i int, r *partition.Record) { r.Partition, r.Value = 1, []byte("x") })
		time.Sleep(time.Second)
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Hour, Count: -1})
		inFlight := w.Send(1, func(_ int, r *partition.Record) { r.Partition, r.Value = 2, []byte("y") })
		time.Sleep(time.Second)
		missing := w.Send(1, func(_ int, r *partition.Record) { r.Topic = "missing" })
		w.Producer.Close()
		producertest.Wait(w.T, waiting[0], queued[0], missing[0])
		for _, r := range slices.Concat(waiting, queued, missing) {
			require.Equal(w, partition.NotWritten, r.Outcome(), "%s", r.Value)
			require.ErrorIs(w, r.Reason, kgo.ErrClientClosed)
		}
		producertest.Wait(w.T, doubtful[0], inFlight[0])
		for _, r := range slices.Concat(doubtful, inFlight) {
			require.Equal(w, partition.Unknown, r.Outcome(), "%s", r.Value)
		}
		late := w.Send(1, nil)
		producertest.Wait(w.T, late[0])
		require.Equal(w, partition.NotWritten, late[0].Outcome())
	})
}

// Close waits for no Policy: its context ends.
func TestTheContextOfThePolicyEndsWithTheProducer(t *testing.T) {
	ended := make(chan struct{})
	producertest.InVirtualTime(t, 1, contextPolicy{ended}, func(w *producertest.World) {
		w.Refuse(kerr.InvalidRecord, "a")
		r := w.Send(1, nil)
		time.Sleep(time.Second)
		w.Producer.Close()
		<-ended
		producertest.Wait(w.T, r[0])
		require.Equal(w, partition.NotWritten, r[0].Outcome())
	})
}

// contextPolicy waits for the end of its context.
type contextPolicy struct{ ended chan struct{} }

func (contextPolicy) Acked(*partition.Batch)               {}
func (contextPolicy) Check(*partition.Record, int32) error { return nil }
func (c contextPolicy) Next(ctx context.Context, _ *partition.Batch, _ broker.Answer) partition.Plan {
	<-ctx.Done()
	close(c.ended)
	return partition.Plan{Same: true}
}
