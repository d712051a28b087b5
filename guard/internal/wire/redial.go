package wire

import (
	"context"
	"sync"
	"time"
)

// redials makes connections to one address wait that end again and again without
// an answer, as behind a load balancer that has nobody to pass them on to. kgo makes
// the next one at once, hundreds of times a second.
type redials struct {
	mu   sync.Mutex
	mute map[string]muteness // by address
}

// muteness is how many connections in a row had no answer, and when the last ended.
type muteness struct {
	times int
	since time.Time
}

const (
	redialFree  = 3 // connections in a row that cost no wait
	redialFirst = 50 * time.Millisecond
	redialMost  = time.Second
)

// wait returns when the next connection to the address may be made. Who has waited
// since the last one ended, as kgo does after a while, waits only for the rest.
func (r *redials) wait(ctx context.Context, address string) error {
	r.mu.Lock()
	mute := r.mute[address]
	r.mu.Unlock()
	doublings := mute.times - redialFree
	if doublings < 0 {
		return nil
	}
	timer := time.NewTimer(min(redialFirst<<min(doublings, 10), redialMost) - time.Since(mute.since))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// note takes down whether a connection to the address ever had an answer.
func (r *redials) note(address string, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case answered:
		delete(r.mute, address)
	case r.mute == nil:
		r.mute = map[string]muteness{address: {1, time.Now()}}
	default:
		r.mute[address] = muteness{r.mute[address].times + 1, time.Now()}
	}
}
