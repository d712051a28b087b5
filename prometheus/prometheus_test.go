package prometheus

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

func start(t *testing.T, yaml string) *exporter {
	t.Helper()
	conf, err := spec().ParseYAML(yaml, nil)
	require.NoError(t, err)
	e, err := newExporter(conf, service.MockResources().Logger())
	require.NoError(t, err)
	return e
}

func scrape(e *exporter) string {
	w := httptest.NewRecorder()
	e.HandlerFunc()(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	e := start(t, "")
	c := e.NewCounterCtor("kafka_guarded_delivered", "label")
	c("a").Incr(2)
	c("b").Incr(1)
	e.NewCounterCtor("kafka_guarded_delivered", "label")("a").Incr(3) // a second output
	e.NewGaugeCtor("kafka_guarded_waiting", "class")("transient").Set(7)
	e.NewTimerCtor("kafka_guarded_latency_ns")().Timing(1500)
	text := scrape(e)
	for _, want := range []string{
		`kafka_guarded_delivered{label="a"} 5`, `kafka_guarded_delivered{label="b"} 1`,
		`kafka_guarded_waiting{class="transient"} 7`,
		`kafka_guarded_latency_ns{quantile="0.99"} 1500`, "kafka_guarded_latency_ns_count 1",
	} {
		require.Contains(t, text, want+"\n")
	}
	require.NotContains(t, text, "process_")
	require.NotContains(t, text, "go_")
}

func TestHistogramIsInSeconds(t *testing.T) {
	t.Parallel()
	e := start(t, "use_histogram_timing: true\nhistogram_buckets: [ 1, 2 ]")
	e.NewTimerCtor("latency", "label")("a").Timing(1_500_000_000)
	text := scrape(e)
	require.Contains(t, text, `latency_bucket{label="a",le="1"} 0`+"\n")
	require.Contains(t, text, `latency_bucket{label="a",le="2"} 1`+"\n")
	require.Contains(t, text, `latency_sum{label="a"} 1.5`+"\n")
}

func TestMetricsOfTheProcess(t *testing.T) {
	t.Parallel()
	require.Contains(t, scrape(start(t, "add_go_metrics: true")), "go_goroutines ")
}

// A metric that can't be served is left out, and the existing one goes on.
func TestMetricThatCannotBeServedIsLeftOut(t *testing.T) {
	t.Parallel()
	e := start(t, "")
	e.NewCounterCtor("m", "a")("x").Incr(1)
	e.NewCounterCtor("m", "a", "b")("x", "y").Incr(1)
	e.NewGaugeCtor("m", "a")("x").Set(9)
	e.NewTimerCtor("m", "a")("x").Timing(9)
	e.NewCounterCtor("not-a-name")().Incr(1)
	require.Equal(t, "# HELP m Benthos Counter metric\n# TYPE m counter\nm{a=\"x\"} 1\n", scrape(e))
}

// The value of a label may be out of a message.
func TestALabelMayBeBytes(t *testing.T) {
	t.Parallel()
	for _, config := range []string{"", "use_histogram_timing: true"} {
		e := start(t, config)
		e.NewCounterCtor("c", "a", "b")("x\xff\xfey", "é").Incr(1)
		e.NewGaugeCtor("g", "a")("\xff").Set(2)
		e.NewTimerCtor("t", "a")("\xff").Timing(3)
		text := scrape(e)
		for _, want := range []string{`c{a="x�y",b="é"} 1`, `g{a="�"} 2`, `t_count{a="�"} 1`} {
			require.Contains(t, text, want+"\n")
		}
	}
}

// Streams mode deletes the series of a stream that is removed.
func TestSeriesAreDeleted(t *testing.T) {
	t.Parallel()
	e := start(t, "")
	c := e.NewCounterCtor("m", "stream")
	c("a").Incr(1)
	c("b").Incr(1)
	e.DeleteSeriesPartialMatch(map[string]string{"stream": "a"})
	require.NotContains(t, scrape(e), `stream="a"`)
	require.Contains(t, scrape(e), `stream="b"`)
}
