package guard

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// where says where a record is that was handed over to kgo.
type where int32

const (
	inTheAir     where = iota // kgo has it, and no partition for it yet
	placed                    // it is buffered for a partition, or under way
	acknowledged              // done: the broker has it
	failed                    // done: with an error, after it was placed
	neverPlaced               // done: with an error, and no partition had it
	strayed                   // done: its partitioner chose a partition that the topic does not have
)

// landing is where a slot's record is, and the error that it got there with.
type landing struct {
	at  atomic.Int32 // a where
	err error        // once it failed, was never placed, or strayed
	end bool         // it is the last of its hand-over
}

func (l *landing) where() where   { return where(l.at.Load()) }
func (l *landing) landed() bool   { return l.where() >= acknowledged }
func (l *landing) reset()         { l.err, l.end = nil, false; l.at.Store(int32(inTheAir)) }
func (l *landing) to(where where) { l.at.Store(int32(where)) }

// partition returns the partition of a record that kgo is done with, -1 if it
// never got one.
func (s *slot) partition() int32 {
	if w := s.where(); w == acknowledged || w == failed || w == placed {
		return s.record().Partition
	}
	return -1
}

// The Context of a record that is being produced never ends by itself. It has the
// values of the record's own.
func (*slot) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*slot) Done() <-chan struct{}       { return nil }
func (*slot) Err() error                  { return nil }
func (s *slot) Value(key any) any {
	if own := s.own(); own != nil {
		return own.Value(key)
	}
	return nil
}

// own returns the record's own Context.
func (s *slot) own() context.Context {
	if s.write.values == nil {
		return nil
	}
	return s.write.values[s.index]
}

// landings is the one hook that all records share: kgo calls it when a record has
// a partition, and when it is done with the record.
type landings struct{ log *wire.Log }

func (l landings) OnProduceRecordPartitioned(r *kgo.Record, _ int32) {
	if s, ok := r.Context.(*slot); ok {
		s.to(placed)
		l.handedOver(s)
	}
}

func (l landings) OnProduceRecordUnbuffered(r *kgo.Record, err error) {
	s, ok := r.Context.(*slot)
	if !ok {
		return
	}
	at := s.where()
	switch {
	case err == nil:
		s.to(acknowledged)
		return
	case at == strayed:
	case at == placed:
		s.err = err
		s.to(failed)
		return
	default:
		s.err = err
		s.to(neverPlaced)
	}
	l.handedOver(s)
}

func (l landings) handedOver(s *slot) {
	if s.end {
		l.log.HandedOver()
	}
}

// handOver gives the records to a client and waits until it is done with them
// all, or the write's context ends. It returns the mark of the client's log from
// before. done is called once kgo is done with them.
//
// kgo.ProduceSync has the records linger until the last is handed over, so that
// they leave in as few batches as can be. Then it sends them at once. Where the
// linger is over before, the connection waits for the last.
func (w *write) handOver(p *part, gen *generation, slots []*slot, done func()) (since wire.Mark) {
	since = gen.log.Now()
	slots = w.introduce(gen, slots)
	if len(slots) == 0 {
		done()
		return since
	}
	records := w.records
	if len(slots) < len(w.slots) {
		records = make([]*kgo.Record, len(slots))
		for i, s := range slots {
			records[i] = s.record()
		}
	}
	for _, s := range slots {
		s.reset()
		s.record().Context = s
		if s.unstamped {
			s.record().Timestamp = time.Time{}
		}
	}
	slots[len(slots)-1].end = true
	ctx := &cancelable{done: make(chan struct{}), numbered: w.guard.settings.idempotent}
	finished := make(chan struct{})
	w.guard.borrow(gen)
	p.busy.Go(func() {
		defer close(finished)
		defer done()
		defer w.guard.done(gen)
		gen.log.HandingOver()
		gen.ProduceSync(ctx, records...)
	})
	if !w.await(gen, finished, slots) {
		// Whatever kgo has not sent yet must not be sent any more.
		ctx.cancel()
		if !within(finished, giveUpGrace) && !w.guard.endDead(gen) {
			w.dirty.Store(true)
			return since
		}
		<-finished
	}
	w.progress.Add(1)
	for _, s := range slots {
		s.record().Context = s.own()
	}
	return since
}

// cancelable is the context of a hand-over. It ends when that is given up, and at
// no other time: kgo fails all of a partition when that of its first record ends.
//
// Without sequence numbers it can't be waited for. kgo would end the request that
// is under way, and send again what it has of others in it, and nothing tells the
// broker that it has that already. Before it makes a request, kgo asks anew.
type cancelable struct {
	done     chan struct{}
	numbered bool // batches have sequence numbers
}

func (*cancelable) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*cancelable) Value(any) any               { return nil }
func (c *cancelable) cancel()                   { close(c.done) }
func (c *cancelable) Done() <-chan struct{} {
	if !c.numbered && c.Err() == nil {
		return nil
	}
	return c.done
}
func (c *cancelable) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

// giveUpGrace is how long kgo may take to hand back what a write has given up.
const giveUpGrace = time.Second

func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// await waits for kgo to be done, and reports whether it is before the write's
// context ends. When it takes long, it tells, and looks for the reason.
func (w *write) await(gen *generation, finished <-chan struct{}, slots []*slot) bool {
	const lookEvery = time.Second
	look := time.NewTimer(lookEvery)
	defer look.Stop()
	var leave func(gaveUp bool)
	for {
		gaveUp := false
		select {
		case <-finished:
		case <-w.ctx.Done():
			gaveUp = true
		case <-look.C:
			look.Reset(lookEvery)
			open := slices.DeleteFunc(slices.Clone(slots), (*slot).landed)
			if leave == nil && len(open) > 0 {
				leave = w.guard.waits.enter(w.waiting(open, Transient.String(), func() error { return gen.trouble(open) }))
			}
			w.guard.shrink(gen)
			continue
		}
		if leave != nil {
			leave(gaveUp)
		}
		return !gaveUp
	}
}

// settle gives a slot that was handed over its verdict, unless it is a suspect.
func (w *write) settle(gen *generation, s *slot, since wire.Mark) bool {
	switch s.where() {
	case acknowledged:
		s.deliver(w.guard.settings.answers)
	case strayed:
		s.fail(w.noSuchPartition(s), NotWritten)
	case neverPlaced:
		s.failFor(classify(s.err).class, NotWritten, "", s.err)
		if s.verdict().Class == SizeExceeded { // by kgo, which looks at the raw size
			f := s.verdict().Failure
			f.Bytes, f.Limit, f.LimitName = int(s.size), w.guard.settings.maxRequestBytes-requestOverhead, limitBrokerWriteMaxBytes
		}
	case failed:
		r := classify(s.err)
		outcome := w.outcome(gen, s, r, since)
		switch {
		case r.reach == ofBatch && outcome == NotWritten:
			s.suspected = true
			return false
		case r.reach == ofBatch && !w.stoodAlone(gen, s, since): // whom the refusal is about is not to be found out
			s.failFor(Transient, outcome, "in a batch that was refused after an attempt without an answer", s.err)
		default:
			s.failFor(r.class, outcome, "", s.err)
		}
	default:
		// Not yet handed back, though the write is over.
		s.fail(&Failure{Class: Transient, Topic: s.record().Topic, Partition: s.partition(), Cause: context.Cause(w.ctx)}, Unknown)
	}
	return true
}
