package check

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/output"
)

// topic checks the topic, and the rights to it.
func (k *checker) checkTopic(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	req.IncludeTopicAuthorizedOperations = true
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &k.topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, k.kafka)
	if err != nil || len(resp.Topics) != 1 {
		k.add(notKnown, "topic %s: asking for it: %v", k.topic, err)
		return
	}
	found := resp.Topics[0]
	switch err := kerr.ErrorForCode(found.ErrorCode); {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		k.missing(ctx)
		return
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		k.add(failing, "topic %s: no right to see it, and so none to write to it: grant %s", k.topic, k.view.Name(output.WriteTopic))
		return
	case err != nil:
		k.add(failing, "topic %s: %v", k.topic, err)
		return
	}
	k.add(fine, "topic %s: it exists, partitions: %d", k.topic, len(found.Partitions))
	k.partition(len(found.Partitions))
	k.writable(found)
	k.producer(ctx, k.topic)
	k.configs(ctx, found)
}

// missing reports what happens to messages for a topic that does not exist.
func (k *checker) missing(ctx context.Context) {
	const property = "auto.create.topics.enable"
	if k.kafka.OptValue(kgo.AllowAutoTopicCreation) != true {
		k.add(failing, "topic %s: it does not exist, and allow_auto_topic_creation is false: create it, messages to it wait", k.topic)
		return
	}
	switch value, err := k.brokerConfig(ctx, property); {
	case err != nil:
		k.add(doubtful, "topic %s: it does not exist. Whether the brokers create it with the first message (%s) is not known (%v): better create it", k.topic, property, err)
	case value == "true":
		k.add(doubtful, "topic %s: it does not exist. The brokers create it with the first message, with their own defaults (%s)", k.topic, property)
	default:
		k.add(failing, "topic %s: it does not exist, and the brokers do not create topics (%s is %s): create it, messages to it wait", k.topic, property, value)
	}
}

// brokerConfig returns a property of any broker.
func (k *checker) brokerConfig(ctx context.Context, property string) (string, error) {
	brokers, err := k.admin.ListBrokers(ctx)
	if err != nil {
		return "", err
	}
	configs, err := k.admin.DescribeBrokerConfigs(ctx, brokers.NodeIDs()...)
	if err != nil {
		return "", err
	}
	for _, b := range configs {
		if b.Err != nil {
			return "", b.Err
		}
		for _, c := range b.Configs {
			if c.Key == property && c.Value != nil {
				return *c.Value, nil
			}
		}
	}
	return "", errors.New("the brokers do not tell it")
}

// partition checks the partition that every message goes to, if there is one.
func (k *checker) partition(partitions int) {
	if k.view.Partition == nil {
		return
	}
	text, static := k.view.Partition.Static()
	if !static {
		return
	}
	if n, err := strconv.Atoi(text); err != nil || n >= partitions {
		k.add(failing, "partition %s: the topic has %d, from 0 to %d: every message would be %s", text, partitions, partitions-1, guard.Unroutable)
	}
}

// writable checks the right to write to the topic. Kafka has no dry run, but
// from 2.3 on tells what a client may do (KIP-430).
func (k *checker) writable(t kmsg.MetadataResponseTopic) {
	const omitted = math.MinInt32
	switch {
	case t.AuthorizedOperations == omitted:
		k.add(notKnown, "right to write to topic %s: the brokers do not tell", k.topic)
	case slices.Contains(kadm.DecodeACLOperations(t.AuthorizedOperations), kmsg.ACLOperationWrite):
		k.add(fine, "right to write to topic %s: there", k.topic)
	default:
		k.add(failing, "right to write to topic %s: missing: grant %s, messages to it wait", k.topic, k.view.Name(output.WriteTopic))
	}
}

// producer checks the right to write idempotently, by asking for a producer ID.
func (k *checker) producer(ctx context.Context, topic string) {
	if k.kafka.OptValue(kgo.DisableIdempotentWrite) == true {
		return
	}
	id, _, err := k.kafka.ProducerID(ctx)
	switch {
	case err == nil && id < 0: // kgo goes on without
		k.add(doubtful, "idempotent_write: the cluster has no producer IDs: whatever is sent again after a lost answer may be in the topic twice")
	case err == nil:
		k.add(fine, "right to idempotent_write: there")
	case errors.Is(err, kerr.ClusterAuthorizationFailed) && topic == "":
		k.add(notKnown, "right to idempotent_write: missing as yet: from Kafka 2.8 on it comes with WRITE on any topic, before it takes IDEMPOTENT_WRITE on the cluster")
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		k.add(failing, "right to idempotent_write: missing: grant %s (without IAM, from Kafka 2.8 on, WRITE on the topic will do), or set idempotent_write: false", k.view.Name(output.WriteIdempotent))
	default:
		k.add(notKnown, "right to idempotent_write: asking for a producer ID: %v", err)
	}
}

// configs compares the limits of the topic with what the output would send.
func (k *checker) configs(ctx context.Context, t kmsg.MetadataResponseTopic) {
	rules := k.guard.Rules(ctx, k.topic)
	if !rules.Known {
		k.unread(rules.Unknown)
		return
	}
	if k.view.Guard.IgnoreRules {
		k.add(doubtful, "right to DESCRIBE_CONFIGS of topic %s: there, but topic_rules.enabled is false: after a rejection, extra requests find the failed messages", k.topic)
	} else {
		k.add(fine, "right to DESCRIBE_CONFIGS of topic %s: there", k.topic)
	}
	if rules.Compacted && !k.view.Keyed {
		k.add(failing, "topic %s: it is compacted and takes no message without a key, so that every message would be %s: set key", k.topic, guard.InvalidRecord)
	}
	k.replicas(t, k.minInSyncReplicas(ctx))
	k.maxBatchBytes = rules.MaxBatchBytes()
	property := "max.message.bytes"
	if rules.SegmentBytes < rules.MaxMessageBytes {
		property = "segment.bytes"
	}
	switch own, limit := k.view.Guard.MaxMessageBytes, k.maxBatchBytes; {
	case own > 0 && own < limit:
		k.add(doubtful, "size: max_message_bytes (%d) is less than topic %s takes (%s %d): messages in between are %s although Kafka would take them. Leave it out to go by the topic", own, k.topic, property, limit, guard.SizeExceeded)
	case own > limit:
		k.add(doubtful, "size: max_message_bytes (%d) is more than topic %s takes (%s %d), so that it has no effect. Leave it out, or raise %s", own, k.topic, property, limit, property)
	case limit > k.view.MaxRequestBytes:
		k.add(doubtful, "size: broker_write_max_bytes (%d) is less than topic %s takes (%s %d): messages in between are %s although Kafka would take them. Raise it, and the brokers' socket.request.max.bytes", k.view.MaxRequestBytes, k.topic, property, limit, guard.SizeExceeded)
	default:
		k.add(fine, "size: topic %s takes batches, and so messages, of up to %d bytes as sent (%s)", k.topic, limit, property)
	}
}

// minInSyncReplicas is 0 where the cluster does not tell.
func (k *checker) minInSyncReplicas(ctx context.Context) int {
	described, err := k.admin.DescribeTopicConfigs(ctx, k.topic)
	if err != nil {
		return 0
	}
	for _, topic := range described {
		for _, c := range topic.Configs {
			if c.Key == "min.insync.replicas" {
				n, _ := strconv.Atoi(c.MaybeValue())
				return n
			}
		}
	}
	return 0
}

// unread reports that the topic's configs can't be read, and what follows from it.
func (k *checker) unread(err error) {
	const without = "It works without, but after a rejection, extra requests find the failed messages, and without max_message_bytes, batches are at most 1 MiB"
	switch {
	case k.view.Guard.IgnoreRules:
		k.add(notKnown, "size: what topic %s takes can't be read (%v)", k.topic, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		k.add(doubtful, "right to DESCRIBE_CONFIGS of topic %s: missing: grant %s. %s", k.topic, k.view.Name(output.DescribeTopic), without)
	default:
		k.add(doubtful, "right to DESCRIBE_CONFIGS of topic %s: what the topic takes can't be read: %v. %s", k.topic, err, without)
	}
}

// replicas checks that the partitions have a leader, and replicas enough.
func (k *checker) replicas(t kmsg.MetadataResponseTopic, minISR int) {
	leaderless, few := 0, 0
	for _, p := range t.Partitions {
		switch {
		case p.Leader < 0:
			leaderless++
		case len(p.ISR) < min(minISR, len(p.Replicas)):
			few++
		}
	}
	if leaderless > 0 {
		k.add(doubtful, "topic %s: partitions without a leader at present: %d. Messages to them wait", k.topic, leaderless)
	}
	if few > 0 && k.kafka.OptValue(kgo.RequiredAcks) == kgo.AllISRAcks() {
		k.add(doubtful, "topic %s: partitions with fewer replicas in sync at present than min.insync.replicas (%d): %d. Messages to them wait", k.topic, minISR, few)
	}
}
