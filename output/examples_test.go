package output

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/ledger"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// notRun are the fields whose examples name what only their reader has: brokers,
// certificates, credentials. docs holds them against the linter.
var notRun = regexp.MustCompile(`^(seed_brokers|tls\.|sasl)`)

var batchCount = regexp.MustCompile(`(?m)^ *count: \d+\n`)

var validTraceparent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`)

// The examples of the reference run: a message that came with a trace context, and
// other metadata, is delivered with headers that are valid.
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

// underItsObjects puts the YAML of a field under the objects that it is in.
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
		// The input ends when both messages are acknowledged, and not before: the
		// batch is to be full then.
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
			return batch, func(err error, _ []ledger.Word) {
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
