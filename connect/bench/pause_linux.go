package main

import (
	"syscall"
	"time"
)

// pause sleeps to within some 50 microseconds. The timers of Go are up to a
// millisecond late when there is nothing else to do.
func pause(d time.Duration) {
	if d > 0 {
		left := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&left, nil) // a signal ends it early: the next message is on time again
	}
}
