package partition

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// Shared is what the partitions of a cluster have in common.
type Shared struct {
	// Life ends with the producer.
	Life context.Context
	// Idempotent has batches numbered (KIP-98).
	Idempotent bool
	// Compressor is nil for none.
	Compressor kgo.Compressor
	// MaxBatch returns the size in bytes up to which batches of a topic are made for
	// a leader, where a single record may be larger, and from which size on records
	// are questioned, each in a batch of its own.
	MaxBatch func(topic string, leader int32) (batch, single int)
	Policy   Policy
	// Want has the metadata of a topic read soon.
	Want func(topic string)
	IDs  IDs
	// OnPartitioned and OnUnbuffered are hooks of the caller's.
	OnPartitioned []kgo.HookProduceRecordPartitioned
	OnUnbuffered  []kgo.HookProduceRecordUnbuffered

	unordered   atomic.Bool // a batch was appended behind one that was not
	refusesGaps atomic.Bool // a batch behind one that was rejected was OUT_OF_ORDER
	batches     sync.Pool
}

// IDs hands out producer IDs.
type IDs interface {
	// Common returns the ID that most partitions have. If it is not known yet, GotID of
	// the partition is called later.
	Common(p *Partition) (recordbatch.ProducerID, bool)
	// Own asks for an ID that no other partition has, and has GotID called later.
	Own(p *Partition)
}

// Topic is the topic of partitions.
type Topic struct {
	broker.Topic
	shared  *Shared
	reclaim func(p *Partition)
	logTime atomic.Bool // the log has the broker's time (LogAppendTime)
}

// Init prepares a Topic. Reclaim is called, on a goroutine of its own, with a partition that
// the topic does not have any more, when its records can be taken back, see Leave.
func (t *Topic) Init(shared *Shared, name string, reclaim func(*Partition)) {
	t.shared, t.Name, t.reclaim = shared, name, reclaim
}

// Woken is how many records of a write have ended.
type Woken struct {
	write   *Write
	records int
}

// Tell tells writes of records that have ended.
func Tell(woken []Woken) {
	for _, w := range woken {
		w.write.ended(w.records)
	}
}

// End gives those of the records that have none their outcome, and the reason where
// they have none, and appends the writes that are to be told.
func (s *Shared) End(to []Woken, records []*Record, o Outcome, reason error) []Woken {
	from := len(to)
	for _, r := range records {
		if isOut(r) {
			continue
		}
		if r.Reason == nil && o != Acked {
			r.Reason = reason
		}
		r.outcome.Store(uint32(o))
		for _, h := range s.OnUnbuffered {
			h.OnProduceRecordUnbuffered(r.Record, r.Reason)
		}
		if n := len(to); n > from && to[n-1].write == r.Write {
			to[n-1].records++
		} else {
			to = append(to, Woken{r.Write, 1})
		}
	}
	return to
}

// newBatch returns an empty batch.
func (p *Partition) newBatch() *Batch {
	b, _ := p.shared.batches.Get().(*Batch)
	if b == nil {
		b = &Batch{}
	}
	records := b.Records[:0]
	*b = Batch{Records: records, of: p, Topic: p.topic.Name, Partition: p.number}
	return b
}
