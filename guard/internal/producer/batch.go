package producer

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BatchOverhead is the size of a v2 record batch before its records: from the
// base offset to the record count.
const BatchOverhead = 61

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is a v2 record batch on its way. It keeps its records until it has an
// answer, and is encoded from them each time that it is written.
type Batch struct {
	// Topic and Partition say where it goes. Partition is -1 for records of a
	// topic that has no partitions, or none that is known.
	Topic     string
	Partition int32
	// Records are in the order in which they were sent. The producer alone
	// changes them.
	Records []*Record
	// Alone asks for a request that holds nothing else.
	Alone bool
	// Attempts is how often it was written, or could not be.
	Attempts int
	// First is when it got its first answer but an ack, zero before.
	First time.Time
	// Sent is the size in bytes as it was written last, compressed.
	Sent int
	// Started is when it was written last.
	Started time.Time
	// Acks counts the batches that the partition had acked when it was written.
	Acks uint64
	// Leader is the broker that it was written to last.
	Leader int32

	of   *partition // nil without a partition
	mu   sync.Mutex // of Records while they are encoded
	size int        // uncompressed
	base int64      // the first timestamp, in ms
	last int64      // the latest
	// unanswered is set once the batch may have been appended. Until it is
	// answered it keeps its records, and with them its sequence numbers.
	unanswered bool
	stale      bool   // it gets new timestamps when it is written again
	twin       *Batch // see Part.Half
	rejected   bool   // it is known to be
	producer   producerID
	sequence   int32
	then       int32     // the number behind it
	result     *notAcked // nil while in flight, and for what was acked
	acked      bool
	topicID    [16]byte // that it was written to, zero where it was by name
}

// Doubt reports whether the batch may have been appended.
func (b *Batch) Doubt() bool { return b.unanswered }

// Trouble has the batch's records say that this is what keeps them, until an ack.
func (b *Batch) Trouble(err error) {
	if b.of != nil {
		b.of.trouble.Store(&err)
	}
}

// RawSize returns the size of an uncompressed batch of these records, at least.
func RawSize(records []*Record) int {
	n := BatchOverhead
	for _, r := range records {
		n += int(r.Size) - BatchOverhead
	}
	return n
}

// fixedSize is the size of a record without its deltas and the length before it.
func fixedSize(r *kgo.Record) int {
	n := 1 + bytesSize(len(r.Key)) + bytesSize(len(r.Value)) + varintSize(len(r.Headers))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += bytesSize(len(h.Key)) + bytesSize(len(h.Value))
	}
	return n
}

// SizeOf returns the size of an uncompressed batch that holds r alone, exactly as
// Kafka compares it with max.message.bytes.
func SizeOf(r *kgo.Record) int {
	body := fixedSize(r) + 2
	return BatchOverhead + varintSize(body) + body
}

// bytesSize is the size of n bytes behind their length. Null is one byte for the
// length -1, and so is empty for the length 0.
func bytesSize(n int) int { return varintSize(n) + n }

func varintSize(n int) int { return (bits.Len64(uint64(n)<<1|1) + 6) / 7 }

func varlongSize(n int64) int { return (bits.Len64(uint64(n<<1^n>>63)|1) + 6) / 7 }

// add takes in a record if the batch has room for it. An empty one has.
func (b *Batch) add(r *Record, most int) bool {
	at := r.Timestamp.UnixMilli()
	count := len(b.Records)
	if count == 0 {
		b.base, b.last, b.size = at, at, BatchOverhead
	}
	body := int(r.fixed) + varlongSize(at-b.base) + varintSize(count)
	size := b.size + varintSize(body) + body
	if count > 0 && size > most {
		return false
	}
	b.size, b.last = size, max(b.last, at)
	b.Records = append(b.Records, r)
	return true
}

// StampedBefore reports whether the producer has set a timestamp of the batch that is older
// than some time.
func (b *Batch) StampedBefore(t time.Time) bool {
	return slices.ContainsFunc(b.Records, func(r *Record) bool { return r.Unstamped && r.Timestamp.Before(t) })
}

// restamp gives the records that we stamp another timestamp. The numbers stay, by which the
// broker recognises the batch.
func (b *Batch) restamp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.UnixMilli(time.Now().UnixMilli())
	for _, r := range b.Records {
		if r.Unstamped {
			r.Timestamp = now
		}
	}
	b.recount()
}

// recount takes the batch's sizes anew.
func (b *Batch) recount() {
	records := b.Records
	b.Records = b.Records[:0]
	for _, r := range records {
		b.add(r, unbounded)
	}
}

// appendTo appends the batch behind its length.
func (b *Batch) appendTo(dst []byte, flexible bool, c kgo.Compressor, version int16) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c == nil {
		return b.appendPlain(dst, flexible)
	}
	plain, small := buffers.Get().(*bytes.Buffer), buffers.Get().(*bytes.Buffer)
	defer buffers.Put(plain)
	defer buffers.Put(small)
	plain.Reset()
	small.Reset()
	plain.Grow(b.size)
	records := b.appendRecords(plain.AvailableBuffer())
	var flags []kgo.CompressFlag
	if version < 7 {
		flags = append(flags, kgo.CompressDisableZstd)
	}
	compressed, codec := c.Compress(small, records, flags...)
	if compressed == nil || len(compressed) >= len(records) {
		compressed, codec = records, kgo.CodecNone
	}
	b.Sent = BatchOverhead + len(compressed)
	dst = appendLength(dst, b.Sent, flexible)
	at := len(dst)
	dst = append(dst, header[:]...)
	dst = append(dst, compressed...)
	b.fillHeader(dst[at:], int16(codec))
	return dst
}

var header [BatchOverhead]byte

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (b *Batch) appendPlain(dst []byte, flexible bool) []byte {
	b.Sent = b.size
	dst = appendLength(dst, b.size, flexible)
	at := len(dst)
	dst = append(dst, header[:]...)
	dst = b.appendRecords(dst)
	b.fillHeader(dst[at:], 0)
	return dst
}

func appendLength(dst []byte, n int, flexible bool) []byte {
	if flexible {
		return kbin.AppendUvarint(dst, uint32(n)+1)
	}
	return kbin.AppendInt32(dst, int32(n))
}

func (b *Batch) appendRecords(dst []byte) []byte {
	for n, r := range b.Records {
		delta := r.Timestamp.UnixMilli() - b.base
		dst = kbin.AppendVarint(dst, int32(int(r.fixed)+varlongSize(delta)+varintSize(n)))
		dst = append(dst, 0)
		dst = kbin.AppendVarlong(dst, delta)
		dst = kbin.AppendVarint(dst, int32(n))
		dst = kbin.AppendVarintBytes(dst, r.Key)
		dst = kbin.AppendVarintBytes(dst, r.Value)
		dst = kbin.AppendVarint(dst, int32(len(r.Headers)))
		for i := range r.Headers {
			dst = kbin.AppendVarintString(dst, r.Headers[i].Key)
			dst = kbin.AppendVarintBytes(dst, r.Headers[i].Value)
		}
	}
	return dst
}

func (b *Batch) fillHeader(dst []byte, attributes int16) {
	count := uint32(len(b.Records))
	binary.BigEndian.PutUint32(dst[8:], uint32(len(dst)-12))
	binary.BigEndian.PutUint32(dst[12:], 0xffffffff) // leader epoch
	dst[16] = 2
	binary.BigEndian.PutUint16(dst[21:], uint16(attributes))
	binary.BigEndian.PutUint32(dst[23:], count-1)
	binary.BigEndian.PutUint64(dst[27:], uint64(b.base))
	binary.BigEndian.PutUint64(dst[35:], uint64(b.last))
	binary.BigEndian.PutUint64(dst[43:], uint64(b.producer.id))
	binary.BigEndian.PutUint16(dst[51:], uint16(b.producer.epoch))
	binary.BigEndian.PutUint32(dst[53:], uint32(b.sequence))
	binary.BigEndian.PutUint32(dst[57:], count)
	binary.BigEndian.PutUint32(dst[17:], crc32.Checksum(dst[21:], castagnoli))
}

// SentSize returns the size of a batch that holds r alone as it is written:
// compressed, if that is smaller.
func SentSize(r *Record, c kgo.Compressor) int {
	if c == nil {
		return int(r.Size)
	}
	b := Batch{}
	b.add(r, 0)
	records := b.appendRecords(make([]byte, 0, b.size))
	var dst bytes.Buffer
	if compressed, _ := c.Compress(&dst, records); compressed != nil && len(compressed) < len(records) {
		return BatchOverhead + len(compressed)
	}
	return int(r.Size)
}
