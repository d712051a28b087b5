// Package progress prints the progress of long tests.
package progress

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// Lines prints a line a minute to the standard error until stop is called, under -v
// alone. The line begins with the time since the call.
func Lines(line func() string) (stop func()) {
	if !testing.Verbose() {
		return func() {}
	}
	stopped, began := make(chan struct{}), time.Now()
	go func() {
		tick := time.NewTicker(time.Minute)
		defer tick.Stop()
		for {
			select {
			case <-stopped:
				return
			case <-tick.C:
				fmt.Fprintf(os.Stderr, "    after %s: %s\n", time.Since(began).Round(time.Second), line())
			}
		}
	}()
	return func() { close(stopped) }
}
