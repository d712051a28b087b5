package guard

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// room is the buffer budget: max_buffered_records and max_buffered_bytes, over
// all writes.
type room struct {
	mostRecords, mostBytes int64
	records                *semaphore.Weighted
	bytes                  *semaphore.Weighted // nil without a limit
}

func newRoom(records, bytes int) room {
	r := room{mostRecords: int64(records), mostBytes: int64(bytes), records: semaphore.NewWeighted(int64(records))}
	if bytes > 0 {
		r.bytes = semaphore.NewWeighted(int64(bytes))
	}
	return r
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

func (r *room) giveBack(records, bytes int64) {
	r.records.Release(records)
	if r.bytes != nil {
		r.bytes.Release(bytes)
	}
}

// admit waits until the records have room in the buffer, or the write's context ends.
func (w *write) admit(slots []*slot, bytes int64) (release func(), err error) {
	if err := w.ctx.Err(); err != nil {
		return nil, context.Cause(w.ctx)
	}
	g, records := w.guard, int64(len(slots))
	if !g.room.try(records, bytes) {
		leave := g.waits.forBuffer(slots)
		err := g.room.take(w.ctx, records, bytes)
		leave(err != nil)
		if err != nil {
			return nil, context.Cause(w.ctx)
		}
	}
	return func() { g.room.giveBack(records, bytes) }, nil
}
