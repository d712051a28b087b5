package guard

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A record without a timestamp that failed, and is written again hours later, has the time of
// the second write: with that of the first one, it might be too old by now.
func TestARecordThatFailedIsStampedAnew(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1, "max.message.bytes=1000")
		g := newGuard(t, c, Config{IgnoreRules: true}, c.Opts()...)
		own := time.Now().Add(-time.Hour)
		rs := []*kgo.Record{record("t", "small", 10), record("t", "big", 2000), record("t", "big with a time", 2000)}
		rs[2].Timestamp = own
		require.Equal(t, map[int]Class{1: SizeExceeded, 2: SizeExceeded}, classes(g.Write(t.Context(), rs)))
		require.Zero(t, rs[1].Timestamp)
		require.WithinDuration(t, own, rs[2].Timestamp, time.Millisecond)

		time.Sleep(2 * time.Hour)
		rs = rs[1:]
		for _, r := range rs {
			r.Value = r.Value[:500]
		}
		began := time.Now()
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		require.WithinRange(t, vs[0].Timestamp, began.Truncate(time.Millisecond), time.Now())
		require.WithinDuration(t, own, vs[1].Timestamp, time.Millisecond)
	})
}

// A time whose milliseconds do not fit into 64 bits is never sent as another time.
func TestTimesThatMillisecondsCannotCountFail(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{})
		const wraps = math.MaxUint64/1000 + 1 // seconds, to the milliseconds of 1970 again
		rs := records("t", "r", 5, 10)
		for i, seconds := range []int64{0, wraps, wraps + time.Now().Unix(), -wraps, math.MaxInt64} {
			rs[i].Timestamp = time.Unix(seconds, 0)
		}
		vs := g.Write(t.Context(), rs)
		require.Equal(t, map[int]Class{1: InvalidRecord, 2: InvalidRecord, 3: InvalidRecord, 4: InvalidRecord}, classes(vs))
		account(t, c, rs, vs)
	})
}

// Where the broker stamps records, verdicts have its time.
func TestTheBrokersTimestamp(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1, "message.timestamp.type=LogAppendTime")
		g := newGuard(t, c, Config{}, c.Opts()...)
		rs := records("t", "r", 3, 10)
		for _, r := range rs {
			r.Timestamp = time.Now().Add(-time.Hour)
		}
		began := time.Now()
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		for _, v := range vs {
			require.WithinRange(t, v.Timestamp, began.Truncate(time.Millisecond), time.Now())
		}
	})
}
