package output

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// breakerConfig says when too many messages fail to be dead-lettered. The cause is then
// probably a wrong deploy upstream, or a limit that was lowered by mistake.
type breakerConfig struct {
	enabled  bool
	share    float64 // of the last messages for a topic that may fail for good
	messages int
	maxHold  time.Duration      // 0 for as long as it takes
	resume   *bloblang.Executor // nil if not configured
}

// breakerMessages is the largest breakerConfig.messages: each topic takes as many bytes.
const breakerMessages = 1_000_000

// breaker holds the failed messages of a topic while too many of its messages fail
// for good. They are written again until they pass, and are no dead letters.
type breaker struct {
	breakerConfig
	*holder
	classes []guard.Class // that fail for good
	notices *notices

	mu     sync.Mutex
	topics map[string]*outcomes
	swept  time.Time // when topics out of use were last forgotten
}

// A topic is forgotten after an hour without use, as package guard does.
const (
	forgetAfter = time.Hour
	sweepEvery  = time.Minute
)

// outcomes are the latest outcomes of a topic, as a ring. true is a failure.
type outcomes struct {
	ring         []bool
	next, failed int
	full         bool
	openSince    time.Time // zero while the breaker is closed
	told, used   time.Time
}

func newBreaker(c clientConfig, n *notices, m *metrics) *breaker {
	if !c.breaker.enabled {
		return nil
	}
	return &breaker{
		breakerConfig: c.breaker, holder: newHolder(fieldBreaker, c.guard.Retry, m),
		classes: c.guard.Permanent, notices: n, topics: map[string]*outcomes{},
	}
}

// hold holds the failed messages of such topics. It returns the messages that it still
// holds when ctx ends. They must not be dead-lettered.
func (b *breaker) hold(ctx context.Context, write writeFunc, records []*kgo.Record, verdicts []guard.Verdict) (held []int) {
	return b.holder.hold(ctx, write, records, verdicts, func(again []int) []int {
		b.count(records, verdicts, again)
		return b.held(records, verdicts)
	})
}

// topicOf is the topic by which a message is counted. Messages without a legal topic
// are counted together, as a share of all messages.
func topicOf(r *kgo.Record) string {
	if r == nil || guard.CheckTopic(r.Topic) != nil {
		return ""
	}
	return r.Topic
}

func (b *breaker) failed(v *guard.Verdict) bool {
	return v.Outcome == guard.NotWritten && slices.Contains(b.classes, v.Class)
}

// count adds the outcomes of a batch, or of held messages that were written again and
// have passed. A message that was neither delivered nor failed for good does not count: it
// was given up while Kafka was away, for example.
func (b *breaker) count(records []*kgo.Record, verdicts []guard.Verdict, again []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if again != nil {
		for _, i := range again {
			if verdicts[i].Outcome == guard.Delivered {
				b.of(topicOf(records[i])).add(false)
			}
		}
		return
	}
	for i := range verdicts {
		topic, failed := topicOf(records[i]), b.failed(&verdicts[i])
		if !failed && verdicts[i].Outcome != guard.Delivered {
			continue
		}
		b.of(topic).add(failed)
		if topic != "" {
			b.of("").add(false)
		}
	}
}

func (b *breaker) of(topic string) *outcomes {
	o, now := b.topics[topic], time.Now()
	if o == nil {
		if now.Sub(b.swept) >= sweepEvery {
			b.swept = now
			maps.DeleteFunc(b.topics, func(_ string, o *outcomes) bool { return now.Sub(o.used) >= forgetAfter })
		}
		o = &outcomes{ring: make([]bool, b.messages)}
		b.topics[topic] = o
	}
	o.used = now
	return o
}

func (o *outcomes) add(failed bool) {
	if o.ring[o.next] {
		o.failed--
	}
	if o.ring[o.next] = failed; failed {
		o.failed++
	}
	if o.next++; o.next == len(o.ring) {
		o.next, o.full = 0, true
	}
}

// held returns the failed messages whose topic is held, and logs the hold.
func (b *breaker) held(records []*kgo.Record, verdicts []guard.Verdict) (held []int) {
	resumed := b.resumed()
	b.mu.Lock()
	defer b.mu.Unlock()
	open := map[string]bool{}
	for i := range verdicts {
		if !b.failed(&verdicts[i]) {
			continue
		}
		topic := topicOf(records[i])
		if _, known := open[topic]; !known {
			open[topic] = b.open(topic, resumed, verdicts[i].Failure)
		}
		if open[topic] {
			held = append(held, i)
		}
	}
	for _, r := range records {
		b.end(topicOf(r)) // its messages may all pass by now
	}
	b.end("")
	return held
}

// end ends the hold of a topic of which no longer too many messages fail.
func (b *breaker) end(topic string) {
	if o := b.topics[topic]; o != nil && !o.openSince.IsZero() && !b.tooMany(o) {
		o.openSince = time.Time{}
		b.notices.breakerCloses(topic)
	}
}

func (b *breaker) tooMany(o *outcomes) bool {
	return o.full && float64(o.failed) > b.share*float64(len(o.ring))
}

// open reports whether a topic is held. It also begins the hold, and forgets what failed
// once the topic was held for long enough.
func (b *breaker) open(topic string, resumed bool, last *guard.Failure) bool {
	o := b.of(topic)
	if resumed || !o.openSince.IsZero() && b.maxHold > 0 && time.Since(o.openSince) >= b.maxHold {
		*o = outcomes{ring: make([]bool, len(o.ring)), used: o.used, openSince: o.openSince}
	}
	if !b.tooMany(o) {
		return false
	}
	if o.openSince.IsZero() {
		o.openSince = time.Now()
	}
	if time.Since(o.told) >= noticeInterval {
		o.told = time.Now()
		b.notices.breakerHolds(topic, o.failed, len(o.ring), last)
	}
	return true
}

// resumed reports whether the query resume is true.
func (b *breaker) resumed() bool {
	if b.resume == nil {
		return false
	}
	v, err := b.resume.Query(nil)
	is, ok := v.(bool)
	return err == nil && ok && is
}
