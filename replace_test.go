package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// streamsMode runs streams mode with a stream and, unless it is empty, a resource. It
// returns when the log says that they hold messages for a topic that does not exist.
func streamsMode(t *testing.T, resource, stream string) (address string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	address = freeport.Addr(t)
	args := []string{"-c", write("service.yaml", "http: { address: "+address+" }\nshutdown_timeout: 1s\n"), "streams"}
	if resource != "" {
		args = append(args, "-r", write("resources.yaml", "output_resources: [ { label: out, "+resource+" } ]\n"))
	}
	streams := program(append(args, write("stream.yaml", stream))...)
	log := write("log", "")
	var err error
	streams.Stdout, err = os.OpenFile(log, os.O_WRONLY, 0)
	require.NoError(t, err)
	streams.Stderr = streams.Stdout
	require.NoError(t, streams.Start())
	t.Cleanup(func() {
		_ = streams.Process.Kill()
		_ = streams.Wait()
	})
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(text), "messages for topic missing are held")
	}, 5*time.Minute, 50*time.Millisecond)
	return address
}

// request makes a request to the API of streams mode.
func request(t *testing.T, method, url, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := (&http.Client{Timeout: 5 * time.Minute}).Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

func requireEachOnce(t *testing.T, c *kafkafake.Cluster, topic, messages string) {
	t.Helper()
	require.Eventually(t, func() bool { return fmt.Sprint(len(c.Values(topic))) == messages }, 5*time.Minute, 100*time.Millisecond)
	for value, times := range c.Values(topic) {
		require.Equal(t, 1, times, value)
	}
}

// holding is an output that holds messages for a topic until the topic exists.
func holding(c *kafkafake.Cluster, topic, inFlight string) string {
	return fmt.Sprintf("kafka_guarded: { seed_brokers: [ '%s' ], topic: %s, max_in_flight: %s, allow_auto_topic_creation: false, dead_letter: { drop: {} } }", c.ListenAddrs()[0], topic, inFlight)
}

// The API of streams mode replaces a resource that holds messages for a missing topic.
// The messages go to the topic of the new resource.
func TestAResourceThatHoldsIsReplaced(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, inFlight, messages string }{
		{"some writes are free", "10", "3"},
		{"all writes are held", "2", "20"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("there", 1)
			address := streamsMode(t, holding(c, "missing", test.inFlight), `
input: { generate: { count: `+test.messages+`, interval: "", mapping: 'root.id = counter()' } }
output: { resource: out }
`)
			request(t, http.MethodPost, "http://"+address+"/resources/output/out", holding(c, "there", test.inFlight))
			requireEachOnce(t, c, "there", test.messages)
		})
	}
}

// A stream that holds messages is replaced. Without a timeout Benthos waits until they
// are delivered.
func TestAStreamThatHoldsIsReplaced(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("there", 1)
	stream := func(topic string) string {
		return `
input: { generate: { count: 20, interval: "", mapping: 'root.id = counter()' } }
output: { ` + holding(c, topic, "2") + ` }
`
	}
	address := streamsMode(t, "", stream("missing"))
	request(t, http.MethodPut, "http://"+address+"/streams/stream?timeout=4s", stream("there"))
	requireEachOnce(t, c, "there", "20")
}
