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

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// The report is between these lines of a file. Text around them is kept.
const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// provenance says what was measured, with which versions, and where.
func (r results) provenance() string {
	var b strings.Builder
	for _, run := range r.Runs {
		fmt.Fprintf(&b, "%s. %s. Code of commit %s, %s.\n\n", run.Machine, run.Versions, run.Code, run.Date)
		cut := ""
		if run.Cut {
			cut = ", cut before all were done"
		}
		fmt.Fprintf(&b, "`%s`: up to %d rounds%s, about %v s for most runs.\n\n", run.Command, run.Rounds, cut, run.Seconds)
	}
	return b.String()
}

// report is the Markdown of all runs, for the terminal.
func (r results) report() string {
	all := r.Samples
	var b strings.Builder
	b.WriteString(r.provenance())
	fmt.Fprintf(&b, "Kafka runs with `%s`. The median, with the least and the most in brackets. Ratios are of the same round. Each table says how many rounds it has.\n\n", strings.Join(asKafkaStarts, " "))
	b.WriteString(goalTable(all))
	for _, s := range scenarios {
		for _, target := range s.on() {
			b.WriteString(s.table(all, target))
		}
	}
	return b.String()
}

// roundsOf is the number of rounds of a table.
func (all samples) roundsOf(scenario, target string) int {
	rounds := map[int]bool{}
	for _, s := range all {
		if s.Scenario == scenario && s.Target == target {
			rounds[s.Round] = true
		}
	}
	return len(rounds)
}

func (all samples) has(scenario string) bool {
	return slices.ContainsFunc(all, func(s sample) bool { return s.Scenario == scenario })
}

// table is the scenario on a target, or empty if it was not measured.
func (s scenario) table(all samples, target string) string {
	p, err := placeOf(target)
	if err != nil {
		return ""
	}
	columns := s.columns(p)
	if s.against == "" {
		columns = slices.DeleteFunc(columns, func(c column) bool { return c.head == toOther })
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
	fmt.Fprintf(&b, "### %s, on %s (rounds: %d)\n\n| |", s.name, target, all.roundsOf(s.name, target))
	for _, c := range columns {
		head := c.head
		if head == toOther {
			head = "to " + s.against
		}
		fmt.Fprintf(&b, " %s |", head)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(columns)) + "\n")
	return b.String() + lines.String() + "\n"
}

// digits shows three significant digits.
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

// spread shows the range, too, if there is one.
func (s stat) spread(show func(float64) string) string {
	if s.min == s.max {
		return show(s.median)
	}
	return fmt.Sprintf("%s (%s-%s)", show(s.median), show(s.min), show(s.max))
}

// share shows "all" only if all arrived in every round.
func (s stat) share() string {
	switch {
	case s.min == 1 && s.max == 1:
		return "all"
	case s.min == s.max:
		return fmt.Sprintf("%.2f %%", s.min*100)
	}
	return fmt.Sprintf("%.2f-%.2f %%", s.min*100, s.max*100)
}

// versions are those of Go and of the modules that are measured.
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

// plotFile is the file of the plot, beside the report.
func plotFile(report string) string {
	if report == "" {
		report = "performance.md"
	}
	return strings.TrimSuffix(report, filepath.Ext(report)) + ".svg"
}

// write puts the report into a file. The plot, if there is one, and the raw runs go
// into files beside it.
func write(file, report, plot string, runs [][]string) error {
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
	for extension, text := range map[string]string{".csv": asCSV(runs), ".json": asJSON(runs)} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), rawFile(file, extension)), []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing the runs: %w", err)
		}
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
