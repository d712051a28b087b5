package guard

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// tryLikely looks for records that are like ones which were refused before, where the
// rules are not known: as large, or without a key. They are tried by themselves, and
// spoil no batch.
//
// Of the large ones of a topic that one broker leads, one is sent alone. If it is
// refused again, it is the witness against all that are no smaller. Those without a key
// are sent together, for a broker to name them.
//
// Meanwhile the others may be sent: it returns those, and what then waits for the tries
// and returns the rest, with all that must not overtake it.
func (w *write) tryLikely(open []*slot) (others []*slot, rest func() []*slot) {
	none := func() []*slot { return nil }
	if !w.guard.bounds.any.Load() {
		return open, none // nearly always
	}
	large, keyless := w.likely(open)
	likely := slices.Concat(large, keyless)
	if len(likely) == 0 {
		return open, none
	}
	slices.Sort(likely)
	others, behind := split(open, likely)
	var wg sync.WaitGroup
	for _, t := range w.tries(open, large) {
		if t.first != nil {
			wg.Go(func() { w.try(t) })
		}
	}
	for at, slots := range w.groups(open, keyless) {
		wg.Go(func() { w.tryTogether(at, slots) })
	}
	return others, func() []*slot {
		wg.Wait()
		return unsettled(behind)
	}
}

// likely returns where in the open slots those are that may be too large, and those
// that may need a key.
func (w *write) likely(open []*slot) (large, keyless []int) {
	g := w.guard
	var rules *Rules
	var single int
	var needsKey bool
	for n, s := range open {
		if rules == nil || rules.Topic != s.record().Topic {
			rules = g.rules.of(s.record().Topic)
			b := g.bounds.of(rules)
			single, needsKey = b.single(), b.needsKey()
		}
		switch {
		case int(s.size) >= single:
			large = append(large, n)
		case needsKey && s.record().Key == nil:
			keyless = append(keyless, n)
		}
	}
	return large, keyless
}

// split divides the open slots into those that may go before the likely ones, and the
// likely ones, given in order, with all that come behind one and have its key.
func split(open []*slot, likely []int) (others, behind []*slot) {
	keys := map[string]bool{}
	for n, s := range open {
		key := s.record().Key
		is := len(likely) > 0 && n == likely[0]
		if is {
			likely = likely[1:]
			if key != nil {
				keys[string(key)] = true
			}
		}
		if is || key != nil && keys[string(key)] {
			behind = append(behind, s)
		} else {
			others = append(others, s)
		}
	}
	return others, behind
}

// groups returns the records without a key by the partition that they go to, as many as
// there may be room for.
func (w *write) groups(open []*slot, keyless []int) map[wire.Partition][]*slot {
	g := w.guard
	groups := map[wire.Partition][]*slot{}
	anywhere := map[string]int32{}
	bytes := int64(0)
	for n, at := range keyless {
		s := open[at]
		rules := g.rules.of(s.record().Topic)
		bytes += int64(bufferedSize(s.record()))
		if to, ok := w.goesTo(rules, s, anywhere); ok && g.room.fits(n+1, bytes) {
			tp := wire.Partition{Topic: rules.Topic, Partition: to}
			groups[tp] = append(groups[tp], s)
		}
	}
	return groups
}

// goesTo returns the partition that a record goes to, anywhere those without one of
// their own, which is the same for all of a topic.
func (w *write) goesTo(rules *Rules, s *slot, anywhere map[string]int32) (to int32, ok bool) {
	if rules.Partitions == 0 {
		return 0, false
	}
	if to := w.guard.destination(rules, s); to >= 0 {
		return int32(to), true
	}
	to, ok = anywhere[rules.Topic]
	if !ok {
		to = int32(w.guard.choices.choose(w.guard.settings.partitioner, s.record(), rules.Partitions))
		anywhere[rules.Topic] = to
	}
	return to, 0 <= to && int(to) < rules.Partitions
}

// tryTogether sends records without a key, and finds out who of them is to blame.
func (w *write) tryTogether(at wire.Partition, slots []*slot) {
	i := w.newTry(at, slots)
	i.suspects = slots
	i.refused = min(i.refused, i.part.topics[0].target+1)
	i.try(func() { i.clear(slots, true) })
	if slices.ContainsFunc(slots, func(s *slot) bool { return s.verdict().Outcome == Delivered }) {
		w.guard.bounds.get(at.Topic).keyless.Store(0)
	}
}

// newTry returns the search for what is to be known of the slots, before anything else
// of the write is in it.
func (w *write) newTry(at wire.Partition, slots []*slot) *search {
	p := &part{all: slots}
	for _, s := range slots {
		p.bytes += int64(bufferedSize(s.record()))
	}
	p.topic(w.guard, at.Topic)
	return newSearch(w, p, nil, at)
}

// try searches in the partition's lane, by the solo client. What it finds that may pass
// is taken back: the record is sent as if it had not been tried, perhaps to another
// partition.
func (i *search) try(search func()) {
	w, g := i.write, i.write.guard
	release, err := w.admit(i.part)
	if err != nil {
		return
	}
	defer release()
	if i.gen, err = g.solo(i.part); err != nil {
		return
	}
	defer g.done(i.gen)
	for _, s := range i.part.all {
		s.record().Partition = i.tp.Partition
	}
	i.inLane(search)
	for _, s := range i.part.all {
		if w.mayPass(s) {
			s.reopen()
			s.refusal = refusal{}
		}
	}
}

// try is large records of a topic that one broker leads, and the smallest of them
// that overtakes none with its key. Where leaders are not known, it is those for one
// partition.
type try struct {
	*trial
	large []*slot
	first *slot
	at    wire.Partition // of the first
}

// trial is one try at a time, and what came of the last.
type trial struct {
	turn    chan struct{}
	began   time.Time
	witness *witness
}

// place is whose tries are one trial: of a leader's partitions, or of a partition.
type place struct{ leader, partition int32 }

// trial returns the topic's trial of a place.
func (b *bounds) trial(at place) *trial {
	t, ok := b.trials.Load(at)
	if !ok {
		t, _ = b.trials.LoadOrStore(at, &trial{turn: make(chan struct{}, 1)})
	}
	return t.(*trial)
}

func (t *try) add(s *slot, at wire.Partition, overtakes bool) {
	t.large = append(t.large, s)
	if !overtakes && (t.first == nil || s.size < t.first.size) {
		t.first, t.at = s, at
	}
}

// tries returns what is to be tried of the large ones.
func (w *write) tries(open []*slot, large []int) (tries []*try) {
	if len(large) == 0 {
		return nil
	}
	g := w.guard
	var topics distinct
	firsts := map[string]int{} // by key
	for _, n := range large {
		firsts[string(open[n].record().Key)] = n
		topics.add(open[n].record().Topic)
	}
	for n, s := range open[:large[len(large)-1]] {
		if first, ok := firsts[string(s.record().Key)]; ok && n < first {
			firsts[string(s.record().Key)] = n
		}
	}
	asked := time.Now()
	g.rules.renew(w.ctx, topics.names) // who leads may change, as rules may
	by := map[*trial]*try{}
	anywhere := map[string]int32{}
	for _, n := range large {
		s, r := open[n], open[n].record()
		rules := g.rules.of(r.Topic)
		to, ok := w.goesTo(rules, s, anywhere)
		if !ok {
			continue
		}
		at := place{leader: rules.leader(int(to)), partition: to}
		if at.leader >= 0 && !rules.read.Before(asked.Add(-rulesFresh)) {
			at.partition = -1
		}
		trial := g.bounds.get(r.Topic).trial(at)
		if by[trial] == nil {
			by[trial] = &try{trial: trial}
			tries = append(tries, by[trial])
		}
		by[trial].add(s, wire.Partition{Topic: r.Topic, Partition: to}, r.Key != nil && firsts[string(r.Key)] < n)
	}
	return tries
}

// triesApart is how soon one try follows another, so that it serves all the writes
// that come meanwhile.
const triesApart = 10 * time.Millisecond

// try sends the first of the large records alone, unless another write was the
// witness meanwhile. What then holds it, or proves nothing, is left for when its
// turn comes.
func (w *write) try(t *try) {
	arrived := time.Now()
	if !w.inTurn(t) {
		return
	}
	defer func() { <-t.turn }()
	i := w.newTry(t.at, []*slot{t.first})
	i.suspects = t.large
	if t.witness != nil && t.began.After(arrived) {
		i.witness = t.witness
		i.condemnDominated()
		if t.first.settled() {
			return
		}
	}
	select {
	case <-time.After(time.Until(t.began.Add(triesApart))):
	case <-w.ctx.Done():
		return
	}
	i.try(func() {
		t.began, i.witness = time.Now(), nil // that of the last try is none for who came after it
		i.send(i.part.all, false)
		t.witness = i.witness
	})
}

// inTurn waits until no other record is tried, and reports whether it did before the
// write's context ended.
func (w *write) inTurn(t *try) bool {
	select {
	case t.turn <- struct{}{}:
		return true
	default:
	}
	leave := w.guard.waits.enter(w.waiting(t.large, Transient.String(), func() error { return errTrial }))
	select {
	case t.turn <- struct{}{}:
		leave(false)
		return true
	case <-w.ctx.Done():
		leave(true)
		return false
	}
}

var errTrial = errors.New("a message that may be too large is tried for another write")
