package guard

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

func TestRawSizeIsTheSizeOnTheWire(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	var wire atomic.Int64
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1, Observe: true, When: func(r kmsg.Request) bool {
		wire.Store(int64(len(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records)))
		return true
	}})
	g := newGuard(t, c, Config{MaxMessageBytes: 1 << 21})
	for _, r := range []kgo.Record{
		{},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("key"), Value: []byte("value")},
		{Value: bytes.Repeat([]byte("v"), 54)},
		{Value: bytes.Repeat([]byte("v"), 55)},
		{Value: bytes.Repeat([]byte("v"), 63)},
		{Value: bytes.Repeat([]byte("v"), 64)},
		{Value: bytes.Repeat([]byte("v"), 8191)},
		{Value: bytes.Repeat([]byte("v"), 8192)},
		{Key: bytes.Repeat([]byte("k"), 8192), Value: bytes.Repeat([]byte("v"), 1_000_000)},
		{Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}, {Key: "null"}, {Key: strings.Repeat("ü", 40), Value: bytes.Repeat([]byte("v"), 300)}}},
	} {
		r.Topic = "t"
		vs := g.Write(context.Background(), []*kgo.Record{&r})
		require.Empty(t, classes(vs))
		require.EqualValues(t, wire.Load(), rawSize(&r))
	}
}

// A limit that is lowered, and can't be read, is found by halves, not record by record.
func TestALoweredLimitIsFoundByHalves(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	g := newGuard(t, c, Config{IgnoreRules: true})
	batch := func() (rs []*kgo.Record) {
		for range 800 {
			rs = append(rs, &kgo.Record{Topic: "t", Value: bytes.Repeat([]byte("v"), 1000)})
		}
		return rs
	}
	require.Empty(t, classes(g.Write(t.Context(), batch())))
	c.Set("t", "max.message.bytes", "20000")
	requests := c.Count(kmsg.Produce)
	require.Empty(t, classes(g.Write(t.Context(), batch())))
	require.Less(t, requests.Hits(), 200)
}

// A batch that is too large as a whole is halved, also if one record is much smaller than
// all others.
func TestABatchWithOneSmallRecordIsHalved(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=20000")
	g := newGuard(t, c, Config{IgnoreRules: true})
	rs := []*kgo.Record{{Topic: "t", Value: []byte("small")}}
	for range 800 {
		rs = append(rs, &kgo.Record{Topic: "t", Value: bytes.Repeat([]byte("v"), 1000)})
	}
	requests := c.Count(kmsg.Produce)
	require.Empty(t, classes(g.Write(t.Context(), rs)))
	require.Less(t, requests.Hits(), 200)
}

// Batches stay below a megabyte where the topic accepts larger ones.
func TestBatchesStayBelowAMegabyte(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{})
		c.Topic("large", 1, "max.message.bytes=10000000")
		var mu sync.Mutex
		var sizes []int
		c.AddFault(kafkafake.Fault{Topic: "large", Do: kafkafake.Delay, Count: -1, When: func(r kmsg.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			sizes = append(sizes, len(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records))
			return true
		}})
		require.Empty(t, classes(g.Write(t.Context(), records("large", "r", 200, 10_000))))
		mu.Lock()
		defer mu.Unlock()
		require.InDelta(t, 955_000, slices.Max(sizes), 5000)
	})
}
