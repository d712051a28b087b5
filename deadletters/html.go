package deadletters

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

//go:embed report.html
var reportHTML string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"comma": humanize.Comma,
	"bytes": func(n int64) string { return humanize.IBytes(uint64(n)) },
	"stamp": func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return stamp(*t)
	},
	"percent": func(n, of int64) string { return fmt.Sprintf("%.4g", 100*float64(n)/float64(max(of, 1))) },
	"color":   color,
	"int64":   func(n int) int64 { return int64(n) },
}).Parse(reportHTML))

// colors are the colors of classes. They differ in brightness, too, for print and for
// readers that show few colors.
var colors = map[string]string{
	guard.SizeExceeded.String():  "#1f5fa8",
	guard.InvalidRecord.String(): "#e08a1e",
	guard.Unroutable.String():    "#7a3b9b",
	guard.UnknownTopic.String():  "#2f9e78",
	guard.Unauthorized.String():  "#b3273f",
	guard.Refused.String():       "#8c6d3f",
	guard.Transient.String():     "#58b0c9",
}

func color(class string) string {
	if c, ok := colors[class]; ok {
		return c
	}
	return "#8a8f98"
}

// report is the data of the page.
type report struct {
	*summary
	Made       time.Time
	Classes    []count
	Topics     []count
	Line       line
	Shown      []*group
	MoreGroups int
	Samples    []shownSample
	Redacted   bool
	Limits     []limitBars
}

// line is the time line, in units of its own.
type line struct {
	Width, Height int
	Bars          []bar
	From, To      string
	Column        string
	Most          int64
}

type bar struct {
	X, Y, W, H float64
	Class      string
	Title      string
}

type limitBars struct {
	*sizes
	Bars []limitBar
}

type limitBar struct {
	Name  string
	Count int64
}

type shownSample struct {
	Class, Place, Reason, Key, Size, Content string
	Headers                                  [][2]string
}

// maxShown is how many rows a table has.
const maxShown = 40

// report writes the page. It shows content only if unredacted.
func (s *summary) report(path string, unredacted bool) error {
	r := report{
		summary: s, Made: time.Now().UTC(), Redacted: !unredacted,
		Classes: s.by(func(g *group) string { return g.Class }),
		Topics:  s.by(func(g *group) string { return g.Topic }),
		Shown:   s.Groups,
	}
	if len(r.Shown) > maxShown {
		r.Shown, r.MoreGroups = r.Shown[:maxShown], len(r.Shown)-maxShown
	}
	if len(r.Topics) > maxShown {
		r.Topics = r.Topics[:maxShown]
	}
	r.Line = s.line()
	for _, z := range s.Sizes {
		b := limitBars{sizes: z}
		for i, n := range z.Over {
			name := "more"
			if i < len(ratios) {
				name = fmt.Sprintf("up to %g times (%s)", ratios[i], humanize.IBytes(uint64(float64(z.Limit)*ratios[i])))
			}
			b.Bars = append(b.Bars, limitBar{name, n})
		}
		r.Limits = append(r.Limits, b)
	}
	for _, g := range r.Shown {
		for _, l := range g.samples {
			r.Samples = append(r.Samples, shown(l, g, unredacted))
		}
	}
	var page bytes.Buffer
	if err := reportTemplate.Execute(&page, r); err != nil {
		return fmt.Errorf("making the report: %w", err)
	}
	if err := os.WriteFile(path, page.Bytes(), 0o600); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// line lays out the time line. A column stacks its classes.
func (s *summary) line() line {
	columns, width := s.time.columns(60)
	if len(columns) == 0 {
		return line{}
	}
	const each = 16
	l := line{Width: each * len(columns), Height: 160, Column: span0(width), From: stamp(columns[0].From), To: stamp(columns[len(columns)-1].From.Add(width))}
	for _, c := range columns {
		l.Most = max(l.Most, c.Count)
	}
	order := s.by(func(g *group) string { return g.Class })
	for i, c := range columns {
		y := float64(l.Height)
		for _, class := range order {
			n := c.Classes[class.Name]
			if n == 0 {
				continue
			}
			h := max(float64(l.Height)*float64(n)/float64(l.Most), 1.5)
			y -= h
			l.Bars = append(l.Bars, bar{
				X: float64(i*each) + 1, Y: max(y, 0), W: each - 2, H: h, Class: class.Name,
				Title: fmt.Sprintf("%s: %s %s", stamp(c.From), humanize.Comma(n), class.Name),
			})
		}
	}
	return l
}

func shown(s sample, g *group, unredacted bool) shownSample {
	l := s.letter
	out := shownSample{Class: g.Class, Place: l.at.String(), Reason: text(l.err), Size: humanize.Comma(int64(s.bytes)) + " bytes"}
	hide := redacted
	if unredacted {
		hide = func(b []byte) string {
			if b == nil {
				return "none (null)"
			}
			return text(b)
		}
	}
	out.Key = hide(l.key)
	if out.Content = "too large to be shown here"; s.whole {
		out.Content = hide(l.body)
	}
	for _, h := range l.meta {
		if !own(h.Key) {
			out.Headers = append(out.Headers, [2]string{h.Key, hide(h.Value)})
		}
	}
	slices.SortFunc(out.Headers, func(a, b [2]string) int { return bytes.Compare([]byte(a[0]), []byte(b[0])) })
	return out
}
