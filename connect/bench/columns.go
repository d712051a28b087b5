//go:build linux || darwin

package main

// column is a column of a table.
type column struct {
	head string
	cell func(all samples, of, against key) (string, bool)
}

// value is a column with a figure.
func value(head string, m metric, show func(stat) string) column {
	return column{head, func(all samples, of, _ key) (string, bool) {
		s, ok := all.of(of, m)
		return show(s), ok
	}}
}

// ratio is a column with a figure divided by another row's.
func ratio(head string, m metric) column {
	return column{head, func(all samples, of, against key) (string, bool) {
		s, ok := all.ratio(of, key{}, against, m)
		return s.ratios(), ok
	}}
}

// toOther is the head of a ratio's column, until the other row is known.
const toOther = "ratio"

// columns are those of the scenario's tables on a target.
func (s scenario) columns(p place) []column {
	memory := value("peak RSS, MB", peakMB, stat.short)
	all := value("arrived", arrived, stat.share)
	thousands := value("k msg/s", func(s sample) float64 { return rate(s) / 1e3 }, stat.long)
	cpuEach := value("CPU, us", func(s sample) float64 { return cpu(s) * 1e6 }, stat.short)
	switch s.kind {
	case finding:
		return []column{value("produce requests", requests, stat.long), all}
	case once:
		return []column{value("seconds", wall, stat.ratios), ratio(toOther, wall), memory, all}
	case firstWrites:
		return []column{
			value("p50, ms", ackedP50, stat.ratios), ratio(toOther, ackedP50),
			value("p99, ms", ackedP99, stat.ratios), memory, all,
		}
	case recovering:
		return []column{
			value("backlog gone after, s", gone, stat.ratios), ratio(toOther, gone),
			value("longest silence, s", silence, stat.ratios), memory, all,
		}
	case paced:
		l := base.with(s.change)
		if l.Rate == 0 && !l.HalfOfMost {
			return []column{thousands, ratio(toOther, rate), cpuEach, ratio(toOther, cpu), memory, all}
		}
		return []column{
			value("consumed: p50, ms", consumedP50, stat.ratios), ratio(toOther, consumedP50),
			value("p99", consumedP99, stat.ratios), ratio(toOther, consumedP99),
			value("p99.9", consumedP999, stat.short),
			value("acknowledged: p50, ms", ackedP50, stat.ratios), value("p99", ackedP99, stat.short), value("p99.9", ackedP999, stat.short),
			thousands, cpuEach, all,
		}
	case rates:
	}
	columns := []column{
		thousands, ratio(toOther, rate), cpuEach, ratio(toOther, cpu),
		value("brokers' CPU, us", func(s sample) float64 { return brokersEach(s) * 1e6 }, stat.short), ratio(toOther, brokersEach),
	}
	if l := base.with(s.change); l.PoisonEvery == 0 { // else the messages have several sizes
		columns = append(columns, value("CPU, ms/MB", func(s sample) float64 { return cpu(s) * 1e9 / float64(l.Size) }, stat.short))
	}
	columns = append(columns, value("allocations", allocs, stat.short), value("bytes", allocated, stat.short), memory)
	if p.proxied {
		columns = append(columns, value("connections to a node", connections, stat.short))
	}
	return append(columns, all)
}
