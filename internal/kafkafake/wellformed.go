package kafkafake

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Places in a batch.
const (
	lengthAt     = 8
	magicAt      = 16
	crcAt        = 17
	crcFrom      = 21
	lastDeltaAt  = 23
	producerIDAt = 43
	sequenceAt   = producerIDAt + 8 + 2
	countAt      = 57
)

// Attributes of a batch.
const (
	attributeLogAppendTime = 0x08
	attributeControl       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal sets the checksum of a batch.
func seal(batch []byte) {
	binary.BigEndian.PutUint32(batch[crcAt:], crc32.Checksum(batch[crcFrom:], castagnoli))
}

// whole returns the first batch of a partition's records, and whether there is
// another. It is nil if the first is cut short. Kafka ignores what is left behind
// a batch, if it is no batch.
func whole(records []byte) (batch []byte, more bool) {
	if len(records) < crcAt {
		return nil, false
	}
	end := lengthAt + 4 + int(binary.BigEndian.Uint32(records[lengthAt:]))
	if end < batchHead || end > len(records) {
		return nil, false
	}
	another, _ := whole(records[end:])
	return records[:end], another != nil
}

// malformed returns what Kafka has against a partition's records before it looks
// at their size, nil for nothing.
func malformed(records []byte) *Refusal {
	batch, more := whole(records)
	if batch == nil || more || batch[magicAt] != 2 || binary.BigEndian.Uint64(batch) != 0 {
		return &Refusal{Code: kerr.InvalidRecord}
	}
	return nil
}

// inconsistent returns what Kafka has against the head of a batch that is not too
// large, nil for nothing.
func inconsistent(batch []byte) *Refusal {
	if binary.BigEndian.Uint32(batch[crcAt:]) != crc32.Checksum(batch[crcFrom:], castagnoli) {
		return &Refusal{Code: kerr.CorruptMessage}
	}
	count := int32(binary.BigEndian.Uint32(batch[countAt:]))
	id, sequence := int64(binary.BigEndian.Uint64(batch[producerIDAt:])), int32(binary.BigEndian.Uint32(batch[sequenceAt:]))
	switch {
	case count <= 0 || int32(binary.BigEndian.Uint32(batch[lastDeltaAt:])) != count-1,
		batch[crcFrom+1]&attributeControl != 0,
		id >= 0 && sequence < 0:
		return &Refusal{Code: kerr.InvalidRecord}
	}
	return nil
}
