package partition_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// What keeps a record is told until a batch is acked, also while another batch of the partition
// has no answer yet.
func TestWhatKeepsARecord(t *testing.T) {
	policy := &checksAll{PolicyFunc: producertest.SameAfter(time.Second)}
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		w.OnBatchWith("c", kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second})
		records := fill(w, kafkafake.Fault{Skip: 1 << 20}, 4)
		require.NoError(w, records[0].Trouble())
		time.Sleep(100 * time.Millisecond)
		require.Equal(w, 2, w.Partition(0).InFlight(), "the second has no answer yet")
		require.ErrorIs(w, records[0].Trouble(), kerr.NotEnoughReplicas)
		producertest.Wait(w.T, records[0])
		require.NoError(w, records[0].Trouble())
		require.Equal(w, 1+partition.Calm+3, policy.batches, "each is told once")
	}, producertest.TwoInABatch)
}

// Some answers tell that nothing is in the log, though there is an offset: the topic is gone with
// what was appended, or the number was refused. Others leave that open.
func TestWhatAnAnswerLeavesOpen(t *testing.T) {
	t.Parallel()
	for code, want := range map[*kerr.Error]partition.Outcome{
		kerr.UnknownTopicOrPartition: partition.NotWritten, kerr.DuplicateSequenceNumber: partition.NotWritten,
		kerr.RequestTimedOut: partition.Unknown, kerr.KafkaStorageError: partition.Unknown, kerr.NotLeaderForPartition: partition.Unknown,
	} {
		t.Run(code.Message, func(t *testing.T) {
			policy := producertest.PolicyFunc(func(*partition.Batch, broker.Answer) partition.Plan {
				return partition.Plan{Same: true, Pause: time.Hour}
			})
			producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Rewrite, Code: code})
				r := w.Send(1, nil)
				time.Sleep(time.Second)
				require.ErrorIs(w, r[0].Trouble(), code)
				w.Producer.Withdraw(r, partition.Queued, producertest.GivenUp)
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
		which  partition.Withdrawal
		closes bool
		want   partition.Outcome
	}{
		"queued, and refused": {refused, partition.Queued, false, partition.NotWritten},
		"queued, and lost":    {lost, partition.Queued, false, partition.Unknown},
		"all, and refused":    {refused, partition.All, false, partition.Unknown},
		"closed, and refused": {refused, 0, true, partition.Unknown},
		"closed, and lost":    {lost, 0, true, partition.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			policy := producertest.PolicyFunc(func(*partition.Batch, broker.Answer) partition.Plan {
				asked++
				return partition.Plan{Same: true, Pause: time.Second}
			})
			producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Delay, Pause: time.Second})
				w.Cluster.AddFault(test.fault)
				records := w.Send(2, nil)
				time.Sleep(500 * time.Millisecond)
				if test.closes {
					w.Producer.Close()
				} else {
					w.Producer.Withdraw(records, test.which, producertest.GivenUp)
					require.Equal(w, test.which == partition.All, records[0].Ended())
				}
				producertest.Wait(w.T, records[0])
				time.Sleep(time.Minute)
				require.Equal(w, []partition.Outcome{test.want, test.want}, producertest.Outcomes(records))
				require.Zero(w, asked)
				producertest.RequireExact(w.T, w.Cluster, records)
				if test.closes {
					return
				}
				before := w.Seen()
				next := w.Send(2, func(i int, r *partition.Record) { r.Value = []byte{byte('x' + i)} })
				producertest.Wait(w.T, next[0])
				require.Zero(w, asked)
				after := w.Seen()
				require.Equal(w, "x y", after[0].Values)
				require.Equal(w, test.fault.Do == kafkafake.DisconnectAfter, before[0].Number != after[0].Number)
				producertest.RequireExact(w.T, w.Cluster, append(records, next...))
			})
		})
	}
}
