//go:build linux || darwin

package deadletters

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// pass reads the account of the first pass from the mark of a topic.
func pass(t *testing.T, c *kafkatest.Cluster, dead string) account {
	t.Helper()
	offsets, err := c.Admin().FetchOffsets(t.Context(), "kafka-guarded-redrive."+dead+".1")
	require.NoError(t, err)
	o, ok := offsets.Lookup(dead, 0)
	require.True(t, ok)
	var meta struct{ Account account }
	require.NoError(t, json.Unmarshal([]byte(o.Metadata), &meta))
	return meta.Account
}

// used runs a program, and returns its time and its peak memory in bytes. It also logs
// the program's CPU time, which other load changes less.
func used(t *testing.T, cmd *exec.Cmd) (time.Duration, int64) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stderr = &said // standard output goes to /dev/null
	began := time.Now()
	require.NoError(t, cmd.Run(), "%s\n%s", strings.Join(cmd.Args, " "), &said)
	took := time.Since(began)
	rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if runtime.GOOS == "linux" {
		rss *= 1024
	}
	t.Logf("RESULT %s took %.1f s of CPU", filepath.Base(cmd.Path), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	return took, rss
}

// The memory of a summary is bounded. Its rate is logged, beside that of kcat if that
// is on the PATH.
func TestRates(t *testing.T) {
	c := onkafka.OneNode(t)
	n := *letters
	c.CreateTopic("rates", 3, 1, nil)
	c.CreateTopic("rates-dead", 3, 1, nil)
	fill(t, c, "rates-dead", "rates", n)
	rate := func(d time.Duration) int { return int(float64(n) / d.Seconds()) }

	took, rss := used(t, command(t, c, "summary", "rates-dead"))
	t.Logf("RESULT summary of %d letters: %d a second, %d MB", n, rate(took), rss>>20)
	require.Less(t, rss, int64(200<<20), "the memory of a summary")
	if kcat, err := exec.LookPath("kcat"); err == nil {
		took, rss := used(t, exec.Command(kcat, "-C", "-e", "-q", "-t", "rates-dead", "-b", c.Brokers()[0]))
		t.Logf("RESULT kcat -C to /dev/null: %d a second, %d MB", rate(took), rss>>20)
	}
	took, rss = used(t, command(t, c, "redrive", "rates-dead"))
	t.Logf("RESULT redrive of %d letters: %d a second, %d MB", n, rate(took), rss>>20)
	require.Equal(t, n, length(t, c, "rates"))
	if *connect == "" {
		return
	}
	c.CreateTopic("rates-copy", 3, 1, nil)
	stream := exec.Command(*connect, "run", "--set", "http.enabled=false", "../../connect/config/kafka_to_kafka.yaml")
	stream.Env = append(os.Environ(), "KAFKA_BROKERS="+strings.Join(c.Brokers(), ","), "SOURCE_TOPIC=rates-dead", "TARGET_TOPIC=rates-copy", "CONSUMER_GROUP=rates")
	require.NoError(t, stream.Start())
	defer func() { _ = stream.Process.Kill() }()
	deadline := time.Now().Add(5 * time.Minute)
	wait := func(records int) time.Time {
		for length(t, c, "rates-copy") < records {
			require.True(t, time.Now().Before(deadline), "the stream writes nothing")
			time.Sleep(5 * time.Millisecond)
		}
		return time.Now()
	}
	first := wait(1) // do not count the time to join the group
	took = wait(n).Sub(first)
	require.NoError(t, stream.Process.Signal(syscall.SIGTERM))
	_ = stream.Wait()
	t.Logf("RESULT the stream from that topic: %d a second, %.1f s of CPU", rate(took), (stream.ProcessState.UserTime() + stream.ProcessState.SystemTime()).Seconds())
}
