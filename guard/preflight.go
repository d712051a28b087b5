package guard

import (
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
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
	if (r.Topic != legal || legal == "") && !LegalTopic(r.Topic) {
		return &Failure{Class: Unroutable, Topic: r.Topic, Partition: -1, Problem: illegalTopic(r.Topic)}
	}
	return nil
}

// preflight judges a record by its topic's rules and the client's own. It
// returns a failure for what the client would not send and for what the broker
// would refuse, else nil. Where it can't be sure, it lets the record pass.
func (g *Guard) preflight(r *kgo.Record, raw int, rules *Rules) *Failure {
	if f := g.preflightSize(r, raw, rules); f != nil {
		return f
	}
	if !rules.Known {
		return nil
	}
	if rules.Compacted && r.Key == nil {
		return &Failure{Class: InvalidRecord, Topic: r.Topic, Partition: -1, Problem: "no key, and the topic is compacted (cleanup.policy)"}
	}
	return preflightTimestamp(r, rules)
}

// harmless returns a quick test of whether preflight has nothing to look at in a
// record of the topic, as it has not in nearly all.
func (g *Guard) harmless(rules *Rules) func(r *kgo.Record, raw int) bool {
	limit, _ := g.limit(rules)
	if most := g.settings.maxBufferedBytes; most > 0 {
		limit = min(limit, most) // raw is never less than what is buffered
	}
	anyKey := !rules.Known || !rules.Compacted
	anyTime := !rules.Known || rules.Before == math.MaxInt64 && rules.After == math.MaxInt64
	return func(r *kgo.Record, raw int) bool {
		return raw <= limit && (anyKey || r.Key != nil) && (anyTime || r.Timestamp.IsZero())
	}
}

func (g *Guard) preflightSize(r *kgo.Record, raw int, rules *Rules) *Failure {
	var f *Failure
	if limit, name := g.limit(rules); raw > limit {
		// The broker compares what is sent, unless it stores it in a codec
		// of its own.
		sent := raw
		if rules.Compression != "uncompressed" {
			sent = g.settings.sentSize(r, raw)
		}
		if sent > limit {
			f = &Failure{Class: SizeExceeded, Topic: r.Topic, Partition: -1, Bytes: sent, Limit: limit, LimitName: name}
		}
	}
	if limit := g.settings.maxBufferedBytes; limit > 0 {
		// When both limits are exceeded, the lower one is the one to raise
		// first.
		if n := bufferedSize(r); n > limit && (f == nil || limit < f.Limit) {
			f = &Failure{Class: SizeExceeded, Topic: r.Topic, Partition: -1, Bytes: n, Limit: limit, LimitName: limitMaxBufferedBytes}
		}
	}
	return f
}

// clockMargin is by how much our clock, and the time that a record is under way,
// may differ from what the leader makes of it. Within the margin the leader is
// left to judge.
const clockMargin = 5 * time.Minute

func preflightTimestamp(r *kgo.Record, rules *Rules) *Failure {
	ms := r.Timestamp.UnixMilli()
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
		limit = DefaultMaxMessageBytes
	}
	if most := g.settings.maxRequestBytes - requestOverhead; most < limit {
		limit, name = most, limitBrokerWriteMaxBytes
	}
	return limit, name
}

// MaxTopicLength is the longest topic name that Kafka takes.
const MaxTopicLength = 249

// LegalTopic reports whether Kafka would take the name: 1 to 249 of the
// characters a-z, A-Z, 0-9, '.', '_' and '-', but not "." or "..".
func LegalTopic(topic string) bool {
	if topic == "" || topic == "." || topic == ".." || len(topic) > MaxTopicLength {
		return false
	}
	for i := range len(topic) {
		c := topic[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// illegalTopic says what is wrong with a name that LegalTopic refuses.
func illegalTopic(topic string) string {
	switch {
	case topic == "":
		return "the topic name is empty"
	case len(topic) > MaxTopicLength:
		return fmt.Sprintf("illegal topic name: %d characters, Kafka takes at most %d", len(topic), MaxTopicLength)
	default:
		return "illegal topic name: Kafka takes letters, digits, '.', '_' and '-', but not '.' or '..' alone"
	}
}
