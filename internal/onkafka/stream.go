//go:build linux || darwin

package onkafka

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// Patience is how long a test waits before it fails. Only a hang takes that long, even
// on a busy machine.
const Patience = 4 * time.Minute

// Fields are those of the kafka_guarded output.
type Fields map[string]any

// Defaults are the fields that streams to the cluster share: topic and key come from
// metadata, and a message without a key has a null key.
func Defaults(c *kafkatest.Cluster) Fields {
	return Fields{
		"seed_brokers":  c.Brokers(),
		"topic":         `${! meta("topic") }`,
		"key":           `${! meta("key").or("") }`,
		"null_key":      `@key == null`,
		"max_in_flight": 1,
	}
}

// Permanently returns the fields with a further class in permanent.
func (f Fields) Permanently(class string) Fields {
	return f.With(Fields{"permanent": []string{SizeExceeded, InvalidRecord, Unroutable, class}})
}

// With returns the fields with others added or replaced.
func (f Fields) With(more Fields) Fields {
	f = maps.Clone(f)
	maps.Copy(f, more)
	return f
}

// DeadLetters gives the output a dead_letter, in place of the fallback around it.
var DeadLetters = Fields{"dead_letter": Fields{"dead_letters": Fields{}}}

// Stream is a running stream with kafka_guarded. An output in a fallback behind it, or
// in its dead_letter, enters dead letters into the checker.
type Stream struct {
	t       *testing.T
	Checker *Checker
	Built   *service.Stream
	Log     *streamtest.Log
	End     context.CancelFunc // of the input
	ended   chan error         // receives the result of Run
	done    bool
}

// Feed returns the next batch of an input, and nil at its end.
type Feed func(ctx context.Context) []Message

// Batches is a feed of these.
func Batches(all ...[]Message) Feed {
	return func(context.Context) []Message {
		if len(all) == 0 {
			return nil
		}
		next := all[0]
		all = all[1:]
		return next
	}
}

// Start starts a stream that ends with the test at the latest.
func Start(l *Checker, f Fields, input Feed) *Stream {
	l.t.Helper()
	return StartAt(l, f, input, slog.LevelInfo)
}

// StartAt starts a stream with a log level.
func StartAt(l *Checker, f Fields, input Feed, level slog.Level) *Stream {
	t := l.t
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	s := &Stream{t: t, Checker: l, Log: &streamtest.Log{}, End: end, ended: make(chan error, 1)}
	out := Fields{"fallback": []any{Fields{"kafka_guarded": f}, Fields{"dead_letters": Fields{}}}}
	if f["dead_letter"] != nil {
		out = Fields{"kafka_guarded": f}
	}
	var err error
	s.Built, err = streamtest.Config{
		Source: func(context.Context) (service.MessageBatch, streamtest.Answer, error) {
			var next []Message
			if ctx.Err() == nil {
				next = input(ctx)
			}
			if next == nil {
				return nil, nil, service.ErrEndOfInput
			}
			return l.send(next), func(_ error, said []deliverycheck.Answer) { l.answer(next, said) }, nil
		},
		Output: InYAML(t, out),
		Sinks:  map[string]streamtest.Sink{"dead_letters": l.takeDeadLetters},
		Log:    s.Log, Level: level,
	}.Build()
	require.NoError(t, err)
	t.Cleanup(func() {
		if !s.done {
			s.End()
			_ = s.Built.StopWithin(time.Minute)
		}
		if t.Failed() {
			t.Logf("the last lines of the log of the stream %s:\n%s", l.Scenario, s.Log.Tail())
		}
	})
	go func() { s.ended <- s.Built.Run(context.Background()) }()
	return s
}

// InYAML writes a config as JSON, which is YAML, too.
func InYAML(t *testing.T, f Fields) string {
	t.Helper()
	b, err := json.Marshal(f)
	require.NoError(t, err)
	return string(b)
}

// Run runs a stream of batches to its end.
func Run(l *Checker, f Fields, all ...[]Message) *Stream {
	l.t.Helper()
	s := Start(l, f, Batches(all...))
	s.Wait()
	return s
}

// Finish ends the input and waits until every batch is acknowledged.
func (s *Stream) Finish() {
	s.t.Helper()
	s.End()
	s.Wait()
}

// Wait waits until the input has ended and every batch is acknowledged.
func (s *Stream) Wait() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		s.done = true
		require.NoError(s.t, err)
	case <-time.After(Patience):
		require.FailNow(s.t, "the stream does not end", "%d batches are done with", s.Checker.Acknowledged())
	}
}

// GoOn waits until so many more batches are acknowledged.
func (s *Stream) GoOn(more int) {
	s.t.Helper()
	want := s.Checker.Acknowledged() + more
	Eventually(s.t, func() bool { return s.Checker.Acknowledged() >= want }, "%s: %d more batches", s.Checker.Scenario, more)
}

// Held waits until the stream has logged so often that it holds messages of a class.
func (s *Stream) Held(class string, times int) {
	s.t.Helper()
	Eventually(s.t, func() bool { return s.Log.Count("are held", class+":") >= times }, "messages to be held as %s", class)
}

// Staleness bounds how long a message may fail by the limits before a change: limits
// that reject are at most a second old.
const Staleness = 1100 * time.Millisecond

// Eventually waits until the condition holds.
func Eventually(t *testing.T, holds func() bool, what string, args ...any) {
	t.Helper()
	require.Eventually(t, holds, Patience, 20*time.Millisecond, "waiting for "+fmt.Sprintf(what, args...))
}
