package randomstreams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// scenario is a run: a broker, a delivery checker and one stream after the other.
type scenario struct {
	*plan
	deliverycheck.Checker
	cluster  *kafkafake.Cluster
	wire     kafkafake.Wire
	events   atomic.Int64
	stopAt   atomic.Int64
	stopNow  chan struct{}
	stopping atomic.Bool
	down     atomic.Bool // the child is down; its next call shuts the stream down
	log      streamtest.Log

	mu     sync.Mutex
	rng    *rand.Rand // random numbers of the child
	queue  [][]int
	open   map[*send]struct{}
	change chan struct{} // closed when queue or open has changed
	acked  []bool        // by message
}

// send is a batch that the input has handed out, and that is not acknowledged yet.
type send struct{ ids []int }

func newScenario(p *plan, rng *rand.Rand) (*scenario, error) {
	w := &scenario{wire: kafkafake.Wire{ID: messageOf}, plan: p, rng: rng, queue: p.batches, open: map[*send]struct{}{}, change: make(chan struct{}), acked: make([]bool, len(p.kinds))}
	for id, k := range p.kinds {
		for _, u := range p.units(id) {
			w.Send(deliverycheck.Message{ID: u, Class: p.deserved(k)})
		}
	}
	var err error
	w.cluster, err = newBroker(p, w.event, &w.wire)
	return w, err
}

// event counts an event, and shuts the stream down if it is due.
func (w *scenario) event() {
	if w.events.Add(1) == w.stopAt.Load() {
		w.shutDown()
	}
}

// shutDown makes the stream shut down, unless it does already.
func (w *scenario) shutDown() {
	if w.stopping.CompareAndSwap(false, true) {
		close(w.stopNow)
	}
}

// changed wakes the goroutines that wait for the queue.
func (w *scenario) changed() {
	close(w.change)
	w.change = make(chan struct{})
}

// source is the input of a stream. It reads from the queue, and puts back messages that
// are nacked.
func (w *scenario) source(ctx context.Context) (service.MessageBatch, streamtest.Answer, error) {
	w.event()
	for {
		w.mu.Lock()
		if len(w.queue) > 0 {
			break
		}
		done, change := len(w.open) == 0 || w.replay, w.change
		w.mu.Unlock()
		if done {
			return nil, nil, service.ErrEndOfInput
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	defer w.mu.Unlock()
	out := &send{ids: w.queue[0]}
	w.queue = w.queue[1:]
	w.open[out] = struct{}{}
	var batch service.MessageBatch
	for _, id := range out.ids {
		batch = append(batch, w.message(id))
	}
	return batch, func(_ error, said []deliverycheck.Answer) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.answered(out, said)
	}, nil
}

// answered enters the answer to a send. Messages that are not done are queued again.
func (w *scenario) answered(out *send, said []deliverycheck.Answer) {
	if _, ok := w.open[out]; !ok {
		return // the stream is over
	}
	delete(w.open, out)
	var again []int
	var heard answers
	for i, id := range out.ids {
		units := w.units(id)
		heard.add(units, said[i], w.inDoubt(strconv.Itoa(id)))
		heard.untold = heard.untold || w.fails(id)
		if said[i] != deliverycheck.Done {
			again = append(again, id)
			continue
		}
		w.acked[id] = true
		for _, u := range units {
			w.Acknowledge(u)
		}
	}
	if !w.spy {
		w.hear(heard)
	}
	if len(again) > 0 {
		w.queue = append([][]int{again}, w.queue...)
	}
	w.changed()
}

// answers are the answers for the units of a batch.
type answers struct {
	units  []string
	said   []deliverycheck.Answer
	doubts []bool
	untold bool // a message fails, also one that has no units
}

func (a *answers) add(units []string, said deliverycheck.Answer, doubt bool) {
	a.untold = a.untold || doubt
	for _, u := range units {
		a.units, a.said, a.doubts = append(a.units, u), append(a.said, said), append(a.doubts, doubt)
	}
}

// hear enters the answers for a batch.
func (w *scenario) hear(a answers) {
	for i, said := range a.said {
		if said == deliverycheck.Open && !w.exactly() {
			a.said[i] = deliverycheck.Unsure
		}
	}
	w.HearAll(a.units, a.said, a.doubts, a.untold && (!w.perMessage || w.stopping.Load()))
}

// inDoubt reports whether a message, or that of a unit, may be in doubt.
// During a shutdown, or with a budget, the client may give up before it has read an answer.
func (w *scenario) inDoubt(unit string) bool {
	id, _, _ := strings.Cut(unit, ".")
	return w.budget || w.stopping.Load() || w.wire.InDoubt(id, time.Now())
}

// fails reports whether a message is reported to the input as failed.
func (w *scenario) fails(id int) bool { return w.fates == byInput && w.kinds[id] != good }

// heard enters the spy's answers for a batch.
func (w *scenario) heard(batch service.MessageBatch, said []deliverycheck.Answer) {
	var a answers
	for i, m := range batch {
		text, err := m.AsBytes()
		if err != nil {
			panic(err)
		}
		all, err := contents(text)
		if err != nil {
			panic(err)
		}
		for _, c := range all {
			a.add(w.ofCopy(c), said[i], w.inDoubt(c.unit()))
			a.untold = a.untold || w.fails(c.ID)
		}
	}
	w.hear(a)
}

// ofCopy returns the units that a message of the pipeline is, or will become.
func (w *scenario) ofCopy(c content) []string {
	var all []string
	for _, u := range w.units(c.ID) {
		var id, copies, letter int
		_, _ = fmt.Sscanf(u, "%d.%d.%d", &id, &copies, &letter)
		if copies == c.Copy || w.onOutput.has(multiply) {
			all = append(all, u)
		}
	}
	return all
}

// stopped enters "unsure" for batches that a stopped stream never answered. A stream that
// replays may miss its end.
func (w *scenario) stopped() {
	w.stopping.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	for out := range w.open {
		said := make([]deliverycheck.Answer, len(out.ids))
		for i := range said {
			said[i] = deliverycheck.Unsure
		}
		w.answered(out, said)
	}
}

// letters is the dead-letter output, or the last output in its chain. It fails as
// planned.
func (w *scenario) letters(_ context.Context, batch service.MessageBatch) error {
	w.event()
	if w.down.Load() {
		w.shutDown()
		return errors.New("the dead-letter output is down for good")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	failed := map[int]bool{}
	if w.childFails > 0 && w.child.fails && w.rng.IntN(2) == 0 {
		w.childFails--
		switch w.rng.IntN(3) {
		case 0:
			return errors.New("the dead-letter output is down")
		case 1:
			for i := range batch {
				if w.rng.IntN(2) == 0 {
					failed[i] = true
				}
			}
		default:
			pause := time.Duration(w.rng.IntN(50)) * time.Millisecond
			w.mu.Unlock()
			time.Sleep(pause)
			w.mu.Lock()
		}
	}
	taken, err := streamtest.Capture(batch)
	if err != nil {
		return err
	}
	for i, c := range taken {
		if failed[i] {
			continue
		}
		if err := w.deadLetter([]byte(c.Content), c.Why()); err != nil {
			return err
		}
	}
	if len(failed) == 0 {
		return nil
	}
	part := service.NewBatchError(batch, errors.New("the dead-letter output did not take all"))
	for i := range failed {
		part = part.Failed(i, errors.New("not this one"))
	}
	return part
}

// caught is the output for messages that should not go on.
func (w *scenario) caught(_ context.Context, batch service.MessageBatch) error {
	taken, err := streamtest.Capture(batch)
	for _, c := range taken {
		all, err := contents([]byte(c.Content))
		if err != nil {
			return err
		}
		for _, one := range all {
			for _, u := range w.ofCopy(one) {
				w.Catch(u)
			}
		}
	}
	return err
}

// run runs streams until every message is acknowledged, and then checks.
func (w *scenario) run(ctx context.Context) error {
	defer w.cluster.Close()
	fails := w.childFails
	for n := 0; ; n++ {
		w.stopNow = make(chan struct{})
		w.stopping.Store(false)
		w.events.Store(0)
		w.stopAt.Store(-1)
		force := false
		w.down.Store(n < len(w.stops) && w.stops[n].child)
		if n < len(w.stops) {
			if !w.stops[n].child {
				w.stopAt.Store(int64(w.stops[n].events))
			}
			force = w.stops[n].force
		}
		ended, err := w.stream(ctx, force)
		w.stopped()
		if err != nil {
			return err
		}
		w.mu.Lock()
		left := len(w.queue)
		w.mu.Unlock()
		if ended && left == 0 {
			break
		}
		if n > len(w.stops)+3 {
			return fmt.Errorf("after %d streams %d batches are left", n, left)
		}
	}
	if err := w.read(ctx); err != nil {
		return fmt.Errorf("reading the topics: %w", err)
	}
	for id, acked := range w.acked {
		if !acked {
			return fmt.Errorf("message %d is not acknowledged", id)
		}
	}
	return w.Check(w.promise(fails))
}

// promise returns what to check, if the child failed so often.
//
// After a forced shutdown the input gets no answers. The spy gets them, since below it
// the shutdown waits. Two kinds of dead letters may be there twice:
//
//  1. A dead_letter output on a Kafka topic was shut down while it wrote the letter.
//  2. A child with processors took the letter and then failed: it can't tell which
//     letters it took.
func (w *scenario) promise(fails int) deliverycheck.Promise {
	p := deliverycheck.Promise{
		Sure:      w.sure(),
		Ordered:   w.sure() && w.inFlight == 1,
		Uncertain: w.fates == fallback,
		Diverted:  w.fates == fallback && w.composition.diverts,
	}
	if w.exactly() {
		p.InDoubt = w.inDoubt
	}
	if w.child.kafka {
		p.Again = len(w.stops)
	}
	if len(w.onChild) > 0 || w.child.inDeadLetter || w.child.name != "plain" {
		p.Again += fails + len(w.stops)
	}
	return p
}

// stream runs one stream to its end, or to the next shutdown.
func (w *scenario) stream(ctx context.Context, force bool) (ended bool, err error) {
	output, resources := w.configs()
	config := streamtest.Config{
		Source: w.source, Replay: w.replay,
		Input: w.composition.input, Processors: w.inPipeline.yaml("copy"), Output: output, Resources: resources,
		Sinks: map[string]streamtest.Sink{"letters": w.letters, "caught": w.caught}, Spy: w.heard,
		Log: &w.log, Level: slog.LevelWarn,
	}
	built, err := config.Build()
	if err != nil {
		return false, err
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-w.stopNow:
			cancel()
		case <-running.Done():
		}
	}()
	if err = built.Run(running); err == nil {
		return true, nil
	}
	if ctx.Err() != nil {
		return false, fmt.Errorf("the stream did not end: %w", ctx.Err())
	}
	if !w.stopping.Load() {
		return false, err
	}
	patience := 4 * time.Minute
	if w.replay {
		patience = 8 * time.Second
	}
	return false, config.Stop(built, force, patience)
}
