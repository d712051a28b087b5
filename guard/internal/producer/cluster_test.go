package producer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// One request has the batches of several topics and partitions, in each version.
func TestARequestOfSeveralTopics(t *testing.T) {
	t.Parallel()
	for name, versions := range map[string]*kversion.Versions{"2.0": kversion.V2_0_0(), "2.4": kversion.V2_4_0(), "2.8": kversion.V2_8_0(), "3.6": kversion.V3_6_0(), "newest": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := kafkafake.Kafka()
				d.Versions = versions
				c := kafkafake.StartDialect(t, d, &kafkafake.Network{Latency: time.Millisecond})
				p := producertest.New(t, c, &producertest.Plain{}, func(cfg *producer.Config) { cfg.InFlight = 1 })
				topics := []string{"t", "another", "u"}
				to := func(value string) (records []*partition.Record) {
					w := partition.NewWrite()
					for n := range 6 {
						r := &partition.Record{Record: &kgo.Record{Topic: topics[n%3], Partition: int32(n / 3), Value: []byte(value)}, Write: w}
						r.Prepare()
						records = append(records, r)
					}
					w.Expect(len(records))
					p.Send(records)
					return records
				}
				for _, topic := range topics {
					c.Topic(topic, 2)
				}
				all := to("first")
				producertest.Wait(t, all[0])
				c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
				all = append(all, producertest.Send(p, kgo.Record{Value: []byte("ahead")}))
				time.Sleep(time.Second)
				var mu sync.Mutex
				var batches []int // of each request
				var named int     // topics of the latest
				c.AddFault(kafkafake.Fault{Count: -1, When: func(req kmsg.Request) bool {
					n := 0
					for _, t := range req.(*kmsg.ProduceRequest).Topics {
						n += len(t.Partitions)
					}
					mu.Lock()
					defer mu.Unlock()
					if batches = append(batches, n); len(batches) == 1 {
						named = len(req.(*kmsg.ProduceRequest).Topics)
					}
					return false
				}})
				// Each batch gets its own answer.
				refused := c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Topic: "another", Partitions: []int32{1}})
				together := to("together")
				producertest.Wait(t, together[0])
				require.Equal(t, 1, refused.Hits())
				require.Equal(t, []int{6}, batches[:1])
				require.Equal(t, 3, named, "each topic once")
				for n, r := range together {
					require.Equal(t, []partition.Outcome{partition.Acked, partition.NotWritten}[btoi(n == 4)], r.Outcome(), n)
				}
				for _, topic := range topics {
					for _, r := range c.Log(topic) {
						at := slices.IndexFunc(slices.Concat(all, together), func(o *partition.Record) bool {
							return o.Topic == topic && o.Partition == r.Partition && o.Offset == r.Offset && string(o.Value) == string(r.Value)
						})
						require.GreaterOrEqual(t, at, 0, "%s/%d at %d", topic, r.Partition, r.Offset)
					}
				}
			})
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A broker that can't be reached is tried again after growing pauses, which are short again
// once it was reached.
func TestABrokerThatIsAwayIsTriedAgain(t *testing.T) {
	var mu sync.Mutex
	var failures []int
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		for range 2 {
			mu.Lock()
			failures = nil
			mu.Unlock()
			w.Cluster.Away(0, true)
			r := w.Send(1, nil)
			time.Sleep(70 * time.Second)
			require.False(w, r[0].Ended())
			require.Error(w, w.Producer.Trouble())
			mu.Lock()
			tries := slices.Clone(failures)
			mu.Unlock()
			require.GreaterOrEqual(w, len(tries), 3, tries)
			require.LessOrEqual(w, len(tries), 60, tries)
			require.Equal(w, 1, slices.Min(tries))
			w.Cluster.Away(0, false)
			producertest.Wait(w.T, r[0])
			require.Equal(w, partition.Acked, r[0].Outcome())
			require.NoError(w, w.Producer.Trouble())
		}
	}, func(cfg *producer.Config) {
		cfg.Backoff = func(n int) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			failures = append(failures, n)
			return time.Duration(n) * time.Second
		}
	})
}

// What waits for a broker that is away goes to the next leader.
func TestWhatWaitsGoesToTheNextLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond}, kfake.NumBrokers(2))
		c.Topic("t", 1)
		require.NoError(t, c.MoveTopicPartition("t", 0, 1))
		p := producertest.New(t, c, &producertest.Plain{}, func(cfg *producer.Config) { cfg.Backoff = func(int) time.Duration { return time.Second } })
		producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("first")}))
		c.Away(1, true)
		waiting := []*partition.Record{producertest.Send(p, kgo.Record{Value: []byte("a")}), producertest.Send(p, kgo.Record{Value: []byte("b")})}
		time.Sleep(20 * time.Second)
		require.False(t, waiting[0].Ended())
		require.NoError(t, c.MoveTopicPartition("t", 0, 0))
		began := time.Now()
		producertest.Wait(t, waiting...)
		require.Less(t, time.Since(began), 30*time.Second)
		producertest.RequireExact(t, c, waiting)
		require.Equal(t, []partition.Outcome{partition.Acked, partition.Acked}, []partition.Outcome{waiting[0].Outcome(), waiting[1].Outcome()})
	})
}

// However often metadata is wanted, it is read once in the shortest time, of what is wanted,
// and each that waits for it hears of a reading that began afterwards.
func TestHowOftenMetadataIsRead(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		w.Cluster.Topic("u", 3)
		producertest.Wait(w.T, w.Send(1, func(_ int, r *partition.Record) { r.Topic = "u" })[0])
		time.Sleep(20 * time.Second)
		asked := producertest.MetadataAsked(w.Cluster)
		for range 100 {
			w.Producer.Want("t")
			time.Sleep(time.Second)
		}
		at, topics := asked()
		require.InDelta(w, 10, len(at), 1)
		for n := 1; n < len(at); n++ {
			require.GreaterOrEqual(w, at[n].Sub(at[n-1]), 10*time.Second-10*time.Millisecond)
		}
		require.Equal(w, 1, slices.Max(topics))
		time.Sleep(20 * time.Second)
		asked()

		began := time.Now()
		n, err := w.Producer.Refresh(w.Context(), "u")
		require.NoError(w, err)
		require.Equal(w, 3, n)
		require.Less(w, time.Since(began), time.Second)
		n, err = w.Producer.Refresh(w.Context(), "missing")
		require.ErrorIs(w, err, kerr.UnknownTopicOrPartition)
		require.Zero(w, n)
		require.InDelta(w, 10, time.Since(began).Seconds(), 1)
		_, topics = asked()
		require.Equal(w, []int{1, 1}, topics)
		time.Sleep(20 * time.Second)

		w.Producer.Want(producer.EveryTopic)
		time.Sleep(time.Second)
		_, topics = asked()
		require.Equal(w, []int{3}, topics[:1], "all that are in use")
	}, func(cfg *producer.Config) { cfg.MetadataMinAge = 10 * time.Second })
}

// While the cluster does not answer, metadata is asked for again after growing pauses, and
// why it is missing is told.
func TestMetadataThatDoesNotCome(t *testing.T) {
	var mu sync.Mutex
	var failures []int
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		w.Cluster.Topic("u", 1)
		asked := producertest.MetadataAsked(w.Cluster)
		hangs := w.Cluster.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Do: kafkafake.Swallow, Count: -1})
		r := w.Send(1, func(_ int, r *partition.Record) { r.Topic = "u" })
		done := make(chan error, 1)
		go func() {
			_, err := w.Producer.Refresh(w.Context(), "u")
			done <- err
		}()
		told := false
		for range 120 {
			time.Sleep(time.Second)
			told = told || w.Producer.Trouble() != nil // a connection ends it
		}
		require.True(w, told)
		mu.Lock()
		require.Equal(w, 1, failures[0])
		require.GreaterOrEqual(w, slices.Max(failures), 3)
		mu.Unlock()
		at, _ := asked()
		require.GreaterOrEqual(w, len(at), 3)
		require.LessOrEqual(w, len(at), 30)
		require.False(w, r[0].Ended())
		require.Empty(w, done)
		hangs.Over()
		producertest.Wait(w.T, r[0])
		require.Equal(w, partition.Acked, r[0].Outcome())
		require.NoError(w, <-done)
	}, func(cfg *producer.Config) {
		cfg.Backoff = func(n int) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			failures = append(failures, n)
			return time.Duration(n) * time.Second
		}
	})
}

// Metadata is read while records are sent, once in the longest time.
func TestMetadataGrowsOld(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		asked := producertest.MetadataAsked(w.Cluster)
		for range 30 {
			producertest.Wait(w.T, w.Send(1, nil)[0])
			time.Sleep(10 * time.Second)
		}
		at, _ := asked()
		require.InDelta(w, 5, len(at), 1)
		time.Sleep(time.Hour)
		at, _ = asked()
		require.Empty(w, at, "nothing is sent")
	}, func(cfg *producer.Config) { cfg.MetadataMaxAge = time.Minute })
}

// What no partition of the topic is for, is for the Policy: it fails it, or it is placed anew
// after the pause.
func TestAPartitionThatTheTopicDoesNotHave(t *testing.T) {
	t.Parallel()
	for _, number := range []int32{-1, 2, 1} {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			var mu sync.Mutex
			var asked []broker.Answer
			var attempts []int
			policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
				mu.Lock()
				defer mu.Unlock()
				asked, attempts = append(asked, a), append(attempts, b.Attempts)
				return partition.Plan{Pause: time.Minute, Failed: []partition.Failed{{Record: b.Records[0], Reason: producertest.ErrGivenUp}}}
			})
			producertest.InVirtualTime(t, 2, policy, func(w *producertest.World) {
				records := w.Send(3, func(i int, r *partition.Record) { r.Partition = []int32{0, number, number}[i] })
				time.Sleep(30 * time.Second)
				require.Equal(w, partition.Acked, records[0].Outcome())
				if number == 1 {
					require.Empty(w, asked)
					require.Equal(w, partition.Acked, records[1].Outcome())
					return
				}
				producertest.Wait(w.T, records[0])
				require.Equal(w, []partition.Outcome{partition.NotWritten, partition.NotWritten}, []partition.Outcome{records[1].Outcome(), records[2].Outcome()})
				require.Equal(w, broker.Answer{NoPartition: true, Partitions: 2}, asked[0])
				require.Equal(w, []int{1, 1}, attempts)
				require.Len(w, asked, 2, "the second is placed anew")
				producertest.RequireExact(w.T, w.Cluster, records)
			})
		})
	}
}

func TestHooksHearOfTheEnd(t *testing.T) {
	h := &producertest.Heard{}
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		w.Refuse(kerr.InvalidRecord, "b")
		producertest.Wait(w.T, w.Send(1, nil)[0])
		producertest.Wait(w.T, w.Send(2, func(i int, r *partition.Record) { r.Partition = int32(i) })[0])
		require.Equal(w, producertest.Heard{Buffered: 4, Unbuffered: 4, Failed: 1}, *h) // the first, and three
	}, func(cfg *producer.Config) { cfg.Hooks = []kgo.Hook{h} })
}

// Brokers list all partitions: numbers beyond that are of none. A partition without a leader
// gets what needs that one, and no others.
func TestWhatMetadataTells(t *testing.T) {
	producertest.InVirtualTime(t, 3, &producertest.Plain{}, func(w *producertest.World) {
		m := producertest.Another(3)
		m.TopicID = w.Producer.IDOf("t")
		m.Partitions[1].Leader = -1
		m.Partitions = append(m.Partitions, kmsg.MetadataResponseTopicPartition{Partition: 5}, kmsg.MetadataResponseTopicPartition{Partition: -1})
		w.Producer.Learn(m)
		records := w.Send(9, nil)
		producertest.Wait(w.T, records[0])
		to := map[int32]int{}
		for _, r := range records {
			to[r.Partition]++
		}
		require.Len(w, w.Producer.PartitionsOf("t"), 3)
		require.Zero(w, to[1])
		require.Equal(w, 9, to[0]+to[2])
		require.Positive(w, to[0]*to[2])

		for i := range m.Partitions {
			m.Partitions[i].Leader = -1 // of none: all are as good as another
		}
		w.Producer.Learn(m)
		records = w.Send(9, nil)
		producertest.Wait(w.T, records[0])
		to = map[int32]int{}
		for _, r := range records {
			require.Equal(w, partition.Acked, r.Outcome())
			to[r.Partition]++
		}
		require.Len(w, to, 3)
	}, func(cfg *producer.Config) {
		cfg.MetadataMinAge = time.Hour
		cfg.Partitioner = kgo.RoundRobinPartitioner()
	})
}

// A topic is forgotten when it has no records.
func TestWhenATopicIsForgotten(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		require.True(w, w.Producer.Uses("t"))
		require.False(w, w.Producer.Uses("u"))
		require.True(w, w.Producer.Forget("u"))
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
		r := w.Send(1, nil)
		missing := w.Send(1, func(_ int, r *partition.Record) { r.Topic = "missing" })
		time.Sleep(time.Second)
		require.False(w, w.Producer.Forget("t"), "one is in flight")
		require.False(w, w.Producer.Forget("missing"), "one is pending")
		producertest.Wait(w.T, r[0])
		require.True(w, w.Producer.Forget("t"))
		require.False(w, w.Producer.Uses("t"))
		w.Producer.Withdraw(missing, partition.All, producertest.GivenUp)
		producertest.Wait(w.T, missing[0])
		require.Equal(w, partition.NotWritten, missing[0].Outcome())
		require.Equal(w, producertest.ErrGivenUp, missing[0].Reason)
		time.Sleep(time.Minute)
		require.True(w, w.Producer.Forget("missing"))
	})
}

// What a broker has listed, and could not take yet, goes to the next leader, or to the next
// topic of the same name.
func TestWhatIsListedGoesOn(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *kafkafake.Cluster) error{
		"to the next leader": func(c *kafkafake.Cluster) error { return c.MoveTopicPartition("t", 0, 0) },
		"to the next topic": func(c *kafkafake.Cluster) error {
			_, err := c.Admin.DeleteTopic(context.Background(), "t")
			c.Topic("t", 1)
			return errors.Join(err, c.MoveTopicPartition("t", 0, 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond}, kfake.NumBrokers(2))
				for _, topic := range []string{"t", "u"} {
					c.Topic(topic, 1)
					require.NoError(t, c.MoveTopicPartition(topic, 0, 1))
				}
				p := producertest.New(t, c, &producertest.Plain{}, func(cfg *producer.Config) { cfg.InFlight = 1 })
				toU := func() *partition.Record {
					r := &partition.Record{Record: &kgo.Record{Topic: "u", Value: []byte("ahead")}, Write: partition.NewWrite()}
					r.Prepare()
					r.Write.Expect(1)
					p.Send([]*partition.Record{r})
					return r
				}
				producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("first")}), toU())
				c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 20 * time.Second})
				ahead := toU()
				time.Sleep(time.Second)
				listed := producertest.Send(p, kgo.Record{Value: []byte("listed")})
				require.NoError(t, change(c))
				_, err := p.Refresh(t.Context(), "t")
				require.NoError(t, err)
				time.Sleep(time.Second)
				require.False(t, listed.Ended())
				producertest.Wait(t, ahead, listed)
				require.Equal(t, []partition.Outcome{partition.Acked, partition.Acked}, producertest.Outcomes([]*partition.Record{ahead, listed}))
				producertest.RequireExact(t, c, []*partition.Record{listed})
			})
		})
	}
}
