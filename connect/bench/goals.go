//go:build linux || darwin

package main

import (
	"fmt"
	"math"
	"strings"
)

// goal is a figure and its bound.
type goal struct {
	text     string
	scenario string
	row      string
	less     string // another row; its figure is subtracted
	to       string // another row; the figure is divided by its figure
	on       string // the target, empty for all of the scenario
	metric   metric
	atLeast  float64
	atMost   float64
}

var goals = append([]goal{
	{text: "CPU to kafka_franz", scenario: "base", row: guarded, to: franz, metric: cpu, atMost: 0.85},
	{text: "CPU to kafka_franz", scenario: "100 B", row: guarded, to: franz, metric: cpu, atMost: 0.75},
	{text: "CPU to kafka_franz", scenario: "1,000 partitions", row: guarded, to: franz, metric: cpu, atMost: 0.8},
	{text: "guard.Write: CPU to ProduceSync", scenario: "base", row: guardWrite, to: produceSync, on: blackhole, metric: cpu, atMost: 0.8},
	{text: "guard.Write: CPU to ProduceSync", scenario: "base", row: guardWrite, to: produceSync, on: kafka, metric: cpu, atMost: 0.85},
	{text: "guard.Write: CPU to ProduceSync", scenario: "100 B", row: guardWrite, to: produceSync, metric: cpu, atMost: 0.65},
	{text: "guard.Write: CPU to ProduceSync", scenario: "1,000 partitions", row: guardWrite, to: produceSync, on: blackhole, metric: cpu, atMost: 0.5},
	{text: "brokers' CPU to kafka_franz", scenario: "base", row: guarded, to: franz, metric: brokersEach, atMost: 1},
	{text: "brokers' CPU to kafka_franz", scenario: "100 B", row: guarded, to: franz, metric: brokersEach, atMost: 1},
	{text: "brokers' CPU to kafka_franz", scenario: "1,000 partitions", row: guarded, to: franz, metric: brokersEach, atMost: 1},
	{text: "rate to kafka_franz", scenario: "base", row: guarded, to: franz, metric: rate, atLeast: 1.3},
	{text: "rate to kafka_franz", scenario: "100 B", row: guarded, to: franz, metric: rate, atLeast: 1.5},
	{text: "allocations of guard.Write", scenario: "base", row: guardWrite, metric: allocs, atMost: 1.05},
	{text: "allocations of guard.Write", scenario: "1,000 partitions", row: guardWrite, metric: allocs, atMost: 1.2},
	{text: "peak RSS to kafka_franz", scenario: "base", row: guarded, to: franz, metric: peak, atMost: 0.8},
	{text: "rate to kafka_franz", scenario: "max_in_flight 1", row: guarded, to: franz, on: blackhole, metric: rate, atLeast: 5.5},
	{text: "rate to kafka_franz", scenario: "max_in_flight 1", row: guarded, to: franz, on: kafka, metric: rate, atLeast: 4},
	{text: "rate to stock kafka_franz", scenario: "base", row: guarded, to: stockFranz, metric: rate, atLeast: 2},
	{text: "CPU to stock kafka_franz", scenario: "base", row: guarded, to: stockFranz, metric: cpu, atMost: 0.48},
	{text: "CPU without the engine's to kgo ProduceSync", scenario: "base", row: guarded, less: drop, to: produceSync, metric: cpu, atMost: 1.1},
	{text: "rate to kafka_franz", scenario: "1 partition", row: guarded, to: franz, metric: rate, atLeast: 1},
	{text: "rate to kafka_franz", scenario: "batch 1", row: guarded, to: franz, metric: rate, atLeast: 1},
	{text: "rate to kafka_franz", scenario: "lz4", row: guarded, to: franz, metric: rate, atLeast: 1},
	{text: "rate to kafka_franz", scenario: "1,000 partitions", row: guarded, to: franz, metric: rate, atLeast: 1.2},
	{text: "CPU to that with one topic", scenario: manyTopics, row: guarded, to: oneTopic, metric: cpu, atMost: 3},
	{text: "rate of the good to clean", scenario: "1 % poison", row: guarded, to: cleanGuarded, metric: rate, atLeast: 0.95},
	{text: "rate of the good, rules unknown", scenario: "1 % poison", row: blindGuarded, to: guarded, metric: rate, atLeast: 0.9},
	{text: "time to clean, rules unknown", scenario: "half poison", row: blindGuarded, to: cleanGuarded, metric: took, atMost: 3},
	{text: "peak RSS in MB, rules unknown", scenario: "half poison", row: blindGuarded, metric: peakMB, atMost: 512},
	{text: "rate of the good, rules unknown", scenario: randomOne, row: blindGuarded, to: guarded, metric: rate, atLeast: 0.8},
	{text: "time, rules unknown to known", scenario: randomHalf, row: blindGuarded, to: guarded, metric: took, atMost: 3},
	{text: "rate to a fitting max_message_bytes", scenario: growing, row: guarded, to: fitting, metric: rate, atLeast: 0.9},
	{text: "time to clean, rules unknown", scenario: noKeys, row: blindGuarded, to: cleanGuarded, metric: took, atMost: 2.5},
	{text: "arrived", scenario: tenth, row: guarded, metric: arrived, atLeast: 1},
	{text: "rate to that with the default limit", scenario: tenth, row: guarded, to: noLimit, metric: rate, atLeast: 0.9},
	{text: "arrived, rules unknown", scenario: tenth, row: blindGuarded, metric: arrived, atLeast: 1},
	{text: "rate after the first second, rules unknown to known", scenario: afterASecond, row: blindGuarded, to: guarded, metric: rate, atLeast: 0.9},
	{text: "arrived, rules unknown", scenario: afterASecond, row: blindGuarded, metric: arrived, atLeast: 1},
	{text: "rate to kafka_franz", scenario: "100 topics", row: guarded, to: franz, metric: rate, atLeast: 1.2},
	{text: "rate to kafka_franz", scenario: roundTrip, row: guarded, to: franz, on: away, metric: rate, atLeast: 1.1},
	{text: "rate to kafka_franz", scenario: roundTrip, row: guarded, to: franz, on: farthest, metric: rate, atLeast: 1.1},
	{text: "rate to kafka_franz", scenario: roundTrip1, row: guarded, to: franz, metric: rate, atLeast: 1.1},
	{text: "rate to kafka_franz", scenario: roundTripOne, row: guarded, to: franz, on: away, metric: rate, atLeast: 2.5},
	{text: "p50 to kafka (sarama)", scenario: eachMs, row: guarded, to: sarama, on: kafka, metric: consumedP50, atMost: 0.9},
	{text: "p99 to kafka (sarama)", scenario: eachMs, row: guarded, to: sarama, on: kafka, metric: consumedP99, atMost: 0.9},
	{text: "p50 to kafka_franz", scenario: eachMs, row: guarded, to: franz, on: kafka, metric: consumedP50, atMost: 0.1},
	{text: "p50 to kafka (sarama)", scenario: tenThousand, row: guarded, to: sarama, on: kafka, metric: consumedP50, atMost: 0.7},
	{text: "p50 in ms", scenario: newTopic, row: guardWrite, metric: ackedP50, atMost: 2},
	{text: "time until the backlog is gone to kafka_franz", scenario: recovers, row: guarded, to: franz, metric: gone, atMost: 0.8},
	{text: "time to kafka_franz", scenario: firstAck, row: guarded, to: franz, metric: wall, atMost: 1.2},
	{text: "peak RSS in MB", scenario: bigMessages, row: guardWrite, metric: peakMB, atMost: 512},
}, searchGoals()...)

// searchGoals are the goals for each number of bad records.
func searchGoals() (all []goal) {
	for _, r := range searches {
		all = append(all,
			goal{text: "produce requests for " + r.title(), scenario: findInvalid, row: r.title(), metric: requests, atMost: 3},
			goal{text: "produce requests for " + r.title(), scenario: findLarge, row: r.title(), metric: requests, atMost: math.Floor(math.Log2(haystack)) + 4},
		)
	}
	return all
}

func peakMB(s sample) float64 { return peak(s) / 1e6 }

// measured is the figure of the goal on a target, and false if it was not measured.
func (g goal) measured(all samples, target string) (stat, bool) {
	if g.on != "" && g.on != target {
		return stat{}, false
	}
	at := func(row string) key { return key{g.scenario, target, row} }
	return all.ratio(at(g.row), at(g.less), at(g.to), g.metric)
}

// met reports whether the median meets the goal.
func (g goal) met(s stat) bool {
	if g.atLeast > 0 {
		return s.median >= g.atLeast
	}
	return s.median <= g.atMost
}

func (g goal) wanted() string {
	if g.atLeast > 0 {
		return fmt.Sprintf("at least %v", g.atLeast)
	}
	return fmt.Sprintf("at most %v", g.atMost)
}

// goalTable is a Markdown table of the goals that were measured.
func goalTable(all samples) string {
	var b strings.Builder
	for _, g := range goals {
		for _, p := range places {
			if s, ok := g.measured(all, p.name); ok {
				met := "no"
				if g.met(s) {
					met = "yes"
				}
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", g.scenario, g.text, p.name, g.wanted(), s.ratios(), met)
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "### Goals\n\n| scenario | of kafka_guarded | on | goal | measured | met |\n| --- | --- | --- | --- | --- | --- |\n" + b.String() + "\n"
}
