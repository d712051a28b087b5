package streamtest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// Sink is an output that is a function.
type Sink func(context.Context, service.MessageBatch) error

// Connect does nothing.
func (Sink) Connect(context.Context) error { return nil }

// Close does nothing.
func (Sink) Close(context.Context) error { return nil }

// WriteBatch calls the function.
func (s Sink) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	return s(ctx, batch)
}

// Captured is a message that an output took.
type Captured struct {
	Content string
	Meta    map[string]string
}

// Capture reads a batch.
func Capture(batch service.MessageBatch) ([]Captured, error) {
	var all []Captured
	for _, m := range batch {
		content, err := m.AsBytes()
		if err != nil {
			return nil, err
		}
		c := Captured{string(content), map[string]string{}}
		_ = m.MetaWalk(func(k, v string) error {
			c.Meta[k] = v
			return nil
		})
		all = append(all, c)
	}
	return all, nil
}

// Why is the error that the message failed with, if it is a dead letter that
// came out of a fallback or of dead_letter.
func (c Captured) Why() string {
	if text, ok := c.Meta["fallback_error"]; ok {
		return text
	}
	return c.Meta["kafka_guarded_error"]
}

// Log keeps what a stream logs. A client may log after its stream has ended. Its
// zero value is ready to use.
type Log struct {
	OnLine func(line string) // nil for none
	Forget bool              // keep nothing, for streams that run for hours

	mu   sync.Mutex
	text strings.Builder
}

// Write adds a line.
func (l *Log) Write(p []byte) (int, error) {
	if !l.Forget {
		l.mu.Lock()
		l.text.Write(p)
		l.mu.Unlock()
	}
	if l.OnLine != nil {
		l.OnLine(string(p))
	}
	return len(p), nil
}

// String returns all of the log.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Tail returns its last lines.
func (l *Log) Tail() string {
	const most = 30
	lines := strings.Split(l.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// Count returns how many lines of the log have all of the texts in them.
func (l *Log) Count(texts ...string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			n++
		}
	}
	return n
}
