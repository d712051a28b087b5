package output

import (
	"slices"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
	"github.com/kafka-guarded/kafka-guarded/internal/wrongconfigs"
)

// lints returns the linter's findings for an output with these lines.
func lints(t *testing.T, yaml string) []string {
	t.Helper()
	yaml = wrongconfigs.Whole(yaml)
	linter := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter()
	found, err := linter.LintYAML([]byte("output:\n  kafka_guarded:" + streamtest.Indent(yaml, 4)))
	require.NoError(t, err)
	var texts []string
	for _, l := range found {
		texts = append(texts, l.What)
	}
	return texts
}

// Configs that work have no findings. Else users would switch the linter off.
func TestLintsLeaveAloneWhatWorks(t *testing.T) {
	t.Parallel()
	for _, yaml := range []string{
		"topic: '${! @topic }'",
		"topic: 'orders-${! json(\"a b\") }'",
		"topic: a.B_c-9",
		"topic: ...",
		"seed_brokers: [ 'a:1, b:2', c:3 ]",
		"partitioner: manual\npartition: 3",
		"partitioner: manual\npartition: '${! @p }'",
		"acks: leader\nidempotent_write: false",
		"acks: none\nidempotent_write: false\nmax_in_flight_requests: 5",
		"record_delivery_timeout: 1m",
		"record_delivery_timeout: 0s\ntimestamp_ms: '${! @ts }'",
		"timestamp_ms: '${! @ts }'",
		"max_message_bytes: 1048576",
		"max_message_bytes: 1 MiB",
		"max_message_bytes: ''", // an environment variable that is not set here
		"sasl: [ { mechanism: PLAIN, username: '', password: '' } ]",
		"max_message_bytes: 50mib\nbroker_write_max_bytes: 128MB\nmax_buffered_bytes: 1.5g",
		"record_retries: 3",
		"retry: { max_elapsed_time: 0s }",
		"topic_rules: { max_age: 1h30m }",
		"permanent: []",
		"permanent: [ unknown_topic ]",
		"inject_tracing_map: 'meta = @.assign(this)'",
	} {
		require.Empty(t, lints(t, yaml), yaml)
	}
}

// A mistake in a field is reported at its line. A mistake in several fields, or a
// missing field, is reported at the line of the output.
func TestLintsAreAtTheLineOfTheField(t *testing.T) {
	t.Parallel()
	found, err := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter().LintYAML([]byte(`
output:
  kafka_guarded:
    seed_brokers: [ a:b ]
    topic: a b
    topc: x
    idempotent_write: true
    acks: none
    timeout: soon
    batching:
      count: -1
    retry:
      max_interval: soon
    permanent: [ transient ]
    sasl:
      - mechanism: GSSAPI
    dead_letter:
      reject: no
    dead_letter_breaker: { messages: 0 }
`))
	require.NoError(t, err)
	have := map[int][]string{}
	for _, l := range found {
		text, _, _ := strings.Cut(l.What, " ")
		have[l.Line] = append(have[l.Line], text)
		slices.Sort(have[l.Line])
	}
	require.Equal(t, map[int][]string{
		4: {"idempotent_write", "seed_brokers[0]", "there"}, 5: {"topic"}, 6: {"field"}, 9: {"timeout"}, 11: {"batching.count"}, 13: {"retry.max_interval"},
		14: {"permanent[0]"}, 16: {"sasl[0].mechanism", "value"}, 18: {"dead_letter"}, 19: {"dead_letter_breaker.messages"},
	}, have)
}
