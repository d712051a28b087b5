package guard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// told collects what a guard tells of waiting and of retries.
type told struct {
	mu      sync.Mutex
	waiting []Waiting
	retried map[Class]int
	first   chan struct{}
}

func newTold() *told { return &told{retried: map[Class]int{}, first: make(chan struct{})} }

func (w *told) onWaiting(e Waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting = append(w.waiting, e); len(w.waiting) == 1 {
		close(w.first)
	}
}

func (w *told) onRetry(c Class, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retried[c] += n
}

// retrying is a config that tries again soon, and tells.
func retrying(w *told) Config {
	return Config{Retry: Retry{InitialInterval: time.Millisecond, MaxInterval: 5 * time.Millisecond}, Observer: observer{onWaiting: w.onWaiting, onRetry: w.onRetry}}
}

func TestHeldRecordsGoOutWhenTheReasonPasses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err   *kerr.Error
		class Class
	}{
		{kerr.TopicAuthorizationFailed, Unauthorized},
		{kerr.PolicyViolation, Refused},
		{kerr.InvalidRequiredAcks, Refused},
	} {
		t.Run(test.err.Message, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("open", 1)
			c.Topic("closed", 1)
			fault := c.RefuseAll("closed", test.err)
			w := newTold()
			g := newGuard(t, c, retrying(w))
			rs := slices.Concat(records("open", "a", 3, 10), records("closed", "b", 20, 10), records("open", "c", 3, 10))
			poison := record("open", "big", 2<<20)
			rs = append(rs, poison)
			done := make(chan []Verdict)
			go func() { done <- g.Write(t.Context(), rs) }()
			<-w.first
			require.Len(t, c.Log("open"), 6, "the others are long done")
			require.NoError(t, fault.Wait(t.Context(), 5))
			fault.Remove()
			vs := <-done
			require.Equal(t, map[int]Class{26: SizeExceeded}, classes(vs))
			account(t, c, rs, vs)

			var order []string
			for _, r := range c.Log("closed") {
				order = append(order, string(r.Value))
			}
			require.True(t, slices.IsSorted(order))
			require.Len(t, w.waiting, 2, "when it begins and when it ends: the next would be in a minute")
			require.Equal(t, Waiting{Topic: "closed", Why: test.class.String(), Class: test.class, Records: 20, Since: w.waiting[0].Since, Cause: w.waiting[0].Cause}, w.waiting[0])
			require.ErrorIs(t, w.waiting[0].Cause, test.err)
			require.True(t, w.waiting[1].Over)
			require.GreaterOrEqual(t, w.retried[test.class], 4*20)
			require.Len(t, w.retried, 1, "only what is retriable is tried again")
		})
	}
}

func TestATopicThatAppearsLaterGetsItsRecords(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	w := newTold()
	g := newGuard(t, c, retrying(w), kgo.UnknownTopicRetries(0))
	rs := records("t", "r", 5, 10)
	done := make(chan []Verdict)
	go func() { done <- g.Write(t.Context(), rs) }()
	<-w.first
	require.Equal(t, UnknownTopic, w.waiting[0].Class)
	c.Topic("t", 1)
	vs := <-done
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
}

func TestRetriesEndWhenTheirTimeIsUp(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1)
		c.RefuseAll("", kerr.TopicAuthorizationFailed)
		w := newTold()
		config := retrying(w)
		config.Retry.MaxElapsedTime = 20 * time.Second
		g := newGuard(t, c, config, c.Opts()...)
		rs := records("t", "r", 5, 10)
		vs := g.Write(t.Context(), rs)
		require.Len(t, classes(vs), 5)
		require.Equal(t, Unauthorized, vs[0].Class)
		require.Equal(t, NotWritten, vs[0].Outcome)
		account(t, c, rs, vs)
		require.True(t, w.waiting[len(w.waiting)-1].Over)
	})
}

// A record that is held, and then rejected for its size, was not given up.
func TestWhatIsRejectedAfterAWaitIsNotGivenUp(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
		c.Topic("t", 1, "max.message.bytes=20000")
		w := newTold()
		config := retrying(w)
		config.IgnoreRules = true
		g := newGuard(t, c, config, c.Opts()...)
		c.AddFault(kafkafake.Fault{Topic: "t", Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed, Count: 3})
		require.Equal(t, map[int]Class{0: SizeExceeded}, classes(g.Write(t.Context(), large("r"))))
		over := w.waiting[len(w.waiting)-1]
		require.True(t, over.Over)
		require.False(t, over.GivenUp)
	})
}

func TestRetriesEndWithTheContextAndTheGuard(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"context", "guard"} {
		c := kafkafake.New(t)
		c.Topic("t", 1)
		c.RefuseAll("", kerr.TopicAuthorizationFailed)
		w := newTold()
		config := retrying(w)
		config.Retry.InitialInterval = time.Hour
		g := newGuard(t, c, config)
		ctx, cancel := context.WithCancel(t.Context())
		rs := records("t", "r", 5, 10)
		done := make(chan []Verdict)
		go func() { done <- g.Write(ctx, rs) }()
		<-w.first
		if end == "guard" {
			g.Close()
		} else {
			cancel()
		}
		vs := <-done
		cancel()
		require.Equal(t, Unauthorized, vs[4].Class)
		require.Equal(t, NotWritten, vs[4].Outcome)
		account(t, c, rs, vs)
	}
}

func TestPermanentClassesAreHandedOn(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	c.RefuseAll("", kerr.TopicAuthorizationFailed)
	config := retrying(newTold())
	config.Permanent = []Class{SizeExceeded, InvalidRecord, Unroutable, Unauthorized}
	g := newGuard(t, c, config)
	rs := records("t", "r", 5, 10)
	vs := g.Write(t.Context(), rs)
	require.Len(t, classes(vs), 5)
	account(t, c, rs, vs)

	_, err := New(Config{Permanent: []Class{Transient}})
	require.EqualError(t, err, "the class transient can't be permanent: such failures pass")
}

// kgo keeps to a refused producer ID for ever: only another client asks again.
func TestARefusedProducerIDTakesANewClient(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.ClusterAuthorizationFailed, Count: 3})
	w := newTold()
	g := newGuard(t, c, retrying(w))
	rs := records("t", "r", 5, 10)
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	require.Equal(t, 3*5, w.retried[Unauthorized])
	account(t, c, rs, vs)
}

func TestATopicDeletedAndCreatedAgainGetsItsRecords(t *testing.T) {
	t.Parallel()
	for _, ignore := range []bool{false, true} {
		t.Run(fmt.Sprint("ignoring rules ", ignore), func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("t", 1)
			config := retrying(newTold())
			config.IgnoreRules = ignore
			g := newGuard(t, c, config, kgo.UnknownTopicRetries(0))
			require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 5, 10))))
			_, err := c.Admin.DeleteTopic(t.Context(), "t")
			require.NoError(t, err)
			c.Topic("t", 2)
			rs := records("t", "s", 5, 10)
			vs := g.Write(t.Context(), rs)
			require.Empty(t, classes(vs))
			account(t, c, rs, vs)
		})
	}
}

func TestAPartitionAddedWhileRunningIsFound(t *testing.T) {
	t.Parallel()
	for _, ignore := range []bool{false, true} {
		t.Run(fmt.Sprint("ignoring rules ", ignore), func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("t", 1)
			config := retrying(newTold())
			config.IgnoreRules = ignore
			g := newGuard(t, c, config, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 5, 10))))
			_, err := c.Admin.CreatePartitions(t.Context(), 2, "t")
			require.NoError(t, err)
			rs := records("t", "s", 5, 10)
			rs[1].Partition, rs[3].Partition = 2, 3
			vs := g.Write(t.Context(), rs)
			require.Equal(t, map[int]Class{3: Unroutable}, classes(vs))
			require.EqualError(t, vs[3].Err(), "unroutable: topic t partition 3: no such partition: the topic has 3")
			account(t, c, rs, vs)
		})
	}
}

func TestParseClass(t *testing.T) {
	t.Parallel()
	for c := SizeExceeded; c <= Transient; c++ {
		got, err := ParseClass(c.String())
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
	none, err := ParseClass("none")
	require.Equal(t, None, none)
	require.EqualError(t, err, `no class is named "none"`)
}

// While a rejected batch is isolated, one part of it fails with a retriable code.
// Later records must not overtake it.
func TestWhatIsHeldDuringIsolationIsNotOvertaken(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	c.Refuse("t", 0, kafkafake.Mark, kerr.InvalidRecord)
	rs := records("t", "r", 16, 10)
	poison(rs, 1)
	w := newTold()
	g := newGuard(t, c, retrying(w))
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.PolicyViolation, Count: 2, When: func(r kmsg.Request) bool {
		held := string(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records)
		return strings.Contains(held, string(rs[2].Value)) && !strings.Contains(held, "POISON")
	}})
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{1: InvalidRecord}, classes(vs))
	account(t, c, rs, vs)
	var order []string
	for _, r := range c.Log("t") {
		order = append(order, string(r.Value))
	}
	require.True(t, slices.IsSorted(order), "%q", order)
	require.NotEmpty(t, w.retried[Refused])
}
