package check

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/output"
)

// quickTimeout is how long the seed brokers may take if they are all that is asked.
const quickTimeout = 2500 * time.Millisecond

// answerTimeout is how long a broker may take to answer a request.
const answerTimeout = 10 * time.Second

// checker looks at an output beside the cluster that it is for.
type checker struct {
	findings
	view  output.View
	wait  time.Duration // for the seed brokers
	topic string        // empty where it depends on the message
	// maxBatchBytes is the size of the largest batch that the topic takes, 0
	// where it is not known.
	maxBatchBytes int

	guard *guard.Guard
	kafka *kgo.Client
	admin *kadm.Client
}

// inspect finds out whether an output with the config, parsed by output.Spec,
// could do its work: whether the brokers answer and take its credentials, the
// topic is there, and there are the rights and the sizes that it takes. It
// writes nothing, and creates no topic. What it says of a broker may be other by
// the time that a stream runs.
func inspect(ctx context.Context, conf *service.ParsedConfig, opts Options) *checker {
	k := &checker{wait: answerTimeout}
	var err error
	if k.view, err = output.ViewOf(conf); err != nil {
		k.add(failing, "config: %v", err)
		return k
	}
	if opts.Quick {
		k.wait = quickTimeout
		k.connection(ctx)
		return k
	}
	for _, hint := range k.view.Hints {
		k.add(doubtful, "config: %s", hint)
	}
	answering := k.connection(ctx)
	if len(answering) == 0 {
		return k
	}
	if err := k.open(answering); err != nil {
		k.add(failing, "config: %v", err)
		return k
	}
	defer k.close()
	k.brokers(ctx)
	topics := opts.Topics
	if topic, static := k.view.Topic.Static(); static {
		topics = []string{topic}
	}
	for _, k.topic = range topics {
		k.checkTopic(ctx)
	}
	if len(topics) == 0 {
		k.add(notKnown, "topic: it depends on the message, so that neither topics nor rights are checked: name some with --topic")
		k.producer(ctx, "")
	}
	k.requests(ctx)
	return k
}

// open makes clients of those seed brokers that answer: others would have the
// clients wait for them.
func (k *checker) open(seeds []string) (err error) {
	opts := append(slices.Clone(k.view.Client), kgo.SeedBrokers(seeds...))
	config := k.view.Guard
	config.IgnoreRules = false // what the topic accepts is to be known here
	if k.guard, err = guard.New(config, opts...); err != nil {
		return err
	}
	if k.kafka, err = kgo.NewClient(opts...); err != nil {
		k.guard.Close()
		return err
	}
	k.admin = kadm.NewClient(k.kafka)
	return nil
}

func (k *checker) close() {
	k.guard.Close()
	k.kafka.Close()
}

// connection tries each seed broker by itself, and returns those that answer and
// take the credentials.
func (k *checker) connection(ctx context.Context) (answering []string) {
	ctx, cancel := context.WithTimeout(ctx, k.wait)
	defer cancel()
	errs := make([]error, len(k.view.Seeds))
	var wg sync.WaitGroup
	for i, seed := range k.view.Seeds {
		wg.Go(func() { errs[i] = k.view.Ping(ctx, seed) })
	}
	wg.Wait()
	severity := failing
	if slices.Contains(errs, nil) {
		severity = doubtful // for one that does not answer
	}
	for i, err := range errs {
		switch seed := k.view.Seeds[i]; {
		case err == nil:
			answering = append(answering, seed)
			k.add(fine, "seed broker %s: it answers", seed)
		case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
			k.add(severity, "seed broker %s: credentials: refused: %v", seed, err)
		case errors.Is(err, context.DeadlineExceeded):
			k.add(severity, "seed broker %s: it does not answer within %s: check address and network", seed, k.wait)
		default:
			k.add(severity, "seed broker %s: it does not answer: check address, network, and whether the listener is one for the fields tls and sasl: %v", seed, err)
		}
	}
	switch {
	case len(answering) == 0:
	case len(k.view.SASL) == 0:
		k.add(fine, "credentials: none are configured, and the brokers ask for none")
	default:
		k.add(fine, "credentials: accepted (%s)", strings.Join(k.view.SASL, " or "))
	}
	return answering
}

// brokers checks that all brokers of the cluster answer under the addresses
// that they advertise.
func (k *checker) brokers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	brokers, err := k.admin.ListBrokers(ctx)
	if err != nil {
		k.add(notKnown, "brokers: listing them: %v", err)
		return
	}
	errs := make([]error, len(brokers))
	var wg sync.WaitGroup
	for i, b := range brokers {
		wg.Go(func() {
			req := kmsg.NewPtrMetadataRequest()
			req.Topics = []kmsg.MetadataRequestTopic{}
			_, errs[i] = k.kafka.Broker(int(b.NodeID)).Request(ctx, req)
		})
	}
	wg.Wait()
	answer := 0
	for i, b := range brokers {
		if errs[i] == nil {
			answer++
			continue
		}
		k.add(failing, "brokers: broker %d does not answer at %s:%d, which it advertises: check its advertised.listeners, and the network: %v", b.NodeID, b.Host, b.Port, errs[i])
	}
	if answer == len(brokers) {
		k.add(fine, "brokers: all answer, %d", answer)
	}
}

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

// missing says what becomes of messages to a topic that does not exist.
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
	_, _, err := k.kafka.ProducerID(ctx)
	switch {
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

// configs checks what the topic accepts against what the output would send.
func (k *checker) configs(ctx context.Context, t kmsg.MetadataResponseTopic) {
	rules := k.guard.Rules(ctx, k.topic)
	if !rules.Known {
		k.unread(rules.Unknown)
		return
	}
	if k.view.Guard.IgnoreRules {
		k.add(doubtful, "right to DESCRIBE_CONFIGS of topic %s: there, but topic_rules.enabled is false: refusals take extra requests to find the messages to blame", k.topic)
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

// unread says what it means that the topic's configs can't be read.
func (k *checker) unread(err error) {
	const without = "It works without, but refusals take extra requests to find the messages to blame, and without max_message_bytes, batches are at most 1 MiB"
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

// requests checks that the brokers take requests as large as the output sends.
func (k *checker) requests(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	limit, err := k.guard.RequestLimit(ctx)
	switch own := k.view.MaxRequestBytes; {
	case err != nil:
		k.add(notKnown, "size: whether the brokers take requests of broker_write_max_bytes (%d) is not known. To read their socket.request.max.bytes takes %s: %v", own, k.view.Name(output.DescribeBrokers), err)
	case own > limit:
		k.add(failing, "size: broker_write_max_bytes (%d) is more than the brokers take (socket.request.max.bytes %d): they close the connection on larger requests, so lower the one or raise the other", own, limit)
	default:
		k.add(fine, "size: the brokers take requests of broker_write_max_bytes (%d)", own)
	}
}
