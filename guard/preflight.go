package guard

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The names of limits in failure texts: those of the config fields.
const (
	limitMaxMessageBytes     = "max_message_bytes"
	limitMaxBufferedBytes    = "max_buffered_bytes"
	limitBrokerWriteMaxBytes = "what broker_write_max_bytes leaves for a batch"
)

// requestOverhead is the most that a produce request with a single batch adds
// to that batch, client ID and topic name at their longest.
const requestOverhead = 512

// preflight judges a record without asking anybody: it returns a failure for
// what no request is needed to refuse, else nil, and the record's raw size.
func (g *Guard) preflight(r *kgo.Record) (size int, f *Failure) {
	if r == nil {
		return 0, &Failure{Class: InvalidRecord, Partition: -1, Problem: "the record is nil"}
	}
	if r.Topic == "" || g.settings.defaultTopicAlways {
		r.Topic = g.settings.defaultTopic
	}
	if !legalTopic(r.Topic) {
		return 0, &Failure{Class: Unroutable, Topic: r.Topic, Partition: -1, Problem: illegalTopic(r.Topic)}
	}
	size = rawSize(r)
	if limit, name := g.limit(); size > limit {
		f = &Failure{Class: SizeExceeded, Topic: r.Topic, Partition: -1, Bytes: size, Limit: limit, LimitName: name}
	}
	if limit := g.settings.maxBufferedBytes; limit > 0 {
		// When both limits are exceeded, the lower one is the one to raise
		// first.
		if n := bufferedSize(r); n > limit && (f == nil || limit < f.Limit) {
			f = &Failure{Class: SizeExceeded, Topic: r.Topic, Partition: -1, Bytes: n, Limit: limit, LimitName: limitMaxBufferedBytes}
		}
	}
	return size, f
}

// limit returns the largest batch that this client sends, and whose limit that
// is.
func (g *Guard) limit() (int, string) {
	if most := g.settings.maxRequestBytes - requestOverhead; most < g.config.MaxMessageBytes {
		return most, limitBrokerWriteMaxBytes
	}
	return g.config.MaxMessageBytes, limitMaxMessageBytes
}

// maxTopicLength is the longest topic name that Kafka takes.
const maxTopicLength = 249

// legalTopic reports whether Kafka would take the name: 1 to 249 of the
// characters a-z, A-Z, 0-9, '.', '_' and '-', but not "." or "..".
func legalTopic(topic string) bool {
	if topic == "" || topic == "." || topic == ".." || len(topic) > maxTopicLength {
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

// illegalTopic says what is wrong with a name that legalTopic refuses.
func illegalTopic(topic string) string {
	switch {
	case topic == "":
		return "the topic name is empty"
	case len(topic) > maxTopicLength:
		return fmt.Sprintf("illegal topic name: %d characters, Kafka takes at most %d", len(topic), maxTopicLength)
	default:
		return "illegal topic name: Kafka takes letters, digits, '.', '_' and '-', but not '.' or '..' alone"
	}
}
