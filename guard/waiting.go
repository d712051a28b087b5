package guard

import (
	"sync"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// Waiting reports that records wait: for the end of a failure, for acks, or for room in
// the buffer.
type Waiting struct {
	Topic string
	// Why is the reason: the name of a class, or "buffer". Records without an ack wait
	// as "transient".
	Why string
	// Class is that of Why, None for "buffer".
	Class Class
	// Records is the number of waiting records of all writes. Each record counts once,
	// however often it is sent.
	Records int
	// Since is when the first of them began to wait for this reason.
	Since time.Time
	// Cause is the latest error, nil if there was none.
	Cause error
	// Over is set when no record waits any more. GivenUp is set with it if the last
	// records were given up.
	Over, GivenUp bool
}

// whyBuffer is the reason of records that wait for room in the buffer.
const whyBuffer = "buffer"

const (
	// noticeAfter is how long a wait may take before it is reported. Held records are
	// reported at once.
	noticeAfter = 10 * time.Second
	// noticeEvery is the time between two reports of the same wait.
	noticeEvery = time.Minute
)

// waits has all waiting records, and reports them at a bounded rate.
type waits struct {
	tell  func(Waiting)
	count func(why string, records int)

	mu      sync.Mutex
	on      map[waitKey]*waitFor
	totals  map[string]int
	told    map[waitKey]time.Time // when each was last reported
	events  []func()              // reports to be made, in order, without the lock
	telling bool
}

// unlock unlocks, and then makes the reports, one goroutine at a time.
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

// waitFor is the records of a topic that wait for one reason.
type waitFor struct {
	class   Class
	records int
	since   time.Time
	cause   error
	most    int  // the largest number of records so far
	soon    bool // report it at once
	told    bool // this wait was reported
	timer   *time.Timer
}

// hold counts a record as held for a failure, until release.
func (ws *waits) hold(s *slot, f *Failure) {
	ws.mu.Lock()
	s.held = f
	ws.move(s, waitKey{f.Topic, f.Class.String()}, f.Class, f, 0, time.Now())
	ws.unlock()
}

// heldFor returns the failure for which a record is held, nil for none. It makes no
// reports, since the producer may be locked.
func (ws *waits) heldFor(s *slot) *Failure {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return s.held
}

// release ends the count of a record.
func (ws *waits) release(s *slot, gaveUp bool) {
	ws.mu.Lock()
	defer ws.unlock()
	ws.drop(s, gaveUp)
}

// forAck counts those of a write's records that have waited long for an ack. They count
// under the failure of their partition's last answer if all records of the partition
// are queued behind a batch that is held for it. The write's goroutine calls it.
func (ws *waits) forAck(w *write, slots []*slot) {
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
			cause = &Failure{Class: class, Outcome: NotWritten, Topic: s.record().Topic, Partition: s.partition(), Cause: cause}
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

// move counts a record under a reason, and no longer under the one before.
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
		due = max(due, noticeEvery-time.Since(last)) // a wait that comes and goes
	}
	// Wait a moment, to count records that are held at the same time.
	f.soon = due <= 0
	f.timer = time.AfterFunc(max(due, holdTogether), func() { ws.notice(key, f) })
}

// holdTogether is how long held records wait for others, to be reported with them.
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

// notice reports a wait, unless it has ended.
func (ws *waits) notice(key waitKey, f *waitFor) {
	ws.mu.Lock()
	defer ws.unlock()
	if ws.on[key] != f {
		return
	}
	now := time.Now()
	for other, told := range ws.told { // forget those whose next report is not early any more
		if ws.on[other] == nil && now.Sub(told) >= noticeEvery {
			delete(ws.told, other)
		}
	}
	f.told, ws.told[key] = true, now
	f.timer = time.AfterFunc(noticeEvery, func() { ws.notice(key, f) })
	ws.say(Waiting{Topic: key.topic, Why: key.why, Class: f.class, Records: f.records, Since: f.since, Cause: f.cause})
}

func (ws *waits) say(n Waiting) { ws.events = append(ws.events, func() { ws.tell(n) }) }

func (ws *waits) add(key waitKey, f *waitFor, n int) {
	f.records += n
	f.most = max(f.most, f.records)
	ws.totals[key.why] += n
	total := ws.totals[key.why]
	ws.events = append(ws.events, func() { ws.count(key.why, total) })
}
