//go:build linux || darwin

package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
)

// summary is the page for users: a chart, ten figures, and the goals that are not met.
// The raw runs are in files beside it, see rawTable.
func (o options) summary(r results) string {
	all := r.Samples
	var b strings.Builder
	b.WriteString(r.provenance())
	if all.has("base") {
		fmt.Fprintf(&b, "![messages per second](%s)\n\n", filepath.Base(plotFile(o.write)))
	}
	fmt.Fprintf(&b, "| on one node of Kafka | kafka_guarded | to kafka_franz | to kafka (sarama) |\n| --- | --- | --- | --- |\n")
	for _, f := range figures {
		b.WriteString(f.line(all))
	}
	fmt.Fprintf(&b, "\nThe median of all rounds. A ratio is of figures of the same round, with the least and the most in brackets. Every run is in [%[1]s](%[1]s) and in [%[2]s](%[2]s).\n\n", rawFile(o.write, ".csv"), rawFile(o.write, ".json"))
	met, missed := 0, ""
	for _, g := range goals {
		for _, p := range places {
			s, ok := g.measured(all, p.name)
			switch {
			case !ok:
			case g.met(s):
				met++
			default:
				missed += fmt.Sprintf("| %s | %s | %s | %s | %s |\n", shorten(g.scenario), g.text, p.name, g.wanted(), s.ratios())
			}
		}
	}
	fmt.Fprintf(&b, "Goals met: %d. These are not:\n\n| scenario | of kafka_guarded | on | goal | measured |\n| --- | --- | --- | --- | --- |\n%s", met, missed)
	return b.String()
}

// shorten keeps tables narrow.
func shorten(s string) string {
	if short, _, ok := strings.Cut(s, ", "); ok {
		return short
	}
	return s
}

// figure is a line of the summary.
type figure struct {
	what, scenario string
	metric         metric
	show           func(float64) string
	on             string // kafka, if not set
}

var figures = []figure{
	{what: "messages of 1 kB per second", scenario: "base", metric: rate, show: thousands},
	{what: "messages of 100 B per second", scenario: "100 B", metric: rate, show: thousands},
	{what: "CPU for a message of 1 kB", scenario: "base", metric: cpu, show: microseconds},
	{what: "CPU for a message of 100 B", scenario: "100 B", metric: cpu, show: microseconds},
	{what: "the broker's CPU for a message of 1 kB", scenario: "base", metric: brokersEach, show: microseconds},
	{what: "peak memory", scenario: "base", metric: peak, show: megabytes},
	{what: "p50 at 1 message per ms", scenario: eachMs, metric: consumedP50, show: milliseconds},
	{what: "p99 at 1 message per ms", scenario: eachMs, metric: consumedP99, show: milliseconds},
	{what: "per second, 1,000 partitions", scenario: "1,000 partitions", metric: rate, show: thousands},
	{what: "good ones per second, 1 % too large", scenario: "1 % poison", metric: rate, show: thousands},
	{what: "per second, a round trip of 5 ms", scenario: roundTrip, metric: rate, show: thousands, on: away},
	{what: "per second, a round trip of 50 ms", scenario: roundTrip, metric: rate, show: thousands, on: farthest},
}

func thousands(x float64) string    { return digits(x/1e3) + " k" }
func microseconds(x float64) string { return digits(x*1e6) + " us" }
func milliseconds(x float64) string { return digits(x) + " ms" }
func megabytes(x float64) string    { return digits(x/1e6) + " MB" }

func (f figure) line(all samples) string {
	on := f.on
	if on == "" {
		on = kafka
	}
	ours, ok := all.of(key{f.scenario, on, guarded}, f.metric)
	if !ok {
		return ""
	}
	to := func(row string) string {
		s, ok := all.ratio(key{f.scenario, on, guarded}, key{}, key{f.scenario, on, row}, f.metric)
		if !ok || math.IsInf(s.median, 0) || math.IsNaN(s.median) { // the other delivers nothing
			return "-"
		}
		return s.ratios()
	}
	return fmt.Sprintf("| %s | %s | %s | %s |\n", f.what, f.show(ours.median), to(franz), to(sarama))
}

// rawFile is where every run is, beside the report: as .csv and as .json.
func rawFile(report, extension string) string {
	return strings.TrimSuffix(filepath.Base(plotFile(report)), ".svg") + extension
}

// runColumns are the figures of a run in the raw tables, after the names of the run.
var runColumns = []struct {
	head   string
	metric metric
}{
	{"messages per second", rate},
	{"CPU us per message", func(s sample) float64 { return cpu(s) * 1e6 }},
	{"brokers' CPU us per message", func(s sample) float64 { return brokersEach(s) * 1e6 }},
	{"allocations per message", allocs},
	{"peak RSS MB", peakMB},
	{"consumed p50 ms", consumedP50},
	{"consumed p99 ms", consumedP99},
	{"acknowledged p50 ms", ackedP50},
	{"acknowledged p99 ms", ackedP99},
	{"produce requests", requests},
	{"backlog gone after s", gone},
	{"seconds in all", wall},
	{"arrived of those that should", arrived},
}

// rawTable has a line of names, and one for each run.
func rawTable(all samples) [][]string {
	head := []string{"scenario", "target", "row", "round"}
	for _, c := range runColumns {
		head = append(head, c.head)
	}
	table := [][]string{head}
	for _, s := range all {
		line := []string{s.Scenario, s.Target, s.Row, strconv.Itoa(s.Round + 1)}
		for _, c := range runColumns {
			line = append(line, strconv.FormatFloat(c.metric(s), 'g', 4, 64))
		}
		table = append(table, line)
	}
	return table
}

func asCSV(table [][]string) string {
	var b strings.Builder
	_ = csv.NewWriter(&b).WriteAll(table) // a strings.Builder takes all
	return b.String()
}

// asJSON has the names once and a list for each run, so that it is no larger than
// the CSV. pandas reads it with orient="split".
func asJSON(table [][]string) string {
	line := func(cells []string) string {
		values := make([]any, len(cells))
		for i, cell := range cells {
			values[i] = cell
			if n, err := strconv.ParseFloat(cell, 64); err == nil {
				values[i] = json.Number(cell)
				if math.IsNaN(n) || math.IsInf(n, 0) { // JSON has no such numbers
					values[i] = nil
				}
			}
		}
		text, _ := json.Marshal(values) // there is nothing that it can't write
		return string(text)
	}
	runs := make([]string, 0, len(table)-1)
	for _, cells := range table[1:] {
		runs = append(runs, line(cells))
	}
	return fmt.Sprintf("{\"columns\": %s,\n\"data\": [\n%s\n]}\n", line(table[0]), strings.Join(runs, ",\n"))
}
