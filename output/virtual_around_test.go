package output

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// surround draws the outputs around the output. Its random numbers are its own, so that
// older seeds still give the same plan.
func (w *virtualStream) surround(r *rand.Rand) {
	if r.IntN(3) == 0 {
		w.report = []string{"takes", "fails", "hangs"}[r.IntN(3)]
	}
	if r.IntN(4) == 0 && w.shape != "fallback" { // in a fallback its position would be guessed
		w.around = "switch"
	}
	if (w.shape == "dead_letter" || w.shape == "batching") && w.child != "takes a part" && r.IntN(3) == 0 {
		w.onChild = []string{
			", processors: [ split: { size: 1 } ]",
			", processors: [ mapping: 'root = if content().length() == 0 { deleted() }' ]",
			// An archive has only the metadata of its first message.
			", processors: [ split: { size: 1 }, archive: { format: lines }, unarchive: { format: lines } ]",
		}[r.IntN(3)]
	}
	if w.shape == "dead_letter" && r.IntN(3) == 0 {
		// A write to the output "spy" does not end with a shutdown. So no outage may
		// last for ever.
		w.outage, w.stops = 0, 1+r.IntN(3)
		w.stopped = time.Duration(1+r.IntN(2000)) * []time.Duration{time.Millisecond, 30 * time.Millisecond}[r.IntN(2)]
	}
	// Elsewhere an error for a whole batch is right.
	if w.perMessage = (w.shape == "alone" || w.shape == "dead_letter") && r.IntN(2) == 0; w.perMessage {
		w.lines = append(w.lines, "report_failures: per_message")
	}
}

// run runs the stream to its end, with shutdowns in between.
func (w *virtualStream) run(config streamtest.Config) error {
	for {
		stream, err := config.Build()
		if err != nil {
			return err
		}
		last := w.stops == 0
		most := w.stopped
		if last {
			most = w.outage + time.Hour
			w.stopAt.Store(0)
		} else {
			w.stopAt.Store(time.Now().Add(most).UnixNano())
		}
		ctx, cancel := context.WithTimeout(context.Background(), most)
		err = stream.Run(ctx)
		cancel()
		switch {
		case err == nil:
			return nil
		case last:
			_ = stream.Stop(context.Background())
			return fmt.Errorf("the stream does not end: %w", err)
		}
		w.books.Lock() // the source goes on meanwhile
		w.stops--
		force := w.rnd.IntN(2) == 0
		w.books.Unlock()
		if err := config.Stop(stream, force, time.Hour); err != nil {
			return err
		}
		w.books.Lock()
		for _, letters := range w.open { // they will not be answered any more
			w.batch = append(w.batch, letters)
		}
		clear(w.open)
		w.books.Unlock()
	}
}

// take returns a new batch, or one that was not acknowledged. If there is none, it
// waits while others are unanswered, since they may come back.
func (w *virtualStream) take(ctx context.Context) (letters []letter, nth int, err error) {
	for {
		w.books.Lock()
		switch {
		case len(w.batch) > 0:
			letters, w.batch = w.batch[0], w.batch[1:]
		case w.batches > 0:
			w.batches--
			letters = w.write()
		case len(w.open) == 0 || w.stops == 0 && w.shape != "dead_letter":
			w.books.Unlock()
			return nil, 0, service.ErrEndOfInput
		}
		if letters != nil {
			if w.open == nil {
				w.open = map[int][]letter{}
			}
			w.sent++
			w.open[w.sent] = letters
			defer w.books.Unlock()
			return letters, w.sent, nil
		}
		w.books.Unlock()
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// answered enters the answer to a batch.
func (w *virtualStream) answered(nth int, err error) {
	w.books.Lock()
	defer w.books.Unlock()
	letters, ok := w.open[nth]
	if !ok {
		return // it came after the shutdown
	}
	delete(w.open, nth)
	if err != nil {
		w.batch = append(w.batch, letters)
		return
	}
	for _, l := range letters {
		w.checker.Acknowledge(l.id)
	}
}

// hear is the output of delivery_report.
func (w *virtualStream) hear(ctx context.Context, batch service.MessageBatch) error {
	w.books.Lock()
	w.told++
	nth := w.told
	w.books.Unlock()
	switch {
	case w.report == "fails" && nth%3 != 0:
		return errors.New("the child is not well")
	case w.report == "hangs" && nth%3 == 1:
		select {
		case <-time.After(20 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.books.Lock()
	defer w.books.Unlock()
	if w.reports == nil {
		w.reports = map[string]deliverycheck.Record{}
	}
	for _, m := range batch {
		content, err := m.AsBytes()
		if err != nil {
			return err
		}
		id := idOf(content)
		outcome, _ := m.MetaGet(metaOutcome)
		class, _ := m.MetaGet(metaClass)
		permanent, err := guard.ParseClass(class)
		if before := w.reports[id]; before.Outcome != "delivered" { // a message that was sent again may have another outcome
			w.reports[id] = deliverycheck.Record{Outcome: outcome, Permanent: err == nil && permanent.Permanent(), MayBeUnknown: w.inDoubt(id)}
		}
	}
	return nil
}

// checkReports compares the delivery reports with the log.
func (w *virtualStream) checkReports(log []*kgo.Record) error {
	if w.report == "" {
		return nil
	}
	there := map[string]int{}
	for _, r := range log {
		there[idOf(r.Value)]++
	}
	w.books.Lock()
	defer w.books.Unlock()
	for _, m := range w.checker.Fates() {
		r := w.reports[m.ID]
		if r.Outcome == "" {
			continue
		}
		// The checker counts copies.
		r.Copies, r.MayRepeat, r.MayFail = there[m.ID], true, m.Class != ""
		if _, broken := r.Wrong(); broken != "" {
			return fmt.Errorf("%s is reported as %s: %s", m.ID, r.Outcome, broken)
		}
	}
	for id := range there {
		if w.report != "takes" || w.stopped > 0 { // reports may be given up
			break
		}
		if w.reports[id].Outcome == "" {
			return fmt.Errorf("%s is in the log, and has no report", id)
		}
	}
	return nil
}
