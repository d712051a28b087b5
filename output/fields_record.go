package output

import (
	"math"
	"strconv"
	"strings"
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

	// fieldInjectTracingMap is the name by which Benthos reads this field, too.
	fieldInjectTracingMap = "inject_tracing_map"
)

func recordFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewInterpolatedStringField(fieldTopic).LintRule(lintsOf(fieldTopic)).
			Description("The topic to write a message to. A message for which this gives no legal topic name is `unroutable`."),
		service.NewInterpolatedStringField(fieldKey).LintRule(lintsOf(fieldKey)).
			Description("An optional key for each message; left out or empty, messages have none (null). In Benthos, an interpolation that finds nothing gives the text `null`. With `${! json(\"customer\") }`, all messages without a customer get the key `null`, and so the same partition, and a compacted topic takes them. Set `null_key` for these messages, such as `this.customer == null`, or give them another with `${! json(\"customer\").or(\"none\") }`. It is evaluated for each message by itself, so that `batch_index()` is always 0.").
			Optional(),
		service.NewBloblangField(fieldNullKey).
			Description("An optional check, such as `this.customer == null` or `@key == null`: a message for which it is true has no key (null), whatever `key` gives. Topics with `cleanup.policy: compact` reject messages without a key.").
			Optional(),
		service.NewBloblangField(fieldTombstone).
			Description("An optional check, such as `content().length() == 0`: a message for which it is true is written with a null value. Topics with `cleanup.policy: compact` take that as the deletion of its key.").
			Optional(),
		service.NewInterpolatedStringField(fieldPartition).LintRule(lintsOf(fieldPartition)).
			Description("An optional explicit partition for each message, such as `${! @partition }`. Only relevant when the `partitioner` is `manual`. It must give a whole number; a message for which it does not, or gives a partition that the topic does not have, is `unroutable`.").
			Optional(),
		service.NewMetadataFilterField(fieldMetadata).LintRule(lintsOf(fieldMetadata)).
			Description("Determine which (if any) metadata values should be added to messages as headers.").
			Optional(),
		service.NewInterpolatedStringField(fieldTimestamp).LintRule(lintsOf(fieldTimestamp)).
			Description("An optional timestamp for each message, in seconds since the Unix epoch. Left out, the current time is used. It must give a whole number: a message for which it does not is `invalid_record`.").
			Optional().
			Advanced().
			Deprecated(),
		service.NewInterpolatedStringField(fieldTimestampMs).LintRule(lintsOf(fieldTimestampMs)).
			Description("An optional timestamp for each message, in milliseconds since the Unix epoch, such as `${! @kafka_timestamp_ms }`. Left out, the current time is used. It must give a whole number: a message for which it does not, because it has no such metadata for example, is `invalid_record`. Kafka rejects messages with timestamps outside of the topic's `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.").
			Optional().
			Advanced(),
		// The field of service.NewInjectTracingSpanMappingField has an example
		// with merge, which makes an array of two values: no valid header.
		service.NewBloblangField(fieldInjectTracingMap).
			Description("A Bloblang mapping that puts the trace context of a message into the record that is made of it, as the tracer of the service writes it: `this` is an object such as `{\"traceparent\":\"...\"}`. It takes a `tracer` in the config, and one in the binary: `kafka-guarded-connect` has `open_telemetry_collector`, and so has your own with the import `github.com/kafka-guarded/kafka-guarded/connect/otlp`. `assign` replaces a `traceparent` that the message came with; `merge` would make a list of both, which is no valid header. What the mapping puts into the metadata becomes headers if `metadata` includes it. The message itself stays as it is, for a `dead_letter` and a `fallback`.").
			Example("meta = @.assign(this)").
			Example("root.meta.span = this").
			Optional().
			Advanced(),
	}
}

// recordConfig has the settings to make a record of a message. A nil field is not
// configured.
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

// read reads the settings for records.
func (c *recordConfig) read(p *parser) {
	if !p.has(fieldTopic) {
		p.fail(fieldTopic, "is empty, perhaps for an environment variable that is")
	}
	c.topic = mapping(p, fieldTopic, p.conf.FieldInterpolatedString)
	if c.topic != nil {
		switch name, static := c.topic.Static(); {
		case !static:
		case strings.Contains(name, "${"):
			p.fail(fieldTopic, "is %q, which is no interpolation: that begins with ${! and not with ${", name)
		case guard.CheckTopic(name) != nil:
			p.fail(fieldTopic, "is %q, which is no legal topic name: it takes 1 to 249 letters, digits, dots, underscores and hyphens", name)
		}
	}
	c.key = mapping(p, fieldKey, p.conf.FieldInterpolatedString)
	c.nullKey = mapping(p, fieldNullKey, p.conf.FieldBloblang)
	c.tombstone = mapping(p, fieldTombstone, p.conf.FieldBloblang)
	if c.metadata = optional(p, fieldMetadata, p.conf.FieldMetadataFilter); c.metadata.IsEmpty() {
		c.metadata = nil
	}
	c.readPartition(p)
	c.readTimestamp(p)
}

// readPartition reads the field partition, which only one partitioner allows.
func (c *recordConfig) readPartition(p *parser) {
	c.partition = mapping(p, fieldPartition, p.conf.FieldInterpolatedString)
	if text, static := static(c.partition); static {
		if n, err := strconv.ParseInt(text, 10, 32); err != nil || n < 0 {
			p.fail(fieldPartition, "is %q, it must be a whole number from 0 to %d", text, math.MaxInt32)
		}
	}
	if !p.fine(fieldPartition, fieldPartitioner) {
		return
	}
	switch manual := optional(p, fieldPartitioner, p.conf.FieldString) == partitionerManual; {
	case manual && c.partition == nil:
		p.clash(fieldPartition, "must be specified when the %s is %s", fieldPartitioner, partitionerManual)
	case !manual && c.partition != nil:
		p.clash(fieldPartition, "cannot be specified unless the %s is %s", fieldPartitioner, partitionerManual)
	}
}

// readTimestamp reads the fields timestamp and timestamp_ms, of which there may be
// one.
func (c *recordConfig) readTimestamp(p *parser) {
	c.timestamp, c.unit = mapping(p, fieldTimestamp, p.conf.FieldInterpolatedString), time.Second
	if millis := mapping(p, fieldTimestampMs, p.conf.FieldInterpolatedString); millis != nil {
		if c.timestamp != nil {
			p.clash(fieldTimestampMs, "and %s cannot both be specified", fieldTimestamp)
		}
		c.timestamp, c.unit = millis, time.Millisecond
	}
	if c.timestamp == nil {
		return
	}
	if text, static := static(c.timestamp); static {
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			p.fail(c.timestampField(), "is %q, it must be a whole number", text)
		}
	}
	if p.fine(fieldRecordDeliveryTimeout) && p.orZero(fieldRecordDeliveryTimeout) > 0 {
		p.clash(fieldRecordDeliveryTimeout, "cannot be used together with %s: it is counted from the timestamp of a message", c.timestampField())
	}
}

// static returns the text that a field gives for every message.
func static(field *service.InterpolatedString) (string, bool) {
	if field == nil {
		return "", false
	}
	return field.Static()
}
