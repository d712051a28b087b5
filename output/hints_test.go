package output

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/wrongconfigs"
)

func TestHints(t *testing.T) {
	t.Parallel()
	const nullText = "a message for which that finds nothing gets the text null as its key"
	for _, test := range []struct{ name, yaml, want string }{
		{"nothing to say", "key: k\nsasl: [ { mechanism: SCRAM-SHA-256, username: a, password: S3cr3tPW } ]", ""},
		{"PLAIN without TLS", "sasl: [ { mechanism: PLAIN, username: a, password: S3cr3tPW } ]", "sasl[0]: PLAIN sends the password as it is, and tls.enabled is not set"},
		{"PLAIN with TLS", "tls: { enabled: true }\nsasl: [ { mechanism: PLAIN, username: a, password: S3cr3tPW } ]", ""},
		{"dead letters to the topic itself", "seed_brokers: [ a:1 ]\ndead_letter: { kafka_guarded: { seed_brokers: [ 'a:1' ], topic: t, metadata: { include_prefixes: [ kafka_guarded_ ] } } }", "dead_letter: its topic is that of this output"},
		{"dead letters to another topic", "seed_brokers: [ a:1 ]\ndead_letter: { kafka_guarded: { seed_brokers: [ 'a:1' ], topic: letters, metadata: { include_prefixes: [ kafka_guarded_ ] } } }", ""},
		{"dead letters to a topic, without their reasons", "seed_brokers: [ a:1 ]\ndead_letter: { kafka_guarded: { seed_brokers: [ 'a:1' ], topic: letters } }", "dead_letter.kafka_guarded: it gets the content of each dead letter, and not why it failed. Set metadata.include_prefixes to [ kafka_guarded_ ] there, or dead_letter_format to envelope"},
		{"dead letters by HTTP, without their reasons", "dead_letter: { http_client: { url: 'http://a' } }", "dead_letter.http_client: it gets the content of each dead letter, and not why it failed. Set metadata.include_prefixes"},
		{"dead letters by HTTP, with all metadata", "dead_letter: { http_client: { url: 'http://a', metadata: { include_patterns: [ .* ] } } }", ""},
		{"dead letters by HTTP, with their reasons", "dead_letter: { http_client: { url: 'http://a', headers: { why: '${! @kafka_guarded_error }' } } }", ""},
		{"dead letters by HTTP, as envelopes", "dead_letter_format: envelope\ndead_letter: { http_client: { url: 'http://a' } }", ""},
		{"dead letters by HTTP, made by a processor", "dead_letter: { http_client: { url: 'http://a' }, processors: [ { mapping: 'root.why = @kafka_guarded_error' } ] }", ""},
		{"dead letters on the screen", "dead_letter: { stdout: {} }", "dead_letter.stdout: it gets the content of each dead letter, and not why it failed. Set dead_letter_format to envelope"},
		{"Event Hubs with all that it takes", "seed_brokers: [ 'n.servicebus.windows.net:9093' ]\ncompression: gzip\nbroker_write_max_bytes: 1MB", ""},
		{"Event Hubs and its codecs", "seed_brokers: [ 'n.servicebus.windows.net:9093' ]\nbroker_write_max_bytes: 1MB", "Event Hubs: it takes gzip and no other compression"},
		{"Event Hubs and its requests", "seed_brokers: [ 'n.Servicebus.windows.net:9093' ]\ncompression: none", "Event Hubs: broker_write_max_bytes (104857600) is more than it takes (1046528)"},
		{"Event Hubs and idle connections", "seed_brokers: [ 'n.servicebus.windows.net:9093' ]\ncompression: gzip\nbroker_write_max_bytes: 1MB\nconn_idle_timeout: 5m", "Event Hubs: it closes connections that are idle for 4m0s"},
		{"Event Hubs and throttling", "seed_brokers: [ 'n.servicebus.windows.net:9093' ]\ncompression: gzip\nbroker_write_max_bytes: 1MB\npermanent: [ size_exceeded, invalid_record, unroutable, refused ]", "Event Hubs: it throttles with POLICY_VIOLATION, which is refused"},
		{"certificates that are not verified", "tls: { enabled: true, skip_cert_verify: true }", "tls.skip_cert_verify is true: any server on the way"},
		{"certificates that are not verified, without TLS", "tls: { skip_cert_verify: true }", "tls.skip_cert_verify is set, but tls.enabled is not"},
		{"a client certificate without TLS", "tls: { client_certs: [ { cert_file: a, key_file: b } ] }", "tls.client_certs is set, but tls.enabled is not"},
		{"TLS that is not enabled", "tls: { root_cas_file: ./ca.pem }", "tls.root_cas_file is set, but tls.enabled is not"},
		{"a key by json", `key: '${! json("customer") }'`, `key is ${! json("customer") }: ` + nullText},
		{"a key by this", "key: ${! this.customer.id }", nullText},
		{"a key by metadata", "key: ${!@key}", nullText},
		{"a key by meta", `key: '${! meta("key") }'`, nullText},
		{"a key with another value", `key: '${! json("customer").or("nobody") }'`, ""},
		{"a key that null_key goes with", "key: ${! this.customer }\nnull_key: this.customer == null", ""},
		{"a key without !", `key: '${json("customer")}'`, `key is ${json("customer")}: every message gets this very text, since an interpolation begins with ${!`},
		{"a key by a path without quotes", `key: '${! json(customer) }'`, `without quotes, customer is a field whose value is the path to look for. Write json("customer")`},
		{"a key by a function without parentheses", `key: '${! uuid_v4 }'`, "without parentheses, uuid_v4 is a field of the message, and not the function. Write uuid_v4()"},
		{"a key by a bare path", `key: '${! customer.id }'`, nullText},
		{"a key that is the message", `key: '${! this }'`, ""},
		{"a topic by json", `topic: '${! json("topic") }'`, `topic is ${! json("topic") }: a message for which that finds nothing goes to the topic named null`},
		{"a topic by metadata", `topic: '${! @topic }'`, "goes to the topic named null"},
		{"a topic that must be there", `topic: '${! @topic.not_null() }'`, ""},
		{"a topic with another value", `topic: '${! @topic.or("t") }'`, ""},
		{"a topic by a function without parentheses", `topic: '${! content }'`, "without parentheses, content is a field of the message"},
		{"a topic by a path without quotes", `topic: '${! meta(topic) }'`, `Write meta("topic")`},
		{"a timestamp in seconds", `timestamp_ms: '${! timestamp_unix() }'`, "timestamp_ms is ${! timestamp_unix() }: that is in seconds, and milliseconds are wanted: messages would be of the year 1970"},
		{"a timestamp of the message in seconds", `timestamp_ms: '${! this.at.ts_unix() }'`, "that is in seconds"},
		{"a timestamp in nanoseconds", `timestamp_ms: '${! timestamp_unix_nano() }'`, "in another unit than wanted, which is milliseconds"},
		{"a timestamp in milliseconds", `timestamp_ms: '${! timestamp_unix_milli() }'`, ""},
		{"a timestamp in seconds as wanted", `timestamp: '${! timestamp_unix() }'`, ""},
		{"seconds in milliseconds", `timestamp: '${! timestamp_unix_milli() }'`, "in another unit than wanted, which is seconds"},
		{"batching without a period", `batching: { count: 20 }`, "batching has no period: the last messages wait until there are enough for a batch"},
		{"batching by bytes without a period", `batching: { byte_size: 20 }`, "batching has no period"},
		{"batching with a period", `batching: { count: 20, period: 1s }`, ""},
		{"batching by time alone", `batching: { period: 1s }`, ""},
		{"a file of dead letters", `dead_letter: { file: { path: ./d.jsonl } }`, ""},
		{"a file in a switch", `dead_letter: { switch: { cases: [ { output: { file: { path: ./d.jsonl } } } ] } }`, "dead_letter.switch.cases.0.output.file.path: the file gets the content of each dead letter, and not why it failed. Set dead_letter_format to envelope"},
		{"a file in a fallback", `dead_letter: { fallback: [ { drop: {} }, { file: { path: ./d.jsonl } } ] }`, "dead_letter.fallback.1.file.path: the file gets the content"},
		{"a file in a broker", `dead_letter: { broker: { outputs: [ { file: { path: ./d.jsonl } } ] } }`, "dead_letter.broker.outputs.0.file.path: the file gets the content"},
		{"a file in a fallback, as envelopes", "dead_letter_format: envelope\ndead_letter: { fallback: [ { drop: {} }, { file: { path: ./d.jsonl } } ] }", ""},
		{"a file in a fallback, as messages", "dead_letter_format: message\ndead_letter: { fallback: [ { drop: {} }, { file: { path: ./d.jsonl } } ] }", ""},
		{"a file by processors", `dead_letter: { fallback: [ { drop: {} }, { file: { path: ./d.jsonl }, processors: [ { mapping: 'root = @' } ] } ] }`, ""},
		{"a file that depends on the content", `dead_letter: { file: { path: './${! this.id }.jsonl' } }`, "dead_letter.file.path: the file gets the content"},
		{"a key as a mapping has it", "key: this.customer", "key is this.customer: every message gets this very text. What is to be found out for each message stands in ${! ... }"},
		{"a key as a template has it", "key: '{{ customer }}'", "every message gets this very text"},
		{"a key as Logstash has it", "key: '%{customer}'", "every message gets this very text"},
		{"a key as a function", `key: 'json("customer")'`, "every message gets this very text"},
		{"a key as a shell has it", "key: $CUSTOMER", "every message gets this very text"},
		{"a key as metadata", "key: '@customer'", "every message gets this very text"},
		{"a topic as a mapping has it", "topic: this.topic", "topic is this.topic: every message gets this very text"},
		{"a topic that is like a function", "topic: content.updates", ""},
		{"a key that is a word with a dollar", "key: 5$", ""},
		{"a timestamp that is a text", "timestamp_ms: '${! now() }'", "timestamp_ms is ${! now() }: that is a text, and a whole number is wanted: every message would be invalid_record. End it with .ts_unix_milli()"},
		{"a timestamp that is a formatted one", `timestamp: '${! this.at.ts_format("2006") }'`, "that is a text, and a whole number is wanted: every message would be invalid_record. End it with .ts_unix()"},
		{"a timestamp of now", "timestamp_ms: '${! now().ts_unix_milli() }'", ""},
		{"a password as a shell has it", "tls: { enabled: true }\nsasl: [ { mechanism: PLAIN, username: a, password: $S3cr3tPW_A } ]", ""},
		{"a password as a variable of a shell", "tls: { enabled: true }\nsasl: [ { mechanism: PLAIN, username: a, password: $KAFKA_PASSWORD } ]", "sasl[0].password is taken as it is: an environment variable is written ${NAME}, in braces"},
		{"a user as a variable of Windows", "sasl: [ { mechanism: SCRAM-SHA-256, username: '%USER%', password: a } ]", "sasl[0].username is taken as it is"},
		{"all metadata as a shell has it", "metadata: { include_prefixes: [ '*' ] }", "metadata.include_prefixes has *, and no name begins with that: prefixes are no patterns. For all metadata set metadata.include_patterns to [ .* ]"},
		{"all metadata by an empty prefix", "metadata: { include_prefixes: [ '' ] }", ""},
		{"tombstones that are switched on", "tombstone: true", "tombstone is true for every message: each is written with a null value, and its content is lost. It is a query"},
		{"no keys at all", "key: k\nnull_key: 'true'", "null_key is true for every message: none gets its key. It is a query"},
		{"a tombstone by a query", "tombstone: this.deleted == true", ""},
		{"a client ID that is computed", "client_id: '${! hostname() }'", "client_id is no interpolated field: it is this very text, ${! hostname() }"},
		{"retries that end at once", "retry: { initial_interval: 1ms, max_interval: 1ms, max_elapsed_time: 5ms }", "retry.max_elapsed_time is 5ms: messages are given up for any delay at a broker"},
		{"batches that take an hour", "batching: { count: 1000000, period: 1h }", "batching.period is 1h: messages may wait that long for a batch to fill"},
		{"reports to the topic itself", "seed_brokers: [ a:1 ]\ndelivery_report: { kafka_guarded: { seed_brokers: [ 'a:1' ], topic: t } }", "delivery_report: its topic is that of this output: each message is in it twice"},
		{"a key of several parts", `key: 'a-${! counter() }'`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			conf, err := Spec().ParseYAML(wrongconfigs.Whole(test.yaml), nil)
			require.NoError(t, err)
			p := newParser(conf)
			client, _ := p.config(nil)
			hints := p.hints(client)
			require.NoError(t, p.err())
			if test.want == "" {
				require.Empty(t, hints)
				return
			}
			require.Len(t, hints, 1)
			require.Contains(t, hints[0], test.want)
			require.NotContains(t, hints[0], "S3cr3tPW")
			require.Empty(t, lints(t, test.yaml), "a lint would keep the stream from starting")
		})
	}
}
