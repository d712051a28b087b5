package producer

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
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

// producerID identifies a producer to brokers (KIP-98).
type producerID struct {
	id    int64
	epoch int16
}

var noProducer = producerID{-1, -1}

// next is the sequence number n records behind another: 0 follows 2^31-1.
func next(sequence int32, n int) int32 { return int32((int64(sequence) + int64(n)) & math.MaxInt32) }

// ids hands out producer IDs.
type ids struct {
	producer *Producer

	mu      sync.Mutex
	shared  producerID
	have    bool
	asking  bool
	waiting []*partition // for the shared one
}

// assign gives a partition its producer ID: at once if that is known, else later. The
// partition is locked.
func (i *ids) assign(p *partition) (now bool) {
	if p.ownID {
		p.asksID = true
		go i.askOwn(p)
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.have {
		p.begin(i.shared)
		return true
	}
	p.asksID = true
	i.waiting = append(i.waiting, p)
	if !i.asking {
		i.asking = true
		go i.askShared()
	}
	return false
}

// renew gives another producer ID to the partitions that ask from now on.
func (i *ids) renew() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.have = false
}

func (i *ids) askShared() {
	id, a := i.ask()
	i.mu.Lock()
	i.asking = false
	if a == nil {
		i.shared, i.have = id, true
	}
	waiting := i.waiting
	i.waiting = nil
	i.mu.Unlock()
	for _, p := range waiting {
		p.gotID(id, a)
	}
}

func (i *ids) askOwn(p *partition) {
	id, a := i.ask()
	p.gotID(id, a)
}

// ask asks for a producer ID until there is an answer that a retry would not change.
func (i *ids) ask() (producerID, *Answer) {
	p := i.producer
	for n := 0; ; n++ {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionTimeoutMillis = math.MaxInt32
		ctx, cancel := context.WithTimeout(p.life, askWait)
		resp, err := req.RequestWith(ctx, p.cfg.Client)
		cancel()
		if p.life.Err() != nil {
			return noProducer, &Answer{Err: errClosed, Producer: true}
		}
		switch {
		case err == nil && resp.ErrorCode == 0:
			return producerID{resp.ProducerID, resp.ProducerEpoch}, nil
		case err == nil:
			if !code.Of(resp.ErrorCode).Retry {
				return noProducer, &Answer{Code: resp.ErrorCode, Err: code.Error(resp.ErrorCode), Producer: true}
			}
			err = code.Error(resp.ErrorCode)
		case !code.OfError(err).Retry:
			return noProducer, &Answer{Err: err, Producer: true}
		}
		p.trouble.CompareAndSwap(nil, &err)
		if !sleep(p.life, p.cfg.Backoff(n+1)) {
			return noProducer, &Answer{Err: errClosed, Producer: true}
		}
	}
}

// sleep waits, and reports whether ctx has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// gotID has a partition go on with a producer ID, or puts what it would send before the
// Policy.
func (p *partition) gotID(id producerID, failed *Answer) {
	p.mu.Lock()
	p.asksID = false
	if failed == nil {
		p.begin(id)
		p.goOn()
		return
	}
	b := p.nextBatch(math.MaxInt32)
	if b == nil {
		p.unlock()
		return
	}
	p.ask(b, *failed)
	p.unlock()
}

// begin begins at 0 with a producer ID.
func (p *partition) begin(id producerID) {
	p.producer, p.sequence, p.hasID, p.ackedAt = id, 0, true, time.Time{}
}

// inDoubt notes that a batch may have been appended. Without idempotence nothing tells
// but an ack of the record itself.
func (p *partition) inDoubt(b *Batch) {
	if b.unanswered {
		return
	}
	b.unanswered = true
	if !p.topic.all.cfg.Idempotent {
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
func (p *partition) dropDoubts() {
	for i := range p.doubts {
		d := &p.doubts[i]
		d.records = slices.DeleteFunc(d.records, ended)
	}
}

// waitedFor reports whether any record in doubt is, but those of batches with a number.
func (p *partition) waitedFor(but int32) bool {
	return slices.ContainsFunc(p.doubts, func(d doubt) bool {
		return d.first != but && slices.ContainsFunc(d.records, func(r *Record) bool { return !isOut(r) })
	})
}

// needed reports whether a batch in doubt is to be sent again as it is: as long as any record
// of it is waited for, or any that is in doubt with another number, behind it.
func (p *partition) needed(b *Batch) bool { return !b.abandoned() || p.waitedFor(b.sequence) }

// byName reports whether a batch in doubt was written to a topic by name.
func (p *partition) byName() bool {
	return slices.ContainsFunc(p.doubts, func(d doubt) bool { return d.byName })
}

// resolved clears what is in doubt, since a batch was acked: what else had its number was not
// appended. If it is the very batch that was in doubt, those numbered behind it stay so.
// Else none of these was appended: the broker would have missed their predecessor.
func (p *partition) resolved(by *Batch) {
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
func (p *partition) clearDoubt() {
	p.lone = nil
	for _, d := range p.doubts {
		for _, r := range d.records {
			r.doubt = false
		}
	}
}

// loseTrack gives up the sequence: what is in doubt stays Unknown.
func (p *partition) loseTrack(why error) {
	if !p.topic.all.cfg.Idempotent {
		return
	}
	if e := p.trouble.Load(); why == nil && e != nil {
		why = *e
	}
	doubts, deferred := p.doubts, p.deferred
	p.doubts, p.deferred, p.lone = nil, nil, nil
	for _, d := range doubts {
		p.finish(d.records, Unknown, why)
	}
	p.finish(deferred, Unknown, why)
	for _, b := range p.resend {
		b.unanswered = false
	}
	p.hasID, p.ownID = false, true
	p.dropEnded()
}

// freeCount returns how many records of a batch, from the first on, may take the number of
// those in doubt: a batch differs from each of them in how many it has, or is one of them.
func (p *partition) freeCount(b *Batch) int {
	n := len(b.Records)
	for !b.unanswered && n > 0 && p.inDoubtWith(n) {
		n--
	}
	return n
}

// inDoubtWith reports whether a batch of n records is in doubt with the next number.
func (p *partition) inDoubtWith(n int) bool {
	return slices.ContainsFunc(p.doubts, func(d doubt) bool { return d.first == p.sequence && d.count == n })
}
