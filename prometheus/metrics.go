package prometheus

import "github.com/prometheus/client_golang/prometheus"

type counter struct{ prometheus.Counter }

func (c counter) Incr(n int64)          { c.Add(float64(n)) }
func (c counter) IncrFloat64(n float64) { c.Add(n) }

type gauge struct{ prometheus.Gauge }

func (g gauge) Set(n int64)          { g.Gauge.Set(float64(n)) }
func (g gauge) SetFloat64(n float64) { g.Gauge.Set(n) }

type timer struct {
	prometheus.Observer
	seconds bool
}

// Timing is in nanoseconds.
func (t timer) Timing(d int64) {
	if t.seconds {
		t.Observe(float64(d) / 1e9)
		return
	}
	t.Observe(float64(d))
}

// nothing is a metric that was left out.
type nothing struct{}

func (nothing) Incr(int64)          {}
func (nothing) IncrFloat64(float64) {}
func (nothing) Set(int64)           {}
func (nothing) SetFloat64(float64)  {}
func (nothing) Timing(int64)        {}
