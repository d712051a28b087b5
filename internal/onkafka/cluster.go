//go:build linux || darwin

package onkafka

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// OneNode returns the cluster of the tests that need nothing special.
func OneNode(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	return Shared(t, kafkatest.Options{})
}

// The users of the secured cluster. Each test grants them rights.
const (
	Alice         = "alice"
	AlicePassword = "alice-4f1d0c"
	Bob           = "bob"
	BobPassword   = "bob-9a77e2"
)

// Secured returns a cluster with TLS, every SASL mechanism and ACLs.
func Secured(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	return Shared(t, kafkatest.Options{
		SASL:  []string{kafkatest.Plain, kafkatest.ScramSHA256, kafkatest.ScramSHA512, kafkatest.OAuthBearer},
		Users: map[string]string{Alice: AlicePassword, Bob: BobPassword},
		TLS:   true,
		ACLs:  true,
	})
}

// Shared returns the cluster with these options that the tests of a package share.
func Shared(t *testing.T, opts kafkatest.Options) *kafkatest.Cluster {
	t.Helper()
	SkipShort(t)
	return kafkatest.Shared(t, opts)
}

// SkipShort skips the test under -short.
func SkipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts real Kafka nodes: run it without -short")
	}
}

// SpeedOptions are the options of a cluster on which alice has only the rights that a
// test grants.
func SpeedOptions(version string, nodes int) kafkatest.Options {
	return kafkatest.Options{
		Version: version,
		Nodes:   nodes,
		SASL:    []string{kafkatest.Plain},
		Users:   map[string]string{Alice: AlicePassword},
		ACLs:    true,
	}
}

// NewGuard returns a guard of the cluster. It is closed after the test. Unless the
// options say otherwise, its requests don't time out on a busy machine: a record whose
// request timed out is in doubt, which most tests don't allow.
func NewGuard(t *testing.T, c *kafkatest.Cluster, config guard.Config, opts ...kgo.Opt) *guard.Guard {
	t.Helper()
	g, err := guard.New(config, append([]kgo.Opt{kgo.SeedBrokers(c.Brokers()...), kgo.RequestTimeoutOverhead(Patience)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}
