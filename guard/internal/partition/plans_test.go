package partition_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// plans is a Policy that returns one plan after the other, and notes what it is told of the
// batches.
type plans struct {
	next  []func(b *partition.Batch, a broker.Answer) partition.Plan
	told  []string
	acked []string
}

func (p *plans) Acked(b *partition.Batch)           { p.acked = append(p.acked, p.text(b)) }
func (*plans) Check(*partition.Record, int32) error { return nil }
func (p *plans) Next(_ context.Context, b *partition.Batch, a broker.Answer) partition.Plan {
	p.told = append(p.told, fmt.Sprint(p.text(b), " ", b.Attempts, " ", b.First.Sub(b.Started).Round(time.Second)))
	next := p.next[0]
	if len(p.next) > 1 {
		p.next = p.next[1:]
	}
	return next(b, a)
}

func (*plans) text(b *partition.Batch) (text string) {
	for _, r := range b.Records {
		text += string(r.Value[:1])
	}
	if b.Alone {
		text += " alone"
	}
	if b.Doubt() {
		text += " in doubt"
	}
	return text
}

func sameIn(pause time.Duration) func(*partition.Batch, broker.Answer) partition.Plan {
	return func(*partition.Batch, broker.Answer) partition.Plan { return partition.Plan{Same: true, Pause: pause} }
}

func wholePart(alone bool) func(*partition.Batch, broker.Answer) partition.Plan {
	return func(b *partition.Batch, _ broker.Answer) partition.Plan {
		return partition.Plan{Parts: []partition.Part{{Records: append([]*partition.Record(nil), b.Records...), Alone: alone}}}
	}
}

func allLater(b *partition.Batch, _ broker.Answer) (plan partition.Plan) {
	for _, r := range b.Records {
		plan.Later = append(plan.Later, partition.Later{Record: r, After: time.Minute})
	}
	return plan
}

// The Policy is told how often a batch was sent and when that began to fail, also of its parts.
func TestWhatThePolicyIsToldOfABatch(t *testing.T) {
	policy := &plans{next: []func(*partition.Batch, broker.Answer) partition.Plan{sameIn(time.Minute), sameIn(time.Minute), wholePart(true), producertest.FailAll}}
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Refuse(kerr.NotEnoughReplicas, "a")
		records := w.Send(2, nil)
		producertest.Wait(w.T, records[0])
		require.Equal(w, []string{"ab 1 0s", "ab 2 -1m0s", "ab 3 -2m0s", "ab alone 4 -2m0s"}, policy.told)
		producertest.RequireExact(w.T, w.Cluster, records)
	})
}

// A batch in doubt that a plan sends again whole is the same batch, if it has one record, or goes
// into a request of its own.
func TestABatchInDoubtIsSentWhole(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		n     int
		plan  func(*partition.Batch, broker.Answer) partition.Plan
		lost  kafkafake.Action
		came  []string
		acked []string
		want  partition.Outcome
	}{
		"one record":                          {1, wholePart(false), kafkafake.DisconnectAfter, []string{"a", "a"}, []string{"f", "a in doubt"}, partition.Acked},
		"one record, alone":                   {1, wholePart(true), kafkafake.DisconnectAfter, []string{"a", "a"}, []string{"f", "a alone in doubt"}, partition.Acked},
		"one record, later":                   {1, allLater, kafkafake.DisconnectAfter, []string{"a", "a"}, []string{"f", "a alone in doubt"}, partition.Acked},
		"two, alone":                          {2, wholePart(true), kafkafake.DisconnectAfter, []string{"a b", "a b"}, []string{"f", "ab alone in doubt"}, partition.Acked},
		"two, not in the log":                 {2, wholePart(false), kafkafake.DisconnectBefore, []string{"a b", "a", "b"}, []string{"f", "a", "b"}, partition.Acked},
		"two, and in the log":                 {2, wholePart(false), kafkafake.DisconnectAfter, []string{"a b", "a"}, []string{"f"}, partition.Unknown},
		"one, producertest.Later, never came": {1, allLater, kafkafake.DisconnectBefore, []string{"a", "a"}, []string{"f", "a alone in doubt"}, partition.Acked},
	} {
		t.Run(name, func(t *testing.T) {
			policy := &plans{next: []func(*partition.Batch, broker.Answer) partition.Plan{test.plan, sameIn(time.Second)}}
			producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: test.lost})
				records := w.Send(test.n, nil)
				producertest.Wait(w.T, records[0])
				time.Sleep(time.Minute)
				require.Equal(w, test.came, w.ValuesSeen())
				require.Equal(w, test.acked, policy.acked)
				for _, r := range records {
					require.Equal(w, test.want, r.Outcome())
				}
				producertest.RequireExact(w.T, w.Cluster, records)
			})
		})
	}
}

// Records that wait behind a record that fails in doubt tell what became of it.
func TestWhatWaitsBehindARecordTellsOfIt(t *testing.T) {
	policy := &plans{next: []func(*partition.Batch, broker.Answer) partition.Plan{allLater, sameIn(time.Second), producertest.FailAll}}
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		key := func(i int, r *partition.Record) { r.Key = []byte("k") }
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord})
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Skip: 1})
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 2})
		holder := w.Send(1, key)
		time.Sleep(time.Second)
		behind := w.Send(2, func(i int, r *partition.Record) { r.Key, r.Value = []byte("k"), []byte{byte('x' + i)} })
		producertest.Wait(w.T, holder[0], behind[0])
		require.Equal(w, []string{"a", "a", "a", "x y"}, w.ValuesSeen())
		require.Equal(w, partition.NotWritten, holder[0].Outcome())
		require.ErrorIs(w, holder[0].Reason, kerr.InvalidRecord)
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked}, producertest.Outcomes(behind))
		producertest.RequireExact(w.T, w.Cluster, append(holder, behind...))
	})
}

// failsLate is a Policy that fails what is given up while it decides.
type failsLate struct{ producertest.Plain }

func (*failsLate) Next(ctx context.Context, b *partition.Batch, a broker.Answer) partition.Plan {
	records := append([]*partition.Record(nil), b.Records...)
	<-ctx.Done()
	return producertest.FailAll(&partition.Batch{Records: records}, a)
}

// A record that is given up while the Policy decides ends with the reason of that, and no other
// word of the Policy.
func TestWhatIsGivenUpWhileThePolicyDecides(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"rejected": false, "in doubt": true} {
		t.Run(name, func(t *testing.T) {
			producertest.InVirtualTime(t, 1, &failsLate{}, func(w *producertest.World) {
				fault := kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord}
				if lost {
					fault.Do = kafkafake.DisconnectAfter
				}
				w.Cluster.AddFault(fault)
				records := w.Send(2, nil)
				time.Sleep(time.Second)
				w.Producer.Withdraw(records, partition.All, producertest.GivenUp)
				producertest.Wait(w.T, records[0])
				time.Sleep(time.Minute)
				for _, r := range records {
					require.Equal(w, map[bool]partition.Outcome{false: partition.NotWritten, true: partition.Unknown}[lost], r.Outcome())
					require.Equal(w, producertest.ErrGivenUp, r.Reason)
				}
				p := w.Partition(0)
				require.Zero(w, p.Doubts())
				producertest.RequireExact(w.T, w.Cluster, records)
			})
		})
	}
}

// A record in a batch of its own goes into a request of its own, if the plan says so.
func TestASingleRecordGoesIntoARequestOfItsOwn(t *testing.T) {
	policy := producertest.PolicyFunc(func(b *partition.Batch, _ broker.Answer) partition.Plan {
		time.Sleep(1500 * time.Millisecond) // until b is in flight
		return partition.Plan{Parts: []partition.Part{{Records: b.Records, Alone: true}}}
	})
	producertest.InVirtualTime(t, 3, policy, func(w *producertest.World) {
		w.OnBatchWith("a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		w.OnBatchWith("b", kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
		var records []*partition.Record
		for i := range 3 { // a is refused, b is in flight, a and c wait for that
			records = append(records, w.Send(1, func(_ int, r *partition.Record) {
				r.Record.Partition, r.Value, r.Single = int32(i), []byte{byte('a' + i)}, i == 0
			})...)
			time.Sleep(time.Second)
		}
		producertest.Wait(w.T, records...)
		var requests []int
		for _, b := range w.Seen() {
			requests = append(requests, b.Request)
		}
		require.Len(w, requests, 4)
		require.NotEqual(w, requests[2], requests[3])
		producertest.RequireExact(w.T, w.Cluster, records)
	}, func(cfg *producer.Config) { cfg.InFlight = 1 })
}
