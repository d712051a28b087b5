package partition

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// Outcome is what became of a record.
type Outcome uint8

// Outcomes. Unknown may have been written.
const (
	Pending Outcome = iota
	Acked
	NotWritten
	Unknown
)

// Record is a record on its way. Its owner sets the first four fields, and
// leaves it alone until its write is done.
type Record struct {
	*kgo.Record
	Write *Write
	// Unstamped has the record stamped each time that it is sent.
	Unstamped bool
	// Single asks for a batch of its own, Alone for a request of its own besides, Apart for
	// a batch with others of that kind.
	Single, Alone, Apart bool
	// Questioned has the Policy look at the record before it is sent, see Policy.Check.
	Questioned bool
	// Owner is for the owner's use.
	Owner any

	// Size is that of an uncompressed batch with this record alone.
	Size  int32
	fixed int32

	outcome atomic.Uint32
	// Offset is -1 where the broker tells none. Appended is the log's time in
	// milliseconds, -1 where that is the record's own.
	Offset, Appended int64
	// Reason is why the record failed.
	Reason error

	part  atomic.Pointer[Partition]
	order uint64 // in its partition
	doubt bool   // a batch that it was in may have been appended
	// leaving is why it is not sent again once what is in flight has its answer.
	leaving func() error
}

// Prepare makes the record ready to be sent.
func (r *Record) Prepare() {
	fixed := recordbatch.FixedSize(r.Record)
	r.fixed, r.Size = int32(fixed), int32(recordbatch.Overhead+recordbatch.RecordSize(fixed, 0, 0))
	r.outcome.Store(uint32(Pending))
	r.leaving = nil
	r.part.Store(nil)
	r.Offset, r.Appended, r.Reason, r.doubt, r.Single, r.Alone, r.Questioned, r.Apart = -1, -1, nil, false, false, false, false, false
	if r.Unstamped = r.Timestamp.IsZero(); !r.Unstamped {
		r.Timestamp = r.Timestamp.Truncate(time.Millisecond).Local() // as it is in the log
	}
}

// Outcome returns what became of the record.
func (r *Record) Outcome() Outcome { return Outcome(r.outcome.Load()) }

// Ended reports whether the record has an outcome.
func (r *Record) Ended() bool { return r.outcome.Load() != uint32(Pending) }

// Partitioned reports whether the record has a partition.
func (r *Record) Partitioned() bool { return r.part.Load() != nil }

// Place returns the record's partition, nil if it has none.
func (r *Record) Place() *Partition { return r.part.Load() }

// Leave has the record not sent again: it ends, for a reason, once the Policy has decided
// about it. What holds the record has to be locked.
func (r *Record) Leave(why func() error) { r.leaving = why }

// Leaving returns the reason, nil unless Leave was called.
func (r *Record) Leaving() func() error { return r.leaving }

// Trouble returns what the record's partition, or its topic, heard last but an ack.
func (r *Record) Trouble() error {
	if p := r.part.Load(); p != nil {
		if e := p.trouble.Load(); e != nil {
			return *e
		}
	}
	return nil
}

// Write is the records of one call.
type Write struct {
	left     atomic.Int64
	Progress atomic.Int64 // counts what ended
	Done     chan struct{}
}

// NewWrite returns a Write that expects no records yet, see Expect.
func NewWrite() *Write { return &Write{Done: make(chan struct{}, 1)} }

// Expect has Done get a value after n more records have ended.
func (w *Write) Expect(n int) { w.left.Store(int64(n)) }

func (w *Write) ended(n int) {
	if w == nil || n == 0 {
		return
	}
	w.Progress.Add(1)
	if w.left.Add(-int64(n)) == 0 {
		w.Done <- struct{}{}
	}
}
