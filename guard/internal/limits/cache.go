package limits

import (
	"context"
	"errors"
	"fmt"
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
	changed  func(old, now *Rules) // old is nil the first time, now when it is forgotten
	forget   func(topic string)    // besides

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

// round is one reading of the rules of some topics: those that are true are asked
// for of all who lead their partitions.
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

// refresh waits for rules that are no older than a second, and of all who lead
// partitions of the topics.
func (c *cache) refresh(ctx context.Context, topics []string) {
	if !c.disabled {
		c.renew(ctx, topics)
	}
}

func (c *cache) renew(ctx context.Context, topics []string) {
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

// forgetUnused drops topics that are out of use, and returns what is to be told of that.
func (c *cache) forgetUnused(now time.Time) (news [][2]*Rules) {
	c.topics.Range(func(topic, rules any) bool {
		if r := rules.(*Rules); now.UnixNano()-r.used.Load() > int64(forgetAfter) {
			c.topics.Delete(topic)
			c.forget(r.Topic)
			if !c.disabled {
				news = append(news, [2]*Rules{r, nil})
			}
		}
		return true
	})
	return news
}

// ask asks for the metadata and the configs of the topics, side by side, since the
// first write to a topic waits for both. Where the configs may not be answered it
// does not: the metadata could be behind them on the connection.
func (c *cache) ask(ctx context.Context, topics []string, found map[string]*Rules) error {
	var metadata []kmsg.MetadataResponseTopic
	var noMetadata error
	configsCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var asking sync.WaitGroup
	asking.Go(func() {
		if metadata, noMetadata = c.readMetadata(ctx, topics); noMetadata != nil {
			cancel()
		}
	})
	if !c.answered {
		asking.Wait()
	}
	hungAt := c.hungAt
	noConfigs := c.readConfigsOrNot(configsCtx, topics, found)
	asking.Wait()
	c.answered = noMetadata == nil && noConfigs == nil
	if noMetadata != nil {
		c.hungAt = hungAt // the cluster answers nothing at all
		return noMetadata
	}
	for i := range metadata {
		t := &metadata[i]
		if t.Topic == nil || found[*t.Topic] == nil {
			continue
		}
		r := found[*t.Topic]
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil { // not there, or not for us to know
			*r = Rules{Topic: r.Topic, Unknown: err, used: r.used}
		}
		r.ID, r.Partitions = t.TopicID, len(t.Partitions)
		if r.Partitions > 0 && errors.Is(r.Unknown, kerr.UnknownTopicOrPartition) {
			r.Unknown = ErrOtherTopics
		}
		r.leaders = slices.Repeat([]int32{-1}, r.Partitions)
		for _, p := range t.Partitions {
			if p.Leader >= 0 && int(p.Partition) < len(r.leaders) {
				r.leaders[p.Partition] = p.Leader
			}
		}
		for _, id := range r.leaders {
			if id >= 0 && id != r.from && !slices.Contains(r.others, id) {
				r.others = append(r.others, id)
			}
		}
	}
	return noConfigs
}

// leaderWait bounds how long a leader is waited for that is asked for its own
// defaults. Without an answer the defaults of others reject nothing.
const leaderWait = time.Second

// askLeaders asks the other leaders of the topics' partitions. A leader that does not
// answer is not asked for a while, and stays among the others.
func (c *cache) askLeaders(ctx context.Context, topics []string, found map[string]*Rules) {
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	ask := map[int32][]string{}
	for _, topic := range topics {
		r := found[topic]
		if !r.Known {
			continue
		}
		mild := *r
		r.mild = &mild
		for _, leader := range r.others {
			if time.Since(c.silent[leader]) > rulesRetry {
				ask[leader] = append(ask[leader], topic)
			}
		}
	}
	answers := make(chan map[string]*Rules)
	for leader, topics := range ask {
		c.silent[leader] = time.Now()
		go func() {
			told := map[string]*Rules{}
			for _, topic := range topics {
				told[topic] = &Rules{Topic: topic}
			}
			resp, err := c.client.Broker(int(leader)).RetriableRequest(ctx, configsRequest(topics))
			if err == nil {
				fill(told, leader, resp.(*kmsg.DescribeConfigsResponse))
			}
			answers <- told
		}()
	}
	for range ask {
		for topic, r := range <-answers {
			if r.Known {
				delete(c.silent, r.from)
				found[topic].join(r)
			}
		}
	}
}

// hangWait bounds how long a cluster is asked again that did not answer what its
// topics accept, once in rulesRetry.
const hangWait = 500 * time.Millisecond

func (c *cache) readConfigsOrNot(ctx context.Context, topics []string, found map[string]*Rules) error {
	if c.disabled {
		return errDisabled
	}
	if !c.hungAt.IsZero() {
		if time.Since(c.hungAt) < rulesRetry {
			return errHangs
		}
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, hangWait)
		defer cancel()
	}
	err := c.readConfigs(ctx, topics, found)
	if c.hungAt = (time.Time{}); ctx.Err() != nil {
		c.hungAt = time.Now()
	}
	return err
}

func (c *cache) readMetadata(ctx context.Context, topics []string) ([]kmsg.MetadataResponseTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, topic := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return nil, fmt.Errorf("reading metadata: %w", err)
	}
	return resp.Topics, nil
}

// anyTries is how often any broker is asked, if the connection to the one before was
// closed: kgo does not ask another then, if that was its first request.
const anyTries = 3

func (c *cache) readConfigs(ctx context.Context, topics []string, found map[string]*Rules) error {
	for try := 1; ; try++ {
		err := c.describe(ctx, topics, found)
		if err == nil || try == anyTries || ctx.Err() != nil {
			return err
		}
	}
}

func (c *cache) describe(ctx context.Context, topics []string, found map[string]*Rules) error {
	for _, shard := range c.client.RequestSharded(ctx, configsRequest(topics)) {
		if shard.Err != nil {
			return fmt.Errorf("describing topic configs: %w", shard.Err)
		}
		fill(found, shard.Meta.NodeID, shard.Resp.(*kmsg.DescribeConfigsResponse))
	}
	return nil
}

func configsRequest(topics []string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	for _, topic := range topics {
		res := kmsg.NewDescribeConfigsRequestResource()
		res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, topic
		req.Resources = append(req.Resources, res)
	}
	return req
}

// fill sets what a broker tells of topics.
func fill(found map[string]*Rules, from int32, resp *kmsg.DescribeConfigsResponse) {
	for _, res := range resp.Resources {
		r := found[res.ResourceName]
		if r == nil {
			continue
		}
		r.from = from
		if r.Unknown = kerr.ErrorForCode(res.ErrorCode); r.Unknown != nil {
			continue
		}
		told, set := make(map[string]string, len(res.Configs)), map[string]string{}
		for _, c := range res.Configs {
			if c.Value == nil {
				continue
			}
			told[c.Name] = *c.Value
			if c.Source == kmsg.ConfigSourceDynamicTopicConfig || resp.Version == 0 && !c.IsDefault {
				set[c.Name] = *c.Value
			}
		}
		if r.fill(told); r.Known {
			r.fix(told, set)
		}
	}
}
