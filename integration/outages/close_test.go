//go:build linux || darwin

package outages

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// patient retries without end.
var patient = guard.Retry{InitialInterval: 100 * time.Millisecond, MaxInterval: time.Second}

// writing starts a write of n records, and returns the channel of its verdicts.
func writing(ctx context.Context, g *guard.Guard, topic string, n int) <-chan []guard.Verdict {
	var records []*kgo.Record
	for range n {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte("m")})
	}
	done := make(chan []guard.Verdict, 1)
	go func() { done <- g.Write(ctx, records) }()
	return done
}

// within waits for the verdicts of a write that must end soon.
func within(t *testing.T, done <-chan []guard.Verdict) []guard.Verdict {
	t.Helper()
	select {
	case verdicts := <-done:
		return verdicts
	case <-time.After(onkafka.Patience):
		require.FailNow(t, "the write does not return")
		return nil
	}
}

// The broker never answers. Close ends the write, and its records are in doubt.
func TestCloseEndsAWriteWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	c, relay := onkafka.Relayed(t, kafkatest.Options{})
	c.CreateTopic("silent", 1, 1, nil)
	g := onkafka.NewGuard(t, c, guard.Config{Retry: patient})
	for _, v := range within(t, writing(t.Context(), g, "silent", 3)) {
		require.Equal(t, guard.Delivered, v.Outcome, "%v", v.Failure)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	swallowed := make(chan struct{}, 100)
	relay.Follow(onkafka.Rules{Answer: func(*kmsg.ProduceRequest, *kmsg.ProduceResponse) bool {
		swallowed <- struct{}{}
		<-ended
		return true
	}})
	silent := writing(t.Context(), g, "silent", 3)
	<-swallowed
	g.Close()
	for _, v := range within(t, silent) {
		require.Equal(t, guard.Unknown, v.Outcome)
	}
}

// Records that wait for a topic which never existed are not written, and not in doubt.
func TestThereIsNoDoubtAboutWhatWaitsForATopic(t *testing.T) {
	t.Parallel()
	c := onkafka.OneNode(t)
	waits := make(chan guard.Waiting, 100)
	g := onkafka.NewGuard(t, c, guard.Config{Retry: patient, Observer: waitings{waits: waits}})
	ctx, cancel := context.WithCancel(t.Context())
	never := writing(ctx, g, "never", 3)
	<-waits
	cancel()
	for _, v := range within(t, never) {
		require.Equal(t, guard.NotWritten, v.Outcome, "%v", v.Failure)
	}
}

// waitings passes on guard's reports of records that wait.
type waitings struct {
	guard.NoObserver
	waits chan<- guard.Waiting
}

func (w waitings) OnWaiting(n guard.Waiting) { w.waits <- n }
