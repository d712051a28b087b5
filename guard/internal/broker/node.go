package broker

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Node has the requests to a broker.
type Node struct {
	ID     int32
	shared *Shared
	broker *kgo.Broker

	mu       sync.Mutex
	ready    []Partition // with a batch to be sent
	inFlight int         // requests
	// unbound is set while a request is under way that chooses its batches when it is
	// written: it takes all that is ready until then. reading counts the answers that are
	// being read, which make partitions ready one after another.
	unbound  bool
	reading  int
	failures int // in a row, to reach it
	pausing  bool
	answers  int

	shortest atomic.Int64 // see RoundTrip
	sizes    sizes

	writing struct {
		sync.Mutex
		requests []*request // whose end Wrote has not seen
	}
}

// List has a partition asked for a batch by the next request.
func (n *Node) List(p Partition) {
	n.mu.Lock()
	n.ready = append(n.ready, p)
	n.mu.Unlock()
}

const (
	// roundTrips is of how many answers the soonest counts as the round trip: others wait
	// for the CPU.
	roundTrips = 256
	// nearInFlight is how many requests to a broker are in flight at most whose round trip
	// is shorter than Near. Brokers handle one request of a connection after the other. So
	// more of them would only be smaller, and cost the broker more.
	nearInFlight = 2
	// Near is below which round trip a broker is near.
	Near = 2 * time.Millisecond
)

// RoundTrip is how soon the broker answers, 0 if it has not answered yet.
func (n *Node) RoundTrip() time.Duration { return time.Duration(n.shortest.Load()) }

// heard notes how long an answer took.
func (n *Node) heard(took time.Duration) {
	if took < n.RoundTrip() || n.answers%roundTrips == 0 {
		n.shortest.Store(int64(took))
	}
	n.answers++
}

// most is how many requests may be in flight.
func (n *Node) most() int {
	if n.RoundTrip() < Near {
		return min(nearInFlight, n.shared.InFlight)
	}
	return n.shared.InFlight
}

// Kick sends a request if there is something to send, and not too much in flight.
func (n *Node) Kick() {
	n.mu.Lock()
	if len(n.ready) == 0 || n.inFlight >= n.most() || n.pausing || n.unbound || n.reading > 0 {
		n.mu.Unlock()
		return
	}
	n.inFlight++
	n.unbound = true
	p := n.ready[0]
	n.ready = append(n.ready[:0], n.ready[1:]...)
	n.mu.Unlock()
	go (&request{node: n, ready: p}).do()
}

// Wrote notes a request that did not leave to its last byte: it can't have been carried
// out. It is to be called on the goroutine that wrote it, right after that, as kgo does with
// hooks. For a moment kgo may have two connections to a broker: if it can't be told which
// request it was, all count as sent.
func (n *Node) Wrote(bytes int, err error) {
	n.writing.Lock()
	defer n.writing.Unlock()
	switch requests := n.writing.requests; {
	case len(requests) == 1:
		if err != nil && bytes < requests[0].end {
			requests[0].unsent.Store(true)
		}
		n.writing.requests = requests[:0]
	case err == nil:
		if i := slices.IndexFunc(requests, func(r *request) bool { return r.end == bytes }); i >= 0 {
			n.writing.requests = slices.Delete(requests, i, i+1)
		}
	default:
		n.writing.requests = requests[:0]
	}
}

// connectionClosed reports whether an error is that the broker closed the connection, and not
// that it did not answer in time.
func connectionClosed(err error) bool {
	for _, closed := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, closed) {
			return true
		}
	}
	return errors.As(err, new(*kgo.ErrFirstReadEOF))
}

// done makes room for the next request. A broker that could not be reached is tried again
// after a pause.
func (r *request) done(reached bool) {
	n := r.node
	n.mu.Lock()
	n.inFlight--
	if reached {
		n.failures = 0
	} else {
		n.failures++
		if !n.pausing {
			n.pausing = true
			time.AfterFunc(n.shared.Backoff(n.failures), func() {
				n.mu.Lock()
				n.pausing = false
				n.mu.Unlock()
				n.moveOn()
			})
		}
	}
	n.mu.Unlock()
	n.Kick()
}

// moveOn takes all partitions off the list: another broker may lead them by now. Those that
// it does not are listed again, and sent.
func (n *Node) moveOn() {
	n.mu.Lock()
	ready := n.ready
	n.ready = nil
	n.mu.Unlock()
	for _, p := range ready {
		p.Unlisted()
	}
}
