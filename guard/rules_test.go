package guard

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// impatient has every condemnation read the rules again.
func impatient(g *Guard) *Guard {
	g.rules.fresh = 0
	return g
}

func TestRulesAreReadOncePerMaxAge(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	reads := c.Count(kmsg.DescribeConfigs)
	g := newGuard(t, c, Config{})
	var wg sync.WaitGroup
	for w := range 10 {
		wg.Go(func() {
			for i := range 100 {
				g.Write(t.Context(), records("t", fmt.Sprint(w, "-", i), 2, 10))
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, reads.Hits(), "the first use by ten writers at once")

	g.rules.maxAge = time.Nanosecond
	g.Write(t.Context(), records("t", "old", 2, 10))
	require.NoError(t, reads.Wait(t.Context(), 2))
}

func TestRulesOfManyTopicsAreReadTogether(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	var rs []*kgo.Record
	for i := range 50 {
		topic := fmt.Sprint("t", i)
		c.Topic(topic, 1)
		rs = append(rs, record(topic, "v", 0))
	}
	reads := c.Count(kmsg.DescribeConfigs)
	g := newGuard(t, c, Config{})
	require.Empty(t, classes(g.Write(t.Context(), rs)))
	require.Equal(t, 1, reads.Hits())
}

func TestTheTopicsLimitNeedsNoConfiguration(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=10000000")
	var seen *Rules
	g := newGuard(t, c, Config{OnRules: func(_, now *Rules) { seen = now }})
	rs := []*kgo.Record{record("t", "small", 10), record("t", "large", 5_000_000), record("t", "too large", 11_000_000), record("t", "last", 10)}
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{2: SizeExceeded}, classes(vs))
	require.EqualError(t, vs[2].Err(), "size_exceeded: topic t: 11000074 bytes exceed the topic's max.message.bytes (10000000)")
	account(t, c, rs, vs)
	require.True(t, seen.Known)
	require.Equal(t, 10_000_000, seen.MaxMessageBytes)
}

func TestABatchOfLegalRecordsIsNeverRefused(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=100000")
	requests := c.Count(kmsg.Produce)
	g := newGuard(t, c, Config{})
	rs := records("t", "r", 1000, 1000)
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	for _, v := range vs {
		require.False(t, v.Suspected)
	}
	require.LessOrEqual(t, requests.Hits(), 12, "no more batches than needed")
	account(t, c, rs, vs)
}

func TestACompressedRecordIsMeasuredAsSent(t *testing.T) {
	t.Parallel()
	for codec, opt := range map[string]kgo.CompressionCodec{
		"snappy": kgo.SnappyCompression(), "gzip": kgo.GzipCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("t", 1)
			c.Topic("plain", 1, "compression.type=uncompressed")
			g := newGuard(t, c, Config{}, kgo.ProducerBatchCompression(opt), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
			noise := record("t", "noise", 3_000_000)
			for i := range noise.Value {
				noise.Value[i] = byte(rand.Uint32())
			}
			rs := []*kgo.Record{
				record("t", "first", 10),
				record("t", "compressible", 3_000_000),
				record("t", "second", 10),
				record("plain", "stored as it is", 3_000_000),
				noise,
				record("t", "third", 10),
			}
			for _, r := range rs {
				r.Key = []byte("k")
			}
			vs := g.Write(t.Context(), rs)
			require.Equal(t, map[int]Class{3: SizeExceeded, 4: SizeExceeded}, classes(vs))
			account(t, c, rs, vs)
			var order []string
			for _, r := range c.Log("t") {
				order = append(order, string(r.Value[:5]))
			}
			require.Equal(t, []string{"first", "compr", "secon", "third"}, order)
		})
	}
}

func TestSentSizeIsTheSizeOnTheWire(t *testing.T) {
	t.Parallel()
	for codec, opt := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "snappy": kgo.SnappyCompression(), "gzip": kgo.GzipCompression().WithLevel(9), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression().WithLevel(4),
	} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("t", 1)
			wire := 0
			done := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1, Observe: true, When: func(r kmsg.Request) bool {
				wire = len(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records)
				return true
			}})
			g := newGuard(t, c, Config{}, kgo.ProducerBatchCompression(opt))
			for _, n := range []int{0, 10, 100, 10_000, 900_000} {
				r := record("t", "v", n)
				r.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte("some value")}}
				for i := n / 2; i < len(r.Value); i++ {
					r.Value[i] = byte(rand.Uint32())
				}
				hits := done.Hits()
				require.Empty(t, classes(g.Write(t.Context(), []*kgo.Record{r})))
				require.NoError(t, done.Wait(t.Context(), hits+1))
				require.Equal(t, wire, sentSize(g, r), "%d bytes", n)
			}
		})
	}
}

func TestRulesCondemnWithoutARequest(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("compacted", 1, "cleanup.policy=compact")
	c.Topic("t", 1, "message.timestamp.before.max.ms=3600000", "message.timestamp.after.max.ms=3600000")
	g := newGuard(t, c, Config{})
	at := func(topic, value string, off time.Duration) *kgo.Record {
		r := record(topic, value, 0)
		r.Timestamp = time.Now().Add(off)
		return r
	}
	keyed := record("compacted", "keyed", 0)
	keyed.Key = []byte{}
	none := record("t", "none", 0)
	none.Timestamp = time.UnixMilli(-1)
	rs := []*kgo.Record{
		record("compacted", "null key", 0), keyed,
		at("t", "now", 0), at("t", "old", -2*time.Hour), at("t", "new", 2*time.Hour),
		at("t", "within the margin", -61*time.Minute), at("t", "just so", 59*time.Minute), none,
	}
	requests := c.Count(kmsg.Produce)
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{0: InvalidRecord, 3: InvalidRecord, 4: InvalidRecord}, classes(vs))
	require.EqualError(t, vs[0].Err(), "invalid_record: topic compacted: no key, and the topic is compacted (cleanup.policy)")
	require.Regexp(t, `^invalid_record: topic t: timestamp \S+Z is older than the topic's message.timestamp.before.max.ms \(3600000\) allows$`, vs[3].Err().Error())
	require.Regexp(t, `is further ahead than the topic's message.timestamp.after.max.ms \(3600000\) allows$`, vs[4].Err().Error())
	account(t, c, rs, vs)
	require.LessOrEqual(t, requests.Hits(), 2)
}

func TestOlderBrokersTimestampBounds(t *testing.T) {
	t.Parallel()
	const none = "9223372036854775807"
	for _, test := range []struct {
		name          string
		configs       map[string]string
		before, after int64
	}{
		{"4.x", map[string]string{"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "5", "message.timestamp.after.max.ms": "7"}, 5, 7},
		{"3.6 to 3.9, the older one", map[string]string{"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": none, "message.timestamp.after.max.ms": none, "message.timestamp.difference.max.ms": "9"}, 9, 9},
		{"3.6 to 3.9, both", map[string]string{"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "5", "message.timestamp.after.max.ms": none, "message.timestamp.difference.max.ms": "9"}, 5, 9},
		{"before 3.6", map[string]string{"message.timestamp.type": "CreateTime", "message.timestamp.difference.max.ms": "9"}, 9, 9},
		{"LogAppendTime", map[string]string{"message.timestamp.type": "LogAppendTime", "message.timestamp.before.max.ms": "5"}, 1<<63 - 1, 1<<63 - 1},
	} {
		r := &Rules{}
		test.configs["max.message.bytes"] = "1000"
		r.fill(test.configs)
		require.True(t, r.Known, test.name)
		require.Equal(t, []int64{test.before, test.after}, []int64{r.Before, r.After}, test.name)
	}
}

func TestRedpandasRules(t *testing.T) {
	t.Parallel()
	r := &Rules{}
	r.fill(map[string]string{
		"max.message.bytes": "1000", "segment.bytes": "10", "cleanup.policy": "compact", "compression.type": "zstd",
		"message.timestamp.type": "CreateTime", "redpanda.remote.read": "false",
	})
	require.Equal(t, Rules{Known: true, MaxMessageBytes: 1000, SegmentBytes: math.MaxInt32, Before: math.MaxInt64, After: math.MaxInt64}, *r)
	r.fill(map[string]string{
		"max.message.bytes": "1000", "message.timestamp.type": "CreateTime", "redpanda.remote.read": "false",
		"message.timestamp.before.max.ms": "9223372036854", "message.timestamp.after.max.ms": "3600000",
	})
	require.Equal(t, []int64{math.MaxInt64, 3_600_000}, []int64{r.Before, r.After})
}

func TestARaisedLimitIsNoticedBeforeAnythingIsCondemned(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=10000")
	var changes []string
	g := impatient(newGuard(t, c, Config{OnRules: func(old, now *Rules) { changes = append(changes, fmt.Sprint(old != nil, now.MaxMessageBytes)) }}))
	require.Equal(t, map[int]Class{0: SizeExceeded}, classes(g.Write(t.Context(), []*kgo.Record{record("t", "a", 15_000)})))
	c.Set("t", "max.message.bytes", "20000")
	rs := []*kgo.Record{record("t", "b", 15_000), record("t", "c", 10), record("t", "d", 15_000)}
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
	require.Equal(t, []string{"false 10000", "true 20000"}, changes)
}

func TestALoweredLimitCondemnsWithoutASearch(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=100000")
	g := impatient(newGuard(t, c, Config{}))
	rs := records("t", "r", 10, 10)
	require.Empty(t, classes(g.Write(t.Context(), rs)))
	c.Set("t", "max.message.bytes", "20000")

	rs = records("t", "s", 100, 100)
	rs[40] = record("t", "big", 30_000)
	requests := c.Count(kmsg.Produce)
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{40: SizeExceeded}, classes(vs))
	require.EqualError(t, vs[40].Err(), "size_exceeded: topic t partition 0: 30072 bytes exceed the topic's max.message.bytes (20000)")
	require.LessOrEqual(t, requests.Hits(), 2, "the batch that was refused, and the rest of it")
	account(t, c, rs, vs)

	requests = c.Count(kmsg.Produce)
	rs = records("t", "u", 100, 1000)
	vs = g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	require.LessOrEqual(t, requests.Hits(), 6, "batches keep to the new limit")
	for _, v := range vs {
		require.False(t, v.Suspected)
	}
	account(t, c, rs, vs)
}

// Where a topic has no limit of its own, that of its partition's leader counts, and
// brokers may differ: any of them tells its own.
func TestNobodyIsCondemnedByTheLimitOfAnotherBroker(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprint("one does not answer ", silent), func(t *testing.T) {
			t.Parallel()
			d := kafkafake.Uneven()
			c := kafkafake.Speak(t, d, nil, kfake.NumBrokers(len(d.Limits)))
			c.Topic("t", 12)
			for p := range int32(12) {
				require.NoError(t, c.MoveTopicPartition("t", p, p%int32(len(d.Limits))))
			}
			if silent {
				h := c.Trouble(kafkafake.Trouble{Do: kafkafake.CutBefore, Count: -1, Keys: []kmsg.Key{kmsg.DescribeConfigs}, Nodes: []int32{2}})
				t.Cleanup(h.Over)
			}
			g := newGuard(t, c, Config{}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			var rs []*kgo.Record
			want := map[int]Class{}
			for size := 15_000; size <= 115_000; size += 20_000 {
				for p := range int32(12) {
					r := record("t", fmt.Sprint(p, "-", size, "-"), size)
					r.Partition = p
					if size > d.Limits[c.LeaderFor("t", p)] {
						want[len(rs)] = SizeExceeded
					}
					rs = append(rs, r)
				}
			}
			require.Greater(t, len(want), 20)
			require.Less(t, len(want), 60)
			vs := g.Write(t.Context(), rs)
			require.Equal(t, want, classes(vs))
			account(t, c, rs, vs)
		})
	}
}

// What is set for the topic itself is the same for all brokers, so nobody needs to be
// asked for its own: while one is not to be reached, least of all.
func TestWhatIsSetForATopicCondemnsWhoeverDoesNotAnswer(t *testing.T) {
	t.Parallel()
	c := kafkafake.Speak(t, kafkafake.Kafka(), nil, kfake.NumBrokers(3))
	c.Topic("t", 12, "max.message.bytes=20000")
	h := c.Trouble(kafkafake.Trouble{Do: kafkafake.CutBefore, Count: -1, Keys: []kmsg.Key{kmsg.DescribeConfigs}, Nodes: []int32{2}})
	t.Cleanup(h.Over)
	g := newGuard(t, c, Config{})
	requests := c.Count(kmsg.Produce)
	vs := g.Write(t.Context(), []*kgo.Record{record("t", "big", 30_000)})
	require.Equal(t, map[int]Class{0: SizeExceeded}, classes(vs))
	require.EqualError(t, vs[0].Err(), "size_exceeded: topic t: 30072 bytes exceed the topic's max.message.bytes (20000)")
	require.Zero(t, requests.Hits())
}

func TestWhatIsFixedForATopic(t *testing.T) {
	t.Parallel()
	told := map[string]string{
		"max.message.bytes": "1000", "segment.bytes": "900", "cleanup.policy": "compact", "compression.type": "gzip",
		"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "5", "message.timestamp.after.max.ms": "7",
		"message.timestamp.difference.max.ms": "9",
	}
	unbounded := Rules{Topic: "t", Known: true, MaxMessageBytes: math.MaxInt32, SegmentBytes: math.MaxInt32, Before: math.MaxInt64, After: math.MaxInt64}
	fixed := func(change func(r *Rules)) Rules {
		r := unbounded
		change(&r)
		return r
	}
	for _, test := range []struct {
		name  string
		set   []string // for the topic
		more  map[string]string
		fixed Rules
	}{
		{"nothing", nil, nil, unbounded},
		{"a size", []string{"max.message.bytes"}, nil, fixed(func(r *Rules) { r.MaxMessageBytes = 1000 })},
		{"segments, keys, codec", []string{"segment.bytes", "cleanup.policy", "compression.type"}, nil, fixed(func(r *Rules) { r.SegmentBytes, r.Compacted, r.Compression = 900, true, "gzip" })},
		{"times, but not whose", []string{"message.timestamp.before.max.ms"}, nil, unbounded},
		{"times", []string{"message.timestamp.type", "message.timestamp.before.max.ms", "message.timestamp.difference.max.ms"}, nil, fixed(func(r *Rules) { r.Before = 5 })},
		{"Redpanda", []string{"max.message.bytes", "segment.bytes", "cleanup.policy"}, map[string]string{"redpanda.remote.read": "false"}, fixed(func(r *Rules) { r.MaxMessageBytes = 1000 })},
	} {
		set, all := map[string]string{}, maps.Clone(told)
		for _, name := range test.set {
			set[name] = told[name]
		}
		maps.Copy(all, test.more)
		r := &Rules{Topic: "t"}
		r.fix(all, set)
		require.Equal(t, test.fixed, *r.fixed, test.name)
	}
	r := &Rules{Topic: "t"}
	delete(told, "message.timestamp.before.max.ms")
	delete(told, "message.timestamp.after.max.ms")
	r.fix(told, map[string]string{"message.timestamp.type": "CreateTime", "message.timestamp.difference.max.ms": "9"})
	require.Equal(t, fixed(func(r *Rules) { r.Before, r.After = 9, 9 }), *r.fixed, "before 3.6")
}

func TestWithoutTheRightToReadRulesRefusalsDecide(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=20000")
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	var last *Rules
	learned := 0
	g := newGuard(t, c, Config{OnRules: func(_, now *Rules) { last = now }, OnBound: func(_ string, bytes int) { learned = bytes }})
	rs := records("t", "r", 100, 10)
	rs[30] = record("t", "big", 30_000)
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{30: SizeExceeded}, classes(vs))
	require.Contains(t, vs[30].Err().Error(), "size_exceeded: topic t partition 0: 30072 bytes exceed the topic's max.message.bytes: MESSAGE_TOO_LARGE")
	account(t, c, rs, vs)
	require.False(t, last.Known)
	require.ErrorIs(t, last.Unknown, kerr.TopicAuthorizationFailed)
	require.Equal(t, 30_072, learned)

	// What is as large is sent alone from now on, so that it spoils no batch.
	requests := c.Count(kmsg.Produce)
	rs = records("t", "s", 100, 10)
	rs[30] = record("t", "big2", 40_000)
	vs = g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{30: SizeExceeded}, classes(vs))
	require.LessOrEqual(t, requests.Hits(), 2, "the large one, unless the last was rejected within a second, and all others")
	require.False(t, vs[29].Suspected)
	account(t, c, rs, vs)

	// And it is not condemned for it.
	c.Set("t", "max.message.bytes", "50000")
	require.Eventually(t, func() bool {
		return len(classes(g.Write(t.Context(), []*kgo.Record{record("t", "big3", 40_000)}))) == 0
	}, 5*time.Minute, proofAge/5, "a rejection proves nothing for longer than a second")
}

func TestATopicOfTheSameNameIsAnotherTopic(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=20000")
	g := impatient(newGuard(t, c, Config{}))
	require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 5, 10))))
	_, err := c.Admin.DeleteTopic(t.Context(), "t")
	require.NoError(t, err)
	c.Topic("t", 3, "max.message.bytes=50000")
	g.rules.refresh(t.Context(), []string{"t"})
	rs := records("t", "s", 5, 40_000)
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
}

// The limit changes under load, and with it the clients. Order holds for each
// writer, since its writes are sequential.
func TestLimitsThatChangeUnderLoadHarmNothing(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 4, "max.message.bytes=20000")
	g := newGuard(t, c, Config{RulesMaxAge: 5 * time.Millisecond}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	impatient(g)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var rs []*kgo.Record
	var vs []Verdict
	for w := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				batch := records("t", fmt.Sprintf("w%d-%06d", w, n), 20, 500)
				batch[11] = record("t", fmt.Sprintf("w%d-%06d-big", w, n), 60_000)
				for _, r := range batch {
					r.Partition = int32(w)
				}
				verdicts := g.Write(context.Background(), batch)
				mu.Lock()
				rs, vs = append(rs, batch...), append(vs, verdicts...)
				mu.Unlock()
			}
		})
	}
	for i := range 50 {
		c.Set("t", "max.message.bytes", fmt.Sprint([]int{20_000, 5_000, 50_000}[i%3]))
	}
	close(stop)
	wg.Wait()
	account(t, c, rs, vs)
	for i, v := range vs {
		require.Equal(t, i%20 == 11, v.Outcome != Delivered, "record %d: %v", i, v.Err())
	}
	order := map[int32][]string{}
	for _, r := range c.Log("t") {
		order[r.Partition] = append(order[r.Partition], string(r.Value))
	}
	for p, values := range order {
		require.True(t, slices.IsSorted(values), "partition %d", p)
	}
}

// A callback may ask the guard for the rules that it is told of.
func TestOnRulesMayAskForRules(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=20000")
	var g *Guard
	ready, asked := make(chan struct{}), make(chan Rules, 10)
	g = newGuard(t, c, Config{OnRules: func(_, now *Rules) {
		<-ready
		asked <- g.Rules(t.Context(), now.Topic)
	}})
	close(ready)
	require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 5, 10))))
	require.Equal(t, 20_000, (<-asked).MaxMessageBytes)
}
