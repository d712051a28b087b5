package randomstreams

import (
	"fmt"
	"strings"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// composition puts the YAML of the output into a config.
type composition struct {
	name  string
	wrap  func(guarded string) string
	lines []string // fields of the output
	input string   // YAML, of the plain source if empty
	// resource is set if the output is the resource "guarded".
	resource bool
	// drops is set if failed messages are dropped, unless dead_letter takes them.
	drops bool
	// retries is set if Benthos sends failed messages again. A forced stop may then
	// make it acknowledge a batch without an answer: the loop in output_retry.go of
	// 4.80.0 ends without an error.
	retries bool
	// diverts is set if whole batches may get to the fallback.
	diverts bool
	// believed is set if the config says report_failures: per_message.
	believed bool
	// told is set if errors that list messages lose none.
	told bool
	// named is set if Benthos takes an error for a whole batch apart, by position.
	named bool
}

func bare(g string) string { return g }

// compositions are the ones that docs/compositions.md calls exact with a dead_letter.
var compositions = []composition{
	{name: "alone", told: true, wrap: bare},
	{name: "output-level batching", wrap: bare, lines: []string{"batching: { count: 60, period: 2ms }"}},
	{name: "upstream batching", wrap: bare, input: "broker:\n  inputs: [ { source: {} } ]\n  batching: { count: 60, period: 2ms }\n"},
	{name: "fallback", drops: true, wrap: func(g string) string {
		return "fallback:\n  -" + streamtest.Indent(g, 4) + "  - caught: {}\n"
	}},
	{name: "retry", told: true, retries: true, wrap: func(g string) string { return "retry:\n  output:" + streamtest.Indent(g, 4) }},
	{name: "switch", named: true, wrap: func(g string) string {
		return "switch:\n  cases:\n    - check: 'false'\n      output: { caught: {} }\n    - output:" + streamtest.Indent(g, 8)
	}},
	{name: "broker", retries: true, wrap: func(g string) string {
		return "broker:\n  outputs:\n    -" + streamtest.Indent(g, 6) + "    - drop: {}\n"
	}},
	{name: "dynamic", told: true, retries: true, wrap: func(g string) string { return "dynamic:\n  outputs:\n    only:" + streamtest.Indent(g, 6) }},
	{name: "drop_on", drops: true, wrap: func(g string) string {
		return "drop_on:\n  error_patterns: [ nothing ]\n  output:" + streamtest.Indent(g, 4)
	}},
	{name: "resource", told: true, wrap: bare, resource: true},
}

// fallbacks are the ones that it calls exact without a dead_letter, and some in which
// the output can't see its position. LETTERS stands for the output for dead letters.
var fallbacks = []composition{
	{name: "first in a fallback", wrap: firstOfTwo},
	{name: "a resource, first in a fallback", resource: true, diverts: true, wrap: firstOfTwo},
	{name: "a resource, first in a fallback, and per_message", resource: true, believed: true, wrap: firstOfTwo},
	{name: "in a switch, first in a fallback", wrap: func(g string) string {
		return "fallback:\n  - switch:\n      cases:\n        - check: 'false'\n          output: { caught: {} }\n        - output:" + streamtest.Indent(g, 12) + "  -LETTERS"
	}},
	{name: "in the middle of a fallback", diverts: true, wrap: secondOfThree},
	{name: "in the middle of a fallback, and per_message", believed: true, wrap: secondOfThree},
}

func firstOfTwo(g string) string {
	return "fallback:\n  -" + streamtest.Indent(g, 4) + "  -LETTERS"
}

func secondOfThree(g string) string {
	return "fallback:\n  - reject: first\n  -" + streamtest.Indent(g, 4) + "  -LETTERS"
}

// child is a dead-letter output.
type child struct {
	name  string
	yaml  func(w *scenario) string
	fails bool // may fail for a part of a batch, and its errors pass unchanged
	kafka bool // the letters go to the topic "letters"
	// inDeadLetter is set if only a dead_letter may have this child.
	inDeadLetter bool
}

var children = []child{
	{name: "plain", fails: true, yaml: func(*scenario) string { return "letters: {}" }},
	{name: "switch", fails: true, yaml: func(*scenario) string {
		return "switch:\n  cases:\n    - check: 'content().length() > 1000'\n      output: { letters: {} }\n    - output: { letters: {} }\n"
	}},
	{name: "batched broker", yaml: func(*scenario) string {
		return "broker:\n  outputs: [ { letters: {} } ]\n  batching: { count: 10, period: 2ms }\n"
	}},
	{name: "kafka_guarded", kafka: true, inDeadLetter: true, yaml: func(w *scenario) string {
		return "kafka_guarded:" + streamtest.Indent(w.guarded("topic: letters", "metadata: { include_prefixes: [ kafka_guarded_ ] }"), 2)
	}},
	{name: "kafka_guarded with a dead_letter", kafka: true, inDeadLetter: true, yaml: func(w *scenario) string {
		return "kafka_guarded:" + streamtest.Indent(w.guarded(
			"topic: letters", fmt.Sprintf("max_message_bytes: %d", topicLimit+2500),
			"metadata: { include_prefixes: [ kafka_guarded_ ] }", "dead_letter: { letters: {} }"), 2)
	}},
	{name: "broker, fail fast", fails: true, inDeadLetter: true, yaml: func(*scenario) string {
		return "broker:\n  pattern: fan_out_fail_fast\n  outputs: [ { letters: {} }, { drop: {} } ]\n"
	}},
	{name: "resource", fails: true, yaml: func(*scenario) string { return "resource: letters" }},
}

// guarded is the YAML of the output's fields.
func (w *scenario) guarded(lines ...string) string {
	budget := "0s"
	if w.budget {
		budget = "5ms"
	}
	return "seed_brokers: [ " + strings.Join(w.cluster.ListenAddrs(), ",") + " ]\ncompression: none\n" +
		"retry: { initial_interval: 1ms, max_interval: 20ms, max_elapsed_time: " + budget + " }\n" + strings.Join(lines, "\n") + "\n"
}

// illegalFor is how often the topic of a message is evaluated as an illegal one before
// it is a legal one.
const illegalFor = 5

// configs returns the YAML of the output and of its resources.
func (w *scenario) configs() (output, resources string) {
	letters := w.onChild.on(w.child.yaml(w), "letter")
	unroutable := "true"
	if w.fates == byInput {
		unroutable = fmt.Sprintf("counter() < %d", illegalFor)
	}
	lines := append([]string{
		`topic: '${! if content().contains("\"kind\":\"illegal\"") && ` + unroutable + ` { "a b" } else { "t" } }'`,
		`key: '${! json("id").or(0).number() % 7 }'`,
		fmt.Sprintf("max_in_flight: %d", w.inFlight),
		fmt.Sprintf("topic_rules: { enabled: %v }", w.rules),
	}, w.composition.lines...)
	if w.composition.believed || w.perMessage {
		lines = append(lines, "report_failures: per_message")
	}
	if w.fates == deadLetter {
		lines = append(lines, "dead_letter:"+streamtest.Indent(letters, 2))
	}
	if w.breaker {
		lines = append(lines, "dead_letter_breaker: { enabled: true, messages: 30, max_failed_share: 0.02, max_hold: 20ms }")
	}
	g := w.onOutput.on("kafka_guarded:"+streamtest.Indent(w.guarded(lines...), 2), "copy")
	resources = "output_resources:\n  - label: letters\n    letters: {}\n"
	if w.composition.resource {
		resources += "  - label: guarded" + streamtest.Indent(g, 4)
		g = "resource: guarded"
	}
	if w.spy {
		g = fmt.Sprintf("spy:\n  max_in_flight: %d\n  on:", w.inFlight) + streamtest.Indent(g, 4)
	}
	return strings.ReplaceAll(w.composition.wrap(g), "LETTERS", streamtest.Indent(letters, 4)), resources
}
