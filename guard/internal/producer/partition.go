package producer

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partition has what is to be written to a partition, and what is in flight.
type partition struct {
	topic   *topic
	number  int32
	queued  atomic.Int64 // records, for partitioners that go by it
	acks    atomic.Uint64
	trouble atomic.Pointer[error]

	mu        sync.Mutex
	node      *node
	moved     *node // of the new leader, for when nothing is in flight
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

	woken []woken // to be told of
	drops bool    // records have ended that may still be queued

	// See blocked.go.
	blocked map[string]*block
	later   map[*Record]*time.Timer

	// See sequence.go.
	hasID, ownID bool
	producer     producerID
	sequence     int32
	forgets      bool      // nothing that is in doubt is waited for any more
	doubts       []doubt   // batches in doubt
	lone         *Record   // the one of these that was sent in a batch of its own
	deferred     []*Record // that failed, and are in doubt
}

var errClosed error = kgo.ErrClientClosed

// enqueue queues records, and returns the node that is to be kicked.
func (p *partition) enqueue(records []*Record) *node {
	p.mu.Lock()
	defer p.unlock()
	for _, r := range records {
		p.order++
		r.Record.Partition, r.order = p.number, p.order
		p.queuedSize += int(r.Size) - BatchOverhead
		r.part.Store(p)
		for _, h := range p.topic.all.onPartitioned {
			h.OnProduceRecordPartitioned(r.Record, p.leader())
		}
	}
	p.queued.Add(int64(len(records)))
	if p.gone {
		p.finish(records, NotWritten, errClosed)
		return nil
	}
	p.queue = append(p.queue, records...)
	return p.list()
}

// leader is the broker that leads the partition, -1 if it is not known.
func (p *partition) leader() int32 {
	if p.node == nil {
		return -1
	}
	return p.node.id
}

// finish ends those of the records that have not ended. Their writes hear of it with unlock:
// from then on a record may be used for something else.
func (p *partition) finish(records []*Record, o Outcome, why error) {
	p.drops = p.drops || o != Acked
	before := len(p.woken)
	p.woken = p.topic.all.endRecords(p.woken, records, o, why)
	for _, w := range p.woken[before:] {
		p.queued.Add(-int64(w.records))
	}
}

// unlock unlocks the partition, and tells writes of records that have ended.
func (p *partition) unlock() {
	p.letGo()
	if len(p.woken) == 0 {
		p.mu.Unlock()
		return
	}
	var few [8]woken
	all := append(few[:0], p.woken...)
	clear(p.woken)
	p.woken = p.woken[:0]
	p.mu.Unlock()
	for _, w := range all {
		w.write.ended(w.records)
	}
}

// letGo takes records that have ended out of all lists.
func (p *partition) letGo() {
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
func (p *partition) goOn() {
	n := p.list()
	p.unlock()
	if n != nil {
		n.kick()
	}
}

// sendSoon has the partition's node send what is ready. The partition stays locked.
func (p *partition) sendSoon() {
	if n := p.list(); n != nil {
		go n.kick()
	}
}

// busy reports whether nothing may be sent now.
func (p *partition) busy() bool {
	return len(p.inFlight) > 0 && !p.mayFollow() || p.asking != nil || p.paused || p.asksID || p.gone
}

// list has the partition taken into the next request of its node, which it returns, if
// there is something to be sent.
func (p *partition) list() *node {
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
	all := p.topic.all
	if p.node == nil {
		all.meta.want(p.topic.name)
		return nil
	}
	if all.cfg.Idempotent && !p.hasID && !all.ids.assign(p) {
		return nil
	}
	p.listed = true
	p.node.list(p)
	return p.node
}

// lead notes which node leads the partition.
func (p *partition) lead(n *node) {
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
func (p *partition) dropEnded() {
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
	return !slices.ContainsFunc(b.Records, func(r *Record) bool { return !r.Ended() && r.Write != nil })
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
