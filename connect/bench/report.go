//go:build linux || darwin

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// The report is between these lines of a file. What is around them stays.
const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// report is the Markdown of what was measured.
func (o options) report(all samples) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. %s. %s.\n\n", machine(), versions(), time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(&b, "`%s`: %d rounds, fewer where a table says so, about %v s for each run. The median, with the least and the most in brackets. Ratios are of the same round.\n\n", o.command, o.rounds, o.seconds)
	if all.has("base") {
		fmt.Fprintf(&b, "![messages per second](%s)\n\n", filepath.Base(plotFile(o.write)))
	}
	b.WriteString(goalTable(all))
	for _, s := range scenarios {
		for _, target := range s.on() {
			b.WriteString(s.table(all, target))
		}
	}
	return b.String()
}

func (all samples) has(scenario string) bool {
	return slices.ContainsFunc(all, func(s sample) bool { return s.Scenario == scenario })
}

// column is one of a table.
type column struct {
	head string
	cell func(all samples, of, against key) (string, bool)
}

// value is a column of a figure.
func value(head string, m metric, show func(stat) string) column {
	return column{head, func(all samples, of, _ key) (string, bool) {
		s, ok := all.of(of, m)
		return show(s), ok
	}}
}

// ratio is a column of a figure that is compared with another row's.
func ratio(head string, m metric) column {
	return column{head, func(all samples, of, against key) (string, bool) {
		s, ok := all.ratio(of, key{}, against, m)
		return s.ratios(), ok
	}}
}

func (s scenario) columns() []column {
	end := []column{
		value("peak RSS, MB", peakMB, stat.short),
		value("arrived", arrived, stat.share),
	}
	switch s.kind {
	case finding:
		return []column{value("produce requests", requests, stat.long), value("arrived", arrived, stat.share)}
	case once:
		return append([]column{
			value("seconds", wall, stat.ratios),
			ratio("ratio", wall),
		}, end...)
	case rates:
	}
	return append([]column{
		value("k msg/s", func(s sample) float64 { return rate(s) / 1e3 }, stat.long),
		ratio("ratio", rate),
		value("CPU, us", func(s sample) float64 { return cpu(s) * 1e6 }, stat.short),
		ratio("ratio", cpu),
		value("allocations", allocs, stat.short),
		value("bytes", allocated, stat.short),
	}, end...)
}

// table is the scenario on a target, or empty if nothing was measured.
func (s scenario) table(all samples, target string) string {
	columns := s.columns()
	if s.against == "" {
		columns = slices.DeleteFunc(columns, func(c column) bool { return c.head == "ratio" })
	}
	var lines strings.Builder
	for _, r := range s.rows {
		of := key{s.name, target, r.title()}
		if _, ok := all.of(of, wall); !ok {
			continue
		}
		fmt.Fprintf(&lines, "| %s |", r.title())
		for _, c := range columns {
			cell, ok := c.cell(all, of, key{s.name, target, s.against})
			if !ok || c.head == "arrived" && r.runner == drop {
				cell = "-"
			}
			fmt.Fprintf(&lines, " %s |", cell)
		}
		lines.WriteByte('\n')
	}
	if lines.Len() == 0 {
		return ""
	}
	var b strings.Builder
	rounds := ""
	if s.rounds > 0 {
		rounds = fmt.Sprintf(" (rounds: %d)", min(s.rounds, all.rounds()))
	}
	fmt.Fprintf(&b, "### %s, on %s%s\n\n| |", s.name, target, rounds)
	for _, c := range columns {
		head := c.head
		if head == "ratio" {
			head = "to " + s.against
		}
		fmt.Fprintf(&b, " %s |", head)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(columns)) + "\n")
	return b.String() + lines.String() + "\n"
}

// digits shows three of them.
func digits(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func (s stat) short() string { return digits(s.median) }

func (s stat) long() string { return s.spread(digits) }

func (s stat) ratios() string {
	return s.spread(func(x float64) string { return fmt.Sprintf("%.2f", x) })
}

// spread has the range only if there is one.
func (s stat) spread(show func(float64) string) string {
	if s.min == s.max {
		return show(s.median)
	}
	return fmt.Sprintf("%s (%s-%s)", show(s.median), show(s.min), show(s.max))
}

// share is "all" only if it is exactly that, each time.
func (s stat) share() string {
	switch {
	case s.min == 1 && s.max == 1:
		return "all"
	case s.min == s.max:
		return fmt.Sprintf("%.2f %%", s.min*100)
	}
	return fmt.Sprintf("%.2f-%.2f %%", s.min*100, s.max*100)
}

// versions are those of Go and of what is measured.
func versions() string {
	all := []string{runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			for _, name := range []string{"redpanda-data/benthos/v4", "redpanda-data/connect/v4", "twmb/franz-go"} {
				if m.Path == "github.com/"+name {
					all = append(all, name+" "+m.Version)
				}
			}
		}
	}
	return strings.Join(append(all, "Apache Kafka "+kafkatest.DefaultVersion), ", ")
}

// plotFile is where the plot is, beside the report.
func plotFile(report string) string {
	if report == "" {
		report = "performance.md"
	}
	return strings.TrimSuffix(report, filepath.Ext(report)) + ".svg"
}

// write puts the report into a file, and the plot, if there is one, beside it.
func write(file, report, plot string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the old report: %w", err)
	}
	text, err := splice(string(old), report)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if plot == "" {
		return nil
	}
	if err := os.WriteFile(plotFile(file), []byte(plot), 0o644); err != nil {
		return fmt.Errorf("writing the plot: %w", err)
	}
	return nil
}

// splice puts the report between the marks of a text, or at its end.
func splice(text, report string) (string, error) {
	if text == "" {
		text = "# Performance\n"
	}
	if !strings.Contains(text, beginMark) && !strings.Contains(text, endMark) {
		text = strings.TrimRight(text, "\n") + "\n\n" + beginMark + "\n" + endMark + "\n"
	}
	before, rest, begins := strings.Cut(text, beginMark)
	_, after, ends := strings.Cut(rest, endMark)
	if !begins || !ends {
		return "", fmt.Errorf("it needs both %s and %s, in this order", beginMark, endMark)
	}
	return before + beginMark + "\n\n" + strings.TrimSpace(report) + "\n\n" + endMark + after, nil
}
