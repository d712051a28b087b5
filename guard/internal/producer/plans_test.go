package producer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// plans is a Policy that returns one plan after the other, and notes what it is told of the
// batches.
type plans struct {
	next  []func(b *Batch, a Answer) Plan
	told  []string
	acked []string
}

func (p *plans) Acked(b *Batch)           { p.acked = append(p.acked, p.text(b)) }
func (*plans) Check(*Record, int32) error { return nil }
func (p *plans) Next(_ context.Context, b *Batch, a Answer) Plan {
	p.told = append(p.told, fmt.Sprint(p.text(b), " ", b.Attempts, " ", b.First.Sub(b.Started).Round(time.Second)))
	next := p.next[0]
	if len(p.next) > 1 {
		p.next = p.next[1:]
	}
	return next(b, a)
}

func (*plans) text(b *Batch) (text string) {
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

func sameIn(pause time.Duration) func(*Batch, Answer) Plan {
	return func(*Batch, Answer) Plan { return Plan{Same: true, Pause: pause} }
}

func wholePart(alone bool) func(*Batch, Answer) Plan {
	return func(b *Batch, _ Answer) Plan {
		return Plan{Parts: []Part{{Records: append([]*Record(nil), b.Records...), Alone: alone}}}
	}
}

func allLater(b *Batch, _ Answer) (plan Plan) {
	for _, r := range b.Records {
		plan.Later = append(plan.Later, Later{Record: r, After: time.Minute})
	}
	return plan
}

func failAll(b *Batch, a Answer) (plan Plan) {
	for _, r := range b.Records {
		plan.Failed = append(plan.Failed, Failed{Record: r, Reason: a.Err})
	}
	return plan
}

// The Policy is told how often a batch was sent and when that began to fail, also of its parts.
func TestWhatThePolicyIsToldOfABatch(t *testing.T) {
	policy := &plans{next: []func(*Batch, Answer) Plan{sameIn(time.Minute), sameIn(time.Minute), wholePart(true), failAll}}
	inVirtualTime(t, 1, policy, func(w *world) {
		w.refuse(kerr.NotEnoughReplicas, "a")
		records := w.send(2, nil)
		wait(w.T, records[0])
		require.Equal(w, []string{"ab 1 0s", "ab 2 -1m0s", "ab 3 -2m0s", "ab alone 4 -2m0s"}, policy.told)
		requireExact(w.T, w.c, records)
	})
}

// A batch in doubt that a plan sends again whole is the same batch, if it has one record, or goes
// into a request of its own.
func TestABatchInDoubtIsSentWhole(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		n     int
		plan  func(*Batch, Answer) Plan
		lost  kafkafake.Action
		came  []string
		acked []string
		want  Outcome
	}{
		"one record":             {1, wholePart(false), kafkafake.DisconnectAfter, []string{"a", "a"}, []string{"f", "a in doubt"}, Acked},
		"one record, alone":      {1, wholePart(true), kafkafake.DisconnectAfter, []string{"a", "a"}, []string{"f", "a alone in doubt"}, Acked},
		"one record, later":      {1, allLater, kafkafake.DisconnectAfter, []string{"a", "a"}, []string{"f", "a alone in doubt"}, Acked},
		"two, alone":             {2, wholePart(true), kafkafake.DisconnectAfter, []string{"a b", "a b"}, []string{"f", "ab alone in doubt"}, Acked},
		"two, not in the log":    {2, wholePart(false), kafkafake.DisconnectBefore, []string{"a b", "a", "b"}, []string{"f", "a", "b"}, Acked},
		"two, and in the log":    {2, wholePart(false), kafkafake.DisconnectAfter, []string{"a b", "a"}, []string{"f"}, Unknown},
		"one, later, never came": {1, allLater, kafkafake.DisconnectBefore, []string{"a", "a"}, []string{"f", "a alone in doubt"}, Acked},
	} {
		t.Run(name, func(t *testing.T) {
			policy := &plans{next: []func(*Batch, Answer) Plan{test.plan, sameIn(time.Second)}}
			inVirtualTime(t, 1, policy, func(w *world) {
				w.c.AddFault(kafkafake.Fault{Do: test.lost})
				records := w.send(test.n, nil)
				wait(w.T, records[0])
				time.Sleep(time.Minute)
				require.Equal(w, test.came, w.valuesSeen())
				require.Equal(w, test.acked, policy.acked)
				for _, r := range records {
					require.Equal(w, test.want, r.Outcome())
				}
				requireExact(w.T, w.c, records)
			})
		})
	}
}

// Records that wait behind a record that fails in doubt tell what became of it.
func TestWhatWaitsBehindARecordTellsOfIt(t *testing.T) {
	policy := &plans{next: []func(*Batch, Answer) Plan{allLater, sameIn(time.Second), failAll}}
	inVirtualTime(t, 1, policy, func(w *world) {
		key := func(i int, r *Record) { r.Key = []byte("k") }
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord})
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Skip: 1})
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 2})
		holder := w.send(1, key)
		time.Sleep(time.Second)
		behind := w.send(2, func(i int, r *Record) { r.Key, r.Value = []byte("k"), []byte{byte('x' + i)} })
		wait(w.T, holder[0], behind[0])
		require.Equal(w, []string{"a", "a", "a", "x y"}, w.valuesSeen())
		require.Equal(w, NotWritten, holder[0].Outcome())
		require.ErrorIs(w, holder[0].Reason, kerr.InvalidRecord)
		require.Equal(w, []Outcome{Acked, Acked}, outcomes(behind))
		requireExact(w.T, w.c, append(holder, behind...))
	})
}

// failsLate is a Policy that fails what is given up while it decides.
type failsLate struct{ plain }

func (*failsLate) Next(ctx context.Context, b *Batch, a Answer) Plan {
	records := append([]*Record(nil), b.Records...)
	<-ctx.Done()
	return failAll(&Batch{Records: records}, a)
}

// A record that is given up while the Policy decides ends with the reason of that, and no other
// word of the Policy.
func TestWhatIsGivenUpWhileThePolicyDecides(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"rejected": false, "in doubt": true} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, 1, &failsLate{}, func(w *world) {
				fault := kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord}
				if lost {
					fault.Do = kafkafake.DisconnectAfter
				}
				w.c.AddFault(fault)
				records := w.send(2, nil)
				time.Sleep(time.Second)
				w.p.Withdraw(records, All, givenUp)
				wait(w.T, records[0])
				time.Sleep(time.Minute)
				for _, r := range records {
					require.Equal(w, map[bool]Outcome{false: NotWritten, true: Unknown}[lost], r.Outcome())
					require.Equal(w, errGivenUp, r.Reason)
				}
				p := w.p.topic("t").partitions[0]
				p.mu.Lock()
				require.Empty(w, p.deferred)
				p.mu.Unlock()
				requireExact(w.T, w.c, records)
			})
		})
	}
}
