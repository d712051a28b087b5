package partition

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// following is a partition where a batch of 1,000 bytes may just follow one in flight. The
// last ack was of a minute before that was written.
func following() *Partition {
	const most = 1000 + recordbatch.Overhead
	now := time.Now()
	p := &Partition{
		shared: &Shared{Idempotent: true}, most: most, single: 100, queuedSize: 1000, node: &broker.Node{},
		queue: []*Record{{Size: 99}}, hasID: true, calmFrom: 7, ackedAt: now.Add(-2*time.Millisecond - knownFor),
	}
	p.acks.Store(7)
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
		for name, change := range map[string]func(p *Partition){
			"less is queued":            func(p *Partition) { p.queuedSize-- },
			"nothing is queued":         func(p *Partition) { p.queue = nil },
			"five are in flight":        func(p *Partition) { p.inFlight = append(p.inFlight, p.inFlight[0]) },
			"one is sent again":         func(p *Partition) { p.resend = []*Batch{{}} },
			"not idempotent":            func(p *Partition) { p.shared.Idempotent = false },
			"numbers are not looked at": func(p *Partition) { p.shared.unordered.Store(true) },
			"it was idle for longer":    func(p *Partition) { p.ackedAt = p.ackedAt.Add(-time.Nanosecond) },
			"none was acked":            func(p *Partition) { p.ackedAt = time.Time{} },
			"no producer ID":            func(p *Partition) { p.hasID = false },
			"the leader moves":          func(p *Partition) { p.moved = &broker.Node{} },
			"the partition is no more":  func(p *Partition) { p.evacuated = true },
			"one was not acked lately":  func(p *Partition) { p.calmFrom++ },
			"one is in doubt":           func(p *Partition) { p.doubts = []doubt{{}} },
			"one failed in doubt":       func(p *Partition) { p.deferred = []*Record{{}} },
			"one waits behind its key":  func(p *Partition) { p.blocked = map[string]*block{} },
			"one is sent again later":   func(p *Partition) { p.later = map[*Record]*time.Timer{{}: nil} },
			"the next is large":         func(p *Partition) { p.queue[0].Size++ },
			"the next is single":        func(p *Partition) { p.queue[0].Single = true },
			"the next is alone":         func(p *Partition) { p.queue[0].Alone = true },
			"the next is questioned":    func(p *Partition) { p.queue[0].Questioned = true },
			"one has an answer":         func(p *Partition) { p.inFlight[3].result = &notAcked{} },
			"one is alone":              func(p *Partition) { p.inFlight[3].Alone = true },
			"one has another ID":        func(p *Partition) { p.inFlight[3].producer.ID++ },
		} {
			p := following()
			change(p)
			require.False(t, p.mayFollow(), name)
		}
	})
}

// A part of a batch follows later: half of one after a part of the round trip, an eighth after
// some milliseconds, and any record after some more.
func TestPartsOfABatchFollowOneInFlight(t *testing.T) {
	t.Parallel()
	p := &Partition{most: 1000 + recordbatch.Overhead}
	for after, want := range map[time.Duration]int{
		0: 1000, time.Millisecond - 1: 1000, time.Millisecond: 500, 2*time.Millisecond - 1: 500, 2 * time.Millisecond: 125, time.Hour: 125,
	} {
		require.Equal(t, want, p.enough(5*time.Millisecond, after), "%v", after)
	}
	require.Equal(t, 125, p.enough(anyAfter+1, anyAfter-1), "less follows later")
	require.Equal(t, 0, p.enough(anyAfter+1, anyAfter), "anything follows")
	require.Equal(t, 500, p.enough(2*broker.Near-1, broker.Near-1))
	require.Equal(t, 125, p.enough(broker.Near, broker.Near))
	require.Equal(t, 1000, p.enough(broker.Near-1, time.Hour), "the leader is near")
}

// A batch differs from each one in doubt in how many records it has.
func TestABatchIsNotTakenForOneInDoubt(t *testing.T) {
	t.Parallel()
	b := &Batch{Records: make([]*Record, 5)}
	at := func(counts ...int) (all []doubt) {
		for _, n := range counts {
			all = append(all, doubt{first: 7, count: n})
		}
		return all
	}
	for _, test := range []struct {
		doubts []doubt
		free   int
	}{{nil, 5}, {at(4), 5}, {at(5), 4}, {at(4, 5), 3}, {at(1, 2, 3, 4, 5), 0}, {[]doubt{{first: 8, count: 5}}, 5}} {
		p := &Partition{sequence: 7, doubts: test.doubts}
		require.Equal(t, test.free, p.freeCount(b), "%v", test.doubts)
	}
	b.unanswered = true
	require.Equal(t, 5, (&Partition{sequence: 7, doubts: at(5)}).freeCount(b), "it is the one in doubt")
}
