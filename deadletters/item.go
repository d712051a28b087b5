package deadletters

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Metadata for the output that writes items. The names begin with a byte that no
// header's name begins with, so no header is mistaken for one.
const (
	control          = "\x00"
	controlID        = control + "id"
	controlTopic     = control + "topic"
	controlKey       = control + "key"
	controlNullKey   = control + "null_key"
	controlNull      = control + "null"
	controlPartition = control + "partition"
	controlTimestamp = control + "timestamp"
)

// item is a letter that is being sent.
type item struct {
	letter  *Letter
	perhaps int64 // how often killed runs may have sent it
	content []byte
	record  recordOf
	fate    fate
}

// recordOf is the record that a letter becomes, without its content.
type recordOf struct {
	topic     string
	key       []byte // nil for none
	null      bool
	partition int32 // -1 for the partitioner to choose
	timestamp int64 // noTime for now
	headers   []kgo.RecordHeader
}

// fate is the outcome of a letter.
type fate struct {
	kind         kind
	topic        string
	partition    int32
	offset       int64
	class, err   string
	bytes, limit string // of a failure for size
}

type kind int

const (
	unknown     kind = iota // no outcome yet
	delivered               // acknowledged
	failedAgain             // not written for certain
	dropped                 // by the mapping
)

// prepare makes an item of a letter. If the mapping fails for it, that is its failure,
// without the error, which may quote the content.
func prepare(l *Letter, mapping *bloblang.Executor) *item {
	it := &item{letter: l, fate: fate{partition: -1, offset: -1}}
	m := l.message()
	if mapping != nil {
		mapped, err := service.MessageBatch{m}.BloblangExecutor(mapping).Query(0)
		switch {
		case err != nil:
			it.fate.kind, it.fate.class, it.fate.err = failedAgain, string(l.class), "the mapping fails for this letter"
			return it
		case mapped == nil:
			it.fate.kind = dropped
			return it
		}
		m = mapped
	}
	content, err := m.AsBytes()
	if err != nil {
		it.fate.kind, it.fate.class, it.fate.err = failedAgain, string(l.class), "the mapping gives nothing that can be written"
		return it
	}
	it.content = content
	it.record = read(m, content, l.isHeader())
	if it.record.topic == "" {
		it.fate.kind, it.fate.class, it.fate.err = failedAgain, "unroutable", "unroutable: the letter does not say which topic it was for: have --mapping set kafka_guarded_topic"
		return it
	}
	// The letter's partition belongs to its old topic and key.
	if r := &it.record; r.partition == l.partition && (r.topic != string(l.topic) || string(r.key) != string(l.key)) {
		r.partition = -1
	}
	if it.record.timestamp == noTime {
		it.record.timestamp = l.timestamp
	}
	return it
}

// isHeader returns a function that tells which metadata of the letter are headers,
// after a mapping: those of the record, and new ones of the mapping.
func (l *Letter) isHeader() func(name string) bool {
	headers, before := l.headers(), map[string]bool{}
	for _, h := range l.meta {
		before[h.Key] = true
	}
	return func(name string) bool {
		return headers[name] || !own(name) && !before[name]
	}
}

// read returns the record that the metadata of a letter describe.
func read(m *service.Message, content []byte, isHeader func(string) bool) recordOf {
	r := recordOf{partition: -1, timestamp: noTime}
	_ = m.MetaWalk(func(name, value string) error {
		switch name {
		case metaTopic:
			r.topic = value
		case metaKey:
			r.key = []byte(value)
		case metaNull:
			r.null = value == "true" && len(content) == 0
		case metaPartition:
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 && n <= math.MaxInt32 {
				r.partition = int32(n)
			}
		case metaTimestamp:
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				r.timestamp = n
			}
		default:
			if isHeader(name) {
				r.headers = append(r.headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
			}
		}
		return nil
	})
	return r
}

// message is the message that the output makes the record of.
func (r *recordOf) message(id int, content []byte) *service.Message {
	m := service.NewMessage(content)
	for _, h := range r.headers {
		if !strings.HasPrefix(h.Key, control) {
			m.MetaSetMut(h.Key, string(h.Value))
		}
	}
	m.MetaSetMut(controlID, strconv.Itoa(id))
	m.MetaSetMut(controlTopic, r.topic)
	m.MetaSetMut(controlKey, string(r.key))
	m.MetaSetMut(controlNullKey, r.key == nil)
	m.MetaSetMut(controlNull, r.null)
	m.MetaSetMut(controlPartition, strconv.Itoa(int(r.partition)))
	at := r.timestamp
	if at == noTime {
		at = time.Now().UnixMilli()
	}
	m.MetaSetMut(controlTimestamp, strconv.FormatInt(at, 10))
	return m
}

// again is the letter that a failed item becomes: the old one, with the new reason.
func (it *item) again(now time.Time) []kgo.RecordHeader {
	l, f := it.letter, it.fate
	replaced := map[string]string{
		metaClass: f.class, metaError: f.err, metaFailedAt: now.UTC().Format(time.RFC3339),
		metaBytes: f.bytes, metaLimit: f.limit, metaAttempts: strconv.Itoa(l.attempts + 1),
	}
	var meta []kgo.RecordHeader
	for _, h := range l.packed() {
		if _, is := replaced[h.Key]; !is && h.Key != recipeAttempts {
			meta = append(meta, h)
		}
	}
	for _, name := range []string{metaAttempts, metaBytes, metaClass, metaError, metaFailedAt, metaLimit} {
		if replaced[name] != "" {
			meta = append(meta, kgo.RecordHeader{Key: name, Value: []byte(replaced[name])})
		}
	}
	return meta
}
