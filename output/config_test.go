package output

import (
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

func setConfig(name, value string) []kadm.AlterConfig {
	return []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: kmsg.StringPtr(value)}}
}

// What the linter refuses, the constructor refuses, too: a program that builds
// streams by itself need not lint.
func TestBadConfigs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, yaml, lint, want string
	}{
		{"manual without a partition", "partitioner: manual", "a partition must be specified when the partitioner is set to manual", "a partition must be specified when the partitioner is set to manual"},
		{"a partition without manual", `partition: '${! 1 }'`, "a partition cannot be specified unless the partitioner is set to manual", "a partition cannot be specified unless the partitioner is set to manual"},
		{"two timestamps", "timestamp: '1'\ntimestamp_ms: '1'", "both timestamp and timestamp_ms cannot be specified simultaneously", "both timestamp and timestamp_ms cannot be specified simultaneously"},
		{"idempotent, acks leader", "acks: leader", "idempotent_write requires acks to be set to all", `idempotent_write requires acks to be "all", got "leader"`},
		{"idempotent, requests", "max_in_flight_requests: 2", "idempotent_write requires max_in_flight_requests to be 1", "idempotent_write requires max_in_flight_requests to be 1, got 2"},
		{"requests of zero", "idempotent_write: false\nmax_in_flight_requests: 0", "", "max_in_flight_requests is 0, it must be at least 1"},
		{"acks", "acks: some", "value some is not a valid option for this field", `acks is "some", it must be one of `},
		{"compression", "compression: rar", "value rar is not a valid option for this field", `compression is "rar", it must be one of `},
		{"partitioner", "partitioner: best", "value best is not a valid option for this field", `partitioner is "best", it must be one of `},
		{"no size", "max_message_bytes: lots", "", "parsing max_message_bytes:"},
		{"size of zero", "max_message_bytes: 0", "", "max_message_bytes is 0: leave it out for the default"},
		{"size too small", "max_message_bytes: 100", "", "max_message_bytes is 100, it must be between 512 and 1073741824"},
		{"size too large", "max_message_bytes: 2GiB", "", "max_message_bytes is 2GiB, it must not exceed 1073741824 bytes"},
		{"buffer of no records", "max_buffered_records: 0", "", "max_buffered_records is 0, it must be at least 1"},
		{"a request too small", "broker_write_max_bytes: 10", "", "max broker write bytes"},
		{"no brokers", `seed_brokers: [ "," ]`, "", "seed_brokers is empty: name at least one broker as host:port"},
		{"transient is permanent", "permanent: [ transient ]", "the class transient can't be permanent", "the class transient can't be permanent: it passes"},
		{"an unknown class", "permanent: [ too_big ]", "there are the classes size_exceeded", `reading permanent: no class is named "too_big"`},
		{"retries at once", "retry: { initial_interval: 0s }", "", "retry.initial_interval is 0s, it must be more than 0"},
		{"rules of no age", "topic_rules: { max_age: 0s }", "", "topic_rules.max_age is 0s, it must be more than 0"},
		{"a bad check", "null_key: 'root = ('", "expected", "expected"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			yaml := "topic: t\n" + test.yaml + "\n"
			if !strings.Contains(yaml, "seed_brokers") {
				yaml += "seed_brokers: [ localhost:9092 ]\n"
			}
			if test.lint != "" {
				b := service.NewStreamBuilder()
				err := b.AddOutputYAML("kafka_guarded:" + streamtest.Indent(yaml, 2))
				require.ErrorContains(t, err, test.lint)
			}
			require.ErrorContains(t, refusal(yaml), test.want)
		})
	}
}

func TestSeedBrokersMayBeCommaLists(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	conf, err := Spec().ParseYAML("topic: t\nseed_brokers: [ '127.0.0.1:1, "+c.ListenAddrs()[0]+"' ]\n", nil)
	require.NoError(t, err)
	o, err := newOutput(conf, conf.Resources())
	require.NoError(t, err)
	require.NoError(t, o.Connect(t.Context()))
	require.NoError(t, o.WriteBatch(t.Context(), streamtest.Batch("a")))
	require.NoError(t, o.Close(t.Context()))
}
