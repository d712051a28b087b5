package guard

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/isolate"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// checkLimits fails the slots that the limits of their topics reject, and returns the
// others. Before a limit rejects a record it is read again, unless it is fresh. A limit
// that is not confirmed does not fail the record: it is kept in the slot.
func (w *write) checkLimits(slots []*slot) (open []*slot) {
	g := w.guard
	var rejected []*slot
	var topic string
	var harmless func(r *kgo.Record, size int) bool
	for _, s := range slots {
		s.isolation.Limit = nil
		if topic != s.record().Topic { // no topic that is sent has an empty name
			topic = s.record().Topic
			harmless = g.limits.Harmless(topic)
		}
		if !harmless(s.record(), int(s.Size)) && g.limits.MayReject(g.toCheck(&s.Record)) {
			rejected = append(rejected, s)
		}
	}
	if len(rejected) == 0 {
		return slots
	}
	records := make([]limits.Record, len(rejected))
	for i, s := range rejected {
		records[i] = g.toCheck(&s.Record)
	}
	for i, v := range g.limits.Rejecting(w.ctx, records) {
		switch s := rejected[i]; {
		case v == nil:
		case g.isolation.Fails(v):
			f := failureOf(&v.Reason)
			f.Topic, f.Partition = s.record().Topic, s.partition()
			s.fail(f, NotWritten)
		default:
			s.isolation.Limit = v
		}
	}
	return unsettled(slots)
}

// toCheck returns a record in the form that limits takes.
func (g *Guard) toCheck(r *partition.Record) limits.Record {
	return limits.Record{
		Record: r.Record, Size: int(r.Size), Unstamped: r.Unstamped,
		Sent: func() int { return recordbatch.SentSize(r.Record, g.settings.compressor) },
	}
}

// choose divides slots into those to send now and the rest. It chooses as many as may
// fit into the buffer. Each of them alone fits: checkLimits fails larger ones. For each
// limit that is not confirmed it chooses one of the records that the limit rejects. The
// others, and later records with their keys, wait for the answer to that one.
func (w *write) choose(open []*slot) (now, rest []*slot, bytes int64, probe <-chan struct{}) {
	g := w.guard
	n := 0
	for ; n < len(open) && open[n].isolation.Limit == nil; n++ { // the usual case
		more := g.room.size(open[n].record())
		if !g.room.fits(n+1, bytes+more) {
			return open[:n], open[n:], bytes, nil
		}
		bytes += more
	}
	if n == len(open) {
		return open, nil, bytes, nil
	}
	hasty := w.hasty
	w.hasty = false
	now = append(now, open[:n]...)
	waiting := map[string]struct{}{} // topics and keys
	for i, s := range open[n:] {
		r, more := s.record(), g.room.size(s.record())
		if !g.room.fits(len(now)+1, bytes+more) {
			return now, append(rest, open[n+i:]...), bytes, probe
		}
		_, waits := waiting[isolate.Key(r)]
		waits = waits && r.Key != nil
		if s.isolation.Limit != nil && !waits && !hasty && g.final(s.isolation.Limit.Class) {
			s.probed, probe = s.isolation.Limit.Probe()
			waits = s.probed == nil
		}
		if waits {
			waiting[isolate.Key(r)] = struct{}{}
			rest = append(rest, s)
			continue
		}
		now = append(now, s)
		bytes += more
	}
	return now, rest, bytes, probe
}

// probeWait is how long a write waits for another write to confirm a limit.
const probeWait = time.Second

// waitForProbe waits until the record of another write is answered, but at most
// probeWait.
func (w *write) waitForProbe(probe <-chan struct{}) {
	select {
	case <-probe:
	case <-time.After(probeWait):
		w.hasty = true
	case <-w.ctx.Done():
		w.hasty = true
	}
}

// endProbe ends the confirmation of a limit. If the broker accepted the record, the
// limit does not hold.
func (s *slot) endProbe() {
	if s.isolation.Limit != nil && s.verdict().Outcome == Delivered {
		s.write.guard.limits.Refute(s.isolation.Limit)
	}
	if s.probed != nil {
		s.probed()
		s.probed = nil
	}
}

// mark sets how a record is to be sent.
func (g *Guard) mark(s *slot) (special bool) {
	if s.isolation.Limit != nil {
		s.Single, s.Alone, s.Questioned = true, true, true
		return true
	}
	s.Single, s.Apart = g.limits.Special(limits.Record{Record: s.record(), Size: int(s.Size)})
	s.Questioned = s.Single
	return s.Single || s.Apart
}
