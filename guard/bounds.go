package guard

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// bounds is what brokers have taught of a topic's sizes, where its rules are not
// known. It only chooses what to send together, and how carefully: nothing is
// condemned by it.
type bounds struct {
	fits      atomic.Int64 // the largest batch, as sent, that was accepted
	over      atomic.Int64 // the smallest batch, as sent, that was refused for its size, 0 for none
	alone     atomic.Int64 // the raw size of the smallest record that was refused for it, 0 for none
	refusedAt atomic.Int64 // when anything was refused for what is in it, or against the rules that are known
	learnedAt atomic.Int64 // when a size last was
	keyless   atomic.Int64 // when a record was last refused for want of a key, 0 for never
	trials    sync.Map     // of place to *trial: what came of one condemns who waited for it
}

// boundsAge is for how long a size that was refused is kept in mind: a raised
// limit is found out by trying.
const boundsAge = time.Minute

// careful is for how long after a refusal a topic gets one request at a time in
// each partition: kgo fails what is under way behind a refused batch, too. Where
// only sizes were refused that are still being found out, that is for batches
// larger than what is taken.
const careful = 10 * time.Second

// batch returns the size up to which batches are made, 0 for any.
func (b *bounds) batch() int {
	over := int(b.over.Load())
	if b == noBounds || over == 0 || b.old() {
		return 0
	}
	return max(min(int(b.fits.Load()), over-1), over/2, minMaxMessageBytes)
}

// single returns the raw size from which on records go alone, so that they spoil
// no batch.
func (b *bounds) single() int {
	if alone := b.alone.Load(); alone > 0 && !b.old() {
		return int(alone)
	}
	return math.MaxInt
}

// needsKey reports whether a record was refused of late for want of a key.
func (b *bounds) needsKey() bool {
	return time.Now().UnixNano()-b.keyless.Load() <= int64(boundsAge)
}

func (b *bounds) old() bool {
	return time.Now().UnixNano()-b.learnedAt.Load() > int64(boundsAge)
}

// accepted notes a batch that was accepted.
func (b *bounds) accepted(bytes int) {
	for {
		fits := b.fits.Load()
		if int64(bytes) <= fits || b.fits.CompareAndSwap(fits, int64(bytes)) {
			break
		}
	}
	if over := b.over.Load(); over > 0 && int64(bytes) >= over {
		b.over.CompareAndSwap(over, 0)
	}
}

// refused notes that a batch was refused for what is in it.
func (b *bounds) refused() { b.refusedAt.Store(time.Now().UnixNano()) }

// tooLarge notes that a batch of so many bytes, as sent, was refused for its size.
// Of batches that share a request, a gateway may refuse all for one of them.
func (b *bounds) tooLarge(bytes int, alone bool) {
	fits := b.fits.Load()
	if !alone && int64(bytes) <= fits {
		return
	}
	if over := b.over.Load(); over == 0 || int64(bytes) < over || b.old() {
		b.over.Store(int64(bytes))
	}
	if fits >= int64(bytes) {
		b.fits.Store(int64(bytes) - 1)
	}
	b.learnedAt.Store(time.Now().UnixNano())
}

// aloneRefused notes a record that was refused for its size, standing alone. It
// reports whether that is news.
func (b *bounds) aloneRefused(raw int) (news bool) {
	alone := b.alone.Load()
	if alone == 0 || int64(raw) < alone || b.old() {
		b.alone.Store(int64(raw))
		return alone == 0 || int64(raw) < alone*9/10
	}
	return false
}

// aloneAccepted notes a record that was accepted, standing alone.
func (b *bounds) aloneAccepted(raw int) {
	if alone := b.alone.Load(); alone > 0 && int64(raw) >= alone {
		b.alone.CompareAndSwap(alone, 0)
	}
}

// risky reports whether a batch of a size may be refused.
func (b *bounds) risky(known bool, bytes int) bool {
	if time.Now().UnixNano()-b.refusedAt.Load() < int64(careful) {
		return true
	}
	return !known && int64(bytes) > b.fits.Load()
}

// surprised reports whether a suspect was refused for another reason than a limit
// that is being found out.
func (g *Guard) surprised(s *slot) bool {
	return g.rules.of(s.record().Topic).Known || classify(s.err).class != SizeExceeded
}

// noBounds are those of a topic whose rules are known.
var noBounds = &bounds{}

// allBounds has the bounds by topic.
type allBounds struct {
	topics sync.Map
	any    atomic.Bool // a record was refused for its size, or for want of a key
}

func (a *allBounds) get(topic string) *bounds {
	if b, ok := a.topics.Load(topic); ok {
		return b.(*bounds)
	}
	b, _ := a.topics.LoadOrStore(topic, &bounds{})
	return b.(*bounds)
}

// of returns the bounds to make batches by.
func (a *allBounds) of(rules *Rules) *bounds {
	if rules.Known {
		return noBounds
	}
	return a.get(rules.Topic)
}
