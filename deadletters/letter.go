// Package deadletters is the subcommand dead-letters: it reads the dead letters of
// the kafka_guarded output from a topic or from files, counts them, shows them, and
// sends them again to their topics.
package deadletters

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// The metadata of dead letters. The output writes all but the attempts.
const (
	metaPrefix     = "kafka_guarded_"
	metaClass      = metaPrefix + "class"
	metaError      = metaPrefix + "error"
	metaTopic      = metaPrefix + "topic"
	metaKey        = metaPrefix + "key"
	metaPartition  = metaPrefix + "partition"
	metaBytes      = metaPrefix + "bytes"
	metaLimit      = metaPrefix + "limit"
	metaFailedAt   = metaPrefix + "failed_at"
	metaNull       = metaPrefix + "null"
	metaTimestamp  = metaPrefix + "timestamp_ms"
	metaHeaders    = metaPrefix + "headers" // the names of the record's headers, a JSON array
	metaLetterErr  = metaPrefix + "dead_letter_error"
	metaAttempts   = metaPrefix + "attempts" // how often redrive sent it without success
	recipeAttempts = "_redrive_attempts"     // the same, of config/redrive.yaml
	fallbackError  = "fallback_error"        // of the output fallback of Benthos
	inputTimestamp = "kafka_timestamp_ms"    // of Benthos' inputs for Kafka
)

// noClass is the class of records that are no dead letters of kafka_guarded.
const noClass = "none"

// noTime is a timestamp that is not known. Those before 1970 are negative.
const noTime = math.MinInt64

// place is where a letter is in its source.
type place struct {
	part   string // TOPIC/PARTITION, or the path of a file
	offset int64  // the offset, or the number of the letter in the file, from 1
}

func (p place) String() string { return p.part + ":" + strconv.FormatInt(p.offset, 10) }

// Letter is a dead letter. Its bytes are in a buffer of the source, and change with the
// next letter: see keep.
type Letter struct {
	at   place
	meta []kgo.RecordHeader // all metadata, those of the record included
	body []byte             // nil for a null value

	class, topic []byte
	err          []byte
	key          []byte // nil for none
	partition    int32  // -1 if not known
	bytes, limit int    // if size decided
	attempts     int
	failedAt     time.Time
	timestamp    int64 // of the record in milliseconds, noTime if not known
	recordTime   time.Time
}

// newLetter reads the metadata of a letter. recordTime is the time of a topic's record,
// zero for a file.
func newLetter(at place, meta []kgo.RecordHeader, body []byte, recordTime time.Time) Letter {
	l := Letter{at: at, meta: meta, body: body, partition: -1, timestamp: noTime, recordTime: recordTime}
	var fallback []byte
	inputTime := int64(noTime)
	for i := range meta {
		value := meta[i].Value
		if value == nil {
			value = []byte{} // a header without a value
		}
		switch meta[i].Key {
		case metaClass:
			l.class = value
		case metaError:
			l.err = value
		case metaTopic:
			l.topic = value
		case metaKey:
			l.key = value
		case metaPartition:
			l.partition = int32(number(value, -1))
		case metaBytes:
			l.bytes = int(number(value, 0))
		case metaLimit:
			l.limit = int(number(value, 0))
		case metaAttempts, recipeAttempts:
			l.attempts = max(l.attempts, int(number(value, 0)))
		case metaFailedAt:
			l.failedAt, _ = time.Parse(time.RFC3339, string(value))
		case metaNull:
			if string(value) == "true" {
				l.body = nil
			}
		case metaTimestamp:
			l.timestamp = number(value, noTime)
		case inputTimestamp:
			inputTime = number(value, noTime)
		case fallbackError:
			fallback = value
		}
	}
	if l.err == nil {
		l.err = fallback
	}
	if l.class == nil {
		l.class = classOf(l.err)
	}
	switch {
	case l.timestamp != noTime:
	case !recordTime.IsZero() && recordTime.UnixMilli() != -1: // which is Kafka's "none"
		// The output writes dead letters with the timestamp of the config, which in our
		// configs is the record's own.
		l.timestamp = recordTime.UnixMilli()
	case inputTime >= 0: // Benthos has -1 for none
		l.timestamp = inputTime
	case !l.failedAt.IsZero():
		l.timestamp = l.failedAt.UnixMilli()
	}
	return l
}

func number(text []byte, otherwise int64) int64 {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// classOf returns the class at the beginning of an error text, nil if there is none.
func classOf(text []byte) []byte {
	if name, _, ok := bytes.Cut(text, []byte(":")); ok {
		if _, err := guard.ParseClass(string(name)); err == nil {
			return name
		}
	}
	return nil
}

// time is when the letter failed, if known.
func (l *Letter) time() time.Time {
	if l.failedAt.IsZero() {
		return l.recordTime
	}
	return l.failedAt
}

// size is the size of the content in bytes.
func (l *Letter) size() int {
	n := len(l.body) + len(l.key)
	for i := range l.meta {
		if !own(l.meta[i].Key) {
			n += len(l.meta[i].Key) + len(l.meta[i].Value)
		}
	}
	return n
}

// keep returns a copy that does not change with the next letter.
func (l Letter) keep() *Letter {
	if l.body != nil {
		l.body = append([]byte{}, l.body...)
	}
	meta := make([]kgo.RecordHeader, len(l.meta))
	for i, m := range l.meta {
		meta[i] = kgo.RecordHeader{Key: m.Key, Value: slices.Clone(m.Value)}
	}
	kept := newLetter(l.at, meta, l.body, l.recordTime)
	if kept.key == nil {
		kept.key = slices.Clone(l.key)
	}
	return &kept
}

// headers returns the names of the record's headers. If the letter does not list them,
// they are all metadata but the letter's own. In a file two kinds are left out:
// metadata by which Benthos' inputs say where a message came from, and names that begin
// with an underscore, which outputs leave out by convention.
func (l *Letter) headers() map[string]bool {
	names := map[string]bool{}
	for _, h := range l.meta {
		if h.Key == metaHeaders {
			var listed []string
			if json.Unmarshal(h.Value, &listed) == nil {
				clear(names)
				for _, h := range l.meta {
					// JSON has U+FFFD for each byte that is no UTF-8.
					if slices.Contains(listed, string([]rune(h.Key))) {
						names[h.Key] = true
					}
				}
				return names
			}
		}
		guessed := l.recordTime.IsZero() && (strings.HasPrefix(h.Key, "kafka_") || strings.HasPrefix(h.Key, "_"))
		if !own(h.Key) && h.Key != fallbackError && !guessed {
			names[h.Key] = true
		}
	}
	return names
}

// own reports whether metadata is about the letter, and no header of the record.
func own(name string) bool { return strings.HasPrefix(name, metaPrefix) || name == recipeAttempts }

// message is the letter as a message for Bloblang.
func (l *Letter) message() *service.Message {
	content := l.body
	if content == nil {
		content = []byte{}
	}
	m := service.NewMessage(content)
	for _, h := range l.meta {
		m.MetaSetMut(h.Key, string(h.Value))
	}
	if l.body == nil {
		m.MetaSetMut(metaNull, "true")
	}
	if _, has := m.MetaGet(metaClass); !has && l.class != nil {
		m.MetaSetMut(metaClass, string(l.class))
	}
	return m
}

func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "�")
}

// packed is the metadata of the letter for a file. It adds what a topic's record has in
// its value or timestamp.
func (l *Letter) packed() []kgo.RecordHeader {
	meta := slices.Clone(l.meta)
	has := func(name string) bool {
		return slices.ContainsFunc(meta, func(h kgo.RecordHeader) bool { return h.Key == name })
	}
	if l.body == nil && !has(metaNull) {
		meta = append(meta, kgo.RecordHeader{Key: metaNull, Value: []byte("true")})
	}
	if l.timestamp != noTime && !has(metaTimestamp) {
		meta = append(meta, kgo.RecordHeader{Key: metaTimestamp, Value: strconv.AppendInt(nil, l.timestamp, 10)})
	}
	return meta
}
