package deadletters

import (
	"maps"
	"slices"
	"time"
)

// maxBuckets bounds the memory of a time line.
const maxBuckets = 2048

// timeline counts letters over time, by class, in buckets. A bucket is a second wide at
// first, and grows with the time span.
type timeline struct {
	width   int64 // of a bucket in seconds
	buckets map[int64]map[string]int64
}

func newTimeline() *timeline { return &timeline{width: 1, buckets: map[int64]map[string]int64{}} }

func (t *timeline) add(at time.Time, class string) {
	n := at.Unix() / t.width
	b := t.buckets[n]
	if b == nil {
		for len(t.buckets) >= maxBuckets {
			t.widen()
			n = at.Unix() / t.width
		}
		if b = t.buckets[n]; b == nil {
			b = map[string]int64{}
			t.buckets[n] = b
		}
	}
	b[class]++
}

func (t *timeline) widen() {
	t.width *= 2
	wider := map[int64]map[string]int64{}
	for n, b := range t.buckets {
		to := wider[n/2]
		if to == nil {
			to = map[string]int64{}
			wider[n/2] = to
		}
		for class, count := range b {
			to[class] += count
		}
	}
	t.buckets = wider
}

// column is a column of a histogram.
type column struct {
	From    time.Time        `json:"from"`
	Classes map[string]int64 `json:"classes"`
	Count   int64            `json:"count"`
}

// steps are the possible widths of columns.
var steps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour, 28 * 24 * time.Hour,
}

// columns returns at most so many columns, even empty ones, and their width.
func (t *timeline) columns(most int) ([]column, time.Duration) {
	if len(t.buckets) == 0 {
		return nil, 0
	}
	keys := slices.Sorted(maps.Keys(t.buckets))
	first, last := keys[0]*t.width, keys[len(keys)-1]*t.width
	width := int64(0)
	for _, step := range steps {
		width = int64(step / time.Second)
		if width >= t.width && last/width-first/width < int64(most) {
			break
		}
	}
	for last/width-first/width >= int64(most) {
		width *= 2
	}
	all := make([]column, last/width-first/width+1)
	for i := range all {
		all[i] = column{From: time.Unix((first/width+int64(i))*width, 0).UTC(), Classes: map[string]int64{}}
	}
	for n, b := range t.buckets {
		c := &all[n*t.width/width-first/width]
		for class, count := range b {
			c.Classes[class] += count
			c.Count += count
		}
	}
	return all, time.Duration(width) * time.Second
}
