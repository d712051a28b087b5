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
}

// round is one reading of the rules of some topics.
type round struct {
	topics map[string]struct{}
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
		b.read(old)
	}
	if len(missing) > 0 {
		b.wait(ctx, b.read(missing))
	}
}

// refresh waits for rules that are no older than a second.
func (b *rulebook) refresh(ctx context.Context, topics []string) {
	if !b.disabled {
		b.renew(ctx, topics)
	}
}

// partitions returns how many partitions a topic has, by an answer that is no
// older than a second. It asks also when the other rules are not to be asked for.
func (b *rulebook) partitions(ctx context.Context, topic string) (int, error) {
	asked := time.Now()
	b.renew(ctx, []string{topic})
	r := b.of(topic)
	switch {
	case r.read.Before(asked.Add(-b.fresh)):
		return 0, errNotRead
	case r.Partitions == 0 && r.Unknown != nil:
		return 0, r.Unknown
	}
	return r.Partitions, nil
}

func (b *rulebook) renew(ctx context.Context, topics []string) {
	now := time.Now()
	var old []string
	for _, topic := range topics {
		if now.Sub(b.of(topic).read) > b.fresh {
			old = append(old, topic)
		}
	}
	if len(old) > 0 {
		b.wait(ctx, b.read(old))
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
func (b *rulebook) read(topics []string) *round {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reading != nil && b.reading.has(topics) {
		return b.reading
	}
	if b.next == nil {
		b.next = &round{topics: map[string]struct{}{}, done: make(chan struct{})}
	}
	for _, topic := range topics {
		b.next.topics[topic] = struct{}{}
	}
	r := b.next
	if b.reading == nil {
		b.reading, b.next = r, nil
		go b.run()
	}
	return r
}

func (r *round) has(topics []string) bool {
	for _, topic := range topics {
		if _, ok := r.topics[topic]; !ok {
			return false
		}
	}
	return true
}

// run reads round after round until there is no next.
func (b *rulebook) run() {
	for r := b.reading; r != nil; {
		b.readRound(slices.Sorted(maps.Keys(r.topics)))
		b.mu.Lock()
		close(r.done)
		b.reading, b.next = b.next, nil
		r = b.reading
		b.mu.Unlock()
	}
}

func (b *rulebook) readRound(topics []string) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(b.life, 2*rulesWait)
	defer cancel()
	found := make(map[string]*Rules, len(topics))
	for _, topic := range topics {
		found[topic] = &Rules{Topic: topic, used: &atomic.Int64{}}
	}
	err := b.ask(ctx, topics, found)
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
			b.changed(old, now)
		}
	}
	b.forgetUnused(start)
}

// forgetAfter is how long a topic must be out of use to be forgotten.
const forgetAfter = time.Hour

func (b *rulebook) forgetUnused(now time.Time) {
	b.topics.Range(func(topic, rules any) bool {
		if r := rules.(*Rules); now.UnixNano()-r.used.Load() > int64(forgetAfter) {
			b.topics.Delete(topic)
			b.forget(r.Topic)
			if !b.disabled {
				b.changed(r, nil)
			}
		}
		return true
	})
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
	}
	return noConfigs
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

func (b *rulebook) readConfigs(ctx context.Context, topics []string, found map[string]*Rules) error {
	req := kmsg.NewPtrDescribeConfigsRequest()
	for _, topic := range topics {
		res := kmsg.NewDescribeConfigsRequestResource()
		res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, topic
		req.Resources = append(req.Resources, res)
	}
	for _, shard := range b.client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return fmt.Errorf("describing topic configs: %w", shard.Err)
		}
		for _, res := range shard.Resp.(*kmsg.DescribeConfigsResponse).Resources {
			r := found[res.ResourceName]
			if r == nil {
				continue
			}
			if r.Unknown = kerr.ErrorForCode(res.ErrorCode); r.Unknown != nil {
				continue
			}
			configs := make(map[string]string, len(res.Configs))
			for _, c := range res.Configs {
				if c.Value != nil {
					configs[c.Name] = *c.Value
				}
			}
			r.fill(configs)
		}
	}
	return nil
}

var errDisabled = errors.New("not to be asked for")

var errHangs = errors.New("the cluster does not answer when asked")

var errNotRead = errors.New("not read from the cluster")
