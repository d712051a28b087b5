package output

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// turns bounds how often a failing child is tried. Benthos logs each failed write, and
// with many batches there may be thousands a minute.
// So there are two modes. While the child takes writes, they run at the same time.
// After one failed, and before the first one succeeded, writes go one at a time, with
// pauses. A write without an answer loses its turn after a while: a child may be several
// outputs, of which one hangs and the others take writes.
type turns struct {
	pauses func() func() (time.Duration, bool)
	// latestFirst gives the turn to the write that came last. Where the time of a write
	// is limited, that one has the most of it. The first one may have too little left
	// for any answer.
	latestFirst bool

	mu      sync.Mutex
	taking  bool            // the child took the latest write
	waiting []chan struct{} // of each write that waits, as they came
	turn    chan struct{}   // of the write that has its turn, nil if none has
	pause   func() (time.Duration, bool)
	next    time.Time // no turn before this time
	wake    *time.Timer
	lapse   *time.Timer // ends the turn
	err     error       // of the latest try
}

func newTurns(pauses func() func() (time.Duration, bool), latestFirst bool) *turns {
	return &turns{pauses: pauses, latestFirst: latestFirst}
}

// errNotTried is the error of a write whose time was over before its turn came. It says
// nothing of the child, so it sets no pause.
var errNotTried = errors.New("its time was over before its turn")

// try calls write in its turn. When ctx ends it calls write at once: a batch that waits
// at a shutdown has one more try.
func (t *turns) try(ctx context.Context, write func() error) error {
	turn := make(chan struct{})
	t.mu.Lock()
	t.waiting = append(t.waiting, turn)
	t.give()
	t.mu.Unlock()
	select {
	case <-turn:
	case <-ctx.Done():
	}
	err := write()
	return t.done(err, turn)
}

// give gives the turn to a write that waits, once the pause is over, or lets all of
// them go if the child takes writes. The caller has the lock.
func (t *turns) give() {
	if t.taking {
		for _, turn := range t.waiting {
			close(turn)
		}
		t.waiting = nil
		return
	}
	if t.turn != nil || len(t.waiting) == 0 {
		return
	}
	if pause := time.Until(t.next); pause > 0 {
		if t.wake != nil {
			t.wake.Stop()
		}
		t.wake = time.AfterFunc(pause, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.give()
		})
		return
	}
	i := 0
	if t.latestFirst {
		i = len(t.waiting) - 1
	}
	turn := t.waiting[i]
	t.turn = turn
	t.waiting = slices.Delete(t.waiting, i, i+1)
	close(turn)
	t.lapse = time.AfterFunc(slow, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.turn == turn {
			t.turn = nil
			t.give()
		}
	})
}

// done enters the end of a write, and returns its error. If several writes that ran at
// the same time fail together, only the first of them sets a pause.
func (t *turns) done(err error, turn chan struct{}) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.give()
	if i := slices.Index(t.waiting, turn); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	own := t.turn == turn
	if own {
		t.turn = nil
		t.lapse.Stop()
	}
	if errors.Is(err, errNotTried) {
		return cmp.Or(t.err, err)
	}
	t.err = err
	switch {
	case err == nil:
		t.taking, t.pause, t.next = true, nil, time.Time{}
		return nil
	case !t.taking && !own:
		return err
	}
	t.taking = false
	if t.pause == nil {
		t.pause = t.pauses()
	}
	pause, _ := t.pause()
	t.next = time.Now().Add(pause)
	return err
}

// latest returns the error of the latest try, nil if it succeeded.
func (t *turns) latest() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// takes reports whether the child took the latest write.
func (t *turns) takes() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.taking
}
