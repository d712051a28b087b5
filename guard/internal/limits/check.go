package limits

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// The names of limits in failure texts: config fields, and configs of topics.
const (
	OwnMaxMessageBytes  = "max_message_bytes"
	OwnMaxBufferedBytes = "max_buffered_bytes"
	ownMaxRequestBytes  = "what broker_write_max_bytes leaves for a batch"
	MaxMessageBytes     = "the topic's max.message.bytes"
	SegmentBytes        = "the topic's segment.bytes"
	decompressedBytes   = "the topic's max.decompressed.message.bytes"
)

// observedLimit is the limit in the text for a record that the broker rejected although
// it is within the reported limit. Gateways that encrypt make records larger, for
// example.
func observedLimit(name string, reported int) string {
	return fmt.Sprintf("what the broker takes, as observed: %s is %d as reported by the cluster", name, reported)
}

// uncompressed is the codec of a client that does not compress.
const uncompressed = "uncompressed"

// requestOverhead is the most that a produce request with one batch adds to the batch,
// with the longest client ID and topic name.
const requestOverhead = 512

// Record is a record to be checked.
type Record struct {
	*kgo.Record
	Size      int  // of an uncompressed batch with only this record
	Unstamped bool // its timestamp is set when it is sent
	// Sent returns the size of a batch with only this record, as sent: compressed if
	// that is smaller. It uses the codec that the client prefers. A broker that does
	// not know that codec gets another.
	Sent func() int
}

// Violation is a limit that a record exceeds.
type Violation struct {
	code.Reason
	Kind Kind
	Own  bool // a limit of the client rejects the record, which needs no confirmation

	topic, config string
	claims        *claims
	// bound is the limit, and measure is by how much the record exceeds it. A rejection
	// decides for all records with a larger measure.
	bound, measure int64
}

// check returns the limit that rejects a record, nil for none: a limit of the client,
// or one of the broker. If it is not sure, the record passes.
func (l *Limits) check(r Record, rules *Rules) *Violation {
	if v := l.checkSize(r, rules); v != nil {
		return v
	}
	if v := checkSendable(r); v != nil || !rules.Known {
		return v
	}
	if rules.Compacted && r.Key == nil && rules.claims.believes(Key) {
		return rules.invalid(Key, "cleanup.policy", 0, "no key, and the topic is compacted (cleanup.policy)")
	}
	if r.Unstamped {
		return nil // it is stamped later
	}
	if v := l.checkNegative(r, rules); v != nil {
		return v
	}
	return checkTimestamp(r, rules)
}

// invalid returns a violation of a reported limit on the record's content.
func (r *Rules) invalid(k Kind, config string, measure int64, problem string) *Violation {
	return &Violation{Reason: code.Reason{Class: code.InvalidRecord, Problem: problem}, Kind: k, topic: r.Topic, config: config, claims: r.claims, bound: r.bound(k), measure: measure}
}

// tooLarge returns a violation of a reported limit on the record's size.
func (r *Rules) tooLarge(k Kind, bytes, limit int, name, config string) *Violation {
	return &Violation{Reason: code.Reason{Class: code.SizeExceeded, Bytes: bytes, Limit: limit, LimitName: name}, Kind: k, topic: r.Topic, config: config, claims: r.claims, bound: r.bound(k), measure: int64(bytes)}
}

// ownLimit returns a violation of a limit of the client.
func ownLimit(bytes, limit int, name string) *Violation {
	return &Violation{Own: true, Reason: code.Reason{Class: code.SizeExceeded, Bytes: bytes, Limit: limit, LimitName: name}}
}

// Harmless returns a quick test which is true for nearly all records of a topic. If it
// is true, MayReject is false.
func (l *Limits) Harmless(topic string) func(r *kgo.Record, size int) bool {
	rules := l.Of(topic).mildest()
	limit, _ := l.batch(rules)
	if most := l.own.MaxBufferedBytes; most > 0 {
		limit = min(limit, most) // a sent record is at least as large as a buffered one
	}
	if rules.Known && l.own.Codec != uncompressed {
		limit = min(limit, rules.DecompressedBytes)
	}
	anyKey := !rules.Known || !rules.Compacted || !rules.claims.believes(Key)
	anyTime := !rules.Known || rules.Before == math.MaxInt64 && rules.After == math.MaxInt64 && !l.recompressed(rules)
	return func(r *kgo.Record, size int) bool {
		return size <= limit && (anyKey || r.Key != nil) && (r.Timestamp.IsZero() || anyTime && sendable(r.Timestamp))
	}
}

func (l *Limits) checkSize(r Record, rules *Rules) *Violation {
	v := l.checkReportedSize(r, rules)
	own := func(bytes, limit int, name string) {
		switch {
		case limit <= 0 || bytes <= limit:
		case v == nil || limit < v.Limit:
			v = ownLimit(bytes, limit, name)
		default:
			// If several limits are exceeded, the text has the lowest, which is to be raised
			// first. If that is the topic's, the record is not sent to confirm it: the
			// client can't send it, and would wait for ever for room in the buffer.
			v.Own = true
		}
	}
	// The size of requests is computed before compression.
	own(r.Size, l.own.MaxRequestBytes-requestOverhead, ownMaxRequestBytes)
	if most := l.own.MaxBufferedBytes; most > 0 {
		own(BufferedSize(r.Record), most, OwnMaxBufferedBytes)
	}
	return v
}

func (l *Limits) checkReportedSize(r Record, rules *Rules) *Violation {
	limit, name := l.batch(rules)
	tooLong := rules.Known && l.own.Codec != uncompressed && r.Size > rules.DecompressedBytes
	if r.Size <= limit && !tooLong {
		return nil
	}
	// The broker compares the batch as sent, unless it compresses it anew.
	sent := r.Size
	if rules.Compression != uncompressed || tooLong {
		sent = r.Sent()
	}
	switch {
	case sent > limit && (name == MaxMessageBytes || name == SegmentBytes):
		return rules.tooLarge(Size, sent, limit, name, name[len("the topic's "):])
	case sent > limit:
		return ownLimit(sent, limit, name)
	case tooLong && sent < r.Size && rules.claims.believes(Decompressed):
		if n := recordLength(r.Size); n > rules.DecompressedBytes {
			return rules.tooLarge(Decompressed, n, rules.DecompressedBytes, decompressedBytes, "max.decompressed.message.bytes")
		}
	}
	return nil
}

// clockMargin is how far guard's clock and the leader's may be apart, with the time for
// sending. Within the margin the leader decides.
const clockMargin = 5 * time.Minute

// sendable reports whether a time is within the range of Kafka's clients. Java's and
// kgo's count milliseconds, but kgo reads consumed times as nanoseconds.
func sendable(t time.Time) bool { return !t.Before(earliest) && !t.After(latest) }

var (
	earliest = time.Unix(0, math.MinInt64).Add(time.Millisecond)
	latest   = time.Unix(0, math.MaxInt64).Add(-time.Millisecond)
)

func checkSendable(r Record) *Violation {
	if r.Unstamped || sendable(r.Timestamp) {
		return nil
	}
	return &Violation{Own: true, Reason: code.Reason{Class: code.InvalidRecord, Problem: fmt.Sprintf("the timestamp is of the year %d: those that can be sent are from %d to %d, so check its unit", r.Timestamp.UTC().Year(), earliest.UTC().Year(), latest.UTC().Year())}}
}

// recompressed reports whether the broker certainly compresses batches of a topic anew.
func (l *Limits) recompressed(rules *Rules) bool {
	switch rules.Compression {
	case "gzip", "snappy", "lz4", "zstd":
		return rules.Compression != l.own.Codec && rules.claims.believes(Negative)
	default:
		return false
	}
}

// checkNegative returns a violation for a time before 1970 if the broker would compress
// the record anew. Kafka accepts such times, but can't compress them: it answers
// UNKNOWN_SERVER_ERROR.
func (l *Limits) checkNegative(r Record, rules *Rules) *Violation {
	if ms := r.Timestamp.UnixMilli(); r.Timestamp.IsZero() || ms >= -1 || !l.recompressed(rules) {
		return nil
	}
	return rules.invalid(Negative, "compression.type", 0, fmt.Sprintf("timestamp %s is before 1970, which a broker that compresses anew can't store (compression.type %s)", r.Timestamp.UTC().Format(time.RFC3339), rules.Compression))
}

func checkTimestamp(r Record, rules *Rules) *Violation {
	ms := r.Timestamp.UnixMilli()         // as it is sent
	if r.Timestamp.IsZero() || ms == -1 { // the time of sending; Kafka's "none"
		return nil
	}
	off := time.Now().UnixMilli() - ms // positive for the past
	kind, bound, config, where := Older, rules.Before, "message.timestamp.before.max.ms", "older"
	if off < 0 {
		kind, bound, config, where = Newer, rules.After, "message.timestamp.after.max.ms", "further ahead"
		off = -off
	}
	if off-clockMargin.Milliseconds() <= bound || !rules.claims.believes(kind) {
		return nil
	}
	return rules.invalid(kind, config, off, fmt.Sprintf("timestamp %s is %s than the topic's %s (%d) allows", r.Timestamp.UTC().Format(time.RFC3339), where, config, bound))
}

// recordLength returns the length of a record without its length field, from the size
// of a batch with only this record.
func recordLength(size int) int {
	n := size - batchOverhead
	return n - kbin.VarintLen(int32(n-kbin.VarintLen(int32(n))))
}

// batchOverhead is the size of a record batch without its records.
const batchOverhead = 61

// BufferedSize returns the bytes of r for max_buffered_bytes: keys, values and headers,
// counted as kgo does.
func BufferedSize(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// shrinks reports whether every codec, at any level, makes a record of that size
// smaller: even the weakest one halves it.
func shrinks(r *kgo.Record, size int) bool {
	compressed, codec := weakest.Compress(new(bytes.Buffer), r.Value)
	return codec == kgo.CodecSnappy && len(r.Value)-len(compressed) > size/2
}

var weakest, _ = kgo.DefaultCompressor(kgo.SnappyCompression())
