package output

import (
	"errors"
	"strconv"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

const (
	fieldTopic       = "topic"
	fieldKey         = "key"
	fieldNullKey     = "null_key"
	fieldTombstone   = "tombstone"
	fieldPartition   = "partition"
	fieldMetadata    = "metadata"
	fieldTimestamp   = "timestamp"
	fieldTimestampMs = "timestamp_ms"
)

const (
	lintTopic = `root = if this != "" && !this.contains("${") && (this == "." || this == ".." || !this.re_match("^[a-zA-Z0-9._-]{1,249}$")) { ["this is no legal topic name: it takes 1 to 249 letters, digits, dots, underscores and hyphens"] }`

	lintPartition = `root = if this.string() != "" && !this.string().contains("${") && !this.string().re_match("^[0-9]{1,10}$") { ["this must be a whole number"] }`

	recordLints = `
  if this.partitioner == "manual" && this.partition.or("") == "" { "a partition must be specified when the partitioner is set to manual" },
  if this.partitioner != "manual" && this.partition.or("") != "" { "a partition cannot be specified unless the partitioner is set to manual" },
  if this.timestamp.or("") != "" && this.timestamp_ms.or("") != "" { "both timestamp and timestamp_ms cannot be specified simultaneously" },
  if this.record_delivery_timeout.or("0s").parse_duration().catch(0) > 0 && (this.timestamp.or("") != "" || this.timestamp_ms.or("") != "") { "record_delivery_timeout cannot be used together with timestamp or timestamp_ms: it is counted from the timestamp of a message" },`
)

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

// recordConfig says how to make a record out of a message. The fields that are
// nil are not configured.
type recordConfig struct {
	topic     *service.InterpolatedString
	key       *service.InterpolatedString
	partition *service.InterpolatedString
	metadata  *service.MetadataFilter
	timestamp *service.InterpolatedString
	unit      time.Duration // of the timestamp
	nullKey   *bloblang.Executor
	tombstone *bloblang.Executor
}

func recordConfigFrom(conf *service.ParsedConfig) (c recordConfig, err error) {
	p := newParser(conf)
	c.topic = parse(p, fieldTopic, conf.FieldInterpolatedString)
	c.key = optional(p, fieldKey, conf.FieldInterpolatedString)
	c.nullKey = optional(p, fieldNullKey, conf.FieldBloblang)
	c.tombstone = optional(p, fieldTombstone, conf.FieldBloblang)
	if c.metadata = optional(p, fieldMetadata, conf.FieldMetadataFilter); c.metadata.IsEmpty() {
		c.metadata = nil
	}
	if c.topic != nil {
		if name, ok := c.topic.Static(); ok && !guard.LegalTopic(name) {
			p.fail("%s is %q, which is no legal topic name: it takes 1 to %d letters, digits, dots, underscores and hyphens", fieldTopic, name, guard.MaxTopicLength)
		}
	}
	c.readPartition(p)
	c.readTimestamp(p)
	return c, *p.err
}

// readPartition reads the field partition, which goes with one partitioner only.
func (c *recordConfig) readPartition(p *parser) {
	c.partition = optional(p, fieldPartition, p.conf.FieldInterpolatedString)
	if c.partition != nil {
		switch text, ok := c.partition.Static(); {
		case ok && text == "":
			c.partition = nil
		case ok:
			if _, err := parsePartition(text); err != nil {
				p.fail("%s is %q, it must be a whole number", fieldPartition, text)
			}
		}
	}
	switch manual := optional(p, fieldPartitioner, p.conf.FieldString) == partitionerManual; {
	case manual && c.partition == nil:
		p.fail("a partition must be specified when the partitioner is set to manual")
	case !manual && c.partition != nil:
		p.fail("a partition cannot be specified unless the partitioner is set to manual")
	}
}

// readTimestamp reads the fields timestamp and timestamp_ms, of which there may be
// one.
func (c *recordConfig) readTimestamp(p *parser) {
	c.timestamp, c.unit = optional(p, fieldTimestamp, p.conf.FieldInterpolatedString), time.Second
	if millis := optional(p, fieldTimestampMs, p.conf.FieldInterpolatedString); millis != nil {
		if c.timestamp != nil {
			p.fail("both timestamp and timestamp_ms cannot be specified simultaneously")
		}
		c.timestamp, c.unit = millis, time.Millisecond
	}
	if c.timestamp != nil && p.duration(fieldRecordDeliveryTimeout) > 0 {
		p.fail("%s cannot be used together with %s: it is counted from the timestamp of a message", fieldRecordDeliveryTimeout, c.timestampField())
	}
}

// parsePartition reads a partition that every message goes to.
func parsePartition(text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, errors.New("it is negative")
	}
	return int32(n), nil
}
