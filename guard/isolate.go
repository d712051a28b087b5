package guard

import (
	"context"
	"errors"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
)

// isolate finds the culprits among the suspects of a part and delivers all
// others, and the records that go alone. Each partition's suspects go through the
// solo client, with nothing else under way there, in halves, until whoever is
// refused stands alone.
func (w *write) isolate(p *part) {
	if len(p.slots) == 0 {
		return
	}
	solo, err := w.guard.solo(p)
	if err != nil {
		for _, s := range p.slots {
			w.leave(s, err)
		}
		return
	}
	defer w.guard.done(solo)
	held := w.held(p)
	var order []topicPartition
	groups := map[topicPartition][]*slot{}
	for _, s := range p.slots {
		if s.alone {
			if f := held[s.record().Topic]; f != nil {
				s.fail(&Failure{Class: Transient, Topic: f.Topic, Partition: -1, Problem: "not sent, it must not overtake what comes before it", Cause: f}, NotWritten)
				continue
			}
			if !w.place(solo.client, s) {
				continue
			}
		}
		tp := topicPartition{s.record().Topic, s.record().Partition}
		if groups[tp] == nil {
			order = append(order, tp)
		}
		groups[tp] = append(groups[tp], s)
	}
	var wg sync.WaitGroup
	for _, tp := range order {
		wg.Go(func() { w.isolateIn(p, solo, tp, groups[tp]) })
	}
	wg.Wait()
}

// held returns, by topic, a failure that the part's batches had and that may pass.
func (w *write) held(p *part) map[string]*Failure {
	if !p.alone {
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

// isolateIn does for one partition what isolate does. A record that goes alone is
// the last of the group.
func (w *write) isolateIn(p *part, solo *generation, tp topicPartition, group []*slot) {
	unlock, err := w.guard.lanes.lock(w.ctx, tp)
	if err != nil {
		for _, s := range group {
			w.leave(s, err)
		}
		return
	}
	defer unlock()
	limit, _ := w.guard.limit(w.guard.rules.of(tp.topic))
	i := isolation{write: w, part: p, solo: solo, refused: limit + 1}
	suspects, alone := group, group[len(group):]
	if last := len(group) - 1; group[last].alone {
		suspects, alone = group[:last], group[last:]
	}
	if len(suspects) > 0 {
		i.clear(suspects, p.judged)
	}
	if len(alone) > 0 {
		i.clear(alone, true)
	}
}

// leave settles a suspect whose case was not heard: it may well be innocent.
func (w *write) leave(s *slot, why error) {
	s.fail(&Failure{
		Class: Transient, Topic: s.record().Topic, Partition: s.record().Partition,
		Problem: "in a batch that the broker refused, its own part in it not found out", Cause: why,
	}, NotWritten)
}

// isolation is the search for the culprits in one partition. It holds the
// partition's lane.
type isolation struct {
	write *write
	part  *part
	solo  *generation
	// The raw sizes of the largest batch that was taken, and of the smallest
	// that was refused for its size, or is over the limit. They only choose
	// what to send together.
	taken, refused int
	// held is set when a record failed for a reason that may pass. What comes
	// after it waits, so that it does not overtake it.
	held *Failure
}

// clear settles a group of suspects, in order. The group is sent as a whole
// first, unless it is known that it would be refused.
//
// To single out one of n takes at most 2 log2(n) requests: per level one for
// each half, and none for a right half whose left one was taken.
func (i *isolation) clear(group []*slot, send bool) (allTaken bool) {
	if len(group) == 1 || send && batchSize(group) < i.refused {
		suspects := i.send(group)
		switch {
		case len(suspects) == 0:
			return true
		case len(group) == 1:
			return false // it stood alone, and has its verdict
		case len(suspects) == 1:
			return i.clear(suspects, true) // the others left in another batch
		}
		group = suspects
	}
	bySize := classify(group[0].err()).class == SizeExceeded
	half := len(group) / 2
	left, right := group[:half], group[half:]
	leftTaken := i.clear(left, true)
	// With the left half taken, the right one has the culprit, unless it was
	// the sum that was too large.
	sendRight := !leftTaken
	if bySize {
		sendRight = !leftTaken || batchSize(right) <= i.taken
	}
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

// aloneTries is how often a record that stands alone is sent when the broker
// can't say what it has against it, or finds it garbled.
const aloneTries = 3

// send sends the group, with nothing else under way in the partition, and
// returns those that are still suspects. A record that stood alone is none.
func (i *isolation) send(group []*slot) []*slot {
	w, size := i.write, batchSize(group)
	for try := 1; ; try++ {
		why := w.ctx.Err()
		if i.held != nil {
			why = i.held
		}
		if why != nil {
			for _, s := range group {
				w.leave(s, why)
			}
			return nil
		}
		since := w.produce(i.part, i.solo, group)
		var suspects []*slot
		for _, s := range group {
			if !w.settle(i.solo.client, s, since) {
				suspects = append(suspects, s)
			} else if w.mayPass(s) {
				i.held = s.verdict().Failure
			}
		}
		if len(suspects) == 0 {
			i.taken = max(i.taken, size)
			if group[0].verdict().Outcome == Delivered && len(group) == 1 {
				w.guard.rules.taken(group[0].record().Topic, size)
			}
			return nil
		}
		if classify(suspects[0].err()).class == SizeExceeded {
			i.refused = min(i.refused, size)
			w.guard.rules.refusedBatch(group[0].record().Topic, size)
		}
		if len(group) > 1 {
			return suspects
		}
		if !vague(suspects[0].err()) || try == aloneTries {
			i.convict(suspects[0], since)
			return suspects
		}
	}
}

// vague reports whether an error leaves room for hope that a record which
// stands alone is taken at another try.
func vague(err error) bool {
	return errors.Is(err, kerr.UnknownServerError) || errors.Is(err, kerr.CorruptMessage)
}

// convict settles a suspect that was refused when it stood alone.
func (i *isolation) convict(s *slot, since uint64) {
	s.failWith(i.solo.read(s, since), s.err())
	f := s.verdict().Failure
	if f.Class != SizeExceeded || f.Outcome == Unknown {
		return
	}
	f.Bytes, f.LimitName = i.write.guard.settings.sentSize(s.record(), int(s.size)), limitTopic
	if errors.Is(s.err(), kerr.RecordListTooLarge) {
		f.LimitName = limitSegmentBytes
	}
	i.write.guard.rules.refused(s.record().Topic, int(s.size))
}

// lanes has one lock per partition that is in use.
type lanes struct {
	mu    sync.Mutex
	taken map[topicPartition]chan struct{}
}

// lock waits for the partition's lane, or for ctx to end.
func (l *lanes) lock(ctx context.Context, tp topicPartition) (unlock func(), err error) {
	for {
		l.mu.Lock()
		busy, ok := l.taken[tp]
		if !ok {
			if l.taken == nil {
				l.taken = map[topicPartition]chan struct{}{}
			}
			free := make(chan struct{})
			l.taken[tp] = free
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.taken, tp)
				l.mu.Unlock()
				close(free)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
