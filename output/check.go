package output

import (
	"context"
	"errors"
	"fmt"
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
)

// ConnectionTest reports whether any broker answers and takes the credentials,
// and the same of the dead-letter output as far as it can tell. It writes
// nothing.
func (o *output) ConnectionTest(ctx context.Context) service.ConnectionTestResults {
	result := service.ConnectionTestSucceeded()
	if err := o.ping(ctx); err != nil {
		result = service.ConnectionTestFailed(err)
	}
	results := result.AsList()
	if o.letters != nil {
		results = append(results, o.letters.out.ConnectionTest(ctx)...)
	}
	return results
}

func (o *output) ping(ctx context.Context) error {
	g, err := guard.New(o.client.guard, o.client.opts...)
	if err != nil {
		return err
	}
	defer g.Close()
	return explainSASL(o.client.sasl, g.Ping(ctx))
}

// Severity says how bad a Finding is.
type Severity string

// The severities.
const (
	Fine     Severity = "ok"
	NotKnown Severity = "?"    // the cluster does not tell
	Doubtful Severity = "warn" // it works, but perhaps not as it is meant
	Failing  Severity = "fail" // messages would fail, or wait without end
)

// Finding is one thing that Check has found out: what, and what to do about it.
type Finding struct {
	Severity Severity
	Text     string
}

// Checked is what Check has found out about an output.
type Checked struct {
	Findings []Finding
	// Topic is the output's topic, empty where it depends on the message.
	Topic string
	// MaxBatchBytes is the size of the largest batch that the topic takes, 0
	// where it is not known.
	MaxBatchBytes int
}

func (c *Checked) add(s Severity, text string, args ...any) {
	c.Findings = append(c.Findings, Finding{s, fmt.Sprintf(text, args...)})
}

// answerTimeout is how long a broker may take to answer a request of Check.
const answerTimeout = 10 * time.Second

// Check finds out whether an output with the config, parsed by Spec, could do
// its work: whether the brokers answer and take its credentials, the topic is
// there, and there are the rights and the sizes that it takes. It writes
// nothing, and creates no topic. What it says of a broker may be other by the
// time that a stream runs.
func Check(ctx context.Context, conf *service.ParsedConfig) Checked {
	var c Checked
	client, err := clientConfigFrom(conf, conf.Resources().Logger())
	if err != nil {
		c.add(Failing, "config: %v", err)
		return c
	}
	records, err := recordConfigFrom(conf)
	if err != nil {
		c.add(Failing, "config: %v", err)
		return c
	}
	g, err := guard.New(client.guard, client.opts...)
	if err != nil {
		c.add(Failing, "config: %v", err)
		return c
	}
	defer g.Close()
	kafka, err := kgo.NewClient(client.opts...)
	if err != nil {
		c.add(Failing, "config: %v", err)
		return c
	}
	defer kafka.Close()
	k := checker{Checked: &c, client: client, records: records, guard: g, kafka: kafka, admin: kadm.NewClient(kafka)}
	if k.connection(ctx) {
		k.brokers(ctx)
		k.topic(ctx)
		k.requests(ctx)
	}
	return c
}

type checker struct {
	*Checked
	client  clientConfig
	records recordConfig
	guard   *guard.Guard
	kafka   *kgo.Client
	admin   *kadm.Client
}

// connection checks that a broker answers and takes the credentials.
func (k *checker) connection(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := k.guard.Ping(ctx)
	refused := errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.UnsupportedSaslMechanism) || errors.Is(err, kerr.IllegalSaslState)
	var names []string
	for _, m := range k.client.sasl {
		names = append(names, m.Name())
	}
	switch {
	case err == nil && names == nil:
		k.add(Fine, "credentials: none are configured, and the brokers ask for none")
	case err == nil:
		k.add(Fine, "credentials: accepted (%s)", strings.Join(names, " or "))
	case refused:
		k.add(Failing, "credentials: refused: %v", explainSASL(k.client.sasl, err))
	case errors.Is(err, context.DeadlineExceeded):
		k.add(Failing, "brokers: none of %s answers within %s: check addresses and network", fieldSeedBrokers, answerTimeout)
	default:
		k.add(Failing, "brokers: none of %s answers: check addresses, network, and whether the listener is one for %s and %s: %v", fieldSeedBrokers, fieldTLS, fieldSASL, err)
	}
	return err == nil
}

// brokers checks that all brokers of the cluster answer under the addresses
// that they advertise.
func (k *checker) brokers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	brokers, err := k.admin.ListBrokers(ctx)
	if err != nil {
		k.add(NotKnown, "brokers: listing them: %v", err)
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
		k.add(Failing, "brokers: broker %d does not answer at %s:%d, which it advertises: check its advertised.listeners, and the network: %v", b.NodeID, b.Host, b.Port, errs[i])
	}
	if answer == len(brokers) {
		k.add(Fine, "brokers: all answer, %d", answer)
	}
}

// topic checks the topic, and the rights to it.
func (k *checker) topic(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	name, static := k.records.topic.Static()
	if !static {
		k.add(NotKnown, "topic: it depends on the message, so that neither topics nor rights are checked")
		k.producer(ctx, "")
		return
	}
	k.Topic = name
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	req.IncludeTopicAuthorizedOperations = true
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(name)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, k.kafka)
	if err != nil || len(resp.Topics) != 1 {
		k.add(NotKnown, "topic %s: asking for it: %v", name, err)
		return
	}
	found := resp.Topics[0]
	switch err := kerr.ErrorForCode(found.ErrorCode); {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		k.missing(ctx)
		return
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		k.add(Failing, "topic %s: no right to see it, and so none to write to it: grant WRITE on the topic", name)
		return
	case err != nil:
		k.add(Failing, "topic %s: %v", name, err)
		return
	}
	k.add(Fine, "topic %s: it exists, partitions: %d", name, len(found.Partitions))
	k.partition(len(found.Partitions))
	k.writable(found)
	k.producer(ctx, name)
	k.configs(ctx, found)
}

// missing says what becomes of messages to a topic that does not exist.
func (k *checker) missing(ctx context.Context) {
	const property = "auto.create.topics.enable"
	if k.kafka.OptValue(kgo.AllowAutoTopicCreation) != true {
		k.add(Failing, "topic %s: it does not exist, and %s is false: create it, messages to it wait", k.Topic, fieldAllowAutoTopicCreation)
		return
	}
	switch value, err := k.brokerConfig(ctx, property); {
	case err != nil:
		k.add(Doubtful, "topic %s: it does not exist. Whether the brokers create it with the first message (%s) is not known (%v): better create it", k.Topic, property, err)
	case value == "true":
		k.add(Doubtful, "topic %s: it does not exist. The brokers create it with the first message, with their own defaults (%s)", k.Topic, property)
	default:
		k.add(Failing, "topic %s: it does not exist, and the brokers do not create topics (%s is %s): create it, messages to it wait", k.Topic, property, value)
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
	if k.records.partition == nil {
		return
	}
	text, static := k.records.partition.Static()
	if !static {
		return
	}
	if n, err := parsePartition(text); err != nil || int(n) >= partitions {
		k.add(Failing, "partition %s: the topic has %d, from 0 to %d: every message would be %s", text, partitions, partitions-1, guard.Unroutable)
	}
}

// writable checks the right to write to the topic. Kafka has no dry run, but
// from 2.3 on tells what a client may do (KIP-430).
func (k *checker) writable(t kmsg.MetadataResponseTopic) {
	const omitted = math.MinInt32
	switch {
	case t.AuthorizedOperations == omitted:
		k.add(NotKnown, "right to write to topic %s: the brokers do not tell", k.Topic)
	case slices.Contains(kadm.DecodeACLOperations(t.AuthorizedOperations), kmsg.ACLOperationWrite):
		k.add(Fine, "right to write to topic %s: there", k.Topic)
	default:
		k.add(Failing, "right to write to topic %s: missing: grant WRITE on the topic, messages to it wait", k.Topic)
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
		k.add(Fine, "right to %s: there", fieldIdempotentWrite)
	case errors.Is(err, kerr.ClusterAuthorizationFailed) && topic == "":
		k.add(NotKnown, "right to %s: missing as yet: from Kafka 2.8 on it comes with WRITE on any topic, before it takes IDEMPOTENT_WRITE on the cluster", fieldIdempotentWrite)
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		k.add(Failing, "right to %s: missing: grant IDEMPOTENT_WRITE on the cluster (from Kafka 2.8 on, WRITE on the topic will do), or set %s: false", fieldIdempotentWrite, fieldIdempotentWrite)
	default:
		k.add(NotKnown, "right to %s: asking for a producer ID: %v", fieldIdempotentWrite, err)
	}
}

// configs checks what the topic accepts against what the output would send.
func (k *checker) configs(ctx context.Context, t kmsg.MetadataResponseTopic) {
	described, err := k.admin.DescribeTopicConfigs(ctx, k.Topic)
	if err == nil && len(described) == 1 {
		err = described[0].Err
	}
	if err != nil || len(described) != 1 {
		k.unread(err)
		return
	}
	configs := map[string]string{}
	for _, c := range described[0].Configs {
		configs[c.Key] = c.MaybeValue()
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(configs[name])
		return n
	}
	if k.client.guard.IgnoreRules {
		k.add(Doubtful, "right to DESCRIBE_CONFIGS of topic %s: there, but %s.%s is false: refusals take extra requests to find the messages to blame", k.Topic, fieldTopicRules, fieldTopicRulesEnabled)
	} else {
		k.add(Fine, "right to DESCRIBE_CONFIGS of topic %s: there", k.Topic)
	}
	if slices.Contains(strings.Split(configs["cleanup.policy"], ","), "compact") && k.records.key == nil {
		k.add(Failing, "topic %s: it is compacted and takes no message without a key, so that every message would be %s: set %s", k.Topic, guard.InvalidRecord, fieldKey)
	}
	k.replicas(t, number("min.insync.replicas"))
	limit, property := number("max.message.bytes"), "max.message.bytes"
	if limit == 0 {
		k.add(NotKnown, "size: the brokers do not tell max.message.bytes of topic %s", k.Topic)
		return
	}
	if segment := number("segment.bytes"); segment > 0 && segment < limit {
		limit, property = segment, "segment.bytes"
	}
	k.MaxBatchBytes = limit
	switch own := k.client.guard.MaxMessageBytes; {
	case own > 0 && own < limit:
		k.add(Doubtful, "size: %s (%d) is less than topic %s takes (%s %d): messages in between are %s although Kafka would take them. Leave it out to go by the topic", fieldMaxMessageBytes, own, k.Topic, property, limit, guard.SizeExceeded)
	case own > limit:
		k.add(Doubtful, "size: %s (%d) is more than topic %s takes (%s %d), so that it has no effect. Leave it out, or raise %s", fieldMaxMessageBytes, own, k.Topic, property, limit, property)
	case limit > k.client.maxRequestBytes:
		k.add(Doubtful, "size: %s (%d) is less than topic %s takes (%s %d): messages in between are %s although Kafka would take them. Raise it, and the brokers' socket.request.max.bytes", fieldBrokerWriteMaxBytes, k.client.maxRequestBytes, k.Topic, property, limit, guard.SizeExceeded)
	default:
		k.add(Fine, "size: topic %s takes batches, and so messages, of up to %d bytes as sent (%s)", k.Topic, limit, property)
	}
}

// unread says what it means that the topic's configs can't be read.
func (k *checker) unread(err error) {
	const without = "It works without, but refusals take extra requests to find the messages to blame, and without max_message_bytes, batches are at most 1 MiB"
	switch {
	case k.client.guard.IgnoreRules:
		k.add(NotKnown, "size: what topic %s takes can't be read (%v)", k.Topic, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		k.add(Doubtful, "right to DESCRIBE_CONFIGS of topic %s: missing: grant DESCRIBE_CONFIGS on the topic. %s", k.Topic, without)
	default:
		k.add(Doubtful, "right to DESCRIBE_CONFIGS of topic %s: what the topic takes can't be read: %v. %s", k.Topic, err, without)
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
		k.add(Doubtful, "topic %s: partitions without a leader at present: %d. Messages to them wait", k.Topic, leaderless)
	}
	if few > 0 && k.client.acks == acksAll {
		k.add(Doubtful, "topic %s: partitions with fewer replicas in sync at present than min.insync.replicas (%d): %d. Messages to them wait", k.Topic, minISR, few)
	}
}

// requests checks that the brokers take requests as large as the output sends.
func (k *checker) requests(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	limit, err := k.guard.RequestLimit(ctx)
	switch own := k.client.maxRequestBytes; {
	case err != nil:
		k.add(NotKnown, "size: whether the brokers take requests of %s (%d) is not known. To read their socket.request.max.bytes takes the right to DESCRIBE_CONFIGS on the cluster: %v", fieldBrokerWriteMaxBytes, own, err)
	case own > limit:
		k.add(Failing, "size: %s (%d) is more than the brokers take (socket.request.max.bytes %d): they close the connection on larger requests, so lower the one or raise the other", fieldBrokerWriteMaxBytes, own, limit)
	default:
		k.add(Fine, "size: the brokers take requests of %s (%d)", fieldBrokerWriteMaxBytes, own)
	}
}
