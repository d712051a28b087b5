package wire

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// holdAtMost bounds how long a request waits for the answer to the one before
// it. A broker that takes longer gets it all the same, and what is then in doubt
// is not called otherwise.
const holdAtMost = 5 * time.Second

// launch has the batches of a request under way, as soon as they may be, and
// takes those out that must not be. It reports whether it took any, and whether
// the log has ended: then nothing is to be written.
func (c *conn) launch(r *request) (changed, ended bool) {
	l := c.log
	n := 0
	for i := range r.produce.Topics {
		n += len(r.produce.Topics[i].Partitions)
	}
	flights := make([]flight, 0, n)
	for i := range r.produce.Topics {
		t := &r.produce.Topics[i]
		topic := l.topic(t.Topic, t.TopicID)
		for j := range t.Partitions {
			flights = append(flights, readFlight(Partition{topic, t.Partitions[j].Partition}, t.Partitions[j].Records))
		}
	}
	// kgo may give records up from here on, and what waits is still to be written.
	l.mu.Lock()
	for i := range flights {
		f := &flights[i]
		f.of = l.of(f.Partition)
		l.clock++
		f.at, f.of.sentAt = l.clock, l.clock
		f.of.held = append(f.of.held, f)
	}
	l.mu.Unlock()
	gone := c.hold(flights, c.waiter())

	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range flights {
		flights[i].of.release(&flights[i])
	}
	if l.ended {
		return false, true
	}
	most, size := l.cuts.most(), 0
	r.flights = make([]*flight, 0, n)
	n = 0
	for i := range r.produce.Topics {
		t := &r.produce.Topics[i]
		t.Partitions = slices.DeleteFunc(t.Partitions, func(p kmsg.ProduceRequestTopicPartition) bool {
			f := &flights[n]
			n++
			switch {
			case p.Records == nil, gone[f.Partition], most > 0 && size > 0 && size+f.bytes > most, f.keepBack():
				changed = true
				return true
			}
			size += f.bytes
			r.flights = append(r.flights, f)
			return false
		})
	}
	r.produce.Topics = slices.DeleteFunc(r.produce.Topics, func(t kmsg.ProduceRequestTopic) bool { return len(t.Partitions) == 0 })
	now := time.Now()
	for _, f := range r.flights {
		h := f.of
		f.sent = now
		f.alone = len(r.flights) == 1
		f.risky = !l.opts.Idempotent || now.Sub(h.acceptedAt) > idle || l.opts.Risky(f.Topic, f.bytes)
		h.broken = nil
		h.open = append(h.open, f)
	}
	return changed, false
}

// idle is after how long without an acceptance a partition's next batch is one
// that may be refused: the broker may have forgotten the producer, and then
// takes what comes behind a refused batch.
const idle = time.Second

// hold waits until nothing that may be refused is under way to the partitions of
// the flights. It returns those in which something was refused meanwhile: kgo
// has given up what it has for them, or will send it anew.
func (c *conn) hold(flights []flight, wait func(on <-chan struct{}) bool) (gone map[Partition]bool) {
	l := c.log
	if !c.holdForHandOver(wait) {
		return nil
	}
	for i := range flights {
		f := &flights[i]
		var since uint64
		for {
			l.mu.Lock()
			h := f.of
			if !slices.ContainsFunc(h.open, func(o *flight) bool { return o.risky }) {
				if since > 0 && len(h.events) > 0 && h.events[len(h.events)-1].clock > since {
					if gone == nil {
						gone = map[Partition]bool{}
					}
					gone[f.Partition] = true
				}
				l.mu.Unlock()
				break
			}
			if since == 0 {
				since = max(l.clock, 1)
			}
			changed := h.wait()
			l.mu.Unlock()
			if !wait(changed) {
				return gone
			}
		}
	}
	return gone
}

// holdForHandOver waits, while there is but one writer, until its hand-over is
// over. It reports whether it was in time.
func (c *conn) holdForHandOver(wait func(on <-chan struct{}) bool) bool {
	for c.log.opts.Sequential() {
		c.log.mu.Lock()
		handed := c.log.handed
		c.log.mu.Unlock()
		if handed == nil {
			return true
		}
		if !wait(handed) {
			return false
		}
	}
	return true
}

// waiter returns what waits for one channel after another, as long as a request
// may be held in all, or until the end of the connection. It reports whether the
// channel was closed before.
func (c *conn) waiter() func(on <-chan struct{}) bool {
	var over <-chan time.Time // once there is something to wait for
	return func(on <-chan struct{}) bool {
		if over == nil {
			most := holdAtMost
			c.mu.Lock()
			if !c.deadline.IsZero() {
				most = min(most, time.Until(c.deadline)-time.Second)
			}
			c.mu.Unlock()
			over = time.After(most)
		}
		select {
		case <-on:
			return true
		case <-c.closed:
		case <-over:
		}
		return false
	}
}

// keepBack keeps a batch off the wire that kgo has given up, or will send again after
// the one before it: that was refused. It reports whether it did: what kgo offers a
// second time is to be sent.
func (f *flight) keepBack() bool {
	h := f.of
	if h.broken == nil || !f.after(*h.broken) || h.kept != nil && *h.kept == f.position {
		return false
	}
	kept := f.position
	h.kept = &kept
	return true
}
