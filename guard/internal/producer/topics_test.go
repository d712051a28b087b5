package producer

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// again deletes the topic "t", creates it, and waits until the producer knows of that.
func (w *world) again(partitions int32) {
	_, err := w.c.Admin.DeleteTopic(w.Context(), "t")
	require.NoError(w, err)
	w.c.Topic("t", partitions)
	old := w.p.topic("t").id.Load()
	for w.p.topic("t").id.Load() == old {
		_, _ = w.p.Refresh(w.Context(), "t")
		time.Sleep(10 * time.Millisecond)
	}
}

// Records of a partition that is no more go to the next topic in their order, wherever they were:
// to be sent again, behind their key, later or queued.
func TestAllRecordsOfAPartitionThatIsNoMoreGoOn(t *testing.T) {
	policy := policyFunc(func(b *Batch, a Answer) Plan {
		if a.NoPartition { // they were back before the topic was read anew
			return Plan{Pause: time.Second}
		}
		return Plan{
			Later: []Later{{Record: b.Records[0], After: time.Hour}},
			Parts: []Part{{Records: b.Records[1:]}},
			Pause: 2 * time.Hour,
		}
	})
	inVirtualTime(t, 2, policy, func(w *world) {
		toOne := func(i int, r *Record) {
			if r.Partition = 1; i%2 == 0 {
				r.Key = []byte("k")
			}
		}
		in(w, "a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord})
		records := w.send(4, toOne)
		time.Sleep(time.Second)
		records = append(records, w.send(2, func(i int, r *Record) {
			toOne(i, r)
			r.Value = []byte{byte('x' + i)}
		})...)
		w.p.Withdraw(records[3:4], Queued, givenUp)
		began := time.Now()
		w.p.learn(another(1)) // then the cluster tells of two again
		wait(w.T, records[0], records[4])
		require.Less(w, time.Since(began), time.Minute)
		offset := int64(0)
		for i, r := range records {
			if i == 3 {
				require.Equal(w, NotWritten, r.Outcome())
				continue
			}
			require.Equal(w, Acked, r.Outcome())
			require.Greater(w, r.Offset, offset)
			offset = r.Offset
		}
		requireExact(w.T, w.c, records)
		time.Sleep(3 * time.Hour)
		requireExact(w.T, w.c, records)
	})
}

// What is in doubt when its topic is deleted and created again was not written to that one. If
// it was written by name, it may have been.
func TestWhatIsInDoubtWhenTheTopicIsAnother(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		versions *kversion.Versions
		want     Outcome
	}{"by ID": {nil, NotWritten}, "by name": {kversion.V3_6_0(), Unknown}} {
		t.Run(name, func(t *testing.T) {
			d := kafkafake.Kafka()
			d.Versions = test.versions
			besideDialect(t, d, 1, sameAfter(time.Hour), func(w *world) {
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
				records := w.send(2, nil)
				time.Sleep(time.Second)
				w.again(1)
				w.p.Withdraw(records, Doubtful, givenUp)
				require.Equal(w, test.want == Unknown, records[0].Ended())
				w.p.Withdraw(records, Queued, givenUp)
				require.Equal(w, []Outcome{test.want, test.want}, outcomes(records))
				requireExact(w.T, w.c, records)
				next := w.send(2, nil)
				time.Sleep(time.Hour) // the plan's pause
				wait(w.T, next[0])
				require.Equal(w, []Outcome{Acked, Acked}, outcomes(next))
			})
		})
	}
}

// A topic that appears while the Policy is asked about its records gets them after the plan's
// pause.
func TestATopicAppearsWhileThePolicyIsAsked(t *testing.T) {
	asked := 0
	policy := policyFunc(func(b *Batch, a Answer) Plan {
		if asked++; !a.Metadata {
			t.Error("it is about metadata")
		}
		return Plan{Pause: time.Minute}
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		toU := func(_ int, r *Record) { r.Topic = "u" }
		first := w.send(1, toU)
		time.Sleep(time.Second)
		w.c.Topic("u", 1)
		n, err := w.p.Refresh(w.Context(), "u")
		require.NoError(w, err)
		require.Equal(w, 1, n)
		second := w.send(1, func(_ int, r *Record) { r.Topic, r.Value = "u", []byte("b") })
		time.Sleep(30 * time.Second)
		require.Empty(w, w.valuesSeen(), "the second one stays behind the first")
		wait(w.T, first[0], second[0])
		require.Equal(w, []string{"a b"}, w.valuesSeen())
		require.Equal(w, 1, asked)
		require.Equal(w, []int64{0, 1}, []int64{first[0].Offset, second[0].Offset})
	})
}

// A topic that was looked up before it was forgotten takes records all the same.
func TestATopicIsForgottenBeforeItGetsRecords(t *testing.T) {
	inVirtualTime(t, 1, &plain{}, func(w *world) {
		topic := w.p.topic("t")
		require.True(w, w.p.Forget("t"))
		records := w.records(2, nil)
		topic.send(records[:1])
		topic.send(records[1:])
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Acked, Acked}, outcomes(records))
		requireExact(w.T, w.c, records)
		w.p.learn(&kmsg.MetadataResponseTopic{}) // of no topic
		m := another(1)
		w.p.Forget("t")
		w.p.learn(m) // of one that is not in use
		require.False(w, w.p.Uses("t"))
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
	inVirtualTime(t, 1, policyFunc(failAll), func(w *world) {
		w.c.Topic("u", 3)
		_, err := w.p.Refresh(w.Context(), "u")
		require.NoError(w, err)
		m := another(3)
		u := "u"
		m.Topic, m.TopicID, m.Partitions[2].Leader = &u, w.p.topic("u").id.Load(), -1
		w.p.learn(m)
		values := []string{"", "a", "bb", "", "k", "kkk"}
		records := w.send(len(values), func(i int, r *Record) {
			r.Topic, r.Value = "u", []byte(values[i])
			if i > 2 {
				r.Key = []byte("k")
			}
		})
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Acked, Acked, Acked, NotWritten, Acked, Acked}, outcomes(records))
		for i, want := range []int32{2, 1, 0, -1, 2, 0} {
			if want >= 0 {
				require.Equal(w, want, records[i].Partition, i)
			}
		}
		require.Len(w, w.c.Log("u"), 5)
	}, func(cfg *Config) { cfg.Partitioner = fromBehind{} })
}

// A partitioner that goes by what is queued is told that, of the partitions that have a leader.
func TestThePartitionWithTheLeastQueued(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]int32{"all have a leader": -1, "one has none": 0} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, 3, &plain{}, func(w *world) {
				m := another(3)
				m.TopicID = w.p.topic("t").id.Load()
				if gone >= 0 {
					m.Partitions[gone].Leader = -1
				}
				w.p.learn(m)
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second, Count: -1})
				var all []*Record
				to := map[int32]int{}
				for n := range 6 {
					r := w.send(1, func(_ int, r *Record) { r.Value = []byte{byte('a' + n)} })[0]
					time.Sleep(10 * time.Millisecond)
					to[r.Partition]++
					all = append(all, r)
				}
				require.Equal(w, map[bool]map[int32]int{true: {0: 2, 1: 2, 2: 2}, false: {1: 3, 2: 3}}[gone < 0], to)
				wait(w.T, all...)
				requireExact(w.T, w.c, all)
			}, func(cfg *Config) {
				cfg.Partitioner, cfg.MetadataMinAge = kgo.LeastBackupPartitioner(), time.Hour
			})
		})
	}
}

// Records are written to the oldest brokers that have headers and numbers, too.
func TestTheOldestBrokers(t *testing.T) {
	d := kafkafake.Kafka()
	d.Versions = kversion.V0_11_0()
	besideDialect(t, d, 2, &plain{}, func(w *world) {
		records := w.send(6, func(i int, r *Record) { r.Partition = int32(i % 2) })
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Acked, Acked, Acked, Acked, Acked, Acked}, outcomes(records))
		requireExact(w.T, w.c, records)
		require.Positive(w, w.seen()[0].number.id)
	})
}

// Whether brokers are to create topics is the caller's to say.
func TestWhetherTopicsAreCreated(t *testing.T) {
	t.Parallel()
	for _, create := range []bool{false, true} {
		t.Run(fmt.Sprint(create), func(t *testing.T) {
			inVirtualTime(t, 1, &plain{}, func(w *world) {
				asked := make(chan bool, 100)
				w.c.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Count: -1, When: func(req kmsg.Request) bool {
					if m := req.(*kmsg.MetadataRequest); len(m.Topics) > 0 {
						asked <- m.AllowAutoTopicCreation
					}
					return false
				}})
				_, err := w.p.Refresh(w.Context(), "t")
				require.NoError(w, err)
				require.Equal(w, create, <-asked)
			}, func(cfg *Config) { cfg.AutoCreate = create })
		})
	}
}

// If the cluster lets no metadata be read, the Policy is asked about all records that wait for
// their topic, and no others.
func TestMetadataThatIsRefused(t *testing.T) {
	var asked []Answer
	var of []string
	policy := policyFunc(func(b *Batch, a Answer) Plan {
		asked, of = append(asked, a), append(of, b.Topic)
		return failAll(b, a)
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		records := w.send(2, func(_ int, r *Record) { r.Topic = "u" })
		w.p.failPending(kerr.SaslAuthenticationFailed)
		wait(w.T, records[0])
		require.Equal(w, []Answer{{Err: kerr.SaslAuthenticationFailed, Metadata: true}}, asked)
		require.Equal(w, []string{"u"}, of)
		require.Equal(w, []Outcome{NotWritten, NotWritten}, outcomes(records))
		records = w.send(1, func(_ int, r *Record) { r.Topic = "u" })
		u := "u"
		w.p.learn(&kmsg.MetadataResponseTopic{Topic: &u}) // without partitions
		wait(w.T, records[0])
		require.Equal(w, Answer{Code: kerr.LeaderNotAvailable.Code, Err: kerr.LeaderNotAvailable, Metadata: true}, asked[1])
		w.c.Topic("u", 1)
		next := w.send(1, func(_ int, r *Record) { r.Topic = "u" })
		wait(w.T, next[0], w.send(1, nil)[0])
		require.Equal(w, Acked, next[0].Outcome())
	}, func(cfg *Config) { cfg.MetadataMinAge = time.Minute })
}

// A record that is given up while its topic is not known is not written when that is.
func TestWhatIsGivenUpBeforeItsTopicIsKnown(t *testing.T) {
	inVirtualTime(t, 1, &plain{}, func(w *world) {
		w.c.Topic("u", 1)
		records := w.send(3, func(_ int, r *Record) { r.Topic = "u" })
		w.p.Withdraw(records[1:], Doubtful, givenUp)
		w.p.Withdraw(records[1:2], Queued, givenUp)
		require.Equal(w, []Outcome{Pending, NotWritten, Pending}, outcomes(records))
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Acked, NotWritten, Acked}, outcomes(records))
		require.Equal(w, map[string]int{"a": 1, "c": 1}, w.c.Values("u"))
	}, func(cfg *Config) { cfg.MetadataMinAge = time.Minute })
}

// A record that failed in doubt in a partition that is no more was not written to the topic of
// now.
func TestWhatFailedInDoubtInAPartitionThatIsNoMore(t *testing.T) {
	inVirtualTime(t, 2, failsOnceAnswered, func(w *world) {
		in(w, "a", kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		in(w, "a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		records := w.send(2, func(_ int, r *Record) { r.Partition = 1 })
		time.Sleep(time.Second)
		require.Equal(w, []Outcome{Pending, Pending}, outcomes(records))
		w.again(1)
		wait(w.T, records[0])
		for _, r := range records {
			require.Equal(w, NotWritten, r.Outcome())
			require.ErrorIs(w, r.Reason, kerr.InvalidRecord)
		}
		require.Empty(w, w.c.Log("t"))
	})
}
