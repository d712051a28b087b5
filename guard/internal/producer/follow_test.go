package producer

import (
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// following is a partition where an eighth of a batch may just follow one in flight: of 1,000
// bytes, after 2 ms. It was acked a minute before that.
func following() *partition {
	const most = 1000 + BatchOverhead
	now := time.Now()
	p := &partition{
		topic: &topic{all: &Producer{cfg: Config{Idempotent: true}}}, most: most, single: 100, queuedSize: 125, node: &node{},
		queue: []*Record{{Size: 99}}, hasID: true, calmFrom: 7, ackedAt: now.Add(-2*time.Millisecond - knownFor),
	}
	p.acks.Store(7)
	p.node.shortest.Store(int64(apart))
	for range mostInFlight - 1 {
		p.inFlight = append(p.inFlight, &Batch{Started: now.Add(-2 * time.Millisecond)})
	}
	return p
}

// A batch follows one in flight up to each bound, and not beyond it.
func TestWhenABatchMayFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		require.True(t, following().mayFollow())
		for name, change := range map[string]func(p *partition){
			"less is queued":             func(p *partition) { p.queuedSize-- },
			"nothing is queued":          func(p *partition) { p.queue = nil },
			"five are in flight":         func(p *partition) { p.inFlight = append(p.inFlight, p.inFlight[0]) },
			"one is sent again":          func(p *partition) { p.resend = []*Batch{{}} },
			"not idempotent":             func(p *partition) { p.topic.all.cfg.Idempotent = false },
			"numbers are not looked at":  func(p *partition) { p.topic.all.unordered.Store(true) },
			"it was idle for longer":     func(p *partition) { p.ackedAt = p.ackedAt.Add(-time.Nanosecond) },
			"none was acked":             func(p *partition) { p.ackedAt = time.Time{} },
			"no producer ID":             func(p *partition) { p.hasID = false },
			"the leader moves":           func(p *partition) { p.moved = &node{} },
			"the partition is no more":   func(p *partition) { p.evacuated = true },
			"one was not acked lately":   func(p *partition) { p.calmFrom++ },
			"one is in doubt":            func(p *partition) { p.doubts = []doubt{{}} },
			"one failed in doubt":        func(p *partition) { p.deferred = []*Record{{}} },
			"one waits behind its key":   func(p *partition) { p.blocked = map[string]*block{} },
			"one is sent again later":    func(p *partition) { p.later = map[*Record]*time.Timer{{}: nil} },
			"the next is large":          func(p *partition) { p.queue[0].Size++ },
			"the next is single":         func(p *partition) { p.queue[0].Single = true },
			"the next is alone":          func(p *partition) { p.queue[0].Alone = true },
			"the next is questioned":     func(p *partition) { p.queue[0].Questioned = true },
			"one has an answer":          func(p *partition) { p.inFlight[3].result = &notAcked{} },
			"one is alone":               func(p *partition) { p.inFlight[3].Alone = true },
			"one has another ID":         func(p *partition) { p.inFlight[3].producer.id++ },
			"the last was just written":  func(p *partition) { p.inFlight[3].Started = time.Now().Add(time.Nanosecond - apart) },
			"the leader is a bit nearer": func(p *partition) { p.node.shortest.Add(-1) },
		} {
			p := following()
			change(p)
			require.False(t, p.mayFollow(), name)
		}
		p := following()
		p.node.shortest.Store(int64(2*apart - 1))
		require.Equal(t, 500, p.enough(apart-1))
	})
}

// What of several batches in doubt is known: the first one, of record a, is in the log. It waits
// to be sent again later. The second one, b and c, is in the log, too, and rejected when it is
// sent again. Then a is acked, as the batch that it was. That says nothing of b and c.
func TestAnAckOfABatchInDoubtSettlesNoOther(t *testing.T) {
	policy := policyFunc(func(b *Batch, a Answer) (plan Plan) {
		for _, r := range b.Records {
			if errors.Is(a.Err, kerr.InvalidRecord) {
				plan.Failed = append(plan.Failed, Failed{Record: r, Reason: a.Err})
				plan.Pause = 2 * time.Minute // a waits meanwhile
			} else {
				plan.Later = append(plan.Later, Later{Record: r, After: time.Minute})
			}
		}
		return plan
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		for _, value := range []string{"a", "b"} {
			in(w, value, kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		}
		in(w, "b", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		w.warm()
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
		w.send(2, func(i int, r *Record) { r.Value = []byte{byte('0' + i)} })
		time.Sleep(2 * time.Millisecond)
		records := w.send(3, func(i int, r *Record) {
			if i == 0 {
				r.Value = []byte("a.") // so that b is not in its batch
			}
		})
		time.Sleep(6 * time.Millisecond)
		require.Equal(w, 3, w.inFlight())
		wait(w.T, records[0])
		require.Equal(w, "0 1, a, b c, b c, a", strings.Join(w.valuesSeen(), ", "))
		require.Equal(w, []Outcome{Acked, Unknown, Unknown}, outcomes(records))
		for _, r := range records[1:] {
			require.ErrorIs(w, r.Reason, kerr.InvalidRecord)
		}
		requireExact(w.T, w.c, records)
		require.Len(w, w.c.Log("t"), 1+calm+5)
	}, twoInABatch)
}

// Two batches are in doubt, and the third was acked. The next one is numbered behind all three.
func TestWhatWasAckedBehindTwoDoubtsKeepsItsNumbers(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		in(w, "a", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		in(w, "c", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut})
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 6)
		wait(w.T, records[0])
		more := w.send(2, func(i int, r *Record) { r.Value = []byte{byte('x' + i)} })
		wait(w.T, more[0])
		require.Equal(w, "0 1, a b, c d, e f, a b, c d, x y", strings.Join(w.valuesSeen(), ", "))
		require.Len(w, w.c.Log("t"), 1+calm+10)
		requireExact(w.T, w.c, append(records, more...))
	}, twoInABatch)
}

// Records that are given up while their batch is in flight behind one that is rejected are not
// sent again.
func TestWhatIsGivenUpBehindARejectedBatchIsNotSentAgain(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		in(w, "a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		records := w.fill(kafkafake.Fault{Skip: 1 << 20}, 6)
		w.p.Withdraw(records[2:5], Queued, givenUp)
		require.Equal(w, Pending, records[2].Outcome(), "it may still be acked")
		wait(w.T, records[0])
		require.Equal(w, "0 1, a b, c d, e f, a b, f", strings.Join(w.valuesSeen(), ", "))
		require.Equal(w, []Outcome{Acked, Acked, NotWritten, NotWritten, NotWritten, Acked}, outcomes(records))
		requireExact(w.T, w.c, records)
	}, twoInABatch)
}

// After a batch that was not acked, none follows until sixteen were acked.
func TestHowLongItStaysCalm(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Minute), func(w *world) {
		in(w, "a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		p := w.p.topic("t").partitions[0]
		w.warm()
		before := p.acks.Load()
		r := w.send(1, nil)
		time.Sleep(time.Second)
		p.mu.Lock()
		require.Equal(w, before+16, p.calmFrom)
		p.mu.Unlock()
		wait(w.T, r[0])
	})
}

// A broker that appends what follows a rejected batch is not sent it again, and what comes after
// that has another producer ID: the numbers of the first one are in disorder.
func TestABatchBehindARejectedOneTakesTheNumbersWithIt(t *testing.T) {
	t.Parallel()
	ignoring := kafkafake.Kafka()
	ignoring.Numbering, ignoring.Content = kafkafake.NumbersIgnored, true
	for name, test := range map[string]struct {
		broker kafkafake.Dialect
		lost   *kafkafake.Fault
		want   string
	}{
		"acked":        {ignoring, nil, "2 3, a b, c d | a, b, x"},
		"answered":     {kafkafake.CountingRejected(), &kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.NotEnoughReplicasAfterAppend}, "2 3, a b, c d | a, b | x"},
		"not answered": {kafkafake.CountingRejected(), &kafkafake.Fault{Do: kafkafake.DisconnectAfter}, "2 3, a b, c d | a, b | x"},
	} {
		t.Run(name, func(t *testing.T) {
			besideDialect(t, test.broker, 1, policyFunc(halves), func(w *world) {
				value := func(first byte) []byte { return []byte(string(first) + strings.Repeat(".", len(kafkafake.Mark))) }
				w.warm()
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 10 * time.Millisecond})
				w.send(2, func(i int, r *Record) { r.Value = value('2' + byte(i)) })
				time.Sleep(2 * time.Millisecond)
				if test.lost != nil {
					in(w, "c", *test.lost)
				}
				records := w.send(4, func(i int, r *Record) {
					if r.Value = value('a' + byte(i)); i == 0 {
						copy(r.Value[1:], kafkafake.Mark)
					}
				})
				wait(w.T, records[0])
				next := w.send(1, func(_ int, r *Record) { r.Value = value('x') })
				wait(w.T, next[0])
				var came string
				var last producerID
				for i, b := range w.seen() {
					switch {
					case i > 0 && b.number != last:
						came += " | "
					case i > 0:
						came += ", "
					}
					came, last = came+b.values, b.number
				}
				require.Equal(w, test.want, came)
				requireExact(w.T, w.c, append(records, next...))
			}, func(cfg *Config) {
				two := 2*SizeOf(&kgo.Record{Value: make([]byte, 1+len(kafkafake.Mark))}) - BatchOverhead
				cfg.MaxBatch = func(string, int32) (int, int) { return two, math.MaxInt32 }
			})
		})
	}
}
