package partition

import (
	"slices"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// A partition has one batch in flight, mostly. Others follow it where it is written to faster
// than its leader answers: the queue has a full batch, or a part of one and the leader takes
// long. Nothing is in doubt then, and the last batches were acked. Sequence numbers keep the
// order (KIP-98).
//
// If one of them is not acked, no other is sent until each has its answer or has lost it.
// A broker that knows the producer takes no batch whose predecessor it does not have (the first
// batch of a producer may have any number). So:
//
//   - What follows a batch that was not appended was not appended either. It is sent
//     again behind it, with another number. (Some brokers count a batch that they reject. What
//     follows it, and has no answer, is in doubt unless the broker once refused such a batch.)
//   - What follows a batch in doubt, and has no answer, is in doubt, too. Each of them is
//     sent again as it is, in their order.
//
// From there on one batch is in flight again.

// notAcked is what came in place of an ack.
type notAcked struct {
	broker.Answer
	doubt bool // the batch may have been appended
}

// notAppended reports whether a batch in flight has an answer that says so.
func (b *Batch) notAppended() bool { return b.result != nil && !b.result.doubt }

const (
	// mostInFlight is how many batches of a partition are in flight at most. Brokers recognise
	// as many.
	mostInFlight = 5
	// part is how much of a full batch follows the last one after some time: an eighth. It
	// does where the broker is not near: smaller batches cost brokers more.
	part = 8
	// anyAfter is after how long any record follows, if a round trip is longer.
	anyAfter = 10 * time.Millisecond
	// calm is how many batches are acked, after one was not, until others follow one in flight.
	calm = 16
	// knownFor is for how long after a batch that was acked the broker is sure to know the
	// producer: it may forget one that is idle (producer.id.expiration.ms).
	knownFor = time.Minute
)

// mayFollow reports whether a batch may be sent behind those in flight.
func (p *Partition) mayFollow() bool {
	n := len(p.inFlight)
	if n >= mostInFlight || len(p.queue) == 0 || len(p.resend) > 0 || p.queuedSize < p.enough(p.node.RoundTrip(), time.Since(p.inFlight[n-1].Started)) || !p.shared.ordered() {
		return false
	}
	first, r := p.inFlight[0], p.queue[0]
	switch {
	case p.ackedAt.IsZero() || first.Started.Sub(p.ackedAt) > knownFor,
		!p.hasID || p.moved != nil || p.evacuated || p.acks.Load() < p.calmFrom,
		len(p.doubts) > 0 || len(p.deferred) > 0 || p.blocked != nil || len(p.later) > 0,
		r.Single || r.Alone || r.Questioned || int(r.Size) >= p.single:
		return false
	}
	return !slices.ContainsFunc(p.inFlight, func(b *Batch) bool {
		return b.result != nil || b.Alone || b.producer != p.producer
	})
}

// enough is how many bytes are to be queued for a batch that follows the last one after
// some time: slots are few, and are to be spread over a round trip.
func (p *Partition) enough(roundTrip, after time.Duration) int {
	full := p.most - recordbatch.Overhead
	switch {
	case roundTrip < broker.Near, after < roundTrip/mostInFlight:
		return full
	case after < broker.Near:
		return full / 2
	case after < anyAfter, roundTrip <= anyAfter:
		return full / part
	default:
		return 0
	}
}

// wakeToFollow has what is queued sent once it is enough, since nothing else may happen to
// the partition until then.
func (p *Partition) wakeToFollow() {
	if p.waking || len(p.inFlight) == 0 || len(p.queue) == 0 || p.node.RoundTrip() <= anyAfter {
		return
	}
	wait := max(anyAfter, p.node.RoundTrip()/mostInFlight) - time.Since(p.inFlight[len(p.inFlight)-1].Started)
	if wait <= 0 {
		return // there is another reason
	}
	p.waking = true
	time.AfterFunc(wait, func() {
		p.mu.Lock()
		p.waking = false
		p.goOn()
	})
}

// ordered reports whether brokers look at sequence numbers, as far as is known.
func (s *Shared) ordered() bool { return s.Idempotent && !s.unordered.Load() }

// numberOf gives a batch its numbers.
func (p *Partition) numberOf(b *Batch) {
	b.producer, b.result = p.producer, nil
	switch n := len(p.inFlight); {
	case !p.shared.Idempotent:
		b.sequence = -1
		return
	case n > 0:
		b.sequence = p.inFlight[n-1].then
	default:
		b.sequence = p.sequence
	}
	if !b.unanswered {
		b.then = next(b.sequence, len(b.Records))
	}
}

// settle takes off what was acked, and once all others have an answer, or none will come,
// those that were not.
func (p *Partition) settle() {
	for len(p.inFlight) > 0 && p.inFlight[0].acked {
		b := p.inFlight[0]
		p.inFlight = slices.Delete(p.inFlight, 0, 1)
		p.sequence, p.ackedAt = b.then, b.Started
		p.shared.batches.Put(b)
		for _, follower := range p.inFlight {
			follower.Acks++ // as if it had been written after it
		}
	}
	if len(p.inFlight) > 0 && !slices.ContainsFunc(p.inFlight, func(b *Batch) bool { return !b.acked && b.result == nil }) {
		p.notAcked()
	}
}

// notAcked deals with what was in flight, whose first batch was not acked.
func (p *Partition) notAcked() {
	batches := slices.Clone(p.inFlight)
	clear(p.inFlight)
	p.inFlight = p.inFlight[:0]
	p.calmFrom = p.acks.Load() + calm
	first, appended, counted, disorder := batches[0], true, false, false
	last, why := first, first.result.Err
	shared := p.shared
	var followers []*Batch
	for _, b := range batches {
		switch {
		case b.acked && appended:
			last.then = b.then
			continue
		case b.acked:
			disorder = true
			shared.unordered.Store(true)
			continue
		case appended && !b.result.doubt:
			appended = false
			counted = code.Of(b.result.Code).Scope == code.OfBatch && !code.Ambiguous(b.result.Code)
		case counted && code.OutOfOrder(b.result.Code):
			shared.refusesGaps.Store(true)
		}
		switch {
		case !b.result.doubt:
		case !appended && (b.result.Offset || code.Appended(b.result.Code)):
			disorder, why = true, b.result.Err
			shared.unordered.Store(true)
			p.inDoubt(b)
		case !appended && counted && !shared.refusesGaps.Load():
			disorder, why = true, b.result.Err
			p.inDoubt(b)
		case appended:
			p.inDoubt(b)
		}
		last = b
		if b == first {
			continue
		}
		if b.result.Code == 0 {
			b.Attempts++
		}
		followers = append(followers, b)
	}
	p.resend = slices.Concat(followers, p.resend)
	for _, b := range followers {
		p.endLeaving(b)
		if p.gone {
			p.endAll(b.Records, ErrClosed)
		}
	}
	p.drops = true // what was given up in flight
	a := first.result.Answer
	p.trouble.Store(&a.Err)
	if disorder || code.Of(a.Code).Scope == code.OfProducer {
		p.loseTrack(why)
	}
	if code.LeaderMoved(a.Code) {
		p.shared.Want(first.Topic)
	}
	p.ask(first, a)
}
