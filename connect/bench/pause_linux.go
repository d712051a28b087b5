package main

import (
	"syscall"
	"time"
)

// pause sleeps, to within 50 microseconds. Go's own timers are up to a millisecond late
// on an idle machine.
func pause(d time.Duration) {
	if d > 0 {
		left := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&left, nil) // a signal may end it early; the next message is on time again
	}
}
