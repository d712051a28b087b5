package producer

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Hook is what the producer hears of its client's connections. It must be among the hooks
// of the client.
type Hook struct{ producer atomic.Pointer[Producer] }

// OnBrokerWrite has the broker's node note what was written of a Produce request.
func (h *Hook) OnBrokerWrite(to kgo.BrokerMetadata, key int16, written int, _, _ time.Duration, err error) {
	p := h.producer.Load()
	if p == nil || kmsg.Key(key) != kmsg.Produce {
		return
	}
	p.mu.RLock()
	n := p.nodes[to.NodeID]
	p.mu.RUnlock()
	if n != nil {
		n.Wrote(written, err)
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
