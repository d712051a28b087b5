package partition

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// What tests of package partition_test see.
const (
	MostInFlight = mostInFlight
	Calm         = calm
	KnownFor     = knownFor
	AnyAfter     = anyAfter
	KeptQueue    = keptQueue
)

var Next = next

// look returns what f does of a partition.
func look[V any](p *Partition, f func() V) V {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f()
}

func (p *Partition) InFlight() int    { return look(p, func() int { return len(p.inFlight) }) }
func (p *Partition) Sequence() int32  { return look(p, func() int32 { return p.sequence }) }
func (p *Partition) CalmFrom() uint64 { return look(p, func() uint64 { return p.calmFrom }) }
func (p *Partition) Acks() uint64     { return p.acks.Load() }
func (p *Partition) QueuedSize() int  { return look(p, func() int { return p.queuedSize }) }
func (p *Partition) QueueCap() int    { return look(p, func() int { return cap(p.queue) }) }

// Doubts is how many batches are in doubt, and how many records failed in doubt.
func (p *Partition) Doubts() int {
	return look(p, func() int { return len(p.doubts) + len(p.deferred) })
}

// Blocked is how many records wait to be sent by themselves, and how many keys are blocked.
func (p *Partition) Blocked() int {
	return look(p, func() int { return len(p.later) + len(p.blocked) })
}

// WaitsAlone reports whether a record waits to be sent by itself.
func (p *Partition) WaitsAlone(r *Record) bool {
	return look(p, func() bool { return p.later[r] != nil })
}

// LaterCount is how many records wait to be sent by themselves.
func (p *Partition) LaterCount() int { return look(p, func() int { return len(p.later) }) }

// Again sends a record that waits to be sent by itself now.
func (p *Partition) Again(r *Record) { p.again(r) }

func (p *Partition) ProducerID() recordbatch.ProducerID {
	return look(p, func() recordbatch.ProducerID { return p.producer })
}

// TopicID is the ID that the partition knows of its topic.
func (p *Partition) TopicID() [16]byte { return p.topic.ID() }

// NewBatch returns a batch with a sequence number.
func NewBatch(id recordbatch.ProducerID, sequence int32) *Batch {
	return &Batch{producer: id, sequence: sequence}
}

func (b *Batch) Add(r *Record, most int) bool { return b.add(r, most) }
func (b *Batch) Size() int                    { return b.size }
func (b *Batch) Restamp()                     { b.restamp() }

// Compressed has the batch written with a compressor.
func (b *Batch) Compressed(c kgo.Compressor) *Batch {
	b.of = &Partition{shared: &Shared{Compressor: c}}
	return b
}

// Expects is how many records a write waits for.
func (w *Write) Expects() int { return int(w.left.Load()) }

// Unordered reports whether brokers do not look at numbers, as far as is known.
func (p *Partition) Unordered() bool { return p.shared.unordered.Load() }

// RefusesGaps reports whether a broker refused a batch behind one that it had rejected.
func (p *Partition) RefusesGaps() bool { return p.shared.refusesGaps.Load() }

// ForgetDisorder has brokers look at numbers again, as far as is known.
func (p *Partition) ForgetDisorder() { p.shared.unordered.Store(false) }
