package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
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
		{"help", []string{"--help"}, 0, "kafka-guarded list outputs"},
		{"outputs", []string{"list", "outputs"}, 0, "kafka_guarded"},
		{"metrics", []string{"list", "metrics"}, 0, "- prometheus\n"},
		{"lint", []string{"lint", "config/*.yaml", "deploy/stream.yaml"}, 0, ""},
		{"create", []string{"create", "generate//kafka_guarded"}, 0, "seed_brokers"},
		{"demo", []string{"demo", "--messages", "200"}, 0, "good messages dead-lettered"},
		{"demo of a recipe", []string{"demo", "--messages", "200", "--recipe", "fallback"}, 0, "good messages dead-lettered"},
		{"check", []string{"check", "config/missing.yaml"}, 1, "file does not exist"},
		{"check without a config", []string{"check"}, 1, "check takes the paths of one or more configs"},
		{"dead letters without any", []string{"dead-letters"}, 1, "dead-letters takes a topic, a file or a folder"},
		{"dead letters of a file", []string{"dead-letters", "summary", "go.mod"}, 0, "dead letters"},
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

// The program reads its whole config. An output that is a resource knows that it is
// used in a fallback. An output with processors knows what they do.
func TestProgramKnowsWhatIsAroundAnOutput(t *testing.T) {
	t.Parallel()
	const (
		input = `input: { generate: { count: 40, batch_size: 20, interval: '', mapping: 'root = if counter() % 10 == 0 { "bad" } else { "m%d".format(count("m")) }' } }`
		topic = `topic: '${! if content() == "bad" { "a b" } else { "t" } }'`
	)
	guarded := func(c *kafkafake.Cluster) string {
		return "kafka_guarded: { seed_brokers: [ '" + strings.Join(c.ListenAddrs(), ",") + "' ], " + topic + " }"
	}
	for _, test := range []struct {
		name, output, resources string
		diverted                bool
	}{
		{"a resource", "fallback: [ { resource: a }, DEAD ]", "output_resources: [ { label: a, GUARDED } ]", false},
		{"a resource with a filter", "fallback: [ { resource: a }, DEAD ]", "output_resources: [ { label: a, GUARDED, processors: [ { mapping: FILTER } ] } ]", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("t", 1)
			dead := filepath.Join(t.TempDir(), "dead.txt")
			fill := strings.NewReplacer("GUARDED", guarded(c), "DEAD", "{ file: { path: '"+dead+"', codec: lines } }", "FILTER", `'root = if content() == "drop" { deleted() }'`)
			config := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(config, []byte(input+fill.Replace("\noutput: { "+test.output+" }\n"+test.resources+"\nhttp: { enabled: false }\n")), 0o600))
			out, err := program("run", config).CombinedOutput()
			require.NoError(t, err, string(out))
			require.Len(t, c.Values("t"), 36)
			written, err := os.ReadFile(dead)
			require.NoError(t, err)
			lines := strings.Fields(string(written))
			if test.diverted {
				require.Len(t, lines, 40, "loses nothing")
				require.Contains(t, string(out), "the processor mapping on an output may drop or multiply messages")
				return
			}
			require.Equal(t, []string{"bad", "bad", "bad", "bad"}, lines)
		})
	}
}

// The config that create prints, which the reference shows, passes the linter and
// starts. Its records have no key, and the message as value.
func TestWhatCreatePrintsRuns(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{{"create"}, {"create", "--small"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("t", 1)
			printed, err := program(append(flags, "stdin//kafka_guarded")...).Output()
			require.NoError(t, err)
			filled := strings.NewReplacer("seed_brokers: []", "seed_brokers: [ '"+strings.Join(c.ListenAddrs(), ",")+"' ]", `topic: ""`, "topic: t").Replace(string(printed))
			config := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(config, []byte(filled), 0o600))
			out, err := program("lint", config).CombinedOutput()
			require.NoError(t, err, string(out))
			cmd := program("run", "--set", "http.enabled=false", config)
			cmd.Stdin = strings.NewReader("plain\n")
			out, err = cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			log := c.Log("t")
			require.Len(t, log, 1)
			require.Nil(t, log[0].Key)
			require.Equal(t, "plain", string(log[0].Value))
			require.Empty(t, log[0].Headers)
		})
	}
}

// In streams mode an output knows only its path. For the first output of a fallback
// that is enough.
func TestProgramInStreamsMode(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signal to send")
	}
	c := kafkafake.New(t)
	c.Topic("t", 1)
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.txt")
	config, stream := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "orders.yaml")
	require.NoError(t, os.WriteFile(config, []byte("http: { enabled: false }\n"), 0o600))
	require.NoError(t, os.WriteFile(stream, []byte(`
input: { generate: { count: 40, batch_size: 20, interval: '', mapping: 'root = if counter() % 10 == 0 { "bad" } else { "m%d".format(count("streams")) }' } }
output:
  fallback:
    - kafka_guarded: { seed_brokers: [ '`+strings.Join(c.ListenAddrs(), ",")+`' ], topic: '${! if content() == "bad" { "a b" } else { "t" } }' }
    - file: { path: '`+dead+`', codec: lines }
`), 0o600))
	cmd := program("-c", config, "streams", "--no-api", stream)
	var logged strings.Builder
	cmd.Stdout = &logged
	require.NoError(t, cmd.Start())
	var lines []string
	require.Eventually(t, func() bool {
		written, _ := os.ReadFile(dead)
		lines = strings.Fields(string(written))
		return len(lines) >= 4 && len(c.Log("t")) >= 36
	}, 4*time.Minute, 20*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	require.Regexp(t, `level=warning msg="By its path.*if there are processors on this output that drop, split or multiply messages, some are lost`, logged.String())
	require.Equal(t, []string{"bad", "bad", "bad", "bad"}, lines)
	require.Len(t, c.Values("t"), 36)
	require.Len(t, c.Log("t"), 36)
}
