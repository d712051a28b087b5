package check

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
	"github.com/kafka-guarded/kafka-guarded/internal/wrongconfigs"
)

// start makes the output of a config as a program does, without the linter.
func start(ctx context.Context, fields string) error {
	b := service.NewResourceBuilder()
	b.DisableLinting()
	if err := b.AddOutputYAML("label: a\nkafka_guarded:" + streamtest.Indent(fields, 2)); err != nil {
		return err
	}
	_, stop, err := b.BuildSuspended()
	if err != nil {
		return err
	}
	return stop(ctx)
}

// A config that stops the start is found by the linter or by check. A config that
// starts passes both.
func TestWhatStopsTheStartIsFoundBefore(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	for _, test := range wrongconfigs.All {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			fields := wrongconfigs.Whole(strings.ReplaceAll(test.YAML, "localhost:9092", c.ListenAddrs()[0]))
			fields = strings.ReplaceAll(fields, "localhost:9092", c.ListenAddrs()[0])
			config := "output:\n  kafka_guarded:" + streamtest.Indent(fields, 4)
			lints, err := schema().NewStreamConfigLinter().LintYAML([]byte(config))
			require.NoError(t, err)
			var said strings.Builder
			checked := Run(t.Context(), &said, Options{Configs: []File{{"a.yaml", config}}})
			started := start(t.Context(), fields)
			if started == nil {
				return // the linter's finding stops the start, too
			}
			require.Error(t, checked, "%v: %s", started, said.String())
			if len(lints) > 0 {
				return
			}
			// Without a finding of the linter, check has the text of the start.
			_, why, _ := strings.Cut(started.Error(), "root.output_resources: ")
			require.NotEmpty(t, why, started.Error())
			if errors.Is(checked, errFailing) {
				require.Contains(t, said.String(), "  fail  config: ")
				require.NotContains(t, said.String(), "seed broker", "it is no failure of the connection")
			}
		})
	}
}

// check names line and field of a value whose type is wrong, which the linter accepts.
func TestCheckNamesWhereAWrongTypeIs(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	head := "  kafka_guarded:\n    seed_brokers: [ '" + c.ListenAddrs()[0] + "' ]\n    topic: t\n"
	for _, test := range []struct{ config, resources, want string }{
		{"output:\n" + head + "    max_in_flight: 1e20\n", "", "a.yaml(5): output.kafka_guarded.max_in_flight is 1e20, it must be a whole number"},
		{"output:\n" + head + "    idempotent_write: yup\n", "", "a.yaml(5): output.kafka_guarded.idempotent_write is yup, it must be true or false"},
		{"output:\n" + head + "    dead_letter: { drop: {} }\n    batching:\n      byte_size: 10MB\n", "", "a.yaml(7): output.kafka_guarded.batching.byte_size is 10MB, it must be a whole number"},
		{"output:\n" + head + "    dead_letter: { drop: {} }\n    dead_letter_breaker: { max_failed_share: half }\n", "", "a.yaml(6): output.kafka_guarded.dead_letter_breaker.max_failed_share is half, it must be a number"},
		{"output:\n" + head + "    sasl: [ { mechanism: PLAIN, username: a, password: 12345 } ]\n", "", "a.yaml: output.kafka_guarded.sasl.0.password is no text, with which Benthos does not start: put it in quotes"},
		{"output: { resource: a }", "output_resources:\n  - drop: {}\n    label: b\n  - label: a\n    kafka_guarded:\n      seed_brokers: [ a:1 ]\n      topic: t\n      max_in_flight: many\n", "r.yaml(8): output_resources."},
	} {
		opts := Options{Configs: []File{{"a.yaml", test.config}}}
		if test.resources != "" {
			opts.Resources = []File{{"r.yaml", test.resources}}
		}
		require.ErrorContains(t, Run(t.Context(), io.Discard, opts), test.want)
	}
}

// The mistake is outside of the output.
func TestCheckFindsWhatIsThereTwice(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	config := configYAML(c, "topic: t", "dead_letter: { drop: {} }")
	for _, test := range []struct{ config, want string }{
		{config + "\n" + config, "a.yaml: output is there twice, at line 1 and at line 2: the latter counts, without a word at the start"},
		{"pipeline:\n  processors: []\n  processors: []\n" + config, "a.yaml: pipeline.processors is there twice, at line 2 and at line 3"},
		{"output:\n  kafka_guarded:\n    topic: a\n    topic: t\n    seed_brokers: [ '" + c.ListenAddrs()[0] + "' ]\n    dead_letter: { drop: {} }", "a.yaml: output.kafka_guarded.topic is there twice, at line 3 and at line 4"},
	} {
		var out strings.Builder
		err := Run(t.Context(), &out, Options{Configs: []File{{"a.yaml", test.config}}})
		require.ErrorIs(t, err, errFailing)
		require.Contains(t, out.String(), "  fail  "+test.want)
	}
	require.NoError(t, Run(t.Context(), io.Discard, Options{Configs: []File{{"a.yaml", config}}}))
}
