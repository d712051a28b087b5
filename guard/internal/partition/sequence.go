package partition

import (
	"math"
	"slices"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// Sequence numbers, with one batch of a partition in flight (see inflight.go for several):
//
//   - The next batch is numbered from p.sequence, which an ack moves on. What is
//     rejected was not appended, so its number goes to the next batch.
//   - A batch without an answer may have been appended. It is sent again with its
//     number, and the broker recognises it: it is acked once.
//   - If such a batch is rejected then (the limit was lowered meanwhile), the first
//     attempt may still be in the log. The number tells: a batch of other records is
//     sent with the same number. If it is acked, the first attempt was not
//     appended; OUT_OF_ORDER_SEQUENCE_NUMBER says that it was.
//   - A broker recognises a batch by its first and its last number. So the batch
//     that is sent in place of one in doubt must not have as many records.
//   - Kafka answers a batch that it recognises as if it had just appended it.
//     DUPLICATE_SEQUENCE_NUMBER is no ack: some brokers answer it also to the number of a
//     batch that they rejected.
//   - Where a partition loses track (the broker forgot the producer, or fences it; a
//     batch in doubt is given up), it takes a producer ID of its own and begins at 0.
//     What was in doubt then stays Unknown.

// next is the sequence number n records behind another: 0 follows 2^31-1.
func next(sequence int32, n int) int32 { return int32((int64(sequence) + int64(n)) & math.MaxInt32) }

// assignID gives the partition its producer ID: at once if that is known, else later.
func (p *Partition) assignID() (now bool) {
	if p.ownID {
		p.asksID = true
		p.shared.IDs.Own(p)
		return false
	}
	id, now := p.shared.IDs.Common(p)
	if now {
		p.begin(id)
	}
	p.asksID = !now
	return now
}

// GotID has the partition go on with a producer ID, or puts what it would send before the
// Policy.
func (p *Partition) GotID(id recordbatch.ProducerID, failed *broker.Answer) {
	p.mu.Lock()
	p.asksID = false
	if failed == nil {
		p.begin(id)
		p.goOn()
		return
	}
	b := p.nextBatch(unbounded)
	if b == nil {
		p.unlock()
		return
	}
	p.ask(b, *failed)
	p.unlock()
}

// begin begins at 0 with a producer ID.
func (p *Partition) begin(id recordbatch.ProducerID) {
	p.producer, p.sequence, p.hasID, p.ackedAt = id, 0, true, time.Time{}
}

// inDoubt notes that a batch may have been appended. Without idempotence nothing tells
// but an ack of the record itself.
func (p *Partition) inDoubt(b *Batch) {
	if b.unanswered {
		return
	}
	b.unanswered = true
	if !p.shared.Idempotent {
		for _, r := range b.Records {
			r.doubt = true
		}
		return
	}
	p.doubts = append(p.doubts, doubt{b.sequence, len(b.Records), slices.Clone(b.Records), b.topicID == [16]byte{}})
	for _, r := range b.Records {
		r.doubt = true
	}
}

// doubt is a batch that may have been appended, though it was not acked.
type doubt struct {
	first   int32 // its number
	count   int
	records []*Record // of it that have not ended
	byName  bool      // it was written to the topic by name
}

// noNumber is no sequence number of an idempotent producer.
const noNumber = -1

// dropDoubts forgets records that have ended. They stay in doubt by their number.
func (p *Partition) dropDoubts() {
	for i := range p.doubts {
		d := &p.doubts[i]
		d.records = slices.DeleteFunc(d.records, ended)
	}
}

// waitedFor reports whether any record in doubt is, but those of batches with a number.
func (p *Partition) waitedFor(but int32) bool {
	return slices.ContainsFunc(p.doubts, func(d doubt) bool {
		return d.first != but && slices.ContainsFunc(d.records, isWaitedFor)
	})
}

// needed reports whether a batch in doubt is to be sent again as it is: as long as any record
// of it is waited for, or any that is in doubt with another number, behind it.
func (p *Partition) needed(b *Batch) bool { return !b.abandoned() || p.waitedFor(b.sequence) }

// byName reports whether a batch in doubt was written to a topic by name.
func (p *Partition) byName() bool {
	return slices.ContainsFunc(p.doubts, func(d doubt) bool { return d.byName })
}

// resolved clears what is in doubt, since a batch was acked: what else had its number was not
// appended. If it is the very batch that was in doubt, those numbered behind it stay so.
// Else none of these was appended: the broker would have missed their predecessor.
func (p *Partition) resolved(by *Batch) {
	p.forgets = false
	if len(p.doubts) == 0 && len(p.deferred) == 0 {
		return
	}
	behind := func(number int32) bool { return by != nil && by.unanswered && number != by.sequence }
	p.clearDoubt()
	p.doubts = slices.DeleteFunc(p.doubts, func(d doubt) bool { return !behind(d.first) })
	p.dropDoubts()
	for _, d := range p.doubts {
		for _, r := range d.records {
			r.doubt = true
		}
	}
	for _, b := range p.resend {
		b.unanswered = b.unanswered && behind(b.sequence)
	}
	var settled []*Record
	p.deferred = slices.DeleteFunc(p.deferred, func(r *Record) bool {
		if !r.doubt {
			settled = append(settled, r)
		}
		return !r.doubt
	})
	p.finish(settled, NotWritten, nil)
}

// clearDoubt has no record be in doubt.
func (p *Partition) clearDoubt() {
	p.lone = nil
	for _, d := range p.doubts {
		for _, r := range d.records {
			r.doubt = false
		}
	}
}

// loseTrack gives up the sequence: what is in doubt stays Unknown.
func (p *Partition) loseTrack(why error) {
	if !p.shared.Idempotent {
		return
	}
	if e := p.trouble.Load(); why == nil && e != nil {
		why = *e
	}
	doubts := p.doubts
	p.doubts, p.deferred, p.lone = nil, nil, nil // what is deferred is in doubt
	for _, d := range doubts {
		p.finish(d.records, Unknown, why)
	}
	for _, b := range p.resend {
		b.unanswered = false
	}
	p.hasID, p.ownID = false, true
	p.dropEnded()
}

// freeCount returns how many records of a batch, from the first on, may take the number of
// those in doubt: a batch differs from each of them in how many it has, or is one of them.
func (p *Partition) freeCount(b *Batch) int {
	n := len(b.Records)
	for !b.unanswered && n > 0 && p.inDoubtWith(n) {
		n--
	}
	return n
}

// inDoubtWith reports whether a batch of n records is in doubt with the next number.
func (p *Partition) inDoubtWith(n int) bool {
	return slices.ContainsFunc(p.doubts, func(d doubt) bool { return d.first == p.sequence && d.count == n })
}
