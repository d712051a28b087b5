// Package producer writes records to Kafka. It builds its own Produce requests
// and sends them through a kgo client, which stays responsible for connections,
// versions, authentication and throttling.
//
//	Send ──► pending ──► queued ──► in flight ──► acked
//	         (topic)    (partition)    │  ▲
//	                        ▲          ▼  │ as it is
//	                        │      answered otherwise, or not at all
//	                        │          │
//	                        │       Policy ──► failed
//	                        ├── parts ─┤
//	                        └ blocked ◄┘
//
// A record is pending until the partitions of its topic are known, and queued
// until a request to the leader has room for it. A record is blocked while it, or
// an earlier record with its key, waits to be retried by itself.
//
// A partition has one batch in flight. Records that are queued meanwhile go into
// the next batch (group commit). So batches grow under load, and a record for an
// idle partition is sent at once. Where the leader takes long, a few batches follow
// one in flight, see inflight.go.
//
// If a batch was not acked, the producer asks a Policy. The Policy returns a Plan:
// send the same batch again, send parts of it, send single records later, or fail
// records. The producer knows no failure classes.
//
// With idempotence, a batch without an answer is sent again with the same sequence
// numbers, before any other batch of its partition. It is in doubt only until the
// next answer, see sequence.go.
package producer

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config is how to produce.
type Config struct {
	Client *kgo.Client
	// Acks is -1 for all in-sync replicas, 1 for the leader, 0 for none.
	Acks int16
	// Timeout is how long the leader may wait for its followers.
	Timeout time.Duration
	// Idempotent has batches numbered (KIP-98).
	Idempotent bool
	// Compressor is nil for none.
	Compressor  kgo.Compressor
	Partitioner kgo.Partitioner
	// AutoCreate has brokers create topics that are asked for.
	AutoCreate bool
	// MaxRequest is the size in bytes of the largest request.
	MaxRequest int
	// InFlight is how many requests to a broker may be unanswered.
	InFlight int
	// MetadataMinAge is the shortest time between two metadata requests, MetadataMaxAge
	// the longest while records are sent.
	MetadataMinAge, MetadataMaxAge time.Duration
	// MaxBatch returns the size in bytes up to which batches of a topic are made for
	// a leader, where a single record may be larger, and from which size on records
	// are questioned, each in a batch of its own.
	MaxBatch func(topic string, leader int32) (batch, single int)
	// Backoff is how long to wait after so many failures in a row.
	Backoff func(failures int) time.Duration
	Policy  Policy
	// Hooks are those of the caller's that are called for each record.
	Hooks []kgo.Hook
}

// Policy decides about batches that were not acked.
type Policy interface {
	// Acked is called with each batch that was acked. It must return soon.
	Acked(b *Batch)
	// Check returns why a questioned record is not to be sent to a leader, nil if it is. It
	// must return soon.
	Check(r *Record, leader int32) error
	// Next says what is sent in the place of a batch that was not acked. It is
	// called on a goroutine of its own, and nothing is sent to the partition
	// until it returns. ctx ends once records of the batch are given up: then it
	// must return soon.
	Next(ctx context.Context, b *Batch, a Answer) Plan
}

// Answer is what became of a batch that was not acked.
type Answer struct {
	// Code, Message and RecordErrors are the broker's (KIP-467). Code is 0
	// without an answer.
	Code         int16
	Message      string
	RecordErrors []RecordError
	// Alone is set if the request held nothing but this batch.
	Alone bool
	// Offset is set if the answer tells besides its code where the batch is in the log.
	Offset bool
	// Err says why there is no answer.
	Err error
	// Cut is the size of the request if the connection ended on it and no
	// request as large was ever answered by that broker, else 0.
	Cut int
	// NoPartition is set if the partitioner chose a partition that the topic
	// does not have. Partitions is how many it has.
	NoPartition bool
	Partitions  int
	// Metadata is set if the code is that of a metadata answer, and Producer if
	// it is that of a request for a producer ID.
	Metadata, Producer bool
}

// RecordError is what a broker says of one record of a batch.
type RecordError struct {
	Index int
	Text  string
}

// Plan is what is sent in the place of a batch.
type Plan struct {
	// Same has the very same batch sent again, with Restamp with timestamps of now where
	// the producer sets them.
	Same, Restamp bool
	// Parts are sent in this order, each as a batch of its own. A record of the
	// batch is in a part, in Later or in Failed.
	Parts []Part
	// Failed are records that are not sent any more.
	Failed []Failed
	// Pause is how long the partition waits before it goes on.
	Pause time.Duration
	// Later are records that are sent again by themselves, each after a pause of its
	// own. Records with the same key wait behind them, others do not.
	Later []Later
}

// Part is a batch to be.
type Part struct {
	Records []*Record
	// Alone asks for a request of its own.
	Alone bool
	// Half is set for the first of two halves of a batch that was rejected for what is in
	// it: if it is acked, the second would be rejected, and is halved without being sent.
	Half bool
}

// Failed is a record that fails, and why.
type Failed struct {
	Record *Record
	Reason error
}

// Later is a record to be sent again after a pause.
type Later struct {
	Record *Record
	After  time.Duration
}

// Producer sends records.
type Producer struct {
	cfg  Config
	life context.Context
	end  context.CancelFunc

	onBuffered    []kgo.HookProduceRecordBuffered
	onPartitioned []kgo.HookProduceRecordPartitioned
	onUnbuffered  []kgo.HookProduceRecordUnbuffered

	ids ids

	mu     sync.RWMutex
	topics map[string]*topic
	nodes  map[int32]*node

	meta        metadata
	nameOnly    atomic.Bool           // a topic has no ID, so that topics are named in requests
	unordered   atomic.Bool           // a batch was appended behind one that was not
	refusesGaps atomic.Bool           // a batch behind one that was rejected was OUT_OF_ORDER
	trouble     atomic.Pointer[error] // of connections, nil once one is made

	batches sync.Pool
}

// New returns a Producer on a client, which must have the Producer's Hook.
func New(cfg Config, hook *Hook) *Producer {
	p := &Producer{cfg: cfg, topics: map[string]*topic{}, nodes: map[int32]*node{}}
	p.life, p.end = context.WithCancel(context.Background())
	p.meta.init(p)
	p.ids.producer = p
	for _, h := range cfg.Hooks {
		if h, ok := h.(kgo.HookProduceRecordBuffered); ok {
			p.onBuffered = append(p.onBuffered, h)
		}
		if h, ok := h.(kgo.HookProduceRecordPartitioned); ok {
			p.onPartitioned = append(p.onPartitioned, h)
		}
		if h, ok := h.(kgo.HookProduceRecordUnbuffered); ok {
			p.onUnbuffered = append(p.onUnbuffered, h)
		}
	}
	hook.producer.Store(p)
	return p
}

// Close ends what is not acked: NotWritten if it was never sent, else Unknown. The client
// is the caller's to close, after it.
func (p *Producer) Close() {
	p.end() // no topic takes records any more
	p.mu.RLock()
	topics := slices.Collect(maps.Values(p.topics))
	p.mu.RUnlock()
	for _, t := range topics {
		t.endPending()
		t.mu.Lock()
		partitions := t.partitions
		t.mu.Unlock()
		for _, part := range partitions {
			part.close()
		}
	}
}

// Send has the records of a run with one topic sent, in their order. They must be
// prepared, and expected by their Write.
func (p *Producer) Send(records []*Record) {
	for _, h := range p.onBuffered {
		for _, r := range records {
			h.OnProduceRecordBuffered(r.Record)
		}
	}
	for len(records) > 0 {
		n := 1
		for n < len(records) && records[n].Topic == records[0].Topic {
			n++
		}
		p.topic(records[0].Topic).send(records[:n])
		records = records[n:]
	}
}

// woken is how many records of a write have ended.
type woken struct {
	write   *Write
	records int
}

// endRecords gives those of the records that have none their outcome, and the reason where
// they have none, and appends the writes that are to be told.
func (p *Producer) endRecords(to []woken, records []*Record, o Outcome, reason error) []woken {
	from := len(to)
	for _, r := range records {
		if r.Ended() || r.Write == nil {
			continue
		}
		if r.Reason == nil && o != Acked {
			r.Reason = reason
		}
		r.outcome.Store(uint32(o))
		for _, h := range p.onUnbuffered {
			h.OnProduceRecordUnbuffered(r.Record, r.Reason)
		}
		if n := len(to); n > from && to[n-1].write == r.Write {
			to[n-1].records++
		} else {
			to = append(to, woken{r.Write, 1})
		}
	}
	return to
}

// newBatch returns an empty batch.
func (p *Producer) newBatch(of *partition) *Batch {
	b, _ := p.batches.Get().(*Batch)
	if b == nil {
		b = &Batch{}
	}
	records := b.Records[:0]
	*b = Batch{Records: records, of: of, Topic: of.topic.name, Partition: of.number}
	return b
}

// Trouble returns why connections fail, nil if they do not.
func (p *Producer) Trouble() error {
	if e := p.trouble.Load(); e != nil {
		return *e
	}
	return nil
}

// Hook is what the producer hears of its client's connections. It must be among the hooks
// of the client.
type Hook struct{ producer atomic.Pointer[Producer] }
