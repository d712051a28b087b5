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

// The names of limits in failure texts: the config fields, and the topics' configs.
const (
	OwnMaxMessageBytes  = "max_message_bytes"
	OwnMaxBufferedBytes = "max_buffered_bytes"
	ownMaxRequestBytes  = "what broker_write_max_bytes leaves for a batch"
	MaxMessageBytes     = "the topic's max.message.bytes"
	SegmentBytes        = "the topic's segment.bytes"
	decompressedBytes   = "the topic's max.decompressed.message.bytes"
)

// observedLimit names the limit of a record that the broker rejected although it is within
// the reported one. Gateways that encrypt add to a record, for example.
func observedLimit(name string, reported int) string {
	return fmt.Sprintf("what the broker takes, as observed: %s is %d as reported by the cluster", name, reported)
}

// uncompressed is the codec of a client that does not compress.
const uncompressed = "uncompressed"

// requestOverhead is the most that a produce request with a single batch adds
// to that batch, client ID and topic name at their longest.
const requestOverhead = 512

// Record is a record to be checked.
type Record struct {
	*kgo.Record
	Size      int  // of an uncompressed batch with this record alone
	Unstamped bool // it gets its timestamp when it is sent
	// Sent returns the size of a batch that holds the record alone as it is sent:
	// compressed as the client does, if that is smaller. The first codec that the client
	// prefers is taken: a broker that does not know it gets another.
	Sent func() int
}

// Violation is a limit that rejects a record.
type Violation struct {
	code.Reason
	Kind Kind
	Own  bool // a limit of the client rejects the record, which needs no word of the cluster

	topic, config string
	claims        *claims
	// bound is the limit, and measure by how much the record is over it: the least
	// measure that was rejected decides for all larger ones.
	bound, measure int64
}

// check returns the limit that rejects a record, nil for none: what the client would not
// send, and what the broker would reject. Where it can't be sure, it lets the record pass.
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
		return nil // it is stamped when it is sent
	}
	if v := l.checkNegative(r, rules); v != nil {
		return v
	}
	return checkTimestamp(r, rules)
}

// invalid returns a violation of a reported limit by what is in the record.
func (r *Rules) invalid(k Kind, config string, measure int64, problem string) *Violation {
	return &Violation{Reason: code.Reason{Class: code.InvalidRecord, Problem: problem}, Kind: k, topic: r.Topic, config: config, claims: r.claims, bound: r.bound(k), measure: measure}
}

// tooLarge returns a violation of a reported limit by the record's size.
func (r *Rules) tooLarge(k Kind, bytes, limit int, name, config string) *Violation {
	return &Violation{Reason: code.Reason{Class: code.SizeExceeded, Bytes: bytes, Limit: limit, LimitName: name}, Kind: k, topic: r.Topic, config: config, claims: r.claims, bound: r.bound(k), measure: int64(bytes)}
}

// ownLimit returns a violation of a limit of the client.
func ownLimit(bytes, limit int, name string) *Violation {
	return &Violation{Own: true, Reason: code.Reason{Class: code.SizeExceeded, Bytes: bytes, Limit: limit, LimitName: name}}
}

// Harmless returns a quick test that is true of nearly all records of a topic: MayReject is
// false for them.
func (l *Limits) Harmless(topic string) func(r *kgo.Record, size int) bool {
	rules := l.Of(topic).mildest()
	limit, _ := l.batch(rules)
	if most := l.own.MaxBufferedBytes; most > 0 {
		limit = min(limit, most) // a size is never less than what is buffered
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
			// When several limits are exceeded, the text has the lowest, which is the one to raise
			// first. If that is the topic's, the record is not sent to confirm it: the client
			// can't send it, and would wait for ever until the buffer has room.
			v.Own = true
		}
	}
	// Requests are made by sizes before compression.
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
	// The broker compares what is sent, unless it stores it in a codec of its own.
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

// clockMargin is by how much our clock, and the time that a record is under way,
// may differ from what the leader makes of it. Within the margin the leader is
// left to decide.
const clockMargin = 5 * time.Minute

// sendable reports whether Kafka's clients can carry a time: Java's and kgo's count it in
// milliseconds, but kgo reads what it consumes in nanoseconds.
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

// recompressed reports whether the broker is sure to compress anew whatever it is
// sent for a topic.
func (l *Limits) recompressed(rules *Rules) bool {
	switch rules.Compression {
	case "gzip", "snappy", "lz4", "zstd":
		return rules.Compression != l.own.Codec && rules.claims.believes(Negative)
	default:
		return false
	}
}

// checkNegative: Kafka takes times before 1970, but can't compress them anew,
// and answers UNKNOWN_SERVER_ERROR.
func (l *Limits) checkNegative(r Record, rules *Rules) *Violation {
	if ms := r.Timestamp.UnixMilli(); r.Timestamp.IsZero() || ms >= -1 || !l.recompressed(rules) {
		return nil
	}
	return rules.invalid(Negative, "compression.type", 0, fmt.Sprintf("timestamp %s is before 1970, which a broker that compresses anew can't store (compression.type %s)", r.Timestamp.UTC().Format(time.RFC3339), rules.Compression))
}

func checkTimestamp(r Record, rules *Rules) *Violation {
	ms := r.Timestamp.UnixMilli()         // as it is sent
	if r.Timestamp.IsZero() || ms == -1 { // now; Kafka's "none"
		return nil
	}
	off := time.Now().UnixMilli() - ms // of the past
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

// recordLength returns the length of a record in a batch, without what says its length, by
// the size of a batch with this record alone.
func recordLength(size int) int {
	n := size - batchOverhead
	return n - kbin.VarintLen(int32(n-kbin.VarintLen(int32(n))))
}

// batchOverhead is the size of a record batch without its records.
const batchOverhead = 61

// BufferedSize returns what r counts against max_buffered_bytes: keys, values and headers, as
// kgo counts them.
func BufferedSize(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// shrinks reports whether every codec makes a record of that size smaller, whatever its
// level: the one that makes the least of it halves it.
func shrinks(r *kgo.Record, size int) bool {
	compressed, codec := weakest.Compress(new(bytes.Buffer), r.Value)
	return codec == kgo.CodecSnappy && len(r.Value)-len(compressed) > size/2
}

var weakest, _ = kgo.DefaultCompressor(kgo.SnappyCompression())
