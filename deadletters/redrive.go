package deadletters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/twmb/franz-go/pkg/kadm"
)

// The largest batch. After a kill it is sent again, so it is no larger than speed
// needs.
const (
	maxBatch      = 2000
	maxBatchBytes = 4 << 20
)

// grace is how long the batch in flight may take after an interrupt, unless
// redrive.grace is set.
const grace = 10 * time.Second

// redrive sends the letters of one source to their topics.
type redrive struct {
	source  opened
	filter  *filter
	mapping *bloblang.Executor
	grace   time.Duration
	marks   marks
	writer  *writer
	again   leftovers
	admin   *kadm.Client // of the targets
	out     io.Writer
	log     io.Writer

	mark    *mark
	pass    *pass
	began   *mark   // at the start
	account account // of this run
	before  int64   // letters that are done since earlier runs
	spent   int64   // letters that were sent too often without success
	gone    int64   // letters deleted before they were sent
	offsets offsets
	failed  *summary
}

// batch is letters that are sent together, and their end in each part.
type batch struct {
	items []*item
	next  map[string]int64
	bytes int
}

// run sends the chosen letters. It fills the account even if it returns an error or ctx
// ends.
func (r *redrive) run(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	batches := make(chan *batch, 1)
	var unsent *batch
	var readErr error
	go func() {
		unsent, readErr = r.read(reading, batches)
		close(batches)
	}()
	writing, cancel := withGrace(ctx, r.grace)
	defer cancel()
	err := r.write(ctx, writing, batches)
	stop()
	for b := range batches { // read, and not sent
		r.leave(b)
	}
	r.leave(unsent)
	if err == nil {
		err = readErr
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return err
}

// begin reads the mark.
func (r *redrive) begin(ctx context.Context) (err error) {
	if r.mark, err = r.marks.load(ctx); err != nil {
		return err
	}
	firsts, err := r.source.firsts()
	if err != nil {
		return err
	}
	if err := r.mark.follow(firsts); err != nil {
		return fmt.Errorf("the mark in %s: %w: remove the mark to send all letters, or keep another one with --mark", r.marks, err)
	}
	r.pass = r.mark.pass(r.filter)
	for part, next := range r.pass.Next {
		// Letters that retention deleted can't be sent.
		if start := r.source.start(part); next < start {
			r.gone += start - next
			r.pass.Next[part] = start
		}
	}
	r.began = r.mark.clone()
	r.failed = newSummary(r.source.String(), "", 0)
	return nil
}

// withGrace returns a context that ends some time after ctx.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return late, func() { stop(); cancel() }
}

// read makes batches of the chosen letters. It returns the batch that it could not hand
// on.
func (r *redrive) read(ctx context.Context, batches chan<- *batch) (unsent *batch, err error) {
	b := &batch{next: map[string]int64{}}
	send := func() error {
		select {
		case batches <- b:
			b = &batch{next: map[string]int64{}}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p := startProgress(r.log, "sending", r.source.size())
	defer p.stop()
	err = r.source.read(ctx, r.from(), func(l *Letter) error {
		b.next[l.at.part] = l.at.offset + 1
		if !r.chosen(l) {
			return nil
		}
		p.letters.Add(1)
		it := prepare(l.keep(), r.mapping)
		it.perhaps = r.began.perhaps(l)
		b.items = append(b.items, it)
		b.bytes += l.size()
		if len(b.items) < maxBatch && b.bytes < maxBatchBytes {
			return nil
		}
		return send()
	}, p.passed)
	if err == nil {
		err = send()
	}
	return b, err
}

// from is where to begin reading.
func (r *redrive) from() map[string]int64 { return maps.Clone(r.pass.Next) }

// chosen reports whether to send a letter, and counts the reasons not to.
func (r *redrive) chosen(l *Letter) bool {
	if !r.filter.matches(l) {
		if r.filter.MaxAttempts > 0 && l.attempts >= r.filter.MaxAttempts {
			r.spent++
		}
		return false
	}
	if r.began.done(l) {
		r.before++
		return false
	}
	return true
}

// leave counts letters that were chosen and not sent.
func (r *redrive) leave(b *batch) {
	if b != nil {
		r.count(account{Chosen: int64(len(b.items)), Left: int64(len(b.items))})
	}
}

// count adds to the account of this run. The account of the pass has only letters that
// are done, since those that are left are chosen again.
func (r *redrive) count(a account) {
	r.account.add(a)
	a.Chosen -= a.Left
	a.Left = 0
	r.pass.Account.add(a)
}

// write sends batches, one after the other, and marks them as done. After ctx ends it
// begins no batch. After writing ends it gives up the one in flight.
func (r *redrive) write(ctx, writing context.Context, batches <-chan *batch) error {
	var b *batch
	for {
		if b == nil {
			if b = <-batches; b == nil {
				return r.marks.save(writing, r.mark, r.pass)
			}
		}
		if err := ctx.Err(); err != nil {
			r.leave(b)
			return errors.Join(err, r.marks.save(writing, r.mark, r.pass))
		}
		if err := r.send(writing, b); err != nil {
			return err
		}
		select {
		case b = <-batches: // it is marked together with later ones
		default:
			b = nil
			if err := r.marks.save(writing, r.mark, r.pass); err != nil {
				return err
			}
		}
	}
}

// send sends a batch, and moves the pass behind it. Before that it marks the end of the
// batch, up to which letters may be sent from now on.
func (r *redrive) send(ctx context.Context, b *batch) error {
	if len(b.items) > 0 {
		r.pass.begin(b.next)
		if err := r.marks.save(ctx, r.mark, r.pass); err != nil {
			r.pass.abandon(b.next)
			r.leave(b)
			return err
		}
		if err := r.settle(ctx, b); err != nil {
			return err
		}
	}
	r.pass.finish(b.next)
	return nil
}

// settle sends the items of a batch, and keeps those that failed as letters. After an
// error the batch is not done.
func (r *redrive) settle(ctx context.Context, b *batch) error {
	err := r.writer.write(ctx, b.items)
	a := account{Chosen: int64(len(b.items))}
	var failed []*item
	untouched := true // nothing was written, and nothing is in doubt
	for _, it := range b.items {
		f := &it.fate
		a.Perhaps += it.perhaps
		switch f.kind {
		case delivered:
			untouched = false
			a.Delivered++
			r.offsets.add(f.topic, f.partition, f.offset)
		case dropped:
			a.Dropped++
		case unknown:
			untouched = false
			if f.err == "" {
				f.class, f.err = string(it.letter.class), "it is not known whether it was written: no answer came before the end"
			}
			a.Doubt++
			failed = append(failed, it)
		case failedAgain:
			failed = append(failed, it)
		}
	}
	left := int64(len(failed))
	if ctx.Err() != nil || err != nil {
		if untouched {
			r.pass.abandon(b.next)
			r.count(account{Chosen: a.Chosen, Left: a.Chosen})
			return errors.Join(err, ctx.Err(), r.saveLate(ctx))
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
	}
	if left > 0 {
		if e := r.again.append(ctx, failed); e != nil {
			a.Left, a.Doubt = left, 0
			r.count(a)
			return e
		}
		for _, it := range failed {
			l := newLetter(it.letter.at, it.again(time.Now()), nil, time.Time{})
			l.attempts = 0 // all of them were sent again
			r.failed.add(&l)
		}
		a.FailedAgain = left
	}
	r.count(a)
	if err != nil {
		r.pass.finish(b.next)
		return errors.Join(err, r.saveLate(ctx))
	}
	return nil
}

// saveLate saves the mark, even after ctx has ended.
func (r *redrive) saveLate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	return r.marks.save(ctx, r.mark, r.pass)
}

// print writes the account, and returns an error if it does not balance.
func (r *redrive) print(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	fmt.Fprintf(r.out, "%s: %s\n", r.source, r.filter)
	checked, err := r.offsets.check(ctx, r.admin, r.account.Delivered)
	a := r.account
	a.print(r.out, checked, r.again.String())
	note := func(n int64, text string) {
		if n > 0 {
			fmt.Fprintf(r.out, "besides: %s letters %s\n", humanize.Comma(n), text)
		}
	}
	note(r.before, "were dealt with before, and are not sent again")
	note(r.spent, fmt.Sprintf("were sent %d times without success, and are not chosen any more: see --max-attempts", r.filter.MaxAttempts))
	note(r.gone, "were deleted from their topic by its retention before they could be sent")
	note(r.filter.failed, "are not chosen, because the mapping of --where fails for them or gives no boolean")
	if r.failed.finish(); len(r.failed.Groups) > 0 {
		fmt.Fprintln(r.out, "failed again:")
		r.failed.table(r.out)
	}
	if a.Perhaps+a.Doubt > 0 {
		fmt.Fprintf(r.out, "the mark is in %s\n", r.marks)
	}
	switch {
	case err != nil:
		return fmt.Errorf("the account does not balance: %w", err)
	case !a.balances():
		return fmt.Errorf("the account does not balance: chosen %d, delivered %d, failed again %d, dropped %d, left %d", a.Chosen, a.Delivered, a.FailedAgain, a.Dropped, a.Left)
	}
	fmt.Fprintln(r.out, "the account balances")
	return nil
}
