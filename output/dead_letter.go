package output

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// The metadata of a dead letter, besides that of its message.
const (
	metaClass     = "kafka_guarded_class"
	metaError     = "kafka_guarded_error"
	metaTopic     = "kafka_guarded_topic"
	metaKey       = "kafka_guarded_key"       // unless it is null
	metaPartition = "kafka_guarded_partition" // where known
	metaBytes     = "kafka_guarded_bytes"     // where size decided
	metaLimit     = "kafka_guarded_limit"     // where size decided, and it is known
	metaFailedAt  = "kafka_guarded_failed_at" // RFC 3339

	// With topic, key and content, these are enough to make the record again.
	metaNull      = "kafka_guarded_null"         // "true" if the value is null
	metaTimestamp = "kafka_guarded_timestamp_ms" // if the config sets one
	metaHeaders   = "kafka_guarded_headers"      // the names of its headers, a JSON array

	// The error of a dead letter in another kafka_guarded, which is the dead_letter
	// here and has a dead_letter of its own.
	metaLetterError = "kafka_guarded_dead_letter_error"
)

// deadLetters is the child output for messages that failed for good.
type deadLetters struct {
	*child
	classes []guard.Class // that fail for good
	format  letterFormat
	records recordConfig
}

func deadLettersFrom(conf *service.ParsedConfig, config guard.Config, format letterFormat, records recordConfig, n *notices, m *metrics) (*deadLetters, error) {
	if !newParser(conf).has(fieldDeadLetter) {
		return nil, nil
	}
	retry := config.Retry
	retry.MaxElapsedTime = 0 // its limit is for writes to Kafka only
	c, err := childFrom(conf, fieldDeadLetter, retry, n, m)
	if err != nil {
		return nil, err
	}
	output, err := conf.FieldAny(fieldDeadLetter)
	if err != nil {
		return nil, err
	}
	format = formatOf(format, output)
	return &deadLetters{child: c, classes: config.Permanent, format: format, records: records}, nil
}

// deliver writes the messages that failed for good to the child, except those in
// except. It returns the messages that the child took. It tries again until all are
// taken or ctx ends.
func (d *deadLetters) deliver(ctx context.Context, batch service.MessageBatch, records []*kgo.Record, verdicts []guard.Verdict, except []int) map[int]bool {
	var failed []int
	var letters service.MessageBatch
	now := time.Now().UTC().Format(time.RFC3339)
	excepted := make(map[int]bool, len(except))
	for _, i := range except {
		excepted[i] = true
	}
	for i := range verdicts {
		v := &verdicts[i]
		if v.Outcome != guard.NotWritten || !slices.Contains(d.classes, v.Class) || excepted[i] {
			continue
		}
		// This output's own dead letter came back to it, and would go round for ever.
		// The write that brought it fails, and its caller reports that.
		if slices.Contains(lettersOf(batch[i]), d) {
			continue
		}
		failed = append(failed, i)
		letters = append(letters, d.letter(batch[i], records[i], v.Failure, now))
	}
	if len(failed) == 0 {
		return nil
	}
	taken := make(map[int]bool, len(failed))
	d.write(ctx, letters, func(n int) {
		i := failed[n]
		taken[i] = true
		d.metrics.deadLettered.Incr(1, verdicts[i].Class.String())
		d.notices.deadLettered(verdicts[i].Failure)
	})
	return taken
}

// isLetter is the key in the context of a dead letter. Its value has the outputs that
// it is a dead letter of.
type isLetter struct{}

func lettersOf(msg *service.Message) []*deadLetters {
	of, _ := msg.Context().Value(isLetter{}).([]*deadLetters)
	return of
}

// letter makes a dead letter of a message. A message that is one already keeps the
// metadata of its first failure, which its reader wants to know.
func (d *deadLetters) letter(msg *service.Message, r *kgo.Record, f *guard.Failure, now string) *service.Message {
	of := lettersOf(msg)
	l := msg.Copy()
	l = l.WithContext(context.WithValue(l.Context(), isLetter{}, append(slices.Clone(of), d)))
	if len(of) > 0 {
		l.MetaSetMut(metaLetterError, f.Error())
	} else {
		d.describe(l, r, f, now)
	}
	if d.format == formatEnvelope {
		pack(l, r)
	}
	return l
}

// describe adds to the metadata of a letter why it failed, and what is needed to
// make its record again.
func (d *deadLetters) describe(l *service.Message, r *kgo.Record, f *guard.Failure, now string) {
	// A message that was read from a dead-letter topic has those of an earlier
	// failure.
	for _, name := range []string{metaKey, metaPartition, metaBytes, metaLimit, metaNull, metaTimestamp, metaHeaders, metaLetterError} {
		l.MetaDelete(name)
	}
	l.MetaSetMut(metaClass, f.Class.String())
	l.MetaSetMut(metaError, f.Error())
	l.MetaSetMut(metaTopic, f.Topic)
	l.MetaSetMut(metaFailedAt, now)
	partition := f.Partition
	if r != nil {
		if r.Key != nil {
			l.MetaSetMut(metaKey, string(r.Key))
		}
		if r.Value == nil {
			l.MetaSetMut(metaNull, "true")
		}
		if d.records.timestamp != nil {
			l.MetaSetMut(metaTimestamp, strconv.FormatInt(r.Timestamp.UnixMilli(), 10))
		}
		if d.records.partition != nil {
			partition = r.Partition
		}
		l.MetaSetMut(metaHeaders, headerNames(r))
	}
	if partition >= 0 {
		l.MetaSetMut(metaPartition, strconv.Itoa(int(partition)))
	}
	if f.LimitName != "" {
		l.MetaSetMut(metaBytes, strconv.Itoa(f.Bytes))
		if f.Limit > 0 {
			l.MetaSetMut(metaLimit, strconv.Itoa(f.Limit))
		}
	}
}

// headerNames returns the names of a record's headers, of which the values are in
// the metadata of its message.
func headerNames(r *kgo.Record) string {
	names := make([]string, len(r.Headers))
	for i, h := range r.Headers {
		names[i] = h.Key
	}
	text, _ := json.Marshal(names)
	return string(text)
}
