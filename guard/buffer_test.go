package guard

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// buffered is a hook that notes how much was in the buffer at most.
type buffered struct {
	mu             sync.Mutex
	records, bytes int
	most           [2]int
}

func (b *buffered) OnProduceRecordBuffered(r *kgo.Record) { b.add(1, len(r.Value)) }

func (b *buffered) OnProduceRecordUnbuffered(r *kgo.Record, _ error) { b.add(-1, -len(r.Value)) }

func (b *buffered) add(records, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records, b.bytes = b.records+records, b.bytes+bytes
	b.most = [2]int{max(b.most[0], b.records), max(b.most[1], b.bytes)}
}

// take returns how much there was at most, and begins anew.
func (b *buffered) take(t *testing.T) [2]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Zero(t, b.records+b.bytes)
	most := b.most
	b.most = [2]int{}
	return most
}

// Writes together fill the buffer, and not more than that. One that is larger goes in parts.
func TestTheBufferIsFilledAndNotMore(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			opts []kgo.Opt
			most [2]int
		}{
			{nil, [2]int{55, 5500}},
			{[]kgo.Opt{kgo.MaxBufferedRecords(1)}, [2]int{1, 100}},
			{[]kgo.Opt{kgo.MaxBufferedRecords(10)}, [2]int{10, 1000}},
			{[]kgo.Opt{kgo.MaxBufferedBytes(1000)}, [2]int{10, 1000}},
			{[]kgo.Opt{kgo.MaxBufferedBytes(700), kgo.MaxBufferedRecords(10)}, [2]int{7, 700}},
			{[]kgo.Opt{kgo.MaxBufferedBytes(1000), kgo.MaxBufferedRecords(7)}, [2]int{7, 700}},
		} {
			hook := &buffered{}
			c, g := newVirtual(t, Config{}, append(test.opts, kgo.WithHooks(hook))...)
			hook.take(t)
			// The second write waits for room that the first gives back.
			c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Count: -1, Pause: time.Second})
			done := make(chan []Verdict)
			go func() { done <- g.Write(t.Context(), records("t", "a", 20, 100)) }()
			require.Empty(t, classes(g.Write(t.Context(), records("t", "b", 35, 100))))
			require.Empty(t, classes(<-done))
			require.Equal(t, test.most, hook.take(t))
			require.Len(t, c.Log("t"), 56)
		}
	})
}

// Records of a blocked partition keep their room, for hours if need be. Writes to other
// topics get through all the same, also those that would fill the whole buffer, and the
// records of each keep their order.
func TestABlockedRecordLeavesTheRestOfTheBuffer(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, opt := range []kgo.Opt{kgo.MaxBufferedRecords(100), kgo.MaxBufferedBytes(10_000)} {
			c, g := newVirtual(t, Config{}, opt)
			c.Topic("blocked", 1)
			blocked := c.AddFault(kafkafake.Fault{Topic: "blocked", Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Count: -1})
			done := make(chan []Verdict)
			go func() { done <- g.Write(t.Context(), records("blocked", "b", 1, 100)) }()
			time.Sleep(time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			writes := make(chan struct{})
			for i := range 3 {
				go func() {
					rs := records("t", fmt.Sprint("w", i), 250, 100)
					vs := g.Write(ctx, rs)
					assert.Empty(t, classes(vs))
					assert.NoError(t, compare(c, rs, vs, func(int) deliverycheck.Record { return deliverycheck.Record{} }))
					assert.True(t, slices.IsSortedFunc(vs, func(a, b Verdict) int { return cmp.Compare(a.Offset, b.Offset) }))
					writes <- struct{}{}
				}()
			}
			for range 3 {
				<-writes
			}
			cancel()
			blocked.Over()
			require.Empty(t, classes(<-done))
			require.True(t, g.room.try(100, 10_000), "all of it is given back")
		}
	})
}

// The same holds where some of the records are to confirm a limit.
func TestTheBufferIsFilledWithRecordsThatConfirmALimit(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			opt  kgo.Opt
			most [2]int
		}{
			{kgo.MaxBufferedRecords(1), [2]int{1, 1000}},
			{kgo.MaxBufferedRecords(4), [2]int{4, 1300}},
			{kgo.MaxBufferedBytes(1000), [2]int{10, 1000}},
			{kgo.MaxBufferedBytes(1400), [2]int{14, 1400}},
		} {
			hook := &buffered{}
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
			c.Topic("t", 1, "max.message.bytes=900")
			g := newGuard(t, c, Config{}, append(c.Opts(), test.opt, kgo.WithHooks(hook))...)
			rs := records("t", "r", 40, 100)
			want := map[int]Class{}
			for _, i := range []int{0, 20} {
				rs[i] = record("t", fmt.Sprint("large", i), 1000)
				want[i] = SizeExceeded
			}
			vs := g.Write(t.Context(), rs)
			require.Equal(t, want, classes(vs))
			account(t, c, rs, vs)
			require.Equal(t, test.most, hook.take(t))
		}
	})
}

// A record without a key does not wait for another one that is to hear whether a limit holds.
func TestRecordsWithoutAKeyDoNotWaitForAProbe(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.ConfigsOfAnotherTopic(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1)
		g := newGuard(t, c, Config{}, c.Opts()...)
		rs := []*kgo.Record{record("t", "first", 2000), record("t", "second", 3000), record("t", "behind", 10)}
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		require.Less(t, vs[2].Offset, vs[1].Offset)
	})
}

// A write waits for the record with which another one finds out whether a limit holds, a
// second at most. Then it sends its own.
func TestTwoWritesConfirmALimit(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			pause    time.Duration
			requests int
			rejected bool
			takes    time.Duration
		}{
			{700 * time.Millisecond, 1, false, 700 * time.Millisecond},
			{3 * time.Second, 2, true, time.Second + 3*time.Second},
		} {
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond}, kfake.NumBrokers(2))
			c.Topic("t", 2, "max.message.bytes=900")
			for p := range int32(2) {
				require.NoError(t, c.MoveTopicPartition("t", p, p))
			}
			g := newGuard(t, c, Config{}, append(c.Opts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
			require.Empty(t, classes(g.Write(t.Context(), records("t", "first", 1, 10))))
			answers := c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Count: -1, Pause: test.pause})
			began := time.Now()
			done := make(chan []Verdict, 1)
			go func() { done <- g.Write(t.Context(), []*kgo.Record{record("t", "large a", 1000)}) }()
			time.Sleep(10 * time.Millisecond)
			b := record("t", "large b", 1000)
			b.Partition = 1
			vs := g.Write(t.Context(), []*kgo.Record{b})
			require.Equal(t, map[int]Class{0: SizeExceeded}, classes(vs))
			require.Equal(t, test.rejected, vs[0].BatchRejected)
			require.InDelta(t, test.takes, time.Since(began), float64(100*time.Millisecond))
			require.Equal(t, map[int]Class{0: SizeExceeded}, classes(<-done))
			require.Equal(t, test.requests, answers.Hits())
		}
	})
}

// A reported limit that does not hold costs one request: what waited for its answer goes
// together.
func TestALimitThatDoesNotHoldCostsOneRequest(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.ConfigsOfAnotherTopic(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1)
		g := newGuard(t, c, Config{}, c.Opts()...)
		requests := c.Count(kmsg.Produce)
		rs := records("t", "r", 20, 2000)
		for i, r := range rs {
			r.Key = fmt.Append(nil, i)
		}
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		require.Equal(t, 2, requests.Hits())
	})
}

// Records that are to confirm a limit go behind the others of their write.
func TestRecordsThatConfirmALimitGoBehindTheOthers(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.ConfigsOfAnotherTopic(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1)
		g := newGuard(t, c, Config{}, c.Opts()...)
		rs := []*kgo.Record{record("t", "large", 2000), record("t", "a", 10), record("t", "b", 10)}
		for i, r := range rs {
			r.Key = fmt.Append(nil, i)
		}
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		require.Equal(t, []int64{2, 0, 1}, []int64{vs[0].Offset, vs[1].Offset, vs[2].Offset})
	})
}

// An ack of a record that was sent alone for its size raises the size that was learned.
func TestAnAckRaisesTheSizeThatWasLearned(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1, "max.message.bytes=20000")
		g := newGuard(t, c, Config{IgnoreRules: true}, c.Opts()...)
		require.Equal(t, map[int]Class{0: SizeExceeded}, classes(g.Write(t.Context(), large("learn"))))
		c.Set("t", "max.message.bytes", "200000")
		time.Sleep(2 * time.Second) // a rejection proves nothing for longer
		for _, want := range []int{4, 1} {
			requests := c.Count(kmsg.Produce)
			rs := records("t", fmt.Sprint("r", want), 5, 10)
			for _, i := range []int{1, 2, 3} {
				rs[i] = record("t", fmt.Sprint("large", want, i), 40_000)
			}
			vs := g.Write(t.Context(), rs)
			require.Empty(t, classes(vs))
			account(t, c, rs, vs)
			require.Equal(t, want, requests.Hits())
		}
	})
}

func TestDistinctNames(t *testing.T) {
	t.Parallel()
	var d distinct
	for _, name := range []string{"a", "a", "b", "a", "b", "c", "c", "a"} {
		d.add(name)
	}
	require.Equal(t, []string{"a", "b", "c"}, d.names)
}
