package output

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// child is an output that this one writes to, such as dead_letter.
//
// The error of a child seldom tells which messages of a batch it took. Benthos finds
// them by position, also after processors changed the batch. If a processor split
// it, even the messages in the error are not the failed ones. So a batch without an
// error is taken. After an error, each message is sent alone until it is taken.
// Messages that were taken with the batch are then there twice, and none is lost.
type child struct {
	field string // dead_letter or delivery_report
	out   *service.OwnedOutput
	// keepsPositions is set where no processor is between here and the outputs
	// of the child. Then a BatchError lists the failed messages.
	keepsPositions bool
	// whole is set if the batch must stay together: after an error all of it is sent
	// again.
	whole   bool
	retry   guard.Retry // MaxElapsedTime is how long to try, 0 for ever
	notices *notices
	metrics *metrics
	turns   *turns

	prime  sync.Once
	primed bool

	mu      sync.Mutex
	waiting map[*childWrite]struct{}
	told    time.Time // time of the latest log line about waiting messages
	said    bool      // logged that messages wait, and not yet that none does
}

func childFrom(conf *service.ParsedConfig, field string, retry guard.Retry, n *notices, m *metrics) (*child, error) {
	config, err := conf.FieldAny(field)
	if err != nil {
		return nil, err
	}
	if at := errorrouting.Stalls(config, field); at != "" {
		return nil, stalls(at)
	}
	if at := errorrouting.Forgets(config, field); at != "" {
		n.forgets(at)
	}
	out, err := conf.FieldOutput(field)
	if err != nil {
		return nil, fmt.Errorf("%s can't be made: %s", field, plain(err))
	}
	return &child{
		field: field, out: out, keepsPositions: errorrouting.KeepsPositions(config), retry: retry,
		notices: n, metrics: m, turns: turnsOf(retry), waiting: map[*childWrite]struct{}{},
	}, nil
}

// open starts the child, once.
func (c *child) open() (err error) {
	c.prime.Do(func() {
		err = c.out.Prime()
		c.primed = err == nil
	})
	if err != nil {
		return fmt.Errorf("starting the output of %s: %w", c.field, err)
	}
	return nil
}

// closeWait bounds the wait for the end of the child. A child that never got a
// connection does not end. When the wait begins, the child has acknowledged its
// messages, or lastChance is over and they are reported as not delivered.
const closeWait = 2 * time.Second

func (c *child) close(ctx context.Context) error {
	if !c.primed {
		return nil // a child that never began does not end
	}
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	return c.out.Close(ctx)
}

// slow is how long a write may take before a log line reports it. A child that is
// not connected does not answer at all.
const slow = 10 * time.Second

// errNoAnswer is the reason for messages that wait for a child which does not answer.
var errNoAnswer = errors.New("it does not answer")

// write writes the messages until the child has taken them all, and calls took
// for each that it took. It returns earlier if ctx ends, or the time is up.
func (c *child) write(ctx context.Context, batch service.MessageBatch, took func(i int)) {
	limit := c.retry.MaxElapsedTime
	if limit == 0 {
		limit = math.MaxInt64
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, errNotTried)
	defer cancel()
	patient, cancel := patientOf(ctx, limit)
	defer cancel()
	w := &childWrite{child: c, limited: limited, ctx: patient, batch: batch, took: took}
	pause := pausesOf(c.retry)
	silent := time.AfterFunc(slow, func() { c.hold(w, len(batch), cmp.Or(c.turns.latest(), errNoAnswer)) })
	open, err := w.first(ctx)
	silent.Stop()
	for len(open) > 0 && ctx.Err() == nil {
		c.hold(w, len(open), err)
		wait, more := pause()
		if !more {
			c.metrics.childGaveUp(c.field, len(open))
			c.notices.childGaveUp(c.field, len(open), err)
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			continue
		}
		if c.whole {
			open, err = w.together(open)
		} else {
			open, err = w.alone(ctx, open)
		}
	}
	c.release(w, len(open) == 0)
}

// lastChance is the time for a write to the child that is running when the stream is
// shut down. Without it, messages might be both in the child and reported as failed.
const lastChance = 5 * time.Second

// patientOf returns a context for writes to the child. It ends a while after a shutdown
// began, so that a running write ends with a known result.
func patientOf(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastChance, cancel) })
	return patient, func() { stop(); cancel() }
}

// childWrite is the write of a batch to the child.
type childWrite struct {
	*child
	limited context.Context // ends the wait for a turn
	ctx     context.Context // for a try
	batch   service.MessageBatch
	took    func(i int)

	// Under the child's lock:
	open int  // messages that wait, while the write is in child.waiting
	over bool // it waits no more
}

// first writes the messages for the first time, and returns which are still open.
// Until the child has taken a message, one is sent before the others: Benthos logs
// each message of a failed batch. A child that makes one message of a batch gets the
// whole batch.
func (w *childWrite) first(ctx context.Context) (open []int, err error) {
	all := make([]int, len(w.batch))
	for i := range all {
		all[i] = i
	}
	if w.whole || !w.keepsPositions || w.turns.takes() || ctx.Err() != nil {
		return w.together(all)
	}
	if open, err = w.alone(ctx, all[:1]); len(open) > 0 {
		return append(all[1:], open...), err
	}
	return w.together(all[1:])
}

// together writes the messages in one batch, and returns which are still open.
func (w *childWrite) together(all []int) (open []int, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	sent := make(service.MessageBatch, len(all))
	for n, i := range all {
		sent[n] = w.batch[i].Copy()
	}
	index := sent.Index()
	err = w.send(sent)
	failed := func(int) bool { return err != nil }
	if some := failedOf(err, index, len(all)); some != nil && w.keepsPositions && !w.whole {
		failed = func(n int) bool { return some[n] != nil }
	}
	for n, i := range all {
		if failed(n) {
			open = append(open, i)
		} else {
			w.took(i)
		}
	}
	return open, err
}

// failedOf returns the errors of single messages in a BatchError. It returns nil if
// err is none, or does not list messages of the batch once each.
func failedOf(err error, index *service.Indexer, messages int) map[int]error {
	var batchErr *service.BatchError
	if !errors.As(err, &batchErr) || batchErr.IndexedErrors() == 0 {
		return nil
	}
	failed, seen, once := map[int]error{}, map[int]bool{}, true
	batchErr.WalkMessagesIndexedBy(index, func(i int, _ *service.Message, err error) bool {
		once, seen[i] = once && !seen[i], true
		if err != nil {
			failed[i] = err
		}
		return true
	})
	if len(failed) == 0 || len(seen) != messages || !once {
		return nil
	}
	return failed
}

// enough is how many messages in a row may fail, if none was taken, before the others
// are left for later: the child is probably down.
const enough = 3

// alone sends each of the open messages alone. It returns the messages that are still
// open, first those that were not tried.
func (w *childWrite) alone(ctx context.Context, open []int) (rest []int, err error) {
	took := false
	for n, i := range open {
		if !took && len(rest) == enough || ctx.Err() != nil {
			return append(slices.Clone(open[n:]), rest...), err
		}
		if e := w.send(service.MessageBatch{w.batch[i].Copy()}); e != nil {
			rest, err = append(rest, i), e
			continue
		}
		took = true
		w.took(i)
	}
	return rest, err
}

func (w *childWrite) send(batch service.MessageBatch) error {
	return w.turns.try(w.limited, func() error {
		if w.ctx.Err() != nil || errors.Is(context.Cause(w.limited), errNotTried) {
			return errNotTried
		}
		err := w.out.WriteBatch(w.ctx, batch)
		if err != nil {
			w.metrics.childFailed(w.field, len(batch))
		}
		return err
	})
}

// longest is the longest pause between two tries, unless the config has a longer
// one.
const longest = time.Minute

// pausesOf returns a function that returns the next pause, and whether there is time
// for another try. Pauses grow to the configured one. If a batch fails for long they
// grow further, to a tenth of the time since its first failure, but at most a minute.
// So a message that the child never takes costs little.
func pausesOf(retry guard.Retry) func() (time.Duration, bool) {
	first, configured := time.Now(), retry.MaxInterval
	retry.MaxInterval = max(configured, longest)
	b := backOffOf(retry)
	return func() (time.Duration, bool) {
		pause := b.NextBackOff()
		return min(pause, max(configured, min(longest, time.Since(first)/10))), pause != backoff.Stop
	}
}

// turnsOf returns the turns of a child. Their pauses go on as long as the child fails,
// whatever the time limit of a single batch.
func turnsOf(retry guard.Retry) *turns {
	limited := retry.MaxElapsedTime > 0
	retry.MaxElapsedTime = 0
	return newTurns(func() func() (time.Duration, bool) { return pausesOf(retry) }, limited)
}

// hold counts the messages of a batch that wait. It logs this at most once a minute for
// all batches together.
func (c *child) hold(w *childWrite, messages int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.over {
		return
	}
	w.open = messages
	c.waiting[w] = struct{}{}
	all := c.count()
	if time.Since(c.told) < noticeInterval {
		return
	}
	c.told, c.said = time.Now(), true
	c.notices.childFails(c.field, all, err)
}

// release ends the hold of a batch. It logs this if no other batch waits, unless the
// batch was given up.
func (c *child) release(w *childWrite, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.over = true
	delete(c.waiting, w)
	c.count()
	if len(c.waiting) == 0 && c.said && done {
		c.said = false
		c.notices.childTakes(c.field)
	}
}

// count returns the number of waiting messages, and sets the metric.
func (c *child) count() (all int) {
	for w := range c.waiting {
		all += w.open
	}
	c.metrics.waiting.Set(int64(all), c.field)
	return all
}
