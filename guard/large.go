package guard

import (
	"errors"
	"math"
	"sync"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// tryLarge looks for records that are as large as one that was refused before, where
// the rules are not known. Of those of a topic that one broker leads, one is sent
// alone. If it is refused again, it is the witness against all that are no smaller, and
// they spoil no batch.
//
// Meanwhile the others may be sent: it returns those, and what then waits for the tries
// and returns the rest, with all that must not overtake it.
func (w *write) tryLarge(open []*slot) (others []*slot, rest func() []*slot) {
	none := func() []*slot { return nil }
	if !w.guard.bounds.any.Load() {
		return open, none // nearly always
	}
	large := w.large(open)
	if len(large) == 0 {
		return open, none
	}
	others, behind := split(open, large)
	var wg sync.WaitGroup
	for _, t := range w.tries(open, large) {
		if t.first != nil {
			wg.Go(func() { w.try(t) })
		}
	}
	return others, func() []*slot {
		wg.Wait()
		return unsettled(behind)
	}
}

// split divides the open slots into those that may go before the large ones, and the
// large ones with all that come behind one and have its key.
func split(open []*slot, large []int) (others, behind []*slot) {
	keys := map[string]bool{}
	for n, s := range open {
		key := s.record().Key
		switch {
		case len(large) > 0 && n == large[0]:
			large = large[1:]
			if key != nil {
				keys[string(key)] = true
			}
			behind = append(behind, s)
		case key != nil && keys[string(key)]:
			behind = append(behind, s)
		default:
			others = append(others, s)
		}
	}
	return others, behind
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

// large returns where in the open slots those are that may be too large.
func (w *write) large(open []*slot) (large []int) {
	g := w.guard
	var rules *Rules
	single := math.MaxInt
	for n, s := range open {
		if rules == nil || rules.Topic != s.record().Topic {
			rules = g.rules.of(s.record().Topic)
			single = g.bounds.of(rules).single()
		}
		if int(s.size) >= single {
			large = append(large, n)
		}
	}
	return large
}

// tries returns what is to be tried of the large ones.
func (w *write) tries(open []*slot, large []int) (tries []*try) {
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
	anywhere := map[string]int32{} // by topic: the partition for those without one of their own
	for _, n := range large {
		s, r := open[n], open[n].record()
		rules := g.rules.of(r.Topic)
		if rules.Partitions == 0 {
			continue
		}
		to := int32(g.destination(rules, s))
		if to < 0 {
			if _, chosen := anywhere[r.Topic]; !chosen {
				anywhere[r.Topic] = int32(g.choices.choose(g.settings.partitioner, r, rules.Partitions))
			}
			to = anywhere[r.Topic]
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
	g := w.guard
	arrived := time.Now()
	if !w.inTurn(t) {
		return
	}
	defer func() { <-t.turn }()
	p := &part{all: []*slot{t.first}, bytes: int64(bufferedSize(t.first.record()))}
	p.topic(g, t.at.Topic)
	i := newSearch(w, p, nil, t.at)
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
	release, err := w.admit(p)
	if err != nil {
		return
	}
	defer release()
	if i.gen, err = g.solo(p); err != nil {
		return
	}
	defer g.done(i.gen)
	t.first.record().Partition = t.at.Partition
	t.began, t.witness = time.Now(), nil
	i.inLane(func() { i.send(p.all, false) })
	t.witness = i.witness
	if w.mayPass(t.first) {
		t.first.reopen()
	}
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
