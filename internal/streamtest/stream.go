package streamtest

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
)

// Stream is a stream of batches of short texts, no two of them alike. It has the
// outputs "capture", which keeps what it takes, and "refuse", which takes nothing
// and does not say of which message.
type Stream struct {
	Config  // its Source, Sinks and Log are the stream's own
	Batches [][]string
	// Refuse is asked before "capture" takes a batch, if it is not nil. Of a
	// batch that it returns a BatchError for, the others are taken.
	Refuse func(service.MessageBatch) error
	// Enough is how many lines with EnoughOf, or else FailedWrite, the log may
	// have before the stream is stopped, and 0 for any number.
	Enough   int
	EnoughOf string
	// Hear is called with each line of the log, if it is not nil.
	Hear func(line string)

	mu       sync.Mutex
	acked    map[int]error // by batch
	said     map[int][]deliverycheck.Answer
	captured []Captured
	stopped  bool // enough writes have failed
}

// FailedWrite is what Benthos logs of a write of the output that fails.
const FailedWrite = "Failed to send message to kafka_guarded"

// patience is how long a stream may take to its end, and endPatience how long its
// end may take: so long that only a hang takes longer, however busy the machine.
const (
	patience    = 5 * time.Minute
	endPatience = 2 * time.Minute
)

// Batch makes a batch of messages with these contents.
func Batch(contents ...string) service.MessageBatch {
	var b service.MessageBatch
	for _, c := range contents {
		b = append(b, service.NewMessage([]byte(c)))
	}
	return b
}

// Run runs the stream with an output, and reports whether it came to its end by
// itself: else ctx has ended, or enough writes have failed.
func (s *Stream) Run(t testing.TB, ctx context.Context, outputYAML string) (ended bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	s.Output = outputYAML
	s.acked, s.said = map[int]error{}, map[int][]deliverycheck.Answer{}
	s.Source = s.next()
	s.Sinks = map[string]Sink{"capture": s.take, "refuse": func(context.Context, service.MessageBatch) error {
		return errors.New("this output takes nothing")
	}}
	failed := 0
	s.Log = &Log{OnLine: func(line string) {
		if s.Hear != nil {
			s.Hear(line)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if strings.Contains(line, cmp.Or(s.EnoughOf, FailedWrite)) {
			if failed++; failed == s.Enough {
				s.stopped = true
				stop()
			}
		}
	}}
	built, err := s.Build()
	require.NoError(t, err)
	if err = built.Run(ctx); err == nil {
		return true
	}
	require.ErrorIs(t, err, context.Canceled, "neither did the stream end, nor did enough writes fail")
	// Whose end it is, is known: what is still under way is not waited for. A
	// stream waits for outputs that are resources without forcing them.
	if s.Replay || s.Resources != "" {
		_ = s.Stop(built, true, 100*time.Millisecond)
	} else {
		require.NoError(t, s.Stop(built, true, endPatience))
	}
	return false
}

func (s *Stream) next() Source {
	n := -1
	return func(context.Context) (service.MessageBatch, Answer, error) {
		if n++; n >= len(s.Batches) {
			return nil, nil, service.ErrEndOfInput
		}
		of := n
		return Batch(s.Batches[n]...), func(err error, said []deliverycheck.Answer) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.stopped { // a batcher that is stopped by force acknowledges what it has
				s.acked[of], s.said[of] = err, said
			}
		}, nil
	}
}

// take is the output "capture".
func (s *Stream) take(_ context.Context, batch service.MessageBatch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken, index := batch, batch.Index()
	var err error
	if s.Refuse != nil {
		err = s.Refuse(batch)
	}
	if err != nil {
		taken = nil
		for i, word := range words(len(batch), index, err) {
			if word == deliverycheck.Done {
				taken = append(taken, batch[i])
			}
		}
	}
	letters, captureErr := Capture(taken)
	s.captured = append(s.captured, letters...)
	if captureErr != nil {
		return captureErr
	}
	return err
}

// Acked returns the latest answer to each batch that has one.
func (s *Stream) Acked() map[int]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

// Captured returns what "capture" took, in its order.
func (s *Stream) Captured() []Captured {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.captured
}

// DeadLetters returns why each message that was captured failed, by content.
func (s *Stream) DeadLetters(t testing.TB) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, c := range s.Captured() {
		require.NotContains(t, m, c.Content, "dead-lettered twice")
		m[c.Content] = c.Why()
	}
	return m
}

// Checker accounts for the messages of the stream, given how often each is in the
// topic. messages are what is to become of a content: one message with the ID of
// the content, unless processors make none or several of it.
func (s *Stream) Checker(topic map[string]int, messages func(content string) []deliverycheck.Message) *deliverycheck.Checker {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &deliverycheck.Checker{}
	for n, batch := range s.Batches {
		for i, content := range batch {
			for _, m := range messages(content) {
				l.Send(m)
				said, ok := s.said[n]
				if !ok {
					continue
				}
				l.Hear(m.ID, said[i])
				if said[i] == deliverycheck.Done {
					l.Acknowledge(m.ID)
				}
			}
		}
	}
	for content, n := range topic {
		for range n {
			l.Deliver(content, "", "")
		}
	}
	for _, c := range s.captured {
		l.DeadLetter(c.Content, "", c.Why())
	}
	return l
}
