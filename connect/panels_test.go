//go:build linux || darwin

package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"
)

// step is the time between two points of a series.
const step = time.Second

type point struct{ x, y float64 } // seconds and value

type drawnSeries struct {
	name   string
	points []point
}

// most is the largest value, and false if no value is a number.
func (s drawnSeries) most() (y float64, ok bool) {
	for _, p := range s.points {
		if !math.IsNaN(p.y) && !math.IsInf(p.y, 0) {
			y, ok = max(y, p.y), true
		}
	}
	return y, ok
}

// moves reports whether a value is above 0.
func (s drawnSeries) moves() bool {
	y, ok := s.most()
	return ok && y > 0
}

type drawnPanel struct {
	title  string
	unit   string            // its name in Grafana
	colors map[string]string // by the name of the series
	series []drawnSeries
}

// Sizes of the picture.
const (
	panelsPerRow = 3
	panelWidth   = 380
	panelHeight  = 230
	graphHeight  = 120
	margin       = 56
	mostSeries   = 6 // in a panel: the ones with the largest values
)

// palette has the colors of series without a color of their own. A name has the same
// color in all panels.
type palette map[string]string

func (p palette) of(name string, own map[string]string) string {
	if c := own[name]; c != "" {
		return c
	}
	if p[name] == "" {
		others := []string{"#0969da", "#bf3989", "#1a7f37", "#bc4c00", "#8250df", "#9a6700", "#57606a", "#cf222e", "#0a7ea4", "#6639ba", "#953800", "#116329"}
		p[name] = others[len(p)%len(others)]
	}
	return p[name]
}

// draw makes an SVG of panels, laid out as in Grafana. A legend has only series that
// moved.
func draw(panels []drawnPanel) string {
	rows := (len(panels) + panelsPerRow - 1) / panelsPerRow
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"the dashboard\">\n", panelsPerRow*panelWidth, rows*panelHeight)
	b.WriteString("<style>text { font: 11px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 13px } .series { fill: none; stroke-width: 1.5 } .axis { stroke: #8c959f } .grid { stroke: #eaeef2 } rect { fill: #ffffff }</style>\n")
	fmt.Fprintf(&b, "<rect width=\"%d\" height=\"%d\"/>\n", panelsPerRow*panelWidth, rows*panelHeight)
	colors := palette{}
	for i, p := range panels {
		fmt.Fprintf(&b, "<g transform=\"translate(%d,%d)\">\n", i%panelsPerRow*panelWidth, i/panelsPerRow*panelHeight)
		p.draw(&b, colors)
		b.WriteString("</g>\n")
	}
	return b.String() + "</svg>\n"
}

func (p drawnPanel) draw(b *strings.Builder, colors palette) {
	series := slices.DeleteFunc(slices.Clone(p.series), func(s drawnSeries) bool { return !s.moves() })
	slices.SortFunc(series, func(a, b drawnSeries) int {
		x, _ := a.most()
		y, _ := b.most()
		return cmp.Or(cmp.Compare(y, x), cmp.Compare(a.name, b.name))
	})
	more := max(0, len(series)-mostSeries)
	series = series[:len(series)-more]
	top, right := 0.0, 1.0
	for _, s := range p.series {
		y, _ := s.most()
		top = max(top, y)
		if n := len(s.points); n > 0 {
			right = max(right, s.points[n-1].x)
		}
	}
	top = rounded(top)
	const width, bottom = panelWidth - margin - 20, 28 + graphHeight
	fmt.Fprintf(b, "<text class=\"title\" x=\"%d\" y=\"18\">%s</text>\n", margin, html.EscapeString(p.title))
	for _, part := range []float64{0, 0.5, 1} {
		y := float64(bottom) - graphHeight*part
		fmt.Fprintf(b, "<path class=\"grid\" d=\"M%d %.0fH%d\"/>\n", margin, y, margin+width)
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%s</text>\n", margin-4, y+4, inUnit(top*part, p.unit))
	}
	fmt.Fprintf(b, "<path class=\"axis\" d=\"M%d 28V%dH%d\" fill=\"none\"/>\n", margin, bottom, margin+width)
	for seconds, every := 0.0, rounded(right/5); seconds <= right; seconds += every {
		fmt.Fprintf(b, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"middle\">%.0f s</text>\n", margin+width*seconds/right, bottom+13, seconds)
	}
	for i, s := range series {
		color := colors.of(s.name, p.colors)
		fmt.Fprintf(b, "<path class=\"series\" stroke=\"%s\" d=\"", color)
		for k, pt := range s.points {
			if math.IsNaN(pt.y) || math.IsInf(pt.y, 0) {
				continue
			}
			to := "L"
			if k == 0 || pt.x-s.points[k-1].x > 1.5*step.Seconds() || math.IsNaN(s.points[k-1].y) {
				to = "M"
			}
			fmt.Fprintf(b, "%s%.0f,%.1f", to, margin+width*pt.x/right, bottom-graphHeight*pt.y/top)
		}
		b.WriteString("\"/>\n")
		x, y := margin+i%2*width/2, bottom+30+i/2*14
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" style=\"fill:%s\">%s</text>\n", x, y, color, html.EscapeString(strings.TrimPrefix(strings.TrimPrefix(s.name, "KafkaGuarded"), "root.")))
	}
	if more > 0 {
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\">and %d lower ones</text>\n", margin, bottom+30+mostSeries/2*14, more)
	}
}

// rounded returns the next larger number of the form 1, 2 or 5 times a power of ten.
func rounded(y float64) float64 {
	if y <= 0 {
		return 1
	}
	size := math.Pow(10, math.Floor(math.Log10(y)))
	for _, digit := range []float64{1, 2, 5} {
		if y <= digit*size {
			return digit * size
		}
	}
	return 10 * size
}

// inUnit formats a number in one of Grafana's units.
func inUnit(y float64, unit string) string {
	switch {
	case unit == "s" && y > 0 && y < 1:
		return fmt.Sprintf("%.3g ms", 1000*y)
	case unit == "s":
		return fmt.Sprintf("%.3g s", y)
	case unit == "cps":
		return short(y) + "/s"
	case unit == "percentunit":
		return fmt.Sprintf("%.3g %%", 100*y)
	case unit == "bytes":
		return short(y) + "B"
	}
	return short(y)
}

// short formats a number with the prefix for its size.
func short(y float64) string {
	for _, unit := range []struct {
		of   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if y >= unit.of {
			return fmt.Sprintf("%.3g%s", y/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%.3g", y)
}
