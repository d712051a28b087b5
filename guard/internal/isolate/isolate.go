// Package isolate finds the records at fault in a rejected batch. The others are sent again.
//
// A record fails only with proof:
//
//  1. It exceeds a limit of the topic that is fresh and confirmed (package limits).
//  2. The broker rejected it alone in a request, with a code about the record (alone.go).
//  3. The broker listed it in its record errors (KIP-467), and an earlier list was right
//     (listed.go).
//  4. The broker rejected another record alone for its size, and that record was no larger
//     (limits.TooLarge).
//
// An ambiguous code counts only if the record was rejected twice, three seconds apart, and
// the partition acked another batch in between. The same holds for a code about the
// timestamp if the producer set it.
//
// Without proof a batch is split by size (size.go), or in halves.
package isolate

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
)

// Config is what Isolation needs of its owner.
type Config struct {
	Limits *limits.Limits
	// ToCheck returns a record as limits look at it.
	ToCheck func(*producer.Record) limits.Record
	// Final reports whether records that fail with a class are not sent again.
	Final func(code.Class) bool
	// NoRetry is set if nothing is sent again that fails for a reason which may pass.
	NoRetry bool
	// RetryAfter is how long a record waits that was sent so often.
	RetryAfter func(attempts int) time.Duration
	// Held is called with each record of a batch that is to be sent again later, and why.
	Held func(*producer.Batch, *producer.Record, *code.Reason)
	// Learned is called when the size in bytes is learned from which on records of a topic
	// are rejected whose limits are not reported.
	Learned func(topic string, bytes int)
}

// State is what is kept of a record from one rejection to the next.
type State struct {
	// BatchRejected is set once the broker rejected a batch with the record.
	BatchRejected bool
	// Limit is a reported limit that rejects the record, if it has to be found out
	// whether the broker does.
	Limit *limits.Violation

	// rejected is when a batch with the record was first isolated for a code that may
	// not be its fault, and alone when it was first rejected alone by one. heardTwice
	// is set once it was sent alone again without retries.
	rejected, alone rejectedAt
	heardTwice      bool
	listed          bool // the last rejection listed it
}

// rejectedAt is when a request was written that was rejected, and how many batches its
// partition had acked by then.
type rejectedAt struct {
	at   time.Time
	acks uint64
}

// Owner is the Owner of a record.
type Owner interface {
	Isolation() *State
}

// stateOf returns the state of a record, nil for one that nothing waits for any more.
func stateOf(r *producer.Record) *State {
	if o, ok := r.Owner.(Owner); ok && !r.Ended() {
		return o.Isolation()
	}
	return nil
}

// Isolation isolates the rejected batches of a cluster.
type Isolation struct {
	Config
	// listsHold is set once a record that the cluster listed was rejected alone, too:
	// from then on its lists are believed. listsFailed is when one was taken, in
	// nanoseconds: then lists are not looked at for a while.
	listsHold   atomic.Bool
	listsFailed atomic.Int64
}

// Acked learns from a batch that was acked.
func (i *Isolation) Acked(b *producer.Batch) {
	raw := 0
	if len(b.Records) == 1 {
		raw = int(b.Records[0].Size)
		if s := stateOf(b.Records[0]); s != nil && s.listed {
			i.listsFailed.Store(time.Now().UnixNano())
		}
	}
	i.Limits.Acked(b.Topic, b.Leader, b.Sent, raw)
}

// batch is a rejected batch, the broker's answer, and what is to be sent instead.
type batch struct {
	*Isolation
	*producer.Batch
	producer.Answer
	plan producer.Plan
	// questioned is set if a limit rejects some of the records that is not confirmed.
	questioned bool
}

// Isolate returns how a rejected batch is sent in parts, and which of its records fail.
func (i *Isolation) Isolate(ctx context.Context, rejected *producer.Batch, a producer.Answer) producer.Plan {
	if code.AboutTime(a.Code) && rejected.Doubt() && rejected.StampedBefore(rejected.Started.Add(-time.Second)) {
		// It got too old before it was written last.
		return producer.Plan{Same: true, Restamp: true}
	}
	b := &batch{Isolation: i, Batch: rejected, Answer: a}
	open := b.byLimits(ctx)
	switch {
	case len(open) == 0:
	case len(b.plan.Failed) > 0:
		b.send(open, false)
	case b.questioned && len(open) > 1 && !b.listed():
		others, behind := Split(open)
		b.send(others, false)
		b.send(behind, false)
	case code.Of(a.Code).Class == code.SizeExceeded:
		b.bySize(open)
	case len(b.Records) == 1:
		b.single(open[0])
	case b.byList():
	case !a.Alone:
		// A gateway may reject a request for any record in it.
		b.send(open, true)
	default:
		b.halve(open)
	}
	return b.plan
}

// send sends records as a batch.
func (b *batch) send(records []*producer.Record, alone bool) {
	if len(records) > 0 {
		b.plan.Parts = append(b.plan.Parts, producer.Part{Records: records, Alone: alone})
	}
}

// halve sends the two halves of a batch that was alone in its request.
func (b *batch) halve(open []*producer.Record) {
	half := len(open) / 2
	if half == 0 {
		b.send(open, true)
		return
	}
	b.send(open[:half], true)
	b.plan.Parts[0].Half = len(open) == len(b.Records)
	b.send(open[half:], true)
}

// fail ends a record, or has it sent again later, where its class is not permanent. A limit
// that rejects the record for the same reason is confirmed by that, and tells the text: it is
// the same for records that are rejected without being sent.
func (b *batch) fail(r *producer.Record, why *code.Reason) {
	if v := b.predicted(stateOf(r)); v != nil {
		v.Confirm()
		why = &v.Reason
	}
	if b.Final(why.Class) {
		b.plan.Failed = append(b.plan.Failed, producer.Failed{Record: r, Reason: why})
		return
	}
	b.later(r, why, b.RetryAfter(b.Attempts))
}

// later has a record sent again by itself.
func (b *batch) later(r *producer.Record, why *code.Reason, after time.Duration) {
	b.Held(b.Batch, r, why)
	b.plan.Later = append(b.plan.Later, producer.Later{Record: r, After: after})
}

// predicted returns the limit that explains why the broker rejected a record, nil for none.
func (b *batch) predicted(s *State) *limits.Violation {
	if s == nil || s.Limit == nil {
		return nil
	}
	m := code.Of(b.Code)
	var fits bool
	switch s.Limit.Kind {
	case limits.Size:
		fits = m.Class == code.SizeExceeded
	case limits.Decompressed:
		fits = code.HasRecordErrors(b.Code) && !code.AboutTime(b.Code) && len(b.RecordErrors) == 0
	case limits.Older, limits.Newer:
		fits = code.AboutTime(b.Code)
	default:
		fits = m.Class == code.InvalidRecord && !code.AboutTime(b.Code)
	}
	if !fits {
		return nil
	}
	return s.Limit
}

// byLimits fails the records that the topic's limits reject, and returns the others. A
// record that a limit rejects which is not confirmed gets a request of its own.
func (b *batch) byLimits(ctx context.Context) (open []*producer.Record) {
	ctx, cancel := context.WithTimeout(ctx, limits.Wait)
	defer cancel()
	records := make([]limits.Record, 0, len(b.Records))
	for _, r := range b.Records {
		s := stateOf(r)
		if s == nil {
			continue
		}
		s.BatchRejected, s.listed = true, false
		if s.rejected.at.IsZero() && b.maybeNotItsFault(r) {
			s.rejected = rejectedAt{b.Started, b.Acks}
		}
		open = append(open, r)
		records = append(records, b.ToCheck(r))
	}
	failed := map[*producer.Record]bool{}
	for n, v := range b.Limits.Rejecting(ctx, records) {
		r := open[n]
		s := stateOf(r)
		switch {
		case s == nil:
		case v == nil:
			s.Limit = nil
		case b.Fails(v):
			failed[r] = true
			b.plan.Failed = append(b.plan.Failed, producer.Failed{Record: r, Reason: &v.Reason})
		default:
			s.Limit, b.questioned = v, true
			r.Single, r.Alone, r.Questioned = true, true, true
		}
	}
	return slices.DeleteFunc(open, func(r *producer.Record) bool { return failed[r] })
}

// Fails reports whether a limit fails a record without a request.
func (i *Isolation) Fails(v *limits.Violation) bool {
	return v.Own || v.Confirmed() && i.Final(v.Class)
}

// Check returns why a record is not sent that a limit may reject: what was found out since it
// was queued decides.
func (i *Isolation) Check(r *producer.Record, leader int32) *code.Reason {
	s, checked := stateOf(r), i.ToCheck(r)
	why := i.Limits.TooLarge(checked, leader)
	if why == nil && s != nil && s.Limit != nil {
		if v := i.Limits.Rejects(checked); v != nil {
			why = &v.Reason
		}
	}
	if why == nil || !i.Final(why.Class) {
		return nil
	}
	if s != nil {
		s.BatchRejected = true
	}
	return why
}
