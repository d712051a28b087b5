package guard

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/isolate"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// slot is the place of one record in a write.
type slot struct {
	partition.Record
	write *write
	index int32

	isolation isolate.State
	// probed reports the answer to this record, if it was sent to confirm a limit.
	probed func()

	// Under waits.mu: what the record waits for, and why it is held.
	waitsFor waitKey
	held     *Failure
}

// Isolation returns isolation's state of the record.
func (s *slot) Isolation() *isolate.State { return &s.isolation }

func (s *slot) record() *kgo.Record { return s.Record.Record }
func (s *slot) verdict() *Verdict   { return &s.write.verdicts[s.index] }

// slotOf returns the slot of a record, nil if its write has returned.
func slotOf(r *partition.Record) *slot {
	s, _ := r.Owner.(*slot)
	return s
}

// unsettled returns the slots that have not failed, before any of them is sent.
func unsettled(slots []*slot) (open []*slot) {
	for _, s := range slots {
		if s.verdict().Failure == nil {
			open = append(open, s)
		}
	}
	return open
}

// partition returns the partition of a record, -1 if it has none yet.
func (s *slot) partition() int32 {
	if s.Partitioned() {
		return s.record().Partition
	}
	return -1
}

// settle gives the slot its verdict from the state of its record.
func (s *slot) settle() {
	if s.waitsFor != (waitKey{}) {
		_, rejected := s.Reason.(*code.Reason) //nolint:errorlint // the very value that isolation put there
		s.write.guard.waits.release(s, s.Outcome() != partition.Acked && !rejected)
	}
	if s.Unstamped && s.Outcome() != partition.Acked {
		s.record().Timestamp = time.Time{} // the caller set none, and another write sets it anew
	}
	switch s.Outcome() {
	case partition.Acked:
		v, r := s.verdict(), s.record()
		v.Outcome, v.Class, v.BatchRejected = Delivered, None, s.isolation.BatchRejected
		v.Partition, v.Offset, v.Timestamp = r.Partition, s.Offset, r.Timestamp
		if s.Appended >= 0 {
			v.Timestamp = time.UnixMilli(s.Appended)
		}
	case partition.NotWritten:
		switch s.Reason.(type) { //nolint:errorlint // the very values that guard and isolation put there
		case *Failure, *code.Reason:
		default:
			if s.held != nil {
				s.Reason = s.held // more precise than the end of the write
			}
		}
		s.fail(s.failure(), NotWritten)
	default:
		s.fail(s.failure(), Unknown)
	}
}

// failure returns why the record failed.
func (s *slot) failure() *Failure {
	f := &Failure{Topic: s.record().Topic, Partition: s.partition(), Class: Transient, Cause: s.Reason}
	if why, ok := s.Reason.(*code.Reason); ok { //nolint:errorlint // the very value that isolation put there
		f = failureOf(why)
		f.Topic, f.Partition = s.record().Topic, s.partition()
	} else if given, ok := s.Reason.(*Failure); ok { //nolint:errorlint // the very value that guard put there
		if *f = *given; s.Partitioned() || f.Topic == "" {
			f.Topic, f.Partition = s.record().Topic, s.partition()
		}
	} else if m := code.OfError(s.Reason); s.Reason != nil && m.Class != code.None && m.Scope != code.OfBatch {
		f.Class = Class(m.Class)
	}
	return f
}

func (s *slot) fail(f *Failure, outcome Outcome) {
	f.Outcome = outcome
	v := s.verdict()
	v.Outcome, v.Class, v.BatchRejected = outcome, f.Class, s.isolation.BatchRejected
	v.Partition, v.Offset, v.Failure = f.Partition, -1, f
}

// failFor settles the slot with an error.
func (s *slot) failFor(class Class, outcome Outcome, problem string, cause error) {
	s.fail(&Failure{Class: class, Topic: s.record().Topic, Partition: s.partition(), Problem: problem, Cause: cause}, outcome)
}
