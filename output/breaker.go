package output

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// breakerConfig says when many failures are one: a wrong deploy upstream, or a
// limit that an operator lowered by a slip.
type breakerConfig struct {
	enabled  bool
	share    float64 // of the last messages for a topic that may fail for good
	messages int
	maxHold  time.Duration      // 0 for as long as it takes
	resume   *bloblang.Executor // nil if not configured
}

// breaker keeps what fails for good from the dead letters, while too much of a
// topic does: it is held, and written again until it passes.
type breaker struct {
	breakerConfig
	classes []guard.Class // that fail for good
	retry   guard.Retry
	notices *notices
	metrics *metrics

	mu      sync.Mutex
	topics  map[string]*outcomes
	waiting int
}

// outcomes are the last ones of a topic: a ring of whether each was a failure.
type outcomes struct {
	ring         []bool
	next, failed int
	full         bool
	openSince    time.Time // zero while the breaker is closed
	told         time.Time
}

func newBreaker(c clientConfig, n *notices, m *metrics) *breaker {
	if !c.breaker.enabled {
		return nil
	}
	return &breaker{
		breakerConfig: c.breaker, classes: c.guard.Permanent, retry: c.guard.Retry,
		notices: n, metrics: m, topics: map[string]*outcomes{},
	}
}

// hold waits while messages of the batch have failed for good for topics of which
// too many do, and writes them again. What it returns are those that it still holds
// when ctx ends: they are not for the dead letters.
func (b *breaker) hold(ctx context.Context, write func(context.Context, []*kgo.Record) []guard.Verdict, records []*kgo.Record, verdicts []guard.Verdict) (held []int) {
	b.count(records, verdicts, nil)
	held = b.held(records, verdicts)
	if len(held) == 0 {
		return nil
	}
	pauses := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(b.retry.InitialInterval),
		backoff.WithMaxInterval(max(b.retry.MaxInterval, b.retry.InitialInterval)),
		backoff.WithMultiplier(2),
		backoff.WithMaxElapsedTime(0),
	)
	shown := 0
	show := func(n int) {
		b.mu.Lock()
		b.waiting += n - shown
		b.metrics.waiting.Set(int64(b.waiting), fieldBreaker)
		b.mu.Unlock()
		shown = n
	}
	defer func() { show(0) }()
	for len(held) > 0 {
		show(len(held))
		select {
		case <-time.After(pauses.NextBackOff()):
		case <-ctx.Done():
			return held
		}
		var again []int
		var part []*kgo.Record
		for _, i := range held {
			if records[i] != nil { // else no record can be made of the message, ever
				again, part = append(again, i), append(part, records[i])
			}
		}
		for n, v := range write(ctx, part) {
			verdicts[again[n]] = v
		}
		b.count(records, verdicts, again)
		held = b.held(records, verdicts)
	}
	return nil
}

// topicOf is what messages are counted by. Those without a legal topic are counted
// together, and out of all.
func topicOf(r *kgo.Record) string {
	if r == nil || guard.CheckTopic(r.Topic) != nil {
		return ""
	}
	return r.Topic
}

func (b *breaker) failed(v *guard.Verdict) bool {
	return v.Outcome == guard.NotWritten && slices.Contains(b.classes, v.Class)
}

// count adds the outcomes of a batch, or of those of it that were written again and
// have passed.
func (b *breaker) count(records []*kgo.Record, verdicts []guard.Verdict, again []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if again != nil {
		for _, i := range again {
			if !b.failed(&verdicts[i]) {
				b.of(topicOf(records[i])).add(false)
			}
		}
		return
	}
	for i := range verdicts {
		topic, failed := topicOf(records[i]), b.failed(&verdicts[i])
		b.of(topic).add(failed)
		if topic != "" {
			b.of("").add(false)
		}
	}
}

func (b *breaker) of(topic string) *outcomes {
	o := b.topics[topic]
	if o == nil {
		o = &outcomes{ring: make([]bool, b.messages)}
		b.topics[topic] = o
	}
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

// held returns the failed messages of a batch whose topic is held, and says so.
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
	return held
}

// open reports whether a topic is held, and has it begin or end.
func (b *breaker) open(topic string, resumed bool, last *guard.Failure) bool {
	o := b.of(topic)
	tooMany := o.full && float64(o.failed) > b.share*float64(len(o.ring))
	began := o.openSince
	switch {
	case resumed, !began.IsZero() && b.maxHold > 0 && time.Since(began) >= b.maxHold:
		*o = outcomes{ring: make([]bool, len(o.ring))}
		tooMany = false
	case !tooMany:
		o.openSince = time.Time{}
	case began.IsZero():
		o.openSince = time.Now()
	}
	switch {
	case !tooMany && !began.IsZero():
		b.notices.breakerCloses(topic)
	case tooMany && time.Since(o.told) >= noticeInterval:
		o.told = time.Now()
		b.notices.breakerHolds(topic, o.failed, len(o.ring), last)
	}
	return tooMany
}

// resumed reports whether an operator wants to go on.
func (b *breaker) resumed() bool {
	if b.resume == nil {
		return false
	}
	v, err := b.resume.Query(nil)
	is, ok := v.(bool)
	return err == nil && ok && is
}
