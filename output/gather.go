package output

import (
	"maps"
	"sync"
	"time"
)

// gather bounds the log lines about events that may happen thousands of times a
// second. The first event of a kind is logged at once, and the following ones once a
// minute together.
type gather[K comparable, E any] struct {
	// say says that there were n events, all of which events is about.
	say func(kind K, n int, events E)
	and func(events, next E) E // takes them together
	// rest is the kind that a kind goes to of which there are too many, where they are made
	// of messages. nil where they are not.
	rest func(kind K) K

	mu     sync.Mutex
	kinds  map[K]*gathered[E]
	closed bool
}

// mostKinds is how many kinds are told apart within a minute.
const mostKinds = 20

// gathered are the events of a kind since its last log line.
type gathered[E any] struct {
	n      int
	events E
	timer  *time.Timer
}

func newGather[K comparable, E any](say func(kind K, n int, events E), and func(events, next E) E) *gather[K, E] {
	return &gather[K, E]{say: say, and: and, kinds: map[K]*gathered[E]{}}
}

// add adds n events of a kind.
func (g *gather[K, E]) add(kind K, n int, event E) {
	g.mu.Lock()
	k, known := g.kinds[kind]
	if !known && g.rest != nil && len(g.kinds) >= mostKinds {
		kind = g.rest(kind)
		k, known = g.kinds[kind]
	}
	if known {
		if k.n > 0 {
			event = g.and(k.events, event)
		}
		k.n, k.events = k.n+n, event
		g.mu.Unlock()
		return
	}
	if !g.closed {
		k = &gathered[E]{}
		k.timer = time.AfterFunc(noticeInterval, func() { g.flush(kind) })
		g.kinds[kind] = k
	}
	g.mu.Unlock()
	g.say(kind, n, event)
}

// flush logs the events of a kind since its last log line. It forgets the kind if
// there were none.
func (g *gather[K, E]) flush(kind K) {
	g.mu.Lock()
	k := g.kinds[kind]
	if k == nil || k.n == 0 {
		delete(g.kinds, kind)
		g.mu.Unlock()
		return
	}
	n, events := k.n, k.events
	k.n = 0
	k.timer.Reset(noticeInterval)
	g.mu.Unlock()
	g.say(kind, n, events)
}

// close logs the remaining events, and stops the timers.
func (g *gather[K, E]) close() {
	g.mu.Lock()
	g.closed = true
	kinds := g.kinds
	g.kinds = map[K]*gathered[E]{}
	g.mu.Unlock()
	for kind, k := range kinds {
		k.timer.Stop()
		if k.n > 0 {
			g.say(kind, k.n, k.events)
		}
	}
}

// names bounds how many topics the log tells apart: topics may be made of messages.
type names struct {
	mu    sync.Mutex
	named map[topicAbout]*named
}

// topicAbout is a topic and what is said of it.
type topicAbout struct{ topic, about string }

// named is a topic that the log names.
type named struct {
	said  time.Time
	lasts bool // what is said of it, and so it keeps its place
}

// mayName reports whether the log names a topic: twenty at a time, and each for a minute at
// least.
func (n *names) mayName(topic, about string, lasts bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	key, now := topicAbout{topic, about}, time.Now()
	if n.named[key] == nil && len(n.named) >= mostKinds {
		maps.DeleteFunc(n.named, func(_ topicAbout, k *named) bool { return !k.lasts && now.Sub(k.said) >= noticeInterval })
		if len(n.named) >= mostKinds {
			return false
		}
	}
	if n.named == nil {
		n.named = map[topicAbout]*named{}
	}
	n.named[key] = &named{now, lasts}
	return true
}

// ends reports whether the log tells the end of what lasted: of what it has named.
func (n *names) ends(topic, about string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.named[topicAbout{topic, about}]
	if k == nil || !k.lasts {
		return false
	}
	k.said, k.lasts = time.Now(), false
	return true
}
