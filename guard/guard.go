// Package guard writes records to Kafka and returns a verdict for each: whether it
// was delivered, and if not, why.
//
// Kafka rejects a batch as a whole. Guard finds the records at fault and delivers
// all others. If a record may be in the log, Guard never reports it as not written.
//
// A Write goes through these steps:
//
//	reject locally   internal/limits     records that exceed their topic's limits
//	send             internal/producer   partitions, batches, requests, answers
//	retry            retry.go            decides about a batch that was not acked
//	isolate          internal/isolate    finds the records at fault in a rejected batch
//	wait             write.go            until each record is acked, failed or given up
package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/isolate"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
)

// Rules are the limits of a topic, as the cluster reports them.
type Rules = limits.Rules

// Difference is a limit that the cluster reports and the broker does not apply.
type Difference = limits.Difference

// defaultRulesMaxAge is the default of Config.RulesMaxAge.
const defaultRulesMaxAge = 5 * time.Minute

// maxAnswerBytes is the size of the largest answer that is read. kgo allocates memory for
// an answer as soon as it knows its length. The largest answer is metadata of the topics
// that are written to: some 40 bytes for each partition with three replicas.
const maxAnswerBytes = 16 << 20

// Config is what guard adds to the options of the kgo client. Its zero value
// is the default.
type Config struct {
	// MaxMessageBytes is the size in bytes of the largest batch that is sent.
	// So it bounds a record together with its overhead and the 61 bytes of the
	// batch header. The topic's own limit (max.message.bytes, segment.bytes),
	// which guard learns from the cluster, holds besides. 0 is no further
	// limit, and 1 MiB where the topic's is not known. Kafka's own producer
	// has max.request.size for it. It replaces kgo.ProducerBatchMaxBytes.
	MaxMessageBytes int

	// IgnoreRules makes guard read no topic configs. Then the broker's
	// rejections decide, and finding the records at fault takes extra
	// requests.
	IgnoreRules bool

	// RulesMaxAge is the age at which topic configs are read again in the
	// background, overriding the default of 5 minutes. They are also read
	// again before a record fails by them, and when the broker rejects a
	// batch. Reading takes the right to DESCRIBE_CONFIGS on the topic.
	RulesMaxAge time.Duration

	// Retry says whether and how to retry records that failed for a reason
	// which may pass. By default, such a record fails at once.
	Retry Retry

	// Permanent has the classes of failure that are not retried,
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
		return errors.New("the class transient can't be permanent: such failures pass")
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
		Changed: config.Observer.OnRules, Differs: config.Observer.OnDifference,
		Metadata: func(t *kmsg.MetadataResponseTopic) { g.producer.Introduce(t) },
		Forget:   func(topic string) bool { return g.producer.Forget(topic) },
	})
	g.isolation.Config = isolate.Config{
		Limits: g.limits, ToCheck: g.toCheck, Final: g.final, NoRetry: config.Retry.InitialInterval == 0,
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

// Close ends the client. Running writes return: a record without an ack is
// NotWritten if it was never sent, else Unknown.
func (g *Guard) Close() {
	g.stop()
	g.producer.Close()
	g.client.Close()
}

// Write writes the records and returns one verdict for each, in input order.
// It returns once every record has its outcome, or once ctx ends. Then a record
// that may be in the log is Unknown, and each other one NotWritten.
//
// Records with the same key keep their order if one write follows the other, also
// when the broker rejects some and the others are sent again. So do records
// without a key that go to the same partition, unless one of them is retried by
// itself. A record must not be in two writes at a time. Write sets its
// Partition and, if zero and it is delivered, its Timestamp.
func (g *Guard) Write(ctx context.Context, records []*kgo.Record) []Verdict {
	w := g.begin(ctx, records)
	for open := w.prepare(); len(open) > 0; {
		open = w.deliver(w.checkLimits(open))
	}
	return w.end()
}
