package producer

import (
	"context"
	"slices"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// acked ends the records of a batch.
func (p *partition) acked(b *Batch, offset, appended int64) {
	p.mu.Lock()
	if !slices.Contains(p.inFlight, b) {
		p.unlock()
		return
	}
	p.acks.Add(1)
	if appended >= 0 && !b.unanswered {
		p.topic.logTime.Store(true)
	} else if appended >= 0 && !p.topic.logTime.Load() {
		appended = -1 // a duplicate is answered with a time whatever the topic's is
	}
	for i, r := range b.Records {
		if r.Ended() {
			continue
		}
		if offset >= 0 {
			r.Offset = offset + int64(i)
		}
		r.Appended, r.doubt = appended, false
	}
	p.topic.all.cfg.Policy.Acked(b)
	if e := p.trouble.Load(); e != nil {
		p.trouble.Store(nil)
	}
	p.finish(b.Records, Acked, nil)
	p.resolved(b)
	for _, r := range b.Records {
		p.unblock(r)
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
func (p *partition) answered(b *Batch, a Answer) {
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

// lost deals with a batch that has no answer. Sent says whether it left to its last byte.
func (p *partition) lost(b *Batch, sent bool, a Answer) {
	p.failed(b, notAcked{Answer: a, doubt: sent})
}

func (p *partition) failed(b *Batch, a notAcked) {
	p.mu.Lock()
	defer p.unlock()
	if slices.Contains(p.inFlight, b) {
		p.trouble.Store(&a.Err)
		b.result = &a
		p.settle()
	}
}

// refused puts what is next before the Policy, since the broker lets nothing be sent.
func (p *partition) refused(err error) {
	p.mu.Lock()
	defer p.unlock()
	p.listed = false
	if len(p.inFlight) > 0 || p.asking != nil {
		return
	}
	if b := p.nextBatch(unbounded); b != nil {
		p.ask(b, Answer{Err: err})
	}
}

// ask puts a batch before the Policy.
func (p *partition) ask(b *Batch, a Answer) {
	p.endLeaving(b)
	if p.gone {
		p.endAll(b.Records, errClosed)
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
	ctx, end := context.WithCancel(p.topic.all.life)
	p.asking, p.endAsking = b, end
	go func() {
		defer end()
		plan := p.topic.all.cfg.Policy.Next(ctx, b, a)
		p.follow(b, plan)
	}()
}

// follow does what a plan says.
func (p *partition) follow(b *Batch, plan Plan) {
	p.mu.Lock()
	p.asking = nil
	p.endLeaving(b)
	p.mayForget()
	if p.gone {
		p.endAll(b.Records, errClosed)
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
			nb := p.topic.all.newBatch(p)
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
	p.dropEnded()
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
func (p *partition) endFailed(failed []Failed) {
	for _, f := range failed {
		r := f.Record
		if r.Ended() || r.Write == nil {
			continue
		}
		switch {
		case !r.doubt:
			p.finish([]*Record{r}, NotWritten, f.Reason)
		case p.topic.all.cfg.Idempotent:
			r.Reason = f.Reason
			p.deferred = append(p.deferred, r)
		default:
			p.finish([]*Record{r}, Unknown, f.Reason)
		}
		p.unblock(r)
	}
}

func (p *partition) resume() {
	p.mu.Lock()
	p.paused = false
	p.goOn()
}
