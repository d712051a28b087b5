package guard

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// of returns those of the reports that are about a topic and a reason.
func of(told []Waiting, topic, why string) (some []Waiting) {
	for _, w := range told {
		if w.Topic == topic && w.Why == why {
			some = append(some, w)
		}
	}
	return some
}

// Records that are acked while others of their write wait are reported as over within a
// second, and not as given up.
func TestAnAckIsReportedWhileOthersWait(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, Observer: n})
		c.Topic("closed", 1)
		c.AddFault(kafkafake.Fault{Topic: "closed", Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed, Count: -1})
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Topic: "t", Count: -1, For: 15 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		rs := append(records("t", "r", 2, 10), records("closed", "r", 1, 10)...)
		done := make(chan []Verdict)
		go func() { done <- g.Write(ctx, rs) }()
		time.Sleep(17 * time.Second)
		told := of(n.take(), "t", "transient")
		require.Len(t, told, 2)
		require.Equal(t, []any{2, false}, []any{told[0].Records, told[0].Over})
		require.Equal(t, []any{0, true, false}, []any{told[1].Records, told[1].Over, told[1].GivenUp})
		require.Equal(t, map[int]Class{2: Unauthorized}, classes(<-done))
		closed := of(n.take(), "closed", "unauthorized")
		require.True(t, closed[len(closed)-1].GivenUp)
	})
}

// Records that are held for one reason and then for another are not given up.
func TestAReasonThatChangesIsReported(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, Observer: n})
		began := time.Now()
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed, Count: -1, For: 30 * time.Second})
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.PolicyViolation, Count: -1, From: began.Add(30 * time.Second), For: 30 * time.Second})
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 3, 10))))
		told := n.take()
		require.Len(t, told, 4)
		for i, want := range [][]any{
			{"unauthorized", 3, false, false}, {"unauthorized", 0, true, false}, {"refused", 3, false, false}, {"refused", 0, true, false},
		} {
			require.Equal(t, want, []any{told[i].Why, told[i].Records, told[i].Over, told[i].GivenUp}, "report %d", i)
		}
	})
}

// A wait is reported with its latest error, also if it was reported before with another one.
func TestAWaitIsReportedWithItsLatestError(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, Observer: n})
		began := time.Now()
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Count: -1, For: 30 * time.Second})
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotLeaderForPartition, Count: -1, From: began.Add(30 * time.Second), For: time.Minute})
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 3, 10))))
		told := n.take()
		require.Len(t, told, 3)
		require.ErrorIs(t, told[0].Cause, kerr.NotEnoughReplicas)
		require.ErrorIs(t, told[1].Cause, kerr.NotLeaderForPartition)
		require.Equal(t, []time.Duration{noticeAfter, noticeAfter}, []time.Duration{told[0].Since.Add(noticeAfter).Sub(began), told[1].Since.Add(noticeAfter).Sub(began)})
		require.True(t, told[2].Over)
	})
}

// Where no broker can be reached, the reports and the failures say why.
func TestWhyNoBrokerCanBeReached(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for name, connected := range map[string]bool{"never": false, "no more": true} {
			n := &notices{}
			wire := &kafkafake.Network{Latency: time.Millisecond}
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), wire)
			c.Topic("t", 1)
			var gone atomic.Bool
			gone.Store(!connected)
			noRoute := errors.New("no route")
			g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Second}, Observer: n}, kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
				if gone.Load() {
					return nil, noRoute
				}
				return wire.Dial(ctx, network, host)
			}))
			if connected {
				require.Empty(t, classes(g.Write(t.Context(), records("t", "first", 1, 10))))
				gone.Store(true)
				c.Disconnect(0)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			vs := g.Write(ctx, records("t", "r", 2, 10))
			cancel()
			require.Equal(t, []any{NotWritten, Transient}, []any{vs[0].Outcome, vs[0].Class}, name)
			require.ErrorIs(t, vs[0].Err(), noRoute, name)
			told := n.take()
			require.Len(t, told, 2, name)
			require.ErrorIs(t, told[0].Cause, noRoute, name)
			require.Equal(t, 2, told[0].Records, name)
			require.True(t, told[1].GivenUp, name)
		}
	})
}

// retries notes the retries besides the waits.
type retries struct {
	notices
	retried map[Class][]int
}

func (r *retries) OnRetry(class Class, records int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.retried == nil {
		r.retried = map[Class][]int{}
	}
	r.retried[class] = append(r.retried[class], records)
}

// Each retry is reported once, with the number of records that are sent again.
func TestEachRetryIsReportedOnce(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			code    *kerr.Error
			class   Class
			records int
			want    []int
		}{
			{kerr.TopicAuthorizationFailed, Unauthorized, 3, []int{3, 3}},
			{kerr.InvalidTimestamp, Transient, 1, []int{1, 1}}, // by itself, see isolate
		} {
			o := &retries{}
			c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, Observer: o})
			c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: test.code, Count: len(test.want)})
			require.Empty(t, classes(g.Write(t.Context(), records("t", "r", test.records, 10))))
			told := o.take()
			require.NotEmpty(t, told)
			for _, w := range told {
				var f *Failure
				require.ErrorAs(t, w.Cause, &f)
				require.Equal(t, []any{NotWritten, test.class, "t", int32(0)}, []any{f.Outcome, f.Class, f.Topic, f.Partition})
			}
			o.mu.Lock()
			require.Equal(t, test.want, o.retried[test.class], test.code.Message)
			require.Len(t, o.retried, 1)
			o.mu.Unlock()
		}
	})
}

// The timer of a wait that is over does not report the next wait too early: it may have run
// out while the first wait ended.
func TestTheTimerOfAWaitThatIsOverReportsNothing(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		ws := n.waits()
		for _, again := range []bool{false, true} {
			slots := slotsFor("t", 1)
			leave := ws.forBuffer(slots)
			ws.mu.Lock()
			time.Sleep(noticeAfter) // the timer waits for the lock
			ws.drop(slots[0], false)
			if again {
				ws.move(slots[0], waitKey{"t", whyBuffer}, None, nil, noticeAfter, time.Now())
			}
			ws.unlock()
			synctest.Wait()
			require.Empty(t, n.take())
			time.Sleep(noticeAfter - 1)
			require.Empty(t, n.take())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			leave(false)
			if again {
				require.Len(t, n.take(), 2)
			}
			require.Empty(t, n.take())
		}
	})
}

// A batch in doubt that is held says that it may have been written.
func TestAHeldBatchInDoubtSaysSo(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, Observer: n})
		c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed, Skip: 1, Count: 3})
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 2, 10))))
		told := n.take()
		require.Len(t, told, 2)
		var f *Failure
		require.ErrorAs(t, told[0].Cause, &f)
		require.Equal(t, []any{Unknown, Unauthorized}, []any{f.Outcome, f.Class})
		require.ErrorContains(t, f, "may have been written")
	})
}

// Brokers that refuse the client's credentials have records held for that.
func TestRefusedCredentialsAreReported(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		wire := &kafkafake.Network{Latency: time.Millisecond}
		c := kafkafake.StartDialect(t, kafkafake.Kafka(), wire)
		c.Topic("t", 1)
		var refused atomic.Bool
		g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Second}, Observer: n}, kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
			if refused.Load() {
				return nil, kerr.SaslAuthenticationFailed
			}
			return wire.Dial(ctx, network, host)
		}))
		require.Empty(t, classes(g.Write(t.Context(), records("t", "first", 1, 10))))
		refused.Store(true)
		c.Disconnect(0)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		vs := g.Write(ctx, records("t", "r", 2, 10))
		require.Equal(t, []any{NotWritten, Unauthorized}, []any{vs[0].Outcome, vs[0].Class}, "%v", vs[0].Err())
		told := n.take()
		require.Len(t, told, 2)
		require.Equal(t, []any{"unauthorized", 2}, []any{told[0].Why, told[0].Records})
	})
}

// Limits of a topic are forgotten after an hour without use, and the Observer is told.
func TestTheObserverIsToldOfATopicThatIsForgotten(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		var mu sync.Mutex
		forgotten := map[string]bool{}
		c, g := newVirtual(t, Config{Observer: observer{onRules: func(old, now *Rules) {
			mu.Lock()
			defer mu.Unlock()
			if now == nil {
				forgotten[old.Topic] = true
			}
		}}})
		c.Topic("another", 1)
		for range 13 {
			require.Empty(t, classes(g.Write(t.Context(), records("another", "r", 1, 10))))
			time.Sleep(10 * time.Minute)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, map[string]bool{"t": true}, forgotten)
	})
}
