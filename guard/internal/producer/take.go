package producer

import (
	"slices"
	"time"
)

// taking is what came of asking a partition for a batch.
type taking uint8

const (
	nothing taking = iota
	taken
	noRoom
)

// take returns the next batch for a request of a node that has room for it. The first of
// a request always has.
func (p *partition) take(n *node, room int, first bool) (*Batch, taking) {
	p.mu.Lock()
	defer p.unlock()
	if p.moved != nil && len(p.inFlight) == 0 {
		p.node, p.moved = p.moved, nil
	}
	if p.node != n {
		p.listed = false
		p.sendSoon()
		return nil, nothing
	}
	if p.busy() || p.topic.all.cfg.Idempotent && !p.hasID {
		p.listed = false
		p.list()
		return nil, nothing
	}
	if !first && p.leastRoom() > room {
		return nil, noRoom
	}
	most, single := p.topic.all.cfg.MaxBatch(p.topic.name, n.id)
	most = min(most, n.batchLimit())
	p.most, p.single = most, single
	if !first {
		most = min(most, room-p.inRequest())
	}
	b := p.nextBatch(most)
	p.listed = false
	if b == nil {
		p.list()
		return nil, nothing
	}
	switch free := p.freeCount(b); {
	case b.unanswered && b.producer != p.producer: // its numbers are of no use any more
		return nil, p.beginAnew(b, errInFlight)
	case free == 0:
		return nil, p.beginAnew(b, nil)
	case free < len(b.Records):
		p.resend = slices.Insert(p.resend, 0, p.partOf(b, b.Records[free:]))
		b.mu.Lock()
		b.Records = b.Records[:free]
		b.recount()
		b.mu.Unlock()
	}
	p.numberOf(b)
	b.Leader, b.Acks, b.Started = n.id, p.acks.Load(), time.Now()
	p.inFlight = append(p.inFlight, b)
	p.list()
	return b, taken
}

// beginAnew gives the sequence up, since a batch can't take the next number. It is sent with
// another producer ID.
func (p *partition) beginAnew(b *Batch, why error) taking {
	p.resend = slices.Insert(p.resend, 0, b)
	p.loseTrack(why)
	p.sendSoon()
	return nothing
}

// leastRoom is what the next batch takes of a request, at least.
func (p *partition) leastRoom() int {
	if len(p.resend) > 0 {
		b := p.resend[0]
		if b.Alone || b.Records[0].Alone {
			return 1 << 30
		}
		if b.unanswered {
			return b.size + p.inRequest()
		}
		return int(b.Records[0].Size) + p.inRequest()
	}
	if len(p.queue) > 0 {
		if p.queue[0].Alone {
			return 1 << 30
		}
		return int(p.queue[0].Size) + p.inRequest()
	}
	return 0
}

// inRequest is what a batch takes in a request besides itself, at most: its partition, lengths,
// and the topic, by name or by ID.
func (p *partition) inRequest() int { return 32 + max(len(p.topic.name), len(p.topic.id.Load())) }

// keptQueue is how many records an array has room for, at most, that a queue keeps.
const keptQueue = 256

// nextBatch takes the next batch off what is to be sent, nil if there is none.
func (p *partition) nextBatch(most int) *Batch {
	for len(p.resend) > 0 {
		b := p.resend[0]
		p.resend = slices.Delete(p.resend, 0, 1)
		if b.unanswered && p.hasID && b.producer == p.producer && b.sequence != p.sequence {
			b.unanswered = false // the batch before it was not acked as it was: this one can't be recognised
		}
		if b.unanswered && !p.byName() && b.toAnother(p.topic.id.Load()) {
			b.unanswered = false
			for _, r := range b.Records {
				r.doubt = false
			}
			p.resolved(nil)
		}
		if b.unanswered {
			if b.stale {
				b.stale = false
				b.restamp()
			}
			return b
		}
		records := b.Records
		if half := len(records) / 2; b.rejected && half > 0 {
			right := p.partOf(b, records[half:])
			left := p.partOf(b, records[:half])
			left.twin = right
			p.resend = slices.Insert(p.resend, 0, left, right)
			continue
		}
		b.Records = make([]*Record, 0, len(records))
		if rest := records[p.fill(b, records, most):]; len(rest) > 0 {
			p.resend = slices.Insert(p.resend, 0, p.partOf(b, rest))
		}
		if len(b.Records) > 0 {
			return b
		}
	}
	for len(p.queue) > 0 {
		b := p.topic.all.newBatch(p)
		records := p.queue
		p.queue = nil // what fill unblocks is put there
		rest := slices.Delete(records, 0, p.fill(b, records, most))
		if p.queue == nil && cap(rest) <= keptQueue {
			p.queue = rest // with its array, for the records to come
		} else {
			p.queue = append(p.queue, rest...)
		}
		p.queuedSize = max(p.queuedSize-b.size+BatchOverhead, 0)
		if len(p.queue) == 0 {
			p.queuedSize = 0
		}
		if len(b.Records) > 0 {
			return b
		}
		p.topic.all.batches.Put(b)
	}
	return nil
}

// partOf returns a batch to be of some of the records of another.
func (p *partition) partOf(b *Batch, records []*Record) *Batch {
	part := p.topic.all.newBatch(p)
	part.Records = append(part.Records, records...)
	part.Alone, part.First, part.Attempts = b.Alone, b.First, b.Attempts
	return part
}

// fill fills a batch with the first of the records, as many as fit, and returns how many of
// them are done with: these are in the batch, blocked or failed.
func (p *partition) fill(b *Batch, records []*Record, most int) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.UnixMilli(time.Now().UnixMilli())
	for n, r := range records {
		if p.blocked != nil && p.waitsBehind(r) {
			continue
		}
		if int(r.Size) >= p.single {
			r.Single, r.Questioned = true, true
		}
		if r.Questioned && p.node != nil {
			if err := p.topic.all.cfg.Policy.Check(r, p.node.id); err != nil {
				p.endFailed([]Failed{{r, err}})
				continue
			}
		}
		if len(b.Records) > 0 && (r.Single || r.Apart != b.Records[0].Apart) {
			return n
		}
		if r.Unstamped {
			r.Timestamp = now
		}
		if !b.add(r, most) {
			return n
		}
		if r.Single {
			b.Alone = b.Alone || r.Alone
			return n + 1
		}
	}
	return len(records)
}

// toAnother reports whether the batch was sent to a topic of the same name that is no more:
// what was appended is gone with it.
func (b *Batch) toAnother(id [16]byte) bool { return b.topicID != [16]byte{} && b.topicID != id }
