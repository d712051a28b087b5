package deadletters

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// width of the histogram, and its height in lines.
const (
	histogramWidth  = 60
	histogramHeight = 5
)

// print writes the summary for people to read.
func (s *summary) print(w io.Writer) {
	chosen := ""
	if s.Count < s.Read || s.Chosen != (&filter{}).String() {
		chosen = fmt.Sprintf(" of %s (%s)", humanize.Comma(s.Read), s.Chosen)
	}
	fmt.Fprintf(w, "%s: %s dead letters%s, %s\n", s.Source, humanize.Comma(s.Count), chosen, humanize.IBytes(uint64(s.Bytes)))
	if s.Count == 0 {
		return
	}
	if s.First != nil {
		fmt.Fprintf(w, "from %s to %s\n", stamp(*s.First), stamp(*s.Last))
	}
	s.histogram(w)
	fmt.Fprintln(w)
	s.table(w)
	for _, z := range s.Sizes {
		fmt.Fprintf(w, "\nlimit %s bytes: %s letters have from %s to %s bytes: %s\n", humanize.Comma(int64(z.Limit)), humanize.Comma(z.Count), humanize.Comma(int64(z.Smallest)), humanize.Comma(int64(z.Largest)), z.over())
	}
}

// table writes a line for each group.
func (s *summary) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "COUNT\tBYTES\tCLASS\tTOPIC\tFIRST\tLAST\tREASON")
	for _, g := range s.Groups {
		topic := g.Topic
		if topic == "" {
			topic = "-"
		}
		reason := g.Reason
		if g.Attempts > 0 {
			reason += fmt.Sprintf(" (%s sent again before, without success)", humanize.Comma(g.Attempts))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", humanize.Comma(g.Count), humanize.IBytes(uint64(g.Bytes)), cell(g.Class), cell(topic), short(g.First, s), short(g.Last, s), cell(reason))
	}
	_ = t.Flush()
}

// cell is a text in a table, in which a tab would begin another column.
func cell(s string) string { return strings.ReplaceAll(oneLine(s), "\t", `\t`) }

// over says by how much letters exceed the limit.
func (z *sizes) over() string {
	var parts []string
	for i, n := range z.Over {
		switch {
		case n == 0:
		case i < len(ratios):
			parts = append(parts, fmt.Sprintf("%s up to %g times the limit", humanize.Comma(n), ratios[i]))
		default:
			parts = append(parts, fmt.Sprintf("%s above that", humanize.Comma(n)))
		}
	}
	return strings.Join(parts, ", ")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// short leaves out the date if all letters are of one day.
func short(t *time.Time, s *summary) string {
	switch {
	case t == nil:
		return "-"
	case s.First.Format(time.DateOnly) == s.Last.Format(time.DateOnly):
		return t.Format(time.TimeOnly)
	default:
		return t.Format("2006-01-02 15:04")
	}
}

// histogram writes the number of letters over time.
func (s *summary) histogram(w io.Writer) {
	columns, width := s.time.columns(histogramWidth)
	if len(columns) < 2 {
		return
	}
	most := int64(0)
	for _, c := range columns {
		most = max(most, c.Count)
	}
	eighths := []rune(" ▁▂▃▄▅▆▇█")
	fmt.Fprintln(w)
	label := humanize.Comma(most)
	for line := histogramHeight - 1; line >= 0; line-- {
		axis := strings.Repeat(" ", len(label))
		if line == histogramHeight-1 {
			axis = label
		}
		row := make([]rune, len(columns))
		for i, c := range columns {
			// A column with any letter has a height of at least one.
			height := (c.Count*histogramHeight*8 + most - 1) / most
			row[i] = eighths[min(max(height-int64(line)*8, 0), 8)]
		}
		fmt.Fprintf(w, "%s │%s\n", axis, strings.TrimRight(string(row), " "))
	}
	pad := strings.Repeat(" ", len(label))
	fmt.Fprintf(w, "%s └%s\n", pad, strings.Repeat("─", len(columns)))
	from, to := columns[0].From.Format("15:04:05"), columns[len(columns)-1].From.Add(width).Format("15:04:05")
	if columns[0].From.Format(time.DateOnly) != columns[len(columns)-1].From.Format(time.DateOnly) {
		from, to = columns[0].From.Format("2006-01-02 15:04"), columns[len(columns)-1].From.Add(width).Format("2006-01-02 15:04")
	}
	fmt.Fprintf(w, "%s  %s%s%s UTC, a column is %s\n", pad, from, strings.Repeat(" ", max(1, len(columns)-len(from)-len(to))), to, span0(width))
}

// span0 is a duration without zero parts.
func span0(d time.Duration) string {
	switch {
	case d >= 24*time.Hour && d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	default:
		return d.String()
	}
}
