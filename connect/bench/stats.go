//go:build linux || darwin

package main

import (
	"fmt"
	"slices"
)

// metric is a figure of a run.
type metric func(sample) float64

// rate is the number of good messages per second that arrived. For a runner without a
// topic all messages count.
func rate(s sample) float64 {
	r := float64(s.Messages) / s.Seconds
	if s.Row != drop {
		r *= float64(min(s.Arrived, s.Good)) / float64(s.Sent)
	}
	return r
}

// Per message, whether it arrives or not.
func took(s sample) float64        { return s.Seconds / float64(s.Messages) }
func cpu(s sample) float64         { return s.CPU / float64(s.Messages) }
func brokersEach(s sample) float64 { return s.BrokersCPU / float64(s.Sent) }
func allocs(s sample) float64      { return s.Allocs / float64(s.Messages) }
func allocated(s sample) float64   { return s.Bytes / float64(s.Messages) }

// Of the whole process.
func peak(s sample) float64 { return float64(s.PeakRSS) }
func wall(s sample) float64 { return s.Wall }

// Delays in milliseconds, from the time a message was due.
func ackedP50(s sample) float64     { return s.Acked.P50 }
func ackedP99(s sample) float64     { return s.Acked.P99 }
func ackedP999(s sample) float64    { return s.Acked.P999 }
func consumedP50(s sample) float64  { return s.Consumed.P50 }
func consumedP99(s sample) float64  { return s.Consumed.P99 }
func consumedP999(s sample) float64 { return s.Consumed.P999 }

// Seconds after an outage, and in all.
func gone(s sample) float64    { return s.Gone }
func silence(s sample) float64 { return s.Silence }

func requests(s sample) float64    { return s.Requests }
func connections(s sample) float64 { return s.Connections }

// arrived is the number of messages that arrived, divided by the number of those that
// should have arrived.
func arrived(s sample) float64 { return float64(s.Arrived) / float64(s.Good) }

// stat summarises a figure over several runs.
type stat struct{ median, min, max float64 }

func statOf(values []float64) (stat, bool) {
	if len(values) == 0 {
		return stat{}, false
	}
	slices.Sort(values)
	middle := len(values) / 2
	median := values[middle]
	if len(values)%2 == 0 {
		median = (values[middle-1] + median) / 2
	}
	return stat{median, values[0], values[len(values)-1]}, true
}

// samples are the runs of all rounds.
type samples []sample

// rounds is the number of rounds.
func (all samples) rounds() (n int) {
	for _, s := range all {
		n = max(n, s.Round+1)
	}
	return n
}

// find returns the run of a key in a round.
func (all samples) find(k key, round int) (sample, bool) {
	for _, s := range all {
		if s.key == k && s.Round == round {
			return s, true
		}
	}
	return sample{}, false
}

// of summarises a figure over all runs of a key.
func (all samples) of(k key, m metric) (stat, bool) {
	var values []float64
	for _, s := range all {
		if s.key == k {
			values = append(values, m(s))
		}
	}
	return statOf(values)
}

// ratio divides a figure of one key by that of another, round by round, since other
// load of the machine changes from round to round. First the figure of less is
// subtracted, if that key has a row. Without a row for to, it is the figure itself.
func (all samples) ratio(of, less, to key, m metric) (stat, bool) {
	var values []float64
	for round := range all.rounds() {
		a, ok := all.find(of, round)
		b, okLess := all.find(less, round)
		c, okTo := all.find(to, round)
		if !ok || less.Row != "" && !okLess || to.Row != "" && !okTo {
			continue
		}
		value := m(a)
		if less.Row != "" {
			value -= m(b)
		}
		if to.Row != "" {
			value /= m(c)
		}
		values = append(values, value)
	}
	return statOf(values)
}

// String is the line for a run while the bench goes on.
func (s sample) String() string {
	what := fmt.Sprintf("%.1f k msg/s, %.2f us CPU, %.0f MB, %.1f s", rate(s)/1e3, cpu(s)*1e6, peak(s)/1e6, s.Wall)
	switch {
	case s.Requests > 0:
		what = fmt.Sprintf("%.0f produce requests", s.Requests)
	case s.Gone > 0:
		what = fmt.Sprintf("backlog gone after %.2f s, longest silence %.2f s", s.Gone, s.Silence)
	case s.Consumed.Most > 0:
		what = fmt.Sprintf("consumed in %.2f, %.2f, %.2f ms (p50, p99, p99.9), acknowledged in %.2f, %.2f, %.2f, %s",
			s.Consumed.P50, s.Consumed.P99, s.Consumed.P999, s.Acked.P50, s.Acked.P99, s.Acked.P999, what)
	case s.Seconds == 0:
		what = fmt.Sprintf("%.2f, %.2f, %.2f ms (p50, p99, p99.9)", s.Acked.P50, s.Acked.P99, s.Acked.P999)
	}
	return fmt.Sprintf("%s, %s on %s: %s", s.Scenario, s.Row, s.Target, what)
}
