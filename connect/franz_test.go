package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// franzConfigs returns the configs in testdata/franz by their number and name.
func franzConfigs(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/franz/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 30)
	configs := map[string][]byte{}
	for _, file := range files {
		yaml, err := os.ReadFile(file)
		require.NoError(t, err)
		configs[strings.TrimSuffix(filepath.Base(file), ".yaml")] = yaml
	}
	return configs
}

// migrated is a config with kafka_franz replaced by kafka_guarded.
func migrated(t *testing.T, yaml []byte) []byte {
	t.Helper()
	changed := bytes.ReplaceAll(yaml, []byte("kafka_franz:"), []byte("kafka_guarded:"))
	require.NotEqual(t, yaml, changed)
	return changed
}

func TestFranzConfigsPassTheLinterWithOneWordChanged(t *testing.T) {
	t.Parallel()
	for name, yaml := range franzConfigs(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, lint(t, yaml, false))
			// kafka_franz reads certificates at the start, kafka_guarded checks them
			// before. These files do not exist on this machine.
			absent := map[string][]string{
				"28_tls":        {"(7,1) tls.root_cas_file can't be read: open ./ca.pem: no such file or directory"},
				"29_sasl_scram": {"(10,1) tls.root_cas has no certificate in PEM (-----BEGIN CERTIFICATE-----)"},
			}
			require.Equal(t, absent[name], lint(t, migrated(t, yaml), false))
		})
	}
}

func TestWhatTheLinterRefusesOfFranzConfigsStaysRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, fields string }{
		{"manual without a partition", "topic: t, partitioner: manual"},
		{"a partition that is not asked for", `topic: t, partition: "1"`},
		{"two timestamps", `topic: t, timestamp: "1", timestamp_ms: "2"`},
		{"idempotent without all acks", "topic: t, acks: leader"},
		{"idempotent with pipelining", "topic: t, max_in_flight_requests: 5"},
		{"no topic", "key: k"},
		{"a field that is not there", "topic: t, linger: 5ms"},
		{"a partitioner that is not there", "topic: t, partitioner: random"},
		{"a compression that is not there", "topic: t, compression: brotli"},
		{"a mechanism that is not there", "topic: t, sasl: [ { mechanism: NTLM } ]"},
		{"a batching that is none", "topic: t, batching: { size: 5 }"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			yaml := []byte("output:\n  kafka_franz: { seed_brokers: [ localhost:9092 ], " + test.fields + " }\n")
			require.NotEmpty(t, lint(t, yaml, false))
			require.NotEmpty(t, lint(t, migrated(t, yaml), false))
		})
	}
}
