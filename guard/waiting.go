package guard

import (
	"sync"
	"time"
)

// Waiting says that records wait: until a class of failure passes, for brokers
// to acknowledge them, or for room in the buffer.
type Waiting struct {
	Topic string
	// Why is what they wait for: the name of a class, or "buffer". Those that
	// kgo has, and no broker has acknowledged, wait for "transient".
	Why string
	// Class is that of Why, None for "buffer".
	Class Class
	// Records is how many wait, of all writes.
	Records int
	// Since is since when the one waits that has waited longest.
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
	// records are held for a failure is told of at once, unless that was told
	// of as shortly before.
	noticeAfter = 10 * time.Second
	// noticeEvery is how often what waits is told of again.
	noticeEvery = time.Minute
)

// waits has all that waits, and tells of it at a bounded rate.
type waits struct {
	tell  func(Waiting)
	count func(why string, records int)

	mu     sync.Mutex
	on     map[waitKey]*waitFor
	totals map[string]int
	told   map[waitKey]time.Time // when it was told of last
}

type waitKey struct{ topic, why string }

// waitFor is all that waits for one thing in a topic.
type waitFor struct {
	class   Class
	writes  map[*wait]struct{}
	records int
	told    bool // of this wait
	timer   *time.Timer
}

// wait is one write's wait, by topic.
type wait struct {
	records map[waitKey]int
	class   Class
	since   time.Time
	atOnce  bool
	cause   func() error
}

// waiting returns the wait of a write's slots, since it began.
func (w *write) waiting(slots []*slot, why string, cause func() error) *wait {
	n := &wait{records: map[waitKey]int{}, since: w.began, cause: cause}
	for _, s := range slots {
		n.records[waitKey{s.record().Topic, why}]++
	}
	n.class, _ = ParseClass(why)
	return n
}

// enter counts a wait, until leave is called.
func (ws *waits) enter(n *wait) (leave func(gaveUp bool)) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.on == nil {
		ws.on, ws.totals, ws.told = map[waitKey]*waitFor{}, map[string]int{}, map[waitKey]time.Time{}
	}
	for key, records := range n.records {
		f := ws.on[key]
		if f == nil {
			f = &waitFor{class: n.class, writes: map[*wait]struct{}{}}
			ws.on[key] = f
		}
		f.writes[n] = struct{}{}
		f.records += records
		ws.add(key.why, records)
		due := noticeAfter - time.Since(n.since)
		if n.atOnce {
			due = 0
		}
		if last, ok := ws.told[key]; ok {
			due = max(due, noticeAfter-time.Since(last)) // what comes and goes
		}
		switch {
		case due <= 0:
			ws.notice(key, f)
		case f.timer == nil:
			f.timer = time.AfterFunc(due, func() { ws.again(key) })
		}
	}
	return func(gaveUp bool) { ws.leave(n, gaveUp) }
}

func (ws *waits) leave(n *wait, gaveUp bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for key, records := range n.records {
		f := ws.on[key]
		delete(f.writes, n)
		f.records -= records
		ws.add(key.why, -records)
		if len(f.writes) > 0 {
			continue
		}
		delete(ws.on, key)
		if f.timer != nil {
			f.timer.Stop()
		}
		if f.told {
			ws.tell(Waiting{Topic: key.topic, Why: key.why, Class: f.class, Since: n.since, Over: true, GivenUp: gaveUp})
		}
	}
}

func (ws *waits) again(key waitKey) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if f := ws.on[key]; f != nil {
		ws.notice(key, f)
	}
}

func (ws *waits) notice(key waitKey, f *waitFor) {
	now := time.Now()
	for other, told := range ws.told { // forget those that are no longer too early
		if ws.on[other] == nil && now.Sub(told) >= noticeEvery {
			delete(ws.told, other)
		}
	}
	n := Waiting{Topic: key.topic, Why: key.why, Class: f.class, Records: f.records, Since: now}
	for w := range f.writes {
		if w.since.Before(n.Since) {
			n.Since = w.since
		}
		if n.Cause == nil && w.cause != nil {
			n.Cause = w.cause()
		}
	}
	f.told, ws.told[key] = true, now
	if f.timer != nil {
		f.timer.Stop()
	}
	f.timer = time.AfterFunc(noticeEvery, func() { ws.again(key) })
	ws.tell(n)
}

func (ws *waits) add(why string, records int) {
	ws.totals[why] += records
	ws.count(why, ws.totals[why])
}
