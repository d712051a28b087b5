package limits

import (
	"errors"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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

// Some brokers write 0 or a negative number for no limit. Taken as one, a size of -1 would
// hide max.message.bytes, so that records over 1 MiB would fail.
func TestANumberThatIsNoLimit(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"-1", "0", "-9223372036854775808", "", "none", "1e9", "9223372036854775808"} {
		r := &Rules{}
		r.fill(map[string]string{
			"max.message.bytes": "5000000", "segment.bytes": value, "max.decompressed.message.bytes": value, "message.timestamp.type": "CreateTime",
		})
		require.Equal(t, Rules{Known: true, MaxMessageBytes: 5_000_000, SegmentBytes: math.MaxInt32, DecompressedBytes: math.MaxInt32, Before: math.MaxInt64, After: math.MaxInt64}, *r, value)
		require.Equal(t, 5_000_000, r.MaxBatchBytes(), value)
	}
	r := &Rules{}
	r.fill(map[string]string{
		"max.message.bytes": "1000", "message.timestamp.type": "CreateTime",
		"message.timestamp.before.max.ms": "-1", "message.timestamp.after.max.ms": "0", "message.timestamp.difference.max.ms": "-1",
	})
	require.Equal(t, []int64{math.MaxInt64, 0}, []int64{r.Before, r.After}, "0 is a bound on times")
}

func TestRedpandasRules(t *testing.T) {
	t.Parallel()
	r := &Rules{}
	r.fill(map[string]string{
		"max.message.bytes": "1000", "segment.bytes": "10", "cleanup.policy": "compact", "compression.type": "zstd",
		"message.timestamp.type": "CreateTime", "redpanda.remote.read": "false",
	})
	require.Equal(t, Rules{Known: true, MaxMessageBytes: 1000, SegmentBytes: math.MaxInt32, DecompressedBytes: math.MaxInt32, Before: math.MaxInt64, After: math.MaxInt64}, *r)
	r.fill(map[string]string{
		"max.message.bytes": "1000", "message.timestamp.type": "CreateTime", "redpanda.remote.read": "false",
		"message.timestamp.before.max.ms": "9223372036854", "message.timestamp.after.max.ms": "3600000",
	})
	require.Equal(t, []int64{math.MaxInt64, 3_600_000}, []int64{r.Before, r.After})
}

func TestWhatIsFixedForATopic(t *testing.T) {
	t.Parallel()
	told := map[string]string{
		"max.message.bytes": "1000", "segment.bytes": "900", "cleanup.policy": "compact", "compression.type": "gzip",
		"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "5", "message.timestamp.after.max.ms": "7",
		"message.timestamp.difference.max.ms": "9",
	}
	unbounded := Rules{Topic: "t", Known: true, MaxMessageBytes: math.MaxInt32, SegmentBytes: math.MaxInt32, DecompressedBytes: math.MaxInt32, Before: math.MaxInt64, After: math.MaxInt64}
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

// Of what leaders differ in, the mildest rejects, and the strictest is reported.
func TestTheLimitsOfLeadersAreJoined(t *testing.T) {
	t.Parallel()
	of := func(id int32, n int, compacted bool, compression string) *Rules {
		return &Rules{Known: true, MaxMessageBytes: n + 1, SegmentBytes: n + 2, DecompressedBytes: n + 3, Before: int64(n + 4), After: int64(n + 5), Compacted: compacted, Compression: compression, from: id}
	}
	joined := func(first, second *Rules) (least, mildest Rules) {
		r, mild := *first, *first
		r.mild, r.others = &mild, []int32{7, 8, 9}
		r.join(second)
		require.Equal(t, []int32{7, 9}, r.others)
		r.mild, r.others, r.from, mild.from = nil, nil, 0, 0
		return r, mild
	}
	for _, test := range []struct{ first, second *Rules }{
		{of(1, 100, true, "gzip"), of(8, 200, false, "lz4")},
		{of(1, 200, false, "gzip"), of(8, 100, true, "lz4")},
	} {
		least, mildest := joined(test.first, test.second)
		require.Equal(t, *of(0, 100, true, ""), least)
		require.Equal(t, *of(0, 200, false, ""), mildest)
	}
	least, mildest := joined(of(1, 100, true, "gzip"), of(8, 100, true, "gzip"))
	require.Equal(t, *of(0, 100, true, "gzip"), least)
	require.Equal(t, least, mildest)
}

func TestWhichRulesReject(t *testing.T) {
	t.Parallel()
	fixed, mild := &Rules{Topic: "fixed"}, &Rules{Topic: "mild"}
	for _, test := range []struct {
		rules           Rules
		strict, mildest string
	}{
		{Rules{}, "", ""},
		{Rules{Known: true, fixed: fixed}, "", ""},
		{Rules{Known: true, fixed: fixed, mild: mild}, "mild", "mild"},
		{Rules{Known: true, fixed: fixed, mild: mild, others: []int32{1}}, "fixed", "mild"},
		{Rules{fixed: fixed, others: []int32{1}}, "", ""},
	} {
		require.Equal(t, []string{test.strict, test.mildest}, []string{test.rules.strict().Topic, test.rules.mildest().Topic}, "%+v", test.rules)
	}
}

// The value that a limit has says whether it is the one that was found out about.
func TestTheValueOfALimit(t *testing.T) {
	t.Parallel()
	r := Rules{Known: true, MaxMessageBytes: 10, SegmentBytes: 20, DecompressedBytes: 30, Before: 40, After: 50, Compacted: true}
	bounds := func() (all []int64) {
		for k := range kinds {
			all = append(all, r.bound(k))
		}
		return all
	}
	require.Equal(t, []int64{10, 30, 1, 40, 50, 1}, bounds())
	r.SegmentBytes, r.Compacted = 5, false
	require.Equal(t, []int64{5, 30, 0, 40, 50, 1}, bounds())
	r = Rules{}
	require.Equal(t, []int64{0, 0, 0, 0, 0, 0}, bounds())
}

func TestTheLargestBatch(t *testing.T) {
	t.Parallel()
	refuted := &claims{}
	require.True(t, refuted.refute(&Violation{Kind: Size, bound: 1000}))
	for _, test := range []struct {
		rules Rules
		size  int
		name  string
	}{
		{Rules{Known: true, MaxMessageBytes: 1000, SegmentBytes: 1001}, 1000, MaxMessageBytes},
		{Rules{Known: true, MaxMessageBytes: 1000, SegmentBytes: 1000}, 1000, MaxMessageBytes},
		{Rules{Known: true, MaxMessageBytes: 1000, SegmentBytes: 999}, 999, SegmentBytes},
		{Rules{MaxMessageBytes: 1000, SegmentBytes: 999}, 0, ""},
		{Rules{Known: true, MaxMessageBytes: 1000, SegmentBytes: 1001, claims: refuted}, 0, ""},
	} {
		size, name := test.rules.limit()
		require.Equal(t, []any{test.size, test.name, test.size}, []any{size, name, test.rules.MaxBatchBytes()}, "%+v", test.rules)
	}
}

func TestTheTextOfRules(t *testing.T) {
	t.Parallel()
	r := Rules{Unknown: errors.New("denied"), MaxMessageBytes: 1}
	require.Equal(t, "not known (denied)", r.String())
	r = Rules{Known: true, MaxMessageBytes: 1, SegmentBytes: 2, DecompressedBytes: math.MaxInt32 - 8, Compression: "producer", Before: math.MaxInt64, After: 1500, Partitions: 3}
	text := "max.message.bytes 1, segment.bytes 2, compacted false, compression.type producer, timestamps before any and after 1.5s, partitions 3"
	require.Equal(t, text, r.String())
	r.DecompressedBytes--
	require.Contains(t, r.String(), "segment.bytes 2, max.decompressed.message.bytes 2147483638, compacted")
	r.DecompressedBytes++
	for what, change := range map[string]func(o *Rules){
		"known": func(o *Rules) { o.Known = false }, "another topic": func(o *Rules) { o.ID = [16]byte{1} }, "a limit": func(o *Rules) { o.After++ },
	} {
		o := r
		require.True(t, r.same(&o))
		change(&o)
		require.False(t, r.same(&o), what)
	}
}

func TestATopicIsMissing(t *testing.T) {
	t.Parallel()
	require.True(t, (&Rules{Unknown: kerr.UnknownTopicOrPartition}).Missing())
	require.False(t, (&Rules{Unknown: kerr.UnknownTopicOrPartition, Partitions: 1}).Missing())
	require.False(t, (&Rules{Unknown: kerr.TopicAuthorizationFailed}).Missing())
	require.False(t, (&Rules{Known: true}).Missing())
}

// An answer to DescribeConfigs says what a topic's configs are, and which are set for the topic.
func TestWhatAnAnswerTells(t *testing.T) {
	t.Parallel()
	answer := func(version int16, topic string, configs ...kmsg.DescribeConfigsResponseResourceConfig) *kmsg.DescribeConfigsResponse {
		res := kmsg.NewDescribeConfigsResponseResource()
		res.ResourceName, res.Configs = topic, configs
		resp := kmsg.NewPtrDescribeConfigsResponse()
		resp.SetVersion(version)
		resp.Resources = append(resp.Resources, kmsg.DescribeConfigsResponseResource{ResourceName: "another"}, res)
		return resp
	}
	config := func(name, value string, source kmsg.ConfigSource, byDefault bool) kmsg.DescribeConfigsResponseResourceConfig {
		c := kmsg.NewDescribeConfigsResponseResourceConfig()
		c.Name, c.Source, c.IsDefault = name, source, byDefault
		if value != "" {
			c.Value = &value
		}
		return c
	}
	const topic, static = kmsg.ConfigSourceDynamicTopicConfig, kmsg.ConfigSourceStaticBrokerConfig
	for _, test := range []struct {
		name                string
		resp                *kmsg.DescribeConfigsResponse
		batch, segment      int // what is told
		fixed, fixedSegment int
	}{
		{"set for the topic", answer(1, "t", config("segment.bytes", "", topic, false), config("max.message.bytes", "1000", topic, false)), 1000, math.MaxInt32, 1000, math.MaxInt32},
		{"set for the broker", answer(1, "t", config("max.message.bytes", "1000", static, false), config("segment.bytes", "900", topic, false)), 1000, 900, math.MaxInt32, 900},
		{"an old broker, set for the topic", answer(0, "t", config("max.message.bytes", "1000", 0, false)), 1000, math.MaxInt32, 1000, math.MaxInt32},
		{"an old broker, by default", answer(0, "t", config("max.message.bytes", "1000", 0, true)), 1000, math.MaxInt32, math.MaxInt32, math.MaxInt32},
		{"the least", answer(1, "t", config("max.message.bytes", "1", topic, false)), 1, math.MaxInt32, 1, math.MaxInt32},
	} {
		r := &Rules{Topic: "t", Unknown: errNotRead}
		fill(map[string]*Rules{"t": r}, 7, test.resp)
		require.True(t, r.Known, test.name)
		require.NoError(t, r.Unknown)
		require.Equal(t, int32(7), r.from)
		require.Equal(t, []int{test.batch, test.segment, test.fixed, test.fixedSegment}, []int{r.MaxMessageBytes, r.SegmentBytes, r.fixed.MaxMessageBytes, r.fixed.SegmentBytes}, test.name)
	}
	for _, value := range []string{"", "0", "-1", "many"} {
		r := &Rules{Topic: "t"}
		fill(map[string]*Rules{"t": r}, 7, answer(1, "t", config("max.message.bytes", value, topic, false)))
		require.False(t, r.Known, "%q", value)
		require.Equal(t, ErrNotTold, r.Unknown)
		require.Nil(t, r.fixed)
	}
	refused := answer(1, "t", config("max.message.bytes", "1000", topic, false))
	refused.Resources[1].ErrorCode = kerr.TopicAuthorizationFailed.Code
	r := &Rules{Topic: "t"}
	fill(map[string]*Rules{"t": r}, 7, refused)
	require.False(t, r.Known)
	require.Equal(t, kerr.TopicAuthorizationFailed, r.Unknown)
}

// A bound of timestamps that a time in nanoseconds can't have is none.
func TestTheLongestBoundOfTimestamps(t *testing.T) {
	t.Parallel()
	longest := int64(math.MaxInt64 / time.Millisecond)
	for value, want := range map[string]int64{"9223372036853": longest - 1, "9223372036854": math.MaxInt64, "0": 0} {
		r := &Rules{}
		r.fill(map[string]string{"max.message.bytes": "1000", "message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": value, "message.timestamp.after.max.ms": value})
		require.Equal(t, []int64{want, want}, []int64{r.Before, r.After})
	}
}
