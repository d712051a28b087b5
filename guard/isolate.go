package guard

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// isolate finds the culprits among the suspects of a part and delivers all
// others, and the records that go alone. In each partition it is a search of its
// own, by the solo client, with nothing else under way there.
//
// judged says that rules which are fresh have condemned some suspects: what is
// left of a group may well be taken as a whole.
func (w *write) isolate(p *part, suspects, alone []*slot, judged bool) {
	if len(suspects)+len(alone) == 0 {
		return
	}
	gen, err := w.guard.solo(p)
	if err != nil {
		w.leave(slices.Concat(suspects, alone), err)
		return
	}
	defer w.guard.done(gen)
	searches := map[wire.Partition]*search{}
	var order []*search
	of := func(s *slot) *search {
		tp := wire.Partition{Topic: s.record().Topic, Partition: s.record().Partition}
		if searches[tp] == nil {
			searches[tp] = newSearch(w, p, gen, tp)
			order = append(order, searches[tp])
		}
		return searches[tp]
	}
	held := w.heldTopics(p, alone)
	for _, s := range suspects {
		i := of(s)
		i.suspects = append(i.suspects, s)
	}
	for _, s := range alone {
		if f := held[s.record().Topic]; f != nil {
			s.fail(&Failure{Class: Transient, Topic: f.Topic, Partition: -1, Problem: "not sent, it must not overtake what comes before it", Cause: f}, NotWritten)
			continue
		}
		if s.refusal.alone || w.place(s) { // what was refused stays in its partition
			i := of(s)
			i.alone = append(i.alone, s)
		}
	}
	var wg sync.WaitGroup
	for _, i := range order {
		wg.Go(func() { i.run(judged) })
	}
	wg.Wait()
}

// heldTopics returns, by topic, a failure that the part's batches had and that may
// pass: what goes alone must not overtake them.
func (w *write) heldTopics(p *part, alone []*slot) map[string]*Failure {
	if len(alone) == 0 {
		return nil
	}
	held := map[string]*Failure{}
	for _, s := range p.all {
		if w.mayPass(s) {
			held[s.record().Topic] = s.verdict().Failure
		}
	}
	return held
}

// leave settles suspects whose own part in a refusal was not found out: they may
// well be innocent.
func (w *write) leave(slots []*slot, why error) {
	for _, s := range slots {
		s.fail(&Failure{
			Class: Transient, Topic: s.record().Topic, Partition: s.record().Partition,
			Problem: "in a batch that the broker refused, its own part in it not found out", Cause: why,
		}, NotWritten)
	}
}

// search is the search for the culprits in one partition. It holds the
// partition's lane.
type search struct {
	write    *write
	part     *part
	gen      *generation
	tp       wire.Partition
	suspects []*slot
	alone    []*slot // that come after them
	sent     moment  // when a group was, the last time

	// The raw sizes of the largest batch that was taken, and of the smallest
	// that was refused for its size, or is over the limit. They only choose
	// what to send together.
	taken, refused int
	witness        *witness
	halveSizes     bool // the widest gap in size was not where they are refused
	// What waits behind a record that failed for a reason that may pass, so
	// that it does not overtake it: all that follows, or all with its key.
	held     *Failure
	heldKeys map[string]*slot
	// busy is done once kgo is done with all that the search handed over.
	busy sync.WaitGroup
}

func newSearch(w *write, p *part, gen *generation, tp wire.Partition) *search {
	limit, _ := w.guard.limit(w.guard.rules.of(tp.Topic))
	if most := int(w.guard.requestLimit.Load()); most > 0 {
		limit = min(limit, most-requestOverhead)
	}
	return &search{write: w, part: p, gen: gen, tp: tp, refused: limit + 1}
}

func (i *search) run(judged bool) {
	w := i.write
	if !i.inLane(func() {
		if len(i.suspects) > 0 {
			// A broker that names the culprits does it for all of them at once.
			names := w.guard.namesRightly.Load() && classify(i.suspects[0].err).class == InvalidRecord
			i.clear(i.suspects, judged || names || len(i.suspects) == 1)
		}
		for _, s := range i.alone {
			i.clear([]*slot{s}, true)
		}
		// Whoever was refused before anything was accepted is heard once more.
		for _, s := range slices.Concat(i.suspects, i.alone) {
			if s.refusal.alone && w.mayPass(s) && w.guard.controlled(s, w.guard.accepted.now(i.tp)) {
				s.reopen()
				i.held, i.heldKeys = nil, nil
				i.send([]*slot{s}, false)
			}
		}
	}) {
		w.leave(slices.Concat(i.suspects, i.alone), context.Cause(w.ctx))
	}
}

// inLane waits for the partition's lane and searches. It reports whether it did
// before the write's context ended.
func (i *search) inLane(search func()) bool {
	w := i.write
	unlock, ok := w.guard.lanes.try(i.tp)
	if !ok {
		leave := w.guard.waits.enter(w.waiting(slices.Concat(i.suspects, i.alone), Transient.String(), func() error { return errLane }))
		var err error
		unlock, err = w.guard.lanes.lock(w.ctx, i.tp)
		leave(err != nil)
		if err != nil {
			return false
		}
	}
	// The lane is free once kgo is done with what was sent in it.
	defer func() {
		if w.ctx.Err() == nil {
			unlock()
			return
		}
		go func() {
			i.busy.Wait()
			unlock()
		}()
	}()
	search()
	return true
}

var errLane = errors.New("the search in the partition for what was refused there goes on")

// clear settles a group of suspects. The group is sent as a whole first, unless
// it is known that it would be refused. It reports whether all of it was taken.
//
// Where the broker names nobody, halves are sent, until whoever is refused stands
// alone: per level one request for each half, and none for a right half that must
// have the culprit, since the left one was taken.
func (i *search) clear(group []*slot, send bool) (allTaken bool) {
	if group = unsettled(group); len(group) == 0 {
		return true
	}
	if len(group) == 1 || send && batchSize(group) < i.refused {
		sent := len(group)
		var refusal *wire.Event
		switch group, refusal, allTaken = i.send(group, false); {
		case len(group) == 0:
			return allTaken
		case refusal == nil && len(group) < sent:
			return i.clear(group, true) // the others left in another batch
		case refusal != nil && i.named(group, refusal):
			return false
		}
	}
	if err := group[0].err; err != nil && classify(err).class == SizeExceeded { // a group that was not sent yet has none
		if rest := i.bySize(group); len(rest) < len(group) {
			i.clear(rest, true)
			return false
		}
	}
	half := len(group) / 2
	left, right := group[:half], group[half:]
	leftTaken := i.clear(left, true)
	// With the left half taken, the right one has the culprit, unless it was
	// the sum that was too large.
	sendRight := !leftTaken || batchSize(right) <= i.taken
	rightTaken := i.clear(right, sendRight)
	return leftTaken && rightTaken
}

// batchSize returns the raw size of a batch of the slots' records, at least.
func batchSize(slots []*slot) int {
	n := batchOverhead
	for _, s := range slots {
		n += int(s.size) - batchOverhead
	}
	return n
}

// send sends the group, with nothing else under way in the partition, and returns
// those that are still suspects, with the broker's answer if they were one batch.
// A record that stood alone is none: it has its verdict. With exclusively, no
// other partition's records are under way either.
func (i *search) send(group []*slot, exclusively bool) (suspects []*slot, refusal *wire.Event, allTaken bool) {
	w := i.write
	group = i.mayGo(group)
	if len(group) == 0 {
		return nil, nil, false
	}
	i.sent = w.guard.accepted.now(i.tp)
	since, ok := i.handOver(group, exclusively)
	if !ok {
		return nil, nil, false
	}
	allTaken = true
	for _, s := range group {
		if !w.settle(i.gen, s, since) {
			suspects = append(suspects, s)
			continue
		}
		allTaken = allTaken && s.verdict().Outcome == Delivered
		if w.mayPass(s) {
			i.hold(s)
		}
		if f := s.verdict().Failure; f != nil && spoils(f) {
			w.guard.spoil(i.gen)
		}
	}
	size := batchSize(group)
	if len(suspects) == 0 {
		if allTaken {
			i.taken = max(i.taken, size)
			if len(group) == 1 {
				w.guard.bounds.get(i.tp.Topic).aloneAccepted(size)
			}
		}
		return nil, nil, allTaken
	}
	refusal = i.refusal(suspects, since)
	if w.guard.surprised(suspects[0]) {
		w.guard.bounds.get(i.tp.Topic).refused()
	}
	if classify(suspects[0].err).class == SizeExceeded {
		i.refused = min(i.refused, size)
	}
	now := w.guard.accepted.now(i.tp)
	for _, s := range suspects {
		if s.refusal.first() {
			s.refusal.moment = now
		}
	}
	if len(group) > 1 {
		return suspects, refusal, false
	}
	i.convict(group[0], refusal, exclusively)
	return nil, nil, false
}

// handOver gives the group to the solo client. If it can't, the group is settled, and
// what comes after it waits.
func (i *search) handOver(group []*slot, exclusively bool) (since wire.Mark, ok bool) {
	w := i.write
	leave, err := w.guard.crowd.join(w.ctx, exclusively, batchSize(group)+requestOverhead, w.guard.requestLimit.Load())
	if err != nil {
		w.leave(group, err)
		for _, s := range group {
			i.hold(s)
		}
		return 0, false
	}
	i.busy.Add(1)
	return w.handOver(i.part, i.gen, group, func() {
		leave()
		i.busy.Done()
	}), true
}

// refusal returns the broker's answer to the batch of the suspects, nil if they
// were in more than one.
func (i *search) refusal(suspects []*slot, since wire.Mark) *wire.Event {
	h := i.gen.log.Since(i.tp, since)
	for n := len(h.Events) - 1; n >= 0; n-- {
		if e := &h.Events[n]; e.Code != 0 && !e.Passing {
			if e.Records == len(suspects) {
				return e
			}
			return nil
		}
	}
	return nil
}

// convict settles a suspect that was refused when it stood alone. Where that is
// no proof, it is held.
func (i *search) convict(s *slot, e *wire.Event, exclusively bool) {
	w, g := i.write, i.write.guard
	switch {
	case e == nil:
		w.leave([]*slot{s}, s.err)
		i.hold(s)
		return
	case !e.Alone && !exclusively:
		// It was alone in its batch, but not in the request: some gateways
		// refuse a request for any record in it.
		i.send([]*slot{s}, true)
		return
	}
	r := classify(s.err)
	if !g.proof(s, e, i.sent) {
		s.refusal.alone = true
		s.failFor(Transient, NotWritten, "refused alone, which may be no fault of its own: "+explain(s, e), s.err)
		i.hold(s)
		return
	}
	s.failFor(r.class, NotWritten, words(e, 0), s.err)
	switch {
	case r.class == SizeExceeded:
		sent := g.settings.sentSize(s.record(), int(s.size))
		i.condemn(s, sent, e)
		i.testify(s, sent, e)
		i.condemnDominated()
		if rules := g.rules.of(i.tp.Topic); !rules.Known {
			g.bounds.any.Store(true)
			if g.bounds.get(i.tp.Topic).aloneRefused(int(s.size)) {
				g.config.OnBound(i.tp.Topic, int(s.size))
			}
		}
	case len(e.Named) == 1 && e.Named[0].Index == 0: // it counts from zero, as we do
		g.namesRightly.Store(true)
		i.learnKeys(e)
	}
}

// condemn gives a slot that is too large the sizes that its failure tells of.
func (i *search) condemn(s *slot, sent int, e *wire.Event) {
	f := s.verdict().Failure
	f.Bytes, f.LimitName, f.Limit = sent, limitOf(e.Code), limitIn(e.Message)
}
