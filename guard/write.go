package guard

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/isolate"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// write is one call of Guard.Write: its records and their verdicts.
type write struct {
	guard    *Guard
	ctx      context.Context // ends with the caller's context, or when the write gives up
	cancel   func()
	began    time.Time
	records  []*kgo.Record
	verdicts []Verdict
	slots    []slot
	all      []*slot
	sending  []*partition.Record
	sent     *partition.Write
	dirty    bool // the Policy may still read the slots
	hasty    bool // do not wait for another write's probe
}

// errBudget is the cause of a write that ends after max_elapsed_time.
var errBudget = errors.New("given up after retry.max_elapsed_time")

// begin opens a slot for each record.
func (g *Guard) begin(ctx context.Context, records []*kgo.Record) *write {
	w, _ := g.writes.Get().(*write)
	if w == nil {
		w = &write{guard: g, sent: partition.NewWrite()}
	}
	w.ctx, w.began, w.records, w.verdicts, w.cancel, w.hasty = ctx, time.Now(), records, make([]Verdict, len(records)), nil, false
	if most := g.config.Retry.MaxElapsedTime; most > 0 {
		w.cancel = w.endAfter(most)
	}
	if len(records) > cap(w.slots) {
		w.slots = make([]slot, len(records))
		w.all = make([]*slot, len(records))
		w.sending = make([]*partition.Record, len(records))
		for i := range w.slots {
			s := &w.slots[i]
			s.write, s.index, s.Owner, s.Write = w, int32(i), s, w.sent
			w.all[i] = s
		}
	}
	w.slots, w.all = w.slots[:len(records)], w.all[:len(records)]
	return w
}

// end returns the verdicts, and makes the write ready for reuse.
func (w *write) end() []Verdict {
	if w.cancel != nil {
		w.cancel()
	}
	verdicts := w.verdicts
	if !w.dirty {
		w.ctx, w.records, w.verdicts = nil, nil, nil
		w.guard.writes.Put(w)
	}
	return verdicts
}

// endAfter makes the write give up after max_elapsed_time, unless it makes progress:
// while its records end one after the other, as in isolation, it gets more time.
func (w *write) endAfter(most time.Duration) (cancel func()) {
	const look, atMost = time.Second, 10 * time.Second
	ctx, giveUp := context.WithCancelCause(w.ctx)
	w.ctx = ctx
	began, sent := w.began, w.sent
	seen := int64(-1)
	var timer *time.Timer
	timer = time.AfterFunc(time.Hour, func() { // until Reset below
		if now := sent.Progress.Load(); now != seen && time.Since(began) < most+atMost {
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

// prepare prepares the slots. It fails records with an illegal topic. It returns the
// others when the limits of their topics are known.
func (w *write) prepare() (open []*slot) {
	var topics distinct
	legal := "" // the last topic
	passed := 0
	for i := range w.slots {
		s := &w.slots[i]
		r := w.records[i]
		s.Record.Record = r
		s.isolation, s.held, s.waitsFor = isolate.State{}, nil, waitKey{}
		if f := w.guard.checkTopic(r, legal); f != nil {
			s.fail(f, NotWritten)
			continue
		}
		legal = r.Topic
		s.Prepare()
		topics.add(r.Topic)
		passed++
	}
	open = w.all
	if passed < len(w.all) {
		open = unsettled(w.all)
	}
	w.guard.limits.Learn(w.ctx, topics.names)
	return w.failMissing(open, topics.names)
}

// failMissing fails the slots whose topics do not exist, if that class is permanent,
// and returns the others. It looks up a topic that was not written to yet, to read its
// limits. A result of the last second counts, so that such records cause no request and
// take no room.
func (w *write) failMissing(open []*slot, topics []string) []*slot {
	g := w.guard
	if g.settings.autoCreate || !g.permanent(UnknownTopic) {
		return open
	}
	var missing []string
	for _, topic := range topics {
		if g.limits.Of(topic).Missing() && !g.producer.Uses(topic) {
			missing = append(missing, topic)
		}
	}
	if len(missing) == 0 {
		return open
	}
	g.limits.Refresh(w.ctx, missing)
	reasons := map[string]error{}
	for _, topic := range missing {
		if r := g.limits.Of(topic); r.Missing() {
			reasons[topic] = r.Unknown
		}
	}
	for _, s := range open {
		if why := reasons[s.record().Topic]; why != nil {
			s.failFor(UnknownTopic, NotWritten, "", why)
		}
	}
	return unsettled(open)
}

// distinct collects different names. Mostly a name is the same as the last one.
type distinct struct {
	names []string
	seen  map[string]struct{} // nil until there are two
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

// deliver sends as many of the slots as may fit into the buffer. When these are settled
// it returns the others.
func (w *write) deliver(open []*slot) (rest []*slot) {
	g := w.guard
	if len(open) == 0 {
		return nil
	}
	now, rest, bytes, probe := w.choose(open)
	if len(now) == 0 {
		w.waitForProbe(probe)
		return rest
	}
	n, release, err := w.admit(now, bytes)
	if err != nil {
		for _, s := range now {
			s.endProbe()
		}
		for _, s := range open {
			s.failFor(Transient, NotWritten, "not sent", err)
		}
		return nil
	}
	defer release()
	if n < len(now) {
		for _, s := range now[n:] {
			s.endProbe() // another record may confirm the limit
		}
		now, rest = now[:n], slices.Concat(now[n:], rest)
	}
	sending, special := w.sending[:0], false
	for _, s := range now {
		special = g.mark(s) || special
		sending = append(sending, &s.Record)
	}
	if special {
		others, behind := isolate.Split(sending)
		sending = slices.Concat(others, behind)
	}
	w.sent.Expect(len(now))
	g.producer.Send(sending)
	w.wait(now, sending)
	for _, s := range now {
		s.settle()
		s.endProbe()
	}
	return rest
}

const (
	// giveUpGrace is how long a broker may take to answer a batch in flight after its
	// write gave up.
	giveUpGrace = time.Second
	// lookEvery is how often a write counts records that have waited long.
	lookEvery = time.Second
)

// wait waits until the records have ended. When the write gives up it withdraws the
// records that are not in flight at once, and the others after giveUpGrace.
func (w *write) wait(slots []*slot, records []*partition.Record) {
	select { // the usual case
	case <-w.sent.Done:
		return
	default:
	}
	look := time.NewTimer(lookEvery)
	late := time.NewTimer(cmp.Or(w.guard.settings.deliveryTimeout, math.MaxInt64))
	for {
		select {
		case <-w.sent.Done:
			return
		case <-look.C:
			look.Reset(lookEvery)
			w.guard.waits.forAck(w, slots)
		case <-late.C:
			late.Reset(lookEvery) // a record that was not in doubt may be by then
			w.timeOut(records)
		case <-w.ctx.Done():
			w.giveUp(records)
			return
		}
	}
}

// giveUp ends all records.
func (w *write) giveUp(records []*partition.Record) {
	why := context.Cause(w.ctx)
	p := w.guard.producer
	p.Withdraw(records, partition.Queued, w.reasonFor(why))
	select {
	case <-w.sent.Done:
		return
	case <-time.After(giveUpGrace):
	}
	p.Withdraw(records, partition.All, w.reasonFor(why))
	w.dirty = true
	<-w.sent.Done
}

// timeOut ends records that are in doubt and were not acked within
// record_delivery_timeout. Without retries it ends all others, too.
func (w *write) timeOut(records []*partition.Record) {
	which := partition.Queued
	if w.guard.config.Retry.InitialInterval > 0 {
		which = partition.Doubtful
	}
	w.guard.producer.Withdraw(records, which, w.reasonFor(kgo.ErrRecordTimeout))
}

// reasonFor returns the reason of a record that is given up. The failure for which it
// was held says more than the end of the write.
func (w *write) reasonFor(why error) func(*partition.Record) error {
	return func(r *partition.Record) error {
		s := slotOf(r)
		if s == nil {
			return why
		}
		if f := w.guard.waits.heldFor(s); f != nil {
			return f
		}
		cause := r.Trouble()
		if cause == nil {
			cause = w.guard.producer.Trouble()
		}
		if cause == nil {
			return why
		}
		f := &Failure{Class: Transient, Cause: cause}
		if errors.Is(why, errBudget) {
			f.Problem = why.Error()
		}
		if m := code.OfError(cause); m.Class != code.None && m.Scope == code.OfPartition {
			f.Class = Class(m.Class)
		}
		return f
	}
}
