package output

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/redpanda-data/benthos/v4/public/utils/netutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// The fields have the names, defaults and meanings of the kafka_franz output of
// Redpanda Connect, except for the checks null_key and tombstone, which are new,
// and max_message_bytes, which is optional.
const (
	fieldSeedBrokers            = "seed_brokers"
	fieldClientID               = "client_id"
	fieldTLS                    = "tls"
	fieldMetadataMaxAge         = "metadata_max_age"
	fieldRequestTimeoutOverhead = "request_timeout_overhead"
	fieldConnIdleTimeout        = "conn_idle_timeout"
	fieldTCP                    = "tcp"

	fieldTopic       = "topic"
	fieldKey         = "key"
	fieldNullKey     = "null_key"
	fieldTombstone   = "tombstone"
	fieldPartition   = "partition"
	fieldMetadata    = "metadata"
	fieldTimestamp   = "timestamp"
	fieldTimestampMs = "timestamp_ms"

	fieldMaxInFlight = "max_in_flight"
	fieldBatching    = "batching"
	fieldRackID      = "rack_id"

	fieldPartitioner            = "partitioner"
	fieldIdempotentWrite        = "idempotent_write"
	fieldAcks                   = "acks"
	fieldCompression            = "compression"
	fieldAllowAutoTopicCreation = "allow_auto_topic_creation"
	fieldTimeout                = "timeout"
	fieldMaxMessageBytes        = "max_message_bytes"
	fieldBrokerWriteMaxBytes    = "broker_write_max_bytes"
	fieldMaxBufferedRecords     = "max_buffered_records"
	fieldMaxBufferedBytes       = "max_buffered_bytes"
	fieldMaxInFlightRequests    = "max_in_flight_requests"
	fieldRecordRetries          = "record_retries"
	fieldRecordDeliveryTimeout  = "record_delivery_timeout"

	fieldTopicRules        = "topic_rules"
	fieldTopicRulesEnabled = "enabled"
	fieldTopicRulesMaxAge  = "max_age"

	fieldRetry                = "retry"
	fieldRetryInitialInterval = "initial_interval"
	fieldRetryMaxInterval     = "max_interval"
	fieldRetryMaxElapsedTime  = "max_elapsed_time"
	fieldPermanent            = "permanent"
	fieldDeadLetter           = "dead_letter"
)

const (
	partitionerMurmur2     = "murmur2_hash"
	partitionerRoundRobin  = "round_robin"
	partitionerLeastBackup = "least_backup"
	partitionerManual      = "manual"

	acksAll    = "all"
	acksLeader = "leader"
	acksNone   = "none"
)

// Spec returns the config spec of the kafka_guarded output.
func Spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Categories("Services").
		Summary("Writes batches to Kafka and knows, for every message, what became of it and why.").
		Description(`
Kafka refuses a batch as a whole for one bad message in it. This output finds the messages that are to blame, delivers all others, and reports exactly the failed ones, each with an error of its own that begins with a class:

| class | meaning |
| --- | --- |
| `+"`size_exceeded`"+` | alone in a batch, it is larger than the topic or the client allows |
| `+"`invalid_record`"+` | the content is refused: no key on a compacted topic, timestamp out of bounds, corrupt |
| `+"`unroutable`"+` | no destination: interpolation failed, illegal topic name, no such partition |
| `+"`unknown_topic`"+` | the topic does not exist |
| `+"`unauthorized`"+` | an ACL forbids it |
| `+"`refused`"+` | the cluster refuses the request as such: version, codec, policy, acks, producer |
| `+"`transient`"+` | leader moves, too few replicas, time-outs, lost connections |

Put it first in a `+"`fallback`"+` to send the failed messages elsewhere. There, the metadata key `+"`fallback_error`"+` holds the message's own error:

`+"```yaml"+`
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
`+"```"+`

The fields are those of the `+"`kafka_franz`"+` output, so that to rename the output is to migrate.
`).
		Fields(connectionFields()...).
		Fields(recordFields()...).
		Fields(
			service.NewIntField(fieldMaxInFlight).
				Description("The maximum number of batches to be sending in parallel at any given time. With 1, messages of one key keep their order, also when some of a batch are refused and the others are sent again.").
				Default(10),
			service.NewBatchPolicyField(fieldBatching),
			service.NewStringField(fieldRackID).
				Description("It has no effect, and is there so that configs with it load.").
				Deprecated(),
		).
		Fields(producerFields()...).
		Fields(
			service.NewObjectField(fieldTopicRules,
				service.NewBoolField(fieldTopicRulesEnabled).
					Description("Whether to ask. Without, what brokers refuse decides, and it takes extra requests to find the messages to blame.").
					Default(true),
				durationField(fieldTopicRulesMaxAge).
					LintRule(lintMoreThanZero).
					Description("How old the answer may be before it is asked for again, in the background. It is asked for at once when a broker refuses a message, or the answer would.").
					Default("5m"),
			).
				Description("Ask the cluster what each topic accepts: `max.message.bytes`, `segment.bytes`, `cleanup.policy`, `compression.type` and the bounds of timestamps. It takes the right to `DESCRIBE_CONFIGS` on the topic. What a topic would refuse is then found without sending it, and batches are made as large as the topic accepts.").
				Advanced(),
			service.NewObjectField(fieldRetry,
				durationField(fieldRetryInitialInterval).
					LintRule(lintMoreThanZero).
					Description("The time before the first retry. It doubles, with some jitter, with each that follows.").
					Default("100ms"),
				durationField(fieldRetryMaxInterval).
					Description("The longest time between two retries.").
					Default("5s"),
				durationField(fieldRetryMaxElapsedTime).
					Description("After how long to give up, and report the messages as failed. `0s` is never: then only a shutdown ends the retries.").
					Default("0s"),
			).
				Description("How to send messages again that failed with a class that is not `permanent`. Only they are sent again, while the rest of the batch is long done, and they keep their order.").
				Advanced(),
			service.NewStringListField(fieldPermanent).
				Description("The classes of failure that are handed on, to a `fallback` or to the input, and not retried. All others are held until they pass: `unknown_topic`, `unauthorized` and `refused` hit every message of a topic, so that to hand them on would divert the stream for an operator's slip. `transient` can't be named.").
				Default([]any{guard.SizeExceeded.String(), guard.InvalidRecord.String(), guard.Unroutable.String()}).
				Advanced(),
			service.NewOutputField(fieldDeadLetter).
				Description("An optional output, of any kind, for the messages that failed for good (see `permanent`). They keep content and metadata, and gain the metadata `kafka_guarded_class`, `kafka_guarded_error`, `kafka_guarded_topic`, `kafka_guarded_key` (unless it is null), `kafka_guarded_partition` (where known), `kafka_guarded_bytes` and `kafka_guarded_limit` (where size decided) and `kafka_guarded_failed_at`. The batch is acknowledged once this output has taken them; while it fails, only they are tried again. Unlike a `fallback`, this stays exact whatever surrounds the output.").
				Optional(),
		).
		LintRule(lintRule)
}

func connectionFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringListField(fieldSeedBrokers).
			LintRule(lintBrokers).
			Description("A list of broker addresses to connect to in order to establish connections. If an item of the list contains commas it is expanded into multiple addresses. Kafka's `bootstrap.servers`.").
			Example([]string{"localhost:9092"}).
			Example([]string{"foo:9092", "bar:9092"}).
			Example([]string{"foo:9092,bar:9092"}),
		service.NewStringField(fieldClientID).
			Description("An identifier for the client connection. Kafka's `client.id`.").
			Default("redpanda-connect").
			Advanced(),
		service.NewTLSToggledField(fieldTLS),
		saslField(),
		durationField(fieldMetadataMaxAge).
			Description("The maximum age of metadata before it is refreshed. Kafka's `metadata.max.age.ms`.").
			Default("1m").
			Advanced(),
		durationField(fieldRequestTimeoutOverhead).
			Description("How long to wait for an answer to a request, on top of the time-out that the request itself carries. Roughly Kafka's `request.timeout.ms`.").
			Default("10s").
			Advanced(),
		durationField(fieldConnIdleTimeout).
			Description("The rough time after which idle connections are closed. Kafka's `connections.max.idle.ms`.").
			Default("20s").
			Advanced(),
		netutil.DialerConfigSpec(),
	}
}

func recordFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewInterpolatedStringField(fieldTopic).
			LintRule(lintTopic).
			Description("The topic to write a message to. A message for which this gives no legal topic name is `unroutable`."),
		service.NewInterpolatedStringField(fieldKey).
			Description("An optional key for each message. A key that is configured is never null, though it may be empty: see `null_key`.").
			Optional(),
		service.NewBloblangField(fieldNullKey).
			Description("An optional check: a message for which it is true has no key (null), whatever `key` gives. Topics with `cleanup.policy: compact` refuse messages without a key.").
			Example(`@k == null`).
			Optional(),
		service.NewBloblangField(fieldTombstone).
			Description("An optional check: a message for which it is true is written with a null value. Topics with `cleanup.policy: compact` take that as the deletion of its key.").
			Example(`content().length() == 0`).
			Optional(),
		service.NewInterpolatedStringField(fieldPartition).
			LintRule(lintPartition).
			Description("An optional explicit partition for each message. Only relevant when the `partitioner` is `manual`. It must give a whole number; a message for which it does not, or gives a partition that the topic does not have, is `unroutable`.").
			Example(`${! meta("partition") }`).
			Optional(),
		service.NewMetadataFilterField(fieldMetadata).
			Description("Determine which (if any) metadata values should be added to messages as headers.").
			Optional(),
		service.NewInterpolatedStringField(fieldTimestamp).
			Description("An optional timestamp for each message, in seconds since the Unix epoch. When left empty, the current time is used.").
			Example(`${! timestamp_unix() }`).
			Example(`${! metadata("kafka_timestamp_unix") }`).
			Optional().
			Advanced().
			Deprecated(),
		service.NewInterpolatedStringField(fieldTimestampMs).
			Description("An optional timestamp for each message, in milliseconds since the Unix epoch. When left empty, the current time is used. Kafka refuses messages with timestamps outside of the topic's `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.").
			Example(`${! timestamp_unix_milli() }`).
			Example(`${! metadata("kafka_timestamp_ms") }`).
			Optional().
			Advanced(),
		service.NewInjectTracingSpanMappingField().
			Description("A Bloblang mapping that puts the trace context of a message into the record that is made of it, as the tracer of the service writes it: `this` is an object such as `{\"traceparent\":\"...\"}`. What it puts into the metadata becomes headers if `metadata` includes it. The message itself stays as it is, for a `dead_letter` and a `fallback`."),
	}
}

func producerFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringAnnotatedEnumField(fieldPartitioner, map[string]string{
			partitionerMurmur2:     "Kafka's default: the murmur2 hash of the key. Messages without a key stick to a partition for a batch.",
			partitionerRoundRobin:  "All partitions in turn. Lower throughput and more load on brokers.",
			partitionerLeastBackup: "The partition with the fewest buffered messages, chosen per batch.",
			partitionerManual:      "The partition that the field `partition` gives.",
		}).
			Description("How to choose the partition of a message, overriding the default of hashing its key. Kafka's `partitioner.class`.").
			Advanced().Optional(),
		service.NewBoolField(fieldIdempotentWrite).
			Description("Have the brokers recognise what the client sends again, so that its retries cause no duplicates. Before Kafka 3.0 this takes the right `IDEMPOTENT_WRITE` on the cluster. Without it, duplicates are possible whenever a connection is lost. Kafka's `enable.idempotence`.").
			Default(true).
			Advanced(),
		service.NewStringAnnotatedEnumField(fieldAcks, map[string]string{
			acksAll:    "Wait for all in-sync replicas. Required by `idempotent_write`.",
			acksLeader: "Wait for the leader alone. What it acknowledged is lost if it fails before its followers have it.",
			acksNone:   "Wait for nobody. What is handed to the network counts as delivered, and no refusal is ever heard of.",
		}).
			Description("How many replicas must have a message before it counts as delivered. Kafka's `acks`.").
			Default(acksAll).
			Advanced(),
		service.NewStringEnumField(fieldCompression, "lz4", "snappy", "gzip", "none", "zstd").
			Description("An explicit compression type. The default is snappy where the broker supports it, else none. Kafka's `compression.type`.").
			Optional().
			Advanced(),
		service.NewBoolField(fieldAllowAutoTopicCreation).
			Description("Have brokers whose `auto.create.topics.enable` is set create topics that do not exist. Kafka's `allow.auto.create.topics`.").
			Default(true).
			Advanced(),
		durationField(fieldTimeout).
			Description("How long a broker may wait for its followers to have a message before it gives up and is asked again. Kafka's `request.timeout.ms`, as it is sent along with produce requests.").
			Default("10s").
			Advanced(),
		service.NewStringField(fieldMaxMessageBytes).
			LintRule(lintSize).
			Description("A further ceiling on the size of a batch as it is sent, compressed, and so of a message with the few bytes that surround it, below what its topic accepts. What is larger is `size_exceeded` without being sent. Leave it out to go by the topics' own `max.message.bytes`; where these can't be read it is then 1MiB. Kafka's `max.request.size`.").
			Optional().
			Advanced().
			Example("100MB").
			Example("50mib"),
		service.NewStringField(fieldBrokerWriteMaxBytes).
			LintRule(lintSize).
			Description("The upper bound for the size of a request. It must not exceed the broker's `socket.request.max.bytes`: brokers close the connection on larger ones.").
			Advanced().
			Default("100MiB").
			Example("128MB").
			Example("50mib"),
		service.NewIntField(fieldMaxBufferedRecords).
			LintRule(lintAtLeast(1)).
			Description("The maximum number of messages to buffer before writing blocks.").
			Advanced().
			Default(10000),
		service.NewStringField(fieldMaxBufferedBytes).
			LintRule(lintSize).
			Description("The maximum number of bytes to buffer before writing blocks, `0` for no limit. A message that is larger by itself is `size_exceeded`. Kafka's `buffer.memory`.").
			Advanced().
			Default("0").
			Example("256MB").
			Example("50mib"),
		service.NewIntField(fieldMaxInFlightRequests).
			LintRule(lintAtLeast(1)).
			Description("The maximum number of produce requests in flight per broker without `idempotent_write`. With it, this must be `1`, and sequence numbers allow for five. Kafka's `max.in.flight.requests.per.connection`.").
			Advanced().
			Default(1),
		service.NewIntField(fieldRecordRetries).
			LintRule(lintAtLeast(0)).
			Description("How often the client tries to send a message again, where it can tell that this is safe. `0` is without end (the default). Kafka's `retries`.").
			Advanced().
			Default(0),
		durationField(fieldRecordDeliveryTimeout).
			Description("How long a message may wait in the client, where the client can tell that giving up is safe. It is counted from the message's timestamp, so that it can't be used together with `timestamp_ms` or `timestamp`. `0s` is without end (the default). What the client gives up may have been written. Kafka's `delivery.timeout.ms`.").
			Advanced().
			Default("0s"),
	}
}

// clientConfig is what the clients are made of.
type clientConfig struct {
	guard guard.Config
	opts  []kgo.Opt
	sasl  []sasl.Mechanism
	acks  string

	maxRequestBytes int
}

// metadataMinAge is how often metadata may be asked for when something is amiss.
// kgo's default of 5 s makes a topic that is new, or has another leader, wait.
const metadataMinAge = 250 * time.Millisecond

func clientConfigFrom(conf *service.ParsedConfig, log *service.Logger) (c clientConfig, err error) {
	p := parser{conf: conf}
	var brokers []string
	for _, item := range p.strings(fieldSeedBrokers) {
		for broker := range strings.SplitSeq(item, ",") {
			if broker = strings.TrimSpace(broker); broker != "" {
				brokers = append(brokers, broker)
			}
		}
	}
	c.maxRequestBytes = p.bytes(fieldBrokerWriteMaxBytes, 1<<30)
	c.opts = []kgo.Opt{
		kgo.WithLogger(clientLog{log}),
		kgo.SeedBrokers(brokers...),
		kgo.ClientID(p.string(fieldClientID)),
		kgo.MetadataMaxAge(p.duration(fieldMetadataMaxAge)),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.RequestTimeoutOverhead(p.duration(fieldRequestTimeoutOverhead)),
		kgo.ConnIdleTimeout(p.duration(fieldConnIdleTimeout)),
		kgo.ProduceRequestTimeout(p.duration(fieldTimeout)),
		kgo.BrokerMaxWriteBytes(int32(c.maxRequestBytes)),
		kgo.MaxBufferedBytes(p.bytes(fieldMaxBufferedBytes, math.MaxInt)),
	}
	if p.err == nil && len(brokers) == 0 {
		p.err = fmt.Errorf("%s is empty: name at least one broker as host:port", fieldSeedBrokers)
	}
	if conf.Contains(fieldMaxMessageBytes) {
		c.guard.MaxMessageBytes = p.bytes(fieldMaxMessageBytes, 1<<30)
		if p.err == nil && c.guard.MaxMessageBytes == 0 {
			p.err = fmt.Errorf("%s is 0: leave it out for the default", fieldMaxMessageBytes)
		}
	}
	rules := parser{conf: conf.Namespace(fieldTopicRules)}
	c.guard.IgnoreRules = !rules.bool(fieldTopicRulesEnabled)
	c.guard.RulesMaxAge = rules.duration(fieldTopicRulesMaxAge)
	if rules.err == nil && c.guard.RulesMaxAge <= 0 {
		rules.err = fmt.Errorf("%s.%s is %s, it must be more than 0", fieldTopicRules, fieldTopicRulesMaxAge, c.guard.RulesMaxAge)
	}
	if p.err == nil {
		p.err = rules.err
	}
	retry := parser{conf: conf.Namespace(fieldRetry)}
	c.guard.Retry = guard.Retry{
		InitialInterval: retry.duration(fieldRetryInitialInterval),
		MaxInterval:     retry.duration(fieldRetryMaxInterval),
		MaxElapsedTime:  retry.duration(fieldRetryMaxElapsedTime),
	}
	if retry.err == nil && c.guard.Retry.InitialInterval <= 0 {
		retry.err = fmt.Errorf("%s.%s is %s, it must be more than 0", fieldRetry, fieldRetryInitialInterval, c.guard.Retry.InitialInterval)
	}
	if p.err == nil {
		p.err = retry.err
	}
	c.guard.Permanent = []guard.Class{}
	for _, name := range p.strings(fieldPermanent) {
		class, err := guard.ParseClass(name)
		if err != nil && p.err == nil {
			p.err = fmt.Errorf("reading %s: %w", fieldPermanent, err)
		}
		c.guard.Permanent = append(c.guard.Permanent, class)
	}
	if n := p.int(fieldMaxBufferedRecords, 1); n > 0 {
		c.opts = append(c.opts, kgo.MaxBufferedRecords(n))
	}
	if n := p.int(fieldRecordRetries, 0); n > 0 {
		c.opts = append(c.opts, kgo.RecordRetries(n))
	}
	if d := p.duration(fieldRecordDeliveryTimeout); d > 0 {
		c.opts = append(c.opts, kgo.RecordDeliveryTimeout(d))
	}
	if p.bool(fieldAllowAutoTopicCreation) {
		c.opts = append(c.opts, kgo.AllowAutoTopicCreation())
	}

	idempotent, requests, acks := p.bool(fieldIdempotentWrite), p.int(fieldMaxInFlightRequests, 1), p.string(fieldAcks)
	c.acks = acks
	switch acks {
	case acksLeader:
		c.opts = append(c.opts, kgo.RequiredAcks(kgo.LeaderAck()))
	case acksNone:
		c.opts = append(c.opts, kgo.RequiredAcks(kgo.NoAck()))
	case acksAll:
	default:
		p.invalid(fieldAcks, acks)
	}
	switch {
	case !idempotent:
		c.opts = append(c.opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(requests))
	case p.err != nil:
	case acks != acksAll:
		p.err = fmt.Errorf("%s requires %s to be %q, got %q", fieldIdempotentWrite, fieldAcks, acksAll, acks)
	case requests != 1:
		p.err = fmt.Errorf("%s requires %s to be 1, got %d (set %s to false to use higher values, at the cost of possible duplicate and out-of-order delivery on retries)", fieldIdempotentWrite, fieldMaxInFlightRequests, requests, fieldIdempotentWrite)
	}
	partitioner := partitionerMurmur2
	if conf.Contains(fieldPartitioner) {
		partitioner = p.string(fieldPartitioner)
	}
	switch partitioner {
	case partitionerMurmur2:
		c.opts = append(c.opts, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	case partitionerRoundRobin:
		c.opts = append(c.opts, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	case partitionerLeastBackup:
		c.opts = append(c.opts, kgo.RecordPartitioner(kgo.LeastBackupPartitioner()))
	case partitionerManual:
		c.opts = append(c.opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	default:
		p.invalid(fieldPartitioner, partitioner)
	}

	if conf.Contains(fieldCompression) {
		switch codec := p.string(fieldCompression); codec {
		case "lz4":
			c.opts = append(c.opts, kgo.ProducerBatchCompression(kgo.Lz4Compression()))
		case "gzip":
			c.opts = append(c.opts, kgo.ProducerBatchCompression(kgo.GzipCompression()))
		case "snappy":
			c.opts = append(c.opts, kgo.ProducerBatchCompression(kgo.SnappyCompression()))
		case "zstd":
			c.opts = append(c.opts, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
		case "none":
			c.opts = append(c.opts, kgo.ProducerBatchCompression(kgo.NoCompression()))
		default:
			p.invalid(fieldCompression, codec)
		}
	}
	if p.err != nil {
		return clientConfig{}, p.err
	}
	dial, err := dialer(conf)
	if err != nil {
		return clientConfig{}, err
	}
	if c.sasl, err = saslFrom(conf); err != nil {
		return clientConfig{}, err
	}
	c.opts = append(c.opts, dial, kgo.SASL(c.sasl...))

	// A client that never connects finds what only kgo would object to, so
	// that a bad config ends the start instead of being retried for ever.
	probe, err := guard.New(c.guard, c.opts...)
	if err != nil {
		return clientConfig{}, err
	}
	probe.Close()
	return c, nil
}

func dialer(conf *service.ParsedConfig) (kgo.Opt, error) {
	tlsConf, enabled, err := conf.FieldTLSToggled(fieldTLS)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	if conf.Contains(fieldTCP) {
		tcp, err := netutil.DialerConfigFromParsed(conf.Namespace(fieldTCP))
		if err != nil {
			return nil, err
		}
		if err := netutil.DecorateDialer(&d, tcp); err != nil {
			return nil, err
		}
	}
	if enabled {
		return kgo.Dialer((&tls.Dialer{NetDialer: &d, Config: tlsConf}).DialContext), nil
	}
	return kgo.Dialer(d.DialContext), nil
}

func recordConfigFrom(conf *service.ParsedConfig) (c recordConfig, err error) {
	if c.topic, err = conf.FieldInterpolatedString(fieldTopic); err != nil {
		return c, err
	}
	if name, ok := c.topic.Static(); ok && !guard.LegalTopic(name) {
		return c, fmt.Errorf("%s is %q, which is no legal topic name: it takes 1 to %d letters, digits, dots, underscores and hyphens", fieldTopic, name, guard.MaxTopicLength)
	}
	for _, f := range []struct {
		field string
		to    **service.InterpolatedString
	}{{fieldKey, &c.key}, {fieldPartition, &c.partition}, {fieldTimestamp, &c.timestamp}} {
		if conf.Contains(f.field) {
			if *f.to, err = conf.FieldInterpolatedString(f.field); err != nil {
				return c, err
			}
		}
	}
	if c.partition != nil {
		switch text, ok := c.partition.Static(); {
		case ok && text == "":
			c.partition = nil
		case ok:
			if _, err := parsePartition(text); err != nil {
				return c, fmt.Errorf("%s is %q, it must be a whole number", fieldPartition, text)
			}
		}
	}
	c.unit = time.Second
	if conf.Contains(fieldTimestampMs) {
		if c.timestamp != nil {
			return c, errors.New("both timestamp and timestamp_ms cannot be specified simultaneously")
		}
		if c.timestamp, err = conf.FieldInterpolatedString(fieldTimestampMs); err != nil {
			return c, err
		}
		c.unit = time.Millisecond
	}
	if c.timestamp != nil {
		timeout, err := conf.FieldDuration(fieldRecordDeliveryTimeout)
		if err != nil {
			return c, err
		}
		if timeout > 0 {
			return c, fmt.Errorf("%s cannot be used together with %s: it is counted from the timestamp of a message", fieldRecordDeliveryTimeout, c.timestampField())
		}
	}
	if conf.Contains(fieldMetadata) {
		if c.metadata, err = conf.FieldMetadataFilter(fieldMetadata); err != nil {
			return c, err
		}
		if c.metadata.IsEmpty() {
			c.metadata = nil
		}
	}
	if conf.Contains(fieldNullKey) {
		if c.nullKey, err = conf.FieldBloblang(fieldNullKey); err != nil {
			return c, err
		}
	}
	if conf.Contains(fieldTombstone) {
		if c.tombstone, err = conf.FieldBloblang(fieldTombstone); err != nil {
			return c, err
		}
	}
	manual := false
	if conf.Contains(fieldPartitioner) {
		partitioner, err := conf.FieldString(fieldPartitioner)
		if err != nil {
			return c, err
		}
		manual = partitioner == partitionerManual
	}
	switch {
	case manual && c.partition == nil:
		return c, errors.New("a partition must be specified when the partitioner is set to manual")
	case !manual && c.partition != nil:
		return c, errors.New("a partition cannot be specified unless the partitioner is set to manual")
	}
	return c, nil
}

// parser reads fields until the first error.
type parser struct {
	conf *service.ParsedConfig
	err  error
}

func parse[T any](p *parser, field string, get func(...string) (T, error)) (v T) {
	if p.err == nil {
		v, p.err = get(field)
	}
	return v
}

func (p *parser) string(field string) string    { return parse(p, field, p.conf.FieldString) }
func (p *parser) strings(field string) []string { return parse(p, field, p.conf.FieldStringList) }
func (p *parser) bool(field string) bool        { return parse(p, field, p.conf.FieldBool) }
func (p *parser) duration(field string) time.Duration {
	return parse(p, field, p.conf.FieldDuration)
}

// int reads a number that must be at least least.
func (p *parser) int(field string, least int) int {
	n := parse(p, field, p.conf.FieldInt)
	if p.err == nil && n < least {
		p.err = fmt.Errorf("%s is %d, it must be at least %d", field, n, least)
	}
	return n
}

// bytes reads a size such as "1MiB" that must not exceed most.
func (p *parser) bytes(field string, most uint64) int {
	text := p.string(field)
	if p.err != nil {
		return 0
	}
	n, err := humanize.ParseBytes(text)
	switch {
	case err != nil:
		p.err = fmt.Errorf("parsing %s: %w", field, err)
	case n > most:
		p.err = fmt.Errorf("%s is %s, it must not exceed %d bytes", field, text, most)
	}
	return int(n)
}

func (p *parser) invalid(field, value string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s is %q, which it can't be", field, value)
	}
}

// clientLog passes what kgo logs on. What is routine to kgo is a level lower
// here, as in kafka_franz.
type clientLog struct{ log *service.Logger }

func (clientLog) Level() kgo.LogLevel { return kgo.LogLevelInfo }

func (l clientLog) Log(level kgo.LogLevel, text string, keyvals ...any) {
	switch level {
	case kgo.LogLevelError:
		l.log.With(keyvals...).Error(text)
	case kgo.LogLevelWarn:
		l.log.With(keyvals...).Warn(text)
	case kgo.LogLevelInfo:
		// There is such a line for each batch that is refused, and next to
		// nobody reads it: a logger with these fields would cost more than
		// the rest of what a refusal takes.
		l.log.Debugf("%s: %v", text, keyvals)
	}
}
