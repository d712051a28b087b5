package guard

import (
	"sync"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// tryLarge looks, before anything else of a write is sent, for records that are as
// large as one that was refused before, where the rules are not known. In each
// partition one of them is sent alone. If it is refused again, it is the witness
// against all that are no smaller, and they spoil no batch. It returns what is
// still open.
func (w *write) tryLarge(open []*slot) []*slot {
	g := w.guard
	if !g.bounds.any.Load() {
		return open // nearly always
	}
	tries := map[wire.Partition]*try{}
	anywhere := map[string]int32{} // by topic: the partition for those without one of their own
	type key struct{ topic, key string }
	seen := map[key]struct{}{}
	var b *bounds
	var rules *Rules
	for _, s := range open {
		r := s.record()
		if rules == nil || rules.Topic != r.Topic {
			rules = g.rules.of(r.Topic)
			b = g.bounds.of(rules)
		}
		if b == noBounds || b.alone.Load() == 0 || rules.Partitions == 0 {
			continue // nothing was refused there
		}
		k := key{r.Topic, string(r.Key)}
		_, overtakes := seen[k]
		if r.Key != nil {
			seen[k] = struct{}{}
		}
		if int(s.size) < b.single() {
			continue
		}
		to := int32(g.destination(rules, s))
		if to < 0 {
			if _, chosen := anywhere[r.Topic]; !chosen {
				anywhere[r.Topic] = int32(g.choices.choose(g.settings.partitioner, r, rules.Partitions))
			}
			to = anywhere[r.Topic]
		}
		tp := wire.Partition{Topic: r.Topic, Partition: to}
		if tries[tp] == nil {
			tries[tp] = &try{}
		}
		tries[tp].add(s, r.Key != nil && overtakes)
	}
	if len(tries) == 0 {
		return open
	}
	var wg sync.WaitGroup
	for tp, t := range tries {
		if t.first != nil {
			wg.Go(func() { w.try(tp, t) })
		}
	}
	wg.Wait()
	return unsettled(open)
}

// try is the large records for one partition, and the smallest of them that
// overtakes none with its key.
type try struct {
	large []*slot
	first *slot
}

func (t *try) add(s *slot, overtakes bool) {
	t.large = append(t.large, s)
	if !overtakes && (t.first == nil || s.size < t.first.size) {
		t.first = s
	}
}

// try sends the first of a partition's large records alone. What then holds it, or
// proves nothing, is left for when its turn comes.
func (w *write) try(tp wire.Partition, t *try) {
	g := w.guard
	p := &part{all: []*slot{t.first}, bytes: int64(bufferedSize(t.first.record()))}
	p.topic(g, tp.Topic)
	release, err := w.admit(p)
	if err != nil {
		return
	}
	defer release()
	gen, err := g.solo(p)
	if err != nil {
		return
	}
	defer g.done(gen)
	t.first.record().Partition = tp.Partition
	i := newSearch(w, p, gen, tp)
	i.suspects = t.large
	i.inLane(func() { i.send(p.all, false) })
	if w.mayPass(t.first) {
		t.first.reopen()
	}
}
