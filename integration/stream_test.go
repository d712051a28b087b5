//go:build linux || darwin

package integration

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

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/ledger"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// patience is how long a test waits for what must happen before it gives up.
const patience = 90 * time.Second

// fields are those of the kafka_guarded output.
type fields map[string]any

// defaults are the fields that streams to the cluster have in common: topic and
// key are what the metadata says, and a message without key has none.
func defaults(c *kafkatest.Cluster) fields {
	return fields{
		"seed_brokers":  c.Brokers(),
		"topic":         `${! meta("topic") }`,
		"key":           `${! meta("key").or("") }`,
		"null_key":      `@key == null`,
		"max_in_flight": 1,
	}
}

// permanently returns the fields with a class that is handed on at once, which
// would be held otherwise.
func (f fields) permanently(class string) fields {
	return f.with(fields{"permanent": []string{sizeExceeded, invalidRecord, unroutable, class}})
}

// with returns the fields with others added or replaced.
func (f fields) with(more fields) fields {
	f = maps.Clone(f)
	maps.Copy(f, more)
	return f
}

// deadLetters has the output hand dead letters over by itself, rather than to
// the fallback that is around it otherwise.
var deadLetters = fields{"dead_letter": fields{"graveyard": fields{}}}

// stream is a running stream: batches, kafka_guarded and, in a fallback behind
// it or in its dead_letter, an output that enters dead letters into the ledger.
type stream struct {
	t      *testing.T
	ledger *account
	built  *service.Stream
	log    *streamtest.Log
	end    context.CancelFunc // of the input
	ended  chan error         // has what Run returned
	done   bool
}

// feed gives the next batch of an input, nil at the end of the input.
type feed func(ctx context.Context) []message

// batches is a feed of these.
func batches(all ...[]message) feed {
	return func(context.Context) []message {
		if len(all) == 0 {
			return nil
		}
		next := all[0]
		all = all[1:]
		return next
	}
}

// start starts a stream. It ends with the test, if not before.
func start(l *account, f fields, input feed) *stream {
	l.t.Helper()
	return startAt(l, f, input, slog.LevelInfo)
}

// startAt starts a stream that logs what is of that level or above.
func startAt(l *account, f fields, input feed, level slog.Level) *stream {
	t := l.t
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	s := &stream{t: t, ledger: l, log: &streamtest.Log{}, end: end, ended: make(chan error, 1)}
	out := fields{"fallback": []any{fields{"kafka_guarded": f}, fields{"graveyard": fields{}}}}
	if f["dead_letter"] != nil {
		out = fields{"kafka_guarded": f}
	}
	var err error
	s.built, err = streamtest.Config{
		Source: func(context.Context) (service.MessageBatch, streamtest.Answer, error) {
			var next []message
			if ctx.Err() == nil {
				next = input(ctx)
			}
			if next == nil {
				return nil, nil, service.ErrEndOfInput
			}
			return l.send(next), func(_ error, said []ledger.Word) { l.answer(next, said) }, nil
		},
		Output: inYAML(t, out),
		Sinks:  map[string]streamtest.Sink{"graveyard": l.bury},
		Log:    s.log, Level: level,
	}.Build()
	require.NoError(t, err)
	t.Cleanup(func() {
		if !s.done {
			s.end()
			_ = s.built.StopWithin(5 * time.Second)
		}
		if t.Failed() {
			t.Logf("the last lines of the log of the stream %s:\n%s", l.scenario, s.log.Tail())
		}
	})
	go func() { s.ended <- s.built.Run(context.Background()) }()
	return s
}

// inYAML writes a config, as JSON, which is YAML as well.
func inYAML(t *testing.T, f fields) string {
	t.Helper()
	b, err := json.Marshal(f)
	require.NoError(t, err)
	return string(b)
}

// run runs a stream of these batches to its end.
func run(l *account, f fields, all ...[]message) *stream {
	l.t.Helper()
	s := start(l, f, batches(all...))
	s.wait()
	return s
}

// finish ends the input and waits until all is done with.
func (s *stream) finish() {
	s.t.Helper()
	s.end()
	s.wait()
}

// wait waits until the input has ended and all is done with.
func (s *stream) wait() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		s.done = true
		require.NoError(s.t, err)
	case <-time.After(patience):
		require.FailNow(s.t, "the stream does not end", "%d batches are done with", s.ledger.acknowledged())
	}
}

// goOn waits until the stream is done with that many more batches.
func (s *stream) goOn(more int) {
	s.t.Helper()
	want := s.ledger.acknowledged() + more
	eventually(s.t, func() bool { return s.ledger.acknowledged() >= want }, "%s: %d more batches", s.ledger.scenario, more)
}

// held waits until the stream has said that often that it holds messages, for a
// failure of that class.
func (s *stream) held(class string, times int) {
	s.t.Helper()
	eventually(s.t, func() bool { return s.log.Count("are held", class+":") >= times }, "messages to be held as %s", class)
}

// staleness is for how long a message may be judged by what the cluster said
// before a change: what condemns is at most a second old.
const staleness = 1100 * time.Millisecond

// eventually waits until the condition holds.
func eventually(t *testing.T, holds func() bool, what string, args ...any) {
	t.Helper()
	require.Eventually(t, holds, patience, 20*time.Millisecond, "waiting for "+fmt.Sprintf(what, args...))
}
