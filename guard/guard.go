// Package guard writes records to Kafka and says, for each one, what became of
// it and why.
//
// Kafka refuses a batch as a whole, and the client library then fails all that
// is buffered for the partition with one and the same error. Guard finds out
// which records are to blame, delivers all others, and never calls a record
// unwritten that may be in the log.
package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

// DefaultMaxMessageBytes is the size in bytes of the largest batch for a topic
// whose rules are not known, when Config.MaxMessageBytes is not set either.
const DefaultMaxMessageBytes = 1 << 20

// DefaultRulesMaxAge is the default of Config.RulesMaxAge.
const DefaultRulesMaxAge = 5 * time.Minute

// Config is what guard adds to the options of the kgo client. Its zero value
// is the default.
type Config struct {
	// MaxMessageBytes is the size in bytes of the largest batch that is sent,
	// and so of the largest record with its 61 bytes of batch header and its
	// own overhead. It is a further ceiling on what the topic accepts
	// (Kafka's topic properties max.message.bytes and segment.bytes), which
	// guard learns from the cluster. 0 is no further ceiling, and
	// DefaultMaxMessageBytes where the topic's is not known. It corresponds
	// to max.request.size of Kafka's own producer, and takes the place of
	// kgo.ProducerBatchMaxBytes.
	MaxMessageBytes int

	// IgnoreRules has guard not ask the cluster what its topics accept: what
	// the broker refuses decides, which takes extra requests to find the
	// records to blame.
	IgnoreRules bool

	// RulesMaxAge is how old what a topic accepts may be before it is read
	// again, in the background, overriding the default of 5 minutes. What the
	// broker refuses, or the rules would, has it read at once. It takes the
	// right to DESCRIBE_CONFIGS on the topic.
	RulesMaxAge time.Duration

	// OnRules is called with the rules of each topic once they are read, and
	// again when they have changed. The old ones are nil the first time. It
	// must return soon.
	OnRules func(old, now *Rules)

	// Retry says whether and how to send records again that are refused for
	// a reason that may pass. By default, Write returns as soon as kgo hands
	// a record back.
	Retry Retry

	// Permanent has the classes of failure that are not tried again,
	// overriding the default of SizeExceeded, InvalidRecord and Unroutable.
	// Transient can't be one.
	Permanent []Class

	// OnRetry is called when records that failed with a class are sent again.
	OnRetry func(class Class, records int)

	// OnWaiting is called when records begin to wait for a retry, once a
	// minute while any do, and when none does any more. It is also called
	// when kgo has not been done with records for long. It must return soon.
	OnWaiting func(Waiting)
}

// minMaxMessageBytes is the smallest batch size that kgo takes.
const minMaxMessageBytes = 512

// Validate reports what is wrong with the config. New calls it.
func (c Config) Validate() error {
	if c.MaxMessageBytes != 0 && (c.MaxMessageBytes < minMaxMessageBytes || c.MaxMessageBytes > 1<<30) {
		return fmt.Errorf("max_message_bytes is %d, it must be between %d and %d", c.MaxMessageBytes, minMaxMessageBytes, 1<<30)
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
	opts     []kgo.Opt

	// Records are produced with a context of the client's lifetime: kgo fails
	// everything buffered for a partition when that of its first record ends.
	ctx  context.Context
	stop context.CancelFunc

	control *kgo.Client // for all but producing
	rules   *rulebook

	mu         sync.Mutex
	bulkClient *generation
	soloClient *generation // nil before the first need
	closed     bool

	waiting waiting
	lanes   lanes
	choices choices
	writes  sync.Pool           // of *write, to be used again
	records *semaphore.Weighted // of max_buffered_records
	bytes   *semaphore.Weighted // of max_buffered_bytes, nil without a limit
}

// New returns a Guard on clients with the given kgo options. It does not
// connect; Ping does.
//
// The options may be any that a producing client takes, except for
// kgo.TransactionalID and kgo.ManualFlushing. Guard sets the batch size itself,
// see Config.MaxMessageBytes. The clients are guard's own: hooks and
// partitioners among the options are used by more than one.
func New(config Config, opts ...kgo.Opt) (*Guard, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.RulesMaxAge == 0 {
		config.RulesMaxAge = DefaultRulesMaxAge
	}
	if config.OnRules == nil {
		config.OnRules = func(_, _ *Rules) {}
	}
	if config.OnRetry == nil {
		config.OnRetry = func(Class, int) {}
	}
	if config.OnWaiting == nil {
		config.OnWaiting = func(Waiting) {}
	}
	settings, err := readSettings(opts)
	if err != nil {
		return nil, err
	}
	g := &Guard{config: config, settings: settings, opts: opts, records: semaphore.NewWeighted(int64(settings.maxBufferedRecords))}
	if settings.maxBufferedBytes > 0 {
		g.bytes = semaphore.NewWeighted(int64(settings.maxBufferedBytes))
	}
	if g.control, err = kgo.NewClient(opts...); err != nil {
		return nil, err
	}
	if g.bulkClient, err = g.newBulk(); err != nil {
		g.control.Close()
		return nil, err
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.rules = &rulebook{client: g.control, life: g.ctx, maxAge: config.RulesMaxAge, fresh: rulesFresh, disabled: config.IgnoreRules, changed: config.OnRules}
	g.waiting = waiting{tell: config.OnWaiting, held: map[topicClass]*held{}}
	return g, nil
}

// Ping reports whether any broker answers. The error is kgo's own.
func (g *Guard) Ping(ctx context.Context) error { return g.control.Ping(ctx) }

// Close ends the clients. Writes that are under way return: what is not yet
// acknowledged is NotWritten if it was never sent, else Unknown.
func (g *Guard) Close() {
	g.stop()
	g.mu.Lock()
	g.closed = true
	bulk, solo := g.bulkClient, g.soloClient
	g.mu.Unlock()
	bulk.Close()
	if solo != nil {
		solo.Close()
	}
	g.control.Close()
}

// Write writes the records and returns one verdict for each, in input order.
// It returns once every record's fate is known, or ctx ends: then what is open
// is Unknown, or NotWritten if it was never handed over.
//
// Records of one partition keep their order when writes are sequential, also
// when the broker refuses some and the others are sent again. A record must not
// be in two writes at a time. Write sets its Timestamp, if zero, its Partition
// and what else kgo sets.
func (g *Guard) Write(ctx context.Context, records []*kgo.Record) []Verdict {
	w := g.begin(ctx, records)
	w.preflight()
	for p := w.next(); p != nil; p = w.next() {
		release, err := g.admit(ctx, p)
		if err != nil {
			w.abandon(err)
			break
		}
		for more := true; more; more = w.again(p) {
			w.bulk(p)
			w.reconsider(p)
			w.isolate(p)
		}
		w.release(p, release)
	}
	return w.end()
}
