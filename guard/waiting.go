package guard

import (
	"sync"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// Waiting says that records wait: until a class of failure passes, for brokers
// to ack them, or for room in the buffer.
type Waiting struct {
	Topic string
	// Why is what they wait for: the name of a class, or "buffer". Those that
	// no broker has acked wait for "transient".
	Why string
	// Class is that of Why, None for "buffer".
	Class Class
	// Records is how many wait, of all writes. Each counts once, however often it
	// is tried.
	Records int
	// Since is when the first of them began to wait for this.
	Since time.Time
	// Cause is what was last heard of it, nil for nothing.
	Cause error
	// Over is set once none waits any more, and GivenUp besides if the last
	// ones did not wait to the end.
	Over, GivenUp bool
}

// whyBuffer is Why records wait for room in the buffer.
const whyBuffer = "buffer"

const (
	// noticeAfter is how long a wait may take before it is told of. That
	// records are held for a failure is told of at once.
	noticeAfter = 10 * time.Second
	// noticeEvery is how often the same wait is told of.
	noticeEvery = time.Minute
)

// waits has all that waits, and tells of it at a bounded rate.
type waits struct {
	tell  func(Waiting)
	count func(why string, records int)

	mu      sync.Mutex
	on      map[waitKey]*waitFor
	totals  map[string]int
	told    map[waitKey]time.Time // when it was told of last
	events  []func()              // to be told, in order, without the lock
	telling bool
}

// unlock unlocks, and tells what there is to be told: one goroutine at a time.
func (ws *waits) unlock() {
	for !ws.telling && len(ws.events) > 0 {
		events := ws.events
		ws.events, ws.telling = nil, true
		ws.mu.Unlock()
		for _, tell := range events {
			tell()
		}
		ws.mu.Lock()
		ws.telling = false
	}
	ws.mu.Unlock()
}

type waitKey struct {
	topic, why string
}

// waitFor is all that waits for one thing in a topic.
type waitFor struct {
	class   Class
	records int
	since   time.Time
	cause   error
	most    int  // records, so far
	soon    bool // it is told of at once
	told    bool // of this wait
	timer   *time.Timer
}

// hold counts a record among those that are held for a failure, until release.
func (ws *waits) hold(s *slot, f *Failure) {
	ws.mu.Lock()
	s.held = f
	ws.move(s, waitKey{f.Topic, f.Class.String()}, f.Class, f, 0, time.Now())
	ws.unlock()
}

// heldFor returns the failure that a record is held for, nil for none. It tells nothing, since
// the producer may be locked.
func (ws *waits) heldFor(s *slot) *Failure {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return s.held
}

// release counts a record no more.
func (ws *waits) release(s *slot, gaveUp bool) {
	ws.mu.Lock()
	defer ws.unlock()
	ws.drop(s, gaveUp)
}

// forAck counts those of a write's records that have waited for an ack for long: under what
// their partition was answered last, if that is true of all records for it, since they are
// queued behind a batch that is held for it. The write's goroutine calls it.
func (ws *waits) forAck(w *write, slots []*slot) {
	if time.Since(w.began) < lookEvery {
		return
	}
	ws.mu.Lock()
	defer ws.unlock()
	for _, s := range slots {
		switch {
		case s.Ended():
			ws.drop(s, false)
			continue
		case s.waitsFor != (waitKey{}) && s.held != nil:
			continue
		}
		class, cause := Transient, s.Trouble()
		if m := code.OfError(cause); cause != nil && m.Scope == code.OfPartition && !m.Retry {
			class = Class(m.Class)
			cause = &Failure{Class: class, Topic: s.record().Topic, Partition: s.partition(), Cause: cause}
		}
		if cause == nil {
			cause = w.guard.producer.Trouble()
		}
		key := waitKey{s.record().Topic, class.String()}
		if s.waitsFor != key {
			ws.move(s, key, class, nil, noticeAfter, w.began)
		}
		if f := ws.on[key]; class == Transient || f.cause == nil {
			f.cause = cause
		}
	}
}

// forBuffer counts records that wait for room in the buffer, until leave is called.
func (ws *waits) forBuffer(slots []*slot) (leave func(gaveUp bool)) {
	ws.mu.Lock()
	defer ws.unlock()
	for _, s := range slots {
		ws.move(s, waitKey{s.record().Topic, whyBuffer}, None, nil, noticeAfter, time.Now())
	}
	return func(gaveUp bool) {
		ws.mu.Lock()
		defer ws.unlock()
		for _, s := range slots {
			ws.drop(s, gaveUp)
		}
	}
}

// move counts a record for one thing, and no more for another.
func (ws *waits) move(s *slot, key waitKey, class Class, cause error, after time.Duration, since time.Time) {
	if ws.on == nil {
		ws.on, ws.totals, ws.told = map[waitKey]*waitFor{}, map[string]int{}, map[waitKey]time.Time{}
	}
	before := s.waitsFor
	f := ws.on[key]
	if f == nil {
		f = &waitFor{class: class, since: since}
		ws.on[key] = f
	}
	if cause != nil {
		f.cause = cause
	}
	if before != key {
		s.waitsFor = key
		ws.add(key, f, 1)
		if before != (waitKey{}) {
			ws.leave(before, false)
		}
	}
	if f.timer != nil {
		return
	}
	due := after - time.Since(f.since)
	if last, ok := ws.told[key]; ok {
		due = max(due, noticeEvery-time.Since(last)) // what comes and goes
	}
	// Those that are held with it are counted first.
	f.soon = due <= 0
	f.timer = time.AfterFunc(max(due, holdTogether), func() { ws.notice(key) })
}

// holdTogether is how long what is held is waited for before it is told of.
const holdTogether = 10 * time.Millisecond

func (ws *waits) drop(s *slot, gaveUp bool) {
	key := s.waitsFor
	if key == (waitKey{}) {
		return
	}
	s.waitsFor = waitKey{}
	ws.leave(key, gaveUp)
}

func (ws *waits) leave(key waitKey, gaveUp bool) {
	f := ws.on[key]
	if ws.add(key, f, -1); f.records > 0 {
		return
	}
	delete(ws.on, key)
	if f.timer != nil {
		f.timer.Stop()
	}
	if f.soon && !f.told {
		f.told, ws.told[key] = true, time.Now()
		ws.say(Waiting{Topic: key.topic, Why: key.why, Class: f.class, Records: f.most, Since: f.since, Cause: f.cause})
	}
	if f.told {
		ws.say(Waiting{Topic: key.topic, Why: key.why, Class: f.class, Since: f.since, Cause: f.cause, Over: true, GivenUp: gaveUp})
	}
}

func (ws *waits) notice(key waitKey) {
	ws.mu.Lock()
	f := ws.on[key]
	if f == nil {
		ws.unlock()
		return
	}
	now := time.Now()
	for other, told := range ws.told { // forget those that are no longer too early
		if ws.on[other] == nil && now.Sub(told) >= noticeEvery {
			delete(ws.told, other)
		}
	}
	f.told, ws.told[key] = true, now
	f.timer = time.AfterFunc(noticeEvery, func() { ws.notice(key) })
	n := Waiting{Topic: key.topic, Why: key.why, Class: f.class, Records: f.records, Since: f.since, Cause: f.cause}
	ws.say(n)
	ws.unlock()
}

func (ws *waits) say(n Waiting) { ws.events = append(ws.events, func() { ws.tell(n) }) }

func (ws *waits) add(key waitKey, f *waitFor, n int) {
	f.records += n
	f.most = max(f.most, f.records)
	ws.totals[key.why] += n
	total := ws.totals[key.why]
	ws.events = append(ws.events, func() { ws.count(key.why, total) })
}
