package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// If no output takes failed messages, the log at the start says what the input does
// with them.
func TestTheStartSaysWhatTheInputDoesWithFailures(t *testing.T) {
	t.Parallel()
	const again, lost = "their whole batch comes again and again", "the input deletes what fails (auto_replay_nacks is false): they are lost"
	for _, test := range []struct{ name, input, want, not string }{
		{"it replays", `generate: { count: 1, mapping: 'root = "x"' }`, again, lost},
		{"it deletes", `generate: { count: 1, mapping: 'root = "x"', auto_replay_nacks: false }`, lost, again},
		{"one of its inputs deletes", `broker: { inputs: [ { generate: { count: 1, mapping: 'root = "x"', auto_replay_nacks: false } } ] }`, lost, again},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("t", 1)
			config := filepath.Join(t.TempDir(), "stream.yaml")
			require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
http: { enabled: false }
input: { %s }
output: { kafka_guarded: { seed_brokers: [ %s ], topic: t } }
`, test.input, c.ListenAddrs()[0]), 0o600))
			log, err := program("run", config).CombinedOutput()
			require.NoError(t, err, string(log))
			require.Contains(t, string(log), test.want)
			require.NotContains(t, string(log), test.not)
			checked, err := program("check", config).CombinedOutput()
			require.NoError(t, err, string(checked))
			require.Contains(t, string(checked), test.want)
			require.NotContains(t, string(checked), test.not)
		})
	}
}
