package output

import (
	"math"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
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
)

const partitionerManual = "manual"

var partitioners = options[kgo.Partitioner]{
	{"murmur2_hash", "Kafka's default: the murmur2 hash of the key. Messages without a key stick to a partition for a batch.", kgo.StickyKeyPartitioner(nil)},
	{"round_robin", "All partitions in turn. Lower throughput and more load on brokers.", kgo.RoundRobinPartitioner()},
	{"least_backup", "The partition with the fewest buffered messages, chosen per batch.", kgo.LeastBackupPartitioner()},
	{partitionerManual, "The partition that the field `partition` gives.", kgo.ManualPartitioner()},
}

const (
	acksAll    = "all"
	acksLeader = "leader"
	acksNone   = "none"
)

var acks = options[kgo.Acks]{
	{acksAll, "Wait for all in-sync replicas. Required by `idempotent_write`.", kgo.AllISRAcks()},
	{acksLeader, "Wait for the leader alone. An acked message is lost if the leader fails before its followers have it.", kgo.LeaderAck()},
	{acksNone, "Do not wait. A message counts as delivered once it is given to the network, and no rejection is noticed.", kgo.NoAck()},
}

var codecs = options[kgo.CompressionCodec]{
	{name: "lz4", value: kgo.Lz4Compression()},
	{name: "snappy", value: kgo.SnappyCompression()},
	{name: "gzip", value: kgo.GzipCompression()},
	{name: "none", value: kgo.NoCompression()},
	{name: "zstd", value: kgo.ZstdCompression()},
}

func producerFields() []*service.ConfigField {
	return []*service.ConfigField{
		partitioners.field(fieldPartitioner).LintRule(lintsOf(fieldPartitioner)).
			Description("How to choose the partition of a message, overriding the default of hashing its key. Kafka's `partitioner.class`.").
			Example("murmur2_hash").
			Advanced().Optional(),
		service.NewBoolField(fieldIdempotentWrite).LintRule(lintsOf(fieldIdempotentWrite)).
			Description("Makes brokers recognise a batch that is sent again, so that retries cause no duplicates. Before Kafka 2.8 this takes the right `IDEMPOTENT_WRITE` on the cluster. Without it, duplicates are possible whenever a connection is lost. Kafka's `enable.idempotence`.").
			Default(true).
			Advanced(),
		acks.field(fieldAcks).LintRule(lintsOf(fieldAcks)).
			Description("How many replicas must have a message before it counts as delivered. Kafka's `acks`.").
			Default(acksAll).
			Advanced(),
		codecs.field(fieldCompression).LintRule(lintsOf(fieldCompression)).
			Description("An explicit compression type. The default is snappy where the broker supports it, else none. Kafka's `compression.type`.").
			Example("snappy").
			Optional().
			Advanced(),
		service.NewBoolField(fieldAllowAutoTopicCreation).LintRule(lintsOf(fieldAllowAutoTopicCreation)).
			Description("Makes brokers with `auto.create.topics.enable` create topics that do not exist. A topic that is deleted while there are messages for it then comes back, with the brokers' own defaults. Kafka's `allow.auto.create.topics`.").
			Default(true).
			Advanced(),
		service.NewDurationField(fieldTimeout).LintRule(lintsOf(fieldTimeout)).
			Description("How long a broker may wait for its followers to have a message before it gives up and is asked again. Kafka's `request.timeout.ms`, as it is sent along with produce requests.").
			Default("10s").
			Advanced(),
		service.NewStringField(fieldMaxMessageBytes).LintRule(lintsOf(fieldMaxMessageBytes)).
			Description("A limit on the size of a batch as it is sent, compressed, below the limit of the topic. A message that is larger, alone in a batch, is `size_exceeded` without being sent. Without it, the topics' own `max.message.bytes` counts, or 1MiB where that can't be read. Kafka's `max.request.size`.").
			Optional().
			Advanced(),
		service.NewStringField(fieldBrokerWriteMaxBytes).LintRule(lintsOf(fieldBrokerWriteMaxBytes)).
			Description("The upper bound for the size of a request. It must not exceed the broker's `socket.request.max.bytes`: brokers close the connection on larger ones.").
			Advanced().
			Default("100MiB").
			Example("128MB").
			Example("50mib"),
		service.NewIntField(fieldMaxBufferedRecords).LintRule(lintsOf(fieldMaxBufferedRecords)).
			Description("The maximum number of messages to buffer before writing blocks.").
			Advanced().
			Default(10000),
		service.NewStringField(fieldMaxBufferedBytes).LintRule(lintsOf(fieldMaxBufferedBytes)).
			Description("The maximum number of bytes to buffer before writing blocks, `0` for no limit. A message that is larger by itself is `size_exceeded`. Kafka's `buffer.memory`.").
			Advanced().
			Default("0").
			Example("256MB").
			Example("50mib"),
		service.NewIntField(fieldMaxInFlightRequests).LintRule(lintsOf(fieldMaxInFlightRequests)).
			Description("The maximum number of produce requests in flight per broker without `idempotent_write`. With it, this must be `1`, and up to five requests are under way per broker, whose order is kept by sequence numbers. Kafka's `max.in.flight.requests.per.connection`.").
			Advanced().
			Default(1),
		service.NewIntField(fieldRecordRetries).LintRule(lintsOf(fieldRecordRetries)).
			Description("How often the client tries to send a message again, where it can tell that this is safe. `0` is without end (the default). Kafka's `retries`.").
			Advanced().
			Default(0),
		service.NewDurationField(fieldRecordDeliveryTimeout).LintRule(lintsOf(fieldRecordDeliveryTimeout)).
			Description("How long a message may wait in the client, where the client can tell that giving up is safe. It is counted from the message's timestamp, so that it can't be used together with `timestamp_ms` or `timestamp`. `0s` is without end (the default). What the client gives up may have been written. Kafka's `delivery.timeout.ms`.").
			Advanced().
			Default("0s"),
	}
}

// producer reads how to produce.
func (c *clientConfig) producer(p *parser) {
	c.maxRequestBytes = p.bytes(fieldBrokerWriteMaxBytes, 1<<10, 1<<30)
	c.acks = p.string(fieldAcks)
	c.opts = append(c.opts,
		kgo.ProduceRequestTimeout(p.duration(fieldTimeout, 100*time.Millisecond, 24*time.Hour)),
		kgo.BrokerMaxWriteBytes(int32(c.maxRequestBytes)),
		kgo.ProducerBatchMaxBytes(int32(min(c.maxRequestBytes, 1<<20))), // guard sets it anew, but kgo compares its default with the limit of a request
		kgo.MaxBufferedBytes(p.bytes(fieldMaxBufferedBytes, 0, math.MaxInt)),
		kgo.MaxBufferedRecords(p.int(fieldMaxBufferedRecords, 1)),
		kgo.RequiredAcks(pick(p, fieldAcks, acks)),
	)
	c.readMaxMessageBytes(p)
	if n := p.int(fieldRecordRetries, 0); n > 0 {
		c.opts = append(c.opts, kgo.RecordRetries(n))
	}
	switch d := p.orZero(fieldRecordDeliveryTimeout); {
	case 0 < d && d < time.Second:
		p.fail(fieldRecordDeliveryTimeout, "is %s, it must be 0s, or at least 1s", brief(d))
	case d > 0:
		c.opts = append(c.opts, kgo.RecordDeliveryTimeout(d))
	}
	if p.bool(fieldAllowAutoTopicCreation) {
		c.opts = append(c.opts, kgo.AllowAutoTopicCreation())
	}
	partitioner := kgo.StickyKeyPartitioner(nil)
	if p.has(fieldPartitioner) {
		partitioner = pick(p, fieldPartitioner, partitioners)
	}
	c.opts = append(c.opts, kgo.RecordPartitioner(partitioner))
	if p.has(fieldCompression) {
		c.opts = append(c.opts, kgo.ProducerBatchCompression(pick(p, fieldCompression, codecs)))
	}
	idempotent, requests := p.bool(fieldIdempotentWrite), p.int(fieldMaxInFlightRequests, 1)
	if !idempotent {
		c.opts = append(c.opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(requests))
		return
	}
	if p.fine(fieldAcks) && c.acks != acksAll {
		p.clash(fieldIdempotentWrite, "requires %s to be %q, got %q", fieldAcks, acksAll, c.acks)
	}
	if p.fine(fieldMaxInFlightRequests) && requests != 1 {
		p.clash(fieldIdempotentWrite, "requires %s to be 1, got %d: set %s to false to use higher values, at the cost of possible duplicates and another order when something is sent again", fieldMaxInFlightRequests, requests, fieldIdempotentWrite)
	}
}

func (c *clientConfig) readMaxMessageBytes(p *parser) {
	if !p.has(fieldMaxMessageBytes) {
		return
	}
	if p.string(fieldMaxMessageBytes) == "0" {
		p.fail(fieldMaxMessageBytes, "is 0: leave it out to go by what each topic accepts")
		return
	}
	c.guard.MaxMessageBytes = p.bytes(fieldMaxMessageBytes, 512, 1<<30)
	if p.fine(fieldMaxMessageBytes, fieldBrokerWriteMaxBytes) && c.guard.MaxMessageBytes > c.maxRequestBytes {
		p.clash(fieldMaxMessageBytes, "is %d, which does not fit into a request of %s (%d)", c.guard.MaxMessageBytes, fieldBrokerWriteMaxBytes, c.maxRequestBytes)
	}
}
