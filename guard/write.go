package guard

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// write is one call of Guard.Write: its records and their verdicts.
type write struct {
	guard    *Guard
	ctx      context.Context // ends with the caller's, or when the write is to give up
	began    time.Time
	records  []*kgo.Record
	verdicts []Verdict
	slots    []slot
	all      []*slot           // the slots
	values   []context.Context // the records' own Contexts, nil if they have none
	dirty    atomic.Bool       // kgo may still come back to the slots
	progress atomic.Int64      // counts hand-overs that are done
}

// slot is the place of one record in a write. It rides in the record's Context
// to where kgo is done with the record, and so needs no allocation of its own.
type slot struct {
	write *write
	index int32
	size  int32 // raw
	// unstamped is set for a record without a timestamp of its own: it is
	// given the time of each hand-over.
	unstamped bool
	// suspected is kept when the record is sent again.
	suspected bool
	// held is why it was held before it was sent again.
	held *Failure
	landing
	refusal
}

func (s *slot) record() *kgo.Record { return s.write.records[s.index] }
func (s *slot) verdict() *Verdict   { return &s.write.verdicts[s.index] }

// errBudget is why a write ends whose time is over.
var errBudget = errors.New("given up after retry.max_elapsed_time")

// begin opens a slot for each record.
func (g *Guard) begin(ctx context.Context, records []*kgo.Record) (w *write, end func() []Verdict) {
	w, _ = g.writes.Get().(*write)
	if w == nil {
		w = &write{guard: g}
	}
	w.ctx, w.began, w.records, w.verdicts = ctx, time.Now(), records, make([]Verdict, len(records))
	cancel := func() {}
	if most := g.config.Retry.MaxElapsedTime; most > 0 {
		cancel = w.endAfter(most)
	}
	if len(records) > cap(w.slots) {
		w.slots = make([]slot, len(records))
		w.all = make([]*slot, len(records))
		for i := range w.slots {
			s := &w.slots[i]
			s.write, s.index = w, int32(i)
			w.all[i] = s
		}
	}
	w.slots, w.all = w.slots[:len(records)], w.all[:len(records)]
	g.writers.Add(1)
	return w, func() []Verdict {
		g.writers.Add(-1)
		cancel()
		verdicts := w.verdicts
		if !w.dirty.Load() {
			w.ctx, w.records, w.verdicts, w.values = nil, nil, nil, nil
			g.writes.Put(w)
		}
		return verdicts
	}
}

// endAfter has the write give up once its time is over and it does not get on: a
// search for culprits that does has some time more.
func (w *write) endAfter(most time.Duration) (cancel func()) {
	const look, searchAtMost = time.Second, 10 * time.Second
	ctx, giveUp := context.WithCancelCause(w.ctx)
	w.ctx = ctx
	began := w.began // the write may be another one's by the time that this looks
	seen := int64(-1)
	var timer *time.Timer
	timer = time.AfterFunc(time.Hour, func() { // until it is set below
		if now := w.progress.Load(); now != seen && time.Since(began) < most+searchAtMost {
			seen = now
			timer.Reset(look)
			return
		}
		giveUp(errBudget)
	})
	timer.Reset(most)
	return func() {
		timer.Stop()
		giveUp(nil)
	}
}

// preflight settles the records that no request is needed to refuse, by rules
// that are fresh enough to condemn by, and returns the others.
func (w *write) preflight() (open []*slot) {
	var topics distinct
	legal := "" // the last topic
	passed := 0
	for i := range w.slots {
		s := &w.slots[i]
		r := s.record()
		if f := w.guard.preflightTopic(r, legal); f != nil {
			s.fail(f, NotWritten)
			continue
		}
		legal = r.Topic
		s.suspected, s.held, s.refusal, s.unstamped = false, nil, refusal{}, r.Timestamp.IsZero()
		s.reset()
		if r.Context != nil {
			if w.values == nil {
				w.values = make([]context.Context, len(w.slots))
			}
			w.values[i] = r.Context
		}
		s.size = int32(min(rawSize(r), math.MaxInt32))
		topics.add(r.Topic)
		passed++
	}
	open = w.all
	if passed < len(w.all) {
		open = unsettled(w.all)
	}
	w.guard.rules.learn(w.ctx, topics.names)
	return w.judge(open)
}

// distinct collects names that are often the same as the last one.
type distinct struct {
	names []string
	seen  map[string]struct{} // once there are two
}

func (d *distinct) add(name string) {
	switch {
	case len(d.names) == 0:
		d.names = []string{name}
		return
	case d.names[len(d.names)-1] == name:
		return
	case d.seen == nil:
		d.seen = map[string]struct{}{d.names[0]: {}}
	}
	if _, ok := d.seen[name]; !ok {
		d.seen[name] = struct{}{}
		d.names = append(d.names, name)
	}
}

// judge settles those of the slots that the rules condemn, and returns the
// others. Rules that condemn are read again first, unless they are fresh.
func (w *write) judge(slots []*slot) (passed []*slot) {
	g := w.guard
	type sentence struct {
		slot  *slot
		rules *Rules
		*Failure
	}
	var condemned []sentence
	var topics distinct
	var rules *Rules
	var harmless func(r *kgo.Record, raw int) bool
	for _, s := range slots {
		if rules == nil || rules.Topic != s.record().Topic {
			rules = g.rules.of(s.record().Topic)
			harmless = g.harmless(rules)
		}
		if harmless(s.record(), int(s.size)) {
			continue
		}
		if f := g.preflight(s.record(), int(s.size), rules.mildest()); f != nil {
			condemned = append(condemned, sentence{s, rules, f})
			topics.add(rules.Topic)
		}
	}
	if len(condemned) == 0 {
		return slots
	}
	asked := time.Now()
	g.rules.refresh(w.ctx, topics.names)
	for _, c := range condemned {
		now := g.rules.of(c.rules.Topic)
		f := g.preflight(c.slot.record(), int(c.slot.size), now.condemning())
		if f != nil && now.Known && !ownLimit(f) && now.read.Before(asked.Add(-rulesFresh)) {
			f = nil // who does not answer may have milder rules by now
		}
		if f != nil {
			f.Partition = c.slot.partition()
			c.slot.fail(f, NotWritten)
		}
	}
	return unsettled(slots)
}

// unsettled returns those of the slots that have no verdict yet.
func unsettled(slots []*slot) (open []*slot) {
	for _, s := range slots {
		if !s.settled() {
			open = append(open, s)
		}
	}
	return open
}

// settled reports whether the slot has its verdict.
func (s *slot) settled() bool {
	return s.verdict().Outcome == Delivered || s.verdict().Failure != nil
}

// reopen takes the verdict of a held slot back: it is sent again.
func (s *slot) reopen() {
	s.held = s.verdict().Failure
	*s.verdict() = Verdict{Partition: -1, Offset: -1}
}

func (s *slot) deliver(answers bool) {
	v := s.verdict()
	v.Outcome, v.Class, v.Suspected = Delivered, None, s.suspected
	r := s.record()
	v.Partition, v.Offset, v.Timestamp = r.Partition, -1, r.Timestamp
	if answers {
		v.Offset = r.Offset
	}
}

func (s *slot) fail(f *Failure, outcome Outcome) {
	f.Outcome = outcome
	v := s.verdict()
	v.Outcome, v.Class, v.Suspected = outcome, f.Class, s.suspected
	v.Partition, v.Offset, v.Failure = f.Partition, -1, f
}

// failFor settles the slot with an error, of the broker or of the client.
func (s *slot) failFor(class Class, outcome Outcome, problem string, cause error) {
	if s.held != nil && outcome == NotWritten && s.write.ctx.Err() != nil && class == Transient {
		s.fail(s.held, NotWritten) // the end of the write says less
		return
	}
	s.fail(&Failure{Class: class, Topic: s.record().Topic, Partition: s.partition(), Problem: problem, Cause: cause}, outcome)
}

// abandon settles as not written what was never handed over.
func (w *write) abandon(open []*slot, why error) {
	for _, s := range open {
		if !s.settled() {
			s.failFor(Transient, NotWritten, "not sent", why)
		}
	}
}
