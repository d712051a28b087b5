package sim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// check compares the verdicts with the log and with the limits of the dialect. It
// returns the first break and its kind.
func (w *scenario) check() (kind, broken string) {
	log, err := w.log()
	if err != nil {
		return "oracle", err.Error()
	}
	for _, x := range w.written {
		if len(x.verdicts) != len(x.records) {
			return "verdicts", fmt.Sprintf("%d verdicts for %d records", len(x.verdicts), len(x.records))
		}
		for i := range x.records {
			if kind, broken := w.checkRecord(x, i, log); broken != "" {
				return kind, fmt.Sprintf("record %d (%s) of write %d of writer %d: %s; the verdict is %s %v", i, x.runs[i].Shape, x.nth, x.writer, broken, x.verdicts[i].Outcome, x.verdicts[i].Err())
			}
		}
	}
	// Four batches may follow one that is rejected, and each of them is out of order then.
	if n := w.wire.Answers(kerr.OutOfOrderSequenceNumber.Code); n > 4*(w.wire.Failed()-n) && w.quiet() && w.settles() && w.plan.Rate == 0 {
		return "sequence", fmt.Sprintf("%d batches are out of order, and no answer was lost", n)
	}
	if kind, broken := w.checkRequests(); broken != "" {
		return kind, broken
	}
	return w.checkOrder(log)
}

// log returns the records of all topics, by value.
func (w *scenario) log() (map[string][]*kgo.Record, error) {
	w.network.Calm()
	for node := range max(1, w.plan.Nodes) {
		w.cluster.Away(int32(node), false)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	log := map[string][]*kgo.Record{}
	for _, topic := range w.plan.topics() {
		read, err := w.cluster.Read(ctx, topic)
		if err != nil {
			return nil, err
		}
		for _, r := range read {
			log[string(r.Value)] = append(log[string(r.Value)], r)
		}
	}
	return log, nil
}

// settles reports whether each doubt about a good record ends: a batch without an answer is
// sent again until the broker has answered, and sequence numbers tell what became of the
// first attempt. Only a batch that was appended and is rejected then can't be settled:
// because a fault rejects it, or because the limit was lowered in between. Nor can one on
// which connections end again and again: it is sent in parts, for it may be too large. Nor
// can one that followed a rejected one, before the broker ever refused such a batch.
func (w *scenario) settles() bool {
	p := w.plan
	return w.cluster.Dialect().MaxRequest == 0 && !p.NotIdempotent && !p.LeaderAck && !p.NoRetry && p.MaxElapsed == 0 && p.Expiry == 0 &&
		w.cluster.Dialect().Numbering == kafkafake.NumbersAppended && !w.anyEnded() && w.closed.IsZero() &&
		!slices.ContainsFunc(p.Faults, func(f fault) bool { return f.Key == "" && (f.Do == "refuse" || strings.HasPrefix(f.Do, "disconnect")) }) &&
		!slices.ContainsFunc(p.Events, func(e event) bool { return e.Do == "set" })
}

func (w *scenario) checkRecord(x *written, i int, log map[string][]*kgo.Record) (kind, broken string) {
	r, v := x.records[i], x.verdicts[i]
	found := log[string(r.Value)]
	if (v.Outcome == guard.Delivered) != (v.Failure == nil) {
		return "verdicts", "a failure, or none, that does not fit the outcome"
	}
	switch {
	case len(found) > 0 && found[0].Topic != r.Topic:
		return "verdicts", "it is in topic " + found[0].Topic
	case v.Outcome == guard.Delivered && len(found) > 0 && found[0].Partition != v.Partition:
		return "verdicts", fmt.Sprintf("it is in partition %d", found[0].Partition)
	}
	is := deliverycheck.Record{
		Outcome: v.Outcome.String(), Permanent: v.Class.Permanent(), Copies: len(found),
		MayRepeat: len(found) > 1 && w.mayRepeat(), MayBeGone: w.deleted(r.Topic),
	}
	if v.Outcome == guard.Delivered {
		return is.Wrong()
	}
	may, surely := w.bad(x, i)
	lied, free := w.lied(x, i), w.givenUp(x) || w.plan.NoRetry && w.plan.doubtful() || w.deleted(r.Topic)
	doubtAt := x.end
	if w.givenUp(x) {
		doubtAt = doubtAt.Add(-1) // an answer of this moment may have come too late
	}
	is.MayFail = may || lied
	is.MayBeUnknown = w.wire.InDoubt(idOf(r.Value), doubtAt)
	is.Settles = !may && w.settles() && !w.deleted(r.Topic)
	// A broker may not tell in time how many partitions there are.
	is.MustFail = surely && w.quiet() && !free && !(w.plan.NoRetry && (w.plan.Dialect == "hanging" || w.plan.Rate > 0))
	// A slow network may keep a record from a request of its own.
	is.MustArrive = !may && !lied && !free && (!w.plan.NoRetry || w.quiet() && w.plan.Rate == 0)
	return is.Wrong()
}

// checkRequests bounds the Produce requests of a scenario. Each part of the bound has its
// reason.
func (w *scenario) checkRequests() (kind, broken string) {
	limit := w.leastLimit()
	bound := 0.0
	falsely := slices.ContainsFunc(w.plan.Faults, func(f fault) bool { return f.Do == "refuse" && f.Key == "" })
	for _, x := range w.written {
		type place struct {
			topic     string
			partition int32
		}
		places, bytes := map[place]int{}, 0
		for _, r := range x.records {
			places[place{r.Topic, r.Partition}]++
			bytes += len(r.Value) + 100
		}
		n := 0
		for i := range x.records {
			if may, _ := w.bad(x, i); may || falsely || w.rejectsAllTimes() {
				n++
			}
		}
		bound += deliverycheck.MostRequests(len(places), bytes, limit, len(x.records), n)
	}
	if w.cluster.Dialect().WholeRequest || w.plan.configs()["compression.type"] != "" {
		// A good batch is rejected for another one of its request, or for a size that
		// guard does not know.
		bound += 3 * float64(w.plan.messages())
	}
	if w.plan.Dialect == "configs_of_another_topic" {
		// What is written before the broker takes a record over its reported limit is
		// sent record by record.
		bound += float64(w.plan.messages())
	}
	if n := w.plan.MaxBuffered; n > 0 {
		bound += 2 * float64(w.plan.messages()) / float64(n) // the others wait for room
	}
	// Retries of each partition: some at first, then one a second.
	partitions := float64(w.plan.Partitions * max(1, w.plan.Topics))
	bound += partitions * (10 + 2*time.Since(w.begin).Seconds())
	if n := w.wire.Requests(); float64(n) > bound {
		return "requests", fmt.Sprintf("%d produce requests for %d messages in %s, at most %.0f are expected", n, w.plan.messages(), time.Since(w.begin), bound)
	}
	return "", ""
}

// rejectsAllTimes reports whether a broker's clock is so far ahead that whatever guard
// stamps is too old there.
func (w *scenario) rejectsAllTimes() bool {
	ahead := slices.Max(append(slices.Clone(w.plan.Clocks), 0)) + w.plan.Clock
	most, err := strconv.Atoi(w.plan.configs()["message.timestamp.before.max.ms"])
	return err == nil && ahead > time.Duration(most)*time.Millisecond
}

// leastLimit returns the smallest limit of a batch or request that there was.
func (w *scenario) leastLimit() int {
	d := w.cluster.Dialect()
	limits := append([]int{1 << 20, cmp.Or(d.MaxRequest, 1<<20), cmp.Or(w.plan.MaxRequest, 1<<20)}, d.Limits...)
	for _, rules := range w.rules {
		if n, err := strconv.Atoi(rules.configs["max.message.bytes"]); err == nil {
			limits = append(limits, n)
		}
	}
	return slices.Min(limits)
}

// mayRepeat reports whether the client may write a record twice. That takes three
// steps: an answer is lost, the batch is sent again, and the broker does not recognise
// it. It does not if it ignores sequence numbers, if the writes have none, or if it
// forgot the producer. Over a slow network the resend may come after the broker forgot.
func (w *scenario) mayRepeat() bool {
	if w.cluster.Dialect().Numbering == kafkafake.NumbersIgnored && w.plan.repeats() {
		return true
	}
	return (w.plan.NotIdempotent || w.plan.LeaderAck || w.plan.Expiry > 0) && w.plan.repeats() || w.plan.Expiry > 0 && w.plan.Rate > 0
}

// lied reports whether a fault made a broker reject good records so that guard can't
// tell that they are good. Either the code is about a record. Or the code is ambiguous
// and came again, while other records were acked in between. For its content, the broker
// must have rejected the record itself.
func (w *scenario) lied(x *written, i int) bool {
	class, of, unclear := x.verdicts[i].Class, x.runs[i], 0
	if class == guard.InvalidRecord && !w.wire.Rejected(idOf(x.records[i].Value), kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.UnknownServerError, kerr.CorruptMessage) {
		return false
	}
	for i, t := range w.plan.Faults {
		if t.Do != "refuse" || w.faults[i].Hits() == 0 {
			continue
		}
		switch t.Code {
		case "MESSAGE_TOO_LARGE":
			if class == guard.SizeExceeded {
				return true
			}
		case "INVALID_RECORD":
			if class == guard.InvalidRecord {
				return true
			}
		case "INVALID_TIMESTAMP":
			if class == guard.InvalidRecord && (of.Shape == late || of.Shape == early || of.Shape == beforeEpoch) {
				return true
			}
			unclear++
		case "UNKNOWN_SERVER_ERROR", "CORRUPT_MESSAGE":
			unclear++
		}
	}
	return class == guard.InvalidRecord && unclear > 1
}

// rulesAge is how old the topic configs may be that reject a record.
const rulesAge = 1500 * time.Millisecond

// bad reports whether the dialect may reject a record, and whether it surely does. The
// answer may change in the course of the write: configs change, and so do leaders.
func (w *scenario) bad(x *written, i int) (may, surely bool) {
	r, of := x.records[i], x.runs[i]
	switch {
	case of.Shape == illegal, of.Shape == noPartition && !w.plan.Keyed:
		return true, true
	}
	alone := *r
	d, surely := w.cluster.Dialect(), true
	c := w.plan.compressor()
	age := rulesAge
	if w.plan.Dialect == "configs_of_another_topic" {
		age += time.Minute // no report tells that a limit was raised: its confirmation counts for so long
	}
	all := w.rules
	if r.Topic != topicNamed(0) {
		all = []rules{{configs: w.plan.configs()}}
	}
	for _, rules := range all {
		if rules.from.After(x.end) || !rules.until.IsZero() && rules.until.Before(x.begin.Add(-age)) {
			continue
		}
		for _, node := range w.leaders(of.Partition) {
			if of.Shape != late && of.Shape != early && of.Shape != beforeEpoch {
				alone.Timestamp = time.Now().Add(d.Clock(node)) // guard stamps it, and stamps it again after a rejection
			}
			refusal := d.Alone(kafkafake.Topic{Name: r.Topic, Configs: rules.configs}, of.Partition, node, &alone, c)
			may = may || refusal != nil
			surely = surely && refusal != nil
		}
	}
	if d.MaxRequest > 0 && len(r.Value) > d.MaxRequest-1000 {
		may = true
	}
	if of.Shape == early && time.Since(x.begin) > 30*time.Minute {
		may = true // early at the start of the write, but perhaps not when it was sent
	}
	if w.plan.MaxRequest > 0 && len(r.Value) > w.plan.MaxRequest-1000 {
		may = true
	}
	if d.AnySize && (of.Shape == noise || of.Shape == zeros) {
		may = true // kfake does the append for this dialect, and has a limit of its own
	}
	return may, surely
}

// leaders returns the nodes that may lead the partition of a record.
func (w *scenario) leaders(partition int32) (nodes []int32) {
	n := int32(max(1, w.plan.Nodes))
	moved := slices.ContainsFunc(w.plan.Events, func(e event) bool { return e.Do == "move" && e.Partition == partition || e.Do == "create" })
	for node := range n {
		if w.plan.Keyed || moved || node == partition%n {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// anyEnded reports whether the context of any write ended.
func (w *scenario) anyEnded() bool {
	return slices.ContainsFunc(w.written, func(x *written) bool { return x.ended })
}

// deleted reports whether the plan deletes the topic, and its log with it.
func (w *scenario) deleted(topic string) bool {
	return topic == topicNamed(0) && slices.ContainsFunc(w.plan.Events, func(e event) bool { return e.Do == "delete" })
}

// givenUp reports whether a write may have been given up: its context ended, its time
// was up, or guard was closed.
func (w *scenario) givenUp(x *written) bool {
	return x.ended || w.plan.MaxElapsed > 0 || !w.closed.IsZero() && w.closed.Before(x.end.Add(time.Millisecond))
}

// quiet reports whether the plan has no faults and no events: only records can be at
// fault.
func (w *scenario) quiet() bool { return len(w.plan.Faults) == 0 && len(w.plan.Events) == 0 }

// checkOrder checks the order of records with the same key, in partitions that have a
// single writer. Order is promised if a writer waits for one write before the next.
// Records without a key have no order: when a batch is split, others may be sent in
// between.
func (w *scenario) checkOrder(log map[string][]*kgo.Record) (kind, broken string) {
	if (w.plan.NotIdempotent || w.plan.LeaderAck) && w.plan.doubtful() || w.plan.Expiry > 0 || w.plan.HandOver > 0 && len(w.plan.Writers) > 1 {
		return "", ""
	}
	// Such a broker takes what follows a rejected batch before it.
	if w.cluster.Dialect().Numbering != kafkafake.NumbersAppended && w.wire.Failed() > 0 {
		return "", ""
	}
	type partition struct {
		topic string
		n     int32
	}
	type sequence struct {
		writer int
		partition
		key string
	}
	at := func(r *kgo.Record) partition { return partition{r.Topic, r.Partition} }
	last, writers := map[sequence]int64{}, map[partition]map[int]bool{}
	for _, x := range w.written {
		for _, r := range x.records {
			for _, found := range log[string(r.Value)] {
				if writers[at(found)] == nil {
					writers[at(found)] = map[int]bool{}
				}
				writers[at(found)][x.writer] = true
			}
		}
	}
	for _, x := range w.written { // in the order of each writer
		for i, v := range x.verdicts {
			found := log[string(x.records[i].Value)]
			if v.Outcome != guard.Delivered || len(found) != 1 || w.deleted(found[0].Topic) || len(writers[at(found[0])]) > 1 {
				continue
			}
			if found[0].Key == nil {
				continue
			}
			of := sequence{writer: x.writer, partition: at(found[0]), key: string(found[0].Key)}
			if before, ok := last[of]; ok && found[0].Offset < before {
				return "order", fmt.Sprintf("record %d of write %d of writer %d is at offset %d of topic %s partition %d, after one that comes later", i, x.nth, x.writer, found[0].Offset, of.topic, of.n)
			}
			last[of] = found[0].Offset
		}
	}
	return "", ""
}
