package output

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// A config that works but loses something passes the linter. The log warns of it at the
// start.
func TestTheLogSaysWhatAConfigLosesAtTheStart(t *testing.T) {
	t.Parallel()
	const (
		leader   = "acks is leader: a message counts as delivered once the leader of its partition has it, and is lost if that fails"
		none     = "acks is none: a message counts as delivered once it is sent"
		both     = "The fallback around this output gets the others that failed"
		inexact  = "batching is set in an output of a fallback"
		unseen   = "The rest of the config is not seen here, as in streams mode or in a template"
		position = "the output switch makes Benthos look for them by position"
		batching = "batching: { count: 10 }"
		letters  = "dead_letter: { drop: {} }"
	)
	alone := func(c *cluster, lines []string) string { return c.alone(lines...) }
	inFallback := func(c *cluster, lines []string) string { return c.inFallback(lines...) }
	inSwitch := func(c *cluster, lines []string) string {
		return "switch:\n  cases:\n    - check: 'false'\n      output: { drop: {} }\n    - output:" + streamtest.Indent(c.alone(lines...), 8)
	}
	for _, test := range []struct {
		name  string
		place func(*cluster, []string) string
		lines []string
		want  []string
	}{
		{"the default", alone, nil, []string{unseen}},
		{"the default in a fallback", inFallback, nil, nil},
		{"acks leader", alone, []string{"acks: leader", "idempotent_write: false"}, []string{leader, unseen}},
		{"acks none", inFallback, []string{"acks: none", "idempotent_write: false"}, []string{none}},
		{"dead_letter", alone, []string{letters}, nil},
		{"dead_letter in a fallback", inFallback, []string{letters}, []string{both}},
		{"batching", alone, []string{batching}, []string{unseen}},
		{"batching in a fallback", inFallback, []string{batching}, []string{inexact}},
		{"batching and dead_letter in a fallback", inFallback, []string{batching, letters}, []string{both}},
		{"in a switch", inSwitch, nil, []string{position, unseen}},
		{"dead_letter in a switch", inSwitch, []string{letters}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			s := &streamtest.Stream{}
			yaml := test.place(c, append([]string{"topic: t"}, test.lines...))
			require.True(t, s.Run(t, t.Context(), yaml))
			for _, text := range []string{leader, none, both, inexact, position, unseen} {
				said := false
				for _, want := range test.want {
					said = said || want == text
				}
				if said {
					require.Contains(t, s.Log.String(), text)
				} else {
					require.NotContains(t, s.Log.String(), text)
				}
			}
		})
	}
}

// parsedAs makes the outputs of a stream know their position in the config, as in a
// program. No other test may use the same labels.
func parsedAs(t *testing.T, output, resources string) {
	t.Helper()
	var sections []*service.ConfigField
	for _, section := range errorrouting.Sections {
		sections = append(sections, service.NewAnyField(section).Optional())
	}
	conf, err := service.NewConfigSpec().Fields(sections...).ParseYAML("output:"+streamtest.Indent(output, 2)+resources, nil)
	require.NoError(t, err)
	require.NoError(t, OnConfigParse(conf))
}

// In a fallback, each failed message goes to the next output alone, with its own text.
// Where that can't be, the log says so at the start.
func TestFailuresInAFallback(t *testing.T) { //nolint:paralleltest // what OnConfigParse learns is of the program
	const notExact = "When a message fails, the fallback around this output may get its whole batch"
	guarded := func(c *cluster, label string, more ...string) string {
		return "label: " + label + "\nkafka_guarded:" + streamtest.Indent(c.config(append(more, topicByContent)...), 2)
	}
	for _, test := range []struct {
		name string
		// output and resources have GUARDED in the place of the output, with an indent
		// of 4.
		output, resources string
		lines             []string
		template          bool // the output is in the template "guarded"
		parsed            bool // the output knows its position in the config
		said              bool // the log says that it is not exact
		exact             bool
	}{
		{name: "first", output: "fallback:\n  -GUARDED\n  - capture: {}", exact: true},
		{name: "in a switch", output: "fallback:\n  - switch:\n      cases: [ { check: 'false', output: { drop: {} } }, { output: { resource: x } } ]\n  - capture: {}", resources: "output_resources:\n  -GUARDED", parsed: true, exact: true},
		{name: "a resource", output: "fallback: [ { resource: x }, { capture: {} } ]", resources: "output_resources:\n  -GUARDED", parsed: true, exact: true},
		{name: "a resource by its path", output: "fallback: [ { resource: x }, { capture: {} } ]", resources: "output_resources:\n  -GUARDED"},
		{name: "a resource that says so", output: "fallback: [ { resource: x }, { capture: {} } ]", resources: "output_resources:\n  -GUARDED", lines: []string{"report_failures: per_message"}, exact: true},
		{name: "the middle", output: "fallback:\n  - reject: first\n  -GUARDED\n  - capture: {}", parsed: true, exact: true},
		{name: "the middle by its path", output: "fallback:\n  - reject: first\n  -GUARDED\n  - capture: {}", said: true},
		{name: "a template", output: "fallback: [ { guarded: {} }, { capture: {} } ]", template: true, parsed: true, exact: true},
		{name: "with a filter", output: "fallback:\n  -GUARDED    processors: [ { mapping: 'root = if content() == \"drop\" { deleted() }' } ]\n  - capture: {}", parsed: true, said: true},
		{name: "with a mapping", output: "fallback:\n  -GUARDED    processors: [ { mapping: 'root = content()' } ]\n  - capture: {}", parsed: true, exact: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			c.Topic("t", 1, limited)
			label := "x"
			fill := func(yaml string) string {
				return strings.ReplaceAll(yaml, "GUARDED", streamtest.Indent(guarded(c, label, test.lines...), 4))
			}
			output, resources := fill(test.output), fill(test.resources)
			if test.parsed {
				parsedAs(t, output, resources)
			}
			s := &streamtest.Stream{Config: streamtest.Config{Resources: resources, Environment: func(env *service.Environment) error {
				if !test.template {
					return nil
				}
				mapping := streamtest.Indent("root.kafka_guarded = "+strconv.Quote(c.config(topicByContent))+".parse_yaml()", 2)
				return env.RegisterTemplateYAML("name: guarded\ntype: output\nmapping: |" + mapping)
			}}, Batches: [][]string{{"drop", "m0", big, "m1", "bad"}, {big + "2", "BAD"}, {"m2"}}}
			require.True(t, s.Run(t, t.Context(), output))
			require.Equal(t, map[int]error{0: nil, 1: nil, 2: nil}, s.Acked())
			have, dead := c.Values("t"), s.DeadLetters(t)
			for _, m := range []string{"m0", "m1", "m2"} {
				require.Equal(t, 1, have[m], m)
			}
			for m, class := range map[string]string{big: "size_exceeded:", big + "2": "size_exceeded:", "bad": "unroutable:", "BAD": "unroutable:"} {
				require.Contains(t, dead, m)
				if test.exact {
					require.Contains(t, dead[m], class)
				}
			}
			if test.exact {
				require.Len(t, dead, 4)
			}
			require.Equal(t, test.said, strings.Contains(s.Log.String(), notExact), s.Log.String())
		})
	}
}

func TestAStallingChildInAResourceIsRefusedAtTheStart(t *testing.T) { //nolint:paralleltest // as above
	spec := service.NewConfigSpec().Fields(service.NewAnyField("output"), service.NewAnyListField("output_resources"))
	conf, err := spec.ParseYAML("output: { kafka_guarded: { dead_letter: { resource: a } } }\noutput_resources: [ { label: a, broker: { outputs: [ { drop: {} } ], batching: { count: 2 } } } ]", nil)
	require.NoError(t, err)
	require.ErrorContains(t, OnConfigParse(conf), "output_resources.a.broker.batching waits for a number of messages")
}

// A switch turns an error for a batch into one that lists messages, by position. So
// failed messages are held there until they pass, and none is lost or duplicated.
func TestWhatCantBeReportedIsHeld(t *testing.T) {
	t.Parallel()
	for _, replay := range []bool{false, true} {
		t.Run(fmt.Sprint("replay ", replay), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1, limited)
			s := &streamtest.Stream{
				Config:  streamtest.Config{Replay: replay, Processors: []string{drops}},
				Batches: [][]string{{"drop0", "m0", big + "1", "m1", big + "2"}, {"drop1", big + "3"}, {"m2"}},
			}
			when(s, "can't be reported without a loss", func() {
				_, _ = c.Admin.AlterTopicConfigs(t.Context(), setConfig("max.message.bytes", "100000"), "t")
			})
			require.True(t, s.Run(t, t.Context(), "switch:\n  cases:\n    - check: 'false'\n      output: { drop: {} }\n    - output:"+streamtest.Indent(c.alone("topic: t", quickRetry), 8)))
			require.Equal(t, map[int]error{0: nil, 1: nil, 2: nil}, s.Acked())
			require.Equal(t, once("m0", big+"1", "m1", big+"2", big+"3", "m2"), c.Values("t"))
			require.NotContains(t, s.Log.String(), streamtest.FailedWrite)
		})
	}
}

// A dedupe in the pipeline drops a failed message that the input sends again. With
// dead_letter, that can happen only to messages that are given up.
func TestNothingIsLostBehindADedupe(t *testing.T) { //nolint:paralleltest // what OnConfigParse learns is of the program
	const dedupe = "dedupe: { cache: seen, key: '${! content() }' }"
	const unread = "in a file of its own"
	quick := []string{"retry: { initial_interval: 1ms, max_interval: 10ms }"}
	for name, lines := range map[string][]string{
		"without a dead letter": quick,
		unread:                  quick,
		"given up":              {"retry: { initial_interval: 1ms, max_interval: 10ms, max_elapsed_time: 20ms }", "permanent: [ unroutable ]", "dead_letter: { drop: {} }"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.Topic("t", 1, limited)
			output := "label: behind_dedupe\n" + c.alone(append(lines, "topic: t")...)
			processor, resources := dedupe, "cache_resources: [ { label: seen, memory: {} } ]"
			if name == unread { // run -r: what OnConfigParse gets does not have it
				processor, resources = "resource: seen_before", resources+"\nprocessor_resources: [ { label: seen_before, "+dedupe+" } ]"
			}
			parsedAs(t, output, "\npipeline: { processors: [ { "+processor+" } ] }\n")
			s := &streamtest.Stream{
				Config:  streamtest.Config{Replay: true, Processors: []string{processor}, Resources: resources},
				Batches: [][]string{{"m0", big, "m2"}},
			}
			told := "Set dead_letter, and they go there: size_exceeded: "
			if name == "given up" {
				told = "dead_letter gets the classes that permanent names, and nothing that may have been written: size_exceeded: "
			}
			when(s, told, func() { // the topic takes it when its limit is raised
				_, _ = c.Admin.AlterTopicConfigs(t.Context(), setConfig("max.message.bytes", "1000000"), "t")
			})
			require.True(t, s.Run(t, t.Context(), output))
			require.Equal(t, once("m0", big, "m2"), c.Values("t"))
			switch name {
			case "given up":
				require.NotContains(t, s.Log.String(), "Set dead_letter, and")
			case unread:
				require.Contains(t, s.Log.String(), "The resource at pipeline.processors.0.resource is not in the config")
			default:
				require.Contains(t, s.Log.String(), "pipeline.processors.0.dedupe drops them")
			}
		})
	}
}
