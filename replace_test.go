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

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A resource that holds messages, for a topic that does not exist, is replaced by the
// API of streams mode: the messages go to the topic of the new one.
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
			output := func(topic string) string {
				return fmt.Sprintf(`
kafka_guarded:
  seed_brokers: [ %s ]
  topic: %s
  max_in_flight: %s
  allow_auto_topic_creation: false
  dead_letter: { drop: {} }
`, c.ListenAddrs()[0], topic, test.inFlight)
			}
			dir := t.TempDir()
			write := func(name, text string) string {
				path := filepath.Join(dir, name)
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
				return path
			}
			address := freeAddress(t)
			service := write("service.yaml", "http: { address: "+address+" }\nshutdown_timeout: 1s\n")
			resources := write("resources.yaml", "output_resources:\n  - label: out"+strings.ReplaceAll(output("missing"), "\n", "\n    "))
			stream := write("stream.yaml", `
input: { generate: { count: `+test.messages+`, interval: "", mapping: 'root.id = counter()' } }
output: { resource: out }
`)
			streams := program("-c", service, "streams", "-r", resources, stream)
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

			client := http.Client{Timeout: 5 * time.Minute}
			resp, err := client.Post("http://"+address+"/resources/output/out", "application/yaml", strings.NewReader(output("there")))
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Eventually(t, func() bool {
				return fmt.Sprint(len(c.Values("there"))) == test.messages
			}, 5*time.Minute, 100*time.Millisecond)
			for value, times := range c.Values("there") {
				require.Equal(t, 1, times, value)
			}
		})
	}
}
