package kafkafake

import (
	"encoding/binary"
	"hash/crc32"
	"sync"
	"time"
)

// producers has kfake keep one epoch per partition, as Kafka does: it gets to see
// another producer ID for each. And it has it forget the idle, which kfake does
// not.
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
	id   int64
	used time.Time
}

// Places in a batch.
const (
	crcAt, crcFrom = 17, 21
	producerIDAt   = 43
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

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
		known = &producer{id: p.last}
		p.known[of] = known
	}
	known.used = time.Now()
	binary.BigEndian.PutUint64(batch[producerIDAt:], uint64(known.id))
	binary.BigEndian.PutUint32(batch[crcAt:], crc32.Checksum(batch[crcFrom:], castagnoli))
}
