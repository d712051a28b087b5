package main

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// asMain is the environment variable that makes the test binary the program.
const asMain = "KAFKA_GUARDED_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program is the program, ready to run.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	return cmd
}

func TestProgram(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		code int
		want string // in the output
	}{
		{"version", []string{"--version"}, 0, "Version: "},
		{"help", []string{"--help"}, 0, "kafka-guarded list inputs"},
		{"outputs", []string{"list", "outputs"}, 0, "kafka_guarded"},
		{"lint", []string{"lint", "config/*.yaml"}, 0, ""},
		{"create", []string{"create", "generate//kafka_guarded"}, 0, "seed_brokers"},
		{"demo", []string{"demo", "--messages", "200"}, 0, "innocents dead-lettered"},
		{"demo of a recipe", []string{"demo", "--messages", "200", "--recipe", "dead-letter"}, 0, "innocents dead-lettered"},
		{"check", []string{"check", "config/missing.yaml"}, 1, "reading the config"},
		{"check without a config", []string{"check"}, 1, "check takes the path of one config"},
		{"demo with bad options", []string{"demo", "--poison", "7"}, 1, "poison is 7"},
		{"demo with an argument", []string{"demo", "more"}, 1, "no arguments"},
		{"no such command", []string{"frobnicate"}, 1, "Unrecognised command"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := program(test.args...)
			out, _ := cmd.CombinedOutput()
			require.Equal(t, test.code, cmd.ProcessState.ExitCode(), string(out))
			require.Contains(t, string(out), test.want)
		})
	}
}

func TestDemoEndsCleanlyOnInterrupt(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signal to send")
	}
	cmd := program("demo", "--messages", "100000000")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = stdout.Read(make([]byte, 1)) // the demo has begun
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, 130, cmd.ProcessState.ExitCode())
}
