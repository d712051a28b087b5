package guard

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
)

// The names of limits in failure texts: those of the config fields, and of the
// topics' properties.
const (
	limitMaxMessageBytes     = "max_message_bytes"
	limitMaxBufferedBytes    = "max_buffered_bytes"
	limitBrokerWriteMaxBytes = "what broker_write_max_bytes leaves for a batch"
	limitTopic               = "the topic's max.message.bytes"
	limitSegmentBytes        = "the topic's segment.bytes"
)

// ownLimit reports whether a failure is about a limit of the client, which needs no
// word of the cluster.
func ownLimit(f *Failure) bool {
	switch f.LimitName {
	case limitMaxMessageBytes, limitMaxBufferedBytes, limitBrokerWriteMaxBytes:
		return true
	default:
		return false
	}
}

// requestOverhead is the most that a produce request with a single batch adds
// to that batch, client ID and topic name at their longest.
const requestOverhead = 512

// preflightTopic judges what can be judged before the topic's rules are known:
// it gives the record its topic and returns a failure if that is no legal one. It
// is told of one that is.
func (g *Guard) preflightTopic(r *kgo.Record, legal string) *Failure {
	if r == nil {
		return &Failure{Class: InvalidRecord, Partition: -1, Problem: "the record is nil"}
	}
	if r.Topic == "" || g.settings.defaultTopicAlways {
		r.Topic = g.settings.defaultTopic
	}
	if (r.Topic != legal || legal == "") && CheckTopic(r.Topic) != nil {
		return &Failure{Class: Unroutable, Topic: r.Topic, Partition: -1, Problem: CheckTopic(r.Topic).Error()}
	}
	return nil
}

// preflight judges a record by its topic's rules and the client's own. It
// returns a failure for what the client would not send and for what the broker
// would refuse, else nil. Where it can't be sure, it lets the record pass.
func (g *Guard) preflight(r *producer.Record, rules *Rules) *Failure {
	raw := int(r.Size)
	if f := g.preflightSize(r, raw, rules); f != nil {
		return f
	}
	if f := preflightSendable(r); f != nil || !rules.Known {
		return f
	}
	if rules.Compacted && r.Key == nil {
		return &Failure{Class: InvalidRecord, Topic: r.Topic, Partition: -1, Problem: "no key, and the topic is compacted (cleanup.policy)"}
	}
	if r.Unstamped {
		return nil // it is stamped when it is sent
	}
	if f := g.preflightNegative(r.Record, rules); f != nil {
		return f
	}
	return preflightTimestamp(r.Record, rules)
}

// harmless returns a quick test that is true of nearly all records of the topic:
// of these there is nothing that preflight would look at.
func (g *Guard) harmless(rules *Rules) func(r *kgo.Record, raw int) bool {
	limit, _ := g.limit(rules)
	if most := g.settings.maxBufferedBytes; most > 0 {
		limit = min(limit, most) // raw is never less than what is buffered
	}
	anyKey := !rules.Known || !rules.Compacted
	anyTime := !rules.Known || rules.Before == math.MaxInt64 && rules.After == math.MaxInt64 && !g.recompressed(rules)
	return func(r *kgo.Record, raw int) bool {
		return raw <= limit && (anyKey || r.Key != nil) && (r.Timestamp.IsZero() || anyTime && sendable(r.Timestamp))
	}
}

func (g *Guard) preflightSize(r *producer.Record, raw int, rules *Rules) *Failure {
	var f *Failure
	if limit, name := g.limit(rules); raw > limit {
		// The broker compares what is sent, unless it stores it in a codec
		// of its own.
		sent := raw
		if rules.Compression != "uncompressed" {
			sent = g.sentSize(r)
		}
		if sent > limit {
			f = &Failure{Class: SizeExceeded, Topic: r.Topic, Partition: -1, Bytes: sent, Limit: limit, LimitName: name}
		}
	}
	if limit := g.settings.maxRequestBytes - requestOverhead; raw > limit && (f == nil || limit < f.Limit) {
		// Whatever compression makes of it: requests are made by raw sizes.
		f = &Failure{Class: SizeExceeded, Topic: r.Topic, Partition: -1, Bytes: raw, Limit: limit, LimitName: limitBrokerWriteMaxBytes}
	}
	if limit := g.settings.maxBufferedBytes; limit > 0 {
		// When both limits are exceeded, the lower one is the one to raise
		// first.
		if n := bufferedSize(r.Record); n > limit && (f == nil || limit < f.Limit) {
			f = &Failure{Class: SizeExceeded, Topic: r.Topic, Partition: -1, Bytes: n, Limit: limit, LimitName: limitMaxBufferedBytes}
		}
	}
	return f
}

// clockMargin is by how much our clock, and the time that a record is under way,
// may differ from what the leader makes of it. Within the margin the leader is
// left to judge.
const clockMargin = 5 * time.Minute

// sendable reports whether Kafka's clients can carry a time: Java's and kgo's count it in
// milliseconds, but kgo reads what it consumes in nanoseconds.
func sendable(t time.Time) bool { return !t.Before(earliest) && !t.After(latest) }

var (
	earliest = time.Unix(0, math.MinInt64).Add(time.Millisecond)
	latest   = time.Unix(0, math.MaxInt64).Add(-time.Millisecond)
)

func preflightSendable(r *producer.Record) *Failure {
	if r.Unstamped || sendable(r.Timestamp) {
		return nil
	}
	return &Failure{
		Class: InvalidRecord, Topic: r.Topic, Partition: -1,
		Problem: fmt.Sprintf("the timestamp is of the year %d: those that can be sent are from %d to %d, so check its unit", r.Timestamp.UTC().Year(), earliest.UTC().Year(), latest.UTC().Year()),
	}
}

// recompressed reports whether the broker is sure to compress anew whatever it is
// sent for a topic.
func (g *Guard) recompressed(rules *Rules) bool {
	switch rules.Compression {
	case "gzip", "snappy", "lz4", "zstd":
		return rules.Compression != g.settings.codec
	default:
		return false
	}
}

// preflightNegative: Kafka takes times before 1970, but can't compress them anew,
// and answers UNKNOWN_SERVER_ERROR.
func (g *Guard) preflightNegative(r *kgo.Record, rules *Rules) *Failure {
	if ms := r.Timestamp.UnixMilli(); r.Timestamp.IsZero() || ms >= -1 || !g.recompressed(rules) {
		return nil
	}
	return &Failure{
		Class: InvalidRecord, Topic: r.Topic, Partition: -1,
		Problem: fmt.Sprintf("timestamp %s is before 1970, which a broker that compresses anew can't store (compression.type %s)", r.Timestamp.UTC().Format(time.RFC3339), rules.Compression),
	}
}

func preflightTimestamp(r *kgo.Record, rules *Rules) *Failure {
	ms := r.Timestamp.UnixMilli()         // as kgo sends it
	if r.Timestamp.IsZero() || ms == -1 { // now; Kafka's "none"
		return nil
	}
	off := time.Now().UnixMilli() - ms // of the past
	var bound int64
	var name, where string
	switch margin := clockMargin.Milliseconds(); {
	case off > 0 && off-margin > rules.Before:
		bound, name, where = rules.Before, "message.timestamp.before.max.ms", "older"
	case off < 0 && -off-margin > rules.After:
		bound, name, where = rules.After, "message.timestamp.after.max.ms", "further ahead"
	default:
		return nil
	}
	return &Failure{
		Class: InvalidRecord, Topic: r.Topic, Partition: -1,
		Problem: fmt.Sprintf("timestamp %s is %s than the topic's %s (%d) allows", r.Timestamp.UTC().Format(time.RFC3339), where, name, bound),
	}
}

// limit returns the size of the largest batch to send to a topic, and whose
// limit that is.
func (g *Guard) limit(rules *Rules) (limit int, name string) {
	limit, name = g.config.MaxMessageBytes, limitMaxMessageBytes
	if topic, of := rules.limit(); topic > 0 && (limit == 0 || topic < limit) {
		limit, name = topic, of
	} else if limit == 0 {
		limit = defaultMaxMessageBytes
	}
	if most := g.settings.maxRequestBytes - requestOverhead; most < limit {
		limit, name = most, limitBrokerWriteMaxBytes
	}
	return limit, name
}

// maxTopicLength is the longest topic name that Kafka takes.
const maxTopicLength = 249

// CheckTopic returns nil for a name that Kafka takes: 1 to 249 of the characters
// a-z, A-Z, 0-9, '.', '_' and '-', but not "." or "..". The error of any other
// says what is wrong with it, and never quotes it: it may be part of a message.
func CheckTopic(name string) error {
	const takes = "illegal topic name: Kafka takes letters, digits, '.', '_' and '-', but not '.' or '..' alone"
	switch {
	case name == "":
		return errors.New("the topic name is empty")
	case len(name) > maxTopicLength:
		return fmt.Errorf("illegal topic name: %d characters, Kafka takes at most %d", len(name), maxTopicLength)
	case name == "." || name == "..":
		return errors.New(takes)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("%s: of its %d characters, number %d is none of these", takes, len(name), i+1)
		}
	}
	return nil
}
