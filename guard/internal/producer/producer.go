// Package producer writes records to Kafka. It knows topics, chooses partitions, and
// asks for metadata and producer IDs. The rest is in packages below it:
//
//	Send ──► topic ──► partition ──► broker ──► Kafka
//	         │         │             └ a request, and its answer
//	         │         └ order, batches, sequence numbers, doubt
//	         └ what is pending, since the partitions are not known
//
// Each has what it knows of a record's way in its package comment.
package producer

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
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
	// MaxBatch is that of partition.Shared.
	MaxBatch func(topic string, leader int32) (batch, single int)
	// Backoff is how long to wait after so many failures in a row.
	Backoff func(failures int) time.Duration
	Policy  partition.Policy
	// Hooks are those of the caller's that are called for each record.
	Hooks []kgo.Hook
}

// Producer sends records.
type Producer struct {
	cfg  Config
	life context.Context
	end  context.CancelFunc

	onBuffered []kgo.HookProduceRecordBuffered
	brokers    broker.Shared
	partitions partition.Shared

	mu     sync.RWMutex
	topics map[string]*topic
	nodes  map[int32]*broker.Node

	ids     ids
	meta    metadata
	trouble atomic.Pointer[error] // of connections, nil once one is made
}

// New returns a Producer on a client, which must have the Producer's Hook.
func New(cfg Config, hook *Hook) *Producer {
	p := &Producer{cfg: cfg, topics: map[string]*topic{}, nodes: map[int32]*broker.Node{}}
	p.life, p.end = context.WithCancel(context.Background())
	p.meta.all, p.ids.producer = p, p
	p.brokers = broker.Shared{
		Life: p.life, Acks: cfg.Acks, Timeout: cfg.Timeout, MaxRequest: cfg.MaxRequest, InFlight: cfg.InFlight, Backoff: cfg.Backoff,
		Lost: func() { p.meta.want(everyTopic) },
	}
	p.partitions = partition.Shared{
		Life: p.life, Idempotent: cfg.Idempotent, Compressor: cfg.Compressor, MaxBatch: cfg.MaxBatch, Policy: cfg.Policy,
		Want: p.meta.want, IDs: &p.ids,
	}
	for _, h := range cfg.Hooks {
		if h, ok := h.(kgo.HookProduceRecordBuffered); ok {
			p.onBuffered = append(p.onBuffered, h)
		}
		if h, ok := h.(kgo.HookProduceRecordPartitioned); ok {
			p.partitions.OnPartitioned = append(p.partitions.OnPartitioned, h)
		}
		if h, ok := h.(kgo.HookProduceRecordUnbuffered); ok {
			p.partitions.OnUnbuffered = append(p.partitions.OnUnbuffered, h)
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
			part.Close()
		}
	}
}

// Send has the records of a run with one topic sent, in their order. They must be
// prepared, and expected by their Write.
func (p *Producer) Send(records []*partition.Record) {
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

// Trouble returns why connections fail, nil if they do not.
func (p *Producer) Trouble() error {
	if e := p.trouble.Load(); e != nil {
		return *e
	}
	return nil
}
