//go:build linux || darwin

package kafkatest

import "fmt"

// Open starts a cluster for a program that is no test, and returns the
// addresses of its brokers and what ends it. With KAFKA_BROKERS it starts none.
func Open(opts Options) (brokers []string, stop func(), err error) {
	if len(externalBrokers()) == 0 {
		opts = opts.withDefaults()
		if err := opts.validate(); err != nil {
			return nil, nil, fmt.Errorf("kafkatest: options: %w", err)
		}
	}
	c, err := open(opts)
	if err != nil {
		return nil, nil, fmt.Errorf("kafkatest: starting a cluster: %w", err)
	}
	return c.seeds, c.close, nil
}
