package guard

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// partsOf returns how many records there are in each part of a write.
func partsOf(t *testing.T, g *Guard, rs []*kgo.Record) (counts []int) {
	w, end := g.begin(t.Context(), rs)
	defer end()
	for open := w.preflight(); len(open) > 0; {
		var p *part
		p, open = g.cut(open)
		counts = append(counts, len(p.all))
	}
	return counts
}

// A part may be larger than a batch when it is known to go to several partitions,
// of which each has no more than a batch.
func TestPartsAreBoundedByPartition(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("one", 1, "max.message.bytes=20000")
	c.Topic("six", 6, "max.message.bytes=20000")
	keyed := func(topic string) []*kgo.Record {
		rs := records(topic, topic, 60, 1000)
		for i, r := range rs {
			r.Key = fmt.Append(nil, i)
		}
		return rs
	}
	g := newGuard(t, c, Config{}, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	require.Equal(t, []int{60}, partsOf(t, g, keyed("six")))
	require.Equal(t, []int{19, 19, 19, 3}, partsOf(t, g, keyed("one")))
	require.Equal(t, []int{19, 19, 19, 3}, partsOf(t, g, records("six", "r", 60, 1000)), "without keys any partition may have all")

	mixed := keyed("six")
	for _, r := range mixed[:15] {
		r.Key = nil
	}
	counts := partsOf(t, g, mixed)
	require.Less(t, counts[0], 60)
	require.Greater(t, counts[0], 19)

	requests := c.Count(kmsg.Produce)
	rs := keyed("six")
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	require.Equal(t, 1, requests.Hits())
	account(t, c, rs, vs)
}

// What is refused in a part of several batches does not change the order.
func TestALargePartKeepsItsOrder(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 6, "max.message.bytes=20000")
	for p := range int32(6) {
		c.Refuse("t", p, kafkafake.Mark, kerr.InvalidTimestamp)
	}
	g := newGuard(t, c, Config{}, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	rs := records("t", "r", 300, 300)
	poison(rs, 3, 77, 78, 200)
	for i, r := range rs {
		r.Key = fmt.Append(nil, i)
	}
	require.Less(t, len(partsOf(t, g, rs)), 3, "by size alone it would be 5")
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{3: InvalidRecord, 77: InvalidRecord, 78: InvalidRecord, 200: InvalidRecord}, classes(vs))
	account(t, c, rs, vs)
	last := map[int32]int64{}
	for _, v := range vs {
		if v.Outcome == Delivered {
			before, ok := last[v.Partition]
			require.True(t, !ok || v.Offset > before)
			last[v.Partition] = v.Offset
		}
	}
}

// Where a topic's limit can't be read, batches shrink to what it takes.
func TestBatchesShrinkToALimitThatIsNotKnown(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=20000")
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	g := newGuard(t, c, Config{})
	suspected := func(name string) (n int) {
		rs := records("t", name, 200, 1000)
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		for _, v := range vs {
			if v.Suspected {
				n++
			}
		}
		return n
	}
	require.Equal(t, 200, suspected("a"))
	require.Zero(t, suspected("b"))

	// A record that is larger than batches are by now is no worse off.
	rs := []*kgo.Record{record("t", "r0", 100), record("t", "r1", 19_000), record("t", "r2", 100)}
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
	require.IsIncreasing(t, []int64{vs[0].Offset, vs[1].Offset, vs[2].Offset})
}

// Records that go alone take no part of their own: each partition has one of them
// in a part, and what comes after it waits for the next part.
func TestRecordsThatGoAloneShareParts(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 6, "max.message.bytes=20000")
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	g := newGuard(t, c, Config{}, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	batch := func(name string) (rs []*kgo.Record, culprits map[int]Class) {
		rs, culprits = records("t", name, 120, 10), map[int]Class{}
		for i := range rs {
			if i%2 == 1 {
				rs[i] = record("t", fmt.Sprintf("%s-big-%d", name, i), 30_000+i)
				culprits[i] = SizeExceeded
			}
			rs[i].Key = fmt.Append(nil, i)
		}
		return rs, culprits
	}
	rs, culprits := batch("learn")
	vs := g.Write(t.Context(), rs)
	require.Equal(t, culprits, classes(vs))
	account(t, c, rs, vs)

	rs, _ = batch("parts")
	counts := partsOf(t, g, rs)
	require.Greater(t, len(counts), 10, "at least ten large records for some partition")
	require.Less(t, len(counts), 20, "and no part of its own for each of the 60")

	rs, culprits = batch("write")
	vs = g.Write(t.Context(), rs)
	require.Equal(t, culprits, classes(vs))
	account(t, c, rs, vs)
	last := map[int32]int64{}
	for i, v := range vs {
		if v.Outcome == Delivered {
			require.False(t, v.Suspected, "record %d", i)
			before, ok := last[v.Partition]
			require.True(t, !ok || v.Offset > before, "record %d", i)
			last[v.Partition] = v.Offset
		}
	}
}

// A large record does not overtake what comes before it, and must be sent again.
func TestARecordThatGoesAloneDoesNotOvertake(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=200000")
	g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Millisecond}},
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	rs := records("t", "r", 4, 100)
	rs[2] = record("t", "large", 300_000) // compressed it is within the limit
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed})
	require.Equal(t, []int{3, 1}, partsOf(t, g, rs))
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
	for i, v := range vs {
		require.EqualValues(t, i, v.Offset)
	}
}

// kgo's default partitioner goes by what is buffered, but not for records with keys.
func TestARecordThatGoesAloneKeepsToItsKey(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 6, "max.message.bytes=200000")
	g := newGuard(t, c, Config{}, kgo.RecordPartitioner(kgo.UniformBytesPartitioner(1<<16, true, true, nil)), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	for key := range 4 {
		rs := []*kgo.Record{record("t", fmt.Sprint(key, "a"), 100), record("t", fmt.Sprint(key, "large"), 300_000), record("t", fmt.Sprint(key, "b"), 100)}
		for _, r := range rs {
			r.Key = fmt.Append(nil, key)
		}
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		require.Equal(t, []int32{vs[0].Partition, vs[0].Partition}, []int32{vs[1].Partition, vs[2].Partition})
		require.IsIncreasing(t, []int64{vs[0].Offset, vs[1].Offset, vs[2].Offset})
	}
}

// Nor does it need a partition to be known.
func TestARecordThatGoesAloneToATopicThatIsMissing(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	g := newGuard(t, c, Config{}, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	rs := []*kgo.Record{record("missing", "a", 100), record("missing", "large", 3_000_000)}
	for _, r := range rs {
		r.Key = []byte("k")
	}
	require.Equal(t, map[int]Class{0: UnknownTopic, 1: UnknownTopic}, classes(g.Write(t.Context(), rs)))
}
