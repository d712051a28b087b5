package output

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// virtualCluster is a cluster in a synctest bubble, and streams to it.
type virtualCluster struct {
	*kafkafake.Cluster
	network *kafkafake.Network
	refuses atomic.Bool // whether new connections are refused
}

func newVirtualCluster(t *testing.T) *virtualCluster {
	network := &kafkafake.Network{Latency: time.Millisecond}
	return &virtualCluster{Cluster: kafkafake.StartDialect(t, kafkafake.Kafka(), network, kfake.NumBrokers(1)), network: network}
}

// alone is the output without others, in the cluster's environment.
func (c *virtualCluster) alone(lines ...string) string {
	return "virtual:" + streamtest.Indent("seed_brokers: [ '"+c.ListenAddrs()[0]+"' ]\n"+strings.Join(lines, "\n"), 2)
}

// environment adds the output, with the network of the cluster.
func (c *virtualCluster) environment(env *service.Environment) error { return c.register(env, 10) }

func (c *virtualCluster) register(env *service.Environment, inFlight int) error {
	return env.RegisterBatchOutput("virtual", Spec(), func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		o, err := newOutput(conf, mgr)
		if err == nil {
			o.client.dialer.open = c.dial
		}
		return o, service.BatchPolicy{}, inFlight, err
	})
}

func (c *virtualCluster) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.refuses.Load() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return c.network.Dial(ctx, network, address)
}

// stream is a stream of these batches in virtual time: waits pass at once, even on a
// busy machine.
func (c *virtualCluster) stream(batches ...[]string) *streamtest.Stream {
	return &streamtest.Stream{Config: streamtest.Config{Environment: c.environment}, Batches: batches}
}

// run runs a stream of these batches to an output with these lines. It returns the log,
// and the answer to each batch.
func (c *virtualCluster) run(t *testing.T, batches []service.MessageBatch, lines ...string) (log *streamtest.Log, answers func() []error) {
	t.Helper()
	log, ended := &streamtest.Log{}, make(chan error, 1)
	said, next := make([]error, len(batches)), 0
	stream, err := streamtest.Config{
		Log: log,
		Source: func(context.Context) (service.MessageBatch, streamtest.Answer, error) {
			time.Sleep(time.Second) // until the output is connected
			n := next
			if next++; n >= len(batches) {
				return nil, nil, service.ErrEndOfInput
			}
			return batches[n], func(err error, _ []deliverycheck.Answer) { said[n] = err }, nil
		},
		Output:      c.alone(lines...),
		Environment: c.environment,
	}.Build()
	require.NoError(t, err)
	go func() { ended <- stream.Run(context.Background()) }()
	return log, func() []error {
		require.NoError(t, <-ended)
		return said
	}
}

// of is a batch of n messages whose content is their topic.
func of(topic string, n int) (batch service.MessageBatch) {
	for range n {
		batch = append(batch, service.NewMessage([]byte(topic)))
	}
	return batch
}

// said returns the lines about a topic, without their times.
func said(log *streamtest.Log, topic string) (lines []string) {
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, topic) && strings.Contains(line, "essages for topic ") {
			_, line, _ = strings.Cut(line, "msg=")
			line, _, _ = strings.Cut(line, " path=")
			lines = append(lines, line)
		}
	}
	return lines
}

// minutes is the length of the waits in these tests.
const minutes = 3*time.Minute + 10*time.Second

// A line comes once a minute for each topic and cause. It has the number of messages,
// the topic, the cause, and what to do.
func TestTheLogOfMessagesForTopicsThatDoNotExist(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newVirtualCluster(t)
		c.Topic("good", 1)
		var batches []service.MessageBatch
		for range 10 {
			batch := of("good", 20)
			for topic := range 10 {
				batch = append(batch, of(fmt.Sprint("missing-", topic), 2)...)
			}
			batches = append(batches, batch)
		}
		log, answers := c.run(t, batches, "topic: ${! content() }", "allow_auto_topic_creation: false", "dead_letter: { drop: {} }")
		time.Sleep(minutes)
		for topic := range 10 {
			c.Topic(fmt.Sprint("missing-", topic), 1)
		}
		for _, err := range answers() {
			require.NoError(t, err)
		}
		for n := range 10 {
			topic := fmt.Sprint("missing-", n)
			lines := said(log, topic)
			require.Len(t, lines, 5, log.String())
			require.Regexp(t, `^"[0-9]+ messages for topic missing-. are held and tried again until it passes: unknown_topic: topic missing-.: UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition. Create the topic"$`, lines[0])
			for minute, line := range lines[1:4] {
				require.Equal(t, fmt.Sprintf(`"20 messages for topic %[1]s are held, for %[2]dm0s so far, and tried again until it passes: unknown_topic: topic %[1]s: UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition. Create the topic"`, topic, minute+1), line)
			}
			require.Regexp(t, "^\"Messages for topic "+topic+" are no longer held as unknown_topic, after 3m", lines[4])
			require.Len(t, c.Log(topic), 20)
		}
		require.Empty(t, said(log, "good"))
		require.Equal(t, 50, log.Count("essages for topic "), "no other line: "+log.String())
	})
}

// Messages for a thousand missing topics make as many lines as those for twenty.
func TestTheLogOfMessagesForManyTopics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const topics = 1000
		c := newVirtualCluster(t)
		c.Topic("good", 1)
		var batches []service.MessageBatch
		for n := range 10 {
			batch := of("good", 20)
			for topic := range topics / 10 {
				batch = append(batch, of(fmt.Sprint("missing-", n*topics/10+topic), 1)...)
			}
			batches = append(batches, batch)
		}
		log, answers := c.run(t, batches, "topic: ${! content() }", "allow_auto_topic_creation: false", "retry: { max_elapsed_time: 70s }", "max_in_flight: 10", "report_failures: per_message")
		for _, err := range answers() {
			require.ErrorContains(t, err, "unknown_topic: ")
		}
		require.Len(t, c.Log("good"), 200)
		require.NotZero(t, log.Count("messages for further topics wait, or are held"))
		lines := log.Count("msg=")
		t.Logf("RESULT | %d topics that do not exist, for 70 s: %d lines", topics, lines)
		require.Less(t, lines, 6*mostKinds, log.String())
	})
}

func TestTheLogOfMessagesForWhichARightIsMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newVirtualCluster(t)
		c.Topic("orders", 1)
		c.Topic("payments", 1)
		forbidden := c.AddFault(kafkafake.Fault{Topic: "orders", Count: -1, Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed})
		log, answers := c.run(t, []service.MessageBatch{append(of("orders", 10), of("payments", 10)...), of("orders", 10), of("payments", 10)}, "topic: ${! content() }", "dead_letter: { drop: {} }")
		time.Sleep(minutes)
		forbidden.Over()
		for _, err := range answers() {
			require.NoError(t, err)
		}
		lines := said(log, "orders")
		require.Len(t, lines, 5, log.String())
		require.Regexp(t, `^"10 messages for topic orders are held and tried again until it passes: unauthorized: topic orders partition 0: TOPIC_AUTHORIZATION_FAILED: .*\. Grant WRITE on the topic"$`, lines[0])
		for _, line := range lines[1:4] {
			require.Regexp(t, `^"20 messages for topic orders are held, for .m0s so far, and tried again until it passes: unauthorized: topic orders partition 0: TOPIC_AUTHORIZATION_FAILED: .*\. Grant WRITE on the topic"$`, line)
		}
		require.Empty(t, said(log, "payments"))
	})
}

// While brokers are away, the line has the error of the connection.
func TestTheLogOfMessagesWhileNoBrokerAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newVirtualCluster(t)
		c.Topic("t", 1)
		log, answers := c.run(t, []service.MessageBatch{of("t", 10), of("t", 10)}, "topic: ${! content() }", "dead_letter: { drop: {} }")
		c.AddFault(kafkafake.Fault{Do: kafkafake.Swallow})
		time.Sleep(5 * time.Second)
		c.Away(0, true)
		time.Sleep(minutes)
		c.Away(0, false)
		for _, err := range answers() {
			require.NoError(t, err)
		}
		lines := said(log, "t")
		require.Len(t, lines, 5, log.String())
		for _, line := range lines[:4] {
			require.Regexp(t, `^"20 messages for topic t are held, for .* so far, and tried again until it passes: io: read/write on closed pipe"$`, line)
		}
		require.Regexp(t, `^"Messages for topic t no longer wait for brokers to answer, after 3m`, lines[4])
		require.Len(t, c.Log("t"), 20)
	})
}

// A message that is given up has the error of the connection, and the limit that ended
// it.
func TestTheErrorOfMessagesThatAreGivenUp(t *testing.T) {
	t.Parallel()
	every := []kmsg.Key{kmsg.ApiVersions, kmsg.Metadata, kmsg.Produce, kmsg.InitProducerID, kmsg.DescribeConfigs}
	for name, test := range map[string]struct {
		begins func(*virtualCluster)
		want   string
	}{
		"every connection reset": {func(c *virtualCluster) {
			c.AddFault(kafkafake.Fault{Keys: every, Count: -1, Do: kafkafake.DisconnectBefore})
		}, "broker closed the connection immediately after a request was issued"},
		"every dial refused": {func(c *virtualCluster) {
			c.refuses.Store(true)
			c.Away(0, true)
		}, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newVirtualCluster(t)
				c.Topic("t", 1)
				log, answers := c.run(t, []service.MessageBatch{of("t", 10)}, "topic: ${! content() }", "report_failures: per_message", "retry: { max_elapsed_time: 5s }")
				time.Sleep(500 * time.Millisecond)
				test.begins(c)
				for _, err := range answers() {
					require.ErrorContains(t, err, "transient: topic t: given up after retry.max_elapsed_time: ")
					require.ErrorContains(t, err, test.want)
					for _, no := range []string{"client closed", "context canceled", "connection has died"} {
						require.NotContains(t, err.Error(), no)
					}
				}
				require.Equal(t, 1, log.Count("level=ERROR", "given up after retry.max_elapsed_time", test.want), log.String())
			})
		})
	}
}

// While dead_letter fails, our log has at most one line a minute. Benthos logs each
// failed write to it. These lines become rarer from the first second on, however many
// batches wait.
func TestTheLogOfADeadLetterFileThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "letters")
	require.NoError(t, os.Mkdir(folder, 0o700))
	synctest.Test(t, func(t *testing.T) {
		c := newVirtualCluster(t)
		c.Topic("small", 1, "max.message.bytes=1000")
		var batches []service.MessageBatch
		for range 10 {
			batches = append(batches, of(strings.Repeat("x", 2000), 20))
		}
		log, answers := c.run(t, batches, "topic: small", "compression: none", "dead_letter: { file: { path: '"+folder+"/letters.jsonl', codec: lines } }")
		time.Sleep(500 * time.Millisecond) // the output has started, and the first batch has not come yet
		require.NoError(t, os.RemoveAll(folder))
		require.NoError(t, os.WriteFile(folder, nil, 0o600)) // a file in the place of the folder
		failed := func() int { return log.Count("Failed to send message to file") }
		begin, before := time.Now(), 0
		for _, test := range []struct {
			until time.Duration
			most  int
		}{{time.Minute, 30}, {10 * time.Minute, 60}, {30 * time.Minute, 30}} {
			time.Sleep(test.until - time.Since(begin))
			now := failed()
			require.Greater(t, now, before, "it is still tried, until %s", test.until)
			require.LessOrEqual(t, now-before, test.most, "until %s", test.until)
			before = now
		}
		told := log.Count("The output of dead_letter did not take")
		require.Positive(t, told)
		require.LessOrEqual(t, told, 31)

		require.NoError(t, os.Remove(folder))
		require.NoError(t, os.Mkdir(folder, 0o700))
		for _, err := range answers() {
			require.NoError(t, err)
		}
		letters, err := os.ReadFile(filepath.Join(folder, "letters.jsonl"))
		require.NoError(t, err)
		require.Equal(t, 200, strings.Count(string(letters), "\n"))
	})
}
