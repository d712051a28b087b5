package producer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// What keeps a record is told until a batch is acked, also while another batch of the partition
// has no answer yet.
func TestWhatKeepsARecord(t *testing.T) {
	policy := &checksAll{policyFunc: sameAfter(time.Second)}
	inVirtualTime(t, 1, policy, func(w *world) {
		in(w, "a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		in(w, "c", kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second})
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 4)
		require.NoError(w, records[0].Trouble())
		time.Sleep(100 * time.Millisecond)
		require.Equal(w, 2, w.inFlight(), "the second has no answer yet")
		require.ErrorIs(w, records[0].Trouble(), kerr.NotEnoughReplicas)
		wait(w.T, records[0])
		require.NoError(w, records[0].Trouble())
		require.Equal(w, 1+calm+3, policy.batches, "each is told once")
	}, twoInABatch)
}

// Some answers tell that nothing is in the log, though there is an offset: the topic is gone with
// what was appended, or the number was refused. Others leave that open.
func TestWhatAnAnswerLeavesOpen(t *testing.T) {
	t.Parallel()
	for code, want := range map[*kerr.Error]Outcome{
		kerr.UnknownTopicOrPartition: NotWritten, kerr.DuplicateSequenceNumber: NotWritten,
		kerr.RequestTimedOut: Unknown, kerr.KafkaStorageError: Unknown, kerr.NotLeaderForPartition: Unknown,
	} {
		t.Run(code.Message, func(t *testing.T) {
			policy := policyFunc(func(*Batch, Answer) Plan { return Plan{Same: true, Pause: time.Hour} })
			inVirtualTime(t, 1, policy, func(w *world) {
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.Rewrite, Code: code})
				r := w.send(1, nil)
				time.Sleep(time.Second)
				require.ErrorIs(w, r[0].Trouble(), code)
				w.p.Withdraw(r, Queued, givenUp)
				require.Equal(w, want, r[0].Outcome())
			})
		})
	}
}

// The Policy is not asked about what was given up while it was in flight, or after Close. What
// comes next is sent.
func TestThePolicyIsNotAskedAboutWhatIsGivenUp(t *testing.T) {
	t.Parallel()
	refused := kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas}
	lost := kafkafake.Fault{Do: kafkafake.DisconnectAfter}
	for name, test := range map[string]struct {
		fault  kafkafake.Fault
		which  Withdrawal
		closes bool
		want   Outcome
	}{
		"queued, and refused": {refused, Queued, false, NotWritten},
		"queued, and lost":    {lost, Queued, false, Unknown},
		"all, and refused":    {refused, All, false, Unknown},
		"closed, and refused": {refused, 0, true, Unknown},
		"closed, and lost":    {lost, 0, true, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			policy := policyFunc(func(*Batch, Answer) Plan { asked++; return Plan{Same: true, Pause: time.Second} })
			inVirtualTime(t, 1, policy, func(w *world) {
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.Delay, Pause: time.Second})
				w.c.AddFault(test.fault)
				records := w.send(2, nil)
				time.Sleep(500 * time.Millisecond)
				if test.closes {
					w.p.Close()
				} else {
					w.p.Withdraw(records, test.which, givenUp)
					require.Equal(w, test.which == All, records[0].Ended())
				}
				wait(w.T, records[0])
				time.Sleep(time.Minute)
				require.Equal(w, []Outcome{test.want, test.want}, outcomes(records))
				require.Zero(w, asked)
				requireExact(w.T, w.c, records)
				if test.closes {
					return
				}
				before := w.seen()
				next := w.send(2, func(i int, r *Record) { r.Value = []byte{byte('x' + i)} })
				wait(w.T, next[0])
				require.Zero(w, asked)
				after := w.seen()
				require.Equal(w, "x y", after[0].values)
				require.Equal(w, test.fault.Do == kafkafake.DisconnectAfter, before[0].number != after[0].number)
				requireExact(w.T, w.c, append(records, next...))
			})
		})
	}
}
