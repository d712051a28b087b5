package limits

import (
	"sync"
	"sync/atomic"
	"time"
)

// Kind is what a reported limit is about.
type Kind uint8

// The kinds of limits.
const (
	Size Kind = iota
	Decompressed
	Key
	Older
	Newer
	Negative
	kinds
)

// Difference is a reported limit that does not hold: the broker took a record that it
// rejects.
type Difference struct {
	Topic string
	// Name is that of the topic config, Reported its value.
	Name     string
	Reported int64
	// Taken is what the broker took: bytes, or milliseconds. 0 where neither applies.
	Taken int64
}

// claims are the reported limits of a topic, as far as records were in question for them.
type claims struct {
	refuted atomic.Uint32 // a bit for each Kind that is not believed

	mu     sync.Mutex
	byKind [kinds]*claim // nil: no record was in question
}

// claim is a reported limit that would reject a record.
type claim struct {
	bound int64 // the limit
	// from is the least measure of a record that the broker rejected for it, and at
	// is when, zero for never. One that is farther over the limit is rejected without being
	// sent.
	from  int64
	at    time.Time
	probe chan struct{} // closed when the record has its answer that is sent to find out
}

// endProbe has those go on that wait for the answer to a record.
func (k *claim) endProbe() {
	if k.probe != nil {
		close(k.probe)
		k.probe = nil
	}
}

// claimAge is for how long a confirmation counts: a limit can change without a word of what
// reports it.
const claimAge = time.Minute

// timeSlack is by how much the age of two records may differ that count as equally old: it
// changes while they are under way.
const timeSlack = time.Minute

// get returns the claim that a violation is about. It is a new one if the limit has another
// value by now.
func (c *claims) get(v *Violation) *claim {
	k := c.byKind[v.Kind]
	if k == nil || k.bound != v.bound {
		c.reset(v.Kind)
		k = &claim{bound: v.bound}
		c.byKind[v.Kind] = k
	}
	return k
}

// reset forgets what is known of a kind of limit.
func (c *claims) reset(kind Kind) {
	if k := c.byKind[kind]; k != nil {
		k.endProbe()
	}
	c.byKind[kind] = nil
	c.refuted.And(^(uint32(1) << kind))
}

// believes reports whether nothing has spoken against a kind of limit.
func (c *claims) believes(k Kind) bool { return c == nil || c.refuted.Load()&(1<<k) == 0 }

// Confirmed reports whether the broker has rejected a record that is no farther over the
// limit.
func (v *Violation) Confirmed() bool {
	if v.Own {
		return true
	}
	c := v.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.confirmed(v)
}

func (c *claims) confirmed(v *Violation) bool {
	k, slack := c.get(v), int64(0)
	if v.Kind == Older || v.Kind == Newer {
		slack = timeSlack.Milliseconds()
	}
	return k.from-slack <= v.measure && time.Since(k.at) < claimAge
}

// Confirm notes that the broker rejected the record, alone.
func (v *Violation) Confirm() {
	if v.Own {
		return
	}
	c := v.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.get(v); v.measure <= k.from || time.Since(k.at) >= claimAge {
		k.from, k.at = v.measure, time.Now()
	}
}

// Probe reports whether the record may be sent to find out whether the limit holds: then done
// must be called when it has its answer. If another one is under way, wait is closed once that
// has its answer. It is closed if the limit is confirmed.
func (v *Violation) Probe() (done func(), wait <-chan struct{}) {
	c := v.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.get(v)
	switch {
	case c.confirmed(v):
		return nil, closed
	case k.probe != nil:
		return nil, k.probe
	}
	k.probe = make(chan struct{})
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		k.endProbe()
	}, nil
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Refute notes that the broker took the record: the limit is not believed any more as long as
// it is reported with the same value.
func (l *Limits) Refute(v *Violation) {
	if v.claims.refute(v) {
		go l.reportDifference(v)
	}
}

// refute reports whether the limit was believed until now. One that has another value by now
// is another limit.
func (c *claims) refute(v *Violation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.byKind[v.Kind]; k != nil && k.bound != v.bound || !c.believes(v.Kind) {
		return false
	}
	c.get(v)
	c.refuted.Or(1 << v.Kind)
	return true
}

// reportDifference tells of a limit that does not hold, unless it has changed meanwhile.
func (l *Limits) reportDifference(v *Violation) {
	l.reported.wait(l.reported.life, l.reported.read([]string{v.topic}, true))
	now := l.Of(v.topic)
	if b := now.strict().bound(v.Kind); now.Known && now.claims == v.claims && b == v.bound && !v.claims.believes(v.Kind) {
		l.differs(Difference{Topic: v.topic, Name: v.config, Reported: v.bound, Taken: v.measure})
	}
}

// sync has the limits believed again that are reported with another value.
func (c *claims) sync(now *Rules) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, k := range c.byKind {
		if kind := Kind(i); !c.believes(kind) && now.strict().bound(kind) != k.bound {
			c.reset(kind)
		}
	}
}
