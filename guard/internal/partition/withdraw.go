package partition

import (
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// endAll ends records that are not sent any more.
func (p *Partition) endAll(records []*Record, why error) {
	for _, r := range records {
		o := NotWritten
		if r.doubt {
			o = Unknown
		}
		p.finish([]*Record{r}, o, why)
	}
}

// Close ends all that is queued. What is in flight ends with its request.
func (p *Partition) Close() {
	p.mu.Lock()
	defer p.unlock()
	p.gone = true
	for _, b := range p.resend {
		p.endAll(b.Records, ErrClosed)
	}
	p.endAll(p.queue, ErrClosed)
	for _, bl := range p.blocked {
		p.endAll(bl.behind, ErrClosed)
	}
	for r, t := range p.later {
		t.Stop()
		p.endAll([]*Record{r}, ErrClosed)
	}
	p.finish(p.deferred, Unknown, ErrClosed)
	p.resend, p.queue, p.blocked, p.later, p.deferred = nil, nil, nil, nil, nil
}

// Withdrawal is which records are taken back.
type Withdrawal uint8

const (
	// Queued are those that are not in flight, and not before the Policy. The others
	// end when they have their answer.
	Queued Withdrawal = iota
	// Doubtful are those of the queued that may have been written.
	Doubtful
	// All are also those in flight. What is before the Policy ends when that has
	// decided, which it has to do soon.
	All
)

var errInFlight = errors.New("given up before the broker answered")

// Withdraw returns the records that are not the partition's any more.
func (p *Partition) Withdraw(records []*Record, which Withdrawal, why func(r *Record) error) (moved []*Record) {
	p.mu.Lock()
	defer p.unlock()
	asked, inFlight := set(p.asking), set(p.inFlight...)
	open := set(slices.DeleteFunc(slices.Clone(p.inFlight), (*Batch).notAppended)...)
	out := map[*Record]bool{}
	for _, r := range records {
		switch {
		case r.Ended():
		case r.part.Load() != p:
			moved = append(moved, r)
		case which == Doubtful && !r.doubt:
		case asked[r], inFlight[r] && which != All:
			if r.leaving == nil {
				r.leaving = func() error { return why(r) }
			}
			if asked[r] && which == All {
				p.endAsking()
			}
		default:
			out[r] = true
		}
	}
	if len(out) == 0 {
		return moved
	}
	for _, b := range p.resend {
		if b.unanswered { // it is sent again
			b.copyOut(out)
		}
	}
	for _, b := range p.inFlight {
		b.copyOut(out)
	}
	for r := range out {
		o, reason := NotWritten, why(r)
		if r.doubt || open[r] {
			o = Unknown
		}
		r.Reason = nil
		p.finish([]*Record{r}, o, reason)
	}
	p.forgets = p.forgets || len(p.doubts) > 0 && !p.waitedFor(noNumber)
	p.mayForget()
	p.sendSoon()
	return moved
}

// set returns the records of batches.
func set(batches ...*Batch) map[*Record]bool {
	records := map[*Record]bool{}
	for _, b := range batches {
		if b != nil {
			for _, r := range b.Records {
				records[r] = true
			}
		}
	}
	return records
}

// copyOut has a batch keep the content of records that are given up.
func (b *Batch) copyOut(gone map[*Record]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, r := range b.Records {
		if gone[r] {
			b.Records[i] = r.copied()
		}
	}
}

// endLeaving ends those records of a batch that were given up while it was in flight. A copy
// stands in for each record that has ended, so that an answer's indexes stay right.
func (p *Partition) endLeaving(b *Batch) {
	gone := map[*Record]bool{}
	for _, r := range b.Records {
		if r.leaving != nil && !r.Ended() {
			p.endAll([]*Record{r}, r.leaving())
		}
		if r.Ended() {
			gone[r] = true
		}
	}
	if len(gone) == 0 {
		return
	}
	b.copyOut(gone)
	p.forgets = p.forgets || len(p.doubts) > 0 && !p.waitedFor(noNumber)
}

// mayForget gives the sequence up where a batch in doubt is not sent again, once nothing is in
// flight and nothing is before the Policy.
func (p *Partition) mayForget() {
	if p.forgets && len(p.inFlight) == 0 && p.asking == nil {
		p.forgets = false
		p.loseTrack(errInFlight)
	}
}

// copied returns a copy that nothing waits for, with content of its own.
func (r *Record) copied() *Record {
	kr := &kgo.Record{Topic: r.Topic, Timestamp: r.Timestamp, Key: slices.Clone(r.Key), Value: slices.Clone(r.Value), Headers: make([]kgo.RecordHeader, len(r.Headers))}
	for i, h := range r.Headers {
		kr.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: slices.Clone(h.Value)}
	}
	return &Record{Record: kr, Size: r.Size, fixed: r.fixed, Single: r.Single}
}
