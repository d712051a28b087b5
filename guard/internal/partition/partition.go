// Package partition has what is to be written to a partition of a topic, until it is acked
// or has failed.
//
//	Enqueue ──► queued ──► in flight ──► acked
//	              ▲          │  ▲
//	              │          ▼  │ as it is
//	              │      answered otherwise, or not at all
//	              │          │
//	              │       Policy ──► failed
//	              ├── parts ─┤
//	              └ blocked ◄┘
//
// A record is queued until a request to the leader has room for it. A record is blocked
// while it, or an earlier record with its key, waits to be retried by itself.
//
// A partition has one batch in flight. Records that are queued meanwhile go into
// the next batch (group commit). So batches grow under load, and a record for an
// idle partition is sent at once. Where the leader takes long, a few batches follow
// one in flight, see inflight.go.
//
// If a batch was not acked, a Policy is asked. It returns a Plan: send the same batch
// again, send parts of it, send single records later, or fail records. This package
// knows no failure classes.
//
// With idempotence, a batch without an answer is sent again with the same sequence
// numbers, before any other batch of its partition. It is in doubt only until the
// next answer, see sequence.go.
package partition

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// Partition has what is to be written to a partition, and what is in flight.
type Partition struct {
	topic   *Topic
	shared  *Shared
	number  int32
	queued  atomic.Int64 // records, for partitioners that go by it
	acks    atomic.Uint64
	trouble atomic.Pointer[error]

	mu        sync.Mutex
	node      *broker.Node
	moved     *broker.Node // of the new leader, for when nothing is in flight
	queue     []*Record
	resend    []*Batch // before the queue
	inFlight  []*Batch // in the order of their numbers
	asking    *Batch   // the Policy about it
	endAsking func()
	paused    bool
	listed    bool // by its node
	asksID    bool
	gone      bool // closed, or forgotten
	// evacuated has all records go back to the topic, which has no such partition
	// any more.
	evacuated bool

	order      uint64 // of the last record
	most       int    // see Config.MaxBatch
	single     int
	queuedSize int       // of the queue in bytes, about
	ackedAt    time.Time // when the last batch that was acked with this producer ID was written
	calmFrom   uint64    // how many acks it takes until a batch may follow another in flight
	waking     bool      // for a batch to follow, see wakeToFollow

	woken []Woken // to be told of
	drops bool    // records have ended that may still be queued

	// See blocked.go.
	blocked map[string]*block
	later   map[*Record]*time.Timer

	// See sequence.go.
	hasID, ownID bool
	producer     recordbatch.ProducerID
	sequence     int32
	forgets      bool      // nothing that is in doubt is waited for any more
	doubts       []doubt   // batches in doubt
	lone         *Record   // the one of these that was sent in a batch of its own
	deferred     []*Record // that failed, and are in doubt
}

// ErrClosed is why records end with the producer.
var ErrClosed error = kgo.ErrClientClosed

// New returns a partition of a topic, whose leader is not known yet.
func New(t *Topic, number int32) *Partition {
	return &Partition{topic: t, shared: t.shared, number: number, single: unbounded, producer: recordbatch.NoProducer}
}

// Queued returns how many records it has, in flight or not.
func (p *Partition) Queued() int64 { return p.queued.Load() }

// Trouble has the partition's records say that this is what keeps them, until an ack.
func (p *Partition) Trouble(err error) { p.trouble.Store(&err) }

// Enqueue queues records, and returns the node that is to be kicked.
func (p *Partition) Enqueue(records []*Record) *broker.Node {
	p.mu.Lock()
	defer p.unlock()
	for _, r := range records {
		p.order++
		r.Record.Partition, r.order = p.number, p.order
		p.queuedSize += int(r.Size) - recordbatch.Overhead
		r.part.Store(p)
		for _, h := range p.shared.OnPartitioned {
			h.OnProduceRecordPartitioned(r.Record, p.leader())
		}
	}
	p.queued.Add(int64(len(records)))
	if p.gone {
		p.finish(records, NotWritten, ErrClosed)
		return nil
	}
	p.queue = append(p.queue, records...)
	return p.list()
}

// leader is the broker that leads the partition, -1 if it is not known.
func (p *Partition) leader() int32 {
	if p.node == nil {
		return -1
	}
	return p.node.ID
}

// finish ends those of the records that have not ended. Their writes hear of it with unlock:
// from then on a record may be used for something else.
func (p *Partition) finish(records []*Record, o Outcome, why error) {
	p.drops = p.drops || o != Acked
	before := len(p.woken)
	p.woken = p.shared.End(p.woken, records, o, why)
	for _, w := range p.woken[before:] {
		p.queued.Add(-int64(w.records))
	}
}

// unlock unlocks the partition, and tells writes of records that have ended.
func (p *Partition) unlock() {
	p.letGo()
	if len(p.woken) == 0 {
		p.mu.Unlock()
		return
	}
	var few [8]Woken
	all := append(few[:0], p.woken...)
	clear(p.woken)
	p.woken = p.woken[:0]
	p.mu.Unlock()
	Tell(all)
}

// letGo takes records that have ended out of all lists.
func (p *Partition) letGo() {
	if p.drops {
		p.drops = false
		p.dropEnded()
		p.dropDoubts()
		p.deferred = slices.DeleteFunc(p.deferred, ended)
		if p.lone != nil && ended(p.lone) {
			p.lone = nil
		}
	}
}

// goOn has the partition's node send what is ready. It unlocks the partition.
func (p *Partition) goOn() {
	n := p.list()
	p.unlock()
	if n != nil {
		n.Kick()
	}
}

// sendSoon has the partition's node send what is ready. The partition stays locked.
func (p *Partition) sendSoon() {
	if n := p.list(); n != nil {
		go n.Kick()
	}
}

// busy reports whether nothing may be sent now.
func (p *Partition) busy() bool {
	return len(p.inFlight) > 0 && !p.mayFollow() || p.asking != nil || p.paused || p.asksID || p.gone
}

// list has the partition taken into the next request of its node, which it returns, if
// there is something to be sent.
func (p *Partition) list() *broker.Node {
	p.letGo() // what waits behind them is queued
	if p.evacuated && len(p.inFlight) == 0 && p.asking == nil && p.queued.Load() > 0 {
		go p.topic.reclaim(p)
	}
	if p.busy() || p.evacuated || p.listed {
		p.wakeToFollow()
		return nil
	}
	if len(p.resend) == 0 && len(p.queue) == 0 && len(p.deferred) > 0 && p.later[p.lone] == nil {
		p.loseTrack(nil) // nothing comes that could tell
	}
	if len(p.resend) == 0 && len(p.queue) == 0 {
		return nil
	}
	if p.moved != nil {
		p.node, p.moved = p.moved, nil
	}
	if p.node == nil {
		p.shared.Want(p.topic.Name)
		return nil
	}
	if p.shared.Idempotent && !p.hasID && !p.assignID() {
		return nil
	}
	p.listed = true
	p.node.List(p)
	return p.node
}

// Lead notes which node leads the partition.
func (p *Partition) Lead(n *broker.Node) {
	p.mu.Lock()
	switch {
	case p.node == n:
		p.moved = nil
	case len(p.inFlight) == 0 && !p.listed:
		p.node, p.moved = n, nil
	default:
		p.moved = n
	}
	p.goOn()
}

// dropEnded takes out of what is to be sent the records that have ended.
func (p *Partition) dropEnded() {
	p.resend = slices.DeleteFunc(p.resend, func(b *Batch) bool {
		if !b.unanswered || !p.needed(b) {
			b.dropEnded()
		}
		return len(b.Records) == 0
	})
	p.queue = slices.DeleteFunc(p.queue, ended)
	p.dropBlocked()
}

func ended(r *Record) bool { return r.Ended() }

// abandoned reports whether no record of a batch is waited for any more.
func (b *Batch) abandoned() bool {
	return !slices.ContainsFunc(b.Records, isWaitedFor)
}

// dropEnded takes out of a batch what has ended.
func (b *Batch) dropEnded() {
	if slices.ContainsFunc(b.Records, isOut) {
		b.mu.Lock()
		b.Records = slices.DeleteFunc(slices.Clone(b.Records), isOut)
		b.mu.Unlock()
	}
}

// isOut reports whether nothing waits for a record any more.
func isOut(r *Record) bool { return ended(r) || r.Write == nil }

func isWaitedFor(r *Record) bool { return !isOut(r) }
