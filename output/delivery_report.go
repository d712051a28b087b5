package output

import (
	"context"
	"strconv"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// The metadata of a message in a delivery report, besides metaTopic and
// metaPartition, where they are known, and metaClass and metaError of a failure.
const (
	metaOutcome     = "kafka_guarded_outcome"      // delivered, not_written or unknown
	metaOffset      = "kafka_guarded_offset"       // if delivered, unless acks is none
	metaTimestampMs = "kafka_guarded_timestamp_ms" // if delivered
)

// deliveryReports is the child output to which every message goes once its outcome
// is known.
type deliveryReports struct{ *child }

func deliveryReportsFrom(conf *service.ParsedConfig, client clientConfig, n *notices, m *metrics) (*deliveryReports, error) {
	if !newParser(conf).has(fieldDeliveryReport) {
		return nil, nil
	}
	retry := client.guard.Retry
	retry.MaxElapsedTime = client.reportMaxElapsedTime
	c, err := childFrom(conf, fieldDeliveryReport, retry, n, m)
	if err != nil {
		return nil, err
	}
	config, err := conf.FieldAny(fieldDeliveryReport)
	if err != nil {
		return nil, err
	}
	_, file := errorrouting.PlainFile(config)
	c.whole = !file // a file gets one message after the other in any case
	return &deliveryReports{c}, nil
}

// deliver writes the batch with the outcome of each message. An error of this output
// changes no outcome.
func (d *deliveryReports) deliver(ctx context.Context, batch service.MessageBatch, records []*kgo.Record, verdicts []guard.Verdict) {
	report := make(service.MessageBatch, len(batch))
	for i := range batch {
		report[i] = reported(batch[i], records[i], &verdicts[i])
	}
	d.write(ctx, report, func(int) {})
}

// reported makes a message of a delivery report. A message that was read from a
// report may go through Kafka again, so metadata of the earlier report is removed.
func reported(msg *service.Message, r *kgo.Record, v *guard.Verdict) *service.Message {
	m := msg.Copy()
	set := func(key, value string, is bool) {
		if is {
			m.MetaSetMut(key, value)
		} else {
			m.MetaDelete(key)
		}
	}
	topic, class, text, partition := "", "", "", v.Partition
	if r != nil {
		topic = r.Topic
	}
	if f := v.Failure; f != nil {
		topic, class, text, partition = f.Topic, f.Class.String(), f.Error(), f.Partition
	}
	delivered := v.Outcome == guard.Delivered
	set(metaOutcome, v.Outcome.String(), true)
	set(metaTopic, topic, topic != "")
	set(metaPartition, strconv.Itoa(int(partition)), partition >= 0)
	set(metaOffset, strconv.FormatInt(v.Offset, 10), delivered && v.Offset >= 0)
	set(metaTimestampMs, strconv.FormatInt(v.Timestamp.UnixMilli(), 10), delivered)
	set(metaClass, class, !delivered)
	set(metaError, text, !delivered)
	return m
}
