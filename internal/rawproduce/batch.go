// Package rawproduce makes produce requests by hand, for tests of the answers of
// brokers and gateways.
package rawproduce

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Offsets in a batch of the v2 format.
const (
	AtLength     = 8
	AtMagic      = 16
	AtCRC        = 17
	AtAttributes = 21
	AtLastDelta  = 23
	AtProducer   = 43
	AtCount      = 57
	HeadSize     = 61
)

// Good is a record that every topic accepts.
func Good() kmsg.Record { return kmsg.Record{Key: []byte("k"), Value: []byte("good")} }

// Batch makes an uncompressed batch, with timestamps of now and no producer.
func Batch(records ...kmsg.Record) []byte {
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		Magic: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, PartitionLeaderEpoch: -1,
		FirstTimestamp: now, MaxTimestamp: now, NumRecords: int32(len(records)), LastOffsetDelta: int32(len(records) - 1),
	}
	for i, r := range records {
		r.OffsetDelta = int32(i)
		r.Length = int32(len(r.AppendTo(nil)) - 1) // the length itself is 0 then, one byte
		b.Records = r.AppendTo(b.Records)
	}
	return Sealed(b.AppendTo(nil))
}

// Sealed sets the length and the checksum of a batch.
func Sealed(batch []byte) []byte {
	binary.BigEndian.PutUint32(batch[AtLength:], uint32(len(batch)-AtLength-4))
	binary.BigEndian.PutUint32(batch[AtCRC:], crc32.Checksum(batch[AtAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return batch
}

// Changed returns a sealed copy of a batch after a change.
func Changed(batch []byte, change func(batch []byte)) []byte {
	batch = bytes.Clone(batch)
	change(batch)
	return Sealed(batch)
}

// Numbered gives a batch a producer ID, an epoch and a sequence number.
func Numbered(batch []byte, id int64, epoch int16, sequence int32) []byte {
	return Changed(batch, func(b []byte) {
		binary.BigEndian.PutUint64(b[AtProducer:], uint64(id))
		binary.BigEndian.PutUint16(b[AtProducer+8:], uint16(epoch))
		binary.BigEndian.PutUint32(b[AtProducer+10:], uint32(sequence))
	})
}

// Gzipped compresses a batch.
func Gzipped(batch []byte) []byte {
	c, err := kgo.DefaultCompressor(kgo.GzipCompression())
	if err != nil {
		panic(fmt.Sprintf("making a compressor: %v", err)) // the codec is there
	}
	short, codec := c.Compress(new(bytes.Buffer), batch[HeadSize:])
	out := append(bytes.Clone(batch[:HeadSize]), short...)
	out[AtAttributes+1] |= byte(codec)
	return Sealed(out)
}

// OfLength makes a record that is as long from its attributes to its headers.
func OfLength(length int) kmsg.Record {
	for n := length; ; n-- {
		r := kmsg.Record{Key: []byte("k"), OffsetDelta: 1, Value: make([]byte, n)}
		if len(r.AppendTo(nil))-1 == length {
			return r
		}
	}
}
