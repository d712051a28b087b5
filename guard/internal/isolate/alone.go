package isolate

import (
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
)

// AmbiguousFor is for how long a batch is sent as it is that gets an ambiguous code, before
// its records are looked at: a broker that is sick for less says so once it is well, if it
// has written what it rejected.
const AmbiguousFor = 10 * time.Second

// ambiguousWindow is for how long a record must be rejected by a code that may not be its
// fault before it fails.
const ambiguousWindow = 3 * time.Second

// secondTry is when such a record is sent once more where nothing is to be retried: others
// of its batch may be acked meanwhile.
const secondTry = 50 * time.Millisecond

// single deals with a record that was rejected with no other in its batch.
func (b *batch) single(r *producer.Record) {
	if !b.Answer.Alone {
		b.send([]*producer.Record{r}, true)
		return
	}
	s := stateOf(r)
	if s == nil {
		return // it was given up meanwhile
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

// said returns what the broker said of a record that was rejected alone. A list that has this
// record, and counts from zero, shows that the cluster's lists are right.
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

// ambiguousAfter is when a record is sent again that may not be at fault.
func (b *batch) ambiguousAfter() time.Duration {
	if b.NoRetry {
		return secondTry
	}
	return max(ambiguousWindow+100*time.Millisecond, b.RetryAfter(b.Attempts))
}

// maybeNotItsFault reports whether a rejection may have another cause than the record: a
// sick broker, or clocks, for a timestamp that the client set.
func (b *batch) maybeNotItsFault(r *producer.Record) bool {
	return code.Ambiguous(b.Code) || r.Unstamped && code.AboutTime(b.Code)
}

// counts reports whether such a rejection counts against the record after all: the partition
// acked another batch between two rejections of the record alone, three seconds apart. Where
// nothing comes to be acked, what was acked since its batch was first rejected counts, once
// the record was rejected for longer. For a timestamp that the client set, the answer must
// have come soon.
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

// explain says why a rejection is no proof.
func (b *batch) explain(r *producer.Record) string {
	if r.Unstamped && code.AboutTime(b.Code) {
		return "for the time at which it was sent: compare the clocks of client and broker, and see the topic's message.timestamp.before.max.ms"
	}
	return "which may be the broker's own fault"
}
