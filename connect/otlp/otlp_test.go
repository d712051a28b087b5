package otlp_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	_ "github.com/kafka-guarded/kafka-guarded/connect/otlp"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// spans is a collector. It keeps the trace of each span, by the span's name, and the
// names of their services.
type spans struct {
	mu       sync.Mutex
	traces   map[string]map[string]bool
	services map[string]bool
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "no spans", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, attribute := range resource.Resource.Attributes {
			if attribute.Key == "service.name" {
				s.services[attribute.Value.GetStringValue()] = true
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				if s.traces[span.Name] == nil {
					s.traces[span.Name] = map[string]bool{}
				}
				s.traces[span.Name][hex.EncodeToString(span.TraceId)] = true
			}
		}
	}
}

func TestTracesOfRecordsAreThoseOfTheirSpans(t *testing.T) {
	t.Parallel()
	spans := &spans{traces: map[string]map[string]bool{}, services: map[string]bool{}}
	server := httptest.NewServer(spans)
	t.Cleanup(server.Close)
	kafka := kafkafake.New(t)
	kafka.Topic("t", 1)

	builder := service.NewStreamBuilder()
	require.NoError(t, builder.SetYAML(fmt.Sprintf(`
input: { generate: { count: 3, interval: "", mapping: 'root = "content"' } }
output:
  kafka_guarded:
    seed_brokers: [ %s ]
    topic: t
    inject_tracing_map: 'meta = @.assign(this)'
    metadata: { include_patterns: [ traceparent ] }
tracer:
  open_telemetry_collector:
    service: ours
    http: [ { address: %s } ]
logger: { level: none }
`, strings.Join(kafka.ListenAddrs(), ","), strings.TrimPrefix(server.URL, "http://"))))
	stream, err := builder.Build()
	require.NoError(t, err)
	require.NoError(t, stream.Run(t.Context())) // all spans are sent when it ends

	spans.mu.Lock()
	defer spans.mu.Unlock()
	require.Equal(t, map[string]bool{"ours": true}, spans.services)
	log := kafka.Log("t")
	require.Len(t, log, 3)
	for _, record := range log {
		require.Len(t, record.Headers, 1)
		parts := strings.Split(string(record.Headers[0].Value), "-")
		require.Len(t, parts, 4)
		require.Contains(t, spans.traces["output_kafka_guarded"], parts[1], "%v", spans.traces)
	}
}

func TestSamplingIsChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ sampling, want string }{
		{"{ enabled: true }", "set sampling.ratio"},
		{"{ enabled: true, ratio: 2 }", "sampling.ratio is 2"},
	} {
		builder := service.NewStreamBuilder()
		require.NoError(t, builder.SetYAML(`
input: { generate: { count: 1, mapping: 'root = "content"' } }
output: { drop: {} }
tracer: { open_telemetry_collector: { http: [], sampling: `+test.sampling+` } }
logger: { level: none }
`))
		stream, err := builder.Build()
		if err == nil {
			err = stream.Run(t.Context())
		}
		require.ErrorContains(t, err, test.want)
	}
}
