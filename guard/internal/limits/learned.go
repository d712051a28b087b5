package limits

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// learned is what the leader of some of a topic's partitions taught of sizes, as sent. It
// steers how large batches are made, and which records go alone. A record fails by it
// only as TooLarge says.
type learned struct {
	mu        sync.Mutex
	taken     int // the largest batch that was acked
	rejected  int // the smallest that was rejected for its size, 0 for none
	alone     int // the raw size of the smallest record that was rejected for it alone, 0 for none
	learnedAt time.Time
	smallest  *Rejection // of the records that were rejected alone
}

// Rejection is a record that was rejected alone for its size.
type Rejection struct {
	Sent    int
	Started time.Time // when its request was written
	Code    int16
	Limit   int // that the broker's message tells, 0 for none
	raw     int
	// shrinks is set if any codec makes the record smaller. It is only found out
	// where the client does not compress it.
	shrinks bool
}

// learnedAge is for how long a size that was rejected is kept in mind: a raised limit is
// found out by trying.
const learnedAge = time.Minute

func (l *learned) old() bool { return time.Since(l.learnedAt) > learnedAge }

// batch returns the size up to which batches are made, 0 for any, and the raw size from which
// on records go alone.
func (l *learned) batch() (batch, single int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	single = math.MaxInt32
	if l.old() {
		return 0, single
	}
	if l.alone > 0 {
		single = l.alone
	}
	if l.rejected > 0 {
		batch = max(min(l.taken, l.rejected-1), l.rejected/2, MinMaxMessageBytes)
	}
	return batch, single
}

// acked notes a batch that was taken, and the raw size of its record if it is the only one.
func (l *learned) acked(bytes, raw int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = max(l.taken, bytes)
	if bytes >= l.rejected {
		l.rejected = 0
	}
	if raw >= l.alone {
		l.alone = 0
	}
}

// tooLarge notes that a batch was rejected for its size. Of batches that share a request, a
// gateway may reject all for one of them.
func (l *learned) tooLarge(bytes int, alone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !alone && bytes <= l.taken {
		return
	}
	if l.rejected == 0 || bytes < l.rejected || l.old() {
		l.rejected = bytes
	}
	l.taken = min(l.taken, bytes-1)
	l.learnedAt = time.Now()
}

// rejectedAlone notes a record that was rejected alone for its size. It reports whether the
// size is news.
func (l *learned) rejectedAlone(r Rejection) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.smallest == nil || r.raw < l.smallest.raw || time.Since(l.smallest.Started) > proofAge {
		l.smallest = &r
	}
	if l.alone == 0 || r.raw < l.alone || l.old() {
		news = l.alone == 0 || r.raw < l.alone*9/10
		l.alone, l.learnedAt = r.raw, time.Now()
	}
	return news
}

// proofAge is for how long the rejection of a record proves that no smaller one is taken.
const proofAge = time.Second

// proof returns the rejection that speaks of records as large as some raw size, nil for none.
func (l *learned) proof(raw int) *Rejection {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.smallest; p != nil && raw >= p.raw && time.Since(p.Started) < proofAge {
		return p
	}
	return nil
}

// allLearned has what was learned, by topic and leader.
type allLearned struct {
	any atomic.Bool // a record was rejected for its size, or for want of a key

	mu      sync.RWMutex
	topics  map[string]map[int32]*learned
	keyless map[string]time.Time // when a record was last rejected for want of a key
}

func (a *allLearned) of(topic string, leader int32) *learned {
	a.mu.RLock()
	l := a.topics[topic][leader]
	a.mu.RUnlock()
	if l != nil {
		return l
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.topics[topic] == nil {
		a.topics[topic] = map[int32]*learned{}
	}
	if l = a.topics[topic][leader]; l == nil {
		l = &learned{}
		a.topics[topic][leader] = l
	}
	return l
}

func (a *allLearned) forget(topic string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.topics, topic)
	delete(a.keyless, topic)
}

// single returns the raw size from which on records of a topic go alone, so that they spoil
// no batch.
func (a *allLearned) single(topic string) int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	size := math.MaxInt
	for _, l := range a.topics[topic] {
		l.mu.Lock()
		if l.alone > 0 && !l.old() {
			size = min(size, l.alone)
		}
		l.mu.Unlock()
	}
	return size
}

// needsKey reports whether a record was rejected of late for want of a key.
func (a *allLearned) needsKey(topic string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	at, ok := a.keyless[topic]
	return ok && time.Since(at) <= learnedAge
}

func (a *allLearned) setKeyless(topic string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keyless[topic] = time.Now()
	a.any.Store(true)
}
