package kafkafake

import (
	"encoding/binary"
	"math"
	"sync"
	"time"
)

// producers has kfake keep one epoch per partition, as Kafka does: it gets to see
// another producer ID for each. And it has it forget the idle, which kfake does
// not. Sequence numbers that begin near their end are shifted for it: behind 2^31-1
// kfake expects a number that is too high by one.
type producers struct {
	mu    sync.Mutex
	known map[producerOf]*producer
	last  int64
}

type producerOf struct {
	id        int64
	topic     [16]byte
	partition int32
}

type producer struct {
	id    int64
	epoch int16 // the highest that was passed on
	first int32 // the sequence number that kfake sees as 0
	used  time.Time
}

// rename gives a batch the producer ID that kfake gets to see.
func (p *producers) rename(d *Dialect, topic [16]byte, partition int32, batch []byte) {
	if d.SharedEpochs || len(batch) < batchHead {
		return
	}
	id := int64(binary.BigEndian.Uint64(batch[producerIDAt:]))
	if id < 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[producerOf]*producer{}
	}
	of := producerOf{id, topic, partition}
	known := p.known[of]
	if known == nil || d.ProducerExpiry > 0 && time.Since(known.used) > d.ProducerExpiry {
		p.last++
		known = &producer{id: p.last, epoch: -1}
		p.known[of] = known
	}
	first := int32(binary.BigEndian.Uint32(batch[sequenceAt:]))
	if epochOf(batch) > known.epoch {
		if known.first = first; first < 1<<30 {
			known.first = 0
		}
	}
	binary.BigEndian.PutUint32(batch[sequenceAt:], uint32(first-known.first)&math.MaxInt32)
	known.used = time.Now()
	binary.BigEndian.PutUint64(batch[producerIDAt:], uint64(known.id))
	known.epoch = max(known.epoch, epochOf(batch))
	seal(batch)
}

// skips reports whether a batch raises its producer's epoch and does not begin with
// the sequence number 0. Kafka rejects it and keeps the epoch, kfake would raise it.
func (p *producers) skips(d *Dialect, topic [16]byte, partition int32, batch []byte) bool {
	if d.SharedEpochs || len(batch) < batchHead || binary.BigEndian.Uint32(batch[sequenceAt:]) == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.known[producerOf{int64(binary.BigEndian.Uint64(batch[producerIDAt:])), topic, partition}]
	return known != nil && epochOf(batch) > known.epoch
}

func epochOf(batch []byte) int16 { return int16(binary.BigEndian.Uint16(batch[producerIDAt+8:])) }
