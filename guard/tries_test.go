package guard

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// What is queued when a write gives up ends at once: what the broker has not answered to gets a
// second.
func TestWhatIsQueuedEndsWithItsWrite(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Hour}})
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed, Count: -1})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		vs := g.Write(ctx, records("t", "r", 3, 10))
		require.Equal(t, 5*time.Second, time.Since(began))
		require.Equal(t, []any{NotWritten, Unauthorized}, []any{vs[2].Outcome, vs[2].Class})
	})
}

// A record that comes in doubt after record_delivery_timeout ends within a second.
func TestADoubtAfterTheDeliveryTimeoutEndsWithinASecond(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			pause, ends time.Duration // between two tries; of the write
		}{
			{2600 * time.Millisecond, 6 * time.Second},
			{3600 * time.Millisecond, 8 * time.Second},
		} {
			c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}}, kgo.RecordDeliveryTimeout(5*time.Second),
				kgo.RetryBackoffFn(func(int) time.Duration { return test.pause }))
			c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Count: 2})
			c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Skip: 2, Count: -1})
			began := time.Now()
			vs := g.Write(t.Context(), records("t", "r", 1, 10))
			require.Equal(t, []any{Unknown, Transient}, []any{vs[0].Outcome, vs[0].Class}, "%v", vs[0].Err())
			require.Equal(t, test.ends, time.Since(began))
		}
	})
}

// timedRetries notes when records are sent again.
type timedRetries struct {
	NoObserver
	mu    sync.Mutex
	began time.Time
	at    []time.Duration
}

func (r *timedRetries) OnRetry(Class, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, time.Since(r.began).Round(100*time.Millisecond))
}

func (r *timedRetries) take() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// Before records are held for a topic or a partition that is missing, metadata are read, for
// five seconds at most.
func TestMetadataAreReadBeforeRecordsAreHeld(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, answered := range []bool{true, false} {
			for _, what := range []string{"topic", "partition"} {
				o := &timedRetries{}
				c, g := newVirtual(t, Config{Permanent: []Class{SizeExceeded}, Retry: Retry{InitialInterval: time.Minute}, Observer: o}, kgo.UnknownTopicRetries(0), kgo.RecordPartitioner(kgo.ManualPartitioner()))
				metadata := c.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Do: kafkafake.Delay, Count: -1})
				want := time.Duration(0)
				if !answered {
					metadata.Pause, want = time.Hour, limits.Wait
				}
				rs := records("t", "r", 1, 10)
				class := Unroutable
				if what == "topic" {
					class = UnknownTopic
					c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownTopicOrPartition, Count: -1})
				} else {
					rs[0].Partition = 7
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				o.began = time.Now()
				vs := g.Write(ctx, rs)
				cancel()
				if what == "partition" && !answered {
					class = Transient // it may be there
				}
				require.Equal(t, []any{NotWritten, class}, []any{vs[0].Outcome, vs[0].Class}, "%v", vs[0].Err())
				require.Equal(t, []time.Duration{want}, o.take(), "a %s, metadata answered: %v", what, answered)
			}
		}
	})
}

// recordsIn returns how many records the first batch of a produce request has.
func recordsIn(r kmsg.Request) int {
	b := kmsg.NewRecordBatch()
	_ = b.ReadFrom(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records)
	return int(b.NumRecords)
}

// A batch is halved after the connection was closed three times on its request. Its parts are
// halved the next time.
func TestABatchIsHalvedAfterThreeClosedConnections(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			closed int // connections that are closed at most
			sizes  []int
		}{
			{2, []int{5, 5, 5}},
			{100, []int{5, 5, 5, 2, 2, 1}},
		} {
			var mu sync.Mutex
			var sizes []int
			c, g := newVirtual(t, Config{IgnoreRules: true})
			c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: test.closed, When: func(r kmsg.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				sizes = append(sizes, recordsIn(r))
				return recordsIn(r) > 2
			}})
			rs := records("t", "r", 5, 50_000)
			vs := g.Write(t.Context(), rs)
			require.Empty(t, classes(vs))
			account(t, c, rs, vs)
			mu.Lock()
			require.Equal(t, test.sizes, sizes)
			mu.Unlock()
		}
	})
}

// Requests of a size that was answered before are not made smaller for a closed connection, and
// no error says so.
func TestABatchIsNotHalvedForAnyClosedConnection(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		var mu sync.Mutex
		var sizes []int
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}}, kgo.RetryBackoffFn(retryBackoff))
		c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: 10, When: func(r kmsg.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			sizes = append(sizes, recordsIn(r))
			return true
		}})
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 5, 100))))
		mu.Lock()
		require.Equal(t, []int{5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5}, sizes)
		mu.Unlock()

		c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: -1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		vs := g.Write(ctx, records("t", "s", 5, 100))
		require.Equal(t, Transient, vs[0].Class)
		require.NotContains(t, vs[0].Err().Error(), "the connection is closed without an answer on requests")
	})
}

// A record that is sent to confirm a limit, and rejected with an ambiguous code, is sent again
// when a second rejection can count. Any other batch is sent again at once.
func TestAnAmbiguousCodeForAProbe(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			size        int // the reported limit is 600
			least, most time.Duration
		}{{100, 0, time.Second}, {2000, 3 * time.Second, 5 * time.Second}} {
			c := kafkafake.StartDialect(t, kafkafake.ConfigsOfAnotherTopic(), &kafkafake.Network{Latency: time.Millisecond})
			c.Topic("t", 1)
			g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Second}}, c.Opts()...)
			c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownServerError})
			rs := records("t", "r", 1, test.size)
			rs[0].Key = []byte("k") // the reported topic is compacted
			began := time.Now()
			vs := g.Write(t.Context(), rs)
			require.Empty(t, classes(vs))
			account(t, c, rs, vs)
			require.GreaterOrEqual(t, time.Since(began), test.least)
			require.Less(t, time.Since(began), test.most)
		}
	})
}

// A single record that ends each connection is sent again with pauses.
func TestARecordThatEndsEachConnectionIsRetriedWithPauses(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, IgnoreRules: true}, kgo.RetryBackoffFn(retryBackoff))
		fault := c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: -1, For: time.Minute})
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 1, 50_000))))
		require.LessOrEqual(t, fault.Hits(), 80)
		require.GreaterOrEqual(t, fault.Hits(), 40)
	})
}

// On a link on which each try takes long, pauses are longer, so that the tries do not fill it.
func TestARecordThatEndsEachConnectionLeavesRoomOnASlowLink(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct{ rate, least, most int }{{5_000, 7, 11}, {1_000_000, 100, 400}} {
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond, Rate: test.rate})
			c.Topic("t", 1)
			g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Second}, IgnoreRules: true}, append(c.Opts(), kgo.RetryBackoffFn(retryBackoff))...)
			fault := c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: -1, For: 5 * time.Minute})
			require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 1, 20_000))))
			require.GreaterOrEqual(t, fault.Hits(), test.least)
			require.LessOrEqual(t, fault.Hits(), test.most)
		}
	})
}

// Batches of two are halved, too.
func TestABatchOfTwoIsHalved(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{IgnoreRules: true})
		cut := c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: -1, When: func(r kmsg.Request) bool { return recordsIn(r) > 1 }})
		rs := records("t", "r", 2, 10_000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.Empty(t, classes(g.Write(ctx, rs)))
		require.Equal(t, 3, cut.Hits())
	})
}

// With retries, record_delivery_timeout ends what is in doubt alone: other records wait on.
func TestTheDeliveryTimeoutEndsDoubtAlone(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}}, kgo.RecordDeliveryTimeout(5*time.Second), kgo.RetryBackoffFn(retryBackoff))
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Count: -1, For: 20 * time.Second})
		began := time.Now()
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 2, 10))))
		require.GreaterOrEqual(t, time.Since(began), 20*time.Second)
	})
}

// A write that gives up while a rejection is looked at reports what the broker has answered.
func TestAWriteGivesUpDuringIsolation(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{})
		time.Sleep(2 * limits.Fresh)
		c.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Do: kafkafake.DelayAnswer, Pause: time.Hour, Count: -1})
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Count: -1})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		vs := g.Write(ctx, records("t", "r", 3, 10))
		require.LessOrEqual(t, time.Since(began), 2*time.Second+giveUpGrace)
		for _, v := range vs {
			require.Equal(t, []any{NotWritten, Transient, true}, []any{v.Outcome, v.Class, v.BatchRejected}, "%v", v.Err())
		}
	})
}
