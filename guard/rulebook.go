package guard

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
	// rulesWait bounds how long the first write to a topic waits for its
	// rules. Without an answer it goes ahead, and refusals decide.
	rulesWait = 5 * time.Second
	// rulesFresh is how old rules that condemn a record may be.
	rulesFresh = time.Second
	// rulesRetry is how soon rules are read again that could not be read.
	rulesRetry = 10 * time.Second
)

// rulebook has the rules of the topics in use, and reads them from the cluster:
// those of many topics in one go, and never the same twice at a time.
type rulebook struct {
	client   *kgo.Client
	life     context.Context // ends with the guard
	maxAge   time.Duration
	fresh    time.Duration // rulesFresh
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
func (b *rulebook) of(topic string) *Rules {
	if r, ok := b.topics.Load(topic); ok {
		return r.(*Rules)
	}
	return &Rules{Topic: topic, Unknown: errNotRead}
}

// learn sees to it that the rules of the topics are known: of those in use for
// the first time it waits, of old ones it has new ones read meanwhile.
func (b *rulebook) learn(ctx context.Context, topics []string) {
	now := time.Now()
	var missing, old []string
	for _, topic := range topics {
		found, ok := b.topics.Load(topic)
		if !ok {
			missing = append(missing, topic)
			continue
		}
		r := found.(*Rules)
		r.used.Store(now.UnixNano())
		if now.Sub(r.read) > b.keep(r) {
			old = append(old, topic)
		}
	}
	if len(old) > 0 {
		b.read(old, false)
	}
	if len(missing) > 0 {
		b.wait(ctx, b.read(missing, false))
	}
}

// refresh waits for rules that are no older than a second, and of all who lead
// partitions of the topics.
func (b *rulebook) refresh(ctx context.Context, topics []string) {
	if !b.disabled {
		b.renew(ctx, topics)
	}
}

func (b *rulebook) renew(ctx context.Context, topics []string) {
	now := time.Now()
	var old []string
	for _, topic := range topics {
		if r := b.of(topic); now.Sub(r.read) > b.fresh || r.Known && len(r.others) > 0 && r.mild == nil {
			old = append(old, topic)
		}
	}
	if len(old) > 0 {
		b.wait(ctx, b.read(old, true))
	}
}

// keep is for how long rules are used before they are read again.
func (b *rulebook) keep(r *Rules) time.Duration {
	switch {
	case r.Known || errors.Is(r.Unknown, kerr.TopicAuthorizationFailed):
		return b.maxAge
	case b.disabled && r.Partitions > 0:
		return b.maxAge
	case r.Missing():
		return min(rulesFresh, b.maxAge) // about to be created, perhaps by this write
	default:
		return min(rulesRetry, b.maxAge)
	}
}

func (b *rulebook) wait(ctx context.Context, r *round) {
	select {
	case <-r.done:
	case <-ctx.Done():
	case <-b.life.Done():
	case <-time.After(rulesWait):
	}
}

// read has the rules of the topics read, in the round that is under way if it
// has them all, else in the next.
func (b *rulebook) read(topics []string, leaders bool) *round {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reading != nil && b.reading.has(topics, leaders) {
		return b.reading
	}
	if b.next == nil {
		b.next = &round{topics: map[string]bool{}, done: make(chan struct{})}
	}
	for _, topic := range topics {
		b.next.topics[topic] = b.next.topics[topic] || leaders
	}
	r := b.next
	if b.reading == nil {
		b.reading, b.next = r, nil
		go b.run()
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
func (b *rulebook) run() {
	for r := b.reading; r != nil; {
		b.readRound(r)
		b.mu.Lock()
		close(r.done)
		b.reading, b.next = b.next, nil
		r = b.reading
		b.mu.Unlock()
	}
}

func (b *rulebook) readRound(r *round) {
	start := time.Now()
	topics := slices.Sorted(maps.Keys(r.topics))
	ctx, cancel := context.WithTimeout(b.life, 2*rulesWait)
	defer cancel()
	found := make(map[string]*Rules, len(topics))
	for _, topic := range topics {
		found[topic] = &Rules{Topic: topic, used: &atomic.Int64{}}
	}
	err := b.ask(ctx, topics, found)
	if err == nil {
		// Whom the leaders were asked for once, they are asked for again: else what
		// is known would change with who is asked.
		b.askLeaders(ctx, slices.DeleteFunc(slices.Clone(topics), func(topic string) bool {
			return !r.topics[topic] && b.of(topic).mild == nil
		}), found)
	}
	var news [][2]*Rules // told without the lock, so that a callback may ask for rules
	defer func() {
		for _, n := range news {
			b.changed(n[0], n[1])
		}
	}()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, topic := range topics {
		now := found[topic]
		before, _ := b.topics.Load(topic)
		old, _ := before.(*Rules)
		if err != nil {
			if old != nil && old.Known {
				// The cluster did not answer: what it said before holds.
				kept := *old
				kept.read = start.Add(rulesRetry - b.maxAge)
				b.topics.Store(topic, &kept)
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
		now.read = start
		b.topics.Store(topic, now)
		if !b.disabled && (old == nil || !old.same(now)) {
			news = append(news, [2]*Rules{old, now})
		}
	}
	news = append(news, b.forgetUnused(start)...)
}

// forgetAfter is how long a topic must be out of use to be forgotten.
const forgetAfter = time.Hour

// forgetUnused drops topics that are out of use, and returns what is to be told of that.
func (b *rulebook) forgetUnused(now time.Time) (news [][2]*Rules) {
	b.topics.Range(func(topic, rules any) bool {
		if r := rules.(*Rules); now.UnixNano()-r.used.Load() > int64(forgetAfter) {
			b.topics.Delete(topic)
			b.forget(r.Topic)
			if !b.disabled {
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
func (b *rulebook) ask(ctx context.Context, topics []string, found map[string]*Rules) error {
	var metadata []kmsg.MetadataResponseTopic
	var noMetadata error
	configsCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var asking sync.WaitGroup
	asking.Go(func() {
		if metadata, noMetadata = b.readMetadata(ctx, topics); noMetadata != nil {
			cancel()
		}
	})
	if !b.answered {
		asking.Wait()
	}
	hungAt := b.hungAt
	noConfigs := b.readConfigsOrNot(configsCtx, topics, found)
	asking.Wait()
	b.answered = noMetadata == nil && noConfigs == nil
	if noMetadata != nil {
		b.hungAt = hungAt // the cluster answers nothing at all
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
// defaults. Without an answer nobody is condemned by those of others.
const leaderWait = time.Second

// askLeaders asks the other leaders of the topics' partitions. Who does not answer
// is not asked for a while, and stays among the others.
func (b *rulebook) askLeaders(ctx context.Context, topics []string, found map[string]*Rules) {
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
			if time.Since(b.silent[leader]) > rulesRetry {
				ask[leader] = append(ask[leader], topic)
			}
		}
	}
	answers := make(chan map[string]*Rules)
	for leader, topics := range ask {
		b.silent[leader] = time.Now()
		go func() {
			told := map[string]*Rules{}
			for _, topic := range topics {
				told[topic] = &Rules{Topic: topic}
			}
			resp, err := b.client.Broker(int(leader)).RetriableRequest(ctx, configsRequest(topics))
			if err == nil {
				fill(told, leader, resp.(*kmsg.DescribeConfigsResponse))
			}
			answers <- told
		}()
	}
	for range ask {
		for topic, r := range <-answers {
			if r.Known {
				delete(b.silent, r.from)
				found[topic].join(r)
			}
		}
	}
}

// hangWait bounds how long a cluster is asked again that did not answer what its
// topics accept, once in rulesRetry.
const hangWait = 500 * time.Millisecond

func (b *rulebook) readConfigsOrNot(ctx context.Context, topics []string, found map[string]*Rules) error {
	if b.disabled {
		return errDisabled
	}
	if !b.hungAt.IsZero() {
		if time.Since(b.hungAt) < rulesRetry {
			return errHangs
		}
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, hangWait)
		defer cancel()
	}
	err := b.readConfigs(ctx, topics, found)
	if b.hungAt = (time.Time{}); ctx.Err() != nil {
		b.hungAt = time.Now()
	}
	return err
}

func (b *rulebook) readMetadata(ctx context.Context, topics []string) ([]kmsg.MetadataResponseTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, topic := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, b.client)
	if err != nil {
		return nil, fmt.Errorf("reading metadata: %w", err)
	}
	return resp.Topics, nil
}

// anyTries is how often any broker is asked, if the connection to the one before was
// closed: kgo does not ask another then, if that was its first request.
const anyTries = 3

func (b *rulebook) readConfigs(ctx context.Context, topics []string, found map[string]*Rules) error {
	for try := 1; ; try++ {
		err := b.describe(ctx, topics, found)
		if err == nil || try == anyTries || ctx.Err() != nil {
			return err
		}
	}
}

func (b *rulebook) describe(ctx context.Context, topics []string, found map[string]*Rules) error {
	for _, shard := range b.client.RequestSharded(ctx, configsRequest(topics)) {
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

var errDisabled = errors.New("not to be asked for")

var errHangs = errors.New("the cluster does not answer when asked")

var errNotRead = errors.New("not read from the cluster")
