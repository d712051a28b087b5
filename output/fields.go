package output

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/internal/placement"
)

// The fields have the names, defaults and meanings of the kafka_franz output of
// Redpanda Connect, except for max_message_bytes, which is optional, and those
// that are new: null_key, tombstone, topic_rules, retry, permanent and
// dead_letter.

// Spec returns the config spec of the kafka_guarded output.
func Spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Categories("Services").
		Summary("Writes batches to Kafka and knows, for every message, what became of it and why.").
		Description(`
Kafka refuses a batch as a whole for one bad message in it. This output finds the messages that are to blame, delivers all others, and reports exactly the failed ones, each with an error of its own that begins with a class:

| class | meaning |
| --- | --- |
| ` + "`size_exceeded`" + ` | alone in a batch, it is larger than the topic or the client allows |
| ` + "`invalid_record`" + ` | the content is refused: no key on a compacted topic, timestamp out of bounds, corrupt |
| ` + "`unroutable`" + ` | no destination: interpolation failed, illegal topic name, no such partition |
| ` + "`unknown_topic`" + ` | the topic does not exist |
| ` + "`unauthorized`" + ` | an ACL forbids it |
| ` + "`refused`" + ` | the cluster refuses the request as such: version, codec, policy, acks, producer |
| ` + "`transient`" + ` | leader moves, too few replicas, time-outs, lost connections |

Put it first in a ` + "`fallback`" + ` to send the failed messages elsewhere. There, the metadata key ` + "`fallback_error`" + ` holds the message's own error:

` + "```yaml" + `
output:
  fallback:
    - kafka_guarded:
        seed_brokers: [ localhost:9092 ]
        topic: orders
    - switch:
        cases:
          - check: '@fallback_error.has_prefix("size_exceeded:")'
            output: { file: { path: too-large.jsonl } }
          - output: { file: { path: rejected.jsonl } }
` + "```" + `

The fields are those of the ` + "`kafka_franz`" + ` output, so that to rename the output is to migrate.
`).
		Fields(connectionFields()...).
		Fields(recordFields()...).
		Fields(batchFields()...).
		Fields(producerFields()...).
		Fields(fateFields()...).
		LintRule("root = [" + recordLints + producerLints + fateLints + "\n]")
}

const (
	fieldMaxInFlight = "max_in_flight"
	fieldBatching    = "batching"
	fieldRackID      = "rack_id"
)

func batchFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewIntField(fieldMaxInFlight).
			Description("The maximum number of batches to be sending in parallel at any given time. With 1, messages of one key keep their order, also when some of a batch are refused and the others are sent again.").
			Default(10),
		service.NewBatchPolicyField(fieldBatching),
		service.NewStringField(fieldRackID).
			Description("It has no effect, and is there so that configs with it load.").
			Deprecated(),
	}
}

// batching is what counts of the output's own batching.
type batching struct{ on, processors bool }

func batchingFrom(conf *service.ParsedConfig) (batching, error) {
	policy, err := conf.FieldBatchPolicy(fieldBatching)
	if err != nil {
		return batching{}, err
	}
	config, err := conf.FieldAny(fieldBatching)
	if err != nil {
		return batching{}, err
	}
	return batching{on: !policy.IsNoop(), processors: placement.Processed(config)}, nil
}

// The linter sees a config before it runs, and the parser refuses the same: a
// program that builds streams by itself need not lint. An empty value passes the
// linter, since that is what an environment variable is to those who lint without
// their environment. A rule about one field is beside it, and rules about more
// than one are listed in recordLints, producerLints and fateLints.
const (
	lintSize = `root = if this.string() != "" && !this.string().re_match("(?i)^[0-9][0-9.,]*\\s*([kmgtpe]i?)?b?$") { ["this must be a size such as 1MiB"] }`

	lintDuration = `root = if this.string() != "" && this.string().parse_duration().catch(null) == null { ["this must be a duration such as 10s"] }`

	lintMoreThanZero = `root = match {
  this.string() == "" => deleted()
  this.string().parse_duration().catch(null) == null => ["this must be a duration such as 10s"]
  this.string().parse_duration() <= 0 => ["this must be more than 0"]
}`
)

func lintAtLeast(least int) string {
	return fmt.Sprintf(`root = if this.number().catch(%[1]d) < %[1]d { ["this must be at least %[1]d"] }`, least)
}

func durationField(name string) *service.ConfigField {
	return service.NewDurationField(name).LintRule(lintDuration)
}

// option is a value that an enum field may have, and what it stands for.
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
	if *p.err != nil {
		return value
	}
	var names []string
	for _, option := range from {
		if option.name == name {
			return option.value
		}
		names = append(names, option.name)
	}
	p.fail("%s is %q, it must be one of %s", p.prefix+field, name, strings.Join(names, ", "))
	return value
}

// parser reads fields until the first error.
type parser struct {
	conf   *service.ParsedConfig
	prefix string // of the fields' names in errors
	err    *error // shared with those from in
}

func newParser(conf *service.ParsedConfig) *parser { return &parser{conf: conf, err: new(error)} }

// in returns the parser of an object field's fields.
func (p *parser) in(field string) *parser {
	return &parser{conf: p.conf.Namespace(field), prefix: p.prefix + field + ".", err: p.err}
}

// fail keeps the first error.
func (p *parser) fail(format string, args ...any) {
	if *p.err == nil {
		*p.err = fmt.Errorf(format, args...)
	}
}

func parse[T any](p *parser, field string, get func(...string) (T, error)) (v T) {
	if *p.err == nil {
		v, *p.err = get(field)
	}
	return v
}

// optional is parse for a field that may be left out.
func optional[T any](p *parser, field string, get func(...string) (T, error)) (v T) {
	if p.conf.Contains(field) {
		v = parse(p, field, get)
	}
	return v
}

func (p *parser) string(field string) string    { return parse(p, field, p.conf.FieldString) }
func (p *parser) strings(field string) []string { return parse(p, field, p.conf.FieldStringList) }
func (p *parser) bool(field string) bool        { return parse(p, field, p.conf.FieldBool) }
func (p *parser) duration(field string) time.Duration {
	return parse(p, field, p.conf.FieldDuration)
}

// moreThanZero reads a duration that must be.
func (p *parser) moreThanZero(field string) time.Duration {
	d := p.duration(field)
	if d <= 0 {
		p.fail("%s is %s, it must be more than 0", p.prefix+field, d)
	}
	return d
}

// int reads a number that must be at least least.
func (p *parser) int(field string, least int) int {
	n := parse(p, field, p.conf.FieldInt)
	if n < least {
		p.fail("%s is %d, it must be at least %d", p.prefix+field, n, least)
	}
	return n
}

// bytes reads a size such as "1MiB" that must not exceed most.
func (p *parser) bytes(field string, most uint64) int {
	text := p.string(field)
	if *p.err != nil {
		return 0
	}
	n, err := humanize.ParseBytes(text)
	switch {
	case err != nil:
		p.fail("parsing %s: %w", p.prefix+field, err)
	case n > most:
		p.fail("%s is %s, it must not exceed %d bytes", p.prefix+field, text, most)
	}
	return int(n)
}
