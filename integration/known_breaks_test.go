//go:build linux || darwin

package integration

import (
	"flag"
	"testing"
)

var runKnownBreaks = flag.Bool("known-breaks", false, "run also the tests of what is known to be broken")

// knownBreak skips a test of what is known to be broken, with the number of the
// attack and what is wrong, unless -known-breaks is set. Who mends it deletes the
// call.
func knownBreak(t *testing.T, attack int, diagnosis string) {
	t.Helper()
	if !*runKnownBreaks {
		t.Skipf("known to be broken (attack %d): %s; -known-breaks runs it", attack, diagnosis)
	}
}
