package deadletters

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// result is the output of a run.
type result struct {
	out, err string
	code     int
	failed   error
}

// runCommand runs dead-letters with arguments.
func runCommand(t *testing.T, args ...string) result {
	t.Helper()
	return runContext(t.Context(), args...)
}

func runContext(ctx context.Context, args ...string) result {
	var out, errs bytes.Buffer
	command := Command()
	withoutHelp(command)
	app := &cli.App{Name: "kafka-guarded", HideHelp: true, HideVersion: true, Writer: &out, ErrWriter: &errs, Commands: []*cli.Command{command}, ExitErrHandler: func(*cli.Context, error) {}}
	err := app.RunContext(ctx, append([]string{"kafka-guarded", "dead-letters"}, args...))
	r := result{out: out.String(), err: errs.String(), failed: err}
	var exit cli.ExitCoder
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		r.code = 1
	}
	return r
}

// withoutHelp removes the flag --help, which all programs of a process share.
func withoutHelp(c *cli.Command) {
	c.HideHelp = true
	for _, sub := range c.Subcommands {
		withoutHelp(sub)
	}
}

// fine requires that the run succeeded.
func (r result) fine(t *testing.T) result {
	t.Helper()
	require.NoError(t, r.failed, "%s\n%s", r.out, r.err)
	return r
}

// header is a header of a record.
func header(name, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: name, Value: []byte(value)}
}

// failedAt is the time of the first letter.
var failedAt = time.Date(2026, 11, 30, 2, 0, 0, 0, time.UTC)

// tooLarge is letter number i for a topic.
func tooLarge(topic string, i int) *kgo.Record {
	return &kgo.Record{
		Key:       []byte(fmt.Sprintf("customer-%d", i)),
		Value:     []byte(fmt.Sprintf(`{"id":%d,"customer":"secret-%d"}`, i, i)),
		Timestamp: failedAt.Add(-time.Hour).Add(time.Duration(i) * time.Millisecond),
		Headers: []kgo.RecordHeader{
			header("trace", fmt.Sprintf("t-%d", i)),
			header(metaClass, "size_exceeded"),
			header(metaError, fmt.Sprintf("size_exceeded: topic %s: %d bytes exceed the topic's max.message.bytes (1048588)", topic, 2_000_000+i)),
			header(metaTopic, topic),
			header(metaKey, fmt.Sprintf("customer-%d", i)),
			header(metaBytes, fmt.Sprint(2_000_000+i)),
			header(metaLimit, "1048588"),
			header(metaFailedAt, failedAt.Add(time.Duration(i)*time.Second).Format(time.RFC3339)),
		},
	}
}

// noKey is a letter without a key.
func noKey(topic string, i int) *kgo.Record {
	r := tooLarge(topic, i)
	r.Key = nil
	r.Headers = []kgo.RecordHeader{
		header(metaClass, "invalid_record"),
		header(metaError, fmt.Sprintf("invalid_record: topic %s partition %d: no key, and the topic is compacted (cleanup.policy)", topic, i%3)),
		header(metaTopic, topic),
		header(metaPartition, fmt.Sprint(i%3)),
		header(metaFailedAt, failedAt.Add(time.Duration(i)*time.Second).Format(time.RFC3339)),
	}
	return r
}

// produce writes records to a topic unchanged.
func produce(t *testing.T, c *kafkafake.Cluster, topic string, records ...*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(append(c.Opts(), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerBatchMaxBytes(100<<20), kgo.BrokerMaxWriteBytes(200<<20))...)
	require.NoError(t, err)
	defer cl.Close()
	for _, r := range records {
		r.Topic = topic
	}
	require.NoError(t, cl.ProduceSync(t.Context(), records...).FirstErr())
}

// file writes lines to a file of the test.
func file(t *testing.T, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return path
}

// packedLine is a record of a topic as a line of a file.
func packedLine(t *testing.T, r *kgo.Record) string {
	t.Helper()
	l := newLetter(place{}, r.Headers, r.Value, time.Time{})
	line, err := pack(l.packed(), r.Value)
	require.NoError(t, err)
	return string(line)
}
