package partition

import (
	"slices"
	"sync"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

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

	of   *Partition // nil without a partition
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
	producer   recordbatch.ProducerID
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
		b.of.Trouble(err)
	}
}

// RawSize returns the size of an uncompressed batch of these records, at least.
func RawSize(records []*Record) int {
	n := recordbatch.Overhead
	for _, r := range records {
		n += int(r.Size) - recordbatch.Overhead
	}
	return n
}

// add takes in a record if the batch has room for it. An empty one has.
func (b *Batch) add(r *Record, most int) bool {
	at := r.Timestamp.UnixMilli()
	count := len(b.Records)
	if count == 0 {
		b.base, b.last, b.size = at, at, recordbatch.Overhead
	}
	size := b.size + recordbatch.RecordSize(int(r.fixed), at-b.base, count)
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

// AppendTo appends the batch, see broker.Batch.
func (b *Batch) AppendTo(dst []byte, version int16, topicID [16]byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topicID = topicID
	wire := recordbatch.Batch{Producer: b.producer, Sequence: b.sequence, First: b.base, Last: b.last, Count: len(b.Records), Size: b.size}
	dst, b.Sent = wire.Append(dst, version, b.of.shared.Compressor, b.appendRecords)
	return dst
}

func (b *Batch) appendRecords(dst []byte) []byte {
	for n, r := range b.Records {
		dst = recordbatch.AppendRecord(dst, r.Record, int(r.fixed), r.Timestamp.UnixMilli()-b.base, n)
	}
	return dst
}

// Acked ends the records of the batch.
func (b *Batch) Acked(offset, appended int64) { b.of.acked(b, offset, appended) }

// Answered deals with an answer that is no ack.
func (b *Batch) Answered(a broker.Answer) { b.of.answered(b, a) }

// Lost deals with a batch that has no answer.
func (b *Batch) Lost(sent bool, a broker.Answer) { b.of.failed(b, notAcked{Answer: a, doubt: sent}) }
