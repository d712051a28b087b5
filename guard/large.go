package guard

import (
	"errors"
	"math"
	"sync"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// tryLarge looks, before anything else of a write is sent, for records that are as
// large as one that was refused before, where the rules are not known. Of those of a
// topic that one broker leads, one is sent alone. If it is refused again, it is the
// witness against all that are no smaller, and they spoil no batch. It returns what
// is still open.
func (w *write) tryLarge(open []*slot) []*slot {
	if !w.guard.bounds.any.Load() {
		return open // nearly always
	}
	tries := w.large(open)
	if len(tries) == 0 {
		return open
	}
	var wg sync.WaitGroup
	for _, t := range tries {
		if t.first != nil {
			wg.Go(func() { w.try(t) })
		}
	}
	wg.Wait()
	return unsettled(open)
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

// large returns the records that are to be tried.
func (w *write) large(open []*slot) (tries []*try) {
	g := w.guard
	var found []int
	var topics distinct
	var rules *Rules
	single := math.MaxInt
	for n, s := range open {
		if rules == nil || rules.Topic != s.record().Topic {
			rules = g.rules.of(s.record().Topic)
			single = g.bounds.of(rules).single()
		}
		if int(s.size) >= single {
			found = append(found, n)
			topics.add(rules.Topic)
		}
	}
	if len(found) == 0 {
		return nil
	}
	firsts := map[string]int{} // by key
	for _, n := range found {
		firsts[string(open[n].record().Key)] = n
	}
	for n, s := range open[:found[len(found)-1]] {
		if first, ok := firsts[string(s.record().Key)]; ok && n < first {
			firsts[string(s.record().Key)] = n
		}
	}
	asked := time.Now()
	g.rules.renew(w.ctx, topics.names) // who leads may change, as rules may
	by := map[*trial]*try{}
	anywhere := map[string]int32{} // by topic: the partition for those without one of their own
	for _, n := range found {
		s, r := open[n], open[n].record()
		if rules = g.rules.of(r.Topic); rules.Partitions == 0 {
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
