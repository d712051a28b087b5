package guard

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// lanes has one lock per partition that is in use: for the search in it.
type lanes struct {
	mu    sync.Mutex
	taken map[wire.Partition]chan struct{}
}

// try takes the partition's lane if it is free.
func (l *lanes) try(tp wire.Partition) (unlock func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, busy := l.taken[tp]; busy {
		return nil, false
	}
	if l.taken == nil {
		l.taken = map[wire.Partition]chan struct{}{}
	}
	free := make(chan struct{})
	l.taken[tp] = free
	return func() {
		l.mu.Lock()
		delete(l.taken, tp)
		l.mu.Unlock()
		close(free)
	}, true
}

// lock waits for the partition's lane, or for ctx to end.
func (l *lanes) lock(ctx context.Context, tp wire.Partition) (unlock func(), err error) {
	for {
		unlock, ok := l.try(tp)
		if ok {
			return unlock, nil
		}
		l.mu.Lock()
		busy := l.taken[tp]
		l.mu.Unlock()
		if busy == nil {
			continue
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// crowd is who uses the solo client: many, or one that must have a request of its
// own.
type crowd struct{ *semaphore.Weighted }

const everybody = 1 << 20

func newCrowd() crowd { return crowd{semaphore.NewWeighted(everybody)} }

// join takes a place, or all of them: for these it waits no longer than a moment,
// since all who come later wait behind it. Those with a place may be sent in one
// request, so where the size of requests is limited, a place is a share of that.
func (c crowd) join(ctx context.Context, alone bool, size int, limit int64) (leave func(), err error) {
	n := int64(1)
	switch {
	case alone:
		n = everybody
		var cancel func()
		ctx, cancel = context.WithTimeoutCause(ctx, aloneWait, errCrowd)
		defer cancel()
	case limit > 0:
		n = min(1+int64(size)*everybody/limit, everybody)
	}
	if err := c.Acquire(ctx, n); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { c.Release(n) }, nil
}

const aloneWait = 2 * time.Second

var errCrowd = errors.New("it could not be sent in a request of its own, since others are under way")
