package partition

import (
	"context"
	"slices"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// acked ends the records of a batch.
func (p *Partition) acked(b *Batch, offset, appended int64) {
	p.mu.Lock()
	p.acks.Add(1)
	if appended >= 0 && !b.unanswered {
		p.topic.logTime.Store(true)
	} else if appended >= 0 && !p.topic.logTime.Load() {
		appended = -1 // a duplicate is answered with a time whatever the topic's is
	}
	for i, r := range b.Records {
		if offset >= 0 {
			r.Offset = offset + int64(i)
		}
		r.Appended, r.doubt = appended, false
	}
	p.shared.Policy.Acked(b)
	p.trouble.Store(nil)
	p.finish(b.Records, Acked, nil)
	p.resolved(b)
	if p.blocked != nil {
		for _, r := range b.Records {
			p.unblock(r)
		}
	}
	if b.twin != nil {
		b.twin.rejected = true
	}
	clear(b.Records)
	b.Records, b.acked = b.Records[:0], true
	p.settle()
	p.goOn()
}

// answered deals with a batch that was not acked.
func (p *Partition) answered(b *Batch, a broker.Answer) {
	m := code.Of(a.Code)
	if a.Err == nil {
		a.Err = code.Error(a.Code)
	}
	doubt := m.Doubt || a.Offset
	if code.TopicGone(a.Code) || m.Scope == code.OfProducer {
		doubt = false // what was appended is gone with the topic; or the number was refused
	}
	p.failed(b, notAcked{Answer: a, doubt: doubt})
}

// failed notes what came in place of an ack.
func (p *Partition) failed(b *Batch, a notAcked) {
	p.mu.Lock()
	defer p.unlock()
	p.trouble.Store(&a.Err)
	b.result = &a
	p.settle()
}

// Refused puts what is next before the Policy, since the broker lets nothing be sent.
func (p *Partition) Refused(err error) {
	p.Trouble(err)
	p.mu.Lock()
	defer p.unlock()
	p.listed = false
	if len(p.inFlight) > 0 || p.asking != nil {
		return
	}
	if b := p.nextBatch(unbounded); b != nil {
		p.ask(b, broker.Answer{Err: err})
	}
}

// ask puts a batch before the Policy.
func (p *Partition) ask(b *Batch, a broker.Answer) {
	p.endLeaving(b)
	if p.gone {
		p.endAll(b.Records, ErrClosed)
		return
	}
	if !p.needed(b) {
		p.mayForget()
		p.sendSoon()
		return
	}
	if len(b.Records) == 1 && b.unanswered && len(p.doubts) > 0 {
		p.lone = b.Records[0]
	}
	b.Attempts++
	if b.First.IsZero() {
		b.First = time.Now()
	}
	ctx, end := context.WithCancel(p.shared.Life)
	p.asking, p.endAsking = b, end
	go func() {
		defer end()
		plan := p.shared.Policy.Next(ctx, b, a)
		p.follow(b, plan)
	}()
}

// follow does what a plan says.
func (p *Partition) follow(b *Batch, plan Plan) {
	p.mu.Lock()
	p.asking = nil
	p.endLeaving(b)
	p.mayForget()
	if p.gone {
		p.endAll(b.Records, ErrClosed)
		p.unlock()
		return
	}
	var parts []*Batch
	switch {
	case plan.Same:
		parts = []*Batch{b}
		if plan.Restamp && b.unanswered {
			b.stale = true
		}
	default:
		for _, part := range plan.Parts {
			// The very same batch tells what became of it. One of many may be too large, and is
			// sent as it was only if that was not in a request of its own.
			if b.unanswered && len(part.Records) == len(b.Records) && (len(b.Records) == 1 || part.Alone && !b.Alone) {
				b.Alone = part.Alone
				parts = append(parts, b)
				continue
			}
			nb := p.newBatch()
			nb.Records = slices.DeleteFunc(append(nb.Records, part.Records...), isOut)
			nb.Alone, nb.First, nb.Attempts = part.Alone, b.First, b.Attempts
			if n := len(parts); n > 0 && plan.Parts[n-1].Half {
				parts[n-1].twin = nb
			}
			parts = append(parts, nb)
		}
		p.endFailed(plan.Failed)
	}
	p.resend = slices.Insert(p.resend, 0, parts...)
	for _, l := range plan.Later {
		p.holdBack(l)
	}
	if plan.Pause > 0 && !p.evacuated {
		p.paused = true
		time.AfterFunc(plan.Pause, p.resume)
		p.unlock()
		return
	}
	p.goOn()
}

// endFailed ends the records that the Policy has failed. What is in doubt is kept until
// that is resolved.
func (p *Partition) endFailed(failed []Failed) {
	for _, f := range failed {
		r := f.Record
		if isOut(r) {
			continue
		}
		switch {
		case !r.doubt:
			p.finish([]*Record{r}, NotWritten, f.Reason)
		case p.shared.Idempotent:
			r.Reason = f.Reason
			p.deferred = append(p.deferred, r)
		default:
			p.finish([]*Record{r}, Unknown, f.Reason)
		}
		p.unblock(r)
	}
}

// Unlisted lists the partition with the broker that leads it now.
func (p *Partition) Unlisted() {
	p.mu.Lock()
	p.listed = false
	p.goOn()
}

func (p *Partition) resume() {
	p.mu.Lock()
	p.paused = false
	p.goOn()
}
