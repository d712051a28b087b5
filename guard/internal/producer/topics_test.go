package producer_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// What the cluster tells of a topic before it is used spares its first records a wait. What
// is no good news is not kept.
func TestIntroduce(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		w.Cluster.Topic("u", 2)
		told := func(topic string, partitions int, code int16) *kmsg.MetadataResponseTopic {
			m := producertest.Another(partitions)
			m.Topic, m.ErrorCode, m.TopicID = &topic, code, w.Producer.IDOf("t")
			return m
		}
		asked := producertest.MetadataAsked(w.Cluster)
		w.Producer.Introduce(told("t", 5, 0))
		require.Len(w, w.Producer.PartitionsOf("t"), 1, "it is known better")
		w.Producer.Introduce(&kmsg.MetadataResponseTopic{Partitions: told("v", 1, 0).Partitions})
		w.Producer.Introduce(told("v", 0, 0))
		w.Producer.Introduce(told("v", 1, kerr.LeaderNotAvailable.Code))
		require.False(w, w.Producer.Uses("v"))
		m := told("u", 2, 0)
		list, err := w.Cluster.Admin.ListTopics(w.Context(), "u")
		require.NoError(w, err)
		m.TopicID = list["u"].ID
		asked()
		w.Producer.Introduce(m)
		require.True(w, w.Producer.Uses("u"))
		records := w.Send(2, func(i int, r *partition.Record) { r.Topic, r.Partition = "u", int32(i) })
		producertest.Wait(w.T, records[0])
		at, _ := asked()
		require.Empty(w, at)
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked}, []partition.Outcome{records[0].Outcome(), records[1].Outcome()})
	})
}

// A partition without a leader is asked for again while it has records, and not otherwise.
func TestAPartitionWithoutALeader(t *testing.T) {
	producertest.InVirtualTime(t, 2, &producertest.Plain{}, func(w *producertest.World) {
		m := producertest.Another(2)
		m.TopicID = w.Producer.IDOf("t")
		m.Partitions[1].Leader = -1
		asked := producertest.MetadataAsked(w.Cluster)
		w.Producer.Learn(m)
		time.Sleep(time.Minute)
		at, _ := asked()
		require.Empty(w, at)

		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
		r := w.Send(1, func(_ int, r *partition.Record) { r.Partition = 1 })
		synctest.Wait()
		w.Producer.Learn(m)
		require.ErrorIs(w, r[0].Trouble(), kerr.LeaderNotAvailable)
		time.Sleep(time.Second)
		at, _ = asked()
		require.NotEmpty(w, at)
		producertest.Wait(w.T, r[0])
		require.Equal(w, partition.Acked, r[0].Outcome())

		// Another broker may know of fewer partitions for a while.
		m.Partitions = m.Partitions[:1]
		w.Producer.Learn(m)
		records := w.Send(2, func(i int, r *partition.Record) { r.Partition = int32(i) })
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked}, []partition.Outcome{records[0].Outcome(), records[1].Outcome()})
	})
}

// A record may get a partition, or go back to its topic, while it is given up: it is looked for
// again.
func TestARecordThatIsGivenUpIsElsewhere(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second})
		records := w.Send(2, nil)
		p := w.Producer.PartitionsOf("t")[0]
		require.Equal(w, records, w.Producer.WithdrawPending(records, partition.All, producertest.GivenUp))
		pending := w.Records(2, nil)
		require.Equal(w, pending, p.Withdraw(pending, partition.All, producertest.GivenUp))
		require.Empty(w, p.Withdraw(records, partition.Queued, producertest.GivenUp))
		producertest.Wait(w.T, records[0])
	})
}

// again deletes the topic "t", creates it, and waits until the producer knows of that.
func again(w *producertest.World, partitions int32) {
	_, err := w.Cluster.Admin.DeleteTopic(w.Context(), "t")
	require.NoError(w, err)
	w.Cluster.Topic("t", partitions)
	old := w.Producer.IDOf("t")
	for w.Producer.IDOf("t") == old {
		_, _ = w.Producer.Refresh(w.Context(), "t")
		time.Sleep(10 * time.Millisecond)
	}
}

// Records of a partition that is no more go to the next topic in their order, wherever they were:
// to be sent again, behind their key, later or queued.
func TestAllRecordsOfAPartitionThatIsNoMoreGoOn(t *testing.T) {
	policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
		if a.NoPartition { // they were back before the topic was read anew
			return partition.Plan{Pause: time.Second}
		}
		return partition.Plan{
			Later: []partition.Later{{Record: b.Records[0], After: time.Hour}},
			Parts: []partition.Part{{Records: b.Records[1:]}},
			Pause: 2 * time.Hour,
		}
	})
	producertest.InVirtualTime(t, 2, policy, func(w *producertest.World) {
		toOne := func(i int, r *partition.Record) {
			if r.Partition = 1; i%2 == 0 {
				r.Key = []byte("k")
			}
		}
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord})
		records := w.Send(4, toOne)
		time.Sleep(time.Second)
		records = append(records, w.Send(2, func(i int, r *partition.Record) {
			toOne(i, r)
			r.Value = []byte{byte('x' + i)}
		})...)
		w.Producer.Withdraw(records[3:4], partition.Queued, producertest.GivenUp)
		began := time.Now()
		w.Producer.Learn(producertest.Another(1)) // then the cluster tells of two again
		producertest.Wait(w.T, records[0], records[4])
		require.Less(w, time.Since(began), time.Minute)
		offset := int64(0)
		for i, r := range records {
			if i == 3 {
				require.Equal(w, partition.NotWritten, r.Outcome())
				continue
			}
			require.Equal(w, partition.Acked, r.Outcome())
			require.Greater(w, r.Offset, offset)
			offset = r.Offset
		}
		producertest.RequireExact(w.T, w.Cluster, records)
		time.Sleep(3 * time.Hour)
		producertest.RequireExact(w.T, w.Cluster, records)
	})
}

// What is in doubt when its topic is deleted and created again was not written to that one. If
// it was written by name, it may have been.
func TestWhatIsInDoubtWhenTheTopicIsAnother(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		versions *kversion.Versions
		want     partition.Outcome
	}{"by ID": {nil, partition.NotWritten}, "by name": {kversion.V3_6_0(), partition.Unknown}} {
		t.Run(name, func(t *testing.T) {
			d := kafkafake.Kafka()
			d.Versions = test.versions
			producertest.BesideDialect(t, d, 1, producertest.SameAfter(time.Hour), func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
				records := w.Send(2, nil)
				time.Sleep(time.Second)
				again(w, 1)
				w.Producer.Withdraw(records, partition.Doubtful, producertest.GivenUp)
				require.Equal(w, test.want == partition.Unknown, records[0].Ended())
				w.Producer.Withdraw(records, partition.Queued, producertest.GivenUp)
				require.Equal(w, []partition.Outcome{test.want, test.want}, producertest.Outcomes(records))
				producertest.RequireExact(w.T, w.Cluster, records)
				next := w.Send(2, nil)
				time.Sleep(time.Hour) // the plan's pause
				producertest.Wait(w.T, next[0])
				require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked}, producertest.Outcomes(next))
			})
		})
	}
}

// A topic that appears while the Policy is asked about its records gets them after the plan's
// pause.
func TestATopicAppearsWhileThePolicyIsAsked(t *testing.T) {
	asked := 0
	policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
		if asked++; !a.Metadata {
			t.Error("it is about metadata")
		}
		return partition.Plan{Pause: time.Minute}
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		toU := func(_ int, r *partition.Record) { r.Topic = "u" }
		first := w.Send(1, toU)
		time.Sleep(time.Second)
		w.Cluster.Topic("u", 1)
		n, err := w.Producer.Refresh(w.Context(), "u")
		require.NoError(w, err)
		require.Equal(w, 1, n)
		second := w.Send(1, func(_ int, r *partition.Record) { r.Topic, r.Value = "u", []byte("b") })
		time.Sleep(30 * time.Second)
		require.Empty(w, w.ValuesSeen(), "the second one stays behind the first")
		producertest.Wait(w.T, first[0], second[0])
		require.Equal(w, []string{"a b"}, w.ValuesSeen())
		require.Equal(w, 1, asked)
		require.Equal(w, []int64{0, 1}, []int64{first[0].Offset, second[0].Offset})
	})
}

// A topic that was looked up before it was forgotten takes records all the same.
func TestATopicIsForgottenBeforeItGetsRecords(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		topic := w.Producer.TopicOf("t")
		require.True(w, w.Producer.Forget("t"))
		records := w.Records(2, nil)
		topic.Send(records[:1])
		topic.Send(records[1:])
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked}, producertest.Outcomes(records))
		producertest.RequireExact(w.T, w.Cluster, records)
		w.Producer.Learn(&kmsg.MetadataResponseTopic{}) // of no topic
		m := producertest.Another(1)
		w.Producer.Forget("t")
		w.Producer.Learn(m) // of one that is not in use
		require.False(w, w.Producer.Uses("t"))
	})
}

// fromBehind is a partitioner that counts from behind: a value of a letter is for the last
// partition, none for a number behind that.
type fromBehind struct{}

func (fromBehind) ForTopic(string) kgo.TopicPartitioner   { return fromBehind{} }
func (fromBehind) RequiresConsistency(r *kgo.Record) bool { return r.Key != nil }
func (fromBehind) Partition(r *kgo.Record, n int) int     { return n - len(r.Value) }

// Without a key, a partitioner chooses among the partitions that have a leader, with one, among
// all. A number that is none of them is for the Policy, unless the topic has it.
func TestAmongWhichPartitionsIsChosen(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.PolicyFunc(producertest.FailAll), func(w *producertest.World) {
		w.Cluster.Topic("u", 3)
		_, err := w.Producer.Refresh(w.Context(), "u")
		require.NoError(w, err)
		m := producertest.Another(3)
		u := "u"
		m.Topic, m.TopicID, m.Partitions[2].Leader = &u, w.Producer.IDOf("u"), -1
		w.Producer.Learn(m)
		values := []string{"", "a", "bb", "", "k", "kkk"}
		records := w.Send(len(values), func(i int, r *partition.Record) {
			r.Topic, r.Value = "u", []byte(values[i])
			if i > 2 {
				r.Key = []byte("k")
			}
		})
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked, partition.Acked, partition.NotWritten, partition.Acked, partition.Acked}, producertest.Outcomes(records))
		for i, want := range []int32{2, 1, 0, -1, 2, 0} {
			if want >= 0 {
				require.Equal(w, want, records[i].Partition, i)
			}
		}
		require.Len(w, w.Cluster.Log("u"), 5)
	}, func(cfg *producer.Config) { cfg.Partitioner = fromBehind{} })
}

// A partitioner that goes by what is queued is told that, of the partitions that have a leader.
func TestThePartitionWithTheLeastQueued(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]int32{"all have a leader": -1, "one has none": 0} {
		t.Run(name, func(t *testing.T) {
			producertest.InVirtualTime(t, 3, &producertest.Plain{}, func(w *producertest.World) {
				m := producertest.Another(3)
				m.TopicID = w.Producer.IDOf("t")
				if gone >= 0 {
					m.Partitions[gone].Leader = -1
				}
				w.Producer.Learn(m)
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second, Count: -1})
				var all []*partition.Record
				to := map[int32]int{}
				for n := range 6 {
					r := w.Send(1, func(_ int, r *partition.Record) { r.Value = []byte{byte('a' + n)} })[0]
					time.Sleep(10 * time.Millisecond)
					to[r.Partition]++
					all = append(all, r)
				}
				require.Equal(w, map[bool]map[int32]int{true: {0: 2, 1: 2, 2: 2}, false: {1: 3, 2: 3}}[gone < 0], to)
				producertest.Wait(w.T, all...)
				producertest.RequireExact(w.T, w.Cluster, all)
			}, func(cfg *producer.Config) {
				cfg.Partitioner, cfg.MetadataMinAge = kgo.LeastBackupPartitioner(), time.Hour
			})
		})
	}
}

// Records are written to the oldest brokers that have headers and numbers, too.
func TestTheOldestBrokers(t *testing.T) {
	d := kafkafake.Kafka()
	d.Versions = kversion.V0_11_0()
	producertest.BesideDialect(t, d, 2, &producertest.Plain{}, func(w *producertest.World) {
		records := w.Send(6, func(i int, r *partition.Record) { r.Partition = int32(i % 2) })
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked, partition.Acked, partition.Acked, partition.Acked, partition.Acked}, producertest.Outcomes(records))
		producertest.RequireExact(w.T, w.Cluster, records)
		require.Positive(w, w.Seen()[0].Number.ID)
	})
}

// Whether brokers are to create topics is the caller's to say.
func TestWhetherTopicsAreCreated(t *testing.T) {
	t.Parallel()
	for _, create := range []bool{false, true} {
		t.Run(fmt.Sprint(create), func(t *testing.T) {
			producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
				asked := make(chan bool, 100)
				w.Cluster.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Count: -1, When: func(req kmsg.Request) bool {
					if m := req.(*kmsg.MetadataRequest); len(m.Topics) > 0 {
						asked <- m.AllowAutoTopicCreation
					}
					return false
				}})
				_, err := w.Producer.Refresh(w.Context(), "t")
				require.NoError(w, err)
				require.Equal(w, create, <-asked)
			}, func(cfg *producer.Config) { cfg.AutoCreate = create })
		})
	}
}

// If the cluster lets no metadata be read, the Policy is asked about all records that wait for
// their topic, and no others.
func TestMetadataThatIsRefused(t *testing.T) {
	var asked []broker.Answer
	var of []string
	policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
		asked, of = append(asked, a), append(of, b.Topic)
		if b.First != time.Now() {
			t.Error("it begins to fail now") // in virtual time
		}
		return producertest.FailAll(b, a)
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		records := w.Send(2, func(_ int, r *partition.Record) { r.Topic = "u" })
		w.Producer.FailPending(kerr.SaslAuthenticationFailed)
		producertest.Wait(w.T, records[0])
		require.Equal(w, []broker.Answer{{Err: kerr.SaslAuthenticationFailed, Metadata: true}}, asked)
		require.Equal(w, []string{"u"}, of)
		require.Equal(w, []partition.Outcome{partition.NotWritten, partition.NotWritten}, producertest.Outcomes(records))
		records = w.Send(1, func(_ int, r *partition.Record) { r.Topic = "u" })
		u := "u"
		w.Producer.Learn(&kmsg.MetadataResponseTopic{Topic: &u}) // without partitions
		producertest.Wait(w.T, records[0])
		require.Equal(w, broker.Answer{Code: kerr.LeaderNotAvailable.Code, Err: kerr.LeaderNotAvailable, Metadata: true}, asked[1])
		w.Cluster.Topic("u", 1)
		next := w.Send(1, func(_ int, r *partition.Record) { r.Topic = "u" })
		producertest.Wait(w.T, next[0], w.Send(1, nil)[0])
		require.Equal(w, partition.Acked, next[0].Outcome())
	}, func(cfg *producer.Config) { cfg.MetadataMinAge = time.Minute })
}

// A record that is given up while its topic is not known is not written when that is.
func TestWhatIsGivenUpBeforeItsTopicIsKnown(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		w.Cluster.Topic("u", 1)
		records := w.Send(3, func(_ int, r *partition.Record) { r.Topic = "u" })
		w.Producer.Withdraw(records[1:], partition.Doubtful, producertest.GivenUp)
		w.Producer.Withdraw(records[1:2], partition.Queued, producertest.GivenUp)
		require.Equal(w, []partition.Outcome{partition.Pending, partition.NotWritten, partition.Pending}, producertest.Outcomes(records))
		producertest.Wait(w.T, records[0])
		require.Equal(w, []partition.Outcome{partition.Acked, partition.NotWritten, partition.Acked}, producertest.Outcomes(records))
		require.Equal(w, map[string]int{"a": 1, "c": 1}, w.Cluster.Values("u"))
	}, func(cfg *producer.Config) { cfg.MetadataMinAge = time.Minute })
}

// A record that failed in doubt in a partition that is no more was not written to the topic of
// now.
func TestWhatFailedInDoubtInAPartitionThatIsNoMore(t *testing.T) {
	producertest.InVirtualTime(t, 2, producertest.FailsOnceAnswered, func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		records := w.Send(2, func(_ int, r *partition.Record) { r.Partition = 1 })
		time.Sleep(time.Second)
		require.Equal(w, []partition.Outcome{partition.Pending, partition.Pending}, producertest.Outcomes(records))
		again(w, 1)
		producertest.Wait(w.T, records[0])
		for _, r := range records {
			require.Equal(w, partition.NotWritten, r.Outcome())
			require.ErrorIs(w, r.Reason, kerr.InvalidRecord)
		}
		require.Empty(w, w.Cluster.Log("t"))
	})
}

// Without idempotence a record in doubt may be in the partition that is no more: not in the topic
// of now.
func TestADoubtEndsWithThePartition(t *testing.T) {
	asked := 0
	policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
		switch asked++; {
		case a.NoPartition: // until the topic is read anew
			return partition.Plan{Pause: time.Second}
		case asked == 1:
			return partition.Plan{Same: true, Pause: time.Hour}
		}
		return producertest.FailAll(b, a)
	})
	producertest.InVirtualTime(t, 2, policy, func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		records := w.Send(1, func(_ int, r *partition.Record) { r.Partition = 1 })
		time.Sleep(time.Second)
		w.Producer.Learn(producertest.Another(1)) // then the cluster tells of two again
		producertest.Wait(w.T, records[0])
		require.Equal(w, partition.NotWritten, records[0].Outcome())
		require.ErrorIs(w, records[0].Reason, kerr.InvalidRecord)
		require.Empty(w, w.Cluster.Values("t")["a"])
	}, func(cfg *producer.Config) { cfg.Idempotent = false })
}

// A partition of a topic that was forgotten takes no records.
func TestAForgottenPartitionTakesNoRecords(t *testing.T) {
	producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
		part := w.Partition(0)
		require.True(w, w.Producer.Forget("t"))
		records := w.Records(1, nil)
		require.Nil(w, part.Enqueue(records))
		producertest.Wait(w.T, records[0])
		require.Equal(w, partition.NotWritten, records[0].Outcome())
		require.ErrorIs(w, records[0].Reason, partition.ErrClosed)
	})
}
