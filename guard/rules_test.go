package guard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// untilStale waits until what was read of limits is too old to reject a record.
func untilStale() { time.Sleep(limits.Fresh + 10*time.Millisecond) }

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

	g = newGuard(t, c, Config{RulesMaxAge: time.Nanosecond})
	g.Write(t.Context(), records("t", "new", 2, 10))
	g.Write(t.Context(), records("t", "old", 2, 10))
	require.NoError(t, reads.Wait(t.Context(), 3))
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
	g := newGuard(t, c, Config{Observer: observer{onRules: func(_, now *Rules) { seen = now }}})
	rs := []*kgo.Record{record("t", "small", 10), record("t", "large", 5_000_000), record("t", "too large", 11_000_000), record("t", "last", 10)}
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{2: SizeExceeded}, classes(vs))
	require.EqualError(t, vs[2].Err(), "size_exceeded: topic t partition 0: 11000074 bytes exceed the topic's max.message.bytes (10000000)")
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
		require.False(t, v.BatchRejected)
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
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
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

// The first record that a reported limit rejects is sent alone. The broker's answer confirms
// the limit, and the records after it are rejected without a request.
func TestConfirmedLimitsRejectWithoutARequest(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("compacted", 1, "cleanup.policy=compact")
	c.Topic("t", 1, "message.timestamp.before.max.ms=3600000", "message.timestamp.after.max.ms=3600000")
	c.Topic("small", 1, "max.message.bytes=1000")
	g := newGuard(t, c, Config{Observer: observer{onDifference: func(d Difference) { t.Errorf("no limit is refuted: %+v", d) }}})
	at := func(topic, value string, off time.Duration) *kgo.Record {
		r := record(topic, value, 0)
		r.Timestamp = time.Now().Add(off)
		return r
	}
	batch := func(round string) []*kgo.Record {
		keyed := record("compacted", "keyed"+round, 0)
		keyed.Key = []byte{}
		none := record("t", "none"+round, 0)
		none.Timestamp = time.UnixMilli(-1)
		return []*kgo.Record{
			record("compacted", "null key"+round, 0), keyed,
			at("t", "now"+round, 0), at("t", "old"+round, -2*time.Hour), at("t", "new"+round, 2*time.Hour),
			at("t", "within the margin"+round, -59*time.Minute), at("t", "just so"+round, 59*time.Minute), none,
			record("small", "large"+round, 2000), record("small", "good"+round, 100),
		}
	}
	want := map[int]Class{0: InvalidRecord, 3: InvalidRecord, 4: InvalidRecord, 8: SizeExceeded}
	rs := batch(" 1")
	vs := g.Write(t.Context(), rs)
	require.Equal(t, want, classes(vs))
	require.EqualError(t, vs[0].Err(), "invalid_record: topic compacted partition 0: no key, and the topic is compacted (cleanup.policy)")
	account(t, c, rs, vs)

	requests := c.Count(kmsg.Produce)
	rs = batch(" 2")
	vs = g.Write(t.Context(), rs)
	require.Equal(t, want, classes(vs))
	require.EqualError(t, vs[0].Err(), "invalid_record: topic compacted: no key, and the topic is compacted (cleanup.policy)")
	require.Regexp(t, `^invalid_record: topic t: timestamp \S+Z is older than the topic's message.timestamp.before.max.ms \(3600000\) allows$`, vs[3].Err().Error())
	require.Regexp(t, `is further ahead than the topic's message.timestamp.after.max.ms \(3600000\) allows$`, vs[4].Err().Error())
	require.EqualError(t, vs[8].Err(), "size_exceeded: topic small: 2070 bytes exceed the topic's max.message.bytes (1000)")
	account(t, c, rs, vs)
	require.LessOrEqual(t, requests.Hits(), 3, "a batch for each topic")
}

// Ten writes at once need but one record to confirm a limit.
func TestOneRecordConfirmsALimitForAllWrites(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 6, "max.message.bytes=1000")
	large := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1, Observe: true, When: func(r kmsg.Request) bool {
		return slices.ContainsFunc(r.(*kmsg.ProduceRequest).Topics[0].Partitions, func(p kmsg.ProduceRequestTopicPartition) bool { return len(p.Records) > 1000 })
	}})
	g := newGuard(t, c, Config{})
	var wg sync.WaitGroup
	for w := range 10 {
		wg.Go(func() {
			rs := records("t", fmt.Sprint("w", w), 20, 100)
			want := map[int]Class{}
			for i := 1; i < 20; i += 2 {
				rs[i] = record("t", fmt.Sprint("large", w, "-", i, "-"), 2000)
				want[i] = SizeExceeded
			}
			vs := g.Write(context.Background(), rs)
			assert.Equal(t, want, classes(vs))
		})
	}
	wg.Wait()
	require.Equal(t, 1, large.Hits())
}

// A gateway may report the configs of another topic. What these reject is taken, so that they
// are not believed, and no record fails.
func TestLimitsOfAnotherTopicFailNothing(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.ConfigsOfAnotherTopic(), nil)
	c.Topic("t", 3, "max.message.bytes=100000")
	var mu sync.Mutex
	var differ []Difference
	g := newGuard(t, c, Config{Observer: observer{onDifference: func(d Difference) {
		mu.Lock()
		defer mu.Unlock()
		differ = append(differ, d)
	}}})
	requests := c.Count(kmsg.Produce)
	for round := range 3 {
		rs := records("t", fmt.Sprint("r", round), 50, 5000)
		rs[10] = record("t", fmt.Sprint("large", round), 150_000)
		vs := g.Write(t.Context(), rs)
		require.Equal(t, map[int]Class{10: SizeExceeded}, classes(vs))
		require.NotContains(t, vs[10].Err().Error(), "600")
		account(t, c, rs, vs)
	}
	require.Less(t, requests.Hits(), 40)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(differ) == 2
	}, time.Minute, time.Millisecond)
	names := []string{differ[0].Name, differ[1].Name}
	slices.Sort(names)
	require.Equal(t, []string{"cleanup.policy", "max.message.bytes"}, names)
}

// A large record that is rejected says nothing of a smaller one: where the cluster reports a
// limit that is too low, each must be found out.
func TestALimitIsConfirmedForWhatIsAsLargeAlone(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.ConfigsOfAnotherTopic(), nil)
	c.Topic("t", 1, "max.message.bytes=100000")
	g := newGuard(t, c, Config{})
	rs := []*kgo.Record{record("t", "large", 150_000), record("t", "medium", 50_000)}
	for _, r := range rs {
		r.Key = []byte("k")
	}
	for range 3 {
		require.Equal(t, map[int]Class{0: SizeExceeded}, classes(g.Write(t.Context(), rs)))
	}
}

// From Kafka 4.4 on the records of a compressed batch have a limit of their own.
func TestTheLimitOfDecompressedRecords(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]bool{"reported": true, "not reported": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
			c.Topic("t", 1, "max.decompressed.message.bytes=2000")
			g := newGuard(t, c, Config{IgnoreRules: !told}, kgo.ProducerBatchCompression(kgo.Lz4Compression()))
			for round := range 2 {
				requests := c.Count(kmsg.Produce)
				rs := records("t", fmt.Sprint("r", round), 100, 100)
				for _, i := range []int{20, 40, 60} {
					rs[i] = record("t", fmt.Sprint("long", round, "-", i, "-"), 5000)
				}
				random := make([]byte, 5000)
				for i := range random {
					random[i] = byte(rand.Uint32())
				}
				rs[80].Value = random // does not get smaller, and so is not compressed
				vs := g.Write(t.Context(), rs)
				account(t, c, rs, vs)
				if !told {
					require.Equal(t, map[int]Class{20: InvalidRecord, 40: InvalidRecord, 60: InvalidRecord}, classes(vs))
					continue
				}
				require.Equal(t, map[int]Class{20: SizeExceeded, 40: SizeExceeded, 60: SizeExceeded}, classes(vs))
				require.ErrorContains(t, vs[40].Err(), "5007 bytes exceed the topic's max.decompressed.message.bytes (2000)")
				require.LessOrEqual(t, requests.Hits(), 3, "one that confirms the limit, the random one, all others")
			}
		})
	}
}

// While DescribeConfigs goes unanswered, what was read before is old, whatever the max age.
func TestOldLimitsRejectNothing(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1, "max.message.bytes=1000")
	g := newGuard(t, c, Config{RulesMaxAge: 50 * time.Millisecond})
	require.Equal(t, map[int]Class{0: SizeExceeded}, classes(g.Write(t.Context(), []*kgo.Record{record("t", "first", 2000)})))
	h := c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: -1, Keys: []kmsg.Key{kmsg.DescribeConfigs}})
	t.Cleanup(h.Over)
	c.Set("t", "max.message.bytes", "10000")
	untilStale()
	for i := range 5 {
		require.Empty(t, classes(g.Write(t.Context(), []*kgo.Record{record("t", fmt.Sprint("raised", i), 2000)})))
	}
}

// Records of a class that is not permanent are held, whether the broker rejects them or a
// limit does.
func TestALimitHoldsWhatIsNotPermanent(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1, "max.message.bytes=1000")
	held := make(chan struct{}, 1000)
	g := newGuard(t, c, Config{
		Permanent: []Class{InvalidRecord}, Retry: Retry{InitialInterval: time.Millisecond},
		Observer: observer{onRetry: func(class Class, _ int) {
			assert.Equal(t, SizeExceeded, class)
			select {
			case held <- struct{}{}:
			default:
			}
		}},
	})
	go func() {
		for range 5 {
			<-held
		}
		c.Set("t", "max.message.bytes", "10000")
	}()
	for i := range 2 {
		rs := []*kgo.Record{record("t", fmt.Sprint("good", i), 100), record("t", fmt.Sprint("large", i), 2000), record("t", fmt.Sprint("last", i), 100)}
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
	}
}

// DescribeConfigs that does not know a topic which exists is not asked again every second.
func TestConfigsOfNoTopic(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.ConfigsOfNoTopic(), nil)
	c.Topic("t", 1, "max.message.bytes=1000")
	reads := c.Count(kmsg.DescribeConfigs)
	var last atomic.Pointer[Rules]
	g := newGuard(t, c, Config{Observer: observer{onRules: func(_, now *Rules) { last.Store(now) }}})
	for i := range 3 {
		rs := records("t", fmt.Sprint("r", i), 10, 100)
		rs[5] = record("t", fmt.Sprint("large", i), 2000)
		require.Equal(t, map[int]Class{5: SizeExceeded}, classes(g.Write(t.Context(), rs)))
	}
	require.False(t, last.Load().Missing())
	require.ErrorContains(t, last.Load().Unknown, "DescribeConfigs does not know it")
	read := reads.Hits()
	untilStale()
	require.Empty(t, classes(g.Write(t.Context(), records("t", "later", 10, 100))))
	require.Equal(t, read, reads.Hits())
}

// A number below 1 is no limit, and hides no other one.
func TestASegmentWithoutALimit(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=3000000", "segment.bytes=-1")
	g := newGuard(t, c, Config{})
	rs := []*kgo.Record{record("t", "a", 2_000_000), record("t", "b", 4_000_000), record("t", "c", 100)}
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{1: SizeExceeded}, classes(vs))
	require.ErrorContains(t, vs[1].Err(), "the topic's max.message.bytes (3000000)")
	account(t, c, rs, vs)
}

func TestARaisedLimitIsNoticedBeforeARecordFails(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=10000")
	var changes []string
	g := newGuard(t, c, Config{Observer: observer{onRules: func(old, now *Rules) { changes = append(changes, fmt.Sprint(old != nil, now.MaxMessageBytes)) }}})
	require.Equal(t, map[int]Class{0: SizeExceeded}, classes(g.Write(t.Context(), []*kgo.Record{record("t", "a", 15_000)})))
	c.Set("t", "max.message.bytes", "20000")
	untilStale()
	rs := []*kgo.Record{record("t", "b", 15_000), record("t", "c", 10), record("t", "d", 15_000)}
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
	require.Equal(t, []string{"false 10000", "true 20000"}, changes)
}

func TestALoweredLimitFailsRecordsWithoutASearch(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=100000")
	g := newGuard(t, c, Config{})
	rs := records("t", "r", 10, 10)
	require.Empty(t, classes(g.Write(t.Context(), rs)))
	c.Set("t", "max.message.bytes", "20000")
	untilStale()

	rs = records("t", "s", 100, 100)
	rs[40] = record("t", "big", 30_000)
	requests := c.Count(kmsg.Produce)
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{40: SizeExceeded}, classes(vs))
	require.ErrorContains(t, vs[40].Err(), "size_exceeded: topic t partition 0: 30072 bytes exceed the topic's max.message.bytes (20000)")
	require.LessOrEqual(t, requests.Hits(), 3, "the batch that was rejected, the large one, and the rest of it")
	account(t, c, rs, vs)

	requests = c.Count(kmsg.Produce)
	rs = records("t", "u", 100, 1000)
	vs = g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	require.LessOrEqual(t, requests.Hits(), 6, "batches keep to the new limit")
	for _, v := range vs {
		require.False(t, v.BatchRejected)
	}
	account(t, c, rs, vs)
}

// Where a topic has no limit of its own, that of its partition's leader counts, and
// brokers may differ: any of them tells its own.
func TestTheLimitOfAnotherBrokerFailsNoRecord(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprint("one does not answer ", silent), func(t *testing.T) {
			t.Parallel()
			d := kafkafake.Uneven()
			c := kafkafake.StartDialect(t, d, nil, kfake.NumBrokers(len(d.Limits)))
			c.Topic("t", 12)
			for p := range int32(12) {
				require.NoError(t, c.MoveTopicPartition("t", p, p%int32(len(d.Limits))))
			}
			if silent {
				h := c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: -1, Keys: []kmsg.Key{kmsg.DescribeConfigs}, Nodes: []int32{2}})
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

// A config that is set for the topic is the same for all brokers. So a record can fail
// by it while one of them does not answer.
func TestALimitOfTheTopicHoldsWhereABrokerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil, kfake.NumBrokers(3))
	c.Topic("t", 12, "max.message.bytes=20000")
	h := c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: -1, Keys: []kmsg.Key{kmsg.DescribeConfigs}, Nodes: []int32{2}})
	t.Cleanup(h.Over)
	g := newGuard(t, c, Config{})
	require.Equal(t, map[int]Class{0: SizeExceeded}, classes(g.Write(t.Context(), []*kgo.Record{record("t", "big", 30_000)})))
	requests := c.Count(kmsg.Produce)
	vs := g.Write(t.Context(), []*kgo.Record{record("t", "big", 30_000)})
	require.Equal(t, map[int]Class{0: SizeExceeded}, classes(vs))
	require.EqualError(t, vs[0].Err(), "size_exceeded: topic t: 30072 bytes exceed the topic's max.message.bytes (20000)")
	require.Zero(t, requests.Hits(), "the limit is confirmed by now")
}

func TestWithoutTheRightToReadRulesRefusalsDecide(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=20000")
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	var last *Rules
	learned := 0
	g := newGuard(t, c, Config{Observer: observer{onRules: func(_, now *Rules) { last = now }, onLearned: func(_ string, bytes int) { learned = bytes }}})
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
	require.False(t, vs[29].BatchRejected)
	account(t, c, rs, vs)

	// And no record fails by the old limit.
	c.Set("t", "max.message.bytes", "50000")
	require.Eventually(t, func() bool {
		return len(classes(g.Write(t.Context(), []*kgo.Record{record("t", "big3", 40_000)}))) == 0
	}, 5*time.Minute, time.Second/5, "a rejection proves nothing for longer than a second")
}

func TestATopicOfTheSameNameIsAnotherTopic(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=20000")
	g := newGuard(t, c, Config{})
	require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 5, 10))))
	_, err := c.Admin.DeleteTopic(t.Context(), "t")
	require.NoError(t, err)
	c.Topic("t", 3, "max.message.bytes=50000")
	untilStale()
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
	g = newGuard(t, c, Config{Observer: observer{onRules: func(_, now *Rules) {
		<-ready
		asked <- g.Rules(t.Context(), now.Topic)
	}}})
	close(ready)
	require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 5, 10))))
	require.Equal(t, 20_000, (<-asked).MaxMessageBytes)
}

// An endpoint may close the connection on a record that a reported limit rejects: that it is
// too large for the topic is not confirmed then, and never will be.
func TestARecordThatEndsTheConnectionFailsByTheReportedLimit(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.SmallSockets(), nil)
	c.Topic("t", 1, "max.message.bytes=100000")
	g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Millisecond}})
	rs := []*kgo.Record{record("t", "first", 100), record("t", "large", 250_000), record("t", "last", 100)}
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{1: SizeExceeded}, classes(vs))
	require.ErrorContains(t, vs[1].Err(), "250072 bytes exceed the topic's max.message.bytes (100000)")
	account(t, c, rs, vs)
}

// What is read for the limits of a topic tells its first records where to go.
func TestMetadataIsReadOnceForAFirstWrite(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("first", 1)
	c.Topic("second", 3)
	g := newGuard(t, c, Config{})
	require.Empty(t, classes(g.Write(t.Context(), records("first", "r", 10, 10))))
	read := c.Count(kmsg.Metadata)
	rs := records("second", "r", 10, 10)
	vs := g.Write(t.Context(), rs)
	require.Equal(t, 1, read.Hits())
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
}

// Metadata is not asked for behind configs that are never told.
func TestAFirstWriteWaitsForConfigsOnce(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1)
		c.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Do: kafkafake.DelayAnswer, Count: -1, Pause: time.Hour})
		g := newGuard(t, c, Config{}, c.Opts()...)
		began := time.Now()
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 10, 10))))
		require.Less(t, time.Since(began), limits.Wait+time.Second)
	})
}
