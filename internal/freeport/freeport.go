// Package freeport has ports for servers of tests that start later, or again, and so
// can't let the system choose one while they listen.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Host is where the ports are.
const Host = "127.0.0.1"

const (
	// Ports are taken from below the range that Linux (32768) and macOS
	// (49152) give to outgoing connections. In that range a client that
	// redials the port of a killed node could be given this very port for
	// its own end, and the node could not come back.
	first, last = 20000, 32000

	// each is how many of them a test binary has to itself, as far as those
	// go: others that run beside it take theirs at the same time.
	each = 1000
)

var (
	mu    sync.Mutex
	taken = map[int]bool{}
)

// Port returns a port of 127.0.0.1 that nothing listens on and that this test binary
// was not given before.
func Port() (int, error) { return Row(1) }

// Row returns the first of n such ports in a row.
func Row(n int) (int, error) {
	mu.Lock()
	defer mu.Unlock()
	own := first + os.Getpid()%((last-first)/each)*each
	for range each {
		if port := own + rand.IntN(each-n+1); take(port, n) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row on %s from %d to %d", n, Host, own, own+each-1)
}

// take takes ports in a row, if all of them are free. The caller has the lock.
func take(port, n int) bool {
	for p := port; p < port+n; p++ {
		if taken[p] {
			return false
		}
		l, err := net.Listen("tcp", At(p))
		if err != nil {
			return false
		}
		l.Close()
	}
	for p := port; p < port+n; p++ {
		taken[p] = true
	}
	return true
}

// Addr returns host:port with such a port.
func Addr(t testing.TB) string {
	t.Helper()
	port, err := Port()
	require.NoError(t, err)
	return At(port)
}

// At returns host:port.
func At(port int) string { return net.JoinHostPort(Host, strconv.Itoa(port)) }
