package wire

import "time"

// endsAtMost is for how long End waits without any answer. Over a slow network, all of
// them may take longer.
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
	before, _ := l.underWay()
	for {
		open, changed := l.underWay()
		if open == 0 {
			l.rested = true
			l.mu.Unlock()
			time.Sleep(settling)
			l.mu.Lock()
			return
		}
		l.mu.Unlock()
		select {
		case <-changed:
			l.mu.Lock()
		case <-over.C:
			l.mu.Lock()
			if open, _ = l.underWay(); open >= before {
				return
			}
			before = open
			over.Reset(endsAtMost)
		}
	}
}

// underWay returns how many batches have no answer yet, and what is closed with the
// answer to one of them.
func (l *Log) underWay() (open int, changed <-chan struct{}) {
	for _, h := range l.partitions {
		if len(h.open) > 0 {
			open += len(h.open)
			changed = h.wait()
		}
	}
	return open, changed
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
