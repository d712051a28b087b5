package output

import (
	"context"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// tracedBatch is a batch with a span for each message.
func tracedBatch(contents ...string) service.MessageBatch {
	batch := streamtest.Batch(contents...)
	for i, m := range batch {
		batch[i] = m.WithContext(trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{0xAB, byte(i)}, SpanID: trace.SpanID{0xCD, byte(i)}, TraceFlags: trace.FlagsSampled,
		})))
	}
	return batch
}

const (
	traceparent0 = "00-ab000000000000000000000000000000-cd00000000000000-01"
	traceparent2 = "00-ab020000000000000000000000000000-cd02000000000000-01"
)

func TestTraceContextLandsInRecordHeaders(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, "max.message.bytes=1000")
	o := c.output("topic: t", "key: k", "inject_tracing_map: 'meta = @.assign(this)'", "metadata: { include_prefixes: [ trace, mine ] }")
	batch := tracedBatch("a", string(make([]byte, 2000)), "c")
	batch[0].MetaSetMut("mine", "kept")
	failed, err := failures(t, o, batch)
	require.Error(t, err)
	require.Len(t, failed, 1)
	require.Contains(t, failed[1], "size_exceeded: ")

	log := c.Log("t")
	require.Len(t, log, 2)
	require.ElementsMatch(t, []kgo.RecordHeader{{Key: "mine", Value: []byte("kept")}, {Key: "traceparent", Value: []byte(traceparent0)}}, log[0].Headers)
	require.Equal(t, []kgo.RecordHeader{{Key: "traceparent", Value: []byte(traceparent2)}}, log[1].Headers)
	for _, m := range batch {
		_, has := m.MetaGet("traceparent")
		require.False(t, has, "the message is not to change")
	}
}

func TestTraceContextInTheContent(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	o := c.output("topic: t", "inject_tracing_map: 'root.meta.span = this'")
	batch := tracedBatch(`{"meta":{"id":1}}`)
	_, err := batch[0].AsStructured() // parsed, and then shared with the copy
	require.NoError(t, err)
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	require.JSONEq(t, `{"meta":{"id":1,"span":{"traceparent":"`+traceparent0+`"}}}`, string(c.Log("t")[0].Value))
	content, err := batch[0].AsBytes()
	require.NoError(t, err)
	require.JSONEq(t, `{"meta":{"id":1}}`, string(content))
}

func TestTraceContextOfAMappingThatFailsIsLeftOut(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	o := c.output("topic: t", "inject_tracing_map: 'meta = @.merge(this.nothing.not_null())'")
	require.NoError(t, o.WriteBatch(t.Context(), tracedBatch("a", "b")))
	require.Equal(t, once("a", "b"), c.Values("t"))
}

func TestNoTraceContextByDefault(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	o := c.output("topic: t", "metadata: { include_patterns: [ '.*' ] }")
	require.Nil(t, o.traces.wrapped)
	require.NoError(t, o.WriteBatch(t.Context(), tracedBatch("a")))
	require.Empty(t, c.Log("t")[0].Headers)
}
