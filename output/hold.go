package output

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// holder holds failed messages: it writes them again, and does not report them.
type holder struct {
	why     string      // its name in metrics
	retry   guard.Retry // MaxElapsedTime is how long to hold, 0 for ever
	metrics *metrics

	mu      sync.Mutex
	waiting int
}

// newHolder returns a holder without a time limit.
func newHolder(why string, retry guard.Retry, m *metrics) *holder {
	retry.MaxElapsedTime = 0
	return &holder{why: why, retry: retry, metrics: m}
}

// backOffOf has pauses that double, from the first one of the config to the longest.
func backOffOf(retry guard.Retry) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(retry.InitialInterval),
		backoff.WithMaxInterval(retry.MaxInterval),
		backoff.WithMultiplier(2),
		backoff.WithMaxElapsedTime(retry.MaxElapsedTime),
	)
}

type writeFunc func(context.Context, []*kgo.Record) []guard.Verdict

// hold writes messages again until pick returns none. pick gets the messages that were
// written last, and returns those to write again. hold returns the messages that it
// still holds when ctx ends.
func (h *holder) hold(ctx context.Context, write writeFunc, records []*kgo.Record, verdicts []guard.Verdict, pick func(again []int) []int) (held []int) {
	if held = pick(nil); len(held) == 0 {
		return nil
	}
	pauses := backOffOf(h.retry)
	shown := 0
	show := func(n int) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.waiting += n - shown
		h.metrics.waiting.Set(int64(h.waiting), h.why)
		shown = n
	}
	defer func() { show(0) }()
	for len(held) > 0 {
		show(len(held))
		pause := pauses.NextBackOff()
		if pause == backoff.Stop {
			return held
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return held
		}
		again := []int{}
		var part []*kgo.Record
		for _, i := range held {
			if records[i] != nil { // else the message can't become a record
				again, part = append(again, i), append(part, records[i])
			}
		}
		for n, v := range write(ctx, part) {
			verdicts[again[n]] = v
		}
		held = pick(again)
	}
	return nil
}
