package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
)

// The reference says of secrets: the command echo hides them, and streams mode shows
// the config that it was given. If the second fails, Benthos hides them there, too:
// then change reference_test.go of output, and docs/hardening.md.
func TestWhereSecretsAreShown(t *testing.T) {
	t.Parallel()
	const secret = "open-sesame"
	dir := t.TempDir()
	stream := filepath.Join(dir, "stream.yaml")
	require.NoError(t, os.WriteFile(stream, []byte(`
input: { generate: { count: 0, interval: 1h, mapping: 'root = "x"' } }
output:
  kafka_guarded:
    seed_brokers: [ 127.0.0.1:9 ]
    topic: t
    sasl:
      - { mechanism: SCRAM-SHA-256, username: u, password: `+secret+` }
      - { mechanism: OAUTHBEARER, token: `+secret+`, extensions: { logicalCluster: `+secret+` } }
    dead_letter: { drop: {} }
`), 0o600))

	shown, err := program("echo", stream).CombinedOutput()
	require.NoError(t, err, string(shown))
	require.Contains(t, string(shown), "username: u")
	require.NotContains(t, string(shown), secret)

	address := freeport.Addr(t)
	service := filepath.Join(dir, "service.yaml")
	require.NoError(t, os.WriteFile(service, fmt.Appendf(nil, "http: { address: %s }\nshutdown_timeout: 1s\n", address), 0o600))
	streams := program("-c", service, "streams", stream)
	require.NoError(t, streams.Start())
	t.Cleanup(func() {
		_ = streams.Process.Kill()
		_ = streams.Wait()
	})
	var answer []byte
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + address + "/streams/stream")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		answer, err = io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK
	}, 5*time.Minute, 50*time.Millisecond)
	require.True(t, json.Valid(answer), string(answer))
	require.Contains(t, string(answer), secret)
}
