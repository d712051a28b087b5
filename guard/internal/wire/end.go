package wire

import "time"

// endsAtMost bounds how long End waits for the next answer. Over a slow network, all
// of them may take longer.
const endsAtMost = 10 * time.Second

// End has nothing more sent, and waits for the answers to what is under way. The
// client can then be closed, and puts nothing in doubt.
func (l *Log) End() {
	over := time.NewTimer(endsAtMost)
	defer over.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	defer close(l.atRest)
	for {
		var changed <-chan struct{}
		for _, h := range l.partitions {
			if len(h.open) > 0 {
				changed = h.wait()
				break
			}
		}
		if changed == nil {
			l.rested = true
			l.mu.Unlock()
			time.Sleep(settling)
			l.mu.Lock()
			return
		}
		l.mu.Unlock()
		select {
		case <-changed:
			over.Reset(endsAtMost)
			l.mu.Lock()
		case <-over.C:
			l.mu.Lock()
			return
		}
	}
}

// settling is for how long kgo is left to take in the last answers.
const settling = 50 * time.Millisecond

// Rested reports whether the log has ended with an answer to all that was sent.
func (l *Log) Rested() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rested
}

// Idle returns since when no broker has accepted anything, and no time as long as
// any request is under way.
func (l *Log) Idle() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.partitions {
		if len(h.open) > 0 {
			return 0
		}
	}
	return time.Since(l.acceptedAt)
}
