package guard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/isolate"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// Retry says how a write resends records that failed for a retriable reason, such as a
// missing topic or right. Failures that every Kafka client retries, such as a leader
// that moves, are retried in any case.
type Retry struct {
	// InitialInterval is the time before the first retry. It doubles, with
	// some jitter, up to MaxInterval. 0 is not to retry at all.
	InitialInterval time.Duration
	// MaxInterval is the longest time between two retries, 0 for
	// InitialInterval.
	MaxInterval time.Duration
	// MaxElapsedTime is how long a write may take, from its beginning. Then it returns:
	// a record that may have been written is Unknown, each other one NotWritten. 0 is
	// no limit: then only the write's context ends it.
	MaxElapsedTime time.Duration
}

// pause is the pause after so many failures in a row.
func pause(failures int, first, most time.Duration) time.Duration {
	d, doublings := most, min(max(failures-1, 0), 30)
	if 0 < first && first <= most>>doublings {
		d = first << doublings
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// policy decides what happens to a batch that was not acked.
type policy Guard

// Check returns why a record that a limit may reject is not sent, nil to send it.
func (p *policy) Check(r *partition.Record, leader int32) error {
	g := (*Guard)(p)
	if why := g.isolation.Check(r, leader); why != nil {
		return why
	}
	return nil
}

// Acked learns from a batch that was acked.
func (p *policy) Acked(b *partition.Batch) {
	(*Guard)(p).isolation.Acked(b)
}

// Next decides what is sent in place of a batch.
func (p *policy) Next(ctx context.Context, b *partition.Batch, a broker.Answer) partition.Plan {
	g := (*Guard)(p)
	m := code.Of(a.Code)
	switch {
	case g.life.Err() != nil:
		return partition.Plan{Same: true}
	case a.NoPartition:
		return g.noSuchPartition(ctx, b)
	case a.Code == 0:
		return g.notAnswered(ctx, b, a)
	case m.Scope == code.OfBatch && (!code.Ambiguous(a.Code) || patient(b) || probes(b)):
		return g.isolation.Isolate(ctx, b, a)
	case m.Scope == code.OfBatch, m.Retry:
		return g.retrySoon(b, a)
	case code.TopicGone(a.Code) && g.topicMayAppear(ctx, b, a):
		return partition.Plan{Same: true, Pause: g.settings.backoff(b.Attempts)}
	default:
		return g.hold(b, &Failure{Class: Class(m.Class), Topic: b.Topic, Partition: b.Partition, Cause: a.Err})
	}
}

// ambiguousTries is how often a batch with an ambiguous code is resent unchanged before
// isolation splits it.
const ambiguousTries = 8

// patient reports whether an ambiguous code has lasted long enough to act on it.
func patient(b *partition.Batch) bool {
	return b.Attempts >= ambiguousTries && time.Since(b.First) >= isolate.AmbiguousFor
}

// probes reports whether a batch was sent to confirm a limit. Guard then acts on an
// ambiguous code soon.
func probes(b *partition.Batch) bool {
	s := slotOf(b.Records[0])
	return len(b.Records) == 1 && s != nil && s.isolation.Limit != nil
}

// topicMayAppear reports whether to ask again for a missing topic without reporting it,
// as kgo does (kgo.UnknownTopicRetries). If only the leader reports it missing, the
// topic may have been created again. New metadata then has it.
func (g *Guard) topicMayAppear(ctx context.Context, b *partition.Batch, a broker.Answer) bool {
	if !a.Metadata {
		ctx, cancel := context.WithTimeout(ctx, limits.Wait)
		defer cancel()
		_, _ = g.producer.Refresh(ctx, b.Topic)
	}
	most := g.settings.unknownTopicTries
	return most < 0 || int64(b.Attempts) <= most
}

// retrySoon resends a batch unchanged, unless its retries are used up.
func (g *Guard) retrySoon(b *partition.Batch, a broker.Answer) partition.Plan {
	if most := g.settings.recordRetries; int64(b.Attempts) > most {
		return g.hold(b, &Failure{Class: Transient, Topic: b.Topic, Partition: b.Partition, Cause: fmt.Errorf("%w: %w", kgo.ErrRecordRetries, a.Err)})
	}
	return partition.Plan{Same: true, Pause: g.settings.backoff(b.Attempts)}
}

// cutTries is how many requests with a batch must end with their connection before the
// batch is made smaller.
const cutTries = 3

// A single record on whose requests the connection ends is sent again after cutShare times
// as long as the last try took, and longestCutPause at most.
const (
	cutShare        = 10
	longestCutPause = time.Minute
)

// notAnswered resends a batch unchanged. If the endpoint closes the connection on each
// request of its size, it gets a smaller batch.
func (g *Guard) notAnswered(ctx context.Context, b *partition.Batch, a broker.Answer) partition.Plan {
	if a.Err != nil && !code.OfError(a.Err).Retry {
		m := code.OfError(a.Err)
		return g.hold(b, &Failure{Class: Class(m.Class), Topic: b.Topic, Partition: b.Partition, Cause: a.Err})
	}
	if a.Cut > 0 && b.Attempts >= cutTries {
		b.Trouble(fmt.Errorf("the connection is closed without an answer on requests of %d bytes, %d times in a row: check the limit of the endpoint (socket.request.max.bytes): %w", a.Cut, b.Attempts, a.Err))
		if plan, ok := g.isolation.Cut(ctx, b); ok {
			return plan
		}
		if half := len(b.Records) / 2; half > 0 {
			return partition.Plan{Parts: []partition.Part{{Records: b.Records[:half]}, {Records: b.Records[half:]}}}
		}
		// On a slow link the tries would keep the limit from being read.
		plan := g.retrySoon(b, a)
		plan.Pause = max(plan.Pause, min(cutShare*time.Since(b.Started), longestCutPause))
		return plan
	}
	return g.retrySoon(b, a)
}

// hold resends a batch after a pause. It fails the batch if the class is permanent, or
// if retries are off.
func (g *Guard) hold(b *partition.Batch, f *Failure) partition.Plan {
	f.Outcome = outcomeOf(b)
	if g.final(code.Class(f.Class)) {
		return failAll(b, f)
	}
	n := 0
	for _, r := range b.Records {
		if s := slotOf(r); s != nil && !r.Ended() {
			g.waits.hold(s, f)
			n++
		}
	}
	g.config.Observer.OnRetry(f.Class, n)
	return partition.Plan{Same: true, Pause: g.retryAfter(b.Attempts)}
}

// heldAlone counts a record that isolation resends later as held.
func (g *Guard) heldAlone(b *partition.Batch, r *partition.Record, why *code.Reason) {
	if s := slotOf(r); s != nil && !r.Ended() {
		f := failureOf(why)
		f.Topic, f.Partition, f.Outcome = b.Topic, b.Partition, outcomeOf(b)
		g.waits.hold(s, f)
		g.config.Observer.OnRetry(f.Class, 1)
	}
}

// outcomeOf is the outcome of a batch that is given up.
func outcomeOf(b *partition.Batch) Outcome {
	if b.Doubt() {
		return Unknown
	}
	return NotWritten
}

// retryAfter is the pause before a retry.
func (g *Guard) retryAfter(attempts int) time.Duration {
	r := g.config.Retry
	return pause(attempts, r.InitialInterval, max(r.MaxInterval, r.InitialInterval))
}

// final reports whether a record that fails with a class is not resent.
func (g *Guard) final(c code.Class) bool {
	return g.config.Retry.InitialInterval == 0 || g.permanent(Class(c))
}

func failAll(b *partition.Batch, f *Failure) (p partition.Plan) {
	for _, r := range b.Records {
		p.Failed = append(p.Failed, partition.Failed{Record: r, Reason: f})
	}
	return p
}

// permanent reports whether records that fail with a class are reported and not
// retried.
func (g *Guard) permanent(c Class) bool {
	if g.config.Permanent == nil {
		return c.Permanent()
	}
	return slices.Contains(g.config.Permanent, c)
}

// noSuchPartition fails records whose partition the topic does not have, unless new
// metadata has it.
func (g *Guard) noSuchPartition(ctx context.Context, b *partition.Batch) (p partition.Plan) {
	soon, cancel := context.WithTimeout(ctx, limits.Wait)
	defer cancel()
	n, err := g.producer.Refresh(soon, b.Topic)
	if ctx.Err() != nil {
		return partition.Plan{Same: true} // some have been given up
	}
	held := map[Class]int{}
	for _, r := range b.Records {
		f := &Failure{Class: Unroutable, Outcome: NotWritten, Topic: b.Topic, Partition: r.Partition}
		switch {
		case err != nil:
			m := code.OfError(err)
			f.Class, f.Cause = Class(m.Class), err
		case 0 <= r.Partition && int(r.Partition) < n:
			continue // it exists by now
		default:
			f.Problem = fmt.Sprintf("no such partition: the topic has %d", n)
		}
		if s := slotOf(r); s != nil && !g.final(code.Class(f.Class)) {
			g.waits.hold(s, f)
			held[f.Class]++
			p.Pause = g.retryAfter(b.Attempts)
			continue
		}
		p.Failed = append(p.Failed, partition.Failed{Record: r, Reason: f})
	}
	for class, n := range held {
		g.config.Observer.OnRetry(class, n)
	}
	return p
}
