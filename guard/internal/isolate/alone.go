package isolate

import (
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// AmbiguousFor is how long a batch with an ambiguous code is resent unchanged before
// its records are isolated. A broker that recovers within that time acks the batch,
// even one that it had appended before it failed.
const AmbiguousFor = 10 * time.Second

// ambiguousWindow is how long a record must be rejected with a code that may not be its
// fault before it fails.
const ambiguousWindow = 3 * time.Second

// secondTry is the time until such a record is sent once more if retries are off.
// Others of its batch may be acked meanwhile.
const secondTry = 50 * time.Millisecond

// single handles a record that was rejected alone in its batch.
func (b *batch) single(r *partition.Record) {
	if !b.Answer.Alone {
		b.send([]*partition.Record{r}, true)
		return
	}
	s := stateOf(r)
	if s == nil {
		return // it was given up
	}
	if !b.maybeNotItsFault(r) || b.counts(s) {
		b.fail(r, &code.Reason{Class: code.Of(b.Code).Class, Problem: b.said(), Cause: b.Err})
		return
	}
	why := &code.Reason{Class: code.Transient, Problem: "the broker rejected this record alone, " + b.explain(r), Cause: b.Err}
	if b.NoRetry {
		if s.heardTwice {
			b.fail(r, why)
			return
		}
		s.heardTwice = true
	}
	b.later(r, why, b.ambiguousAfter())
}

// said returns the broker's text about a record that was rejected alone. If the answer
// lists this record, with an index from zero, the cluster's lists are right from now
// on.
func (b *batch) said() string {
	if len(b.RecordErrors) == 0 {
		return ""
	}
	if len(b.RecordErrors) == 1 && b.RecordErrors[0].Index == 0 && code.HasRecordErrors(b.Code) {
		b.listsHold.Store(true)
		b.learnKeys()
	}
	return words(b.RecordErrors[0].Text)
}

// ambiguousAfter is the time until a record is resent that may not be at fault.
func (b *batch) ambiguousAfter() time.Duration {
	if b.NoRetry {
		return secondTry
	}
	return max(ambiguousWindow+100*time.Millisecond, b.RetryAfter(b.Attempts))
}

// maybeNotItsFault reports whether a rejection may have another cause than the record: a
// sick broker, or clocks, for a timestamp that the client set.
func (b *batch) maybeNotItsFault(r *partition.Record) bool {
	return code.Ambiguous(b.Code) || r.Unstamped && code.AboutTime(b.Code)
}

// counts reports whether such a rejection counts against the record.
//
//  1. The record is rejected alone, at the time s.alone.
//  2. The partition acks another batch.
//  3. The record is rejected alone again, at least ambiguousWindow after s.alone.
//
// Without other batches to ack, an ack since the first rejection of the record's batch
// counts, once AmbiguousFor is over. A rejected timestamp that the client set counts
// only if the answer came within a second.
func (b *batch) counts(s *State) bool {
	first := s.alone.at.IsZero()
	if first {
		s.alone = rejectedAt{b.Started, b.Acks}
	}
	if code.AboutTime(b.Code) && time.Since(b.Started) > time.Second {
		return false
	}
	since := b.Started.Sub(s.alone.at)
	switch {
	case b.NoRetry:
		return b.Acks > s.rejected.acks
	case first:
		return false
	case since >= AmbiguousFor:
		return b.Acks > s.rejected.acks
	default:
		return since >= ambiguousWindow && b.Acks > s.alone.acks
	}
}

// explain returns why a rejection is no proof, for a text.
func (b *batch) explain(r *partition.Record) string {
	if r.Unstamped && code.AboutTime(b.Code) {
		return "for the time at which it was sent: compare the clocks of client and broker, and see the topic's message.timestamp.before.max.ms"
	}
	return "which may be the broker's own fault"
}
