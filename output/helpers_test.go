package output

import (
	"context"
	"errors"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// TestMain runs more tests at a time than there are CPUs, since most of them wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	m.Run()
}

// cluster is an in-process broker, and outputs on it.
type cluster struct {
	*kafkafake.Cluster
	t testing.TB
}

func newCluster(t testing.TB, opts ...kfake.Opt) *cluster {
	t.Helper()
	return &cluster{kafkafake.New(t, opts...), t}
}

// raiseWhenWritten raises the limit of a topic once it has so many messages.
func (c *cluster) raiseWhenWritten(topic string, messages int) {
	for {
		there, err := c.Read(c.t.Context(), topic)
		if err == nil && len(there) >= messages {
			_, _ = c.Admin.AlterTopicConfigs(context.Background(), setConfig("max.message.bytes", "1000000"), topic)
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-c.t.Context().Done():
			return
		}
	}
}

// once is the result of Values if each of these is there exactly once.
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

// output makes a connected output from lines of YAML.
func (c *cluster) output(lines ...string) *output {
	c.t.Helper()
	conf, err := Spec().ParseYAML(c.config(append(lines, "report_failures: per_message")...), nil)
	require.NoError(c.t, err)
	o, err := newOutput(conf, conf.Resources())
	require.NoError(c.t, err)
	require.NoError(c.t, o.Connect(c.t.Context()))
	c.t.Cleanup(func() { _ = o.Close(context.Background()) })
	return o
}

// refusal returns the error of making an output.
func refusal(yaml string) error {
	conf, err := Spec().ParseYAML(yaml, nil)
	if err == nil {
		_, err = newOutput(conf, conf.Resources())
	}
	return err
}

// failures writes the batch. It returns the error text of each message that a
// BatchError lists, or an error that lists none.
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

// inFallback is the output in front of "capture".
func (c *cluster) inFallback(lines ...string) string {
	return "fallback:\n  - kafka_guarded:" + streamtest.Indent(c.config(lines...), 6) + "  - capture: {}\n"
}

// alone is the output by itself.
func (c *cluster) alone(lines ...string) string {
	return "kafka_guarded:" + streamtest.Indent(c.config(lines...), 2)
}

// withDeadLetter is the output with "capture" or another as its dead_letter.
func (c *cluster) withDeadLetter(child string, lines ...string) string {
	return c.alone(append(lines, "retry: { initial_interval: 1ms, max_interval: 10ms }", "dead_letter:"+streamtest.Indent(child, 2))...)
}
