//go:build linux || darwin

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// brokersCPU is the CPU time of the brokers in seconds: of all processes that this one
// started and that still run. It is 0 where there is no /proc.
func brokersCPU() (seconds float64) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		// The name of the program is in brackets, and may have spaces in it.
		_, fields, _ := strings.Cut(string(b), ") ")
		var state string
		var parent int
		var skip, user, system int64
		n, _ := fmt.Sscan(fields, &state, &parent, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &user, &system)
		if n == 13 && parent == os.Getpid() {
			seconds += float64(user+system) * clockTick.Seconds()
		}
	}
	return seconds
}

// clockTick is the unit of times in /proc: USER_HZ is 100 on all that Go runs on.
const clockTick = 10 * time.Millisecond
