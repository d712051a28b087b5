package guard

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kgo"
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
	// MaxElapsedTime is for how long a write goes on, from its begin, whoever
	// is sending again, guard or kgo. Then it returns: what is not written is
	// NotWritten, and what may be is Unknown. 0 is without end: then only the
	// write's context ends it.
	MaxElapsedTime time.Duration
}

func (r Retry) backOff() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = r.InitialInterval
	b.Multiplier = 2
	b.MaxInterval = max(r.MaxInterval, r.InitialInterval)
	b.MaxElapsedTime = 0 // that is for the write's context
	b.Reset()
	return b
}

// retries is the course of a part's retries.
type retries struct {
	write   *write
	last    time.Duration        // of the pauses
	backOff backoff.BackOff      // nil before the first
	leave   map[Class]func(bool) // the waits that are entered
}

// pause waits until it is time to send those of the slots again that may pass,
// and returns them, in their order. It returns none if there are none, or if the
// write is to give up.
func (r *retries) pause(slots []*slot) (held []*slot) {
	w, g := r.write, r.write.guard
	var byClass map[Class][]*slot
	for _, s := range slots {
		if w.mayPass(s) {
			if held = append(held, s); byClass == nil {
				byClass = map[Class][]*slot{}
			}
			byClass[s.verdict().Class] = append(byClass[s.verdict().Class], s)
		}
	}
	if g.config.Retry.InitialInterval == 0 {
		return r.bystanders(held)
	}
	r.wait(byClass, false)
	if len(held) == 0 {
		return nil
	}
	if r.backOff == nil {
		r.backOff = g.config.Retry.backOff()
	}
	r.last = r.backOff.NextBackOff()
	if most := g.config.Retry.MaxElapsedTime; most > 0 && time.Since(w.began)+r.last > most {
		r.wait(nil, true)
		return nil
	}
	timer := time.NewTimer(r.last)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.ctx.Done():
		r.wait(nil, true)
		return nil
	case <-g.life.Done():
		r.wait(nil, true)
		return nil
	}
	for c, slots := range byClass {
		g.config.OnRetry(c, len(slots))
	}
	for _, s := range held {
		s.reopen()
	}
	return held
}

// bystanders returns those of the held that failed because another write gave
// its own records up, for kgo takes all of a partition's along, or because their
// client was replaced. They are sent again also without retries.
func (r *retries) bystanders(held []*slot) []*slot {
	w := r.write
	held = slices.DeleteFunc(held, func(s *slot) bool {
		return !givenUp(s.verdict().Failure) || w.ctx.Err() != nil || w.guard.life.Err() != nil
	})
	for _, s := range held {
		s.reopen()
	}
	return held
}

// wait enters the waits of what is held, and then leaves those before it: so they
// do not seem over in between.
func (r *retries) wait(byClass map[Class][]*slot, gaveUp bool) {
	if len(byClass) == 0 && len(r.leave) == 0 {
		return
	}
	before := r.leave
	r.leave = make(map[Class]func(bool), len(byClass))
	for c, slots := range byClass {
		n := r.write.waiting(slots, c.String(), func() error { return nil })
		cause := slots[len(slots)-1].verdict().Failure
		n.cause, n.atOnce = func() error { return cause }, true
		r.leave[c] = r.write.guard.waits.enter(n)
	}
	for _, leave := range before {
		leave(gaveUp)
	}
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

// givenUp reports whether an error is that a hand-over, or its client, was given up.
func givenUp(f *Failure) bool {
	return f != nil && (errors.Is(f.Cause, context.Canceled) || errors.Is(f.Cause, kgo.ErrClientClosed))
}
