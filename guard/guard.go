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
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

// DefaultMaxMessageBytes is the default of Config.MaxMessageBytes.
const DefaultMaxMessageBytes = 1 << 20

// Config is what guard adds to the options of the kgo client. Its zero value
// is the default.
type Config struct {
	// MaxMessageBytes is the size in bytes of the largest batch that is sent,
	// and so of the largest record with its 61 bytes of batch header and its
	// own overhead, overriding the default of 1 MiB. It should not exceed
	// what the topics accept (Kafka's topic property max.message.bytes, 1 MiB
	// and 12 bytes by default): the broker refuses larger batches, and to
	// find the records to blame takes extra requests. It corresponds to
	// max.request.size of Kafka's own producer, and takes the place of
	// kgo.ProducerBatchMaxBytes.
	MaxMessageBytes int
}

// minMaxMessageBytes is the smallest batch size that kgo takes.
const minMaxMessageBytes = 512

// Validate reports what is wrong with the config. New calls it.
func (c Config) Validate() error {
	if c.MaxMessageBytes != 0 && (c.MaxMessageBytes < minMaxMessageBytes || c.MaxMessageBytes > 1<<30) {
		return fmt.Errorf("max_message_bytes is %d, it must be between %d and %d", c.MaxMessageBytes, minMaxMessageBytes, 1<<30)
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

	bulk *client

	soloMu     sync.Mutex
	soloClient *client // nil before the first need
	closed     bool

	lanes   lanes
	choices choices
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
	if config.MaxMessageBytes == 0 {
		config.MaxMessageBytes = DefaultMaxMessageBytes
	}
	settings, err := readSettings(opts)
	if err != nil {
		return nil, err
	}
	g := &Guard{config: config, settings: settings, opts: opts, records: semaphore.NewWeighted(int64(settings.maxBufferedRecords))}
	if settings.maxBufferedBytes > 0 {
		g.bytes = semaphore.NewWeighted(int64(settings.maxBufferedBytes))
	}
	limit, _ := g.limit()
	if g.bulk, err = newBulk(settings, opts, limit); err != nil {
		return nil, err
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	return g, nil
}

// Ping reports whether any broker answers. The error is kgo's own.
func (g *Guard) Ping(ctx context.Context) error { return g.bulk.Ping(ctx) }

// Close ends the clients. Writes that are under way return: what is not yet
// acknowledged is NotWritten if it was never sent, else Unknown.
func (g *Guard) Close() {
	g.stop()
	g.bulk.Close()
	g.soloMu.Lock()
	defer g.soloMu.Unlock()
	g.closed = true
	if g.soloClient != nil {
		g.soloClient.Close()
	}
}

// solo returns the solo client, which is made on first need.
func (g *Guard) solo() (*client, error) {
	g.soloMu.Lock()
	defer g.soloMu.Unlock()
	if g.closed {
		return nil, kgo.ErrClientClosed
	}
	if g.soloClient == nil {
		c, err := newSolo(g.settings, g.opts)
		if err != nil {
			return nil, err
		}
		g.soloClient = c
	}
	return g.soloClient, nil
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
	for {
		part := w.next()
		if part == nil {
			return w.verdicts
		}
		release, err := g.admit(ctx, part)
		if err != nil {
			w.abandon(err)
			return w.verdicts
		}
		w.bulk(part, release)
		w.isolate(part)
	}
}
