package output

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// Each topic with a label is a series that an exporter never drops.
func TestTopicsBeyondAThousandHaveNoLabel(t *testing.T) {
	t.Parallel()
	const without = 5
	c := newCluster(t)
	var batch []string
	for n := range mostTopicLabels + without {
		topic := fmt.Sprint("t-", n)
		c.Topic(topic, 1)
		batch = append(batch, topic)
	}
	m := newCounted()
	s := &streamtest.Stream{Batches: [][]string{batch}, Config: streamtest.Config{Metrics: m}}
	require.True(t, s.Run(t, t.Context(), c.alone("topic: ${! content() }")))
	labels := 0
	for series := range m.own() {
		if strings.HasPrefix(series, "kafka_guarded_topic_max_bytes{") {
			labels++
		}
	}
	require.Equal(t, mostTopicLabels, labels)
	require.EqualValues(t, without, m.own()["kafka_guarded_topics_without_label"])
}

// counted is an exporter of Benthos' metrics that keeps their values, without the
// labels that Benthos adds.
type counted struct {
	mu     sync.Mutex
	values map[string]int64
	timed  map[string]int // how often each timer was used
}

func newCounted() *counted { return &counted{values: map[string]int64{}, timed: map[string]int{}} }

// series is the name of a metric with the output's own labels, as in
// "kafka_guarded_failed{class=transient}".
func series(name string, keys, values []string) string {
	var labels []string
	for i, k := range keys {
		if k != "label" && k != "path" && k != "stream" {
			labels = append(labels, k+"="+values[i])
		}
	}
	if len(labels) == 0 {
		return name
	}
	return name + "{" + strings.Join(labels, ",") + "}"
}

func (c *counted) NewCounterCtor(name string, keys ...string) service.MetricsExporterCounterCtor {
	return func(values ...string) service.MetricsExporterCounter {
		return value{c, series(name, keys, values)}
	}
}

func (c *counted) NewGaugeCtor(name string, keys ...string) service.MetricsExporterGaugeCtor {
	return func(values ...string) service.MetricsExporterGauge { return value{c, series(name, keys, values)} }
}

func (c *counted) NewTimerCtor(name string, keys ...string) service.MetricsExporterTimerCtor {
	return func(values ...string) service.MetricsExporterTimer { return value{c, series(name, keys, values)} }
}

func (c *counted) Close(context.Context) error { return nil }

// value is the value of a series.
type value struct {
	of     *counted
	series string
}

func (v value) Incr(n int64) {
	v.of.mu.Lock()
	defer v.of.mu.Unlock()
	v.of.values[v.series] += n
}

func (v value) Set(n int64) {
	v.of.mu.Lock()
	defer v.of.mu.Unlock()
	v.of.values[v.series] = n
}

func (v value) Timing(int64) {
	v.of.mu.Lock()
	defer v.of.mu.Unlock()
	v.of.timed[v.series]++
}

// own returns the series of the output itself that are not 0.
func (c *counted) own() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := maps.Clone(c.values)
	maps.DeleteFunc(m, func(series string, n int64) bool {
		return n == 0 || !strings.HasPrefix(series, "kafka_guarded_")
	})
	return m
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		batches [][]string
		// faults adds faults to the broker before the stream starts.
		faults func(*cluster)
		refuse func(*int) error // the error of the dead-letter output, by call
		lines  []string
		want   map[string]int64
	}{
		{
			name: "all is delivered", batches: [][]string{{"m0", "m1"}, {"m2"}}, lines: []string{"topic: t"},
			want: map[string]int64{"kafka_guarded_delivered": 3, "kafka_guarded_topic_max_bytes{topic=t}": 20000},
		},
		{
			name: "one is rejected by the broker, and what is as large before it is sent", batches: [][]string{{"m0", big + "1", "m2"}, {"bad", big + "4", "m5"}}, lines: []string{topicByContent},
			want: map[string]int64{
				"kafka_guarded_delivered":                          3,
				"kafka_guarded_failed{class=size_exceeded}":        2,
				"kafka_guarded_failed{class=unroutable}":           1,
				"kafka_guarded_rejected":                           1,
				"kafka_guarded_dead_lettered{class=size_exceeded}": 2,
				"kafka_guarded_dead_lettered{class=unroutable}":    1,
				"kafka_guarded_topic_max_bytes{topic=t}":           20000,
			},
		},
		{
			name: "the broker refuses one of four, the child fails twice", batches: [][]string{{"m0", "POISON", "m2", "m3"}}, lines: []string{"topic: t"},
			faults: func(c *cluster) { c.Refuse("t", 0, "POISON", kerr.InvalidRecord) },
			refuse: func(tries *int) error {
				if *tries++; *tries <= 2 {
					return kerr.UnknownServerError
				}
				return nil
			},
			want: map[string]int64{
				"kafka_guarded_delivered":                           3,
				"kafka_guarded_failed{class=invalid_record}":        1,
				"kafka_guarded_rejected":                            1,
				"kafka_guarded_delivered_after_rejection":           3,
				"kafka_guarded_dead_letter_failed":                  2,
				"kafka_guarded_dead_lettered{class=invalid_record}": 1,
				"kafka_guarded_topic_max_bytes{topic=t}":            20000,
			},
		},
		{
			name: "held until the right is there", batches: [][]string{{"m0", "m1", "m2"}}, lines: []string{"topic: t"},
			faults: func(c *cluster) {
				c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Err: kerr.TopicAuthorizationFailed, Count: 2})
			},
			want: map[string]int64{
				"kafka_guarded_delivered":                   3,
				"kafka_guarded_retried{class=unauthorized}": 6,
				"kafka_guarded_topic_max_bytes{topic=t}":    20000,
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1, limited)
			if test.faults != nil {
				test.faults(c)
			}
			m := newCounted()
			s := &streamtest.Stream{Batches: test.batches, Config: streamtest.Config{Metrics: m}}
			if test.refuse != nil {
				tries := 0
				s.Refuse = func(service.MessageBatch) error { return test.refuse(&tries) }
			}
			require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}", test.lines...)))
			for n := range test.batches {
				require.NoError(t, s.Acked()[n])
			}
			require.Equal(t, test.want, m.own())
			require.NotZero(t, m.timed["kafka_guarded_latency_ns"])
		})
	}
}

// A write that ends with a shutdown while its batch is in flight counts as uncertain.
func TestMetricsCountTheUncertain(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	m := newCounted()
	s := &streamtest.Stream{Batches: [][]string{{"m0", "m1"}}, Config: streamtest.Config{Metrics: m}}
	stuck := c.RefuseAll("t", kerr.RequestTimedOut)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_ = stuck.Wait(t.Context(), 1)
		cancel()
	}()
	require.False(t, s.Run(t, ctx, c.withDeadLetter("capture: {}", "topic: t")))
	require.Equal(t, map[string]int64{
		"kafka_guarded_failed{class=transient}":  2,
		"kafka_guarded_uncertain":                2,
		"kafka_guarded_topic_max_bytes{topic=t}": 1048588,
	}, m.own())
	require.Equal(t, once("m0", "m1"), c.Values("t"), "it may have been written, and was")
}

// A metric that appears with its first event can't be told from a missing one. An alert
// on its increase would miss that event.
func TestMetricsAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	m := newCounted()
	s := &streamtest.Stream{Config: streamtest.Config{Metrics: m}}
	require.True(t, s.Run(t, t.Context(), c.alone("topic: t")))
	require.Empty(t, m.own())
	for _, series := range []string{
		"kafka_guarded_delivered", "kafka_guarded_uncertain", "kafka_guarded_dead_letter_failed",
		"kafka_guarded_delivery_report_failed", "kafka_guarded_delivery_report_given_up",
		"kafka_guarded_failed{class=size_exceeded}", "kafka_guarded_retried{class=transient}", "kafka_guarded_dead_lettered{class=unroutable}",
		"kafka_guarded_waiting{class=unknown_topic}", "kafka_guarded_waiting{class=transient}", "kafka_guarded_waiting{class=buffer}",
		"kafka_guarded_waiting{class=dead_letter}", "kafka_guarded_waiting{class=delivery_report}",
	} {
		require.Contains(t, m.values, series)
	}
}

func TestMetricsShowWhatWaitsForAChild(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	m := newCounted()
	var waiting []int64
	s := &streamtest.Stream{Batches: [][]string{{big + "1", "m1", big + "2"}}, Config: streamtest.Config{Metrics: m}}
	s.Refuse = func(service.MessageBatch) error {
		waiting = append(waiting, m.own()["kafka_guarded_waiting{class=dead_letter}"])
		if len(waiting) <= 2 {
			return kerr.UnknownServerError
		}
		return nil
	}
	require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}", "topic: t")))
	// The batch, then the first letter, the second, and the first again.
	require.Equal(t, []int64{0, 2, 2, 1}, waiting)
	require.NotContains(t, m.own(), "kafka_guarded_waiting{class=dead_letter}")
}
