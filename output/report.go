package output

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// reporter turns verdicts into the error of WriteBatch. A BatchError lists the failed
// messages. It is right only where Benthos assigns the list to the right messages: see
// package errorrouting. Elsewhere only an error about the whole batch loses nothing. It
// costs duplicates: the delivered messages of the batch are sent again, too, or also go
// to the next output of a fallback.
type reporter struct {
	notices    *notices
	perMessage bool
	// unrouted has the pauses before an error that only the input receives. The
	// input then sends the batch again, with its delivered messages. It is nil
	// where a fallback or another component takes the error.
	unrouted *pacer
	// unreportable holds failed messages where any error would lose some. It is
	// nil elsewhere.
	unreportable *holder
	letters      []guard.Class // that dead_letter takes; these are not held
}

func newReporter(c clientConfig, around position, policy batching, deadLetter bool, n *notices, m *metrics) *reporter {
	r := &reporter{notices: n, perMessage: c.reports == reportPerMessage}
	if c.reports != reportAuto {
		return r
	}
	// The batcher of the output's own batching is next to it. It turns a BatchError into
	// an error for each transaction with a failed message.
	r.perMessage = (around.PerMessage || policy.on) && !policy.processors
	if !around.Routed && !deadLetter {
		r.unrouted = newPacer(c.guard.Retry)
	}
	if around.Loses != "" || around.Forgets != "" || around.Unread != "" {
		r.unreportable = newHolder(fieldReportFailures, c.guard.Retry, m)
		if deadLetter {
			r.letters = c.guard.Permanent
		}
	}
	return r
}

// report returns nil if every message was delivered, or taken by the dead-letter
// output. Else it returns an error about the other messages.
func (r *reporter) report(ctx context.Context, batch service.MessageBatch, verdicts []guard.Verdict, taken map[int]bool) error {
	var failed []int
	unknown := 0
	for i, v := range verdicts {
		if v.Outcome == guard.Delivered || taken[i] {
			continue
		}
		failed = append(failed, i)
		if v.Outcome == guard.Unknown {
			unknown++
		}
	}
	if len(failed) == 0 {
		return nil
	}
	if unknown > 0 {
		r.notices.uncertain(unknown, len(batch))
	}
	if r.unrouted != nil {
		r.unrouted.wait(ctx)
	}
	headline := headline(verdicts, failed, len(batch))
	if len(batch) == 1 || !r.perMessage {
		return headline
	}
	err := service.NewBatchError(batch, headline)
	for _, i := range failed {
		err = err.Failed(i, verdicts[i].Err())
	}
	return err
}

// hold holds undelivered messages where Benthos would lose them if they were reported,
// until they are delivered or ctx ends.
func (r *reporter) hold(ctx context.Context, write writeFunc, records []*kgo.Record, verdicts []guard.Verdict) {
	if r.unreportable == nil {
		return
	}
	r.unreportable.hold(ctx, write, records, verdicts, func([]int) (open []int) {
		for i := range verdicts {
			v := &verdicts[i]
			letter := v.Outcome == guard.NotWritten && slices.Contains(r.letters, v.Class)
			if v.Outcome != guard.Delivered && !letter {
				open = append(open, i)
				r.notices.unreportable(v.Failure)
			}
		}
		return open
	})
}

// headline is the error for the batch as a whole: that of the only failed message, or
// that of the first one, with the number of failed messages by class.
func headline(verdicts []guard.Verdict, failed []int, all int) error {
	first := verdicts[failed[0]].Failure
	if len(failed) == 1 {
		return first
	}
	counts := map[guard.Class]int{}
	for _, i := range failed {
		counts[verdicts[i].Class]++
	}
	var classes []guard.Class
	for c := range counts {
		classes = append(classes, c)
	}
	slices.Sort(classes)
	text := ""
	for i, c := range classes {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%d %s", counts[c], c)
	}
	return fmt.Errorf("%w (%d of %d messages failed: %s)", first, len(failed), all, text)
}

// pacer makes pauses between repetitions. They grow, and are short again after a quiet
// time.
type pacer struct {
	mu      sync.Mutex
	backOff *backoff.ExponentialBackOff
	until   time.Time // end of the latest pause
}

func newPacer(retry guard.Retry) *pacer {
	retry.MaxElapsedTime = 0 // the input sends the batch again for ever
	return &pacer{backOff: backOffOf(retry)}
}

// quiet is the time without a repetition after which the pause is short again.
const quiet = time.Minute

// wait returns after a pause, or when ctx ends.
func (p *pacer) wait(ctx context.Context) {
	p.mu.Lock()
	if time.Since(p.until) > quiet {
		p.backOff.Reset()
	}
	pause := p.backOff.NextBackOff()
	p.until = time.Now().Add(pause)
	p.mu.Unlock()
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}
