//go:build linux || darwin

package soak

import (
	"fmt"
	"strings"
)

// Sizes of the plot.
const (
	plotWidth   = 760
	plotLeft    = 60
	chartHeight = 90
	chartSpace  = 40 // above each chart, with its title
)

const plotStyle = `<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.line { fill: none; stroke: #0969da; stroke-width: 1.2 }
.axis { stroke: #8c959f; stroke-width: 1 }
.fault { fill: #8c959f; opacity: .2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .line { stroke: #4493f8 }
}
</style>
`

// plot is an SVG of what was in use over time, and of the rate. Faults are grey.
func (j *journal) plot() string {
	if len(j.samples) < 2 {
		return "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n"
	}
	last := j.samples[len(j.samples)-1].at.Seconds()
	x := func(seconds float64) float64 { return plotLeft + (plotWidth-plotLeft-10)*seconds/last }
	var b strings.Builder
	y := 0
	for _, chart := range []struct {
		title string
		value func(before, s sample) float64
	}{
		{"memory (RSS), MB", func(_, s sample) float64 { return float64(s.rss) / (1 << 20) }},
		{"goroutines", func(_, s sample) float64 { return float64(s.goroutines) }},
		{"connections", func(_, s sample) float64 { return float64(s.connections) }},
		{"file descriptors", func(_, s sample) float64 { return float64(s.fds) }},
		{"thousand messages acknowledged per second", func(before, s sample) float64 {
			return float64(s.answered-before.answered) / (s.at - before.at).Seconds() / 1000
		}},
	} {
		y += chartSpace
		most := 1.0
		for i := 1; i < len(j.samples); i++ {
			most = max(most, chart.value(j.samples[i-1], j.samples[i]))
		}
		bottom := float64(y + chartHeight)
		fmt.Fprintf(&b, "<text class=\"title\" x=\"%d\" y=\"%d\">%s</text>\n", plotLeft, y-10, chart.title)
		for _, f := range j.faults {
			fmt.Fprintf(&b, "<rect class=\"fault\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n",
				x(f.from.Seconds()), y, max(0.5, x(min(last, f.to.Seconds()))-x(f.from.Seconds())), chartHeight)
		}
		fmt.Fprintf(&b, "<path class=\"axis\" d=\"M%d %dV%.0fH%d\" fill=\"none\"/>\n", plotLeft, y, bottom, plotWidth-10)
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f</text>\n<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">0</text>\n",
			plotLeft-6, y+10, most, plotLeft-6, bottom)
		b.WriteString("<path class=\"line\" d=\"")
		for i := 1; i < len(j.samples); i++ {
			letter := "L"
			if i == 1 {
				letter = "M"
			}
			s := j.samples[i]
			fmt.Fprintf(&b, "%s%.1f %.1f", letter, x(s.at.Seconds()), bottom-chartHeight*chart.value(j.samples[i-1], s)/most)
		}
		b.WriteString("\"/>\n")
		y += chartHeight
	}
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\">0</text>\n<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f minutes; faults are grey</text>\n",
		plotLeft, y+18, plotWidth-10, y+18, last/60)
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\" aria-label=\"what the process has in use over time\">\n",
		plotWidth, y+26, plotWidth) + plotStyle + b.String() + "</svg>\n"
}
