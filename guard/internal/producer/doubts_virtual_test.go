package producer

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// sameAfter has everything sent again after a pause, but what is rejected for its content.
func sameAfter(pause time.Duration) policyFunc {
	return func(b *Batch, a Answer) (plan Plan) {
		if errors.Is(a.Err, kerr.InvalidRecord) {
			for _, r := range b.Records {
				plan.Failed = append(plan.Failed, Failed{Record: r, Reason: a.Err})
			}
			return plan
		}
		return Plan{Same: true, Pause: pause}
	}
}

// A record that is given up is its owner's again. What it was stays in the batch that may have
// been written, which is sent again for the others.
func TestARecordThatIsGivenUpKeepsItsPlace(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"in flight": time.Second, "before it is sent again": 30 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, 1, sameAfter(time.Minute), func(w *world) {
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.SwallowAnswer})
				records := w.send(2, nil)
				time.Sleep(after)
				w.p.Withdraw(records[:1], All, givenUp)
				require.Equal(w, Unknown, records[0].Outcome())
				records[0].Value[0], records[0].Key = 'x', []byte("x")
				wait(w.T, records[0])
				came := w.seen()
				require.Len(w, came, 2)
				require.Equal(w, []string{"a b", "a b"}, []string{came[0].values, came[1].values})
				require.Equal(w, came[0].first, came[1].first)
				require.Equal(w, came[0].number, came[1].number)
				require.Equal(w, Acked, records[1].Outcome())
				requireExact(w.T, w.c, records[1:])
				require.Len(w, w.c.Log("t"), 3)
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
		want Outcome
	}{{kafkafake.DisconnectBefore, NotWritten}, {kafkafake.DisconnectAfter, Unknown}} {
		t.Run(test.lost.String(), func(t *testing.T) {
			inVirtualTime(t, 1, sameAfter(10*time.Second), func(w *world) {
				w.c.AddFault(kafkafake.Fault{Do: test.lost})
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
				records := w.send(2, nil)
				time.Sleep(time.Second)
				next := w.send(2, func(i int, r *Record) { r.Value = []byte{byte('x' + i)} })
				wait(w.T, records[0], next[0])
				came := w.seen()
				require.Equal(w, []string{"a b", "a b", "x"}, []string{came[0].values, came[1].values, came[2].values})
				require.Equal(w, came[0].first, came[2].first)
				for _, r := range records {
					require.Equal(w, test.want, r.Outcome())
					require.ErrorIs(w, r.Reason, kerr.InvalidRecord)
				}
				for _, r := range next {
					require.Equal(w, Acked, r.Outcome())
				}
				requireExact(w.T, w.c, append(records, next...))
			})
		})
	}
}

// A batch in doubt is stamped anew once for each plan that says so.
func TestABatchInDoubtIsStampedAnewOnce(t *testing.T) {
	stamp := true
	policy := policyFunc(func(*Batch, Answer) Plan {
		defer func() { stamp = false }()
		return Plan{Same: true, Restamp: stamp, Pause: time.Minute}
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Count: 2})
		wait(w.T, w.send(1, nil)[0])
		came := w.seen()
		require.Len(w, came, 3)
		require.InDelta(w, 60_000, came[1].stamps[0]-came[0].stamps[0], 1000)
		require.Equal(w, came[1].stamps, came[2].stamps)
	})
}

// A batch whose answer was lost when its topic was another one is written to the topic of now.
func TestALostBatchGoesToTheTopicOfNow(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.SwallowAnswer})
		records := w.send(2, nil)
		time.Sleep(time.Second)
		_, err := w.c.Admin.DeleteTopic(w.Context(), "t")
		require.NoError(w, err)
		w.c.Topic("t", 1)
		old := w.p.topic("t").id.Load()
		for w.p.topic("t").id.Load() == old {
			_, _ = w.p.Refresh(w.Context(), "t")
			time.Sleep(10 * time.Millisecond)
		}
		wait(w.T, records[0])
		for _, r := range records {
			require.Equal(w, Acked, r.Outcome())
		}
		requireExact(w.T, w.c, records)
	})
}

// A topic that was created again is begun anew: the broker has nothing to reject.
func TestATopicThatIsCreatedAgainIsBegunAnew(t *testing.T) {
	policy := &plain{}
	inVirtualTime(t, 1, policy, func(w *world) {
		wait(w.T, w.send(3, nil)[0])
		before := w.seen()[0]
		_, err := w.c.Admin.DeleteTopic(w.Context(), "t")
		require.NoError(w, err)
		w.c.Topic("t", 1)
		old := w.p.topic("t").id.Load()
		for w.p.topic("t").id.Load() == old {
			_, _ = w.p.Refresh(w.Context(), "t")
			time.Sleep(10 * time.Millisecond)
		}
		records := w.send(3, nil)
		wait(w.T, records[0])
		after := w.seen()
		require.Len(w, after, 1)
		require.Zero(w, after[0].first)
		require.NotEqual(w, before.number, after[0].number)
		require.Empty(w, policy.next)
		requireExact(w.T, w.c, records)
	})
}

// The log's time is told where the topic has it, and not where a duplicate is answered with one.
func TestWhoseTimeARecordHas(t *testing.T) {
	t.Parallel()
	for name, logTime := range map[string]bool{"CreateTime": false, "LogAppendTime": true} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, 1, &plain{}, func(w *world) {
				w.c.Topic("u", 1, "message.timestamp.type="+name)
				for range 2 {
					r := w.send(1, func(_ int, r *Record) { r.Topic = "u" })
					wait(w.T, r[0])
					require.Equal(w, logTime, r[0].Appended >= 0, r[0].Appended)
					w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
				}
			})
		})
	}
}

// What waits behind a record is sent once that is withdrawn, and what is withdrawn itself is
// not.
func TestWhatWaitsBehindOneThatIsWithdrawn(t *testing.T) {
	policy := policyFunc(func(b *Batch, _ Answer) Plan {
		return Plan{Later: []Later{{Record: b.Records[0], After: time.Hour}}}
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		w.refuse(kerr.InvalidRecord, "a")
		key := func(_ int, r *Record) { r.Key = []byte("k") }
		holder := w.send(1, key)
		time.Sleep(time.Second)
		behind := w.send(4, func(i int, r *Record) { r.Key, r.Value = []byte("k"), []byte{byte('w' + i)} })
		time.Sleep(time.Second)
		w.p.Withdraw(behind[1:3], Queued, givenUp)
		require.Equal(w, []Outcome{Pending, NotWritten, NotWritten, Pending}, []Outcome{behind[0].Outcome(), behind[1].Outcome(), behind[2].Outcome(), behind[3].Outcome()})
		w.seen()
		w.p.Withdraw(holder, Queued, givenUp)
		time.Sleep(time.Second)
		require.Equal(w, []string{"w z"}, w.valuesSeen())
		require.Equal(w, NotWritten, holder[0].Outcome())
		requireExact(w.T, w.c, slices.Concat(holder, behind))
	})
}

// Only a record that is given up whatever happens ends the wait of the Policy.
func TestWhatEndsTheWaitOfThePolicy(t *testing.T) {
	t.Parallel()
	for _, topic := range []string{"t", "missing"} {
		t.Run(topic, func(t *testing.T) {
			policy := &untilGivenUp{}
			inVirtualTime(t, 1, policy, func(w *world) {
				policy.asked = make(chan struct{}, 1)
				w.refuse(kerr.InvalidRecord, "a")
				r := w.send(1, func(_ int, r *Record) { r.Topic = topic })
				<-policy.asked
				for _, which := range []Withdrawal{Doubtful, Queued} {
					w.p.Withdraw(r, which, givenUp)
					time.Sleep(time.Minute)
					require.False(w, r[0].Ended())
				}
				w.p.Withdraw(r, All, func(*Record) error { return errGivenUp })
				wait(w.T, r[0])
				require.Equal(w, NotWritten, r[0].Outcome())
				require.Equal(w, errGivenUp, r[0].Reason)
			})
		})
	}
}

// What the cluster tells of a topic before it is used spares its first records a wait. What
// is no good news is not kept.
func TestIntroduce(t *testing.T) {
	inVirtualTime(t, 1, &plain{}, func(w *world) {
		w.c.Topic("u", 2)
		told := func(topic string, partitions int, code int16) *kmsg.MetadataResponseTopic {
			m := another(partitions)
			m.Topic, m.ErrorCode, m.TopicID = &topic, code, w.p.topic("t").id.Load()
			return m
		}
		asked := metadataAsked(w.c)
		w.p.Introduce(told("t", 5, 0))
		require.Len(w, w.p.topic("t").partitions, 1, "it is known better")
		w.p.Introduce(&kmsg.MetadataResponseTopic{Partitions: told("v", 1, 0).Partitions})
		w.p.Introduce(told("v", 0, 0))
		w.p.Introduce(told("v", 1, kerr.LeaderNotAvailable.Code))
		require.False(w, w.p.Uses("v"))
		m := told("u", 2, 0)
		list, err := w.c.Admin.ListTopics(w.Context(), "u")
		require.NoError(w, err)
		m.TopicID = list["u"].ID
		asked()
		w.p.Introduce(m)
		require.True(w, w.p.Uses("u"))
		records := w.send(2, func(i int, r *Record) { r.Topic, r.Partition = "u", int32(i) })
		wait(w.T, records[0])
		at, _ := asked()
		require.Empty(w, at)
		require.Equal(w, []Outcome{Acked, Acked}, []Outcome{records[0].Outcome(), records[1].Outcome()})
	})
}

// A request that did not leave to its last byte is not in doubt, unless it can't be told which
// one it was.
func TestWhichRequestDidNotLeave(t *testing.T) {
	t.Parallel()
	failed := errors.New("cut")
	for _, test := range []struct {
		name    string
		key     int16
		node    int32
		ends    []int // of the requests
		written int
		err     error
		unsent  []bool
		left    int
	}{
		{"it left", 0, 1, []int{100}, 100, nil, []bool{false}, 0},
		{"cut", 0, 1, []int{100}, 99, failed, []bool{true}, 0},
		{"cut behind it", 0, 1, []int{100}, 100, failed, []bool{false}, 0},
		{"one of two left", 0, 1, []int{100, 200}, 200, nil, []bool{false, false}, 1},
		{"none of two", 0, 1, []int{100, 200}, 300, nil, []bool{false, false}, 2},
		{"one of two was cut", 0, 1, []int{100, 200}, 50, failed, []bool{false, false}, 0},
		{"no produce request", 3, 1, []int{100}, 50, failed, []bool{false}, 1},
		{"another broker", 0, 2, []int{100}, 50, failed, []bool{false}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := &node{}
			hook := &Hook{}
			hook.OnBrokerWrite(kgo.BrokerMetadata{NodeID: 1}, 0, 1, 0, 0, failed) // before there is a producer
			hook.producer.Store(&Producer{nodes: map[int32]*node{1: n}})
			var requests []*request
			for _, end := range test.ends {
				requests = append(requests, &request{end: end})
			}
			n.writing.requests = slices.Clone(requests)
			hook.OnBrokerWrite(kgo.BrokerMetadata{NodeID: test.node}, test.key, test.written, 0, 0, test.err)
			var unsent []bool
			for _, r := range requests {
				unsent = append(unsent, r.unsent.Load())
			}
			require.Equal(t, test.unsent, unsent)
			require.Len(t, n.writing.requests, test.left)
			if test.left == 1 && len(test.ends) == 2 {
				require.Equal(t, requests[0], n.writing.requests[0])
			}
		})
	}
}

// A partition without a leader is asked for again while it has records, and not otherwise.
func TestAPartitionWithoutALeader(t *testing.T) {
	inVirtualTime(t, 2, &plain{}, func(w *world) {
		m := another(2)
		m.TopicID = w.p.topic("t").id.Load()
		m.Partitions[1].Leader = -1
		asked := metadataAsked(w.c)
		w.p.learn(m)
		time.Sleep(time.Minute)
		at, _ := asked()
		require.Empty(w, at)

		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
		r := w.send(1, func(_ int, r *Record) { r.Partition = 1 })
		synctest.Wait()
		w.p.learn(m)
		require.ErrorIs(w, r[0].Trouble(), kerr.LeaderNotAvailable)
		time.Sleep(time.Second)
		at, _ = asked()
		require.NotEmpty(w, at)
		wait(w.T, r[0])
		require.Equal(w, Acked, r[0].Outcome())

		// Another broker may know of fewer partitions for a while.
		m.Partitions = m.Partitions[:1]
		w.p.learn(m)
		records := w.send(2, func(i int, r *Record) { r.Partition = int32(i) })
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Acked, Acked}, []Outcome{records[0].Outcome(), records[1].Outcome()})
	})
}

// What stays in doubt since no number is left that would tell has the broker's code as its
// reason: of two records, both were rejected together, and the first one alone.
func TestWhyAPartitionLostTrack(t *testing.T) {
	policy := policyFunc(func(b *Batch, _ Answer) (plan Plan) {
		for _, r := range b.Records {
			if len(b.Records) == 1 {
				plan.Later = append(plan.Later, Later{Record: r, After: time.Second})
			} else {
				plan.Parts = append(plan.Parts, Part{Records: []*Record{r}})
			}
		}
		return plan
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownServerError, Count: 2})
		records := w.send(2, nil)
		wait(w.T, records[0])
		for _, r := range records {
			require.Equal(w, Unknown, r.Outcome())
			require.ErrorIs(w, r.Reason, kerr.UnknownServerError)
		}
	})
}

// A record in doubt that is sent again later tells of those that failed in doubt meanwhile.
func TestARecordThatIsSentLaterTellsOfOthers(t *testing.T) {
	policy := policyFunc(func(b *Batch, _ Answer) (plan Plan) {
		switch r := b.Records; len(r) {
		case 1:
			plan.Later = []Later{{Record: r[0], After: time.Second}}
		case 2:
			plan.Failed = []Failed{{r[0], errGivenUp}, {r[1], errGivenUp}}
		default:
			plan.Parts = []Part{{Records: r[:1]}, {Records: r[1:]}}
		}
		return plan
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownServerError, Count: 3})
		records := w.send(3, nil)
		wait(w.T, records[0])
		require.Equal(w, []string{"a b c", "a", "b c", "a"}, w.valuesSeen())
		require.Equal(w, Acked, records[0].Outcome())
		for _, r := range records[1:] {
			require.Equal(w, NotWritten, r.Outcome())
			require.Equal(w, errGivenUp, r.Reason)
		}
	})
}
