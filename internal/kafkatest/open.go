//go:build linux || darwin

package kafkatest

import (
	"fmt"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
)

// Running is a cluster of a program that is no test.
type Running struct {
	// Brokers are what clients are told.
	Brokers []string

	// Listeners are where the nodes listen for clients: where
	// Options.AdvertisedPorts has a proxy forward to. The user's own cluster
	// has none.
	Listeners []string

	// Direct are brokers that are reached without such a proxy.
	Direct []string

	c *cluster
}

// Open starts a cluster for a program that is no test. With KAFKA_BROKERS it
// starts none, and connects to that.
func Open(opts Options) (*Running, error) {
	if len(externalBrokers()) > 0 {
		opts.AdvertisedPorts = nil
	} else {
		opts = opts.withDefaults()
		if err := opts.validate(); err != nil {
			return nil, fmt.Errorf("kafkatest: options: %w", err)
		}
	}
	c, err := open(opts)
	if err != nil {
		return nil, fmt.Errorf("kafkatest: starting a cluster: %w", err)
	}
	r := &Running{Brokers: c.seeds, Direct: c.seeds, c: c}
	if !c.external() {
		r.Direct = nil
	}
	for _, n := range c.nodes {
		r.Listeners = append(r.Listeners, freeport.At(n.client))
		r.Direct = append(r.Direct, freeport.At(n.internal))
	}
	return r, nil
}

// Close ends the nodes and removes their data.
func (r *Running) Close() { r.c.close() }
