package limits

import (
	"maps"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
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
