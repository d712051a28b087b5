// Package prometheus registers the metrics exporter prometheus, which serves the
// metrics of Benthos at /metrics and /stats.
//
// Benthos has none of its own. Names, types and labels are those of the exporter in
// Redpanda Connect, so that dashboards and alerts serve both. Its fields for a push
// gateway, a file and quantiles are left out. A binary has this package or Redpanda
// Connect's components/prometheus, not both.
package prometheus

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/model"
	"github.com/redpanda-data/benthos/v4/public/service"
)

const (
	fieldHistogram = "use_histogram_timing"
	fieldBuckets   = "histogram_buckets"
	fieldProcess   = "add_process_metrics"
	fieldGo        = "add_go_metrics"
)

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Summary("Serves metrics to Prometheus at `/metrics` and `/stats`.").
		Fields(
			service.NewBoolField(fieldHistogram).
				Description("Exports timings as a histogram in seconds, in place of a summary in nanoseconds.").
				Default(false),
			service.NewFloatListField(fieldBuckets).
				Description("The upper bounds of a histogram's buckets, in seconds. The default is Prometheus' own, from 5 ms to 10 s.").
				Default([]any{}),
			service.NewBoolField(fieldProcess).
				Description("Exports CPU, memory and file descriptors of the process, too.").
				Default(false),
			service.NewBoolField(fieldGo).
				Description("Exports the metrics of the Go runtime, too.").
				Default(false),
		)
}

func init() {
	service.MustRegisterMetricsExporter("prometheus", spec(), func(conf *service.ParsedConfig, log *service.Logger) (service.MetricsExporter, error) {
		return newExporter(conf, log)
	})
}

// A vector is a metric with all its series.
type vector interface {
	prometheus.Collector
	DeletePartialMatch(labels prometheus.Labels) int
}

type registered struct {
	vector
	labels []string
}

type exporter struct {
	log       *service.Logger
	registry  *prometheus.Registry
	histogram bool
	buckets   []float64

	mu      sync.Mutex
	vectors map[string]registered
}

func newExporter(conf *service.ParsedConfig, log *service.Logger) (*exporter, error) {
	e := &exporter{log: log, registry: prometheus.NewRegistry(), vectors: map[string]registered{}}
	var err error
	if e.histogram, err = conf.FieldBool(fieldHistogram); err != nil {
		return nil, err
	}
	if e.buckets, err = conf.FieldFloatList(fieldBuckets); err != nil {
		return nil, err
	}
	for _, extra := range []struct {
		field     string
		collector prometheus.Collector
	}{
		{fieldProcess, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})},
		{fieldGo, collectors.NewGoCollector()},
	} {
		on, err := conf.FieldBool(extra.field)
		if err != nil {
			return nil, err
		}
		if on {
			e.registry.MustRegister(extra.collector)
		}
	}
	return e, nil
}

func (e *exporter) HandlerFunc() http.HandlerFunc {
	return promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{}).ServeHTTP
}

func (e *exporter) Close(context.Context) error { return nil }

// DeleteSeriesPartialMatch drops the series of a stream that streams mode has removed.
func (e *exporter) DeleteSeriesPartialMatch(labels map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.vectors {
		v.DeletePartialMatch(labels)
	}
}

// register returns the metric with a name, and makes it at first. It leaves out and
// logs two kinds: a metric that Prometheus does not accept, and one that exists with
// other labels or another type. The stream goes on.
func register[V vector](e *exporter, name string, labels []string, create func() V) (v V, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r, there := e.vectors[name]; there {
		if v, ok = r.vector.(V); ok && slices.Equal(r.labels, labels) {
			return v, true
		}
		e.log.Errorf("Left out metric %q with the labels %q: it is there with the labels %q, or as another type", name, labels, r.labels)
		return v, false
	}
	if !model.LegacyValidation.IsValidMetricName(name) {
		e.log.Errorf("Left out metric %q: Prometheus takes letters, digits, _ and : in a name", name)
		return v, false
	}
	v = create()
	if err := e.registry.Register(v); err != nil {
		e.log.Errorf("Left out metric %q: %v", name, err)
		return v, false
	}
	e.vectors[name] = registered{v, slices.Clone(labels)}
	return v, true
}

// texts returns the values of labels as UTF-8. The client library panics for others, and a
// processor metric may take a value out of a message.
func texts(values []string) []string {
	valid := make([]string, len(values))
	for i, v := range values {
		valid[i] = strings.ToValidUTF8(v, "\uFFFD")
	}
	return valid
}

func (e *exporter) NewCounterCtor(name string, labels ...string) service.MetricsExporterCounterCtor {
	v, ok := register(e, name, labels, func() *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: "Benthos Counter metric"}, labels)
	})
	return func(values ...string) service.MetricsExporterCounter {
		if !ok {
			return nothing{}
		}
		return counter{v.WithLabelValues(texts(values)...)}
	}
}

func (e *exporter) NewGaugeCtor(name string, labels ...string) service.MetricsExporterGaugeCtor {
	v, ok := register(e, name, labels, func() *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: "Benthos Gauge metric"}, labels)
	})
	return func(values ...string) service.MetricsExporterGauge {
		if !ok {
			return nothing{}
		}
		return gauge{v.WithLabelValues(texts(values)...)}
	}
}

func (e *exporter) NewTimerCtor(name string, labels ...string) service.MetricsExporterTimerCtor {
	var with func(values ...string) prometheus.Observer
	var ok bool
	if e.histogram {
		var v *prometheus.HistogramVec
		v, ok = register(e, name, labels, func() *prometheus.HistogramVec {
			return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: "Benthos Timing metric", Buckets: e.buckets}, labels)
		})
		with = v.WithLabelValues
	} else {
		var v *prometheus.SummaryVec
		v, ok = register(e, name, labels, func() *prometheus.SummaryVec {
			return prometheus.NewSummaryVec(prometheus.SummaryOpts{
				Name: name, Help: "Benthos Timing metric",
				Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001},
			}, labels)
		})
		with = v.WithLabelValues
	}
	return func(values ...string) service.MetricsExporterTimer {
		if !ok {
			return nothing{}
		}
		return timer{with(texts(values)...), e.histogram}
	}
}
