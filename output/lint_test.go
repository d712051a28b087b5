package output

import (
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// lints returns what the linter says of an output with these lines.
func lints(t *testing.T, yaml string) []string {
	t.Helper()
	if !strings.Contains(yaml, "seed_brokers") {
		yaml += "\nseed_brokers: [ localhost:9092 ]"
	}
	if !strings.Contains("\n"+yaml, "\ntopic:") {
		yaml += "\ntopic: t"
	}
	linter := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter()
	found, err := linter.LintYAML([]byte("output:\n  kafka_guarded:" + streamtest.Indent(yaml, 4)))
	require.NoError(t, err)
	var texts []string
	for _, l := range found {
		texts = append(texts, l.What)
	}
	return texts
}

// What would otherwise be found at run time is found by the linter, and by the
// constructor, for those who do not lint.
func TestLintsAndConstructorAgree(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, yaml, lint, want string
	}{
		{"a delivery timeout and timestamp_ms", "record_delivery_timeout: 1m\ntimestamp_ms: '${! @ts }'", "record_delivery_timeout cannot be used together with timestamp", "record_delivery_timeout cannot be used together with timestamp_ms"},
		{"a delivery timeout and timestamp", "record_delivery_timeout: 1m\ntimestamp: '${! @ts }'", "record_delivery_timeout cannot be used together with timestamp", "record_delivery_timeout cannot be used together with timestamp:"},
		{"no brokers", "seed_brokers: []", "name at least one broker as host:port", "seed_brokers is empty"},
		{"brokers of commas", "seed_brokers: [ ' ,' ]", "name at least one broker as host:port", "seed_brokers is empty"},
		{"an illegal topic", "topic: 'a b'", "this is no legal topic name", `topic is "a b", which is no legal topic name`},
		{"a topic of two dots", "topic: '..'", "this is no legal topic name", `topic is "..", which is no legal topic name`},
		{"a topic too long", "topic: " + strings.Repeat("t", 250), "this is no legal topic name", "which is no legal topic name"},
		{"a partition that is no number", "partitioner: manual\npartition: first", "this must be a whole number", `partition is "first", it must be a whole number`},
		{"a negative partition", "partitioner: manual\npartition: '-1'", "this must be a whole number", `partition is "-1", it must be a whole number`},
		{"a size that is none", "max_message_bytes: lots", "this must be a size such as 1MiB", "parsing max_message_bytes:"},
		{"a size with a wrong unit", "max_buffered_bytes: 1 megabyte", "this must be a size such as 1MiB", "parsing max_buffered_bytes:"},
		{"a request size that is none", "broker_write_max_bytes: MiB", "this must be a size such as 1MiB", "parsing broker_write_max_bytes:"},
		{"no requests", "idempotent_write: false\nmax_in_flight_requests: 0", "this must be at least 1", "max_in_flight_requests is 0, it must be at least 1"},
		{"no buffer", "max_buffered_records: 0", "this must be at least 1", "max_buffered_records is 0, it must be at least 1"},
		{"negative retries", "record_retries: -1", "this must be at least 0", "record_retries is -1, it must be at least 0"},
		{"no duration", "metadata_max_age: soon", "this must be a duration such as 10s", "soon"},
		{"no delivery timeout", "record_delivery_timeout: soon", "this must be a duration such as 10s", "soon"},
		{"rules of no age", "topic_rules: { max_age: 0s }", "this must be more than 0", "topic_rules.max_age is 0s"},
		{"rules of no duration", "topic_rules: { max_age: soon }", "this must be a duration such as 10s", "soon"},
		{"retries at once", "retry: { initial_interval: 0s }", "this must be more than 0", "retry.initial_interval is 0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, strings.Join(lints(t, test.yaml), "\n"), test.lint)
			yaml := test.yaml
			if !strings.Contains(yaml, "seed_brokers") {
				yaml += "\nseed_brokers: [ localhost:9092 ]"
			}
			if !strings.Contains("\n"+yaml, "\ntopic:") {
				yaml += "\ntopic: t"
			}
			require.ErrorContains(t, refusal(yaml), test.want)
		})
	}
}

// A linter that warned of what works would be switched off.
func TestLintsLeaveAloneWhatWorks(t *testing.T) {
	t.Parallel()
	for _, yaml := range []string{
		"topic: '${! @topic }'",
		"topic: 'orders-${! json(\"a b\") }'",
		"topic: a.B_c-9",
		"topic: ...",
		"topic: ''", // an environment variable that is not set here
		"seed_brokers: [ '' ]",
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
		"max_message_bytes: ''",
		"max_message_bytes: 50mib\nbroker_write_max_bytes: 128MB\nmax_buffered_bytes: 1.5g",
		"record_retries: 3",
		"retry: { max_elapsed_time: 0s }",
		"topic_rules: { max_age: 1h30m }",
		"permanent: []",
		"permanent: [ unknown_topic ]",
		"inject_tracing_map: 'meta = @.merge(this)'",
	} {
		require.Empty(t, lints(t, yaml), yaml)
	}
}

// Of several mistakes all are named at once.
func TestLintsNameEveryMistake(t *testing.T) {
	t.Parallel()
	found := strings.Join(lints(t, "partitioner: manual\nacks: leader\nmax_in_flight_requests: 2\npermanent: [ transient, too_big ]"), "\n")
	for _, want := range []string{
		"a partition must be specified",
		"idempotent_write requires acks",
		"idempotent_write requires max_in_flight_requests",
		"transient can't be permanent",
		"permanent: there are the classes",
	} {
		require.Contains(t, found, want)
	}
}
