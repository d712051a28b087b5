//go:build linux || darwin

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// opContext is the time that one method may take.
func opContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), opTimeout)
}

// CreateTopic creates a topic, and returns when every running node knows it
// and a leader for each of its partitions. On a shared cluster and on the
// user's own it is deleted when the test ends. The topic's properties may be
// nil.
func (c *Cluster) CreateTopic(topic string, partitions, replication int, properties map[string]string) {
	c.tb.Helper()
	ctx, cancel := opContext()
	defer cancel()
	values := map[string]*string{}
	for k, v := range properties {
		values[k] = &v
	}
	before, err := c.c.admin.ListTopics(ctx)
	c.must(err, "listing topics")
	_, err = c.c.admin.CreateTopic(ctx, int32(partitions), int16(replication), values, topic)
	for errors.Is(err, kerr.InvalidReplicationFactor) && ctx.Err() == nil {
		// A busy machine let a node's heartbeats come too late, and it counts as away.
		time.Sleep(100 * time.Millisecond)
		_, err = c.c.admin.CreateTopic(ctx, int32(partitions), int16(replication), values, topic)
	}
	if errors.Is(err, kerr.TopicAlreadyExists) && !before.Has(topic) {
		err = nil // the client asked twice, since the first answer took long
	}
	c.must(err, "creating topic %s", topic)
	if c.shared || c.c.external() {
		c.tb.Cleanup(func() {
			ctx, cancel := opContext()
			defer cancel()
			err := c.c.deleteTopic(ctx, topic)
			if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
				c.tb.Errorf("kafkatest: deleting topic %s: %v", topic, err)
			}
		})
	}
	c.must(c.c.waitTopic(ctx, topic, partitions), "creating topic %s", topic)
}

// DeleteTopic deletes a topic, and returns when no running node knows it.
func (c *Cluster) DeleteTopic(topic string) {
	c.tb.Helper()
	ctx, cancel := opContext()
	defer cancel()
	c.must(c.c.deleteTopic(ctx, topic), "deleting topic %s", topic)
}

// AddPartitions adds partitions to a topic, and returns when every running
// node knows them.
func (c *Cluster) AddPartitions(topic string, add int) {
	c.tb.Helper()
	ctx, cancel := opContext()
	defer cancel()
	before, err := c.c.topic(ctx, topic)
	c.must(err, "adding partitions to topic %s", topic)
	total := len(before.Partitions) + add
	responses, err := c.c.admin.UpdatePartitions(ctx, total, topic)
	if err == nil {
		_, err = responses.On(topic, func(r *kadm.CreatePartitionsResponse) error { return r.Err })
	}
	c.must(err, "adding partitions to topic %s", topic)
	c.must(c.c.waitTopic(ctx, topic, total), "adding partitions to topic %s", topic)
}

// SetTopicConfig sets a property of a topic, and returns when every running
// node goes by it.
func (c *Cluster) SetTopicConfig(topic, key, value string) {
	c.tb.Helper()
	ctx, cancel := opContext()
	defer cancel()
	err := c.c.setTopicConfig(ctx, topic, key, value)
	c.must(err, "setting %s of topic %s", key, topic)
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType = kmsg.ConfigResourceTypeTopic
	resource.ResourceName = topic
	resource.ConfigNames = []string{key}
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = append(req.Resources, resource)
	err = c.c.everywhere(ctx, req, func(resp kmsg.Response) error {
		for _, r := range resp.(*kmsg.DescribeConfigsResponse).Resources {
			if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
				return err
			}
			for _, cfg := range r.Configs {
				if cfg.Name == key && cfg.Value != nil && *cfg.Value == value {
					return nil
				}
			}
		}
		return fmt.Errorf("%s is not %q yet", key, value)
	})
	if err == nil {
		err = c.c.settle(ctx)
	}
	c.must(err, "setting %s of topic %s", key, topic)
}

func (c *cluster) setTopicConfig(ctx context.Context, topic, key, value string) error {
	responses, err := c.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: key, Value: &value}}, topic)
	if err == nil {
		_, err = responses.On(topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
	}
	return err
}

// Leader returns the node that leads a partition. If the last one was killed,
// stopped or frozen it waits for the next.
func (c *Cluster) Leader(topic string, partition int) int {
	c.tb.Helper()
	ctx, cancel := opContext()
	defer cancel()
	leader := -1
	err := poll(ctx, func() (bool, error) {
		t, err := c.c.topic(ctx, topic)
		if err != nil {
			return false, err
		}
		for _, p := range t.Partitions {
			if int(p.Partition) == partition {
				leader = int(p.Leader)
			}
		}
		return leader > 0 && (c.c.external() || c.c.nodes[leader-1].state == nodeRunning), nil
	})
	c.must(err, "finding the leader of partition %d of topic %s (last known: %d)", partition, topic, leader)
	return leader
}

// topic describes a topic as the first running node sees it.
func (c *cluster) topic(ctx context.Context, topic string) (kmsg.MetadataResponseTopic, error) {
	var found kmsg.MetadataResponseTopic
	err := poll(ctx, func() (bool, error) {
		tctx, cancel := context.WithTimeout(ctx, pollTimeout)
		defer cancel()
		resp, err := c.any(tctx, topicRequest(topic))
		if err != nil || len(resp.(*kmsg.MetadataResponse).Topics) != 1 {
			return false, nil
		}
		found = resp.(*kmsg.MetadataResponse).Topics[0]
		err = kerr.ErrorForCode(found.ErrorCode)
		if kerr.IsRetriable(err) && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return found, fmt.Errorf("describing topic %s: %w", topic, err)
	}
	return found, nil
}

func topicRequest(topic string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	return req
}

// any sends a request to some node that can answer.
func (c *cluster) any(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	if c.external() {
		return c.client.Request(ctx, req)
	}
	up := c.running()
	if len(up) == 0 {
		return nil, errors.New("no node is running")
	}
	return c.on(ctx, up[0], req)
}

func (c *cluster) waitTopic(ctx context.Context, topic string, partitions int) error {
	err := c.everywhere(ctx, topicRequest(topic), func(resp kmsg.Response) error {
		for _, t := range resp.(*kmsg.MetadataResponse).Topics {
			if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
				return err
			}
			if len(t.Partitions) != partitions {
				return fmt.Errorf("it has %d partitions, not yet %d", len(t.Partitions), partitions)
			}
			for _, p := range t.Partitions {
				if p.Leader < 0 {
					return fmt.Errorf("partition %d has no leader yet", p.Partition)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.settle(ctx)
}

func (c *cluster) deleteTopic(ctx context.Context, topic string) error {
	if _, err := c.admin.DeleteTopic(ctx, topic); err != nil {
		return err
	}
	err := c.everywhere(ctx, topicRequest(topic), func(resp kmsg.Response) error {
		for _, t := range resp.(*kmsg.MetadataResponse).Topics {
			if !errors.Is(kerr.ErrorForCode(t.ErrorCode), kerr.UnknownTopicOrPartition) {
				return errors.New("it is still there")
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.settle(ctx)
}
