package errorrouting

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// guarded stands for the output in the configs below.
const guarded = "{ kafka_guarded: { topic: t } }"

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var config map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(strings.ReplaceAll(text, "GUARDED", guarded)), &config))
	return config
}

func TestRead(t *testing.T) {
	t.Parallel()
	const (
		routed     = 1 << iota // another component takes failed messages
		takenApart             // by message
		inFallback
		exact = routed | takenApart | inFallback
	)
	for _, test := range []struct {
		name, config string
		want         int
		path         string
	}{
		{"alone", "output: GUARDED", 0, "output"},
		{"alone, with the key type", "output: { type: kafka_guarded, kafka_guarded: { topic: t } }", 0, "output"},
		{"first of a fallback", "output: { fallback: [ GUARDED, { drop: {} } ] }", exact, "output.fallback.0"},
		{"only one of a fallback", "output: { fallback: [ GUARDED ] }", inFallback, "output.fallback.0"},
		{"middle of a fallback", "output: { fallback: [ { drop: {} }, GUARDED, { drop: {} } ] }", exact, "output.fallback.1"},
		{"last of a fallback", "output: { fallback: [ { drop: {} }, GUARDED ] }", inFallback, "output.fallback.1"},
		{"last of a fallback that is first of another", "output: { fallback: [ { fallback: [ { drop: {} }, GUARDED ] }, { drop: {} } ] }", exact, "output.fallback.0.fallback.1"},
		{"resource in a fallback", "output: { fallback: [ { resource: a }, { drop: {} } ] }\noutput_resources: [ { label: a, kafka_guarded: {} } ]", exact, "output_resources"},
		{"resource, also used elsewhere", "output: { broker: { pattern: round_robin, outputs: [ { fallback: [ { resource: a }, { drop: {} } ] }, { resource: a } ] } }\noutput_resources: [ { label: a, kafka_guarded: {} } ]", inFallback, "output_resources"},
		{"resource with processors", "output: { fallback: [ { resource: a }, { drop: {} } ] }\noutput_resources: [ { label: a, kafka_guarded: {}, processors: [ { split: {} } ] } ]", routed | inFallback, "output_resources"},
		{"switch in a fallback", "output: { fallback: [ { switch: { cases: [ { output: { drop: {} } }, { output: GUARDED } ] } }, { drop: {} } ] }", exact, "output.fallback.0.switch.cases.1.output"},
		{"switch that retries in a fallback", "output: { fallback: [ { switch: { retry_until_success: true, cases: [ { output: GUARDED } ] } }, { drop: {} } ] }", 0, "output.fallback.0.switch.cases.0.output"},
		{"broker in a fallback", "output: { fallback: [ { broker: { pattern: greedy, outputs: [ GUARDED ] } }, { drop: {} } ] }", exact, "output.fallback.0.broker.outputs.0"},
		{"broker that ends early in a fallback", "output: { fallback: [ { broker: { pattern: fan_out_fail_fast, outputs: [ GUARDED, { drop: {} } ] } }, { drop: {} } ] }", routed | inFallback, "output.fallback.0.broker.outputs.0"},
		{"broker that retries in a fallback", "output: { fallback: [ { broker: { outputs: [ GUARDED ] } }, { drop: {} } ] }", 0, "output.fallback.0.broker.outputs.0"},
		{"broker that batches with processors in a fallback", "output: { fallback: [ { broker: { pattern: greedy, outputs: [ GUARDED ], batching: { count: 3, period: 1s, processors: [ { split: {} } ] } } }, { drop: {} } ] }", routed | inFallback, "output.fallback.0.broker.outputs.0"},
		{"reject_errored in a fallback", "output: { fallback: [ { reject_errored: GUARDED }, { drop: {} } ] }", exact, "output.fallback.0.reject_errored"},
		{"retry in a fallback", "output: { fallback: [ { retry: { output: GUARDED } }, { drop: {} } ] }", 0, "output.fallback.0.retry.output"},
		{"dynamic", "output: { dynamic: { outputs: { x: GUARDED } } }", 0, "output.dynamic.outputs.x"},
		{"drop_on error", "output: { drop_on: { error: true, output: GUARDED } }", routed, "output.drop_on.output"},
		{"drop_on patterns in a fallback", "output: { fallback: [ { drop_on: { error_patterns: [ a ], output: GUARDED } }, { drop: {} } ] }", exact, "output.fallback.0.drop_on.output"},
		{"processors that keep places", "output: { fallback: [ { kafka_guarded: {}, processors: [ { mapping: 'root = this' }, { log: {} } ] }, { drop: {} } ] }", exact, "output.fallback.0"},
		{"a mapping that drops", "output: { fallback: [ { kafka_guarded: {}, processors: [ { mapping: 'root = deleted()' } ] }, { drop: {} } ] }", routed | inFallback, "output.fallback.0"},
		{"processors further out in a fallback", "output: { fallback: [ { switch: { cases: [ { output: GUARDED } ] }, processors: [ { archive: {} } ] }, { drop: {} } ] }", routed | inFallback, "output.fallback.0.switch.cases.0.output"},
		{"processors of the fallback itself", "output: { fallback: [ GUARDED, { drop: {} } ], processors: [ { archive: {} } ] }", exact, "output.fallback.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			outputs := Read(parse(t, test.config))
			require.Len(t, outputs, 1)
			o := outputs[0]
			require.Equal(t, test.path, o.Path)
			require.Equal(t, test.want&routed != 0, o.Routed, "routed")
			require.Equal(t, test.want&takenApart != 0, o.PerMessage, "taken apart")
			require.Equal(t, test.want&inFallback != 0, o.Fallback, "in a fallback")
			if !o.PerMessage {
				require.NotEmpty(t, o.Why)
			}
		})
	}
}

func TestReadFindsChildren(t *testing.T) {
	t.Parallel()
	outputs := Read(parse(t, "output: { kafka_guarded: { dead_letter: { label: dlq, kafka_guarded: { dead_letter: { fallback: [ GUARDED, { drop: {} } ] } } } } }"))
	require.Len(t, outputs, 3)
	require.Equal(t, "output.kafka_guarded.dead_letter", outputs[1].Path)
	require.Equal(t, "dlq", outputs[1].Label)
	require.True(t, outputs[1].PerMessage && outputs[1].Routed)
	require.Equal(t, "output.kafka_guarded.dead_letter.kafka_guarded.dead_letter.fallback.0", outputs[2].Path)
}

func TestReadFindsWhatStallsOrLoses(t *testing.T) {
	t.Parallel()
	stalls := func(config string) string { return Read(parse(t, config))[0].Stalls }
	require.Equal(t, "output.kafka_guarded.dead_letter.broker.batching",
		stalls("output: { kafka_guarded: { dead_letter: { broker: { batching: { count: 2 } } } } }"))
	require.Equal(t, "output_resources.a.broker.batching",
		stalls("output: { kafka_guarded: { dead_letter: { resource: a } } }\noutput_resources: [ { label: a, broker: { batching: { count: 2 } } } ]"))
	require.Empty(t, stalls("output: { kafka_guarded: { batching: { count: 2 }, dead_letter: { drop: {} } } }"))

	loses := func(config string) string { return Read(parse(t, config))[0].Loses }
	const (
		pipeline = "pipeline: { processors: [ { log: {} }, { split: { size: 1 } } ] }\n"
		inSwitch = "{ switch: { cases: [ { output: GUARDED }, { output: { drop: {} } } ] } }"
	)
	for config, want := range map[string]string{
		"output: GUARDED":            "",
		pipeline + "output: GUARDED": "the processor split of the pipeline",
		pipeline + "output: { fallback: [ GUARDED, { drop: {} } ] }": "",
		pipeline + "output: { fallback: [ { drop: {} }, GUARDED ] }": "the processor split of the pipeline",
		pipeline + "output: { retry: { output: GUARDED } }":          "",
		"output: " + inSwitch:                                      "the output switch",
		"output: { reject_errored: GUARDED }":                      "the output reject_errored",
		"output: { fallback: [ " + inSwitch + ", { drop: {} } ] }": "",
		"output: { fallback: [ { kafka_guarded: {}, processors: [ { group_by: [] } ] }, { drop: {} } ] }":                       "the processor group_by of the output",
		"output: { switch: { retry_until_success: true, cases: [ { output: GUARDED } ] } }":                                     "",
		"output: { switch: { cases: [ { output: { resource: a } } ] } }\noutput_resources: [ { label: a, kafka_guarded: {} } ]": "the output switch",
		"output: GUARDED\ninput: { x: {}, processors: [ { split: {} } ] }":                                                      "the processor split of the input",
		"output: GUARDED\ninput_resources: [ { label: a, x: {}, processors: [ { group_by: [] } ] } ]":                           "the processor group_by of the input_resources",
		"output: GUARDED\npipeline: { processors: [ { processors: [ { group_by_value: {} } ] } ] }":                             "the processor group_by_value of the pipeline",
		"output: GUARDED\npipeline: { processors: [ { resource: a } ] }\nprocessor_resources: [ { label: a, split: {} } ]":      "the processor split of the pipeline",
	} {
		require.Equal(t, want, loses(config), config)
	}
}

// A processor that remembers messages drops a message that is resent.
func TestReadFindsWhatForgets(t *testing.T) {
	t.Parallel()
	const pipeline = "pipeline: { processors: [ { log: {} }, { dedupe: { cache: c } } ] }\n"
	for config, want := range map[string]string{
		pipeline + "output: GUARDED":                                                                                        "pipeline.processors.1.dedupe",
		pipeline + "output: { fallback: [ GUARDED, { drop: {} } ] }":                                                        "",
		pipeline + "output: { fallback: [ { drop: {} }, GUARDED ] }":                                                        "pipeline.processors.1.dedupe",
		pipeline + "output: { retry: { output: GUARDED } }":                                                                 "",
		pipeline + "output: { switch: { cases: [ { output: GUARDED } ] } }":                                                 "pipeline.processors.1.dedupe",
		"output: GUARDED\ninput: { x: {}, processors: [ { dedupe: {} } ] }":                                                 "input.processors.0.dedupe",
		"output: GUARDED\npipeline: { processors: [ { mapping: root = this } ] }":                                           "",
		"output: GUARDED\npipeline: { processors: [ { try: [ { cache: { operator: add } } ] } ] }":                          "pipeline.processors.0.try.0.cache",
		"output: GUARDED\npipeline: { processors: [ { try: [ { cache: { operator: get } } ] } ] }":                          "",
		"output: GUARDED\npipeline: { processors: [ { resource: a } ] }\nprocessor_resources: [ { label: a, dedupe: {} } ]": "processor_resources.a.dedupe",
		"output: { kafka_guarded: {}, processors: [ { dedupe: {} } ] }":                                                     "output.processors.0.dedupe",
		"output: { retry: { output: { kafka_guarded: {}, processors: [ { dedupe: {} } ] } } }":                              "output.retry.output.processors.0.dedupe",
		"output: { fallback: [ { kafka_guarded: {}, processors: [ { dedupe: {} } ] }, { drop: {} } ] }":                     "",
	} {
		require.Equal(t, want, Read(parse(t, config))[0].Forgets, config)
	}
}

// A child output may have such a processor, too, also as a resource.
func TestReadFindsWhatAChildForgets(t *testing.T) {
	t.Parallel()
	const dedupe = "processor_resources: [ { label: p, dedupe: {} } ]\noutput_resources: [ { label: o, file: {}, processors: [ { resource: p } ] }, { label: loop, resource: loop } ]\n"
	for child, want := range map[string]string{
		"dead_letter: { file: {}, processors: [ { resource: p } ] }":             "processor_resources.p.dedupe",
		"dead_letter: { resource: o }":                                           "processor_resources.p.dedupe",
		"delivery_report: { fallback: [ { resource: loop }, { resource: o } ] }": "processor_resources.p.dedupe",
		"dead_letter: { file: {}, processors: [ { dedupe: {} } ] }":              "", // the output finds it by itself
		"dead_letter: { file: {} }":                                              "",
	} {
		require.Equal(t, want, Read(parse(t, dedupe+"output: { kafka_guarded: { "+child+" } }"))[0].ChildForgets, child)
	}
}

// A resource in a file of its own (run -r) may have any processor.
func TestReadFindsWhatIsNotRead(t *testing.T) {
	t.Parallel()
	const elsewhere = "pipeline: { processors: [ { log: {} }, { resource: a } ] }\n"
	for config, want := range map[string]string{
		elsewhere + "output: GUARDED": "pipeline.processors.1.resource",
		elsewhere + "output: GUARDED\nprocessor_resources: [ { label: a, log: {} } ]":                  "",
		elsewhere + "output: GUARDED\nprocessor_resources: [ { label: a, try: [ { resource: b } ] } ]": "processor_resources.a.try.0.resource",
		elsewhere + "output: { fallback: [ GUARDED, { drop: {} } ] }":                                  "",
		elsewhere + "output: { retry: { output: GUARDED } }":                                           "",
		"output: GUARDED\npipeline: { processors: [ { rate_limit: { resource: r } } ] }":               "",
		"output: GUARDED\npipeline: { processors: [ { cache: { resource: c, operator: get } } ] }":     "",
		"output: GUARDED\ninput: { read_until: { input: { resource: in } } }":                          "input.read_until.input.resource",
		"output: GUARDED\ninput: { broker: { inputs: [ { resource: in } ] } }":                         "input.broker.inputs.0.resource",
		"output: GUARDED\ninput: { resource: in }":                                                     "input.resource",
		"output: GUARDED\ninput: { dynamic: { inputs: { x: { resource: in } } } }":                     "input.dynamic.inputs.x.resource",
		"output: GUARDED\ninput: { resource: in }\ninput_resources: [ { label: in, x: {} } ]":          "",
		"output: { kafka_guarded: {}, processors: [ { resource: a } ] }":                               "output.processors.0.resource",
		"output: { resource: o }\noutput_resources: [ { label: o, kafka_guarded: {} } ]":               "",
	} {
		require.Equal(t, want, Read(parse(t, config))[0].Unread, config)
	}
}

func TestOfPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]Routing{
		"output":                                                 root,
		"output fallback 0":                                      inFallback,
		"output fallback 1":                                      maybeLast,
		"output switch cases 0 output":                           {Why: root.Why, Loses: "the output switch"},
		"output fallback 0 switch cases 1 output":                inFallback,
		"output fallback 1 fallback 0":                           inFallback,
		"output fallback 0 retry output":                         again("retry"),
		"output dynamic outputs fallback":                        again("dynamic"),
		"output fallback 0 drop_on output":                       dropped,
		"output fallback 0 mine":                                 unknown("mine"),
		"output fallback 0 kafka_guarded dead_letter":            inChild,
		"output kafka_guarded dead_letter fallback 0":            inFallback,
		"output_resources fallback 0":                            inFallback,
		"output fallback 0 reject_errored switch cases 0 output": inFallback,
		"output fallback 0 switch cases 1 output fallback 1":     maybeLast,
	} {
		require.Equal(t, want, OfPath(strings.Fields(path)), path)
	}
	require.False(t, OfPath([]string{"output_resources"}).PerMessage)
	require.False(t, OfPath(strings.Fields("output fallback 0 broker outputs 0")).PerMessage)
	require.False(t, OfPath(nil).PerMessage)
}

func TestKeepsPositions(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]bool{
		"GUARDED":     true,
		"{ any: {} }": true,
		"{ fallback: [ GUARDED, { file: {} } ] }":                                        true,
		"{ switch: { cases: [ { output: GUARDED }, { output: { drop: {} } } ] } }":       true,
		"{ broker: { pattern: greedy, outputs: [ GUARDED, { drop: {} } ] } }":            true,
		"{ broker: { pattern: fan_out_fail_fast, outputs: [ GUARDED, { drop: {} } ] } }": false,
		"{ file: {}, processors: [ { split: {} } ] }":                                    false,
		"{ file: {}, processors: [] }":                                                   true,
		"{ fallback: [ { file: {}, processors: [ { split: {} } ] } ] }":                  false,
		"{ resource: a }": false,
		"{ broker: { pattern: greedy, outputs: [ GUARDED ], batching: { count: 2, period: 1s } } }": false,
	} {
		require.Equal(t, want, KeepsPositions(parse(t, config)), config)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	for config, want := range map[string][]File{
		"{ file: { path: a } }": {{Path: "dl.file.path", Name: "a", Bare: true}},
		"{ file: { path: a }, processors: [ { mapping: root = @ } ] }":                                     {{Path: "dl.file.path", Name: "a", Bare: false}},
		"{ fallback: [ { drop: {} }, { file: { path: a } } ] }":                                            {{Path: "dl.fallback.1.file.path", Name: "a", Bare: true}},
		"{ fallback: [ { file: { path: a } } ], processors: [ { mapping: root = @ } ] }":                   {{Path: "dl.fallback.0.file.path", Name: "a", Bare: false}},
		"{ broker: { outputs: [ { file: { path: a } } ] } }":                                               {{Path: "dl.broker.outputs.0.file.path", Name: "a", Bare: true}},
		"{ kafka_guarded: { metadata: { include_patterns: [ a ] }, dead_letter: { file: { path: a } } } }": nil,
		"{ kafka_guarded: { dead_letter: { file: { path: a } } } }":                                        {{Path: "dl.kafka_guarded", Bare: true, Prefixes: true}},
		"{ switch: { cases: [ { output: { kafka_franz: {} } } ] } }":                                       {{Path: "dl.switch.cases.0.output.kafka_franz", Bare: true, Prefixes: true}},
		"{ stdout: {} }": {{Path: "dl.stdout", Bare: true}},
		"{ stdout: {}, processors: [ { mapping: root = @ } ] }":                                   nil,
		"{ drop: {}, processors: [ { switch: [ { processors: [ { file: { path: a } } ] } ] } ] }": nil,
	} {
		require.Equal(t, want, Files(parse(t, config), "dl"), config)
	}
	o := Read(parse(t, "output: { kafka_guarded: { dead_letter: { resource: a } } }\noutput_resources: [ { label: a, file: { path: x } } ]"))[0]
	require.Equal(t, []File{{Path: "output_resources.a.file.path", Name: "x", Bare: true}}, o.Files)
}
