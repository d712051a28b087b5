package limits

import (
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
	// Wait bounds how long the first write to a topic waits for its
	// rules. Without an answer it goes ahead, and refusals decide.
	Wait = 5 * time.Second
	// rulesRetry is how soon rules are read again that could not be read.
	rulesRetry = 10 * time.Second
)

// cache has the rules of the topics in use, and reads them from the cluster:
// those of many topics in one go, and never the same twice at a time.
type cache struct {
	client   *kgo.Client
	life     context.Context // ends with the guard
	maxAge   time.Duration
	disabled bool
	changed  func(old, now *Rules)   // old is nil the first time, now when it is forgotten
	forget   func(topic string) bool // besides, false for one that is in use
	metadata func(*kmsg.MetadataResponseTopic)

	topics sync.Map // of topic to *Rules

	mu      sync.Mutex
	reading *round // under way
	next    *round // to start when that is done

	// hungAt is when the cluster last did not answer what its topics accept,
	// zero if it did since: it is not waited for as long again. Only the round
	// that is under way uses it.
	hungAt time.Time
	// answered is set when it did the last time that it was asked.
	answered bool
	// silent has when a broker last did not answer what its own defaults are.
	silent map[int32]time.Time
}

// round is one reading of the rules of some topics: all leaders of their
// partitions are asked for those that are true.
type round struct {
	topics map[string]bool
	done   chan struct{}
}

// of returns what is known of a topic, which must have been in a learn.
func (c *cache) of(topic string) *Rules {
	if r, ok := c.topics.Load(topic); ok {
		return r.(*Rules)
	}
	return &Rules{Topic: topic, Unknown: errNotRead}
}

// learn sees to it that the rules of the topics are known: of those in use for
// the first time it waits, of old ones it has new ones read meanwhile.
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

// refresh waits for rules that are no older than a second, and of all leaders
// of the topics.
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

// keep is for how long rules are used before they are read again.
func (c *cache) keep(r *Rules) time.Duration {
	switch {
	case r.Known || errors.Is(r.Unknown, kerr.TopicAuthorizationFailed):
		return c.maxAge
	case c.disabled && r.Partitions > 0:
		return c.maxAge
	case r.Missing():
		return min(Fresh, c.maxAge) // about to be created, perhaps by this write
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

// read has the rules of the topics read, in the round that is under way if it
// has them all, else in the next.
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

// run reads round after round until there is no next.
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
		// All leaders of a topic are asked again once they were asked: otherwise what
		// is known would change with the broker that answers.
		c.askLeaders(ctx, slices.DeleteFunc(slices.Clone(topics), func(topic string) bool {
			return !r.topics[topic] && c.of(topic).mild == nil
		}), found)
	}
	var news [][2]*Rules // told without the lock, so that a callback may ask for rules
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
				// The cluster did not answer: what it said before holds.
				kept := *old
				kept.asked = start.Add(min(rulesRetry, c.maxAge) - c.maxAge)
				c.topics.Store(topic, &kept)
				continue
			}
			if now.Known = false; now.Unknown == nil {
				now.Unknown = err
			}
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

// forgetAfter is how long a topic must be out of use to be forgotten.
const forgetAfter = time.Hour

// forgetUnused drops topics that are out of use, and returns what is to be told of that. Those
// that do not exist are dropped soon: a client that makes up topics may ask for many.
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
