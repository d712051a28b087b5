// Package limits has the limits of each topic: reported limits are in the topic's configs,
// learned limits come from the answers to Produce requests.
//
// A reported limit rejects a record locally only if it is fresh and confirmed:
//
//	fresh       it was read within the last second (cache.go)
//	confirmed   a record that exceeds the limit by as much or less was sent alone, and the
//	            broker rejected it with a code that fits the limit (confirmed.go)
//
// Some gateways report the configs of another topic. So the first record that exceeds a
// limit is sent alone. If the broker acks it, that limit rejects no record until another
// value is reported.
//
// Learned limits bound the size of batches, also where no limits are reported
// (learned.go).
package limits

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// Own are the limits of the client.
type Own struct {
	MaxMessageBytes  int // 0: none
	MaxRequestBytes  int
	MaxBufferedBytes int    // 0: none
	Codec            string // as in compression.type
}

// DefaultMaxMessageBytes is the size in bytes of the largest batch for a topic whose limits
// are not known, if Own has none either.
const DefaultMaxMessageBytes = 1 << 20

// MinMaxMessageBytes is the smallest batch size.
const MinMaxMessageBytes = 512

// Fresh is the largest age of reported limits that reject a record.
const Fresh = time.Second

// Config is what Limits needs.
type Config struct {
	Own
	Client *kgo.Client
	Life   context.Context // ends with the owner
	MaxAge time.Duration   // of reported limits, see guard.Config.RulesMaxAge
	Ignore bool            // read no topic configs
	// Changed is called with the reported limits of a topic. old is nil the first time,
	// now is nil when the topic is forgotten. Differs is called when the broker
	// accepted a record that a reported limit rejects. Both are called without locks.
	Changed func(old, now *Rules)
	Differs func(Difference)
	// Metadata is called with the metadata of a topic, and keeps it.
	Metadata func(*kmsg.MetadataResponseTopic)
	// Forget is called with a topic that is not used any more. It returns false if it
	// is.
	Forget func(topic string) bool
}

// Limits has the limits of all topics in use.
type Limits struct {
	own      Own
	reported cache
	learned  allLearned
	differs  func(Difference)
}

// New returns Limits that know of no topic.
func New(c Config) *Limits {
	l := &Limits{own: c.Own, differs: c.Differs}
	l.learned.topics, l.learned.keyless = map[string]map[int32]*learned{}, map[string]time.Time{}
	l.reported = cache{
		client: c.Client, life: c.Life, maxAge: c.MaxAge, disabled: c.Ignore, changed: c.Changed, metadata: c.Metadata,
		forget: func(topic string) bool {
			if !c.Forget(topic) {
				return false
			}
			l.learned.forget(topic)
			return true
		},
		silent: map[int32]time.Time{},
	}
	return l
}

// Learn waits for the reported limits of topics that are used for the first time. It
// starts a new reading of old limits.
func (l *Limits) Learn(ctx context.Context, topics []string) { l.reported.learn(ctx, topics) }

// Refresh waits for limits that are at most a second old, of all leaders of the topics.
func (l *Limits) Refresh(ctx context.Context, topics []string) { l.reported.refresh(ctx, topics) }

// MayReject reports whether a limit may reject the record, by what is known without
// asking.
func (l *Limits) MayReject(r Record) bool { return l.check(r, l.Of(r.Topic).mildest()) != nil }

// Rejecting returns for each record the limit that rejects it, nil for none. It reads
// limits again first, so they are fresh. They may be unconfirmed.
func (l *Limits) Rejecting(ctx context.Context, records []Record) []*Violation {
	var topics []string
	for _, r := range records {
		if !slices.Contains(topics, r.Topic) {
			topics = append(topics, r.Topic)
		}
	}
	asked := time.Now()
	l.Refresh(ctx, topics)
	found := make([]*Violation, len(records))
	for i, r := range records {
		found[i] = l.rejecting(r, asked)
	}
	return found
}

// rejecting returns the limit that rejects a record, if it was read at most a second
// before at. If the cluster did not answer, its limits may have changed.
func (l *Limits) rejecting(r Record, at time.Time) *Violation {
	rules := l.Of(r.Topic)
	v := l.check(r, rules.strict())
	if v != nil && !v.Own && rules.read.Before(at.Add(-Fresh)) {
		return nil
	}
	return v
}

// Rejects returns the fresh and confirmed limit that rejects a record. It reads
// nothing.
func (l *Limits) Rejects(r Record) *Violation {
	if v := l.rejecting(r, time.Now()); v != nil && v.Confirmed() {
		return v
	}
	return nil
}

// Lately returns the limit that rejects a record, as read within the last minute:
// behind large requests on a slow network, reading limits may take that long.
func (l *Limits) Lately(r Record) *Violation {
	return l.rejecting(r, time.Now().Add(Fresh-claimAge))
}

// Of returns what is reported of a topic.
func (l *Limits) Of(topic string) *Rules { return l.reported.of(topic) }

// batch returns the size of the largest batch to send to a topic, and the name of the limit.
func (l *Limits) batch(rules *Rules) (limit int, name string) {
	limit, name = l.own.MaxMessageBytes, OwnMaxMessageBytes
	if topic, of := rules.limit(); topic > 0 && (limit == 0 || topic < limit) {
		limit, name = topic, of
	} else if limit == 0 {
		limit = DefaultMaxMessageBytes
	}
	if most := l.own.MaxRequestBytes - requestOverhead; most < limit {
		limit, name = most, ownMaxRequestBytes
	}
	return limit, name
}

// friendlyBatch is the largest size of batches for topics that accept more. Many
// endpoints close the connection on requests over a megabyte.
const friendlyBatch = 960_000

// MaxBatch returns the largest size of batches for a leader, and the size from which on
// records get a batch of their own.
func (l *Limits) MaxBatch(topic string, leader int32) (batch, single int) {
	rules := l.Of(topic)
	limit, _ := l.batch(rules)
	batch = min(limit, friendlyBatch)
	most, single := l.learned.of(topic, leader).batch()
	if rules.Known && l.own.Codec != uncompressed {
		// Alone it may be sent uncompressed. Then its size is not compared with this
		// limit.
		single = min(single, rules.DecompressedBytes+batchOverhead)
	}
	if most > 0 {
		batch = min(batch, most)
	}
	return batch, single
}

// Special returns how to send a record, by what was learned of its topic: in a batch of
// its own, or in a batch without keys.
func (l *Limits) Special(r Record) (single, apart bool) {
	switch {
	case !l.learned.any.Load(): // the usual case
		return false, false
	case r.Size >= l.learned.single(r.Topic):
		return true, false
	default:
		return false, r.Key == nil && l.learned.needsKey(r.Topic) && !l.Of(r.Topic).Known
	}
}

// Acked learns from an acked batch: its topic, leader, size as sent, and the raw size
// of its record if it has only one.
func (l *Limits) Acked(topic string, leader int32, sent, raw int) {
	l.learned.of(topic, leader).acked(sent, raw)
}

// Rejected learns from a batch that was rejected for its size, unless the reported
// limit explains that. It was compressed from raw bytes to sent ones. alone is set if its
// request had no other batch: otherwise a gateway may have rejected all batches for one.
func (l *Limits) Rejected(topic string, leader int32, sent, raw int, alone bool) {
	if limit, _ := l.Of(topic).limit(); limit > 0 && sent > limit {
		return
	}
	l.learned.of(topic, leader).tooLarge(sent, raw, alone)
}

// Taken returns the size of the largest batch that a leader acked, 0 for none.
func (l *Limits) Taken(topic string, leader int32) int {
	k := l.learned.of(topic, leader)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.taken
}

// RejectedAlone learns from a record that was rejected for its size, alone in its
// request. It reports whether the size is new, and the topic's limits are not reported.
func (l *Limits) RejectedAlone(r Record, leader int32, a Rejection) (news bool) {
	a.raw = r.Size
	a.shrinks = l.own.Codec == uncompressed && shrinks(r.Record, r.Size)
	news = l.learned.of(r.Topic, leader).rejectedAlone(a)
	l.learned.any.Store(true)
	return news && !l.Of(r.Topic).Known
}

// NeedsKey enters that a topic accepts no record without a key.
func (l *Limits) NeedsKey(topic string) {
	if !l.Of(topic).Known {
		l.learned.setKeyless(topic)
	}
}

// TooLarge returns why a record is not sent that may be too large: one that is no larger was
// rejected alone by the same leader within the last second, and what a broker may do to
// either does not turn that round. It returns nil otherwise.
//
// Sizes as sent are compared, for these are what the broker looks at first, and raw sizes,
// for the broker may store a batch uncompressed. Where it compresses anew, the smaller one
// may have been rejected for what became of it: then the larger one must be larger as sent
// than the smaller one can have become. That is no larger than it was if it was sent as it
// is and shrinks.
func (l *Limits) TooLarge(r Record, leader int32) *code.Reason {
	seen := l.learned.of(r.Topic, leader).proof(r.Size)
	if seen == nil {
		return nil
	}
	sent := r.Sent()
	rules := l.Of(r.Topic).strict()
	asIs := rules.Known && (rules.Compression == "producer" || rules.Compression == uncompressed || rules.Compression == "none") ||
		!rules.Known && seen.shrinks
	least := seen.Sent
	if !asIs {
		least = seen.raw + seen.raw/6 + 64
	}
	if sent < least {
		return nil
	}
	return l.Observed(r, sent, seen.Code, seen.Limit)
}

// Observed returns the reason for a record that the broker rejected for its size. The
// text has the reported limit only if that explains the rejection.
func (l *Limits) Observed(r Record, sent int, c int16, told int) *code.Reason {
	v := &code.Reason{Class: code.SizeExceeded, Bytes: sent, LimitName: MaxMessageBytes, Limit: told, Cause: code.Error(c)}
	if code.AboutSegment(c) {
		v.LimitName = SegmentBytes
	}
	rules := l.Of(r.Topic)
	if limit, name := rules.strict().limit(); limit > 0 && sent > limit {
		v.LimitName, v.Limit = name, limit
	} else if limit > 0 && told == 0 {
		v.LimitName = observedLimit(name, limit)
	}
	return v
}
