package partition

import (
	"slices"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// Take returns the next batch for a request of a node that has room for it. The first of
// a request always has.
func (p *Partition) Take(n *broker.Node, room int, first bool) (broker.Entry, broker.Taking) {
	p.mu.Lock()
	defer p.unlock()
	if p.moved != nil && len(p.inFlight) == 0 {
		p.node, p.moved = p.moved, nil
	}
	if p.node != n {
		p.listed = false
		p.sendSoon()
		return broker.Entry{}, broker.Nothing
	}
	if p.busy() || p.shared.Idempotent && !p.hasID {
		p.listed = false
		p.list()
		return broker.Entry{}, broker.Nothing
	}
	if !first && p.leastRoom() > room {
		return broker.Entry{}, broker.NoRoom
	}
	most, single := p.shared.MaxBatch(p.topic.Name, n.ID)
	most = min(most, n.BatchLimit())
	p.most, p.single = most, single
	if !first {
		most = min(most, room-p.inRequest())
	}
	b := p.nextBatch(most)
	p.listed = false
	if b == nil {
		p.list()
		return broker.Entry{}, broker.Nothing
	}
	switch free := p.freeCount(b); {
	case b.unanswered && b.producer != p.producer: // its numbers are of no use any more
		return broker.Entry{}, p.beginAnew(b, errInFlight)
	case free == 0:
		return broker.Entry{}, p.beginAnew(b, nil)
	case free < len(b.Records):
		p.resend = slices.Insert(p.resend, 0, p.partOf(b, b.Records[free:]))
		b.mu.Lock()
		b.Records = b.Records[:free]
		b.recount()
		b.mu.Unlock()
	}
	p.numberOf(b)
	b.Leader, b.Acks, b.Started = n.ID, p.acks.Load(), time.Now()
	p.inFlight = append(p.inFlight, b)
	p.list()
	return broker.Entry{Batch: b, Topic: &p.topic.Topic, Partition: p.number, Size: b.size + p.inRequest(), Alone: b.Alone}, broker.Taken
}

// beginAnew gives the sequence up, since a batch can't take the next number. It is sent with
// another producer ID.
func (p *Partition) beginAnew(b *Batch, why error) broker.Taking {
	p.resend = slices.Insert(p.resend, 0, b)
	p.loseTrack(why)
	p.sendSoon()
	return broker.Nothing
}

// leastRoom is what the next batch takes of a request, at least.
func (p *Partition) leastRoom() int {
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
func (p *Partition) inRequest() int { return 32 + max(len(p.topic.Name), len([16]byte{})) }

// keptQueue is how many records an array has room for, at most, that a queue keeps.
const keptQueue = 256

// nextBatch takes the next batch off what is to be sent, nil if there is none.
func (p *Partition) nextBatch(most int) *Batch {
	for len(p.resend) > 0 {
		b := p.resend[0]
		p.resend = slices.Delete(p.resend, 0, 1)
		if b.unanswered && p.hasID && b.producer == p.producer && b.sequence != p.sequence {
			b.unanswered = false // the batch before it was not acked as it was: this one can't be recognised
		}
		if b.unanswered && !p.byName() && b.toAnother(p.topic.ID()) {
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
		b := p.newBatch()
		records := p.queue
		p.queue = nil // what fill unblocks is put there
		rest := slices.Delete(records, 0, p.fill(b, records, most))
		if p.queue == nil && cap(rest) <= keptQueue {
			p.queue = rest // with its array, for the records to come
		} else {
			p.queue = append(p.queue, rest...)
		}
		p.queuedSize = max(p.queuedSize-b.size+recordbatch.Overhead, 0)
		if len(p.queue) == 0 {
			p.queuedSize = 0
		}
		if len(b.Records) > 0 {
			return b
		}
		p.shared.batches.Put(b)
	}
	return nil
}

// partOf returns a batch to be of some of the records of another.
func (p *Partition) partOf(b *Batch, records []*Record) *Batch {
	part := p.newBatch()
	part.Records = append(part.Records, records...)
	part.Alone, part.First, part.Attempts = b.Alone, b.First, b.Attempts
	return part
}

// fill fills a batch with the first of the records, as many as fit, and returns how many of
// them are done with: these are in the batch, blocked or failed.
func (p *Partition) fill(b *Batch, records []*Record, most int) (n int) {
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
			if err := p.shared.Policy.Check(r, p.node.ID); err != nil {
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
