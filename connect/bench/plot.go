//go:build linux || darwin

package main

import (
	"fmt"
	"strings"
)

// Sizes of the plot.
const (
	plotWidth  = 760
	labelWidth = 250
	barHeight  = 16
	lineHeight = 24
	titleSpace = 36
)

const plotStyle = `<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.bar { fill: #8c959f }
.ours { fill: #0969da }
.whisker { stroke: #24292f; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #6e7681 }
  .ours { fill: #4493f8 }
  .whisker { stroke: #e6edf3 }
}
</style>
`

// onChart are the rows of the chart, by names that need no further text. The second run
// of kafka_franz, which shows how much the machine varies, is left out.
var onChart = map[string]string{
	guarded:     "kafka_guarded",
	franz:       "kafka_franz, with our GC headroom",
	stockFranz:  "kafka_franz, as it is",
	redpanda:    "redpanda",
	sarama:      "kafka (sarama)",
	asFranz:     "franz-go alone, set as kafka_franz",
	produceSync: "franz-go alone, ProduceSync",
	guardWrite:  "our package guard alone",
	drop:        "no output at all",
}

var targetOnChart = map[string]string{blackhole: "to a broker that stores nothing", kafka: "to one node of Apache Kafka"}

// plot is an SVG of the rates of the base scenario, or empty if it was not measured. A
// bar shows the median, its line the range from least to most.
func plot(all samples) string {
	const name = "base"
	if !all.has(name) {
		return ""
	}
	most := 0.0
	for _, s := range all {
		if s.Scenario == name {
			most = max(most, rate(s))
		}
	}
	x := func(rate float64) float64 {
		return labelWidth + (plotWidth-labelWidth-90)*rate/most
	}
	var b strings.Builder
	y := 0
	for _, target := range []string{blackhole, kafka} {
		titled := false
		for _, r := range everyone {
			s, ok := all.of(key{name, target, r.title()}, rate)
			label := onChart[r.title()]
			if !ok || label == "" {
				continue
			}
			if !titled {
				y += titleSpace
				fmt.Fprintf(&b, "<text class=\"title\" x=\"0\" y=\"%d\">Thousand messages of 1 kB per second, %s (median, least to most)</text>\n", y-12, targetOnChart[target])
				titled = true
			}
			class := "bar"
			if r.runner == guarded {
				class = "bar ours"
			}
			middle := y + barHeight/2
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labelWidth-8, y+13, label)
			fmt.Fprintf(&b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", class, labelWidth, y, x(s.median)-labelWidth, barHeight)
			fmt.Fprintf(&b, "<path class=\"whisker\" d=\"M%.1f %dH%.1f\"/>\n", x(s.min), middle, x(s.max))
			fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", x(s.max)+8, y+13, digits(s.median/1e3))
			y += lineHeight
		}
	}
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\" aria-label=\"messages per second\">\n", plotWidth, y, plotWidth) + plotStyle + b.String() + "</svg>\n"
}
