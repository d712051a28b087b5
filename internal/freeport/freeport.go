//go:build linux || darwin

package kafkatest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
)

const (
	host = "127.0.0.1"

	// Ports are taken from below the range that Linux (32768) and macOS
	// (49152) give to outgoing connections. In that range a client that
	// redials the port of a killed node could be given this very port for
	// its own end, and the node could not come back.
	firstPort, lastPort = 20000, 32000

	// portsEach is how many of them a test binary has to itself, as far as those
	// go: others that run beside it take theirs at the same time.
	portsEach = 1000
)

var (
	portMu    sync.Mutex
	portTaken = map[int]bool{}
)

// freePort returns a port that nothing listens on and that no cluster of this
// test binary was given before.
func freePort() (int, error) {
	portMu.Lock()
	defer portMu.Unlock()
	own := firstPort + os.Getpid()%((lastPort-firstPort)/portsEach)*portsEach
	for range portsEach {
		port := own + rand.IntN(portsEach)
		if portTaken[port] {
			continue
		}
		l, err := net.Listen("tcp", addr(port))
		if err != nil {
			continue
		}
		l.Close()
		portTaken[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port on %s from %d to %d", host, own, own+portsEach-1)
}

func addr(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
