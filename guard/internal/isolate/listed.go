package isolate

import (
	"regexp"
	"slices"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// listed reports whether the broker lists the rejected records, and its lists are believed.
func (b *batch) listed() bool { return b.listsHold.Load() && b.list() }

// listsAge is how long lists are ignored after a listed record was acked.
const listsAge = time.Minute

// list reports whether the answer has a plausible list of rejected records.
func (b *batch) list() bool {
	if len(b.RecordErrors) == 0 || !code.HasRecordErrors(b.Code) || time.Since(time.Unix(0, b.listsFailed.Load())) < listsAge {
		return false
	}
	last := -1
	for _, e := range b.RecordErrors {
		if e.Index <= last || e.Index >= len(b.Records) {
			return false
		}
		last = e.Index
	}
	return true
}

// byList splits a batch whose rejected records the broker lists (KIP-467). It reports
// whether it could.
//
// A cluster's lists are believed after a record that it listed was also rejected alone.
// Records that are not listed are resent. A record that is listed for a timestamp that
// the client set is retried: clocks may differ.
func (b *batch) byList() bool {
	if !b.list() {
		return false
	}
	if !b.listsHold.Load() {
		at := b.mayGoFirst()
		if at < 0 {
			return false
		}
		if s := stateOf(b.Records[at]); s != nil {
			s.listed = true
		}
		b.send(b.Records[at:at+1], true)
		b.send(open(slices.Concat(b.Records[:at], b.Records[at+1:])), false)
		return true
	}
	b.learnKeys()
	var rest []*partition.Record
	from := 0
	for _, e := range b.RecordErrors {
		r := b.Records[e.Index]
		rest = append(rest, b.Records[from:e.Index]...)
		from = e.Index + 1
		switch s := stateOf(r); {
		case s == nil:
		case aboutKey(e.Text) || !b.maybeNotItsFault(r) || b.counts(s):
			b.fail(r, &code.Reason{Class: code.InvalidRecord, Problem: words(e.Text), Cause: b.Err})
		case e.Text != "" && !aboutTime(e.Text): // it may be listed for another reason
			b.send(open(rest), false)
			b.send([]*partition.Record{r}, true)
			rest = nil
		default:
			b.later(r, &code.Reason{Class: code.Transient, Problem: "the broker lists this record as failed, " + b.explain(r), Cause: b.Err}, b.ambiguousAfter())
		}
	}
	b.send(open(append(rest, b.Records[from:]...)), false)
	return true
}

// open returns the records whose writes still wait for them.
func open(records []*partition.Record) []*partition.Record {
	return slices.DeleteFunc(slices.Clone(records), func(r *partition.Record) bool { return stateOf(r) == nil })
}

// mayGoFirst returns the index of a listed record that may be sent before the others of
// the batch, since no earlier record has its key. It returns -1 if there is none.
func (b *batch) mayGoFirst() int {
	for _, e := range b.RecordErrors {
		r := b.Records[e.Index]
		before := slices.ContainsFunc(b.Records[:e.Index], func(o *partition.Record) bool {
			return r.Key != nil && o.Key != nil && string(o.Key) == string(r.Key)
		})
		if !before && stateOf(r) != nil {
			return e.Index
		}
	}
	return -1
}

// learnKeys notes that a topic accepts no null keys, if the broker says so.
func (b *batch) learnKeys() {
	if aboutKey(b.RecordErrors[0].Text) {
		b.Limits.NeedsKey(b.Topic)
	}
}

// Kafka's own texts about a record quote no content. Those of other brokers may.
var (
	wordsKey  = regexp.MustCompile(`^Compacted topic cannot accept message without key in topic partition [a-zA-Z0-9._-]+\.?$`)
	wordsTime = regexp.MustCompile(`^Timestamp -?\d+ of message with offset -?\d+ is out of range\. The timestamp should be within \[-?\d+, -?\d+\]\.?$`)
)

func aboutKey(text string) bool  { return wordsKey.MatchString(text) }
func aboutTime(text string) bool { return wordsTime.MatchString(text) }

// words returns the text about a listed record: the broker's own if it is known to
// quote no content.
func words(text string) string {
	if aboutKey(text) || aboutTime(text) {
		return "the broker says: " + text
	}
	return "the broker lists this record"
}
