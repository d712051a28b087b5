package output

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// recovering is a stream with messages for the topics "good" and "bad".
type recovering struct {
	*virtualCluster
	dead, reporting atomic.Int32 // what the child outputs do
	oversized       atomic.Bool  // a tenth of the messages is too large for "bad"
}

const (
	takes = iota
	fails
	hangs
)

// sink is a child output that does what does says.
func sink(does *atomic.Int32) streamtest.Sink {
	return func(ctx context.Context, _ service.MessageBatch) error {
		time.Sleep(10 * time.Millisecond)
		for does.Load() == hangs && ctx.Err() == nil {
			time.Sleep(time.Second)
		}
		if does.Load() == fails {
			return errors.New("down")
		}
		return ctx.Err()
	}
}

// letters has messages be dead-lettered, and the output of dead_letter do this.
func (r *recovering) letters(do int32) (end func()) {
	r.oversized.Store(true)
	r.dead.Store(do)
	return func() { r.oversized.Store(false); r.dead.Store(takes) }
}

func (r *recovering) fault(f kafkafake.Fault) func() {
	f.Count = -1
	return r.AddFault(f).Over
}

// outages begin, and return what ends them.
var outages = map[string]func(t *testing.T, r *recovering) (end func()){
	"Kafka is away": func(_ *testing.T, r *recovering) func() {
		r.Away(0, true)
		return func() { r.Away(0, false) }
	},
	"connections are refused": func(_ *testing.T, r *recovering) func() {
		r.refuses.Store(true)
		r.Away(0, true)
		return func() { r.refuses.Store(false); r.Away(0, false) }
	},
	"a topic is missing": func(t *testing.T, r *recovering) func() {
		_, err := r.Admin.DeleteTopics(t.Context(), "bad")
		require.NoError(t, err)
		return func() { r.Topic("bad", 2, "max.message.bytes=20000") }
	},
	"a right is missing": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Topic: "bad", Code: kerr.TopicAuthorizationFailed})
	},
	"too few replicas": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Topic: "bad", Code: kerr.NotEnoughReplicas})
	},
	"too few replicas after the append": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Topic: "bad", Do: kafkafake.Rewrite, Code: kerr.NotEnoughReplicasAfterAppend})
	},
	"a sick broker": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Topic: "bad", Code: kerr.UnknownServerError})
	},
	"a policy": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Topic: "bad", Code: kerr.PolicyViolation})
	},
	"answers are cut": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
	},
	"requests are cut": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Do: kafkafake.DisconnectBefore})
	},
	"requests are lost": func(_ *testing.T, r *recovering) func() { return r.fault(kafkafake.Fault{Do: kafkafake.Swallow}) },
	"answers are lost":  func(_ *testing.T, r *recovering) func() { return r.fault(kafkafake.Fault{Do: kafkafake.SwallowAnswer}) },
	"answers take long": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 20 * time.Second})
	},
	"metadata is not told": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Do: kafkafake.DisconnectBefore})
	},
	"no producer IDs": func(_ *testing.T, r *recovering) func() {
		end := r.fault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Do: kafkafake.DisconnectBefore})
		cut := r.fault(kafkafake.Fault{Topic: "bad", Do: kafkafake.DisconnectAfter})
		return func() { end(); cut() }
	},
	"producer IDs are unknown": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Topic: "bad", Code: kerr.UnknownProducerID})
	},
	"numbers are out of order": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Topic: "bad", Code: kerr.OutOfOrderSequenceNumber})
	},
	"fenced": func(_ *testing.T, r *recovering) func() {
		return r.fault(kafkafake.Fault{Topic: "bad", Code: kerr.InvalidProducerEpoch})
	},
	"limits are not told": func(_ *testing.T, r *recovering) func() {
		r.oversized.Store(true)
		end := r.fault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Do: kafkafake.Swallow})
		return func() { r.oversized.Store(false); end() }
	},
	"dead_letter fails": func(_ *testing.T, r *recovering) func() { return r.letters(fails) },
	"dead_letter hangs": func(_ *testing.T, r *recovering) func() { return r.letters(hangs) },
	"delivery_report fails": func(_ *testing.T, r *recovering) func() {
		r.reporting.Store(fails)
		return func() { r.reporting.Store(takes) }
	},
	"delivery_report hangs": func(_ *testing.T, r *recovering) func() {
		r.reporting.Store(hangs)
		return func() { r.reporting.Store(takes) }
	},
	"all is too large": func(t *testing.T, r *recovering) func() {
		r.Set("bad", "max.message.bytes", "50")
		return func() { r.Set("bad", "max.message.bytes", "20000") }
	},
}

// After each outage the stream is soon as fast as before, also after a second one. Nothing
// is counted as waiting any more, and the log says that it is over.
func TestStreamsRecover(t *testing.T) {
	t.Parallel()
	for name, begin := range outages {
		for _, inFlight := range []int{1, 64} {
			if inFlight == 1 && testing.Short() {
				continue
			}
			t.Run(fmt.Sprintf("%s, %d in flight", name, inFlight), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { recovers(t, begin, inFlight) })
			})
		}
	}
}

func recovers(t *testing.T, begin func(*testing.T, *recovering) func(), inFlight int) {
	r := &recovering{virtualCluster: newVirtualCluster(t)}
	r.Topic("good", 2)
	r.Topic("bad", 2, "max.message.bytes=20000")
	m, log := newCounted(), &streamtest.Log{}
	var acked atomic.Int64
	var stop atomic.Bool
	n := 0
	stream, err := streamtest.Config{
		Log: log, Metrics: m,
		Source: func(context.Context) (service.MessageBatch, streamtest.Answer, error) {
			time.Sleep(100 * time.Millisecond)
			if stop.Load() {
				return nil, nil, service.ErrEndOfInput
			}
			n++
			topic, content := "good", ""
			if n%2 == 0 {
				topic = "bad"
			}
			if n%10 == 0 && r.oversized.Load() {
				content = strings.Repeat("x", 30_000)
			}
			msg := service.NewMessage([]byte(content))
			msg.MetaSet("t", topic)
			return service.MessageBatch{msg}, func(err error, _ []deliverycheck.Answer) {
				if err == nil {
					acked.Add(1)
				}
			}, nil
		},
		Sinks: map[string]streamtest.Sink{"letters": sink(&r.dead), "reports": sink(&r.reporting)},
		Output: r.alone("topic: ${! @t }", "compression: none", "allow_auto_topic_creation: false",
			"dead_letter: { letters: {} }", "dead_letter_breaker: { enabled: true, messages: 20 }", "delivery_report: { reports: {} }", "delivery_report_max_elapsed_time: 1s"),
		Environment: func(env *service.Environment) error { return r.register(env, inFlight) },
	}.Build()
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- stream.Run(context.Background()) }()
	defer func() {
		stop.Store(true)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, stream.Stop(ctx))
		require.NoError(t, <-ended)
	}()
	const ticks = 100
	speed := func() int64 {
		before := acked.Load()
		time.Sleep(ticks * 100 * time.Millisecond)
		return acked.Load() - before
	}
	time.Sleep(time.Minute)
	for _, lasts := range []time.Duration{time.Minute, 10 * time.Minute} {
		require.Greater(t, speed(), int64(ticks*9/10))
		end := begin(t, r)
		time.Sleep(lasts)
		end()
		over := time.Now()
		for speed() < ticks*9/10 {
			require.Less(t, time.Since(over), 3*time.Minute, log)
		}
		time.Sleep(2 * time.Minute)
		for series, n := range m.own() {
			if strings.HasPrefix(series, "kafka_guarded_waiting") {
				require.Zero(t, n, series)
			}
		}
		for _, topic := range []string{"good", "bad"} {
			last := ""
			for _, line := range said(log, "topic "+topic+" ") {
				if !strings.Contains(line, "failed for good, and are in") {
					last = line
				}
			}
			require.Regexp(t, "^$|no longer|not held any more", last)
		}
		for _, child := range []string{fieldDeadLetter, fieldDeliveryReport} {
			all := log.String()
			failed, took := -1, -1
			for n, line := range strings.Split(all, "\n") {
				switch {
				case !strings.Contains(line, "The output of "+child+" "):
				case strings.Contains(line, "which are tried again"):
					failed = n
				case strings.Contains(line, "takes messages again"):
					took = n
				}
			}
			require.LessOrEqual(t, failed, took)
		}
	}
}
