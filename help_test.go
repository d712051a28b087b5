package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// The examples of --help run, in their order, in a folder with a config whose blanks of
// the command create are filled in.
func TestTheExamplesOfTheHelpRun(t *testing.T) {
	t.Parallel()
	help, err := program("--help").Output()
	require.NoError(t, err)
	var examples []string
	for line := range strings.Lines(string(help)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "kafka-guarded ") && !strings.Contains(line, "[") && !strings.Contains(line, " - ") {
			examples = append(examples, line)
		}
	}
	require.Len(t, examples, 6, string(help))

	fake := kafkafake.New(t)
	fake.Topic("orders", 1)
	dir := t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		path = filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
	}
	write("bin/kafka-guarded", "#!/bin/sh\nexec '"+os.Args[0]+"' \"$@\"\n", 0o700)
	write("resources/letters.yaml", "output_resources:\n  - label: letters\n    drop: {}\n", 0o600)
	for _, example := range examples {
		cmd := exec.Command("sh", "-c", example)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), asMain+"=1", "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", example, out)
		if !strings.Contains(example, " create ") {
			continue
		}
		made, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
		require.NoError(t, err)
		require.Contains(t, string(made), "kafka_guarded:")
		write("config.yaml", "http: { enabled: false }\ninput: { stdin: {} }\noutput: { kafka_guarded: { seed_brokers: [ '"+fake.ListenAddrs()[0]+"' ], topic: orders, dead_letter: { drop: {} } } }\n", 0o600)
	}
}
