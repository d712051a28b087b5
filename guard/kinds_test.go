package guard

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A batch in doubt keeps its timestamps. One that got too old by that, a second before it was
// written last, is stamped anew and sent again at once. Of a younger one, the records are
// looked at.
func TestABatchInDoubtIsStampedAnewAfterASecond(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			pause time.Duration
			code  *kerr.Error
			anew  bool
		}{
			{time.Second + 100*time.Millisecond, kerr.InvalidTimestamp, true},
			{time.Second - 100*time.Millisecond, kerr.InvalidTimestamp, false},
		} {
			c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}}, kgo.RetryBackoffFn(func(int) time.Duration { return test.pause }))
			c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore})
			refused := c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: test.code, Skip: 1})
			began := time.Now()
			rs := records("t", "r", 1, 10)
			vs := g.Write(t.Context(), rs)
			require.Empty(t, classes(vs))
			require.Equal(t, 1, refused.Hits())
			took := time.Since(began) - test.pause
			if test.anew {
				require.Less(t, took, time.Second)
				require.WithinRange(t, vs[0].Timestamp, began.Add(test.pause), began.Add(test.pause+time.Second))
			} else {
				require.Greater(t, took, 3*time.Second, "it is sent again when another rejection can count")
			}
			account(t, c, rs, vs)
		}
	})
}

// A record that is in doubt, and refused for its age time and again, is not sent without pauses.
func TestABatchInDoubtIsNotStampedAnewWithoutEnd(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second, MaxElapsedTime: 20 * time.Second}})
		c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		refused := c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidTimestamp, Skip: 1, Count: -1})
		vs := g.Write(t.Context(), records("t", "r", 1, 10))
		require.Equal(t, map[int]Class{0: Transient}, classes(vs))
		require.LessOrEqual(t, refused.Hits(), 40)
	})
}

// A missing topic is asked for as often as kgo.UnknownTopicRetries says, before its records
// are held.
func TestHowOftenAMissingTopicIsAskedFor(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct{ retries, refusals, held int }{
			{2, 2, 0},
			{2, 3, 1},
			{0, 1, 1},
			{-1, 30, 0},
		} {
			require.Equal(t, test.held, heldFor(t, UnknownTopic, kgo.UnknownTopicRetries(test.retries), kerr.UnknownTopicOrPartition, test.refusals), "%+v", test)
		}
	})
}

// What fails for a passing reason is sent as often as kgo.RecordRetries says, before it is held.
func TestHowOftenABatchIsSentBeforeItIsHeld(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct{ retries, refusals, held int }{{2, 2, 0}, {2, 3, 1}} {
			require.Equal(t, test.held, heldFor(t, Transient, kgo.RecordRetries(test.retries), kerr.NotEnoughReplicas, test.refusals), "%+v", test)
		}
	})
}

// heldFor returns how often a record is held for a class, and for no other, that is answered
// with a code so many times and is delivered then.
func heldFor(t *testing.T, class Class, retries kgo.Opt, code *kerr.Error, refusals int) (held int) {
	t.Helper()
	c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, Observer: observer{onRetry: func(of Class, n int) {
		require.Equal(t, class, of)
		held += n
	}}}, retries)
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: code, Count: refusals})
	require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 1, 10))))
	return held
}

// A cluster that does not answer what its topics accept is asked again after ten seconds, and
// waited for half a second then.
func TestAClusterThatHangsIsAskedAgainAfterTenSeconds(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.Hanging(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1)
		g := newGuard(t, c, Config{}, c.Opts()...)
		began := time.Now()
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 1, 10))))
		time.Sleep(2*limits.Wait + 100*time.Millisecond - time.Since(began)) // until the first reading ends
		hung := time.Now()
		reading := func() time.Duration {
			began := time.Now()
			require.False(t, g.Rules(t.Context(), "t").Known)
			return time.Since(began)
		}
		for _, test := range []struct {
			after time.Duration // the end of the first reading
			takes time.Duration
		}{{0, 0}, {6 * time.Second, 0}, {9 * time.Second, 0}, {11 * time.Second, 500 * time.Millisecond}, {13 * time.Second, 0}} {
			time.Sleep(time.Until(hung.Add(test.after)))
			require.InDelta(t, test.takes, reading(), float64(20*time.Millisecond), "after %s", test.after)
		}
	})
}

// Records that no broker has acked for a second are counted.
func TestRecordsWithoutAnAckAreCountedAfterASecond(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			pause time.Duration
			want  []int
		}{
			{lookEvery - 100*time.Millisecond, nil},
			{lookEvery + 100*time.Millisecond, []int{1, 2, 3, 2, 1, 0}},
		} {
			w := &waitCounts{}
			c, g := newVirtual(t, Config{Observer: w})
			c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: test.pause})
			require.Empty(t, classes(g.Write(t.Context(), records("t", "slow", 3, 10))))
			require.Equal(t, test.want, w.counts)
		}
	})
}

// waitCounts notes how many records wait for a broker.
type waitCounts struct {
	NoObserver
	counts []int
}

func (w *waitCounts) OnWaits(why string, records int) {
	if why == "transient" {
		w.counts = append(w.counts, records)
	}
}

// A write that ends tells that what waited for room in the buffer was given up.
func TestAWaitForTheBufferThatIsGivenUp(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Observer: n}, kgo.MaxBufferedRecords(2))
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Count: -1, For: time.Minute})
		go g.Write(t.Context(), records("t", "first", 2, 10))
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), noticeAfter+time.Second)
		defer cancel()
		vs := g.Write(ctx, records("t", "second", 2, 10))
		require.Equal(t, map[int]Class{0: Transient, 1: Transient}, classes(vs))
		require.Equal(t, NotWritten, vs[0].Outcome)
		require.ErrorIs(t, vs[0].Err(), context.DeadlineExceeded)
		var buffer []Waiting
		for _, w := range n.take() {
			if w.Why == whyBuffer {
				buffer = append(buffer, w)
			}
		}
		require.Len(t, buffer, 2)
		require.Equal(t, []any{2, false}, []any{buffer[0].Records, buffer[0].Over})
		require.Equal(t, []any{0, true, true}, []any{buffer[1].Records, buffer[1].Over, buffer[1].GivenUp})
	})
}

// A leader is waited for a second that is asked for its own limits.
func TestALeaderHasASecondToTellItsLimits(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, pause := range []time.Duration{900 * time.Millisecond, 3 * time.Second} {
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond}, kfake.NumBrokers(2))
			c.Topic("t", 2)
			for p := range int32(2) {
				require.NoError(t, c.MoveTopicPartition("t", p, p))
			}
			g := newGuard(t, c, Config{}, c.Opts()...)
			// The first two readings ask any broker.
			c.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Do: kafkafake.DelayAnswer, Skip: 2, Count: -1, Pause: pause})
			began := time.Now()
			require.True(t, g.Rules(t.Context(), "t").Known)
			require.InDelta(t, min(pause, time.Second), time.Since(began), float64(30*time.Millisecond))
		}
	})
}

// Records with the key of one that is held wait behind it. Those that come before it do not.
func TestRecordsBeforeOneThatIsHeldAreNotHeld(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		d := kafkafake.Registry()
		d.ClockAhead = time.Hour
		c := kafkafake.StartDialect(t, d, &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1, "message.timestamp.before.max.ms=10000")
		n := &notices{}
		g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Second, MaxElapsedTime: 20 * time.Second}, Observer: n}, c.Opts()...)
		now := func() time.Time { return time.Now().Add(time.Hour) }
		first := records("t", "first", 3, 10)
		for _, r := range first {
			r.Timestamp = now()
		}
		poison(first, 1)
		require.Equal(t, map[int]Class{1: InvalidRecord}, classes(g.Write(t.Context(), first)), "lists are believed from now on")

		rs := records("t", "r", 4, 10)
		for i, r := range rs {
			r.Key = []byte("k")
			if i != 1 {
				r.Timestamp = now()
			}
		}
		vs := g.Write(t.Context(), rs)
		require.Equal(t, map[int]Class{1: InvalidRecord}, classes(vs), "%v", vs[0].Err())
		account(t, c, rs, vs)
		var order []string
		for _, r := range c.Log("t")[2:] {
			order = append(order, string(r.Value[:7]))
		}
		require.Equal(t, []string{"r-00000", "r-00002", "r-00003"}, order)
	})
}
