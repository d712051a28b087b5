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
	lines []string // of the output's own
	input string   // YAML, of the plain source if empty
	// resource is set if the output is the resource "guarded".
	resource bool
	// drops is set if failed messages are dropped, unless dead_letter takes them.
	drops bool
	// retries is set if Benthos sends failed messages again. A stop by force may
	// make it acknowledge a batch whose answer it still waits for (output_retry.go
	// of 4.80.0: a loop that a hard stop ends has no error to acknowledge with).
	retries bool
	// diverts is set if whole batches may get to the fallback.
	diverts bool
	// believed is set if the config demands that failures are listed.
	believed bool
	// named is set if Benthos itself lists the failed messages of an error for
	// a whole batch, by position.
	named bool
}

func bare(g string) string { return g }

// compositions are those that docs/compositions.md marks as exact with a
// dead_letter.
var compositions = []composition{
	{name: "alone", wrap: bare},
	{name: "output-level batching", wrap: bare, lines: []string{"batching: { count: 60, period: 2ms }"}},
	{name: "upstream batching", wrap: bare, input: "broker:\n  inputs: [ { source: {} } ]\n  batching: { count: 60, period: 2ms }\n"},
	{name: "fallback", drops: true, wrap: func(g string) string {
		return "fallback:\n  -" + streamtest.Indent(g, 4) + "  - caught: {}\n"
	}},
	{name: "retry", retries: true, wrap: func(g string) string { return "retry:\n  output:" + streamtest.Indent(g, 4) }},
	{name: "switch", named: true, wrap: func(g string) string {
		return "switch:\n  cases:\n    - check: 'false'\n      output: { caught: {} }\n    - output:" + streamtest.Indent(g, 8)
	}},
	{name: "broker", retries: true, wrap: func(g string) string {
		return "broker:\n  outputs:\n    -" + streamtest.Indent(g, 6) + "    - drop: {}\n"
	}},
	{name: "dynamic", retries: true, wrap: func(g string) string { return "dynamic:\n  outputs:\n    only:" + streamtest.Indent(g, 6) }},
	{name: "drop_on", drops: true, wrap: func(g string) string {
		return "drop_on:\n  error_patterns: [ nothing ]\n  output:" + streamtest.Indent(g, 4)
	}},
	{name: "resource", wrap: bare, resource: true},
}

// fallbacks are those that it marks as exact without one, and those whose path
// does not tell that they are. LETTERS is where the output for dead letters goes.
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
	fails bool // it may fail a part, and its errors come through as they are
	kafka bool // its letters are in the topic "letters"
	// inDeadLetter is set for one that only a dead_letter may have.
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

// illegalFor is how often a topic that is illegal for a while is asked for until
// it is not.
const illegalFor = 5

// configs returns the YAML of the output of the scenario's streams, and of their
// resources.
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
	if w.composition.believed {
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
