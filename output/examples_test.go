package output

import (
	"context"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// notRun are the fields whose examples need brokers, certificates or credentials. A
// test in docs runs the linter on them.
var notRun = regexp.MustCompile(`^(seed_brokers|tls\.|sasl)`)

var batchCount = regexp.MustCompile(`(?m)^ *count: \d+\n`)

var validTraceparent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`)

// The examples of the reference run. A message with a trace context and other metadata
// is delivered, and its headers are valid.
func TestExamplesOfTheReferenceRun(t *testing.T) {
	t.Parallel()
	view, ok := service.GlobalEnvironment().GetOutputConfig(name)
	require.True(t, ok)
	data, err := view.TemplateData()
	require.NoError(t, err)
	ran := 0
	for _, f := range data.Fields {
		if notRun.MatchString(f.FullName) {
			continue
		}
		for _, example := range f.ExamplesMarshalled {
			ran++
			t.Run(f.FullName, func(t *testing.T) {
				t.Parallel()
				runExample(t, f.FullName, example)
			})
		}
	}
	require.Greater(t, ran, 15)
}

// The example with SASL and TLS writes to a broker that requires both. TestConfigsRun
// in docs/ runs the others.
func TestTheExampleWithSASLAndTLSRuns(t *testing.T) {
	t.Parallel()
	server := serverTLS(t)
	c := newCluster(t, kfake.TLS(server), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "orders-writer", "secret"))
	c.Topic("orders", 1)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificates[0].Certificate[0]}), 0o600))
	seen := c.Count(kmsg.Produce)
	builder := service.NewStreamBuilder()
	require.NoError(t, builder.SetYAML("input: { generate: { count: 3, interval: '', mapping: 'root = counter()' } }\nlogger: { level: OFF }\n"+
		strings.NewReplacer("kafka.example.com:9093", c.ListenAddrs()[0], "./ca.pem", ca, "${KAFKA_USER}", "orders-writer", "${KAFKA_PASSWORD}", "secret").Replace(exampleSASL)))
	stream, err := builder.Build()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	require.NoError(t, stream.Run(ctx))
	require.Positive(t, seen.Hits())
}

// underItsObjects puts the YAML of a field under its parent objects.
func underItsObjects(field, yaml string) string {
	path := strings.Split(field, ".")
	for i := len(path) - 2; i >= 0; i-- {
		yaml = path[i] + ":" + streamtest.Indent(yaml, 2)
	}
	return yaml
}

func runExample(t *testing.T, field, example string) {
	t.Helper()
	c := newCluster(t)
	c.Topic("t", 1)
	if strings.HasPrefix(field, "batching") {
		// The input ends only when both messages are acknowledged, so a batch of more
		// would wait for ever.
		example = batchCount.ReplaceAllString(example, "") + "\n"
		if field == "batching" {
			example = strings.TrimSpace(example) + "\n  count: 2\n"
		} else {
			example += "count: 2\n"
		}
	}
	lines := []string{"topic: t", underItsObjects(field, example)}
	if !strings.HasPrefix(field, "metadata.") {
		lines = append(lines, "metadata: { include_patterns: [ '.*' ] }")
	}
	var mu sync.Mutex
	read, acked := 0, 0
	config := streamtest.Config{
		Output: c.alone(lines...),
		Source: func(context.Context) (service.MessageBatch, streamtest.Answer, error) {
			mu.Lock()
			defer mu.Unlock()
			if read++; read > 2 {
				return nil, nil, service.ErrEndOfInput
			}
			batch := tracedBatch(`{"meta":{"id":1},"type":"other"}`)
			batch[0].MetaSetMut("foo_a", "a")
			batch[0].MetaSetMut("kafka_key", "k")
			batch[0].MetaSetMut("traceparent", traceparent2)
			return batch, func(err error, _ []deliverycheck.Answer) {
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					acked++
				}
			}, nil
		},
	}
	stream, err := config.Build()
	require.NoError(t, err)
	require.NoError(t, stream.Run(t.Context()))
	require.Equal(t, 2, acked)
	log := c.Log("t")
	require.NotEmpty(t, log)
	for _, r := range log {
		require.Contains(t, string(r.Value), `"id":1`)
		for _, h := range r.Headers {
			if h.Key == "traceparent" {
				require.Regexp(t, validTraceparent, string(h.Value))
			}
		}
	}
}
