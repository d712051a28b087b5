//go:build linux || darwin

// Package deadletters tests the subcommand dead-letters on real Apache Kafka. It
// sends each record again as it was, loses none when it is killed, and its account
// agrees with the log.
//
//	go test ./integration/deadletters
//	go test ./integration/deadletters -run TestRates -letters 1000000 -v
package deadletters

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

var (
	letters = flag.Int("letters", 40_000, "how many letters to measure with")
	connect = flag.String("connect", "", "the path of kafka-guarded-connect, to compare redrive with its stream")
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

// command returns the program with a subcommand of dead-letters, ready to run.
func command(t *testing.T, c *kafkatest.Cluster, sub string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(onkafka.Program(t), append([]string{"dead-letters", sub, "--brokers", strings.Join(c.Brokers(), ",")}, args...)...)
}

// run runs a command, and returns its output.
func run(t *testing.T, cmd *exec.Cmd) (out string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	t.Logf("%s\n%s%s", strings.Join(cmd.Args[1:], " "), stdout.String(), stderr.String())
	return stdout.String(), cmd.ProcessState.ExitCode()
}

// said returns the number in a line of the account.
func said(t *testing.T, out, name string) (n int) {
	t.Helper()
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			_, err := fmt.Sscan(strings.ReplaceAll(strings.TrimSpace(rest), ",", ""), &n)
			require.NoError(t, err, line)
			return n
		}
	}
	require.Fail(t, "no line "+name, out)
	return 0
}

func header(name, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: name, Value: []byte(value)}
}

// letterFor makes the dead letter of a record, as the output does.
func letterFor(topic string, r *kgo.Record) *kgo.Record {
	l := *r
	l.Headers = append([]kgo.RecordHeader{}, r.Headers...)
	l.Headers = append(l.Headers,
		header("kafka_guarded_class", "size_exceeded"),
		header("kafka_guarded_error", fmt.Sprintf("size_exceeded: topic %s: %d bytes exceed the topic's max.message.bytes (1000)", topic, len(r.Value)+70)),
		header("kafka_guarded_topic", topic), header("kafka_guarded_bytes", fmt.Sprint(len(r.Value)+70)), header("kafka_guarded_limit", "1000"),
		header("kafka_guarded_failed_at", time.Now().UTC().Format(time.RFC3339)),
	)
	if r.Key != nil {
		l.Headers = append(l.Headers, kgo.RecordHeader{Key: "kafka_guarded_key", Value: r.Key})
	}
	return &l
}

// produce writes records to a topic unchanged.
func produce(t *testing.T, c *kafkatest.Cluster, topic string, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(append(c.ClientOpts(""), kgo.ProducerBatchMaxBytes(30<<20), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...)
	require.NoError(t, err)
	defer client.Close()
	for _, r := range records {
		r.Topic = topic
	}
	require.NoError(t, client.ProduceSync(t.Context(), records...).FirstErr())
}

// fill writes n letters of a kilobyte for a topic, in parts that fit into memory.
func fill(t *testing.T, c *kafkatest.Cluster, dead, topic string, n int) {
	t.Helper()
	filler := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 20)
	for from := 0; from < n; from += 10_000 {
		var all []*kgo.Record
		for i := from; i < min(n, from+10_000); i++ {
			all = append(all, letterFor(topic, &kgo.Record{
				Key: fmt.Appendf(nil, "customer-%d", i%1000), Timestamp: time.Now(),
				Value: fmt.Appendf(nil, `{"id":%d,"note":%q}`, i, filler), Headers: []kgo.RecordHeader{header("id", fmt.Sprint(i))},
			}))
		}
		produce(t, c, dead, all...)
	}
}

// length is the number of records in a topic.
func length(t *testing.T, c *kafkatest.Cluster, topic string) (n int) {
	t.Helper()
	ends, err := c.Admin().ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	for _, o := range ends[topic] {
		n += int(o.Offset)
	}
	return n
}
