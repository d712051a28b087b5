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

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// Config is what Isolation needs of its owner.
type Config struct {
	Limits *limits.Limits
	// ToCheck returns a record in the form that limits takes.
	ToCheck func(*partition.Record) limits.Record
	// Final reports whether records that fail with a class are not resent.
	Final func(code.Class) bool
	// NoRetry is set if retriable failures are not retried.
	NoRetry bool
	// RetryAfter is the pause before a retry, by the number of attempts so far.
	RetryAfter func(attempts int) time.Duration
	// Held is called with each record of a batch that is resent later, and why.
	Held func(*partition.Batch, *partition.Record, *code.Reason)
	// Learned is called for a topic whose limits are not reported. bytes is the size
	// from which on its records are rejected.
	Learned func(topic string, bytes int)
}

// State is the state of a record between two rejections.
type State struct {
	// BatchRejected is set once the broker rejected a batch with the record.
	BatchRejected bool
	// Limit is a reported limit that rejects the record and is not confirmed yet.
	Limit *limits.Violation

	// rejected is the first isolation of a batch with the record because of a code that
	// may not be its fault. alone is the first rejection of the record alone with such
	// a code. heardTwice is set when it was resent alone although retries are off.
	rejected, alone rejectedAt
	heardTwice      bool
	listed          bool // the last rejection listed it
}

// rejectedAt is the time when a rejected request was written, and the number of batches
// that its partition had acked by then.
type rejectedAt struct {
	at   time.Time
	acks uint64
}

// Owner is implemented by the Owner of a record.
type Owner interface {
	Isolation() *State
}

// stateOf returns the state of a record, nil if its write has returned.
func stateOf(r *partition.Record) *State {
	if o, ok := r.Owner.(Owner); ok && !r.Ended() {
		return o.Isolation()
	}
	return nil
}

// Isolation isolates the rejected batches of a cluster.
type Isolation struct {
	Config
	// listsHold is set when a listed record was also rejected alone. From then on lists
	// are believed. listsFailed is the time, in nanoseconds, when a listed record was
	// acked. Lists are then ignored for listsAge.
	listsHold   atomic.Bool
	listsFailed atomic.Int64
}

// Acked learns from a batch that was acked.
func (i *Isolation) Acked(b *partition.Batch) {
	raw := 0
	if len(b.Records) == 1 {
		raw = int(b.Records[0].Size)
		if s := stateOf(b.Records[0]); s != nil && s.listed {
			i.listsFailed.Store(time.Now().UnixNano())
		}
	}
	i.Limits.Acked(b.Topic, b.Leader, b.Sent, raw)
}

// batch is a rejected batch, the broker's answer, and the plan.
type batch struct {
	*Isolation
	*partition.Batch
	broker.Answer
	plan partition.Plan
	// questioned is set if a limit that is not confirmed rejects some of the records.
	questioned bool
}

// Isolate returns the parts in which a rejected batch is resent, and its records that
// fail.
func (i *Isolation) Isolate(ctx context.Context, rejected *partition.Batch, a broker.Answer) partition.Plan {
	if code.AboutTime(a.Code) && rejected.Doubt() && rejected.StampedBefore(rejected.Started.Add(-time.Second)) {
		// Its timestamps became too old before it was written.
		return partition.Plan{Same: true, Restamp: true}
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
func (b *batch) send(records []*partition.Record, alone bool) {
	if len(records) > 0 {
		b.plan.Parts = append(b.plan.Parts, partition.Part{Records: records, Alone: alone})
	}
}

// halve sends the two halves of a batch that was alone in its request.
func (b *batch) halve(open []*partition.Record) {
	half := len(open) / 2
	if half == 0 {
		b.send(open, true)
		return
	}
	b.send(open[:half], true)
	b.plan.Parts[0].Half = len(open) == len(b.Records)
	b.send(open[half:], true)
}

// fail fails a record, or resends it later if its class is not permanent. If a limit
// explains the rejection, that confirms the limit. Its text is then the text of the
// failure, as for records that fail without a request.
func (b *batch) fail(r *partition.Record, why *code.Reason) {
	if v := b.predicted(stateOf(r)); v != nil {
		v.Confirm()
		why = &v.Reason
	}
	if b.Final(why.Class) {
		b.plan.Failed = append(b.plan.Failed, partition.Failed{Record: r, Reason: why})
		return
	}
	b.later(r, why, b.RetryAfter(b.Attempts))
}

// later resends a record by itself after a pause.
func (b *batch) later(r *partition.Record, why *code.Reason, after time.Duration) {
	b.Held(b.Batch, r, why)
	b.plan.Later = append(b.plan.Later, partition.Later{Record: r, After: after})
}

// predicted returns the unconfirmed limit that explains the rejection of a record, nil
// if there is none.
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
// record that exceeds a limit which is not confirmed gets a request of its own.
func (b *batch) byLimits(ctx context.Context) (open []*partition.Record) {
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
	failed := map[*partition.Record]bool{}
	for n, v := range b.Limits.Rejecting(ctx, records) {
		r := open[n]
		s := stateOf(r)
		switch {
		case s == nil:
		case v == nil:
			s.Limit = nil
		case b.Fails(v):
			failed[r] = true
			b.plan.Failed = append(b.plan.Failed, partition.Failed{Record: r, Reason: &v.Reason})
		default:
			s.Limit, b.questioned = v, true
			r.Single, r.Alone, r.Questioned = true, true, true
		}
	}
	return slices.DeleteFunc(open, func(r *partition.Record) bool { return failed[r] })
}

// Fails reports whether a limit fails a record without a request.
func (i *Isolation) Fails(v *limits.Violation) bool {
	return v.Own || v.Confirmed() && i.Final(v.Class)
}

// Check returns why a record that a limit may reject is not sent, nil to send it. A
// limit may have been confirmed since the record was queued.
func (i *Isolation) Check(r *partition.Record, leader int32) *code.Reason {
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
