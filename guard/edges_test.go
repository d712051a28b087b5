package guard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

func TestAClassWithoutAName(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"transient", "class_8", "class_9"}, []string{Class(7).String(), Class(8).String(), Class(9).String()})
	require.Equal(t, []string{"unknown", "delivered", "not_written", "unknown"}, []string{Outcome(0).String(), Outcome(1).String(), Outcome(2).String(), Outcome(3).String()})
}

// What is no text in a cause can't spoil a log line.
func TestAFailuresTextIsPrintable(t *testing.T) {
	t.Parallel()
	text := func(cause string) string {
		return (&Failure{Class: Refused, Outcome: NotWritten, Cause: errors.New(cause)}).Error()
	}
	require.Equal(t, "refused: a?b", text("a\xffb"))
	require.Equal(t, "refused: a?b", text("a\ufffdb"))
	require.Equal(t, "refused: a?b", text("a\nb"))
	require.Equal(t, "refused: aüb", text("aüb"))
}

func TestHowLongTheClientWaitsBetweenTries(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 20: time.Second} {
		for range 100 {
			require.InDelta(t, want, retryBackoff(failures), float64(want)*0.21)
		}
	}
}

// A wait for bytes that is given up gives back the records that it had taken.
func TestAWaitForBytesGivesBackTheRecords(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		r := newRoom(10, 1000)
		require.True(t, r.try(1, 1000))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.take(ctx, 9, 1), context.DeadlineExceeded)
		require.True(t, r.try(9, 0))
		least := newRoom(1, 1)
		require.False(t, least.fits(1, 2))
		require.False(t, least.try(1, 2))
		require.True(t, least.try(1, 1))
	})
}

// A write whose time is over goes on for ten seconds while records end.
func TestAWriteThatGetsOnHasTenSecondsMore(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		const most = 5 * time.Second
		for _, test := range []struct{ progress, ends time.Duration }{
			{0, most + time.Second},
			{most + 1500*time.Millisecond, most + 3*time.Second},
			{time.Hour, most + 10*time.Second},
		} {
			w := &write{ctx: t.Context(), began: time.Now(), sent: partition.NewWrite()}
			cancel := w.endAfter(most)
			ticker := time.NewTicker(100 * time.Millisecond)
			go func() {
				for range int(min(test.progress, time.Minute) / (100 * time.Millisecond)) {
					<-ticker.C
					w.sent.Progress.Add(1)
				}
			}()
			<-w.ctx.Done()
			require.Equal(t, test.ends, time.Since(w.began))
			require.ErrorIs(t, context.Cause(w.ctx), errBudget)
			cancel()
			time.Sleep(2 * time.Minute)
			ticker.Stop()
		}
	})
}

// timedCounts notes when how many records wait for a broker.
type timedCounts struct {
	NoObserver
	began  time.Time
	counts []string
}

func (w *timedCounts) OnWaits(why string, records int) {
	if why == "transient" {
		w.counts = append(w.counts, fmt.Sprint(time.Since(w.began).Round(100*time.Millisecond), " ", records))
	}
}

// Each second, the records that have got their acks are counted no more.
func TestRecordsWithoutAnAckAreCountedEachSecond(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		w := &timedCounts{}
		c, g := newVirtual(t, Config{Observer: w}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		c.Topic("two", 2)
		for p, pause := range []time.Duration{1200 * time.Millisecond, 4500 * time.Millisecond} {
			c.AddFault(kafkafake.Fault{Topic: "two", Partitions: []int32{int32(p)}, Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Count: -1, For: pause})
		}
		rs := records("two", "r", 2, 10)
		rs[1].Partition = 1
		w.began = time.Now()
		require.Empty(t, classes(g.Write(t.Context(), rs)))
		require.Equal(t, []string{"1s 1", "1s 2", "2s 1"}, w.counts[:3])
		require.Len(t, w.counts, 4)
		require.True(t, strings.HasSuffix(w.counts[3], " 0"))
	})
}

// Where nothing is retried, record_delivery_timeout ends what was never written, too.
func TestTheDeliveryTimeoutWithoutRetries(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{}, kgo.RecordDeliveryTimeout(5*time.Second))
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Count: -1})
		began := time.Now()
		vs := g.Write(t.Context(), records("t", "r", 2, 10))
		require.InDelta(t, 5*time.Second, time.Since(began), float64(100*time.Millisecond))
		require.Equal(t, []any{NotWritten, Transient}, []any{vs[0].Outcome, vs[0].Class}, "%v", vs[0].Err())
		require.ErrorIs(t, vs[0].Err(), kerr.NotEnoughReplicas)
	})
}

// A topic that is asked for without end is never held. When the write ends, its class says why.
func TestAMissingTopicThatIsNotHeldSaysWhy(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, Observer: n}, kgo.UnknownTopicRetries(-1), kgo.RetryBackoffFn(retryBackoff))
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownTopicOrPartition, Count: -1})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		vs := g.Write(ctx, records("t", "r", 1, 10))
		require.Equal(t, []any{NotWritten, UnknownTopic}, []any{vs[0].Outcome, vs[0].Class}, "%v", vs[0].Err())
		told := n.take()
		require.Len(t, told, 2)
		require.ErrorContains(t, told[0].Cause, "unknown_topic: topic t partition 0: ")
		require.NotContains(t, told[0].Cause.Error(), "may have been written")
	})
}

// Records for a partition that is missing are held where that is not permanent, and go out once
// it is added.
func TestAMissingPartitionMayBeHeld(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Permanent: []Class{SizeExceeded}, Retry: Retry{InitialInterval: time.Second}, Observer: n}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		time.AfterFunc(5*time.Second, func() { _, _ = c.Admin.CreatePartitions(context.Background(), 2, "t") })
		rs := records("t", "r", 2, 10)
		rs[1].Partition = 2
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		told := n.take()
		require.Len(t, told, 2)
		require.Equal(t, []any{"unroutable", 1, Unroutable}, []any{told[0].Why, told[0].Records, told[0].Class})
		require.EqualError(t, told[0].Cause, "unroutable: topic t partition 2: no such partition: the topic has 1")
		require.True(t, told[1].Over)
		require.False(t, told[1].GivenUp)
	})
}

// An endpoint that closes the connection on large requests gets smaller ones, down to one
// record. What can't be made smaller says so when the write ends.
func TestRequestsThatEndTheConnectionGetSmaller(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		d := kafkafake.SmallSockets()
		d.Configs = kafkafake.Denied
		c := kafkafake.StartDialect(t, d, &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1)
		g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Second}}, append(c.Opts(), kgo.RetryBackoffFn(retryBackoff))...)
		for n := 2; n <= 3; n++ {
			rs := records("t", fmt.Sprint("r", n), n, 150_000)
			vs := g.Write(t.Context(), rs)
			require.Empty(t, classes(vs))
			account(t, c, rs, vs)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		vs := g.Write(ctx, records("t", "large", 1, 250_000))
		require.Equal(t, Transient, vs[0].Class)
		require.ErrorContains(t, vs[0].Err(), "the connection is closed without an answer on requests of 250")
		require.ErrorContains(t, vs[0].Err(), "check the limit of the endpoint (socket.request.max.bytes)")
	})
}

// A record is not sent before one of its key that waits to hear whether a limit holds.
func TestWhatWaitsForAProbeIsNotOvertakenByItsKey(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.ConfigsOfAnotherTopic(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1)
		g := newGuard(t, c, Config{}, c.Opts()...)
		rs := []*kgo.Record{record("t", "first", 2000), record("t", "second", 3000), record("t", "behind", 10), record("t", "other", 10)}
		for i, key := range []string{"a", "b", "b", "c"} {
			rs[i].Key = []byte(key)
		}
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		require.Less(t, vs[1].Offset, vs[2].Offset)
		require.Less(t, vs[3].Offset, vs[1].Offset, "those of other keys do not wait")
	})
}

// What is told is told in turn: an Observer that takes its time is not called twice at a time.
func TestAnObserverIsCalledInTurn(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		var at, most atomic.Int32
		var mu sync.Mutex
		var order []int
		ws := &waits{tell: func(Waiting) {}, count: func(_ string, n int) {
			most.Store(max(most.Load(), at.Add(1)))
			time.Sleep(time.Second)
			at.Add(-1)
			mu.Lock()
			defer mu.Unlock()
			order = append(order, n)
		}}
		slots := slotsFor("t", 3)
		for _, s := range slots {
			go ws.hold(s, &Failure{Class: Unauthorized, Topic: "t"})
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		mu.Lock()
		require.Equal(t, []int{1, 2, 3}, order)
		mu.Unlock()
		require.EqualValues(t, 1, most.Load())
		for _, s := range slots {
			ws.release(s, false)
		}
	})
}

// When a wait was told of last is forgotten after a minute: topics come and go.
func TestWaitsOfOldAreForgotten(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		ws := (&notices{}).waits()
		hold := func(topic string) {
			s := slotsFor(topic, 1)[0]
			ws.hold(s, &Failure{Class: Unauthorized, Topic: topic})
			time.Sleep(holdTogether)
			synctest.Wait()
			ws.release(s, false)
		}
		hold("a")
		time.Sleep(noticeEvery - holdTogether - 1)
		hold("b")
		require.Len(t, ws.told, 2, "it is told of less than a minute ago")
		time.Sleep(time.Nanosecond)
		hold("c")
		require.Len(t, ws.told, 2)
		require.NotContains(t, ws.told, waitKey{"a", "unauthorized"})
	})
}

// The size of the largest request is the least that a broker takes.
func TestTheRequestLimitIsTheLeast(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t, kfake.NumBrokers(2))
	g := newGuard(t, c, Config{})
	values := map[string]string{"0": "200", "1": "100"}
	c.ControlKey(int16(kmsg.DescribeConfigs), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, asked := range r.(*kmsg.DescribeConfigsRequest).Resources {
			res, other, none, limit := kmsg.NewDescribeConfigsResponseResource(), kmsg.NewDescribeConfigsResponseResourceConfig(), kmsg.NewDescribeConfigsResponseResourceConfig(), kmsg.NewDescribeConfigsResponseResourceConfig()
			res.ResourceType, res.ResourceName = asked.ResourceType, asked.ResourceName
			other.Name, other.Value = "log.segment.bytes", kmsg.StringPtr("1")
			none.Name, limit.Name, limit.Value = "socket.request.max.bytes", "socket.request.max.bytes", kmsg.StringPtr(values[asked.ResourceName])
			res.Configs = append(res.Configs, other, none, limit)
			resp.Resources = append(resp.Resources, res)
		}
		return resp, nil, true
	})
	for range 3 {
		n, err := g.RequestLimit(t.Context())
		require.NoError(t, err)
		require.Equal(t, 100, n)
		values["0"], values["1"] = values["1"], values["0"]
	}
	values["0"], values["1"] = "-1", "0"
	n, err := g.RequestLimit(t.Context())
	require.Zero(t, n)
	require.EqualError(t, err, "no broker reports its socket.request.max.bytes")
	values["1"] = "many"
	n, err = g.RequestLimit(t.Context())
	require.Zero(t, n)
	require.ErrorContains(t, err, "reading socket.request.max.bytes of broker 1: ")
}
