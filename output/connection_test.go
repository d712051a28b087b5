package output

import (
	"context"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// connectionTest has the engine test the connection of an output.
func connectionTest(t *testing.T, yaml string) service.ConnectionTestResults {
	t.Helper()
	b := service.NewResourceBuilder()
	require.NoError(t, b.AddOutputYAML("label: out\n"+yaml))
	resources, stop, err := b.BuildSuspended()
	require.NoError(t, err)
	defer func() {
		// What never began to run has no end to wait for.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = stop(ctx)
	}()
	results, err := resources.ConnectionTest(t.Context())
	require.NoError(t, err)
	return results
}

func TestConnectionTest(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	config := c.alone("topic: t")
	results := connectionTest(t, config)
	require.Len(t, results, 1)
	require.NoError(t, results[0].Err)
	require.Equal(t, "out", results[0].Label)

	c.Close()
	results = connectionTest(t, config)
	require.Len(t, results, 1)
	require.Error(t, results[0].Err)
}

func TestConnectionTestOfTheDeadLetterOutput(t *testing.T) {
	t.Parallel()
	c, gone := newCluster(t), newCluster(t)
	config := c.withDeadLetter(gone.alone("topic: letters"), "topic: t")
	gone.Close()
	results := connectionTest(t, config)
	require.Len(t, results, 2)
	require.NoError(t, results[0].Err)
	require.Error(t, results[1].Err)
	require.Contains(t, results[1].Path, fieldDeadLetter)
}

func TestConnectionTestNamesTheMechanismAndNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "open-sesame"
	c := newCluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "admin", secret))
	config := c.config("topic: t", "sasl: [ { mechanism: SCRAM-SHA-512, username: admin, password: "+secret+" } ]")
	results := connectionTest(t, "kafka_guarded:"+streamtest.Indent(config, 2))
	require.NoError(t, results[0].Err)

	c.ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	results = connectionTest(t, "kafka_guarded:"+streamtest.Indent(config, 2))
	require.ErrorContains(t, results[0].Err, "SCRAM-SHA-512")
	require.NotContains(t, results[0].Err.Error(), secret)
}
