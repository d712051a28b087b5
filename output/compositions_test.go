package output

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// What a user of a composition gets, in the words of docs/compositions.md.
const (
	// exact: each good message is in the topic once, each bad one is in the
	// dead letters once, and the input has an acknowledgement for all.
	exact = "exact"
	// told: the input hears exactly which messages failed. The rest is exact.
	told = "the input is told of exactly the failed"
	// toldAll: the input hears that whole transactions failed, of which the
	// good messages are delivered: sent again, these are duplicates.
	toldAll = "the input is told that good messages failed, too"
	// forEver: the failed messages, and they alone, are sent again for ever.
	// What comes after them may wait as long, for whoever sends them again begins
	// with them.
	forEver = "exactly the failed are sent again for ever"
	// duplicates: the same, but good messages are sent again along with them.
	duplicates = "duplicates, for ever"
	// mayDuplicate is forEver or duplicates, and told or toldAll, as it comes:
	// reporter takes a batch of a size that an earlier one was reduced to for
	// that one, and does not take it apart.
	mayDuplicate = "duplicates possible"
	// diverted: good messages are in the dead letters as well as in the topic.
	diverted = "good messages are dead-lettered, too"
	// dropped: the failed messages are gone, on purpose. The rest is exact.
	dropped = "exactly the failed are dropped"
	// lost: a message is acknowledged that is nowhere.
	lost = "lost"
)

// composition is a way to put the output into a config: a row of the table.
type composition struct {
	name string
	// wrap puts what belongs around the output around its YAML.
	wrap func(guarded string) string
	// lines are added to the output's own.
	lines []string
	// batches override the default of compositionBatches.
	batches [][]string
	// input is YAML, overriding the default of the plain source.
	input string
	// enough is how many failed writes it takes to see that there is no end
	// to them.
	enough int
	// Without dead_letter, for transactions of one message and of many, when
	// the input sends again what is nacked, and when it does not.
	one, oneTold, many, manyTold string
}

// none is for compositions that do not change the output's YAML.
func none(guarded string) string { return guarded }

// oneInFlight has the failures come from one message, where they are few.
var oneInFlight = []string{"max_in_flight: 1"}

// twoBad has two messages to fail, each with good ones in its transaction: of
// three failures, one is of a message that was sent again.
var twoBad = [][]string{{"m0", big + "1", "m2"}, {"m3", "bad"}, {"m5"}}

// compositions is the table of docs/compositions.md.
var compositions = []composition{
	{
		name: "none", wrap: none, enough: 8,
		one: forEver, oneTold: told, many: forEver, manyTold: told,
	},
	{
		name: "none, with batches of the size that another is reduced to", wrap: none, enough: 12, lines: oneInFlight,
		batches: [][]string{{"m0", big + "1", big + "2"}, {"m3", big + "4"}, {"m5"}},
		one:     forEver, oneTold: told, many: duplicates, manyTold: toldAll,
	},
	{
		name: "fallback", enough: 8,
		wrap: func(g string) string { return "fallback:\n  -" + indent(g, 4) + "  - capture: {}\n" },
		one:  exact, oneTold: exact, many: exact, manyTold: exact,
	},
	{
		name: "switch on fallback_error", enough: 8,
		wrap: func(g string) string {
			return "fallback:\n  -" + indent(g, 4) + `
  - switch:
      cases:
        - check: '@fallback_error.has_prefix("size_exceeded:")'
          output: { capture: {} }
        - output: { capture: {} }
`
		},
		one: exact, oneTold: exact, many: exact, manyTold: exact,
	},
	{
		name: "fallback whose last output fails", enough: 3, lines: oneInFlight, batches: twoBad,
		wrap: func(g string) string { return "fallback:\n  -" + indent(g, 4) + "  - capture_nothing: {}\n" },
		one:  forEver, oneTold: told, many: duplicates, manyTold: toldAll,
	},
	{
		name: "switch", enough: 8,
		wrap: func(g string) string {
			return "switch:\n  cases:\n    - check: 'false'\n      output: { reject: never }\n    - output:" + indent(g, 8)
		},
		one: forEver, oneTold: told, many: forEver, manyTold: told,
	},
	{
		name: "retry", enough: 3, lines: oneInFlight, batches: twoBad,
		wrap: func(g string) string {
			return "retry:\n  backoff: { initial_interval: 1ms, max_interval: 10ms }\n  output:" + indent(g, 4)
		},
		one: forEver, oneTold: forEver, many: duplicates, manyTold: duplicates,
	},
	{
		name: "broker fan-out", enough: 3, lines: oneInFlight, batches: twoBad,
		wrap: func(g string) string { return "broker:\n  outputs:\n    -" + indent(g, 6) + "    - drop: {}\n" },
		one:  forEver, oneTold: forEver, many: duplicates, manyTold: duplicates,
	},
	{
		name: "broker fan_out_fail_fast", enough: 8,
		wrap: func(g string) string {
			return "broker:\n  pattern: fan_out_fail_fast\n  outputs:\n    -" + indent(g, 6) + "    - drop: {}\n"
		},
		one: forEver, oneTold: told, many: forEver, manyTold: told,
	},
	{
		name: "dynamic", enough: 3, lines: oneInFlight, batches: twoBad,
		wrap: func(g string) string { return "dynamic:\n  outputs:\n    only:" + indent(g, 6) },
		one:  forEver, oneTold: forEver, many: duplicates, manyTold: duplicates,
	},
	{
		name: "output-level batching", wrap: none, enough: 12,
		lines: []string{"batching: { count: 3, period: 5ms }"},
		one:   mayDuplicate, oneTold: mayDuplicate, many: duplicates, manyTold: toldAll,
	},
	{
		name: "output-level batching in a fallback", enough: 8,
		lines: []string{"batching: { count: 3, period: 5ms }"},
		wrap:  func(g string) string { return "fallback:\n  -" + indent(g, 4) + "  - capture: {}\n" },
		one:   exact, oneTold: exact, many: diverted, manyTold: diverted,
	},
	{
		name: "upstream batching", wrap: none, enough: 12,
		input: "broker:\n  inputs: [ { source: {} } ]\n  batching: { count: 3, period: 5ms }\n",
		one:   mayDuplicate, oneTold: mayDuplicate, many: duplicates, manyTold: toldAll,
	},
	{
		name: "upstream batching and a fallback", enough: 8,
		input: "broker:\n  inputs: [ { source: {} } ]\n  batching: { count: 3, period: 5ms }\n",
		wrap:  func(g string) string { return "fallback:\n  -" + indent(g, 4) + "  - capture: {}\n" },
		one:   exact, oneTold: exact, many: exact, manyTold: exact,
	},
	{
		name: "drop_on error", enough: 8,
		wrap: func(g string) string { return "drop_on:\n  error: true\n  output:" + indent(g, 4) },
		one:  dropped, oneTold: dropped, many: dropped, manyTold: dropped,
	},
}

// compositionBatches has the good messages, which begin with an m, and the bad
// ones: three too large, and one without a legal topic.
var compositionBatches = [][]string{
	{"m0", big + "1", "m2"}, {"m3", "bad", "m5", big + "6"}, {big + "7"}, {"m8", "m9"},
}

func TestCompositions(t *testing.T) {
	t.Parallel()
	for _, comp := range compositions {
		for _, many := range []bool{false, true} {
			for _, replay := range []bool{true, false} {
				for _, dead := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s, %s, replay %v, dead_letter %v", comp.name, transactions(many), replay, dead), func(t *testing.T) {
						t.Parallel()
						got, detail := comp.run(t, many, replay, dead)
						if want := comp.want(many, replay, dead); want != mayDuplicate {
							require.Equal(t, want, got, detail)
						} else if replay {
							require.Contains(t, []string{forEver, duplicates}, got, detail)
						} else {
							require.Contains(t, []string{told, toldAll}, got, detail)
						}
					})
				}
			}
		}
	}
}

func transactions(many bool) string {
	if many {
		return "n-message transactions"
	}
	return "1-message transactions"
}

// want returns what the table says of a row.
func (comp *composition) want(many, replay, dead bool) string {
	switch {
	case dead:
		return exact
	case many && replay:
		return comp.many
	case many:
		return comp.manyTold
	case replay:
		return comp.one
	}
	return comp.oneTold
}

// run runs a stream in the composition, until it ends or has seen enough, and
// returns what became of its messages.
func (comp *composition) run(t *testing.T, many, replay, dead bool) (got, detail string) {
	c := newCluster(t)
	c.Topic("t", 1, limited)
	batches := comp.batches
	if batches == nil {
		batches = compositionBatches
	}
	if !many {
		var ones [][]string
		for _, b := range batches {
			for _, m := range b {
				ones = append(ones, []string{m})
			}
		}
		batches = ones
	}
	lines := append([]string{topicByContent}, comp.lines...)
	guarded := c.alone(lines...)
	if dead {
		guarded = c.withDeadLetter("capture: {}", lines...)
	}
	s := &composed{stream: stream{t: t, batches: batches, replay: replay}, input: comp.input, enough: comp.enough}
	ended := s.run(t.Context(), comp.wrap(guarded))
	return s.classify(c.Values("t"), ended)
}

// composed is a stream with an input of choice, that is stopped once enough
// writes have failed.
type composed struct {
	stream
	input   string // YAML, of the plain source if empty
	metrics service.MetricsExporter
	enough  int // failed writes, 0 for any number

	failed  int
	indexes map[int]*service.Indexer // by batch, unless nacks are replayed
	stop    context.CancelFunc
}

// run runs the stream, and reports whether it came to its end by itself.
func (s *composed) run(ctx context.Context, outputYAML string) (ended bool) {
	s.t.Helper()
	ctx, s.stop = context.WithTimeout(ctx, 20*time.Second)
	defer s.stop()
	built := s.build(outputYAML)
	err := built.Run(ctx)
	if err == nil {
		return true
	}
	require.ErrorIs(s.t, err, context.Canceled, "neither did the stream end, nor did enough writes fail")
	// A first call with a context that has ended closes all at once, a second
	// one waits until all is closed. But an input that sends again what is
	// nacked may miss the end of its context, and never end (autoretry.List.Shift
	// of Benthos 4.80.0 waits on a condition that is signalled without its lock).
	_ = built.Stop(ctx)
	within, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := built.Stop(within); !s.replay {
		require.NoError(s.t, err)
	}
	return false
}

// build makes the stream, with the source and the output "capture".
func (s *composed) build(outputYAML string) *service.Stream {
	s.t.Helper()
	env := service.NewEnvironment()
	s.acked, s.indexes = map[int]error{}, map[int]*service.Indexer{}
	require.NoError(s.t, env.RegisterBatchInput("source", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
		in := service.BatchInput(&indexedSource{composed: s})
		if s.replay {
			in = service.AutoRetryNacksBatched(in)
		}
		return in, nil
	}))
	for name, out := range map[string]service.BatchOutput{"capture": (*capture)(&s.stream), "capture_nothing": refusing{}} {
		require.NoError(s.t, env.RegisterBatchOutput(name, service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			return out, service.BatchPolicy{}, 1, nil
		}))
	}
	b := env.NewStreamBuilder()
	input := s.input
	if input == "" {
		input = "source: {}"
	}
	require.NoError(s.t, b.AddInputYAML(input))
	require.NoError(s.t, b.AddOutputYAML(outputYAML))
	if s.metrics != nil {
		require.NoError(s.t, env.RegisterMetricsExporter("counted", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) {
			return s.metrics, nil
		}))
		require.NoError(s.t, b.SetMetricsYAML("counted: {}"))
	}
	require.NoError(s.t, b.SetLoggerYAML("level: INFO"))
	b.SetPrintLogger(failureCounter{s})
	built, err := b.Build()
	require.NoError(s.t, err)
	return built
}

// indexedSource is the source of a composed stream. It can tell of which
// messages an acknowledgement speaks.
type indexedSource struct {
	*composed
	next int
}

func (s *indexedSource) Connect(context.Context) error { return nil }
func (s *indexedSource) Close(context.Context) error   { return nil }

func (s *indexedSource) ReadBatch(context.Context) (service.MessageBatch, service.AckFunc, error) {
	if s.next == len(s.batches) {
		return nil, nil, service.ErrEndOfInput
	}
	n := s.next
	s.next++
	batch := batchOf(s.batches[n]...)
	if !s.replay {
		s.mu.Lock()
		s.indexes[n] = batch.Index()
		s.mu.Unlock()
	}
	return batch, func(_ context.Context, err error) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.acked[n] = err
		return nil
	}, nil
}

// refusing is an output that takes nothing, and does not say of which message.
type refusing struct{}

func (refusing) Connect(context.Context) error { return nil }
func (refusing) Close(context.Context) error   { return nil }
func (refusing) WriteBatch(context.Context, service.MessageBatch) error {
	return errors.New("this output takes nothing")
}

// failureCounter counts the writes of the output that fail, by what Benthos
// logs of them, and stops the stream when there were enough.
type failureCounter struct{ *composed }

func (f failureCounter) Printf(format string, v ...any) { f.print(fmt.Sprintf(format, v...)) }
func (f failureCounter) Println(v ...any)               { f.print(fmt.Sprintln(v...)) }
func (f failureCounter) print(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logs.WriteString(text)
	if strings.Contains(text, "Failed to send message to kafka_guarded") {
		if f.failed++; f.failed == f.enough {
			f.stop()
		}
	}
}

// classify says what became of the messages, given what is in the topic, and
// whether the stream came to its end.
func (s *composed) classify(topic map[string]int, ended bool) (got, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dead := map[string]int{}
	for _, d := range s.captured {
		dead[d.content]++
	}
	// What the input was told: nothing, nil, of the message, or of all.
	told1, toldMany := map[string]bool{}, map[string]bool{}
	acked := map[string]bool{}
	for n, batch := range s.batches {
		err, ok := s.acked[n]
		if !ok {
			continue
		}
		failed := s.failedOf(n, err)
		for i, m := range batch {
			switch {
			case failed[i] && isGood(m):
				toldMany[m] = true
			case failed[i]:
				told1[m] = true
			default:
				acked[m] = true
			}
		}
	}
	var missing, twice, both, gone, open, letters int
	for _, batch := range s.batches {
		for _, m := range batch {
			n, d := topic[m], dead[m]
			switch {
			case !isGood(m) && n > 0:
				return "a bad message is in the topic", short(m)
			case d > 1:
				return "a message is dead-lettered twice", short(m)
			}
			if isGood(m) {
				missing += btoi(n == 0 && d == 0)
				twice += btoi(n > 1)
				both += btoi(n > 0 && d > 0)
			} else {
				letters += d
				open += btoi(d == 0 && !acked[m])
				gone += btoi(d == 0 && acked[m])
			}
			if isGood(m) && n+d == 0 && acked[m] {
				return lost, short(m)
			}
		}
	}
	detail = fmt.Sprintf("of the good messages %d are missing, %d are there more than once, %d also dead-lettered; of the bad ones %d are dead-lettered, %d acknowledged all the same, %d open; ended %v\n%s",
		missing, twice, both, letters, gone, open, ended, short(s.logs.String()))
	switch {
	case both > 0:
		return diverted, detail
	case twice > 0 && !ended:
		return duplicates, detail
	case twice > 0:
		return "duplicates", detail
	case missing > 0 && ended:
		return lost, detail
	case gone > 0 && open+letters == 0:
		return dropped, detail
	case gone > 0:
		return lost, detail
	case !ended:
		return forEver, detail
	case len(toldMany) > 0:
		return toldAll, detail
	case len(told1) > 0 && letters == 0:
		return told, detail
	case len(told1) == 0 && open == 0:
		return exact, detail
	}
	return "nothing that has a name", detail
}

// failedOf returns which messages of a batch an acknowledgement is against.
func (s *composed) failedOf(n int, err error) map[int]bool {
	failed := map[int]bool{}
	if err == nil {
		return failed
	}
	var batchErr *service.BatchError
	if errors.As(err, &batchErr) && batchErr.IndexedErrors() > 0 {
		batchErr.WalkMessagesIndexedBy(s.indexes[n], func(i int, _ *service.Message, err error) bool {
			if err != nil {
				failed[i] = true
			}
			return true
		})
		return failed
	}
	for i := range s.batches[n] {
		failed[i] = true
	}
	return failed
}

func isGood(content string) bool { return strings.HasPrefix(content, "m") }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// short cuts the runs of filler out of a text.
func short(text string) string {
	for _, filler := range []string{big, strings.Repeat("B", 100)} {
		text = strings.ReplaceAll(text, filler, "B..")
	}
	return text
}

// The composition drop_on with back_pressure: what takes longer counts as
// dropped, while it is still under way, and whatever becomes of it.
func TestDropOnBackPressureLoses(t *testing.T) {
	t.Parallel()
	for _, dead := range []bool{false, true} {
		t.Run(fmt.Sprintf("dead_letter %v", dead), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1)
			c.RefuseAll("t", kerr.TopicAuthorizationFailed)
			guarded := c.alone("topic: t")
			if dead {
				guarded = c.withDeadLetter("capture: {}", "topic: t")
			}
			s := &composed{stream: stream{t: t, batches: [][]string{{"m0"}, {"m1"}}}}
			require.True(t, s.run(t.Context(), "drop_on:\n  error: true\n  back_pressure: 50ms\n  output:"+indent(guarded, 4)))
			got, detail := s.classify(c.Values("t"), true)
			require.Equal(t, lost, got, detail)
		})
	}
}

// The composition drop_on with error_patterns: one text decides on all that
// failed of a batch, and so drops what failed for another reason.
func TestDropOnErrorPatternsLoses(t *testing.T) {
	t.Parallel()
	for _, dead := range []bool{false, true} {
		t.Run(fmt.Sprintf("dead_letter %v", dead), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1, limited)
			c.RefuseAll("t", kerr.TopicAuthorizationFailed)
			lines := []string{"topic: t", "retry: { initial_interval: 1ms, max_interval: 1ms, max_elapsed_time: 5ms }"}
			if dead {
				lines = append(lines, "dead_letter: { capture: {} }")
			}
			s := &composed{stream: stream{t: t, batches: [][]string{{big + "0", "m1"}}}}
			require.True(t, s.run(t.Context(), "drop_on:\n  error_patterns: [ '^size_exceeded:' ]\n  output:"+indent(c.alone(lines...), 4)))
			got, detail := s.classify(c.Values("t"), true)
			if !dead {
				require.Equal(t, lost, got, detail)
				return
			}
			require.Len(t, s.captured, 1, detail)
			require.ErrorContains(t, s.acked[0], "unauthorized:", "the text of the one that is left")
		})
	}
}

// A dead-letter output that can't be reached must not keep a stream from its end,
// when there is nothing for it.
func TestADeadLetterOutputThatNeverConnectsDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	s := &composed{stream: stream{t: t, batches: [][]string{{"m0"}}}}
	child := "kafka_guarded: { seed_brokers: [ 127.0.0.1:1 ], topic: letters }"
	built := s.build(c.withDeadLetter(child, "topic: t"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, built.Run(ctx), "the stream does not end")
	require.Equal(t, once("m0"), c.Values("t"))
}
