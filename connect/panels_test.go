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

// step is how far apart the points of a series are.
const step = time.Second

type point struct{ x, y float64 } // seconds, and what was measured

type drawnSeries struct {
	name   string
	points []point
}

// most is the largest of its values, ok if it has one that is a number.
func (s drawnSeries) most() (y float64, ok bool) {
	for _, p := range s.points {
		if !math.IsNaN(p.y) && !math.IsInf(p.y, 0) {
			y, ok = max(y, p.y), true
		}
	}
	return y, ok
}

// moves says whether there is anything to see of it.
func (s drawnSeries) moves() bool {
	y, ok := s.most()
	return ok && y > 0
}

type drawnPanel struct {
	title  string
	series []drawnSeries
}

// Sizes of the picture.
const (
	panelsPerRow = 3
	panelWidth   = 380
	panelHeight  = 230
	graphHeight  = 120
	margin       = 46
	legendLines  = 4
)

var colors = []string{"#0969da", "#bf3989", "#1a7f37", "#bc4c00", "#8250df", "#9a6700", "#57606a", "#cf222e"}

// draw makes an SVG of panels as Grafana would lay them out. A legend has the
// series that moved.
func draw(panels []drawnPanel) string {
	rows := (len(panels) + panelsPerRow - 1) / panelsPerRow
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"the dashboard\">\n", panelsPerRow*panelWidth, rows*panelHeight)
	b.WriteString("<style>text { font: 11px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 13px } .series { fill: none; stroke-width: 1.5 } .axis { stroke: #d0d7de } rect { fill: #ffffff }</style>\n")
	fmt.Fprintf(&b, "<rect width=\"%d\" height=\"%d\"/>\n", panelsPerRow*panelWidth, rows*panelHeight)
	for i, p := range panels {
		fmt.Fprintf(&b, "<g transform=\"translate(%d,%d)\">\n", i%panelsPerRow*panelWidth, i/panelsPerRow*panelHeight)
		p.draw(&b)
		b.WriteString("</g>\n")
	}
	return b.String() + "</svg>\n"
}

func (p drawnPanel) draw(b *strings.Builder) {
	series := slices.DeleteFunc(slices.Clone(p.series), func(s drawnSeries) bool { return !s.moves() })
	slices.SortFunc(series, func(a, b drawnSeries) int {
		x, _ := a.most()
		y, _ := b.most()
		return cmp.Compare(y, x)
	})
	top, right := 0.0, 0.0
	for _, s := range p.series {
		y, _ := s.most()
		top = max(top, y)
		if n := len(s.points); n > 0 {
			right = max(right, s.points[n-1].x)
		}
	}
	const width, bottom = panelWidth - margin - 14, 28 + graphHeight
	fmt.Fprintf(b, "<text class=\"title\" x=\"%d\" y=\"18\">%s</text>\n", margin, html.EscapeString(p.title))
	fmt.Fprintf(b, "<path class=\"axis\" d=\"M%d 28V%dH%d\" fill=\"none\"/>\n", margin, bottom, margin+width)
	fmt.Fprintf(b, "<text x=\"%d\" y=\"36\" text-anchor=\"end\">%s</text>\n", margin-4, short(top))
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%.0f s</text>\n", margin+width, bottom+13, right)
	for i, s := range series {
		color := colors[i%len(colors)]
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
		if i < 2*legendLines {
			x, y := margin+i%2*width/2, bottom+28+i/2*14
			fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" style=\"fill:%s\">%s</text>\n", x, y, color, html.EscapeString(strings.TrimPrefix(s.name, "KafkaGuarded")))
		}
	}
}

// short is a number with a prefix of its size.
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
