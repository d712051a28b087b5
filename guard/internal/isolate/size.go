package isolate

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
)

// unlike is how many times as large as the next smaller one a record must be to get a batch of
// its own, with all that are larger, if it is larger than the average of its batch and than any
// batch that was taken: it may be too large alone.
const unlike = 4

// bySize splits a batch that was rejected for its size. Records much larger than others go
// alone, and the others in batches that are smaller by now.
func (b *batch) bySize(open []*producer.Record) {
	b.Limits.Rejected(b.Topic, b.Leader, b.Sent, b.Answer.Alone)
	if len(b.Records) == 1 {
		if b.Answer.Alone {
			b.tooLarge(open[0])
		} else {
			b.send(open, true)
		}
		return
	}
	sizes := make([]int32, len(open))
	for n, r := range open {
		sizes[n] = r.Size
		r.Questioned = true
	}
	slices.Sort(sizes)
	if from := int(gap(sizes)); from > b.Limits.Taken(b.Topic, b.Leader) && from > producer.RawSize(open)/len(open) {
		for _, r := range open {
			r.Single = r.Single || int(r.Size) >= from
		}
		others, behind := Split(open)
		b.send(others, false)
		b.send(behind, false)
		return
	}
	if most, _ := b.Limits.MaxBatch(b.Topic, b.Leader); producer.RawSize(open) > most {
		b.send(open, false) // it is sent in smaller batches
		return
	}
	b.send(open[:len(open)/2], false)
	b.send(open[len(open)/2:], false)
}

// gap returns the size behind the widest gap between sizes, 0 for none that is wide.
func gap(sizes []int32) (from int32) {
	widest := int32(unlike)
	for n := 1; n < len(sizes); n++ {
		if gap := sizes[n] / sizes[n-1]; gap >= widest {
			from, widest = sizes[n], gap
		}
	}
	return from
}

// Key returns what two records share that must keep their order: topic and key.
func Key(r *kgo.Record) string { return r.Topic + "\x00" + string(r.Key) }

// Split divides records into those that may be sent before the single ones, and the single
// ones, with all that come behind one and have its key.
func Split(records []*producer.Record) (others, behind []*producer.Record) {
	keys := map[string]struct{}{}
	for _, r := range records {
		after := r.Single || r.Apart
		if r.Key != nil {
			if _, ok := keys[Key(r.Record)]; ok {
				after = true
			} else if after {
				keys[Key(r.Record)] = struct{}{}
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
func (b *batch) tooLarge(r *producer.Record) {
	checked, told := b.ToCheck(r), limitIn(b.Message)
	news := b.Limits.RejectedAlone(checked, b.Leader, limits.Rejection{Sent: b.Sent, Started: b.Started, Code: b.Code, Limit: told})
	b.fail(r, b.Limits.Observed(checked, b.Sent, b.Code, told))
	if news {
		b.Learned(b.Topic, int(r.Size))
	}
}

// Cut fails a record that a limit rejects by its size, if the endpoint closes the
// connection on it, time and again: no request as large is taken there, and the limit will
// not be confirmed. It reports whether it did.
func (i *Isolation) Cut(ctx context.Context, b *producer.Batch) (plan producer.Plan, ok bool) {
	if len(b.Records) != 1 || time.Since(b.First) < ambiguousWindow || stateOf(b.Records[0]) == nil {
		return plan, false
	}
	ctx, cancel := context.WithTimeout(ctx, limits.Wait)
	defer cancel()
	i.Limits.Refresh(ctx, []string{b.Topic})
	v := i.Limits.Lately(i.ToCheck(b.Records[0]))
	if v == nil || v.Kind != limits.Size || !i.Final(v.Class) {
		return plan, false
	}
	v.Confirm()
	plan.Failed = []producer.Failed{{Record: b.Records[0], Reason: &v.Reason}}
	return plan, true
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
