package limits

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// learned is what answers of a leader showed about the sizes that it accepts for a
// topic. It decides how large batches are made, and which records go alone. It fails
// records only through TooLarge.
type learned struct {
	mu       sync.Mutex
	taken    int        // the largest acked batch
	rejected int        // the smallest batch rejected for its size, 0 for none
	ratio    float64    // by which that batch was compressed
	alone    int        // the raw size of the smallest record rejected alone for its size, 0 for none
	smallest *Rejection // of the records rejected alone

	// When rejected and alone were last seen. Each has its own age, and no larger
	// rejection renews it: a topic with a record that is too large each minute would
	// have small batches for ever.
	rejectedAt, aloneAt time.Time
}

// Rejection is the rejection of a record alone for its size.
type Rejection struct {
	Sent    int
	Started time.Time // when its request was written
	Code    int16
	Limit   int // in the broker's text, 0 for none
	raw     int
	// shrinks is set if every codec makes the record smaller. It is determined only for
	// a client without compression.
	shrinks bool
}

// learnedAge is how long a rejected size is remembered. Afterwards larger batches are
// tried again, since the limit may have been raised.
const learnedAge = time.Minute

func old(learned time.Time) bool { return time.Since(learned) > learnedAge }

// batch returns the largest raw size of batches, 0 for any, and the raw size from which
// on records go alone.
func (l *learned) batch() (batch, single int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	single = math.MaxInt32
	if l.alone > 0 && !old(l.aloneAt) {
		single = l.alone
	}
	if l.rejected > 0 && !old(l.rejectedAt) {
		batch = max(min(l.taken, l.rejected-1), l.rejected/2, MinMaxMessageBytes)
		batch = int(min(float64(batch)*l.ratio, math.MaxInt32))
	}
	return batch, single
}

// acked enters an acked batch, with the raw size of its record if it has only one.
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

// tooLarge enters a batch that was rejected for its size. If the request had other
// batches, a gateway may have rejected all of them for one.
func (l *learned) tooLarge(bytes, raw int, alone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !alone && bytes <= l.taken {
		return
	}
	if l.rejected == 0 || bytes <= l.rejected || old(l.rejectedAt) {
		l.rejected, l.ratio = bytes, max(1, float64(raw)/float64(max(1, bytes)))
		l.rejectedAt = time.Now()
	}
	if bytes <= l.taken {
		l.taken = 0 // the limit is a lower one now, and may be much lower
	}
}

// rejectedAlone enters a record that was rejected alone for its size. It reports
// whether that size is a new minimum.
func (l *learned) rejectedAlone(r Rejection) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.smallest == nil || r.raw <= l.smallest.raw || time.Since(l.smallest.Started) > proofAge {
		l.smallest = &r
	}
	if l.alone == 0 || r.raw <= l.alone || old(l.aloneAt) {
		news = l.alone == 0 || r.raw < l.alone*9/10
		l.alone, l.aloneAt = r.raw, time.Now()
	}
	return news
}

// proofAge is how long the rejection of a record proves that records at least as large
// are too large.
const proofAge = time.Second

// proof returns the rejection that proves something about records of a raw size, nil
// for none.
func (l *learned) proof(raw int) *Rejection {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.smallest; p != nil && raw >= p.raw && time.Since(p.Started) < proofAge {
		return p
	}
	return nil
}

// allLearned is what was learned, by topic and leader.
type allLearned struct {
	any atomic.Bool // a record was rejected for its size, or for its missing key

	mu      sync.RWMutex
	topics  map[string]map[int32]*learned
	keyless map[string]time.Time // the time of the last rejection for a missing key
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

// single returns the raw size from which on records of a topic go alone.
func (a *allLearned) single(topic string) int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	size := math.MaxInt
	for _, l := range a.topics[topic] {
		l.mu.Lock()
		if l.alone > 0 && !old(l.aloneAt) {
			size = min(size, l.alone)
		}
		l.mu.Unlock()
	}
	return size
}

// needsKey reports whether a record was rejected for its missing key within the last
// minute.
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
