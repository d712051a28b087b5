package partition

import (
	"cmp"
	"slices"
	"time"
)

// A record that was rejected by itself, without proof that it is at fault, is sent
// again later, and the partition goes on meanwhile. Records with its key must not
// overtake it: they are blocked.

// block is what waits behind a record with the same key.
type block struct {
	holder *Record
	behind []*Record
}

// holdBack has a record sent again later, and those with its key wait behind it.
func (p *Partition) holdBack(l Later) {
	r := l.Record
	if ended(r) {
		return
	}
	if r.Key != nil && !p.block(r) {
		return
	}
	if p.later == nil {
		p.later = map[*Record]*time.Timer{}
	}
	p.later[r] = time.AfterFunc(l.After, func() { p.again(r) })
}

// block has what comes after r, and has its key, wait behind it. It reports whether r itself
// does not wait behind another.
func (p *Partition) block(r *Record) bool {
	if p.blocked == nil {
		p.blocked = map[string]*block{}
	}
	bl := p.blocked[string(r.Key)]
	if bl == nil {
		bl = &block{holder: r}
		p.blocked[string(r.Key)] = bl
	}
	switch holder := bl.holder; {
	case r.order > holder.order:
		bl.behind = append(bl.behind, r)
		bl.sort()
		return false
	case r != holder: // which waits behind r then
		bl.holder = r
		if timer := p.later[holder]; timer != nil {
			timer.Stop()
			delete(p.later, holder)
			bl.behind = append(bl.behind, holder)
		}
	}
	for _, b := range p.resend {
		if b.unanswered {
			continue
		}
		b.Records = slices.DeleteFunc(slices.Clone(b.Records), func(o *Record) bool {
			behind := o.order > r.order && o.Key != nil && string(o.Key) == string(r.Key)
			if behind {
				bl.behind = append(bl.behind, o)
			}
			return behind
		})
	}
	bl.sort()
	p.resend = slices.DeleteFunc(p.resend, func(b *Batch) bool { return len(b.Records) == 0 })
	return true
}

// waitsBehind reports whether a record waits behind another one with its key.
func (p *Partition) waitsBehind(r *Record) bool {
	if r.Key == nil {
		return false
	}
	bl := p.blocked[string(r.Key)]
	if bl == nil || r.order <= bl.holder.order {
		return false
	}
	bl.behind = append(bl.behind, r)
	return true
}

func (b *block) sort() {
	slices.SortFunc(b.behind, func(x, y *Record) int { return cmp.Compare(x.order, y.order) })
}

// again sends a record that was held back.
func (p *Partition) again(r *Record) {
	p.mu.Lock()
	if _, ok := p.later[r]; !ok {
		p.unlock()
		return
	}
	delete(p.later, r)
	b := p.newBatch()
	b.Alone = true
	b.add(r, unbounded)
	if r == p.lone {
		b.unanswered, b.producer, b.sequence = true, p.producer, p.sequence
		b.then = next(b.sequence, 1)
	}
	at := 0
	for at < len(p.resend) && p.resend[at].unanswered {
		at++
	}
	p.resend = slices.Insert(p.resend, at, b)
	p.goOn()
}

const unbounded = 1<<31 - 1

// unblock has what waits behind a record that has ended sent next.
func (p *Partition) unblock(r *Record) {
	bl := p.blocked[string(r.Key)]
	if bl == nil || bl.holder != r {
		return
	}
	delete(p.blocked, string(r.Key))
	if len(p.blocked) == 0 {
		p.blocked = nil
	}
	p.queue = slices.Concat(bl.behind, p.queue)
}

// dropBlocked forgets records that have ended.
func (p *Partition) dropBlocked() {
	for r, t := range p.later {
		if ended(r) {
			t.Stop()
			delete(p.later, r)
		}
	}
	for _, bl := range p.blocked {
		bl.behind = slices.DeleteFunc(bl.behind, ended)
		if ended(bl.holder) {
			p.unblock(bl.holder)
		}
	}
}
