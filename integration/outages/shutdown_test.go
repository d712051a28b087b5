//go:build linux || darwin

package outages

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// shutdownTimeout is the binary's shutdown_timeout. It bounds the time for batches in
// flight. Closing takes a moment more.
const shutdownTimeout = 5 * time.Second

// served is the binary with a stream from HTTP to Kafka. It answers a request with 200
// when its messages are acknowledged.
type served struct {
	t       *testing.T
	url     string
	command *exec.Cmd
	log     *streamtest.Log
	ended   chan error

	mu            sync.Mutex
	acked, nacked []string // IDs of messages
}

// serve starts the binary.
func serve(t *testing.T, f onkafka.Fields) *served {
	t.Helper()
	address := freeport.Addr(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte(onkafka.InYAML(t, onkafka.Fields{
		"http":             onkafka.Fields{"enabled": false},
		"input":            onkafka.Fields{"http_server": onkafka.Fields{"address": address, "path": "/post", "timeout": "60s"}},
		"output":           onkafka.Fields{"kafka_guarded": f},
		"shutdown_timeout": shutdownTimeout.String(),
	})), 0o600))

	s := &served{t: t, url: "http://" + address + "/post", log: &streamtest.Log{}, ended: make(chan error, 1)}
	s.command = exec.Command(onkafka.Program(t), "run", config)
	s.command.Stdout, s.command.Stderr = s.log, s.log
	require.NoError(t, s.command.Start())
	go func() { s.ended <- s.command.Wait() }()
	t.Cleanup(func() {
		_ = s.command.Process.Kill()
		if t.Failed() {
			t.Logf("the end of the output of the binary:\n%s", s.log.Tail())
		}
	})
	onkafka.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, "the binary to listen")
	return s
}

// post sends a batch with messages of these IDs, and enters whether it was
// acknowledged.
func (s *served) post(ids []string) bool {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, id := range ids {
		part, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/octet-stream"}})
		if err == nil {
			_, err = part.Write([]byte(id))
		}
		if err != nil {
			return false
		}
	}
	w.Close()
	resp, err := http.Post(s.url, w.FormDataContentType(), &body)
	ok := err == nil && resp.StatusCode == http.StatusOK
	if err == nil {
		resp.Body.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		s.acked = append(s.acked, ids...)
	} else {
		s.nacked = append(s.nacked, ids...)
	}
	return ok
}

func (s *served) acknowledged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// terminate sends SIGTERM and waits until the binary has ended.
func (s *served) terminate() {
	s.t.Helper()
	require.NoError(s.t, s.command.Process.Signal(syscall.SIGTERM))
	const slack = 2 * time.Minute // for a busy machine
	select {
	case <-s.ended: //nolint:errcheck // it is killed in some tests
	case <-time.After(shutdownTimeout + slack):
		require.FailNow(s.t, "the binary does not end within its shutdown_timeout")
	}
}

// check checks that every acknowledged message is in the topic once, and no message
// twice.
func (s *served) check(c *kafkatest.Cluster, scenario, topic string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	log := map[string]int{}
	for _, r := range c.ReadAll(topic) {
		log[string(r.Value)]++
	}
	lost, duplicates, open := 0, 0, 0
	for _, id := range s.acked {
		if log[id] == 0 {
			lost++
		}
	}
	for _, n := range log {
		duplicates += n - 1
	}
	for _, id := range s.nacked {
		open += min(1, log[id])
	}
	s.t.Logf("RESULT %s sent=%d delivered=%d dead_lettered=0 duplicates=%d lost=%d good_failed=0 acknowledged=%d nacked=%d nacked_but_written=%d",
		scenario, len(s.acked)+len(s.nacked), len(log), duplicates, lost, len(s.acked), len(s.nacked), open)
	require.NotEmpty(s.t, s.acked)
	require.Zero(s.t, lost, "acknowledged, and not in the log")
	require.Zero(s.t, duplicates)
}

// numbered returns n IDs with a prefix.
func numbered(prefix string, n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s-%d", prefix, i))
	}
	return ids
}

func TestTerminationUnderLoadKeepsWhatIsAcknowledged(t *testing.T) {
	t.Parallel()
	c := onkafka.OneNode(t)
	c.CreateTopic("terminated", 3, 1, nil)
	s := serve(t, onkafka.Fields{"seed_brokers": c.Brokers(), "topic": "terminated"})
	var clients sync.WaitGroup
	for n := range 4 {
		clients.Go(func() {
			for i := 0; s.post(numbered(fmt.Sprintf("c%d-%d", n, i), 10)); i++ {
			}
		})
	}
	onkafka.Eventually(t, func() bool { return s.acknowledged() > 500 }, "acknowledgements")
	s.terminate()
	clients.Wait()
	s.check(c, "termination/under load", "terminated")
}

// The node appends, and its answer never comes. The binary must end within
// shutdown_timeout, and must not acknowledge.
func TestTerminationInTheMiddleOfABatchDoesNotAcknowledgeIt(t *testing.T) {
	t.Parallel()
	c, proxy := onkafka.ThreeNodes(t)
	c.CreateTopic("terminated", 3, 3, nil)
	s := serve(t, onkafka.Fields{"seed_brokers": c.Brokers(), "topic": "terminated", "partitioner": "round_robin"})
	for i := range 5 {
		require.True(t, s.post(numbered(fmt.Sprintf("before-%d", i), 30)))
	}
	proxy.Silence()
	var client sync.WaitGroup
	client.Go(func() { s.post(numbered("open", 30)) })
	onkafka.Eventually(t, func() bool { return proxy.Swallowed() > 0 }, "an answer to swallow")
	s.terminate()
	client.Wait()
	proxy.Cut()
	proxy.Connect(c.ClientAddr(onkafka.Proxied))
	s.check(c, "termination/in the middle of a batch", "terminated")
	require.Len(t, s.nacked, 30)
}
