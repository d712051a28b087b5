package isolate

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// unlike is how many times larger than the next smaller record a record must be to go
// alone, with all larger ones. It must also be larger than the average of its batch,
// and than any acked batch. Such a record is probably the one that is too large.
const unlike = 4

// bySize splits a batch that was rejected for its size. Records that are much larger
// than the others go alone. The others go in smaller batches.
func (b *batch) bySize(open []*partition.Record) {
	b.Limits.Rejected(b.Topic, b.Leader, b.Sent, partition.RawSize(b.Records), b.Answer.Alone)
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
	from := int(gap(sizes))
	smaller, _ := slices.BinarySearch(sizes, int32(from))
	if len(sizes)-smaller <= mostLarge && from > b.Limits.Taken(b.Topic, b.Leader) && from > partition.RawSize(open)/len(open) {
		for _, r := range open {
			r.Single = r.Single || int(r.Size) >= from
		}
		others, behind := Split(open)
		b.send(others, false)
		b.send(behind, false)
		return
	}
	if most, _ := b.Limits.MaxBatch(b.Topic, b.Leader); partition.RawSize(open) > most {
		b.send(open, false) // it is cut into smaller batches
		return
	}
	b.send(open[:len(open)/2], false)
	b.send(open[len(open)/2:], false)
}

// mostLarge is how many records of a batch are sent alone at most because they are much
// larger than the others. If there are more, the batch may be too large as a whole.
const mostLarge = 32

// gap returns the size above the widest gap between sizes, 0 if no gap is wide.
func gap(sizes []int32) (from int32) {
	widest := int32(unlike)
	for n := 1; n < len(sizes); n++ {
		if gap := sizes[n] / sizes[n-1]; gap >= widest {
			from, widest = sizes[n], gap
		}
	}
	return from
}

// Key returns topic and key. Records that share them must keep their order.
func Key(r *kgo.Record) string { return r.Topic + "\x00" + string(r.Key) }

// Split divides records into two lists. behind has the single records, and all later
// records with their keys. others may be sent before them.
func Split(records []*partition.Record) (others, behind []*partition.Record) {
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
func (b *batch) tooLarge(r *partition.Record) {
	checked, told := b.ToCheck(r), limitIn(b.Message)
	news := b.Limits.RejectedAlone(checked, b.Leader, limits.Rejection{Sent: b.Sent, Started: b.Started, Code: b.Code, Limit: told})
	b.fail(r, b.Limits.Observed(checked, b.Sent, b.Code, told))
	if news {
		b.Learned(b.Topic, int(r.Size))
	}
}

// Cut fails a record that a reported limit on size rejects, if the endpoint repeatedly
// closes the connection on it. The endpoint accepts no request of that size, so the
// limit can't be confirmed by an answer. Cut reports whether it failed the record.
func (i *Isolation) Cut(ctx context.Context, b *partition.Batch) (plan partition.Plan, ok bool) {
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
	plan.Failed = []partition.Failed{{Record: b.Records[0], Reason: &v.Reason}}
	return plan, true
}

var batchSizeText = regexp.MustCompile(`^batch size \d+ exceeds max (\d+)`)

// limitIn returns the limit in a broker's text, 0 for none. Redpanda's texts have it.
func limitIn(message string) int {
	if m := batchSizeText.FindStringSubmatch(message); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}
