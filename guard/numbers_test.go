package guard

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/isolate"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// inVirtualTime runs a test whose time passes at once.
func inVirtualTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // what is on its way arrives
		test(t)
	})
}

// newVirtual returns a guard on a broker, in virtual time and on a network in memory.
func newVirtual(t *testing.T, config Config, opts ...kgo.Opt) (*kafkafake.Cluster, *Guard) {
	t.Helper()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
	c.Topic("t", 1)
	g := newGuard(t, c, config, append(c.Opts(), opts...)...)
	require.Empty(t, classes(g.Write(t.Context(), records("t", "first", 1, 10))))
	return c, g
}

// notices are what waits tells, in virtual time.
type notices struct {
	NoObserver
	mu   sync.Mutex
	told []Waiting
}

func (n *notices) OnWaiting(w Waiting) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = append(n.told, w)
}

// take returns what was told since the last time.
func (n *notices) take() []Waiting {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	told := n.told
	n.told = nil
	return told
}

func (n *notices) waits() *waits { return &waits{tell: n.OnWaiting, count: func(string, int) {}} }

func slotsFor(topic string, n int) (slots []*slot) {
	for range n {
		s := &slot{}
		s.Record.Record = &kgo.Record{Topic: topic}
		slots = append(slots, s)
	}
	return slots
}

func TestAWaitIsToldAfterTenSecondsAndEachMinute(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, gaveUp := range []bool{false, true} {
			n := &notices{}
			ws, began := n.waits(), time.Now()
			leave := ws.forBuffer(slotsFor("t", 3))
			time.Sleep(noticeAfter - 1)
			require.Empty(t, n.take())
			time.Sleep(time.Nanosecond)
			want := Waiting{Topic: "t", Why: whyBuffer, Records: 3, Since: began}
			require.Equal(t, []Waiting{want}, n.take())
			time.Sleep(noticeEvery - 1)
			require.Empty(t, n.take())
			time.Sleep(time.Nanosecond)
			require.Equal(t, []Waiting{want}, n.take())
			leave(gaveUp)
			require.Equal(t, []Waiting{{Topic: "t", Why: whyBuffer, Since: began, Over: true, GivenUp: gaveUp}}, n.take())
			time.Sleep(2 * noticeEvery)
			require.Empty(t, n.take())
		}
	})
}

// A wait that is over before it was told of is not told of at all.
func TestAShortWaitIsNotTold(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		leave := n.waits().forBuffer(slotsFor("t", 3))
		time.Sleep(noticeAfter - 1)
		leave(false)
		time.Sleep(noticeEvery)
		require.Empty(t, n.take())
	})
}

// What is held is told of at once, and if it comes and goes, once a minute.
func TestWhatIsHeldIsToldOfOnceAMinute(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		ws := n.waits()
		f := &Failure{Class: Unauthorized, Topic: "t"}
		hold := func() (release func(gaveUp bool)) {
			slots := slotsFor("t", 2)
			for _, s := range slots {
				ws.hold(s, f)
			}
			return func(gaveUp bool) {
				for _, s := range slots {
					require.Same(t, f, ws.heldFor(s))
					ws.release(s, gaveUp)
				}
			}
		}
		first := time.Now()
		release := hold()
		time.Sleep(holdTogether - 1)
		require.Empty(t, n.take(), "others may be held with it")
		time.Sleep(time.Nanosecond)
		require.Equal(t, []Waiting{{Topic: "t", Why: "unauthorized", Class: Unauthorized, Records: 2, Since: first, Cause: f}}, n.take())
		release(true)
		require.Equal(t, []Waiting{{Topic: "t", Why: "unauthorized", Class: Unauthorized, Since: first, Cause: f, Over: true, GivenUp: true}}, n.take())

		time.Sleep(time.Second)
		second := time.Now()
		release = hold()
		time.Sleep(noticeEvery - time.Second - 1)
		require.Empty(t, n.take(), "it was told of less than a minute ago")
		time.Sleep(time.Nanosecond)
		require.Equal(t, []Waiting{{Topic: "t", Why: "unauthorized", Class: Unauthorized, Records: 2, Since: second, Cause: f}}, n.take())
		release(false)
		require.Len(t, n.take(), 1)

		time.Sleep(noticeEvery)
		release = hold()
		release(false)
		told := n.take()
		require.Len(t, told, 2, "a minute later it is told of, although it is over at once")
		require.Equal(t, 2, told[0].Records)
		require.True(t, told[1].Over)
	})
}

// A record counts for one thing at a time.
func TestARecordThatIsHeldForSomethingElseMoves(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		counts := map[string]int{}
		ws := &waits{tell: func(Waiting) {}, count: func(why string, n int) { counts[why] = n }}
		slots := slotsFor("t", 2)
		for range 2 {
			ws.hold(slots[0], &Failure{Class: Unauthorized, Topic: "t"})
			ws.hold(slots[1], &Failure{Class: Unauthorized, Topic: "t"})
		}
		require.Equal(t, map[string]int{"unauthorized": 2}, counts)
		ws.hold(slots[0], &Failure{Class: UnknownTopic, Topic: "t"})
		require.Equal(t, map[string]int{"unauthorized": 1, "unknown_topic": 1}, counts)
		for range 2 {
			ws.release(slots[0], false)
			ws.release(slots[1], false)
		}
		require.Equal(t, map[string]int{"unauthorized": 0, "unknown_topic": 0}, counts)
	})
}

// The buffer is given back: writes that each fill it all get through, and one that is larger
// goes in parts.
func TestTheBufferIsGivenBack(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, opts := range [][]kgo.Opt{{kgo.MaxBufferedBytes(1000)}, {kgo.MaxBufferedRecords(10)}, {kgo.MaxBufferedBytes(1000), kgo.MaxBufferedRecords(10)}} {
			_, g := newVirtual(t, Config{}, opts...)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			for _, n := range []int{10, 10, 10, 35, 10} {
				require.Empty(t, classes(g.Write(ctx, records("t", "r", n, 100))))
			}
			cancel()
			require.True(t, g.room.try(10, 1000), "all of it is there")
			g.room.giveBack(10, 1000)
		}
	})
}

func TestTheRoomOfTheBuffer(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		r := newRoom(10, 1000)
		require.True(t, r.fits(10, 1000))
		require.False(t, r.fits(11, 1000))
		require.False(t, r.fits(10, 1001))
		require.True(t, r.try(10, 999))
		require.False(t, r.try(1, 0))
		r.giveBack(10, 999)
		require.False(t, r.try(1, 1001))
		require.True(t, r.try(10, 1000), "what was taken of the records was given back")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.take(ctx, 1, 1), context.DeadlineExceeded)
		r.giveBack(1, 0)
		require.Error(t, r.take(ctx, 1, 1))
		require.True(t, r.try(1, 0), "what was taken of the records was given back")
		go func() {
			time.Sleep(time.Second)
			r.giveBack(10, 1000)
		}()
		require.NoError(t, r.take(t.Context(), 10, 1000))
		all := newRoom(10, 0)
		require.True(t, all.fits(10, 1<<40))
		require.True(t, all.try(10, 1<<40))
		all.giveBack(10, 1<<40)
	})
}

// When a write gives up, a broker has a second to answer what is in flight.
func TestABrokerHasASecondWhenAWriteGivesUp(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, late := range []bool{false, true} {
			c, g := newVirtual(t, Config{})
			pause := 2*time.Second + giveUpGrace - 100*time.Millisecond
			want := Delivered
			if late {
				pause, want = 2*time.Second+giveUpGrace+100*time.Millisecond, Unknown
			}
			c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: pause})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			vs := g.Write(ctx, records("t", "late", 1, 10))
			cancel()
			require.Equal(t, want, vs[0].Outcome, "late: %v: %v", late, vs[0].Err())
		}
	})
}

// A write whose time is over ends then: not a second earlier, nor later than its grace.
func TestAWriteEndsWhenItsTimeIsUp(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second, MaxElapsedTime: time.Minute}, Observer: n})
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed, Count: -1})
		began := time.Now()
		vs := g.Write(t.Context(), records("t", "held", 3, 10))
		took := time.Since(began)
		require.GreaterOrEqual(t, took, time.Minute)
		require.LessOrEqual(t, took, time.Minute+2*time.Second+giveUpGrace)
		for _, v := range vs {
			require.Equal(t, []any{NotWritten, Unauthorized}, []any{v.Outcome, v.Class})
		}
		told := n.take()
		require.True(t, told[len(told)-1].Over)
		require.True(t, told[len(told)-1].GivenUp)
	})
}

// A wait that ends well is not given up.
func TestAWaitThatEndsWellIsNotGivenUp(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, Observer: n})
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed, Count: 3})
		require.Empty(t, classes(g.Write(t.Context(), records("t", "held", 3, 10))))
		told := n.take()
		require.Len(t, told, 2)
		require.True(t, told[1].Over)
		require.False(t, told[1].GivenUp)
	})
}

// A write waits for a second for another one to find out whether a limit holds.
func TestAWriteWaitsASecondForAProbe(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			after time.Duration
			hasty bool
		}{{probeWait - 1, false}, {probeWait + 1, true}} {
			probe := make(chan struct{})
			time.AfterFunc(test.after, func() { close(probe) })
			w := &write{ctx: t.Context()}
			began := time.Now()
			w.waitForProbe(probe)
			require.Equal(t, test.hasty, w.hasty)
			require.Equal(t, min(test.after, probeWait), time.Since(began))
			time.Sleep(time.Second)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w := &write{ctx: ctx}
		w.waitForProbe(nil)
		require.True(t, w.hasty)
	})
}

// The records of a batch with an ambiguous code are looked at once it was sent eight times, and
// for ten seconds.
func TestHowLongAnAmbiguousCodeIsRetried(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		b := &partition.Batch{First: time.Now(), Attempts: ambiguousTries}
		time.Sleep(isolate.AmbiguousFor - 1)
		require.False(t, patient(b))
		time.Sleep(time.Nanosecond)
		require.True(t, patient(b))
		b.Attempts--
		require.False(t, patient(b))
	})
}

// The time between retries doubles, by a fifth more or less, up to the longest.
func TestTheTimeBetweenRetries(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		failures    int
		first, most time.Duration
		want        time.Duration
	}{
		{0, time.Second, time.Minute, time.Second},
		{1, time.Second, time.Minute, time.Second},
		{2, time.Second, time.Minute, 2 * time.Second},
		{3, time.Second, time.Minute, 4 * time.Second},
		{6, time.Second, time.Minute, 32 * time.Second},
		{7, time.Second, time.Minute, time.Minute},
		{1000, time.Second, time.Minute, time.Minute},
		{1000, 1 << 40, time.Minute, time.Minute},
		{1000, 1<<34 + 1, time.Minute, time.Minute},
		{1, 0, time.Minute, time.Minute},
		{1000, 1, 1 << 62, 1 << 30},
	} {
		least, most := time.Duration(1<<62), time.Duration(0)
		for range 1000 {
			d := pause(test.failures, test.first, test.most)
			least, most = min(least, d), max(most, d)
		}
		require.InDelta(t, 0.8, float64(least)/float64(test.want), 0.02, "%+v", test)
		require.InDelta(t, 1.2, float64(most)/float64(test.want), 0.02, "%+v", test)
	}
	g := &Guard{config: Config{Retry: Retry{InitialInterval: time.Minute}}}
	require.GreaterOrEqual(t, g.retryAfter(5), 48*time.Second, "without a longest, the first one is it")
	require.LessOrEqual(t, g.retryAfter(5), 72*time.Second)
}

// Records that no broker has acked are told of after ten seconds.
func TestRecordsWithoutAnAckAreTold(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			pause time.Duration
			told  int
		}{{noticeAfter - time.Second, 0}, {noticeAfter + time.Second, 2}} {
			n := &notices{}
			c, g := newVirtual(t, Config{Observer: n})
			c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: test.pause})
			require.Empty(t, classes(g.Write(t.Context(), records("t", "slow", 3, 10))))
			told := n.take()
			require.Len(t, told, test.told)
			if test.told > 0 {
				require.Equal(t, []any{"transient", 3}, []any{told[0].Why, told[0].Records})
				require.True(t, told[1].Over)
			}
		}
	})
}

// Connections that end at once are not opened without a pause.
func TestLostConnectionsAreReplacedWithAPause(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}}, kgo.RetryBackoffFn(retryBackoff))
		fault := c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: -1, For: time.Minute})
		require.Empty(t, classes(g.Write(t.Context(), records("t", "cut", 1, 10))))
		require.LessOrEqual(t, fault.Hits(), 80, "a minute with a second between two, and less at first")
		require.GreaterOrEqual(t, fault.Hits(), 40)
	})
}

// The first write to a topic waits five seconds for its limits, and for ten at most if its
// metadata are behind them on the connection.
func TestHowLongAWriteWaitsForLimits(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.Hanging(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1)
		g := newGuard(t, c, Config{}, c.Opts()...)
		began := time.Now()
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 1, 10))))
		require.GreaterOrEqual(t, time.Since(began), limits.Wait)
		require.LessOrEqual(t, time.Since(began), 2*limits.Wait+time.Second)
	})
}

// Limits are read again when they are older than the config says, and not before.
func TestLimitsAreReadAgain(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{})
		count := c.Count(kmsg.DescribeConfigs)
		write := func() int {
			require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 1, 10))))
			time.Sleep(time.Second)
			return count.Hits()
		}
		time.Sleep(defaultRulesMaxAge - 10*time.Second)
		require.Zero(t, write())
		time.Sleep(10 * time.Second)
		require.Equal(t, 1, write())
	})
}

// A producer ID that brokers refuse is asked for with a pause between two tries.
func TestAProducerIDIsAskedForWithAPause(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, code := range []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.ClusterAuthorizationFailed} {
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
			c.Topic("t", 1)
			g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Second}}, append(c.Opts(), kgo.RetryBackoffFn(retryBackoff))...)
			fault := c.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Do: kafkafake.Refuse, Code: code, Count: -1, For: time.Minute})
			require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 1, 10))))
			require.GreaterOrEqual(t, fault.Hits(), 40, code.Message)
			require.LessOrEqual(t, fault.Hits(), 90, code.Message)
		}
	})
}

// A broker that takes requests and never answers does not keep records beyond
// record_delivery_timeout, also if nothing of them was in doubt when that ended.
func TestRecordsThatAreNeverAnsweredEndAfterTheDeliveryTimeout(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1)
		c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Count: -1, Pause: time.Hour})
		g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Second}}, append(c.Opts(), kgo.RecordDeliveryTimeout(5*time.Second), kgo.ProduceRequestTimeout(10*time.Second))...)
		began := time.Now()
		rs := records("t", "r", 3, 10)
		vs := g.Write(t.Context(), rs)
		require.Equal(t, map[int]Class{0: Transient, 1: Transient, 2: Transient}, classes(vs))
		require.Equal(t, Unknown, vs[0].Outcome)
		require.Greater(t, time.Since(began), 5*time.Second)
		require.Less(t, time.Since(began), time.Minute)
	})
}
