package guard

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Retry says how a write sends records again that were refused for a reason that
// may pass. It is about what kgo hands back, for example because a topic or a
// right is missing; what it tries again by itself comes first.
type Retry struct {
	// InitialInterval is the time before the first retry. It doubles, with
	// some jitter, up to MaxInterval. 0 is not to retry at all.
	InitialInterval time.Duration
	// MaxInterval is the longest time between two retries, 0 for
	// InitialInterval.
	MaxInterval time.Duration
	// MaxElapsedTime is after how long to give up, 0 for never: then only the
	// write's context does.
	MaxElapsedTime time.Duration
}

// BackOff returns the pauses between retries, from the first on.
func (r Retry) BackOff() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = r.InitialInterval
	b.Multiplier = 2
	b.MaxInterval = max(r.MaxInterval, r.InitialInterval)
	b.MaxElapsedTime = r.MaxElapsedTime
	b.Reset()
	return b
}

// Waiting says that records are held back until their class of failure passes.
type Waiting struct {
	Topic   string
	Class   Class
	Records int
	Since   time.Time
	// Cause is the last failure, nil while kgo does not hand any back: then
	// see its log.
	Cause error
	// Over is set once none waits any more.
	Over bool
}

// retry is the course of a part's retries.
type retry struct {
	backOff backoff.BackOff // nil before the first
	held    map[topicClass]int
}

type topicClass struct {
	topic string
	class Class
}

// again waits until it is time to send those of the part again that are worth
// it, in their order, and reports whether there are any.
func (w *write) again(p *part) bool {
	g := w.guard
	if g.config.Retry.InitialInterval == 0 {
		return false
	}
	var held []*slot
	counts, causes := map[topicClass]int{}, map[topicClass]error{}
	for _, s := range p.all {
		if v := s.verdict(); w.mayPass(s) {
			held = append(held, s)
			tc := topicClass{s.record().Topic, v.Class}
			counts[tc]++
			causes[tc] = v.Failure
			if spoils(v.Failure) {
				g.spoil()
			}
		}
	}
	g.waiting.move(p.retry.held, counts, causes)
	p.retry.held = counts
	if len(held) == 0 {
		return false
	}
	if p.retry.backOff == nil {
		p.retry.backOff = g.config.Retry.BackOff()
	}
	pause := p.retry.backOff.NextBackOff()
	if pause == backoff.Stop || w.ctx.Err() != nil {
		g.waiting.move(p.retry.held, nil, nil)
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.ctx.Done():
		g.waiting.move(p.retry.held, nil, nil)
		return false
	case <-g.ctx.Done():
		g.waiting.move(p.retry.held, nil, nil)
		return false
	}
	for tc, n := range counts {
		g.config.OnRetry(tc.class, n)
	}
	for _, s := range held {
		*s.verdict() = Verdict{Partition: -1, Offset: -1}
	}
	p.slots = w.judge(held)
	for _, t := range p.topics {
		t.set(g)
	}
	return true
}

// mayPass reports whether the slot's record is not written for a reason that may
// pass.
func (w *write) mayPass(s *slot) bool {
	v := s.verdict()
	return v.Outcome == NotWritten && !w.guard.permanent(v.Class)
}

// permanent reports whether records that fail with a class are handed on, and
// not tried again.
func (g *Guard) permanent(c Class) bool {
	if g.config.Permanent == nil {
		return c.Permanent()
	}
	return slices.Contains(g.config.Permanent, c)
}

// spoils reports whether a client stays of no use after a failure: kgo keeps to
// the refusal of a producer ID, and to the ID of a topic that is deleted.
func spoils(err error) bool {
	return errors.Is(err, kerr.ClusterAuthorizationFailed) ||
		errors.Is(err, kerr.TransactionalIDAuthorizationFailed) ||
		errors.Is(err, kerr.ProducerFenced) ||
		errors.Is(err, kerr.UnknownTopicID) ||
		errors.Is(err, errNewPartition)
}

// waitingEvery is how often what waits is told of again.
const waitingEvery = time.Minute

// waiting has what waits, over all writes, and tells of it at a bounded rate.
type waiting struct {
	tell func(Waiting)

	mu   sync.Mutex
	held map[topicClass]*held
}

type held struct {
	records     int
	since, told time.Time
}

// move replaces what a part held by what it holds now.
func (w *waiting) move(from, to map[topicClass]int, causes map[topicClass]error) {
	if len(from) == 0 && len(to) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for tc, n := range to {
		h := w.held[tc]
		if h == nil {
			h = &held{since: now}
			w.held[tc] = h
		}
		h.records += n
	}
	for tc, n := range from {
		h := w.held[tc]
		if h.records -= n; h.records <= 0 {
			delete(w.held, tc)
			w.tell(Waiting{Topic: tc.topic, Class: tc.class, Since: h.since, Over: true})
		}
	}
	for tc := range to {
		h := w.held[tc]
		if now.Sub(h.told) >= waitingEvery {
			h.told = now
			w.tell(Waiting{Topic: tc.topic, Class: tc.class, Records: h.records, Since: h.since, Cause: causes[tc]})
		}
	}
}
