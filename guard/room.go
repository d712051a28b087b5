package guard

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
)

// room is the buffer budget: max_buffered_records and max_buffered_bytes, over
// all writes.
type room struct {
	mostRecords, mostBytes int64
	records                *semaphore.Weighted
	bytes                  *semaphore.Weighted // nil without a limit
	first                  *semaphore.Weighted // of the writes that wait, one at a time is the first
}

func newRoom(records, bytes int) room {
	r := room{mostRecords: int64(records), mostBytes: int64(bytes), records: semaphore.NewWeighted(int64(records)), first: semaphore.NewWeighted(1)}
	if bytes > 0 {
		r.bytes = semaphore.NewWeighted(int64(bytes))
	}
	return r
}

// size returns how much a record takes of the bytes.
func (r *room) size(record *kgo.Record) int64 {
	if r.bytes == nil {
		return 0
	}
	return int64(limits.BufferedSize(record))
}

// fits reports whether the budget is ever large enough.
func (r *room) fits(records int, bytes int64) bool {
	return int64(records) <= r.mostRecords && (r.bytes == nil || bytes <= r.mostBytes)
}

// try takes room if there is enough.
func (r *room) try(records, bytes int64) bool {
	if !r.records.TryAcquire(records) {
		return false
	}
	if r.bytes != nil && !r.bytes.TryAcquire(bytes) {
		r.records.Release(records)
		return false
	}
	return true
}

// take waits until there is enough room, or ctx ends.
func (r *room) take(ctx context.Context, records, bytes int64) error {
	if err := r.records.Acquire(ctx, records); err != nil {
		return err
	}
	if r.bytes != nil {
		if err := r.bytes.Acquire(ctx, bytes); err != nil {
			r.records.Release(records)
			return err
		}
	}
	return nil
}

// wholeWait is how long the first of the writes that wait waits for room for all of its
// records. Then it takes what there is: records of a blocked partition may keep the rest
// for hours.
const wholeWait = time.Second

// takeSome waits until there is room for all records of these sizes, but at most wholeWait,
// then for some of them. It returns how many have room, and their bytes.
func (r *room) takeSome(ctx context.Context, sizes []int64) (n int, bytes int64, err error) {
	if err := r.first.Acquire(ctx, 1); err != nil {
		return 0, 0, err
	}
	defer r.first.Release(1)
	for _, size := range sizes {
		bytes += size
	}
	whole, cancel := context.WithTimeout(ctx, wholeWait)
	defer cancel()
	if r.take(whole, int64(len(sizes)), bytes) == nil {
		return len(sizes), bytes, nil
	}
	if err := r.take(ctx, 1, sizes[0]); err != nil {
		return 0, 0, err
	}
	n, bytes = 1, sizes[0]
	for n < len(sizes) && r.try(1, sizes[n]) {
		bytes += sizes[n]
		n++
	}
	return n, bytes, nil
}

func (r *room) giveBack(records, bytes int64) {
	r.records.Release(records)
	if r.bytes != nil {
		r.bytes.Release(bytes)
	}
}

// admit waits until records have room in the buffer, or the write's context ends. It
// returns how many of them have room.
func (w *write) admit(slots []*slot, bytes int64) (n int, release func(), err error) {
	if err := w.ctx.Err(); err != nil {
		return 0, nil, context.Cause(w.ctx)
	}
	g := w.guard
	if n = len(slots); !g.room.try(int64(n), bytes) {
		sizes := make([]int64, n)
		for i, s := range slots {
			sizes[i] = g.room.size(s.record())
		}
		leave := g.waits.forBuffer(slots)
		n, bytes, err = g.room.takeSome(w.ctx, sizes)
		leave(err != nil)
		if err != nil {
			return 0, nil, context.Cause(w.ctx)
		}
	}
	return n, func() { g.room.giveBack(int64(n), bytes) }, nil
}
