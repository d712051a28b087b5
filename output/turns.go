package output

import (
	"context"
	"sync"
	"time"
)

// turns bounds how often a failing child is tried. Benthos logs each failed write, and
// with many batches there may be thousands a minute.
// So there are two modes. While the child takes writes, they run at the same time.
// After one failed, and before the first one succeeded, writes go one at a time, with
// pauses.
type turns struct {
	pauses func() func() (time.Duration, bool)
	turn   chan struct{} // of capacity 1, full while a write has its turn

	mu    sync.Mutex
	takes chan struct{} // closed while the child takes writes
	pause func() (time.Duration, bool)
	next  time.Time // not before this time
	err   error     // of the latest try
}

func newTurns(pauses func() func() (time.Duration, bool)) *turns {
	return &turns{pauses: pauses, turn: make(chan struct{}, 1), takes: make(chan struct{})}
}

// try calls write in its turn. When ctx ends it calls write at once: a batch that waits
// at a shutdown has one more try.
func (t *turns) try(ctx context.Context, write func() error) error {
	t.mu.Lock()
	takes := t.takes
	t.mu.Unlock()
	own := false
	select {
	case <-takes:
	case t.turn <- struct{}{}:
		own = true
		defer func() { <-t.turn }()
		t.mu.Lock()
		pause := time.NewTimer(time.Until(t.next))
		t.mu.Unlock()
		defer pause.Stop()
		select {
		case <-takes:
		case <-pause.C:
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	err := write()
	t.done(err, own)
	return err
}

// done enters the end of a write. If several writes that ran at the same time fail
// together, only the first of them sets a pause.
func (t *turns) done(err error, own bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
	taking := closed(t.takes)
	switch {
	case err == nil:
		if !taking {
			close(t.takes)
		}
		t.pause, t.next = nil, time.Time{}
		return
	case taking:
		t.takes = make(chan struct{})
	case !own:
		return
	}
	if t.pause == nil {
		t.pause = t.pauses()
	}
	wait, _ := t.pause()
	t.next = time.Now().Add(wait)
}

// latest returns the error of the latest try, nil if it succeeded.
func (t *turns) latest() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// taking reports whether the child took the latest write.
func (t *turns) taking() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return closed(t.takes)
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
