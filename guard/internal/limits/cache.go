package limits

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// Wait bounds how long the first write to a topic waits for its configs. Without an
	// answer the write goes ahead, and rejections decide.
	Wait = 5 * time.Second
	// rulesRetry is the time until configs are read again that could not be read.
	rulesRetry = 10 * time.Second
)

// cache has the reported limits of the topics in use. It reads them for many topics at
// a time, and never twice at the same time for one.
type cache struct {
	client   *kgo.Client
	life     context.Context // ends with the guard
	maxAge   time.Duration
	disabled bool
	changed  func(old, now *Rules)   // old is nil the first time, now when it is forgotten
	forget   func(topic string) bool // returns false for a topic in use
	metadata func(*kmsg.MetadataResponseTopic)

	topics sync.Map // of topic to *Rules

	mu      sync.Mutex
	reading *round // in progress
	next    *round // starts when reading is done

	// hang is the last time that the cluster gave no answer about its topics, zero if it
	// has answered since. Only the current round uses it.
	hang hang
	// answered is set if the cluster answered the last time.
	answered bool
	// silent has the time when a broker last gave no answer about its own defaults.
	silent map[int32]time.Time
}

// round reads the limits of some topics once. leaders has the topics for which all
// leaders are asked.
type round struct {
	topics map[string]bool
	done   chan struct{}
}

// of returns what is reported of a topic. learn must have been called with it.
func (c *cache) of(topic string) *Rules {
	if r, ok := c.topics.Load(topic); ok {
		return r.(*Rules)
	}
	return &Rules{Topic: topic, Unknown: errNotRead}
}

// learn waits for the limits of topics that are used for the first time. It starts a
// new reading of old limits, and does not wait for it.
func (c *cache) learn(ctx context.Context, topics []string) {
	now := time.Now()
	var missing, old []string
	for _, topic := range topics {
		found, ok := c.topics.Load(topic)
		if !ok {
			missing = append(missing, topic)
			continue
		}
		r := found.(*Rules)
		r.used.Store(now.UnixNano())
		if now.Sub(r.asked) > c.keep(r) {
			old = append(old, topic)
		}
	}
	if len(old) > 0 {
		c.read(old, false)
	}
	if len(missing) > 0 {
		c.wait(ctx, c.read(missing, false))
	}
}

// refresh waits for limits of all leaders that are at most a second old.
func (c *cache) refresh(ctx context.Context, topics []string) {
	if c.disabled {
		return
	}
	now := time.Now()
	var old []string
	for _, topic := range topics {
		if r := c.of(topic); now.Sub(r.read) > Fresh || r.Known && len(r.others) > 0 && r.mild == nil {
			old = append(old, topic)
		}
	}
	if len(old) > 0 {
		c.wait(ctx, c.read(old, true))
	}
}

// keep is how long limits are used before they are read again.
func (c *cache) keep(r *Rules) time.Duration {
	switch {
	case r.Known || errors.Is(r.Unknown, kerr.TopicAuthorizationFailed):
		return c.maxAge
	case c.disabled && r.Partitions > 0:
		return c.maxAge
	case r.Missing():
		return min(Fresh, c.maxAge) // it is about to be created, perhaps by this write
	default:
		return min(rulesRetry, c.maxAge)
	}
}

func (c *cache) wait(ctx context.Context, r *round) {
	select {
	case <-r.done:
	case <-ctx.Done():
	case <-c.life.Done():
	case <-time.After(Wait):
	}
}

// read reads the limits of topics: in the current round if that has them all, else in
// the next one.
func (c *cache) read(topics []string, leaders bool) *round {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading != nil && c.reading.has(topics, leaders) {
		return c.reading
	}
	if c.next == nil {
		c.next = &round{topics: map[string]bool{}, done: make(chan struct{})}
	}
	for _, topic := range topics {
		c.next.topics[topic] = c.next.topics[topic] || leaders
	}
	r := c.next
	if c.reading == nil {
		c.reading, c.next = r, nil
		go c.run()
	}
	return r
}

func (r *round) has(topics []string, leaders bool) bool {
	for _, topic := range topics {
		if asked, ok := r.topics[topic]; !ok || leaders && !asked {
			return false
		}
	}
	return true
}

// run runs rounds until there is no next one.
func (c *cache) run() {
	for r := c.reading; r != nil; {
		c.readRound(r)
		c.mu.Lock()
		close(r.done)
		c.reading, c.next = c.next, nil
		r = c.reading
		c.mu.Unlock()
	}
}

func (c *cache) readRound(r *round) {
	start := time.Now()
	topics := slices.Sorted(maps.Keys(r.topics))
	ctx, cancel := context.WithTimeout(c.life, 2*Wait)
	defer cancel()
	found := make(map[string]*Rules, len(topics))
	for _, topic := range topics {
		found[topic] = &Rules{Topic: topic, used: &atomic.Int64{}}
	}
	err := c.ask(ctx, topics, found)
	if err == nil {
		// If all leaders of a topic were asked before, ask them all again. Else the
		// limits would depend on which broker answers.
		c.askLeaders(ctx, slices.DeleteFunc(slices.Clone(topics), func(topic string) bool {
			return !r.topics[topic] && c.of(topic).mild == nil
		}), found)
	}
	var news [][2]*Rules // reported without the lock, so that a callback may ask for limits
	defer func() {
		for _, n := range news {
			c.changed(n[0], n[1])
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, topic := range topics {
		now := found[topic]
		before, _ := c.topics.Load(topic)
		old, _ := before.(*Rules)
		if err != nil {
			if old != nil && old.Known {
				// The cluster did not answer, so the former answer holds.
				kept := *old
				kept.asked = start.Add(min(rulesRetry, c.maxAge) - c.maxAge)
				c.topics.Store(topic, &kept)
				continue
			}
			now.Known, now.Unknown = false, cmp.Or(now.Unknown, err)
		}
		if !now.Known {
			now.Unknown = cmp.Or(now.Unknown, ErrNotTold) // the answer lacks the topic
		}
		now.used.Store(start.UnixNano())
		if old != nil {
			now.used = old.used
		}
		now.read, now.asked = start, start
		if old != nil && old.ID == now.ID {
			now.claim(old.claims)
		} else {
			now.claim(&claims{})
		}
		c.topics.Store(topic, now)
		if !c.disabled && (old == nil || !old.same(now)) {
			news = append(news, [2]*Rules{old, now})
		}
	}
	news = append(news, c.forgetUnused(start)...)
}

// forgetAfter is the time without use after which a topic is forgotten.
const forgetAfter = time.Hour

// forgetUnused drops topics without use, and returns the reports about them. Topics
// that do not exist are dropped sooner, since a client that makes names up may ask for
// many.
func (c *cache) forgetUnused(now time.Time) (news [][2]*Rules) {
	c.topics.Range(func(topic, rules any) bool {
		r, after := rules.(*Rules), forgetAfter
		if r.Missing() {
			after = rulesRetry
		}
		if now.UnixNano()-r.used.Load() > int64(after) && c.forget(r.Topic) {
			c.topics.Delete(topic)
			if !c.disabled {
				news = append(news, [2]*Rules{r, nil})
			}
		}
		return true
	})
	return news
}
