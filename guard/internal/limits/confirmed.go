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

// Difference is a reported limit that does not hold: the broker accepted a record that
// exceeds it.
type Difference struct {
	Topic string
	// Name is the name of the topic config, Reported its value.
	Name     string
	Reported int64
	// Taken is the accepted size in bytes, or the age in milliseconds. It is 0 for
	// limits without a number.
	Taken int64
}

// claims are the reported limits of a topic that some record has exceeded.
type claims struct {
	refuted atomic.Uint32 // a bit for each Kind that is refuted

	mu     sync.Mutex
	byKind [kinds]*claim // nil: no record has exceeded it
}

// claim is a reported limit that some record has exceeded.
type claim struct {
	bound int64 // the limit
	// from is the smallest measure of a record that the broker rejected, and at is
	// when, zero for never. A record with at least this measure fails without being
	// sent.
	from  int64
	at    time.Time
	probe chan struct{} // closed when the record that tests the limit is answered
}

// endProbe lets the records go on that wait for the answer to the probe.
func (k *claim) endProbe() {
	if k.probe != nil {
		close(k.probe)
		k.probe = nil
	}
}

// claimAge is how long a confirmation counts. A limit may change without a change in
// the report.
const claimAge = time.Minute

// timeSlack is by how much the ages of two records may differ and count as equal. A
// record ages while it is sent.
const timeSlack = time.Minute

// get returns the claim of a violation. It is a new one if the limit's value has
// changed.
func (c *claims) get(v *Violation) *claim {
	k := c.byKind[v.Kind]
	if k == nil || k.bound != v.bound {
		c.reset(v.Kind)
		k = &claim{bound: v.bound}
		c.byKind[v.Kind] = k
	}
	return k
}

// reset forgets a kind of limit.
func (c *claims) reset(kind Kind) {
	if k := c.byKind[kind]; k != nil {
		k.endProbe()
	}
	c.byKind[kind] = nil
	c.refuted.And(^(uint32(1) << kind))
}

// believes reports whether a kind of limit was never refuted.
func (c *claims) believes(k Kind) bool { return c == nil || c.refuted.Load()&(1<<k) == 0 }

// Confirmed reports whether the broker rejected a record with at most the same measure.
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

// Confirm enters that the broker rejected the record alone.
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

// Probe reports whether to send this record to test the limit. If so, done must be
// called when it is answered. If another record tests the limit already, wait is closed
// when that one is answered. It is closed at once if the limit is confirmed.
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

// Refute enters that the broker accepted the record. The limit rejects no record as
// long as it is reported with the same value.
func (l *Limits) Refute(v *Violation) {
	if v.claims.refute(v) {
		go l.reportDifference(v)
	}
}

// refute reports whether the limit was believed so far. A limit whose value has changed
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

// reportDifference reports a limit that does not hold, unless its value has changed.
func (l *Limits) reportDifference(v *Violation) {
	l.reported.wait(l.reported.life, l.reported.read([]string{v.topic}, true))
	now := l.Of(v.topic)
	if b := now.strict().bound(v.Kind); now.Known && now.claims == v.claims && b == v.bound && !v.claims.believes(v.Kind) {
		l.differs(Difference{Topic: v.topic, Name: v.config, Reported: v.bound, Taken: v.measure})
	}
}

// sync makes limits count again whose reported value has changed.
func (c *claims) sync(now *Rules) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, k := range c.byKind {
		if kind := Kind(i); !c.believes(kind) && now.strict().bound(kind) != k.bound {
			c.reset(kind)
		}
	}
}
