//go:build linux || darwin

package integration

import (
	"testing"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

// oneNode returns the cluster of the tests that need nothing special.
func oneNode(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	return shared(t, kafkatest.Options{})
}

// The users of the secured cluster. What they may do is up to each test.
const (
	alice, alicePassword = "alice", "alice-4f1d0c"
	bob, bobPassword     = "bob", "bob-9a77e2"
)

// secured returns a cluster with TLS, every SASL mechanism and ACLs.
func secured(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	return shared(t, kafkatest.Options{
		SASL:  []string{kafkatest.Plain, kafkatest.ScramSHA256, kafkatest.ScramSHA512, kafkatest.OAuthBearer},
		Users: map[string]string{alice: alicePassword, bob: bobPassword},
		TLS:   true,
		ACLs:  true,
	})
}

func shared(t *testing.T, opts kafkatest.Options) *kafkatest.Cluster {
	t.Helper()
	skipShort(t)
	return kafkatest.Shared(t, opts)
}

func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts real Kafka nodes: run it without -short")
	}
}
