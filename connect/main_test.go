//go:build linux || darwin

package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// asMain is the environment variable that makes the test binary the program.
const asMain = "KAFKA_GUARDED_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		os.Exit(0)
	}
	kafkatest.Main(m)
}

// program is the program, ready to run with more environment variables.
func program(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asMain+"=1"), env...)
	return cmd
}

func TestProgramHasTheComponents(t *testing.T) {
	t.Parallel()
	for kind, names := range map[string][]string{
		"inputs":  {"redpanda", "generate", "file"},
		"outputs": {"kafka", "kafka_franz", "kafka_guarded", "redpanda", "file"},
		"metrics": {"prometheus"},
		"tracers": {"open_telemetry_collector"},
	} {
		out, err := program(nil, "list", kind).CombinedOutput()
		require.NoError(t, err, string(out))
		for _, name := range names {
			require.Contains(t, string(out), "- "+name+"\n", kind)
		}
	}
}

// A config with components that kafka-guarded lacks is checked as well.
func TestProgramChecksConfigs(t *testing.T) {
	t.Parallel()
	out, err := program([]string{"KAFKA_BROKERS=127.0.0.1:1", "SOURCE_BROKERS=127.0.0.1:1"}, "check", "--quick", "config/kafka_to_kafka.yaml").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "config/kafka_to_kafka.yaml: output")
	require.Contains(t, string(out), "fail  seed broker 127.0.0.1:1: it does not answer")
}

// kafka returns the cluster that the tests share.
func kafka(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts a real Kafka node: run it without -short")
	}
	return kafkatest.Shared(t, kafkatest.Options{})
}
