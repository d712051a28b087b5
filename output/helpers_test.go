package output

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// cluster is an in-process broker, and outputs on it.
type cluster struct {
	*kafkafake.Cluster
	t *testing.T
}

func newCluster(t *testing.T, opts ...kfake.Opt) *cluster {
	t.Helper()
	return &cluster{kafkafake.New(t, opts...), t}
}

// once is what Values returns if each of these is there exactly once.
func once(values ...string) map[string]int {
	m := map[string]int{}
	for _, v := range values {
		m[v]++
	}
	return m
}

// config is the YAML of an output on the cluster.
func (c *cluster) config(lines ...string) string {
	return "seed_brokers: [ " + strings.Join(c.ListenAddrs(), ",") + " ]\ncompression: none\n" + strings.Join(lines, "\n") + "\n"
}

// output makes a connected output out of the YAML lines.
func (c *cluster) output(lines ...string) *output {
	c.t.Helper()
	conf, err := Spec().ParseYAML(c.config(lines...), nil)
	require.NoError(c.t, err)
	o, err := newOutput(conf, conf.Resources())
	require.NoError(c.t, err)
	require.NoError(c.t, o.Connect(c.t.Context()))
	c.t.Cleanup(func() { _ = o.Close(context.Background()) })
	return o
}

// refusal returns what an output has against its config.
func refusal(yaml string) error {
	conf, err := Spec().ParseYAML(yaml, nil)
	if err == nil {
		_, err = newOutput(conf, conf.Resources())
	}
	return err
}

func batchOf(contents ...string) service.MessageBatch {
	var b service.MessageBatch
	for _, c := range contents {
		b = append(b, service.NewMessage([]byte(c)))
	}
	return b
}

// failures writes the batch and returns the error text of each message that the
// error says failed. An error that is not about single messages is returned.
func failures(t *testing.T, o *output, batch service.MessageBatch) (map[int]string, error) {
	t.Helper()
	index := batch.Index()
	err := o.WriteBatch(t.Context(), batch)
	if err == nil {
		return nil, nil
	}
	var batchErr *service.BatchError
	if !errors.As(err, &batchErr) {
		return nil, err
	}
	m := map[int]string{}
	batchErr.WalkMessagesIndexedBy(index, func(i int, _ *service.Message, err error) bool {
		if err != nil {
			m[i] = err.Error()
		}
		return true
	})
	return m, err
}

// stream runs a stream from batches to the output given in YAML, in the real
// engine.
type stream struct {
	t       *testing.T
	batches [][]string
	// replay has the input send again what is nacked, as file, csv,
	// kafka_franz and other inputs do by themselves.
	replay bool
	// capture is what the output "capture" is asked before it takes a batch.
	refuse func(service.MessageBatch) error
	// resources is YAML, too.
	resources string

	mu       sync.Mutex
	acked    map[int]error // by batch
	captured []captured
	logs     text
}

// captured is a message that the output "capture" took.
type captured struct {
	content, fallbackError string
	meta                   map[string]string
}

func (s *stream) run(ctx context.Context, outputYAML string) error {
	s.t.Helper()
	env := service.NewEnvironment()
	s.acked = map[int]error{}
	require.NoError(s.t, env.RegisterBatchInput("source", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
		in := service.BatchInput(&source{stream: s})
		if s.replay {
			in = service.AutoRetryNacksBatched(in)
		}
		return in, nil
	}))
	require.NoError(s.t, env.RegisterBatchOutput("capture", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		return (*capture)(s), service.BatchPolicy{}, 1, nil
	}))
	b := env.NewStreamBuilder()
	require.NoError(s.t, b.AddInputYAML("source: {}"))
	if s.resources != "" {
		require.NoError(s.t, b.AddResourcesYAML(s.resources))
	}
	require.NoError(s.t, b.AddOutputYAML(outputYAML))
	require.NoError(s.t, b.SetLoggerYAML("level: INFO"))
	b.SetPrintLogger(printer{s})
	built, err := b.Build()
	require.NoError(s.t, err)
	return built.Run(ctx)
}

// text is written and read at the same time: a client may log after its stream
// has ended.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (t *text) WriteString(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.WriteString(s)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

type printer struct{ *stream }

func (p printer) Printf(format string, v ...any) { p.print(fmt.Sprintf(format, v...)) }
func (p printer) Println(v ...any)               { p.print(fmt.Sprintln(v...)) }
func (p printer) print(line string)              { p.logs.WriteString(line) }

type source struct {
	stream *stream
	next   int
}

func (s *source) Connect(context.Context) error { return nil }
func (s *source) Close(context.Context) error   { return nil }

func (s *source) ReadBatch(context.Context) (service.MessageBatch, service.AckFunc, error) {
	if s.next == len(s.stream.batches) {
		return nil, nil, service.ErrEndOfInput
	}
	n := s.next
	s.next++
	return batchOf(s.stream.batches[n]...), func(_ context.Context, err error) error {
		s.stream.mu.Lock()
		defer s.stream.mu.Unlock()
		s.stream.acked[n] = err
		return nil
	}, nil
}

type capture stream

func (c *capture) Connect(context.Context) error { return nil }
func (c *capture) Close(context.Context) error   { return nil }

func (c *capture) WriteBatch(_ context.Context, batch service.MessageBatch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse != nil {
		if err := c.refuse(batch); err != nil {
			return err
		}
	}
	for _, m := range batch {
		content, err := m.AsBytes()
		if err != nil {
			return err
		}
		text, _ := m.MetaGet("fallback_error")
		meta := map[string]string{}
		_ = m.MetaWalk(func(k, v string) error {
			meta[k] = v
			return nil
		})
		c.captured = append(c.captured, captured{string(content), text, meta})
	}
	return nil
}

// deadLetters returns the fallback_error of what was captured, by content.
func (s *stream) deadLetters() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string]string{}
	for _, d := range s.captured {
		require.NotContains(s.t, m, d.content, "dead-lettered twice")
		m[d.content] = d.fallbackError
	}
	return m
}

func indent(yaml string, by int) string {
	pad := "\n" + strings.Repeat(" ", by)
	return pad + strings.ReplaceAll(strings.TrimSpace(yaml), "\n", pad) + "\n"
}

// inFallback is the output in front of "capture".
func (c *cluster) inFallback(lines ...string) string {
	return "fallback:\n  - kafka_guarded:" + indent(c.config(lines...), 6) + "  - capture: {}\n"
}

// alone is the output by itself.
func (c *cluster) alone(lines ...string) string {
	return "kafka_guarded:" + indent(c.config(lines...), 2)
}

// withDeadLetter is the output with "capture" or another as its dead_letter.
func (c *cluster) withDeadLetter(child string, lines ...string) string {
	return c.alone(append(lines, "retry: { initial_interval: 1ms, max_interval: 10ms }", "dead_letter:"+indent(child, 2))...)
}
