//go:build linux || darwin

// Package gateways runs kafka_guarded against gateways and brokers that are not
// Apache Kafka.
package gateways

import (
	"testing"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

// behind returns the cluster behind all gateways of this package.
func behind(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts real Kafka nodes: run it without -short")
	}
	return kafkatest.Shared(t, kafkatest.Options{})
}
