package output

import (
	"maps"
	"sync"
	"time"
)

// gather bounds log lines about events that may happen thousands of times a second. The
// first event of a kind is logged at once. Later ones are logged together, once a
// minute.
type gather[K comparable, E any] struct {
	// say logs n events. events joins what they are about.
	say func(kind K, n int, events E)
	and func(events, next E) E // joins two events
	// rest is the kind for all others once there are too many kinds. It is nil if kinds
	// can't become many: they do if they are made of messages.
	rest func(kind K) K

	mu     sync.Mutex
	kinds  map[K]*gathered[E]
	closed bool
}

// mostKinds is how many kinds have lines of their own within a minute.
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

// names bounds how many topics the log names, since topics may be made of messages.
type names struct {
	mu    sync.Mutex
	named map[topicAbout]*named
}

// topicAbout is a topic and what a line says about it.
type topicAbout struct{ topic, about string }

// named is a topic that the log names.
type named struct {
	said  time.Time
	lasts bool // the state that the line reports lasts, so the topic keeps its place
}

// mayName reports whether the log may name a topic. It names twenty at a time, each for
// at least a minute.
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

// ends reports whether to log the end of a state: only if the log named the topic.
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
