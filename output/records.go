package output

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// from makes a record of each message. If that fails, the record is nil, and failures
// has the failure by the index of the message.
func (c *recordConfig) from(batch service.MessageBatch) ([]*kgo.Record, map[int]*guard.Failure) {
	made := make([]kgo.Record, len(batch))
	records := make([]*kgo.Record, len(batch))
	nullKey := newCheck(fieldNullKey, c.nullKey, batch)
	tombstone := newCheck(fieldTombstone, c.tombstone, batch)
	var failures map[int]*guard.Failure
	for i, msg := range batch {
		if f := c.fill(&made[i], i, msg, nullKey, tombstone); f != nil {
			if failures == nil {
				failures = map[int]*guard.Failure{}
			}
			f.Outcome, f.Partition, f.Topic = guard.NotWritten, -1, made[i].Topic
			failures[i] = f
			continue
		}
		records[i] = &made[i]
	}
	return records, failures
}

// fill fills r, or returns a failure. The text of the failure leaves out the error of
// Bloblang or of parsing, which quotes the message.
func (c *recordConfig) fill(r *kgo.Record, i int, msg *service.Message, nullKey, tombstone check) *guard.Failure {
	const failed = "the interpolation of the field %s fails for this message"
	var err error
	if r.Topic, err = c.topic.TryString(msg); err != nil {
		return unroutable(failed, fieldTopic)
	}
	if c.partition != nil {
		text, err := c.partition.TryString(msg)
		if err != nil {
			return unroutable(failed, fieldPartition)
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return unroutable("the field %s does not give a whole number up to %d", fieldPartition, math.MaxInt32)
		}
		r.Partition = int32(n)
	}
	// If structured content is no JSON, such as NaN, Benthos returns empty
	// content, and no error.
	if r.Value, err = msg.AsBytes(); err != nil || len(r.Value) == 0 && msg.HasStructured() {
		return invalid("the message's structured content can't be serialised as JSON")
	}
	if null, f := tombstone.isTrue(i); f != nil {
		return f
	} else if null {
		r.Value = nil
	}
	if c.key != nil {
		if r.Key, err = c.key.TryBytes(msg); err != nil {
			return invalid(failed, fieldKey)
		}
		if r.Key == nil {
			r.Key = []byte{} // only null_key makes it null
		}
	}
	if null, f := nullKey.isTrue(i); f != nil {
		return f
	} else if null {
		r.Key = nil
	}
	if c.timestamp != nil {
		text, err := c.timestamp.TryString(msg)
		if err != nil {
			return invalid(failed, c.timestampField())
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return invalid("the field %s does not give a whole number", c.timestampField())
		}
		if c.unit == time.Second {
			r.Timestamp = time.Unix(n, 0)
		} else {
			r.Timestamp = time.UnixMilli(n)
		}
		if r.Timestamp.IsZero() { // of other languages' times that are not set; as a record's, it means now
			return invalid("the field %s gives the year 1: times that can be sent are from 1677 to 2262", c.timestampField())
		}
	}
	if c.metadata != nil {
		_ = c.metadata.Walk(msg, func(key, value string) error {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
			return nil
		})
	}
	return nil
}

func (c *recordConfig) timestampField() string {
	if c.unit == time.Second {
		return fieldTimestamp
	}
	return fieldTimestampMs
}

// check is a mapping that gives a boolean, ready to run on a batch.
type check struct {
	field string
	run   *service.MessageBatchBloblangExecutor // nil if not configured
}

func newCheck(field string, mapping *bloblang.Executor, batch service.MessageBatch) check {
	c := check{field: field}
	if mapping != nil {
		c.run = batch.BloblangExecutor(mapping)
	}
	return c
}

// isTrue runs the check on a message of the batch. Its errors quote no part of the
// message.
func (c check) isTrue(i int) (bool, *guard.Failure) {
	if c.run == nil {
		return false, nil
	}
	result, err := c.run.Query(i)
	if err != nil {
		return false, invalid("the mapping in the field %s fails for this message", c.field)
	}
	if result != nil {
		if v, err := result.AsStructured(); err == nil {
			if is, ok := v.(bool); ok {
				return is, nil
			}
		}
	}
	return false, invalid("the mapping in the field %s does not give a boolean for this message", c.field)
}

func unroutable(problem string, args ...any) *guard.Failure {
	return &guard.Failure{Class: guard.Unroutable, Problem: fmt.Sprintf(problem, args...)}
}

func invalid(problem string, args ...any) *guard.Failure {
	return &guard.Failure{Class: guard.InvalidRecord, Problem: fmt.Sprintf(problem, args...)}
}
