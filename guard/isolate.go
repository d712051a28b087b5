package guard

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
)

// isolation is the search for the records at fault in one rejected batch. A record fails
// only with proof:
//
//  1. by the topic's limits, fresh and confirmed;
//  2. if it was rejected alone in its request, by a code that speaks of the record;
//  3. if the broker lists it (KIP-467), once its lists have proved right;
//  4. for its size, if a smaller one was rejected alone, see limits.TooLarge.
//
// An ambiguous code, or one about a timestamp that we set, counts only if the partition
// acked another batch between two rejections of the record, three seconds apart.
type isolation struct {
	guard *Guard
	batch *producer.Batch
	producer.Answer
	plan producer.Plan
	// questioned is set if a limit rejects some of the records that is not confirmed.
	questioned bool
}

// isolate returns how a rejected batch is sent in parts, and which of its records fail.
func (g *Guard) isolate(b *producer.Batch, a producer.Answer) producer.Plan {
	if code.AboutTime(a.Code) && b.Doubt() && b.StampedBefore(time.Now().Add(-time.Second)) {
		// It got too old while it was not answered.
		return producer.Plan{Same: true, Restamp: true}
	}
	i := &isolation{guard: g, batch: b, Answer: a}
	open := i.byLimits()
	switch m := code.Of(a.Code); {
	case len(open) == 0:
	case len(i.plan.Failed)+len(i.plan.Later) > 0:
		i.add(open, false)
	case i.questioned && len(open) > 1 && !i.listed():
		others, behind := split(open)
		i.add(others, false)
		i.add(behind, false)
	case m.Class == code.SizeExceeded:
		i.bySize(open)
	case len(b.Records) == 1:
		i.alone(open[0])
	case i.byRecordErrors():
	case !a.Alone:
		// A gateway may reject a request for any record in it.
		i.add(open, true)
	default:
		half := len(open) / 2
		if half == 0 {
			i.add(open, true)
			break
		}
		i.plan.Parts = []producer.Part{{Records: open[:half], Alone: true, Half: len(open) == len(b.Records)}, {Records: open[half:], Alone: true}}
	}
	return i.plan
}

func (i *isolation) add(records []*producer.Record, alone bool) {
	if len(records) > 0 {
		i.plan.Parts = append(i.plan.Parts, producer.Part{Records: records, Alone: alone})
	}
}

// fail ends a record, or has it sent again later, where its class is not permanent. A limit
// that rejects the record for the same reason is confirmed by that, and tells the text: it is
// the same for records that are rejected without being sent.
func (i *isolation) fail(r *producer.Record, f *Failure) {
	if v := i.predicted(slotOf(r)); v != nil {
		v.Confirm()
		f = failureOf(v)
	}
	f.Topic, f.Partition, f.Outcome = i.batch.Topic, i.batch.Partition, outcomeOf(i.batch)
	if i.guard.final(f.Class) {
		i.plan.Failed = append(i.plan.Failed, producer.Failed{Record: r, Reason: f})
		return
	}
	i.later(r, f, i.guard.retryAfter(i.batch.Attempts))
}

// predicted returns the limit that explains why the broker rejected a record, nil for none.
func (i *isolation) predicted(s *slot) *limits.Violation {
	if s == nil || s.limit == nil {
		return nil
	}
	m, fits := code.Of(i.Code), false
	switch s.limit.Kind {
	case limits.Size:
		fits = m.Class == code.SizeExceeded
	case limits.Decompressed:
		fits = code.HasRecordErrors(i.Code) && !code.AboutTime(i.Code) && len(i.RecordErrors) == 0
	case limits.Older, limits.Newer:
		fits = code.AboutTime(i.Code)
	default:
		fits = m.Class == code.InvalidRecord && !code.AboutTime(i.Code)
	}
	if !fits {
		return nil
	}
	return s.limit
}

// later has a record sent again by itself.
func (i *isolation) later(r *producer.Record, f *Failure, after time.Duration) {
	f.Topic, f.Partition, f.Outcome = i.batch.Topic, i.batch.Partition, outcomeOf(i.batch)
	if s := slotOf(r); s != nil && !r.Ended() {
		i.guard.waits.hold(s, f)
		i.guard.config.OnRetry(f.Class, 1)
	}
	i.plan.Later = append(i.plan.Later, producer.Later{Record: r, After: after})
}

// byLimits fails the records that the topic's limits reject, and returns the others. Those
// that a limit rejects which is not confirmed are to be sent alone.
func (i *isolation) byLimits() (open []*producer.Record) {
	g := i.guard
	ctx, cancel := context.WithTimeout(g.life, limits.Wait)
	defer cancel()
	var slots []*slot
	for _, r := range i.batch.Records {
		if s := slotOf(r); s != nil && !r.Ended() {
			s.suspected = true
			if s.rejected.at.IsZero() && i.maybeNotItsFault(r) {
				s.rejected = rejectedAt{i.batch.Started, i.batch.Acks}
			}
			slots = append(slots, s)
		}
	}
	failed := map[*slot]bool{}
	g.applyLimits(ctx, slots, func(s *slot, f *Failure) {
		f.Outcome, failed[s] = outcomeOf(i.batch), true
		i.plan.Failed = append(i.plan.Failed, producer.Failed{Record: &s.Record, Reason: f})
	})
	for _, s := range slots {
		if failed[s] {
			continue
		}
		if s.limit != nil {
			s.Single, s.Alone, s.Questioned, i.questioned = true, true, true, true
		}
		open = append(open, &s.Record)
	}
	return open
}

// listed reports whether the broker lists the rejected records, and its lists are believed.
func (i *isolation) listed() bool {
	return i.guard.recordErrorsHold.Load() && len(i.RecordErrors) > 0 && code.HasRecordErrors(i.Code)
}

// unlike is by how much the largest record of a batch must exceed the smallest
// to be looked at by itself, for it may be too large alone.
const unlike = 8

// bySize splits a batch that was rejected for its size. Records much larger than others go
// alone, and the others in batches that are smaller by now.
func (i *isolation) bySize(open []*producer.Record) {
	g, b := i.guard, i.batch
	g.limits.Rejected(b.Topic, b.Leader, b.Sent, i.Alone)
	if len(b.Records) == 1 {
		if !i.Alone {
			i.add(open, true)
			return
		}
		i.tooLarge(open[0])
		return
	}
	sizes := make([]int32, len(open))
	for n, r := range open {
		sizes[n] = r.Size
		r.Questioned = true
	}
	slices.Sort(sizes)
	if smallest := sizes[0]; sizes[len(sizes)-1] >= unlike*smallest {
		from := sizes[gap(sizes)]
		for _, r := range open {
			r.Single = r.Single || r.Size >= from
		}
		others, behind := split(open)
		i.add(others, false)
		i.add(behind, false)
		return
	}
	if most, _ := g.limits.MaxBatch(b.Topic, b.Leader); producer.RawSize(open) > most {
		i.add(open, false) // it is sent in smaller batches
		return
	}
	i.add(open[:len(open)/2], false)
	i.add(open[len(open)/2:], false)
}

// gap returns the index behind the widest gap between sizes.
func gap(sizes []int32) int {
	at, widest := 1, int32(-1)
	for n := 1; n < len(sizes); n++ {
		if gap := sizes[n] - sizes[n-1]; gap >= widest {
			at, widest = n, gap
		}
	}
	return at
}

// split divides records into those that may be sent before the single ones, and the single
// ones, with all that come behind one and have its key.
func split(records []*producer.Record) (others, behind []*producer.Record) {
	keys := map[string]struct{}{}
	for _, r := range records {
		after := r.Single || r.Apart
		if r.Key != nil {
			if _, ok := keys[string(r.Key)]; ok {
				after = true
			} else if after {
				keys[string(r.Key)] = struct{}{}
			}
		}
		if after {
			behind = append(behind, r)
		} else {
			others = append(others, r)
		}
	}
	return others, behind
}

// tooLarge fails a record that was rejected alone for its size.
func (i *isolation) tooLarge(r *producer.Record) {
	g, b := i.guard, i.batch
	checked, told := g.toCheck(r), limitIn(i.Message)
	news := g.limits.RejectedAlone(checked, b.Leader, limits.Rejection{Sent: b.Sent, Started: b.Started, Code: i.Code, Limit: told})
	v := g.limits.Observed(checked, b.Sent, i.Code, told)
	v.Cause = i.Err
	i.fail(r, failureOf(v))
	if news {
		g.config.OnBound(b.Topic, int(r.Size))
	}
}

// Check returns why a record is not sent that a limit may reject: what was found out since it
// was queued decides.
func (p *policy) Check(r *producer.Record, leader int32) error {
	g := (*Guard)(p)
	checked := g.toCheck(r)
	v := g.limits.TooLarge(checked, leader)
	if s := slotOf(r); v == nil && s != nil && s.limit != nil {
		v = g.limits.Rejects(checked)
	}
	if v == nil || !g.final(Class(v.Class)) {
		return nil
	}
	if s := slotOf(r); s != nil {
		s.suspected = true
	}
	f := failureOf(v)
	f.Topic, f.Partition = r.Topic, r.Partition
	return f
}

// byRecordErrors splits a batch of which the broker lists the rejected records (KIP-467).
// It reports whether it could.
//
// A cluster's lists are believed once a record that it listed was rejected alone as well.
// Records that are not listed are resent. A record that is listed for a timestamp that we
// set is retried: clocks may differ.
func (i *isolation) byRecordErrors() bool {
	g, b := i.guard, i.batch
	if len(i.RecordErrors) == 0 || !code.HasRecordErrors(i.Code) {
		return false
	}
	last := -1
	for _, e := range i.RecordErrors {
		if e.Index <= last || e.Index >= len(b.Records) {
			return false
		}
		last = e.Index
	}
	open := func(records []*producer.Record) []*producer.Record {
		return slices.DeleteFunc(slices.Clone(records), func(r *producer.Record) bool { return r.Ended() || slotOf(r) == nil })
	}
	if !g.recordErrorsHold.Load() {
		at := i.mayGoFirst()
		if at < 0 {
			return false
		}
		i.add(open(b.Records[at:at+1]), true)
		i.add(open(slices.Concat(b.Records[:at], b.Records[at+1:])), false)
		return true
	}
	i.learnKeys()
	var rest []*producer.Record
	from := 0
	for _, e := range i.RecordErrors {
		r := b.Records[e.Index]
		rest = append(rest, b.Records[from:e.Index]...)
		from = e.Index + 1
		switch s := slotOf(r); {
		case s == nil || r.Ended():
		case aboutKey(e.Text) || !i.maybeNotItsFault(r) || i.counts(s):
			i.fail(r, &Failure{Class: InvalidRecord, Problem: words(e.Text), Cause: i.Err})
		case e.Text != "" && !aboutTime(e.Text): // it may be for something else
			i.add(open(rest), false)
			i.add([]*producer.Record{r}, true)
			rest = nil
		default:
			i.later(r, &Failure{Class: Transient, Problem: "the broker lists this record: " + i.explain(r), Cause: i.Err}, i.guard.ambiguousAfter(b))
		}
	}
	i.add(open(append(rest, b.Records[from:]...)), false)
	return true
}

// mayGoFirst returns the index of a listed record that may be sent before the others of the
// batch: none with its key comes before it.
func (i *isolation) mayGoFirst() int {
	for _, e := range i.RecordErrors {
		r := i.batch.Records[e.Index]
		before := slices.ContainsFunc(i.batch.Records[:e.Index], func(o *producer.Record) bool {
			return r.Key != nil && o.Key != nil && string(o.Key) == string(r.Key)
		})
		if !before && !r.Ended() && slotOf(r) != nil {
			return e.Index
		}
	}
	return -1
}

// learnKeys notes that a topic takes no record without a key, where the broker says so.
func (i *isolation) learnKeys() {
	if aboutKey(i.RecordErrors[0].Text) {
		i.guard.limits.NeedsKey(i.batch.Topic)
	}
}

// alone deals with a record that was rejected with no other in its batch.
func (i *isolation) alone(r *producer.Record) {
	if !i.Alone {
		i.add([]*producer.Record{r}, true)
		return
	}
	s := slotOf(r)
	if !i.maybeNotItsFault(r) || i.counts(s) {
		text := ""
		if len(i.RecordErrors) > 0 {
			text = i.RecordErrors[0].Text
		}
		if len(i.RecordErrors) == 1 && i.RecordErrors[0].Index == 0 && code.HasRecordErrors(i.Code) { // it counts from zero, as we do
			i.guard.recordErrorsHold.Store(true)
			i.learnKeys()
		}
		problem := ""
		if text != "" || len(i.RecordErrors) > 0 {
			problem = words(text)
		}
		i.fail(r, &Failure{Class: Class(code.Of(i.Code).Class), Problem: problem, Cause: i.Err})
		return
	}
	f := &Failure{Class: Transient, Problem: "the broker rejected this record alone, which may not be its fault: " + i.explain(r), Cause: i.Err}
	if i.guard.config.Retry.InitialInterval == 0 {
		if s.heardTwice {
			i.fail(r, f)
			return
		}
		s.heardTwice = true
	}
	i.later(r, f, i.guard.ambiguousAfter(i.batch))
}

// ambiguousWindow is for how long a record must be rejected by a code that may not be its
// fault before it fails.
const ambiguousWindow = 3 * time.Second

// secondTry is when such a record is sent once more where nothing is to be retried: others
// of its batch may be acked meanwhile.
const secondTry = 50 * time.Millisecond

// ambiguousAfter is when a record is sent again that may not be at fault.
func (g *Guard) ambiguousAfter(b *producer.Batch) time.Duration {
	if g.config.Retry.InitialInterval == 0 {
		return secondTry
	}
	return max(ambiguousWindow+100*time.Millisecond, g.retryAfter(b.Attempts))
}

// maybeNotItsFault reports whether a rejection may have another cause than the record: a
// sick broker, or clocks, for a timestamp that we set.
func (i *isolation) maybeNotItsFault(r *producer.Record) bool {
	return code.Ambiguous(i.Code) || r.Unstamped && code.AboutTime(i.Code)
}

// counts reports whether such a rejection counts against the record after all: the partition
// acked another batch between two rejections of the record alone, three seconds apart. Where
// nothing comes to be acked, what was acked since its batch was first rejected counts, once
// the record was rejected for longer. For a timestamp that we set, the answer must have come
// soon.
func (i *isolation) counts(s *slot) bool {
	b := i.batch
	first := s.rejectedAlone.at.IsZero()
	if first {
		s.rejectedAlone = rejectedAt{b.Started, b.Acks}
	}
	if code.AboutTime(i.Code) && time.Since(b.Started) > time.Second {
		return false
	}
	since := b.Started.Sub(s.rejectedAlone.at)
	switch {
	case i.guard.config.Retry.InitialInterval == 0:
		return b.Acks > s.rejected.acks
	case first:
		return false
	case since >= ambiguousFor:
		return b.Acks > s.rejected.acks
	default:
		return since >= ambiguousWindow && b.Acks > s.rejectedAlone.acks
	}
}

// Kafka's own words about a record quote no content. Those of others may.
var (
	wordsKey  = regexp.MustCompile(`^Compacted topic cannot accept message without key in topic partition [a-zA-Z0-9._-]+\.?$`)
	wordsTime = regexp.MustCompile(`^Timestamp -?\d+ of message with offset -?\d+ is out of range\. The timestamp should be within \[-?\d+, -?\d+\]\.?$`)
)

func aboutKey(text string) bool  { return wordsKey.MatchString(text) }
func aboutTime(text string) bool { return wordsTime.MatchString(text) }

// words says of a rejected record that the broker lists it, in the broker's words where these
// are known to have no content in them.
func words(text string) string {
	if aboutKey(text) || aboutTime(text) {
		return "the broker says: " + text
	}
	return "the broker lists this record"
}

// explain says why a rejection is no proof.
func (i *isolation) explain(r *producer.Record) string {
	if r.Unstamped && code.AboutTime(i.Code) {
		return "it bears the time at which it was sent, so compare the clocks, and see the topic's message.timestamp.before.max.ms"
	}
	return "the broker may answer so to any record, and it is retried"
}

var batchSizeText = regexp.MustCompile(`^batch size \d+ exceeds max (\d+)`)

// limitIn returns the limit that a broker's words tell of, 0 for none: Redpanda
// says it.
func limitIn(message string) int {
	if m := batchSizeText.FindStringSubmatch(message); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}
