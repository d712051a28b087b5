//go:build linux || darwin

package soak

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/internal/binary"
	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// The writer is the process that is measured. It runs the streams. Its source and its
// dead-letter output report to the test.

// writerEnv makes the test binary the writer.
const writerEnv = "KAFKA_GUARDED_SOAK_WRITER"

// setup comes first on the writer's standard input. Commands follow.
type setup struct {
	Brokers        []string
	User, Password string
	Epoch          time.Time
}

type command int

const (
	pause command = iota
	goOn
	finish
)

// event is what the writer reports, on file descriptor 3.
type event struct {
	Load int
	// Answered is set if the output acknowledged Count messages, from number From on.
	// Said has those that are not Done.
	Answered    bool
	From, Count uint64
	Said        map[uint64]deliverycheck.Answer
	Letters     []letter
	Goroutines  int // their number, 0 in other events
	// Ended is set when the stream has ended after From messages. Error says why, if it
	// failed.
	Ended bool
	Error string
}

// letter is a dead letter.
type letter struct {
	Number uint64
	Why    string
	// Intact says whether the letter has the content that was sent.
	Intact bool
}

type writer struct {
	setup setup
	mu    sync.Mutex // for events
	out   *gob.Encoder

	gate   sync.Mutex
	closed chan struct{} // closed while the sources may go on
	done   chan struct{} // closed when the sources must end
}

// beWriter is the main function of the writer.
func beWriter() int {
	binary.TuneGC()
	w := &writer{out: gob.NewEncoder(os.NewFile(3, "events")), closed: make(chan struct{}), done: make(chan struct{})}
	close(w.closed)
	in := gob.NewDecoder(os.Stdin)
	if err := in.Decode(&w.setup); err != nil {
		fmt.Fprintln(os.Stderr, "reading the setup:", err)
		return 1
	}
	go w.obey(in)
	go func() {
		for range time.Tick(time.Second) {
			w.tell(event{Goroutines: runtime.NumGoroutine()})
		}
	}()
	var all sync.WaitGroup
	for _, l := range loads {
		all.Go(func() {
			sent, err := w.run(l)
			end := event{Load: l.Number, Ended: true, From: sent}
			if err != nil {
				end.Error = err.Error()
			}
			w.tell(end)
		})
	}
	all.Wait()
	return 0
}

// obey does the commands. When the test ends, it ends the writer.
func (w *writer) obey(in *gob.Decoder) {
	for {
		var c command
		if in.Decode(&c) != nil {
			os.Exit(1)
		}
		w.gate.Lock()
		switch c {
		case pause:
			w.closed = make(chan struct{})
		case goOn:
			close(w.closed)
		case finish:
			close(w.done)
		}
		w.gate.Unlock()
	}
}

// open waits while the sources are paused, and reports whether they may go on.
func (w *writer) open(ctx context.Context) bool {
	w.gate.Lock()
	gate := w.closed
	w.gate.Unlock()
	select {
	case <-gate:
	case <-w.done:
	case <-ctx.Done():
	}
	select {
	case <-w.done:
		return false
	default:
		return ctx.Err() == nil
	}
}

func (w *writer) tell(e event) {
	w.mu.Lock()
	err := w.out.Encode(e)
	w.mu.Unlock()
	if err != nil {
		os.Exit(1) // the test has ended
	}
}

// run runs the stream of a load to its end, and returns how many messages it had.
func (w *writer) run(l load) (sent uint64, err error) {
	config, err := json.Marshal(map[string]any{"kafka_guarded": w.fields(l)})
	if err != nil {
		return 0, err
	}
	stream, err := streamtest.Config{
		Source: func(ctx context.Context) (service.MessageBatch, streamtest.Answer, error) {
			if !w.open(ctx) {
				return nil, nil, service.ErrEndOfInput
			}
			from := sent
			sent += batchSize
			return w.batch(l, from), func(_ error, said []deliverycheck.Answer) { w.answer(l, from, said) }, nil
		},
		Output: string(config),
		Sinks:  map[string]streamtest.Sink{"dead_letters": func(_ context.Context, b service.MessageBatch) error { return w.takeDeadLetters(l, b) }},
		Log:    &streamtest.Log{Forget: true, OnLine: func(line string) { fmt.Printf("load=%d %s", l.Number, line) }},
		Level:  slog.LevelInfo,
	}.Build()
	if err != nil {
		return 0, err
	}
	err = stream.Run(context.Background())
	return sent, err
}

func (w *writer) fields(l load) map[string]any {
	f := map[string]any{
		"seed_brokers":  w.setup.Brokers,
		"sasl":          []any{map[string]any{"mechanism": "PLAIN", "username": w.setup.User, "password": w.setup.Password}},
		"topic":         `${! meta("topic") }`,
		"key":           `${! meta("key").or("") }`,
		"null_key":      `@key == null`,
		"compression":   l.Codec,
		"max_in_flight": l.InFlight,
		"topic_rules":   map[string]any{"enabled": l.Rules},
		"permanent":     []string{"size_exceeded", "invalid_record", "unroutable", "unknown_topic"},
		"dead_letter":   map[string]any{"dead_letters": map[string]any{}},
		// The source gets the output's errors directly, so it can tell the messages
		// apart.
		"report_failures": "per_message",
		// With the defaults, a fault of seconds would take half a minute to pass.
		"timeout":                  "5s",
		"request_timeout_overhead": "5s",
	}
	if l.Times {
		f["timestamp_ms"] = `${! meta("ts") }`
	}
	return f
}

func (w *writer) batch(l load, from uint64) service.MessageBatch {
	batch := make(service.MessageBatch, batchSize)
	for i := range batch {
		m := l.message(from+uint64(i), w.setup.Epoch)
		value := make([]byte, 0, headSize+len(m.body))
		msg := service.NewMessage(append(append(value, m.head...), m.body...))
		msg.MetaSetMut("topic", m.topic)
		if m.key != "" {
			msg.MetaSetMut("key", m.key)
		}
		if l.Times {
			msg.MetaSetMut("ts", strconv.FormatInt(m.time.UnixMilli(), 10))
		}
		batch[i] = msg
	}
	return batch
}

func (w *writer) answer(l load, from uint64, said []deliverycheck.Answer) {
	e := event{Load: l.Number, Answered: true, From: from, Count: uint64(len(said))}
	for i, word := range said {
		if word != deliverycheck.Done {
			if e.Said == nil {
				e.Said = map[uint64]deliverycheck.Answer{}
			}
			e.Said[from+uint64(i)] = word
		}
	}
	w.tell(e)
}

func (w *writer) takeDeadLetters(l load, batch service.MessageBatch) error {
	captured, err := streamtest.Capture(batch)
	if err != nil {
		return err
	}
	e := event{Load: l.Number}
	for _, c := range captured {
		of, n, ok := numberOf([]byte(c.Content))
		e.Letters = append(e.Letters, letter{Number: n, Why: strings.Clone(c.Why()),
			Intact: ok && of == l.Number && l.message(n, w.setup.Epoch).is([]byte(c.Content))})
	}
	w.tell(e)
	return nil
}
