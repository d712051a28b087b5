package limits

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ask reads metadata and configs of the topics at the same time, since the first write
// to a topic waits for both. If the cluster did not answer the last time, metadata is
// read first: on the connection it would wait behind configs that may never be
// answered.
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
		for i := range metadata {
			c.metadata(&metadata[i])
		}
	})
	if !c.answered {
		asking.Wait()
	}
	before := c.hang
	noConfigs := c.readConfigsOrNot(configsCtx, topics, found)
	asking.Wait()
	c.answered = noMetadata == nil && noConfigs == nil
	if noMetadata != nil {
		c.hang = before // the cluster answers no request
		return noMetadata
	}
	for i := range metadata {
		t := &metadata[i]
		if t.Topic == nil || found[*t.Topic] == nil {
			continue
		}
		r := found[*t.Topic]
		err := kerr.ErrorForCode(t.ErrorCode)
		if r.Known && errors.Is(err, kerr.UnknownTopicOrPartition) {
			continue // it was just created, and one of the two brokers does not know it yet
		}
		if err != nil { // it does not exist, or may not be described
			*r = Rules{Topic: r.Topic, Unknown: err, used: r.used}
		}
		r.ID, r.Partitions = t.TopicID, len(t.Partitions)
		if r.Partitions > 0 && errors.Is(r.Unknown, kerr.UnknownTopicOrPartition) {
			r.Unknown = ErrOtherTopics
		}
		r.leaders = slices.Repeat([]int32{-1}, r.Partitions)
		for _, p := range t.Partitions {
			if p.Leader >= 0 && 0 <= p.Partition && int(p.Partition) < len(r.leaders) {
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

// leaderWait bounds the wait for a leader's own defaults. Without its answer, the
// defaults of others reject no record.
const leaderWait = time.Second

// askLeaders asks the other leaders of the topics' partitions. A leader that does not
// answer is not asked again for a while.
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

// hangWait bounds the wait for configs from a cluster that gave no answer once. It is asked
// again after rulesRetry.
const hangWait = 500 * time.Millisecond

// hang is when a cluster gave no answer, and how long the next one is waited for. That
// doubles up to Wait, for a cluster that does answer, but slowly. The time between two
// requests grows with it, since first writes to topics wait, too.
type hang struct {
	at   time.Time
	wait time.Duration
}

func (h hang) lasts() bool { return time.Since(h.at) < h.wait*(rulesRetry/hangWait) }

func (h hang) again() hang { return hang{time.Now(), max(hangWait, min(2*h.wait, Wait))} }

func (c *cache) readConfigsOrNot(ctx context.Context, topics []string, found map[string]*Rules) error {
	if c.disabled {
		return errDisabled
	}
	before := c.hang
	if before.wait > 0 {
		if before.lasts() {
			return errHangs
		}
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, before.wait)
		defer cancel()
	}
	err := c.readConfigs(ctx, topics, found)
	if c.hang = (hang{}); ctx.Err() != nil {
		c.hang = before.again()
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

// anyTries is how many brokers are asked in turn if they close the connection. kgo does
// not ask another one if that was the first request on the connection.
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

// fill enters a broker's answer about topics.
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
