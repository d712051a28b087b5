// Package guard writes records to Kafka and says, for each one, what became of
// it and why.
//
// Kafka rejects a batch as a whole. Guard finds out which of its records are at
// fault, delivers all others, and never calls a record unwritten that may be in
// the log.
//
// A Write goes through these steps:
//
//	reject locally   internal/limits     what the topic's limits do not allow
//	send             internal/producer   partitions, batches, requests, answers
//	retry            retry.go            what is done with a batch that was not acked
//	isolate          internal/isolate    which records of a rejected batch are at fault
//	wait             write.go            until each record has ended, or the write gives up
package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/isolate"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
)

// Rules is what a topic accepts, as the cluster reports it.
type Rules = limits.Rules

// Difference is a limit that the cluster reports and the broker does not apply.
type Difference = limits.Difference

// defaultRulesMaxAge is the default of Config.RulesMaxAge.
const defaultRulesMaxAge = 5 * time.Minute

// maxAnswerBytes is the size of the largest answer that is read. kgo makes room for an
// answer as soon as it has its length. Metadata is the largest that is asked for, of the
// topics that are written to: some 40 bytes for each partition with three replicas.
const maxAnswerBytes = 16 << 20

// Config is what guard adds to the options of the kgo client. Its zero value
// is the default.
type Config struct {
	// MaxMessageBytes is the size in bytes of the largest batch that is sent,
	// and so of the largest record with its 61 bytes of batch header and its
	// own overhead. It is a further ceiling on what the topic accepts
	// (Kafka's topic properties max.message.bytes and segment.bytes), which
	// guard learns from the cluster. 0 is no further ceiling, and 1 MiB where
	// the topic's is not known. It corresponds to max.request.size of Kafka's own producer, and takes the place of
	// kgo.ProducerBatchMaxBytes.
	MaxMessageBytes int

	// IgnoreRules has guard not ask the cluster what its topics accept: what
	// the broker refuses decides, which takes extra requests to find the
	// records at fault.
	IgnoreRules bool

	// RulesMaxAge is how old what a topic accepts may be before it is read
	// again, in the background, overriding the default of 5 minutes. What the
	// broker refuses, or the rules would, has it read at once. It takes the
	// right to DESCRIBE_CONFIGS on the topic.
	RulesMaxAge time.Duration

	// Retry says whether and how to send records again that are refused for
	// a reason that may pass. By default, Write returns as soon as kgo hands
	// a record back.
	Retry Retry

	// Permanent has the classes of failure that are not tried again,
	// overriding the default of SizeExceeded, InvalidRecord and Unroutable.
	// Transient can't be one.
	Permanent []Class

	// Observer hears what the guard does. By default there is none.
	Observer Observer
}

// Validate reports what is wrong with the config. New calls it.
func (c Config) Validate() error {
	if c.MaxMessageBytes != 0 && (c.MaxMessageBytes < limits.MinMaxMessageBytes || c.MaxMessageBytes > 1<<30) {
		return fmt.Errorf("max_message_bytes is %d, it must be between %d and %d", c.MaxMessageBytes, limits.MinMaxMessageBytes, 1<<30)
	}
	if c.RulesMaxAge < 0 {
		return fmt.Errorf("the maximum age of topic rules is %s, it must not be negative", c.RulesMaxAge)
	}
	if slices.Contains(c.Permanent, Transient) {
		return errors.New("the class transient can't be permanent: it passes")
	}
	if r := c.Retry; r.InitialInterval < 0 || r.MaxInterval < 0 || r.MaxElapsedTime < 0 {
		return fmt.Errorf("the retry intervals %s and %s and the maximum elapsed time %s must not be negative", r.InitialInterval, r.MaxInterval, r.MaxElapsedTime)
	}
	return nil
}

// Guard writes records to Kafka. Its methods may be called concurrently.
type Guard struct {
	config   Config
	settings settings

	life context.Context // ends with the guard
	stop context.CancelFunc

	client    *kgo.Client
	producer  *producer.Producer
	limits    *limits.Limits
	isolation isolate.Isolation

	writes sync.Pool // of *write, to be used again
	room   room
	waits  waits
}

// New returns a Guard on a client with the given kgo options. It does not
// connect; Ping does.
//
// The options may be any that a producing client takes, except for
// kgo.TransactionalID and kgo.ManualFlushing, which New refuses. Guard produces by
// itself, so that these have no effect: kgo.ProducerLinger,
// kgo.ProducerBatchMaxBytes, kgo.ProducerBatchMaxBytesFn (see
// Config.MaxMessageBytes), kgo.AllowIdempotentProduceCancellation,
// kgo.StopProducerOnDataLossDetected, kgo.ProducerOnDataLossDetected. Unless
// kgo.RetryBackoffFn says otherwise, kgo waits no longer than a second between two
// tries of a request, and unless kgo.BrokerMaxReadBytes does, it reads no answer of more
// than 16 MiB (kgo's own default is 100 MiB).
func New(config Config, opts ...kgo.Opt) (*Guard, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config.setDefaults()
	hook := &producer.Hook{}
	opts = slices.Concat([]kgo.Opt{kgo.RetryBackoffFn(retryBackoff), kgo.FetchMaxBytes(maxAnswerBytes), kgo.BrokerMaxReadBytes(maxAnswerBytes)}, opts)
	settings, err := readSettings(opts)
	if err != nil {
		return nil, err
	}
	g := &Guard{config: config, settings: settings, room: newRoom(settings.maxBufferedRecords, settings.maxBufferedBytes)}
	g.life, g.stop = context.WithCancel(context.Background())
	g.waits.tell, g.waits.count = config.Observer.OnWaiting, config.Observer.OnWaits
	if g.client, err = kgo.NewClient(append(opts, kgo.WithHooks(hook))...); err != nil {
		return nil, err
	}
	g.limits = limits.New(limits.Config{
		Own: limits.Own{
			MaxMessageBytes: config.MaxMessageBytes, MaxRequestBytes: settings.maxRequestBytes,
			MaxBufferedBytes: settings.maxBufferedBytes, Codec: settings.codec,
		},
		Client: g.client, Life: g.life, MaxAge: config.RulesMaxAge, Ignore: config.IgnoreRules,
		Changed: config.Observer.OnRules, Differs: config.Observer.OnDifference, Forget: func(topic string) bool { return g.producer.Forget(topic) },
	})
	g.isolation.Config = isolate.Config{
		Life: g.life, Limits: g.limits, ToCheck: g.toCheck, Final: g.final, NoRetry: config.Retry.InitialInterval == 0,
		RetryAfter: g.retryAfter, Held: g.heldAlone, Learned: config.Observer.OnLearned,
	}
	g.producer = producer.New(settings.producer(g), hook)
	return g, nil
}

// setDefaults fills in what is not set.
func (c *Config) setDefaults() {
	if c.RulesMaxAge == 0 {
		c.RulesMaxAge = defaultRulesMaxAge
	}
	if c.Observer == nil {
		c.Observer = NoObserver{}
	}
}

// retryBackoff is how long kgo waits after so many failures of a request in a row: from
// 100 ms to a second, as Kafka's own clients do (retry.backoff.ms,
// retry.backoff.max.ms). By itself kgo goes up to 5 seconds, and may find out that
// late that a broker is back.
func retryBackoff(failures int) time.Duration {
	return pause(failures, 100*time.Millisecond, time.Second)
}

// Close ends the client. Writes that are under way return: what is not yet
// acked is NotWritten if it was never sent, else Unknown.
func (g *Guard) Close() {
	g.stop()
	g.producer.Close()
	g.client.Close()
}

// Write writes the records and returns one verdict for each, in input order.
// It returns once every record's fate is known, or ctx ends: then what may be
// written is Unknown, and the rest NotWritten.
//
// Records with the same key keep their order when writes are sequential, also
// when the broker rejects some and the others are sent again. So do records
// without a key that go to the same partition, unless one of them is retried by
// itself. A record must not be in two writes at a time. Write sets its
// Timestamp, if zero, and its Partition.
func (g *Guard) Write(ctx context.Context, records []*kgo.Record) []Verdict {
	w := g.begin(ctx, records)
	for open := w.prepare(); len(open) > 0; {
		open = w.deliver(w.checkLimits(open))
	}
	return w.end()
}
