// Package wrongconfigs has configs with common mistakes, and the exact texts that
// report them, for tests.
package wrongconfigs

import "strings"

// Config is the fields of an output, of which something is wrong.
type Config struct {
	Name, YAML string
	Both       []string // what the linter and the start say
	Benthos    []string // what the linter says besides, mostly Benthos' own
	Start      string   // what the start says instead
	Fine       bool     // neither says anything
}

// Whole adds the fields that are required to the YAML of an output.
func Whole(yaml string) string {
	if !strings.Contains(yaml, "seed_brokers") {
		yaml += "\nseed_brokers: [ localhost:9092 ]"
	}
	if !strings.Contains("\n"+yaml, "\ntopic:") {
		yaml += "\ntopic: t"
	}
	return yaml
}

// All are the configs. The linter and the start say the same, but where only one of
// them can say it.
var All = []Config{
	{Name: "idempotent with acks leader", YAML: `acks: leader`, Both: []string{`idempotent_write requires acks to be "all", got "leader"`}},
	{Name: "acks by number", YAML: `acks: "-1"`, Both: []string{`acks is "-1", it must be one of all, leader, none`}},
	{Name: "batching that is negative, and no duration", YAML: `batching: {count: -3, period: soon}`, Both: []string{`batching.count is -3, it must be at least 0`, `batching.period is "soon", it must be a duration such as 10s`}},
	{Name: "batching by negative bytes", YAML: `batching: {byte_size: -1}`, Both: []string{`batching.byte_size is -1, it must be at least 0`}},
	{Name: "a batching check that is no mapping", YAML: `batching: {check: "this ="}`, Benthos: []string{`expected whitespace, but reached end of input`}},
	{Name: "batching that is no object", YAML: `batching: 5`, Benthos: []string{`expected object value, got !!int`}},
	{Name: "a size that is none", YAML: `max_message_bytes: ten`, Both: []string{`max_message_bytes is "ten", it must be a size such as 1MiB`}},
	{Name: "a negative size", YAML: `max_message_bytes: -5`, Both: []string{`max_message_bytes is "-5", it must be a size such as 1MiB`}},
	{Name: "a size of zero", YAML: `max_message_bytes: 0`, Both: []string{`max_message_bytes is 0: leave it out to go by what each topic accepts`}},
	{Name: "a size that holds no batch", YAML: `max_message_bytes: 100`, Both: []string{`max_message_bytes is 100, it must be from 512 to 1073741824 bytes`}},
	{Name: "a size that is too large", YAML: `max_message_bytes: 10GB`, Both: []string{`max_message_bytes is 10GB, it must be from 512 to 1073741824 bytes`}},
	{Name: "a message larger than a request", YAML: `max_message_bytes: 2MiB
broker_write_max_bytes: 1MiB`, Both: []string{`max_message_bytes is 2097152, which does not fit into a request of broker_write_max_bytes (1048576)`}},
	{Name: "a request that is too small", YAML: `broker_write_max_bytes: 10`, Both: []string{`broker_write_max_bytes is 10, it must be from 1024 to 1073741824 bytes`}},
	{Name: "a request that is too large", YAML: `broker_write_max_bytes: 2GiB`, Both: []string{`broker_write_max_bytes is 2GiB, it must be from 1024 to 1073741824 bytes`}},
	{Name: "a size with a wrong unit", YAML: `max_buffered_bytes: 1 megabyte`, Both: []string{`max_buffered_bytes is "1 megabyte", it must be a size such as 1MiB`}},
	{Name: "a CA file that is not there", YAML: `tls: {enabled: true, root_cas_file: /nonexistent/ca.pem}`, Both: []string{`tls.root_cas_file can't be read: open /nonexistent/ca.pem: no such file or directory`}},
	{Name: "a CA file without a certificate", YAML: `tls: {enabled: true, root_cas_file: lint.go}`, Both: []string{`tls.root_cas_file has no certificate in PEM (-----BEGIN CERTIFICATE-----)`}},
	{Name: "a CA that is no certificate", YAML: `tls: {enabled: true, root_cas: junk}`, Both: []string{`tls.root_cas has no certificate in PEM (-----BEGIN CERTIFICATE-----)`}},
	{Name: "a client certificate that is not there", YAML: `tls: {enabled: true, client_certs: [{cert_file: /nope, key_file: /nope}]}`, Both: []string{`tls can't be used: open /nope: no such file or directory`}},
	{Name: "a duration without a unit", YAML: `timeout: 10`, Both: []string{`timeout is "10", it must be a duration such as 10s`}},
	{Name: "a negative duration", YAML: `timeout: -3s`, Both: []string{`timeout is -3s, it must be from 100ms to 24h`}},
	{Name: "a duration of zero", YAML: `conn_idle_timeout: 0s`, Both: []string{`conn_idle_timeout is 0s, it must be from 100ms to 15m`}},
	{Name: "metadata of no age", YAML: `metadata_max_age: 0s`, Both: []string{`metadata_max_age is 0s, it must be from 250ms to 1h`}},
	{Name: "a duration that is too long", YAML: `request_timeout_overhead: 1h`, Both: []string{`request_timeout_overhead is 1h, it must be from 100ms to 15m`}},
	{Name: "a negative delivery time-out", YAML: `record_delivery_timeout: -1s`, Both: []string{`record_delivery_timeout is -1s, it must not be negative`}},
	{Name: "a delivery time-out that is too short", YAML: `record_delivery_timeout: 1ms`, Both: []string{`record_delivery_timeout is 1ms, it must be 0s, or at least 1s`}},
	{Name: "a delivery time-out and timestamps", YAML: `record_delivery_timeout: 5s
timestamp_ms: "${! 1 }"`, Both: []string{`record_delivery_timeout cannot be used together with timestamp_ms: it is counted from the timestamp of a message`}},
	{Name: "a delivery time-out that is no duration", YAML: `record_delivery_timeout: soon`, Both: []string{`record_delivery_timeout is "soon", it must be a duration such as 10s`}},
	{Name: "an interpolation that is not closed", YAML: `topic: "${! json( }"`, Start: `topic can't be read: required: expected function argument, got: }`, Benthos: []string{`required: expected function argument, got: }`}},
	{Name: "an unknown function", YAML: `topic: "${! foo() }"`, Start: `topic can't be read: unrecognised function 'foo':  }`, Benthos: []string{`unrecognised function 'foo':  }`}},
	{Name: "an unknown partitioner", YAML: `partitioner: murmur`, Both: []string{`partitioner is "murmur", it must be one of murmur2_hash, round_robin, least_backup, manual`}},
	{Name: "an unknown codec", YAML: `compression: rar`, Both: []string{`compression is "rar", it must be one of lz4, snappy, gzip, none, zstd`}},
	{Name: "an empty dead_letter", YAML: `dead_letter: {}`, Start: `dead_letter can't be made: an explicit output type must be specified`, Benthos: []string{`dead_letter must be an output, such as file: { path: ./dead-letters.jsonl }`}},
	{Name: "a dead_letter that is a text", YAML: `dead_letter: file`, Start: `dead_letter can't be made: invalid type !!str, expected object`, Benthos: []string{`dead_letter must be an output, such as file: { path: ./dead-letters.jsonl }`}},
	{Name: "a dead_letter resource that is not there", YAML: `dead_letter: {resource: nope}`, Start: `dead_letter can't be made: failed to init output <no label> path root.dead_letter: output resource 'nope' was not found`},
	{Name: "a dead_letter of null", YAML: `dead_letter: null`, Fine: true},
	{Name: "no brokers", YAML: `seed_brokers: []`, Both: []string{`seed_brokers is no list with a broker in it: name each broker as host:port, such as [ localhost:9092 ]`}},
	{Name: "an empty broker", YAML: `seed_brokers: [""]`, Both: []string{`seed_brokers[0] is empty, perhaps for an environment variable that is: name each broker as host:port`}},
	{Name: "brokers of commas", YAML: `seed_brokers: [" ,"]`, Both: []string{`seed_brokers[0] is empty, perhaps for an environment variable that is: name each broker as host:port`}},
	{Name: "brokers of null", YAML: `seed_brokers: null`, Start: `field 'seed_brokers': line 1: expected array value, got !!null`, Benthos: []string{`seed_brokers is no list with a broker in it: name each broker as host:port, such as [ localhost:9092 ]`, `expected array value`}},
	{Name: "brokers that are a number", YAML: `seed_brokers: 5
idempotent_write: yup`, Start: `field 'seed_brokers': line 1: expected array value, got !!int`, Benthos: []string{`seed_brokers is no list with a broker in it: name each broker as host:port, such as [ localhost:9092 ]`, `expected array value`}},
	{Name: "brokers that are no addresses", YAML: `seed_brokers: ["a:99999", "b:abc", "c:0", ":9092", "d e:1", "kafka://x:9092"]`, Both: []string{`seed_brokers[0] has "a:99999", whose port is no number from 1 to 65535: name each broker as host:port`, `seed_brokers[1] has "b:abc", whose port is no number from 1 to 65535: name each broker as host:port`, `seed_brokers[2] has "c:0", whose port is no number from 1 to 65535: name each broker as host:port`, `seed_brokers[3] has ":9092", which has no legal host name: name each broker as host:port`, `seed_brokers[4] has "d e:1", which has no legal host name: name each broker as host:port`, `seed_brokers[5] has "kafka://x:9092", which is no address, but a URL: name each broker as host:port`}},
	{Name: "brokers with a semicolon in between", YAML: `seed_brokers: ["a:1;b:2", "c:1:2"]`, Both: []string{`seed_brokers[0] has "a:1;b:2", which has no legal host name: name each broker as host:port`, `seed_brokers[1] has "c:1:2", which has no legal host name: name each broker as host:port`}},
	{Name: "brokers by IPv6 and without ports", YAML: `seed_brokers: ["[::1]:9092", "::1", "[::1]", "a", "[fe80::1%eth0]:1", "fe80::1%eth0", "a_b-c.example.:9092"]`, Fine: true},
	{Name: "more messages than are counted", YAML: `dead_letter: {drop: {}}
dead_letter_breaker: {enabled: true, messages: 1000000000000}`, Both: []string{`dead_letter_breaker.messages is 1000000000000, it must be at most 1000000`}},
	{Name: "a share that is NaN", YAML: `dead_letter: {drop: {}}
dead_letter_breaker: {max_failed_share: .nan}`, Start: `dead_letter_breaker.max_failed_share is NaN, it must be from 0 to 1`, Fine: true},
	{Name: "an empty topic", YAML: `topic: ""`, Both: []string{`topic is empty, perhaps for an environment variable that is`}},
	{Name: "an illegal topic", YAML: `topic: "my topic"`, Both: []string{`topic is "my topic", which is no legal topic name: it takes 1 to 249 letters, digits, dots, underscores and hyphens`}},
	{Name: "a topic of two dots", YAML: `topic: ".."`, Both: []string{`topic is "..", which is no legal topic name: it takes 1 to 249 letters, digits, dots, underscores and hyphens`}},
	{Name: "manual without a partition", YAML: `partitioner: manual`, Both: []string{`partition must be specified when the partitioner is manual`}},
	{Name: "a partition without manual", YAML: `partition: 1`, Both: []string{`partition cannot be specified unless the partitioner is manual`}},
	{Name: "a negative partition", YAML: `partitioner: manual
partition: "-1"`, Both: []string{`partition is "-1", it must be a whole number from 0 to 2147483647`}},
	{Name: "a partition that is no number", YAML: `partitioner: manual
partition: first`, Both: []string{`partition is "first", it must be a whole number from 0 to 2147483647`}},
	{Name: "a partition that is too large", YAML: `partitioner: manual
partition: "99999999999"`, Both: []string{`partition is "99999999999", it must be a whole number from 0 to 2147483647`}},
	{Name: "idempotent with several requests", YAML: `max_in_flight_requests: 5`, Both: []string{`idempotent_write requires max_in_flight_requests to be 1, got 5: set idempotent_write to false to use higher values, at the cost of possible duplicates and another order when something is sent again`}},
	{Name: "no request", YAML: `idempotent_write: false
max_in_flight_requests: 0`, Both: []string{`max_in_flight_requests is 0, it must be at least 1`}},
	{Name: "a negative number of batches", YAML: `max_in_flight: -1`, Both: []string{`max_in_flight is -1, it must be at least 1`}},
	{Name: "no batch in flight", YAML: `max_in_flight: 0`, Both: []string{`max_in_flight is 0, it must be at least 1`}},
	{Name: "a number that is a text", YAML: `max_in_flight: many`, Start: "field 'max_in_flight': yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `many` into int"},
	{Name: "no buffer", YAML: `max_buffered_records: 0`, Both: []string{`max_buffered_records is 0, it must be at least 1`}},
	{Name: "negative retries", YAML: `record_retries: -1`, Both: []string{`record_retries is -1, it must be at least 0`}},
	{Name: "a null_key that is no mapping", YAML: `null_key: "this ="`, Start: `null_key can't be read: expected whitespace, but reached end of input`, Benthos: []string{`expected whitespace, but reached end of input`}},
	{Name: "a tombstone that is no mapping", YAML: `tombstone: "root = ("`, Start: `tombstone can't be read: expected query, but reached end of input`, Benthos: []string{`expected query, but reached end of input`}},
	{Name: "classes that are not to be permanent", YAML: `permanent: [transient, size_exceded]`, Both: []string{`permanent[0] is "transient", it must be one of size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized, refused`, `permanent[1] is "size_exceded", it must be one of size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized, refused`}},
	{Name: "a mechanism that there is not", YAML: `sasl: [{mechanism: GSSAPI, username: a, password: S3cr3tPW}]`, Both: []string{`sasl[0].mechanism is "GSSAPI", it must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM, none`}, Benthos: []string{`value GSSAPI is not a valid option for this field`}},
	{Name: "a mechanism in lower case", YAML: `sasl: [{mechanism: scram-sha-256, username: a, password: S3cr3tPW}]`, Both: []string{`sasl[0].mechanism is "scram-sha-256", it must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM, none`}},
	{Name: "a mechanism of another binary", YAML: `sasl: [{mechanism: AWS_MSK_IAM}]`, Both: []string{`sasl[0].mechanism is AWS_MSK_IAM, which this binary is built without: it takes kafka-guarded-connect, or the import of github.com/kafka-guarded/kafka-guarded/connect/aws`}},
	{Name: "no mechanism", YAML: `sasl: [{username: a, password: S3cr3tPW}]`, Start: `field 'sasl': field 'mechanism' is required and was not present in the config`, Benthos: []string{`field mechanism is required`}},
	{Name: "mechanisms without credentials", YAML: `sasl: [{mechanism: PLAIN}, {mechanism: OAUTHBEARER}]`, Start: `sasl[0].username is empty: PLAIN takes a username and a password; sasl[0].password is empty: PLAIN takes a username and a password; sasl[1].token is empty: OAUTHBEARER takes a token`},
	{Name: "mechanisms that are no list", YAML: `sasl: {mechanism: PLAIN, username: a, password: b}`, Start: `field 'sasl': line 1: expected array value, got !!map`, Benthos: []string{`expected array value`}},
	{Name: "an empty password", YAML: `sasl: [{mechanism: PLAIN, username: a, password: ""}]`, Start: `sasl[0].password is empty: PLAIN takes a username and a password`},
	{Name: "a typo", YAML: `topik: x`, Benthos: []string{`field topik not recognised`, `there is no field topik: did you mean topic?`}},
	{Name: "a timestamp that is no number", YAML: `timestamp_ms: abc`, Both: []string{`timestamp_ms is "abc", it must be a whole number`}},
	{Name: "a timestamp in fractions", YAML: `timestamp: 1.5`, Both: []string{`timestamp is "1.5", it must be a whole number`}},
	{Name: "two timestamps", YAML: `timestamp: 1
timestamp_ms: 1`, Both: []string{`timestamp_ms and timestamp cannot both be specified`}},
	{Name: "a pattern that is none", YAML: `metadata: {include_patterns: ["("]}`, Both: []string{"metadata can't be read: failed to compile regexp \"(\": error parsing regexp: missing closing ): `(`"}},
	{Name: "intervals in the wrong order", YAML: `retry: {initial_interval: 10s, max_interval: 1s}`, Both: []string{`retry.initial_interval is 10s, which is more than max_interval (1s)`}},
	{Name: "retries at once", YAML: `retry: {initial_interval: 0s, max_interval: 0s, max_elapsed_time: -1s}`, Both: []string{`retry.initial_interval is 0s, it must be more than 0`, `retry.max_interval is 0s, it must be more than 0`, `retry.max_elapsed_time is -1s, it must not be negative`}},
	{Name: "rules of no age", YAML: `topic_rules: {max_age: 0s}`, Both: []string{`topic_rules.max_age is 0s, it must be more than 0`}},
	{Name: "a negative connect time-out", YAML: `tcp: {connect_timeout: -1s}`, Both: []string{`tcp.connect_timeout is -1s, it must not be negative`}},
	{Name: "a connect time-out that is no duration", YAML: `tcp: {connect_timeout: soon}`, Both: []string{`tcp.connect_timeout is "soon", it must be a duration such as 10s`}},
	{Name: "time-outs of TCP that exclude each other", YAML: `tcp: {tcp_user_timeout: 30s}`, Both: []string{`tcp can't be used: keep_alive.idle (15s) must be greater than tcp_user_timeout (30s)`}},
	{Name: "an unknown way to report", YAML: `report_failures: sometimes`, Both: []string{`report_failures is "sometimes", it must be one of auto, per_message, per_batch`}},
	{Name: "reports that are given up at once", YAML: `delivery_report_max_elapsed_time: 0s`, Both: []string{`delivery_report_max_elapsed_time is 0s, it must be more than 0`}},
	{Name: "several mistakes", YAML: `partitioner: manual
acks: leader
max_in_flight_requests: 2
permanent: [ transient, too_big ]`, Both: []string{`partition must be specified when the partitioner is manual`, `idempotent_write requires acks to be "all", got "leader"`, `idempotent_write requires max_in_flight_requests to be 1, got 2: set idempotent_write to false to use higher values, at the cost of possible duplicates and another order when something is sent again`, `permanent[0] is "transient", it must be one of size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized, refused`, `permanent[1] is "too_big", it must be one of size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized, refused`}},
	{Name: "dead letters that are rejected", YAML: `dead_letter: {reject: no}`, Both: []string{`dead_letter is reject, which takes no message: each would be tried again without end. Name an output that keeps them, or leave it out`}},
	{Name: "a breaker without dead letters", YAML: `dead_letter_breaker: {enabled: true}`, Both: []string{`dead_letter_breaker.enabled is true, but there is no dead_letter to keep messages from`}},
	{Name: "a breaker's query that is no mapping", YAML: `dead_letter_breaker: {resume: "this ="}`, Start: `dead_letter_breaker.resume can't be read: expected whitespace, but reached end of input`, Benthos: []string{`expected whitespace, but reached end of input`}},
	{Name: "dead letters in a directory", YAML: `dead_letter: {file: {path: /}}`, Start: `dead_letter.file.path is /, which can't be written: it is a directory`},
	{Name: "dead letters in a file as directory", YAML: `dead_letter: {fallback: [{file: {path: /dev/null/dead/letters.jsonl}}, {drop: {}}]}
dead_letter_format: envelope`, Start: `dead_letter.fallback.0.file.path is /dev/null/dead/letters.jsonl, which can't be written: stat /dev/null/dead/letters.jsonl: not a directory`},
	{Name: "reports in a directory", YAML: `delivery_report: {file: {path: /}}`, Start: `delivery_report.file.path is /, which can't be written: it is a directory`},
	{Name: "bytes of a batch with a unit", YAML: `batching: {byte_size: 10MB}`, Start: "field 'batching': field 'byte_size': yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `10MB` into int"},
	{Name: "a number that is no whole one", YAML: `max_in_flight: 1e20`, Start: "field 'max_in_flight': yaml: unmarshal errors:\n  line 1: cannot unmarshal !!float `1e20` into int"},
	{Name: "a bool that is a text", YAML: `idempotent_write: yup`, Start: "field 'idempotent_write': yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `yup` into bool"},
	{Name: "a field that is the beginning of another", YAML: `max_message: 1MiB`, Benthos: []string{`field max_message not recognised`, `there is no field max_message: did you mean max_message_bytes?`}},
	{Name: "a field with a letter too many", YAML: `acksx: all`, Benthos: []string{`field acksx not recognised`, `there is no field acksx: did you mean acks?`}},
	{Name: "a field with letters in the wrong order", YAML: `compresison: lz4`, Benthos: []string{`field compresison not recognised`, `there is no field compresison: did you mean compression?`}},
	{Name: "a field with hyphens", YAML: `client-id: a`, Benthos: []string{`field client-id not recognised`, `there is no field client-id: did you mean client_id?`}},
	{Name: "a typo in an object", YAML: `retry: {max_intervall: 1s}`, Benthos: []string{`field max_intervall not recognised`, `there is no field retry.max_intervall: did you mean max_interval?`}},
	{Name: "a typo in a list", YAML: `sasl: [{mechanism: none, user: a}]`, Benthos: []string{`field user not recognised`, `there is no field sasl.user: did you mean username?`}},
	{Name: "a field like no other", YAML: `zookeeper: a`, Benthos: []string{`field zookeeper not recognised`}},
	{Name: "brokers that are a text", YAML: `seed_brokers: "a:1"`, Start: `field 'seed_brokers': line 1: expected array value, got !!str`, Benthos: []string{`seed_brokers is no list with a broker in it: name each broker as host:port, such as [ localhost:9092 ]`, `expected array value`}},
	{Name: "a topic without !", YAML: `topic: '${json("customer")}'`, Both: []string{"topic is \"${json(\\\"customer\\\")}\", which is no interpolation: that begins with ${! and not with ${"}},
	{Name: "a partition without !", YAML: `partitioner: manual
partition: '${@partition}'`, Both: []string{"partition is \"${@partition}\", it must be a whole number from 0 to 2147483647"}},
	{Name: "a CA file without a name", YAML: `tls: {enabled: true, root_cas_file: ./.pem}`, Both: []string{`tls.root_cas_file can't be read: open ./.pem: no such file or directory`}},
	{Name: "no classes that are permanent", YAML: `permanent: []`, Fine: true},
	{Name: "dead letters to the topic itself", YAML: `seed_brokers: [localhost:9092]
dead_letter: {kafka_guarded: {seed_brokers: [localhost:9092], topic: t}}`, Fine: true},
	{Name: "credentials for a listener without", YAML: `sasl: [{mechanism: PLAIN, username: a, password: S3cr3tPW}]`, Fine: true},
	{Name: "brokers as the kafka output has them", YAML: `addresses: [ a:1 ]`, Benthos: []string{`field addresses not recognised`, `there is no field addresses: did you mean seed_brokers?`}},
	{Name: "brokers as Java has them", YAML: `bootstrap.servers: a:1`, Benthos: []string{`field bootstrap.servers not recognised`, `there is no field bootstrap.servers: did you mean seed_brokers?`}},
	{Name: "idempotence as Java has it", YAML: `enable.idempotence: true`, Benthos: []string{`field enable.idempotence not recognised`, `there is no field enable.idempotence: did you mean idempotent_write?`}},
	{Name: "a pause for batches as Java has it", YAML: `linger.ms: 5`, Benthos: []string{`field linger.ms not recognised`, `there is no field linger.ms: did you mean batching.period?`}},
	{Name: "a codec as Java has it", YAML: `compression.type: lz4`, Benthos: []string{`field compression.type not recognised`, `there is no field compression.type: did you mean compression?`}},
	{Name: "a size as librdkafka has it", YAML: `message.max.bytes: 5`, Benthos: []string{`field message.max.bytes not recognised`, `there is no field message.max.bytes: did you mean max_message_bytes?`}},
	{Name: "a client certificate beside tls", YAML: `client_certs: []`, Benthos: []string{`field client_certs not recognised`, `there is no field client_certs: did you mean tls.client_certs?`}},
	{Name: "a protocol as Java has it", YAML: `security.protocol: SASL_SSL`, Benthos: []string{`field security.protocol not recognised`, `there is no field security.protocol: did you mean tls and sasl?`}},
	{Name: "acks as the kafka output has them", YAML: `ack_replicas: true`, Benthos: []string{`field ack_replicas not recognised`, `there is no field ack_replicas: did you mean acks?`}},
	{Name: "dead letters each in the place of the other", YAML: `dead_letter: {file: {path: ./letter.json, codec: all-bytes}}`, Both: []string{`dead_letter.file.path is ./letter.json, and with the codec all-bytes each dead letter takes the place of the one before. Use the codec lines, or a path of its own for each, such as ./${! uuid_v4() }`}},
	{Name: "a dead letter in a file of its own", YAML: "dead_letter: {file: {path: './${! uuid_v4() }', codec: all-bytes}}", Fine: true},
	{Name: "topics as a list in a text", YAML: `topic: "orders,customers"`, Both: []string{`topic is "orders,customers", which is no legal topic name: it takes 1 to 249 letters, digits, dots, underscores and hyphens`}},
	{Name: "a topic as a whole mapping", YAML: `topic: "root = this.topic"`, Both: []string{`topic is "root = this.topic", which is no legal topic name: it takes 1 to 249 letters, digits, dots, underscores and hyphens`}},
	{Name: "acks of one replica by number", YAML: "acks: 1\nidempotent_write: false", Both: []string{`acks is "1", it must be one of all, leader, none`}},
	{Name: "a time for retries that is no duration", YAML: `retry: {max_elapsed_time: forever}`, Both: []string{`retry.max_elapsed_time is "forever", it must be a duration such as 10s`}},
	{Name: "a period of batches without a unit", YAML: `batching: {count: 10, period: 100}`, Both: []string{`batching.period is "100", it must be a duration such as 10s`}},
	{Name: "brokers as one text with a comma", YAML: `seed_brokers: ["localhost:9092 , localhost:9092"]`, Fine: true},
	{Name: "a query with the braces of an interpolation", YAML: "key: k\nnull_key: '${! this.id == 0 }'", Start: "null_key can't be read: expected query, got: {! th", Benthos: []string{"expected query, got: {! th"}},
	{Name: "a codec with a level", YAML: `compression: {type: zstd, level: 3}`, Start: "field 'compression': yaml: unmarshal errors:\n  line 1: cannot unmarshal !!map into string", Benthos: []string{`expected string value`}},
	{Name: "metadata that is excluded", YAML: `metadata: {exclude_prefixes: [ _ ]}`, Benthos: []string{`field exclude_prefixes not recognised`}},
	{Name: "processors inside the output's fields", YAML: `processors: [ { mapping: 'root = this' } ]`, Benthos: []string{`field processors not recognised`}},
	{Name: "a breaker's share as a percentage", YAML: "dead_letter: {drop: {}}\ndead_letter_breaker: {enabled: true, ratio: 50}", Benthos: []string{`field ratio not recognised`}},
	{Name: "a share that is no number", YAML: "dead_letter: {drop: {}}\ndead_letter_breaker: {enabled: true, max_failed_share: half}", Start: "field 'dead_letter_breaker': field 'max_failed_share': yaml: unmarshal errors:\n  line 2: cannot unmarshal !!str `half` into float64"},
	{Name: "a bool in quotes", YAML: `idempotent_write: "false"`, Start: "field 'idempotent_write': yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `false` into bool"},
	{Name: "a number with a comma", YAML: `max_buffered_records: "10,000"`, Start: "field 'max_buffered_records': yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `10,000` into int"},
	{Name: "a number with a suffix", YAML: `batching: {count: 10k, period: 1s}`, Start: "field 'batching': field 'count': yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `10k` into int"},
}
