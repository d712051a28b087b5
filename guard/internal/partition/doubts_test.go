package partition_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A record that is given up is its owner's again. What it was stays in the batch that may have
// been written, which is sent again for the others.
func TestARecordThatIsGivenUpKeepsItsPlace(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"in flight": time.Second, "before it is sent again": 30 * time.Second} {
		t.Run(name, func(t *testing.T) {
			producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Minute), func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.SwallowAnswer})
				records := w.Send(2, nil)
				time.Sleep(after)
				w.Producer.Withdraw(records[:1], partition.All, producertest.GivenUp)
				require.Equal(w, partition.Unknown, records[0].Outcome())
				records[0].Value[0], records[0].Key = 'x', []byte("x")
				producertest.Wait(w.T, records[0])
				came := w.Seen()
				require.Len(w, came, 2)
				require.Equal(w, []string{"a b", "a b"}, []string{came[0].Values, came[1].Values})
				require.Equal(w, came[0].First, came[1].First)
				require.Equal(w, came[0].Number, came[1].Number)
				require.Equal(w, partition.Acked, records[1].Outcome())
				producertest.RequireExact(w.T, w.Cluster, records[1:])
				require.Len(w, w.Cluster.Log("t"), 3)
			})
		})
	}
}

// A batch that is rejected after a lost answer may have been appended. The next one takes its
// number, with fewer records, and its answer tells.
func TestTheNextBatchTellsWhatBecameOfOne(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lost kafkafake.Action
		want partition.Outcome
	}{{kafkafake.DisconnectBefore, partition.NotWritten}, {kafkafake.DisconnectAfter, partition.Unknown}} {
		t.Run(test.lost.String(), func(t *testing.T) {
			producertest.InVirtualTime(t, 1, producertest.SameAfter(10*time.Second), func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: test.lost})
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
				records := w.Send(2, nil)
				time.Sleep(time.Second)
				next := w.Send(2, func(i int, r *partition.Record) { r.Value = []byte{byte('x' + i)} })
				producertest.Wait(w.T, records[0], next[0])
				came := w.Seen()
				require.Equal(w, []string{"a b", "a b", "x"}, []string{came[0].Values, came[1].Values, came[2].Values})
				require.Equal(w, came[0].First, came[2].First)
				for _, r := range records {
					require.Equal(w, test.want, r.Outcome())
					require.ErrorIs(w, r.Reason, kerr.InvalidRecord)
				}
				for _, r := range next {
					require.Equal(w, partition.Acked, r.Outcome())
				}
				producertest.RequireExact(w.T, w.Cluster, append(records, next...))
			})
		})
	}
}

// A batch in doubt is stamped anew once for each plan that says so.
func TestABatchInDoubtIsStampedAnewOnce(t *testing.T) {
	stamp := true
	policy := producertest.PolicyFunc(func(*partition.Batch, broker.Answer) partition.Plan {
		defer func() { stamp = false }()
		return partition.Plan{Same: true, Restamp: stamp, Pause: time.Minute}
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Count: 2})
		producertest.Wait(w.T, w.Send(1, nil)[0])
		came := w.Seen()
		require.Len(w, came, 3)
		require.InDelta(w, 60_000, came[1].Stamps[0]-came[0].Stamps[0], 1000)
		require.Equal(w, came[1].Stamps, came[2].Stamps)
	})
}

// A batch whose answer was lost when its topic was another one is written to the topic of now.
func TestALostBatchGoesToTheTopicOfNow(t *testing.T) {
	producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Second), func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.SwallowAnswer})
		records := w.Send(2, nil)
		time.Sleep(time.Second)
		_, err := w.Cluster.Admin.DeleteTopic(w.Context(), "t")
		require.NoError(w, err)
		w.Cluster.Topic("t", 1)
		old := w.Partition(0).TopicID()
		for w.Partition(0).TopicID() == old {
			_, _ = w.Producer.Refresh(w.Context(), "t")
			time.Sleep(10 * time.Millisecond)
		}
		producertest.Wait(w.T, records[0])
		for _, r := range records {
			require.Equal(w, partition.Acked, r.Outcome())
		}
		producertest.RequireExact(w.T, w.Cluster, records)
	})
}

// A topic that was created again is begun anew: the broker has nothing to reject.
func TestATopicThatIsCreatedAgainIsBegunAnew(t *testing.T) {
	policy := &producertest.Plain{}
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		producertest.Wait(w.T, w.Send(3, nil)[0])
		before := w.Seen()[0]
		_, err := w.Cluster.Admin.DeleteTopic(w.Context(), "t")
		require.NoError(w, err)
		w.Cluster.Topic("t", 1)
		old := w.Partition(0).TopicID()
		for w.Partition(0).TopicID() == old {
			_, _ = w.Producer.Refresh(w.Context(), "t")
			time.Sleep(10 * time.Millisecond)
		}
		records := w.Send(3, nil)
		producertest.Wait(w.T, records[0])
		after := w.Seen()
		require.Len(w, after, 1)
		require.Zero(w, after[0].First)
		require.NotEqual(w, before.Number, after[0].Number)
		require.Empty(w, policy.Asked())
		producertest.RequireExact(w.T, w.Cluster, records)
	})
}

// The log's time is told where the topic has it, and not where a duplicate is answered with one.
func TestWhoseTimeARecordHas(t *testing.T) {
	t.Parallel()
	for name, logTime := range map[string]bool{"CreateTime": false, "LogAppendTime": true} {
		t.Run(name, func(t *testing.T) {
			producertest.InVirtualTime(t, 1, &producertest.Plain{}, func(w *producertest.World) {
				w.Cluster.Topic("u", 1, "message.timestamp.type="+name)
				for range 2 {
					r := w.Send(1, func(_ int, r *partition.Record) { r.Topic = "u" })
					producertest.Wait(w.T, r[0])
					require.Equal(w, logTime, r[0].Appended >= 0, r[0].Appended)
					w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
				}
			})
		})
	}
}

// What waits behind a record is sent once that is withdrawn, and what is withdrawn itself is
// not.
func TestWhatWaitsBehindOneThatIsWithdrawn(t *testing.T) {
	policy := producertest.PolicyFunc(func(b *partition.Batch, _ broker.Answer) partition.Plan {
		return partition.Plan{Later: []partition.Later{{Record: b.Records[0], After: time.Hour}}}
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Refuse(kerr.InvalidRecord, "a")
		key := func(_ int, r *partition.Record) { r.Key = []byte("k") }
		holder := w.Send(1, key)
		time.Sleep(time.Second)
		behind := w.Send(4, func(i int, r *partition.Record) { r.Key, r.Value = []byte("k"), []byte{byte('w' + i)} })
		time.Sleep(time.Second)
		w.Producer.Withdraw(behind[1:3], partition.Queued, producertest.GivenUp)
		require.Equal(w, []partition.Outcome{partition.Pending, partition.NotWritten, partition.NotWritten, partition.Pending}, []partition.Outcome{behind[0].Outcome(), behind[1].Outcome(), behind[2].Outcome(), behind[3].Outcome()})
		w.Seen()
		w.Producer.Withdraw(holder, partition.Queued, producertest.GivenUp)
		time.Sleep(time.Second)
		require.Equal(w, []string{"w z"}, w.ValuesSeen())
		require.Equal(w, partition.NotWritten, holder[0].Outcome())
		producertest.RequireExact(w.T, w.Cluster, slices.Concat(holder, behind))
	})
}

// Only a record that is given up whatever happens ends the wait of the Policy.
func TestWhatEndsTheWaitOfThePolicy(t *testing.T) {
	t.Parallel()
	for _, topic := range []string{"t", "missing"} {
		t.Run(topic, func(t *testing.T) {
			policy := &producertest.UntilGivenUp{}
			producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
				policy.Asked = make(chan struct{}, 1)
				w.Refuse(kerr.InvalidRecord, "a")
				r := w.Send(1, func(_ int, r *partition.Record) { r.Topic = topic })
				<-policy.Asked
				for _, which := range []partition.Withdrawal{partition.Doubtful, partition.Queued} {
					w.Producer.Withdraw(r, which, producertest.GivenUp)
					time.Sleep(time.Minute)
					require.False(w, r[0].Ended())
				}
				w.Producer.Withdraw(r, partition.All, func(*partition.Record) error { return producertest.ErrGivenUp })
				producertest.Wait(w.T, r[0])
				require.Equal(w, partition.NotWritten, r[0].Outcome())
				require.Equal(w, producertest.ErrGivenUp, r[0].Reason)
			})
		})
	}
}

// What stays in doubt since no number is left that would tell has the broker's code as its
// reason: of two records, both were rejected together, and the first one alone.
func TestWhyAPartitionLostTrack(t *testing.T) {
	policy := producertest.PolicyFunc(func(b *partition.Batch, _ broker.Answer) (plan partition.Plan) {
		for _, r := range b.Records {
			if len(b.Records) == 1 {
				plan.Later = append(plan.Later, partition.Later{Record: r, After: time.Second})
			} else {
				plan.Parts = append(plan.Parts, partition.Part{Records: []*partition.Record{r}})
			}
		}
		return plan
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownServerError, Count: 2})
		records := w.Send(2, nil)
		producertest.Wait(w.T, records[0])
		for _, r := range records {
			require.Equal(w, partition.Unknown, r.Outcome())
			require.ErrorIs(w, r.Reason, kerr.UnknownServerError)
		}
	})
}

// A record in doubt that is sent again later tells of those that failed in doubt meanwhile.
func TestARecordThatIsSentLaterTellsOfOthers(t *testing.T) {
	policy := producertest.PolicyFunc(func(b *partition.Batch, _ broker.Answer) (plan partition.Plan) {
		switch r := b.Records; len(r) {
		case 1:
			plan.Later = []partition.Later{{Record: r[0], After: time.Second}}
		case 2:
			plan.Failed = []partition.Failed{{r[0], producertest.ErrGivenUp}, {r[1], producertest.ErrGivenUp}}
		default:
			plan.Parts = []partition.Part{{Records: r[:1]}, {Records: r[1:]}}
		}
		return plan
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownServerError, Count: 3})
		records := w.Send(3, nil)
		producertest.Wait(w.T, records[0])
		require.Equal(w, []string{"a b c", "a", "b c", "a"}, w.ValuesSeen())
		require.Equal(w, partition.Acked, records[0].Outcome())
		for _, r := range records[1:] {
			require.Equal(w, partition.NotWritten, r.Outcome())
			require.Equal(w, producertest.ErrGivenUp, r.Reason)
		}
	})
}
