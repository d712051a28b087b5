//go:build linux || darwin

package soak

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Sizes of the plot.
const (
	plotWidth   = 760
	plotLeft    = 180
	plotPoints  = 200 // of a line, at most: each point is the median of several samples
	chartHeight = 90
	chartSpace  = 40 // above each chart, with its title
	rowHeight   = 12 // for each kind of fault
)

const plotStyle = `<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.kind { font-size: 10px }
.line { fill: none; stroke: #0969da; stroke-width: 1.2 }
.axis { fill: none; stroke: #8c959f; stroke-width: 1 }
.fault { fill: none; stroke: #cf222e; stroke-width: 8 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .line { stroke: #4493f8 }
  .fault { stroke: #ff7b72 }
}
</style>
`

// plot is an SVG of the faults, of what was in use over time, and of the rate.
func (j *journal) plot() string {
	if len(j.samples) < 2 {
		return "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n"
	}
	last := j.samples[len(j.samples)-1].at.Seconds()
	x := func(seconds float64) float64 { return plotLeft + (plotWidth-plotLeft-10)*seconds/last }
	var b strings.Builder
	y := chartSpace
	fmt.Fprintf(&b, "<text class=\"title\" x=\"%d\" y=\"%d\">faults, each until all streams have made progress</text>\n", plotLeft, y-10)
	for _, kind := range faults {
		y += rowHeight
		fmt.Fprintf(&b, "<text class=\"kind\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n<path class=\"fault\" d=\"", plotLeft-6, y, kind.name)
		for _, f := range j.faults {
			if f.name == kind.name {
				from := x(f.from.Seconds())
				fmt.Fprintf(&b, "M%.1f %dh%.1f", from, y-4, max(0.5, x(min(last, f.to.Seconds()))-from))
			}
		}
		b.WriteString("\"/>\n")
	}
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
		points := thinned(j.samples, chart.value)
		most := 1.0
		for _, p := range points {
			most = max(most, p.value)
		}
		bottom := float64(y + chartHeight)
		fmt.Fprintf(&b, "<text class=\"title\" x=\"%d\" y=\"%d\">%s</text>\n", plotLeft, y-10, chart.title)
		fmt.Fprintf(&b, "<path class=\"axis\" d=\"M%d %dV%.0fH%d\"/>\n", plotLeft, y, bottom, plotWidth-10)
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f</text>\n<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">0</text>\n",
			plotLeft-6, y+10, most, plotLeft-6, bottom)
		b.WriteString("<path class=\"line\" d=\"")
		for i, p := range points {
			letter := "L"
			if i == 0 {
				letter = "M"
			}
			fmt.Fprintf(&b, "%s%.1f %.1f", letter, x(p.seconds), bottom-chartHeight*p.value/most)
		}
		b.WriteString("\"/>\n")
		y += chartHeight
	}
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\">0</text>\n<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f minutes</text>\n",
		plotLeft, y+18, plotWidth-10, y+18, last/60)
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\" aria-label=\"what the process has in use over time\">\n",
		plotWidth, y+26, plotWidth) + plotStyle + b.String() + "</svg>\n"
}

// plotPoint is a point of a line.
type plotPoint struct{ seconds, value float64 }

// thinned returns at most plotPoints points of a line. Each is the median of its part
// of the samples.
func thinned(samples []sample, value func(before, s sample) float64) (points []plotPoint) {
	n := len(samples) - 1
	parts := min(n, plotPoints)
	for part := range parts {
		from, to := 1+part*n/parts, 1+(part+1)*n/parts
		var values []float64
		for i := from; i < to; i++ {
			values = append(values, value(samples[i-1], samples[i]))
		}
		slices.Sort(values)
		points = append(points, plotPoint{samples[(from+to-1)/2].at.Seconds(), values[len(values)/2]})
	}
	return points
}

// The plot of a day with a fault every five minutes is small, and has each fault.
func TestThePlotIsSmall(t *testing.T) {
	t.Parallel()
	j := &journal{}
	for second := range 24 * 3600 {
		j.samples = append(j.samples, sample{at: time.Duration(second) * time.Second, rss: int64(second%977) << 20, goroutines: int64(second % 131),
			connections: int64(second % 37), fds: int64(second % 53), answered: uint64(second) * 20_000})
		if second%300 == 0 {
			from := time.Duration(second) * time.Second
			j.faults = append(j.faults, happened{faults[len(j.faults)%len(faults)].name, from, from + 8*time.Second})
		}
	}
	plot := j.plot()
	require.Less(t, len(plot), 40_000)
	for _, kind := range faults {
		require.Contains(t, plot, kind.name)
	}
	require.Equal(t, len(j.faults), strings.Count(plot, "h0.")+strings.Count(plot, "h1."), "each fault is drawn")
}
