package output

import (
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// wrongConfigs is what people get wrong, and exactly what they are told. The
// linter and the start say the same, but where only one of them can say it.
var wrongConfigs = []struct {
	name, yaml string
	both       []string // what the linter and the start say
	benthos    []string // what the linter says besides, mostly Benthos' own
	start      string   // what the start says instead
	fine       bool
}{
	{name: "idempotent with acks leader", yaml: `acks: leader`, both: []string{`idempotent_write requires acks to be "all", got "leader"`}},
	{name: "acks by number", yaml: `acks: "-1"`, both: []string{`acks is "-1", it must be one of all, leader, none`}, benthos: []string{`value -1 is not a valid option for this field`}},
	{name: "batching that is negative, and no duration", yaml: `batching: {count: -3, period: soon}`, both: []string{`batching.count is -3, it must be at least 0`, `batching.period is "soon", it must be a duration such as 10s`}},
	{name: "batching by negative bytes", yaml: `batching: {byte_size: -1}`, both: []string{`batching.byte_size is -1, it must be at least 0`}},
	{name: "a batching check that is no mapping", yaml: `batching: {check: "this ="}`, benthos: []string{`expected whitespace, but reached end of input`}},
	{name: "batching that is no object", yaml: `batching: 5`, benthos: []string{`expected object value, got !!int`}},
	{name: "a size that is none", yaml: `max_message_bytes: ten`, both: []string{`max_message_bytes is "ten", it must be a size such as 1MiB`}},
	{name: "a negative size", yaml: `max_message_bytes: -5`, both: []string{`max_message_bytes is "-5", it must be a size such as 1MiB`}},
	{name: "a size of zero", yaml: `max_message_bytes: 0`, both: []string{`max_message_bytes is 0: leave it out to go by what each topic accepts`}},
	{name: "a size that holds no batch", yaml: `max_message_bytes: 100`, both: []string{`max_message_bytes is 100, it must be from 512 to 1073741824 bytes`}},
	{name: "a size that is too large", yaml: `max_message_bytes: 10GB`, both: []string{`max_message_bytes is 10GB, it must be from 512 to 1073741824 bytes`}},
	{name: "a message larger than a request", yaml: `max_message_bytes: 2MiB
broker_write_max_bytes: 1MiB`, both: []string{`max_message_bytes is 2097152, which does not fit into a request of broker_write_max_bytes (1048576)`}},
	{name: "a request that is too small", yaml: `broker_write_max_bytes: 10`, both: []string{`broker_write_max_bytes is 10, it must be from 1024 to 1073741824 bytes`}},
	{name: "a request that is too large", yaml: `broker_write_max_bytes: 2GiB`, both: []string{`broker_write_max_bytes is 2GiB, it must be from 1024 to 1073741824 bytes`}},
	{name: "a size with a wrong unit", yaml: `max_buffered_bytes: 1 megabyte`, both: []string{`max_buffered_bytes is "1 megabyte", it must be a size such as 1MiB`}},
	{name: "a CA file that is not there", yaml: `tls: {enabled: true, root_cas_file: /nonexistent/ca.pem}`, both: []string{`tls.root_cas_file can't be read: open /nonexistent/ca.pem: no such file or directory`}},
	{name: "a CA file without a certificate", yaml: `tls: {enabled: true, root_cas_file: lint.go}`, both: []string{`tls.root_cas_file has no certificate in PEM (-----BEGIN CERTIFICATE-----)`}},
	{name: "a CA that is no certificate", yaml: `tls: {enabled: true, root_cas: junk}`, both: []string{`tls.root_cas has no certificate in PEM (-----BEGIN CERTIFICATE-----)`}},
	{name: "a client certificate that is not there", yaml: `tls: {enabled: true, client_certs: [{cert_file: /nope, key_file: /nope}]}`, both: []string{`tls can't be used: open /nope: no such file or directory`}},
	{name: "a duration without a unit", yaml: `timeout: 10`, both: []string{`timeout is "10", it must be a duration such as 10s`}},
	{name: "a negative duration", yaml: `timeout: -3s`, both: []string{`timeout is -3s, it must be from 100ms to 24h`}},
	{name: "a duration of zero", yaml: `conn_idle_timeout: 0s`, both: []string{`conn_idle_timeout is 0s, it must be from 100ms to 15m`}},
	{name: "metadata of no age", yaml: `metadata_max_age: 0s`, both: []string{`metadata_max_age is 0s, it must be from 250ms to 1h`}},
	{name: "a duration that is too long", yaml: `request_timeout_overhead: 1h`, both: []string{`request_timeout_overhead is 1h, it must be from 100ms to 15m`}},
	{name: "a negative delivery time-out", yaml: `record_delivery_timeout: -1s`, both: []string{`record_delivery_timeout is -1s, it must not be negative`}},
	{name: "a delivery time-out that is too short", yaml: `record_delivery_timeout: 1ms`, both: []string{`record_delivery_timeout is 1ms, it must be 0s, or at least 1s`}},
	{name: "a delivery time-out and timestamps", yaml: `record_delivery_timeout: 5s
timestamp_ms: "${! 1 }"`, both: []string{`record_delivery_timeout cannot be used together with timestamp_ms: it is counted from the timestamp of a message`}},
	{name: "a delivery time-out that is no duration", yaml: `record_delivery_timeout: soon`, both: []string{`record_delivery_timeout is "soon", it must be a duration such as 10s`}},
	{name: "an interpolation that is not closed", yaml: `topic: "${! json( }"`, both: []string{`topic can't be read: required: expected function argument, got: }`}, benthos: []string{`required: expected function argument, got: }`}},
	{name: "an unknown function", yaml: `topic: "${! foo() }"`, start: `topic can't be read: unrecognised function 'foo':  }`, benthos: []string{`unrecognised function 'foo':  }`}},
	{name: "an unknown partitioner", yaml: `partitioner: murmur`, both: []string{`partitioner is "murmur", it must be one of murmur2_hash, round_robin, least_backup, manual`}, benthos: []string{`value murmur is not a valid option for this field`}},
	{name: "an unknown codec", yaml: `compression: rar`, both: []string{`compression is "rar", it must be one of lz4, snappy, gzip, none, zstd`}, benthos: []string{`value rar is not a valid option for this field`}},
	{name: "an empty dead_letter", yaml: `dead_letter: {}`, start: `dead_letter can't be made: an explicit output type must be specified`, benthos: []string{`dead_letter must be an output, such as file: { path: ./dead-letters.jsonl }`}},
	{name: "a dead_letter that is a text", yaml: `dead_letter: file`, start: `dead_letter can't be made: invalid type !!str, expected object`, benthos: []string{`dead_letter must be an output, such as file: { path: ./dead-letters.jsonl }`}},
	{name: "a dead_letter resource that is not there", yaml: `dead_letter: {resource: nope}`, start: `dead_letter can't be made: failed to init output <no label> path root.dead_letter: output resource 'nope' was not found`},
	{name: "a dead_letter of null", yaml: `dead_letter: null`, fine: true},
	{name: "no brokers", yaml: `seed_brokers: []`, both: []string{`seed_brokers is empty: name each broker as host:port`}},
	{name: "an empty broker", yaml: `seed_brokers: [""]`, both: []string{`seed_brokers[0] is empty, perhaps for an environment variable that is: name each broker as host:port`}},
	{name: "brokers of commas", yaml: `seed_brokers: [" ,"]`, both: []string{`seed_brokers[0] is empty, perhaps for an environment variable that is: name each broker as host:port`}},
	{name: "brokers of null", yaml: `seed_brokers: null`, start: `field 'seed_brokers': line 1: expected array value, got !!null`, benthos: []string{`seed_brokers is empty: name each broker as host:port`, `expected array value`}},
	{name: "brokers that are a number", yaml: `seed_brokers: 5
idempotent_write: yup`, start: `field 'seed_brokers': line 1: expected array value, got !!int`, benthos: []string{`expected array value`}},
	{name: "brokers that are no addresses", yaml: `seed_brokers: ["a:99999", "b:abc", "c:0", ":9092", "d e:1", "kafka://x:9092"]`, both: []string{`seed_brokers[0] has "a:99999", whose port is no number from 1 to 65535: name each broker as host:port`, `seed_brokers[1] has "b:abc", whose port is no number from 1 to 65535: name each broker as host:port`, `seed_brokers[2] has "c:0", whose port is no number from 1 to 65535: name each broker as host:port`, `seed_brokers[3] has ":9092", which has no legal host name: name each broker as host:port`, `seed_brokers[4] has "d e:1", which has no legal host name: name each broker as host:port`, `seed_brokers[5] has "kafka://x:9092", which is no address, but a URL: name each broker as host:port`}},
	{name: "brokers by IPv6 and without ports", yaml: `seed_brokers: ["[::1]:9092", "::1", "[::1]", "a"]`, fine: true},
	{name: "an empty topic", yaml: `topic: ""`, both: []string{`topic is empty, perhaps for an environment variable that is`}},
	{name: "an illegal topic", yaml: `topic: "my topic"`, both: []string{`topic is "my topic", which is no legal topic name: it takes 1 to 249 letters, digits, dots, underscores and hyphens`}},
	{name: "a topic of two dots", yaml: `topic: ".."`, both: []string{`topic is "..", which is no legal topic name: it takes 1 to 249 letters, digits, dots, underscores and hyphens`}},
	{name: "manual without a partition", yaml: `partitioner: manual`, both: []string{`partition must be specified when the partitioner is manual`}},
	{name: "a partition without manual", yaml: `partition: 1`, both: []string{`partition cannot be specified unless the partitioner is manual`}},
	{name: "a negative partition", yaml: `partitioner: manual
partition: "-1"`, both: []string{`partition is "-1", it must be a whole number from 0 to 2147483647`}},
	{name: "a partition that is no number", yaml: `partitioner: manual
partition: first`, both: []string{`partition is "first", it must be a whole number from 0 to 2147483647`}},
	{name: "a partition that is too large", yaml: `partitioner: manual
partition: "99999999999"`, both: []string{`partition is "99999999999", it must be a whole number from 0 to 2147483647`}},
	{name: "idempotent with several requests", yaml: `max_in_flight_requests: 5`, both: []string{`idempotent_write requires max_in_flight_requests to be 1, got 5: set idempotent_write to false to use higher values, at the cost of possible duplicates and another order when something is sent again`}},
	{name: "no request", yaml: `idempotent_write: false
max_in_flight_requests: 0`, both: []string{`max_in_flight_requests is 0, it must be at least 1`}},
	{name: "a negative number of batches", yaml: `max_in_flight: -1`, both: []string{`max_in_flight is -1, it must be at least 1`}},
	{name: "no batch in flight", yaml: `max_in_flight: 0`, both: []string{`max_in_flight is 0, it must be at least 1`}},
	{name: "a number that is a text", yaml: `max_in_flight: many`, start: "field 'max_in_flight': yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `many` into int"},
	{name: "no buffer", yaml: `max_buffered_records: 0`, both: []string{`max_buffered_records is 0, it must be at least 1`}},
	{name: "negative retries", yaml: `record_retries: -1`, both: []string{`record_retries is -1, it must be at least 0`}},
	{name: "a null_key that is no mapping", yaml: `null_key: "this ="`, both: []string{`null_key can't be read: expected whitespace, but reached end of input`}, benthos: []string{`expected whitespace, but reached end of input`}},
	{name: "a tombstone that is no mapping", yaml: `tombstone: "root = ("`, both: []string{`tombstone can't be read: expected query, but reached end of input`}, benthos: []string{`expected query, but reached end of input`}},
	{name: "classes that are not to be permanent", yaml: `permanent: [transient, size_exceded]`, both: []string{`permanent[0] is "transient", it must be one of size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized, refused`, `permanent[1] is "size_exceded", it must be one of size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized, refused`}},
	{name: "a mechanism that there is not", yaml: `sasl: [{mechanism: GSSAPI, username: a, password: S3cr3tPW}]`, both: []string{`sasl[0].mechanism is "GSSAPI", it must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM, none`}, benthos: []string{`value GSSAPI is not a valid option for this field`}},
	{name: "a mechanism in lower case", yaml: `sasl: [{mechanism: scram-sha-256, username: a, password: S3cr3tPW}]`, both: []string{`sasl[0].mechanism is "scram-sha-256", it must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM, none`}},
	{name: "a mechanism of another binary", yaml: `sasl: [{mechanism: AWS_MSK_IAM}]`, both: []string{`sasl[0].mechanism is AWS_MSK_IAM, which this binary is built without: it takes kafka-guarded-connect, or the import of github.com/kafka-guarded/kafka-guarded/connect/aws`}},
	{name: "no mechanism", yaml: `sasl: [{username: a, password: S3cr3tPW}]`, start: `field 'sasl': field 'mechanism' is required and was not present in the config`, benthos: []string{`field mechanism is required`}},
	{name: "mechanisms without credentials", yaml: `sasl: [{mechanism: PLAIN}, {mechanism: OAUTHBEARER}]`, start: `sasl[0].username is empty: PLAIN takes a username and a password; sasl[0].password is empty: PLAIN takes a username and a password; sasl[1].token is empty: OAUTHBEARER takes a token`},
	{name: "mechanisms that are no list", yaml: `sasl: {mechanism: PLAIN, username: a, password: b}`, start: `field 'sasl': line 1: expected array value, got !!map`, benthos: []string{`expected array value`}},
	{name: "an empty password", yaml: `sasl: [{mechanism: PLAIN, username: a, password: ""}]`, start: `sasl[0].password is empty: PLAIN takes a username and a password`},
	{name: "a typo", yaml: `topik: x`, benthos: []string{`field topik not recognised`}},
	{name: "a timestamp that is no number", yaml: `timestamp_ms: abc`, both: []string{`timestamp_ms is "abc", it must be a whole number`}},
	{name: "a timestamp in fractions", yaml: `timestamp: 1.5`, both: []string{`timestamp is "1.5", it must be a whole number`}},
	{name: "two timestamps", yaml: `timestamp: 1
timestamp_ms: 1`, both: []string{`timestamp_ms and timestamp cannot both be specified`}},
	{name: "a pattern that is none", yaml: `metadata: {include_patterns: ["("]}`, both: []string{"metadata can't be read: failed to compile regexp \"(\": error parsing regexp: missing closing ): `(`"}},
	{name: "intervals in the wrong order", yaml: `retry: {initial_interval: 10s, max_interval: 1s}`, both: []string{`retry.initial_interval is 10s, which is more than max_interval (1s)`}},
	{name: "retries at once", yaml: `retry: {initial_interval: 0s, max_interval: 0s, max_elapsed_time: -1s}`, both: []string{`retry.initial_interval is 0s, it must be more than 0`, `retry.max_interval is 0s, it must be more than 0`, `retry.max_elapsed_time is -1s, it must not be negative`}},
	{name: "rules of no age", yaml: `topic_rules: {max_age: 0s}`, both: []string{`topic_rules.max_age is 0s, it must be more than 0`}},
	{name: "a negative connect time-out", yaml: `tcp: {connect_timeout: -1s}`, both: []string{`tcp.connect_timeout is -1s, it must not be negative`}},
	{name: "a connect time-out that is no duration", yaml: `tcp: {connect_timeout: soon}`, both: []string{`tcp.connect_timeout is "soon", it must be a duration such as 10s`}},
	{name: "time-outs of TCP that exclude each other", yaml: `tcp: {tcp_user_timeout: 30s}`, both: []string{`tcp can't be used: keep_alive.idle (15s) must be greater than tcp_user_timeout (30s)`}},
	{name: "an unknown way to report", yaml: `report_failures: sometimes`, both: []string{`report_failures is "sometimes", it must be one of auto, per_message, per_batch`}, benthos: []string{`value sometimes is not a valid option for this field`}},
	{name: "reports that are given up at once", yaml: `delivery_report_max_elapsed_time: 0s`, both: []string{`delivery_report_max_elapsed_time is 0s, it must be more than 0`}},
	{name: "several mistakes", yaml: `partitioner: manual
acks: leader
max_in_flight_requests: 2
permanent: [ transient, too_big ]`, both: []string{`partition must be specified when the partitioner is manual`, `idempotent_write requires acks to be "all", got "leader"`, `idempotent_write requires max_in_flight_requests to be 1, got 2: set idempotent_write to false to use higher values, at the cost of possible duplicates and another order when something is sent again`, `permanent[0] is "transient", it must be one of size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized, refused`, `permanent[1] is "too_big", it must be one of size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized, refused`}},
}

func TestWrongConfigsAreToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, test := range wrongConfigs {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			said := lints(t, test.yaml)
			require.ElementsMatch(t, append(test.both[:len(test.both):len(test.both)], test.benthos...), said)
			want := test.start
			if want == "" {
				want = strings.Join(test.both, "; ")
			}
			err := refusal(whole(test.yaml))
			if want == "" {
				require.NoError(t, err, "only the linter sees it")
				require.Equal(t, test.fine, len(said) == 0)
				return
			}
			require.EqualError(t, err, want)
			require.NotContains(t, err.Error()+strings.Join(said, ""), "S3cr3tPW")
		})
	}
}

// The limit of a request may be below the size of a batch that kgo has by default.
func TestRequestsMayBeSmall(t *testing.T) {
	t.Parallel()
	for _, limit := range []string{"1024", "10kB", "1MB"} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1)
			o := c.output("topic: t", "broker_write_max_bytes: "+limit)
			failed, _ := failures(t, o, streamtest.Batch("a", strings.Repeat("b", 1<<20), "c"))
			require.Len(t, failed, 1)
			require.Contains(t, failed[1], "size_exceeded: ")
			require.Equal(t, once("a", "c"), c.Values("t"))
		})
	}
}

// A program may give its streams functions of their own, which only their
// environment knows.
func TestLintsGoByTheEnvironment(t *testing.T) {
	t.Parallel()
	own := bloblang.NewEnvironment()
	require.NoError(t, own.RegisterMethodV2("own", bloblang.NewPluginSpec(), func(*bloblang.ParsedParams) (bloblang.Method, error) {
		return bloblang.StringMethod(func(s string) (any, error) { return s + "!", nil }), nil
	}))
	env := service.NewEnvironment()
	env.UseBloblangEnvironment(own)
	b := env.NewStreamBuilder()
	require.NoError(t, b.AddOutputYAML(`kafka_guarded: { seed_brokers: [ a:1 ], topic: t, key: '${! content().string().own() }', null_key: 'this.id.own() == "!"' }`))
	require.ErrorContains(t, b.AddOutputYAML(`kafka_guarded: { seed_brokers: [ a:1 ], topic: t, key: '${! content().string().other() }' }`), "unrecognised method 'other'")
}
