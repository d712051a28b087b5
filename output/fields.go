package output

import (
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// The fields have the names, defaults and meanings of the kafka_franz output of
// Redpanda Connect, except for max_message_bytes, which is optional, and those
// that are new: null_key, tombstone, topic_rules, retry, permanent and
// dead_letter.

// Spec returns the config spec of the kafka_guarded output.
func Spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Categories("Services").
		Summary("Writes batches to Kafka, delivers every message that Kafka takes, and gives each other one its own error.").
		Description(`
Kafka rejects a batch as a whole for one bad message in it. This output finds the messages at fault and delivers all others. It gives exactly the failed ones to `+"`dead_letter`"+`, or reports them to the `+"`fallback`"+` around it or to the input. Each has an error of its own that begins with a class:

| class | meaning |
| --- | --- |
| `+"`size_exceeded`"+` | alone in a batch, it is larger than the topic or the client allows |
| `+"`invalid_record`"+` | the content is rejected: no key on a compacted topic, timestamp out of bounds, corrupt |
| `+"`unroutable`"+` | no destination: interpolation failed, illegal topic name, no such partition |
| `+"`unknown_topic`"+` | the topic does not exist |
| `+"`unauthorized`"+` | an ACL forbids it |
| `+"`refused`"+` | the cluster rejects the request as such: version, codec, policy, acks, producer |
| `+"`transient`"+` | leader moves, too few replicas, time-outs, lost connections |

In a `+"`fallback`"+`, the metadata key `+"`fallback_error`"+` holds the message's own error.

The fields are those of the `+"`kafka_franz`"+` output: to migrate, rename the output.
`).
		Example("SASL and TLS", "The certificate of the brokers is checked against the authority in ca.pem. User and password come from the environment.", exampleSASL).
		Example("Dead letters", "Each message that failed for good is a line of JSON, with the reason and the content.", exampleDeadLetters).
		Example("Lowest latency", "Small batches of the input are written at once, 64 at a time. Order is not kept. An acked message is lost if the leader fails before a follower has it.", exampleLatency).
		Fields(connectionFields()...).
		Fields(recordFields()...).
		Fields(batchFields()...).
		Fields(producerFields()...).
		Fields(fateFields()...).
		LintRule(lintRule)
}

// The whole examples of the reference.
const (
	exampleSASL = `
output:
  kafka_guarded:
    seed_brokers: [ kafka.example.com:9093 ]
    topic: orders
    tls:
      enabled: true
      root_cas_file: ./ca.pem
    sasl:
      - mechanism: SCRAM-SHA-512
        username: ${KAFKA_USER}
        password: ${KAFKA_PASSWORD}
`
	exampleDeadLetters = `
output:
  kafka_guarded:
    seed_brokers: [ localhost:9092 ]
    topic: orders
    dead_letter:
      file:
        path: ./dead-letters.jsonl
`
	exampleLatency = `
output:
  kafka_guarded:
    seed_brokers: [ localhost:9092 ]
    topic: orders
    max_in_flight: 64
    idempotent_write: false
    acks: leader
    compression: none
    conn_idle_timeout: 10m
    dead_letter:
      file:
        path: ./dead-letters.jsonl
`
)

const (
	fieldMaxInFlight = "max_in_flight"
	fieldBatching    = "batching"
	fieldRackID      = "rack_id"
)

func batchFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewIntField(fieldMaxInFlight).LintRule(lintsOf(fieldMaxInFlight)).
			Description("The maximum number of batches to be sending in parallel at any given time. With 1, messages of one key keep their order, also when some messages of a batch are rejected and the others are sent again.").
			Default(10),
		service.NewBatchPolicyField(fieldBatching).LintRule(lintsOf(fieldBatching)).
			Description("Gather messages to larger batches than those of the input. With it, a `fallback` around the output may get good messages, too: see `docs/compositions.md`. With `dead_letter` it does no harm."),
		service.NewStringField(fieldRackID).LintRule(lintsOf(fieldRackID)).
			Description("It has no effect. Configs with it load.").
			Deprecated(),
	}
}

// batching is what the output needs to know of its own batching.
type batching struct{ on, processors bool }

func (p *parser) batching() (b batching) {
	in := p.in(fieldBatching)
	in.int("count", 0)
	in.int("byte_size", 0)
	if period := in.string("period"); period != "" {
		in.durationOf("period", period)
	}
	if !p.fine(fieldBatching+".count", fieldBatching+".byte_size", fieldBatching+".period") {
		return b
	}
	policy := parse(p, fieldBatching, p.conf.FieldBatchPolicy)
	config := parse(p, fieldBatching, p.conf.FieldAny)
	return batching{on: !policy.IsNoop(), processors: errorrouting.Processed(config)}
}

// option is a value of an enum field, and its meaning.
type option[T any] struct {
	name, meaning string
	value         T
}

type options[T any] []option[T]

// field returns an enum field with the options.
func (o options[T]) field(name string) *service.ConfigField {
	meanings := map[string]string{}
	var names []string
	for _, option := range o {
		names = append(names, option.name)
		if option.meaning != "" {
			meanings[option.name] = option.meaning
		}
	}
	if len(meanings) > 0 {
		return service.NewStringAnnotatedEnumField(name, meanings)
	}
	return service.NewStringEnumField(name, names...)
}

// pick reads an enum field.
func pick[T any](p *parser, field string, from options[T]) (value T) {
	name := p.string(field)
	var names []string
	for _, option := range from {
		if option.name == name {
			return option.value
		}
		names = append(names, option.name)
	}
	p.fail(field, "is %q, it must be one of %s", name, strings.Join(names, ", "))
	return value
}
