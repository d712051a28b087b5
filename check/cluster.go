package check

import (
	"context"
	"errors"
	"slices"
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

// quickTimeout is the time for the seed brokers with --quick.
const quickTimeout = 2500 * time.Millisecond

// answerTimeout is how long a broker may take to answer a request.
const answerTimeout = 10 * time.Second

// checker compares an output with its cluster.
type checker struct {
	findings
	view  output.View
	wait  time.Duration // for the seed brokers
	topic string        // empty where it depends on the message
	// maxBatchBytes is the size of the largest batch that the topic accepts, 0 if
	// unknown.
	maxBatchBytes int

	guard *guard.Guard
	kafka *kgo.Client
	admin *kadm.Client
}

// inspect checks whether an output with the config, parsed by output.Spec, would work.
// It checks brokers, credentials, the topic, rights and sizes. It writes nothing, and
// creates no topic. A cluster may have changed when the stream runs.
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
	if !k.brokers(ctx) {
		return k
	}
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

// open makes clients of the seed brokers that answer. Clients of the others would wait
// for them.
func (k *checker) open(seeds []string) (err error) {
	opts := append(slices.Clone(k.view.Client), kgo.SeedBrokers(seeds...))
	config := k.view.Guard
	config.IgnoreRules = false // to read the topic's limits
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

// brokers checks that all brokers of the cluster answer under the addresses that they
// advertise. It returns false if nothing more can be checked.
func (k *checker) brokers(ctx context.Context) (known bool) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	brokers, err := k.admin.ListBrokers(ctx)
	if err != nil {
		k.add(notKnown, "brokers: listing them: %v", err)
		return true
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
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) && k.view.RefusesNewest(ctx) {
		k.add(failing, "brokers: they close the connection on an ApiVersions request of version 5 (KIP-1242), and answer to older ones: set max_versions to %s", output.OlderVersions)
		return false
	}
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
	return true
}

// requests checks that the brokers take requests as large as the output sends.
func (k *checker) requests(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	limit, err := k.guard.RequestLimit(ctx)
	switch own := k.view.MaxRequestBytes; {
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		k.add(notKnown, "size: broker_write_max_bytes (%d) is not compared with the brokers' socket.request.max.bytes: to read that takes %s", own, k.view.Name(output.DescribeBrokers))
	case err != nil:
		k.add(notKnown, "size: broker_write_max_bytes (%d) is not compared with the brokers' socket.request.max.bytes: %v", own, err)
	case own > limit:
		k.add(failing, "size: broker_write_max_bytes (%d) is more than the brokers take (socket.request.max.bytes %d): they close the connection on larger requests, so lower the one or raise the other", own, limit)
	default:
		k.add(fine, "size: the brokers take requests of broker_write_max_bytes (%d)", own)
	}
}
