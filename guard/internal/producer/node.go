package producer

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// node has the requests to a broker.
type node struct {
	all    *Producer
	id     int32
	broker *kgo.Broker

	mu       sync.Mutex
	ready    []*partition // with a batch to be sent
	inFlight int          // requests
	// unbound is set while a request is under way that chooses its batches when it is
	// written: it takes all that is ready until then. reading counts the answers that are
	// being read, which make partitions ready one after another.
	unbound  bool
	reading  int
	failures int // in a row, to reach it
	pausing  bool
	answers  int

	shortest atomic.Int64 // see roundTrip
	sizes    sizes

	writing struct {
		sync.Mutex
		requests []*request // whose end the hook has not seen
	}
}

func kick(nodes []*node) {
	for _, n := range nodes {
		n.kick()
	}
}

func (n *node) list(p *partition) {
	n.mu.Lock()
	n.ready = append(n.ready, p)
	n.mu.Unlock()
}

const (
	// roundTrips is of how many answers the soonest counts as the round trip: others wait
	// for the CPU.
	roundTrips = 256
	// nearInFlight is how many requests to a broker are in flight at most whose round trip
	// is shorter than apart. Brokers handle one request of a connection after the other. So
	// more of them would only be smaller, and cost the broker more.
	nearInFlight = 2
)

// roundTrip is how soon the broker answers, 0 if it has not answered yet.
func (n *node) roundTrip() time.Duration { return time.Duration(n.shortest.Load()) }

// heard notes how long an answer took.
func (n *node) heard(took time.Duration) {
	if took < n.roundTrip() || n.answers%roundTrips == 0 {
		n.shortest.Store(int64(took))
	}
	n.answers++
}

// most is how many requests may be in flight.
func (n *node) most() int {
	if n.roundTrip() < apart {
		return min(nearInFlight, n.all.cfg.InFlight)
	}
	return n.all.cfg.InFlight
}

// kick sends a request if there is something to send, and not too much in flight.
func (n *node) kick() {
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

// OnBrokerWrite notes a request that did not leave to its last byte: it can't have been
// carried out. kgo calls it on the goroutine that wrote it, right after that. For a moment
// kgo may have two connections to a broker: if it can't be told which request it was, all
// count as sent.
func (h *Hook) OnBrokerWrite(to kgo.BrokerMetadata, key int16, written int, _, _ time.Duration, err error) {
	p := h.producer.Load()
	if p == nil || key != 0 {
		return
	}
	p.mu.RLock()
	n := p.nodes[to.NodeID]
	p.mu.RUnlock()
	if n == nil {
		return
	}
	n.writing.Lock()
	defer n.writing.Unlock()
	switch requests := n.writing.requests; {
	case len(requests) == 1:
		if err != nil && written < requests[0].end {
			requests[0].unsent.Store(true)
		}
		n.writing.requests = requests[:0]
	case err == nil:
		if i := slices.IndexFunc(requests, func(r *request) bool { return r.end == written }); i >= 0 {
			n.writing.requests = slices.Delete(requests, i, i+1)
		}
	default:
		n.writing.requests = requests[:0]
	}
}

// OnBrokerConnect notes why connections fail.
func (h *Hook) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	p := h.producer.Load()
	switch {
	case p == nil:
	case err == nil:
		p.trouble.Store(nil)
	default:
		p.trouble.Store(&err)
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
			time.AfterFunc(n.all.cfg.Backoff(n.failures), func() {
				n.mu.Lock()
				n.pausing = false
				n.mu.Unlock()
				n.moveOn()
				n.kick()
			})
		}
	}
	n.mu.Unlock()
	n.kick()
}

// moveOn takes partitions off the list that another broker leads by now.
func (n *node) moveOn() {
	n.mu.Lock()
	ready := n.ready
	n.ready = nil
	n.mu.Unlock()
	for _, p := range ready {
		p.mu.Lock()
		p.listed = false
		p.goOn()
	}
}
