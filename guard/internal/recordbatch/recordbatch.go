// Package recordbatch knows Kafka's record batches, version 2 (KIP-98), as they are on
// the wire.
package recordbatch

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"sync"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Overhead is the size of a batch before its records: from the base offset to the record
// count.
const Overhead = 61

// ProducerID identifies a producer to brokers.
type ProducerID struct {
	ID    int64
	Epoch int16
}

// NoProducer is the ID of one without idempotence.
var NoProducer = ProducerID{-1, -1}

// Batch is what the header of a batch says, but its attributes.
type Batch struct {
	Producer ProducerID
	Sequence int32
	// First is the timestamp of the first record, in ms, and Last the latest.
	First, Last int64
	Count       int
	// Size is that of the batch in bytes, uncompressed.
	Size int
}

// SizeOf returns the size of an uncompressed batch that holds r alone, exactly as
// Kafka compares it with max.message.bytes.
func SizeOf(r *kgo.Record) int { return Overhead + RecordSize(FixedSize(r), 0, 0) }

// FixedSize is the size of a record without its deltas and the length before it.
func FixedSize(r *kgo.Record) int {
	n := 1 + bytesSize(len(r.Key)) + bytesSize(len(r.Value)) + varintSize(len(r.Headers))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += bytesSize(len(h.Key)) + bytesSize(len(h.Value))
	}
	return n
}

// RecordSize is the size of the n-th record of a batch, whose timestamp is later than the
// first one's by so much.
func RecordSize(fixed int, later int64, n int) int {
	body := bodySize(fixed, later, n)
	return varintSize(body) + body
}

func bodySize(fixed int, later int64, n int) int { return fixed + varlongSize(later) + varintSize(n) }

// bytesSize is the size of n bytes behind their length. Null is one byte for the
// length -1, and so is empty for the length 0.
func bytesSize(n int) int { return varintSize(n) + n }

func varintSize(n int) int { return (bits.Len64(uint64(n)<<1|1) + 6) / 7 }

func varlongSize(n int64) int { return (bits.Len64(uint64(n<<1^n>>63)|1) + 6) / 7 }

// AppendRecord appends the n-th record of a batch, see RecordSize.
func AppendRecord(dst []byte, r *kgo.Record, fixed int, later int64, n int) []byte {
	dst = kbin.AppendVarint(dst, int32(bodySize(fixed, later, n)))
	dst = append(dst, 0)
	dst = kbin.AppendVarlong(dst, later)
	dst = kbin.AppendVarint(dst, int32(n))
	dst = kbin.AppendVarintBytes(dst, r.Key)
	dst = kbin.AppendVarintBytes(dst, r.Value)
	dst = kbin.AppendVarint(dst, int32(len(r.Headers)))
	for i := range r.Headers {
		dst = kbin.AppendVarintString(dst, r.Headers[i].Key)
		dst = kbin.AppendVarintBytes(dst, r.Headers[i].Value)
	}
	return dst
}

// Append appends a batch behind its length, as it is in a Produce request of a version.
// Records appends its records. It returns the size of the batch as it was appended.
func (b *Batch) Append(dst []byte, version int16, c kgo.Compressor, records func(dst []byte) []byte) ([]byte, int) {
	flexible := version >= 9
	if c == nil {
		dst, at := b.begin(dst, b.Size, flexible)
		dst = records(dst)
		b.fillHeader(dst[at:], kgo.CodecNone)
		return dst, b.Size
	}
	plain, small := buffers.Get().(*bytes.Buffer), buffers.Get().(*bytes.Buffer)
	defer buffers.Put(plain)
	defer buffers.Put(small)
	plain.Reset()
	plain.Grow(b.Size)
	compressed, codec := compress(small, records(plain.AvailableBuffer()), version, c)
	dst, at := b.begin(dst, Overhead+len(compressed), flexible)
	dst = append(dst, compressed...)
	b.fillHeader(dst[at:], codec)
	return dst, Overhead + len(compressed)
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// zstdVersion is the first version of Produce that knows zstd (KIP-110).
const zstdVersion = 7

// compress returns records compressed, or as they are if that is smaller.
func compress(dst *bytes.Buffer, records []byte, version int16, c kgo.Compressor) ([]byte, kgo.CompressionCodecType) {
	dst.Reset()
	var flags []kgo.CompressFlag
	if version < zstdVersion {
		flags = append(flags, kgo.CompressDisableZstd)
	}
	compressed, codec := c.Compress(dst, records, flags...)
	if compressed == nil || len(compressed) >= len(records) {
		return records, kgo.CodecNone
	}
	return compressed, codec
}

// SentSize returns the size of a batch that holds r alone as it is written: compressed, if
// that is smaller.
func SentSize(r *kgo.Record, c kgo.Compressor) int {
	if c == nil {
		return SizeOf(r)
	}
	compressed, _ := compress(new(bytes.Buffer), AppendRecord(nil, r, FixedSize(r), 0, 0), zstdVersion, c)
	return Overhead + len(compressed)
}

// begin appends the length of a batch, and room for its header, which begins at an index.
func (*Batch) begin(dst []byte, size int, flexible bool) ([]byte, int) {
	if flexible {
		dst = kbin.AppendUvarint(dst, uint32(size)+1)
	} else {
		dst = kbin.AppendInt32(dst, int32(size))
	}
	var header [Overhead]byte
	return append(dst, header[:]...), len(dst)
}

func (b *Batch) fillHeader(dst []byte, codec kgo.CompressionCodecType) {
	binary.BigEndian.PutUint32(dst[8:], uint32(len(dst)-12))
	binary.BigEndian.PutUint32(dst[12:], 0xffffffff) // leader epoch
	dst[16] = 2
	binary.BigEndian.PutUint16(dst[21:], uint16(codec))
	binary.BigEndian.PutUint32(dst[23:], uint32(b.Count)-1)
	binary.BigEndian.PutUint64(dst[27:], uint64(b.First))
	binary.BigEndian.PutUint64(dst[35:], uint64(b.Last))
	binary.BigEndian.PutUint64(dst[43:], uint64(b.Producer.ID))
	binary.BigEndian.PutUint16(dst[51:], uint16(b.Producer.Epoch))
	binary.BigEndian.PutUint32(dst[53:], uint32(b.Sequence))
	binary.BigEndian.PutUint32(dst[57:], uint32(b.Count))
	binary.BigEndian.PutUint32(dst[17:], crc32.Checksum(dst[21:], castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
