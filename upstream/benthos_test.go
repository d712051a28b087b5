package upstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// pipeline is a stream from the input "source" to an output given in YAML. That
// may use "target", "other" and "batched".
type pipeline struct {
	transactions [][]string
	// replay makes the input resend messages that are nacked.
	replay bool
	// input is YAML. It replaces the plain source.
	input string
	// read is called before each read of a transaction. May be nil.
	read func(n int)
	// write is the output "target". call is the number of calls before. The output
	// "batched" does the same, with batches of 2.
	write func(call int, batch service.MessageBatch) error
	// other is what the output "other" does. May be nil.
	other func(service.MessageBatch) error

	mu    sync.Mutex
	calls [][]string    // contents by call of the target
	acks  map[int]error // by transaction
}

// run runs the stream until it ends, or ctx does.
func (p *pipeline) run(t *testing.T, ctx context.Context, output string) {
	t.Helper()
	env := service.NewEnvironment()
	p.acks = map[int]error{}
	require.NoError(t, env.RegisterBatchInput("source", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
		in := service.BatchInput(&source{p: p})
		if p.replay {
			in = service.AutoRetryNacksBatched(in)
		}
		return in, nil
	}))
	register := func(name string, policy service.BatchPolicy, write func(service.MessageBatch) error) {
		require.NoError(t, env.RegisterBatchOutput(name, service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			return sink(write), policy, 1, nil
		}))
	}
	target := func(b service.MessageBatch) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls = append(p.calls, contents(b))
		return p.write(len(p.calls)-1, b)
	}
	register("target", service.BatchPolicy{}, target)
	register("batched", service.BatchPolicy{Count: 2}, target)
	register("other", service.BatchPolicy{}, func(b service.MessageBatch) error { return p.other(b) })
	builder := env.NewStreamBuilder()
	input := p.input
	if input == "" {
		input = "source: {}"
	}
	require.NoError(t, builder.AddInputYAML(input))
	require.NoError(t, builder.AddOutputYAML(output))
	require.NoError(t, builder.SetLoggerYAML("level: NONE"))
	stream, err := builder.Build()
	require.NoError(t, err)
	if err := stream.Run(ctx); err != nil {
		require.ErrorIs(t, err, context.Canceled)
		// A first call with a context that has ended closes everything at once. A
		// second call waits until everything is closed, which may never be for an input
		// that replays.
		_ = stream.Stop(ctx)
		patience := 2 * time.Minute
		if p.replay {
			patience = 2 * time.Second
		}
		within, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := stream.Stop(within); !p.replay {
			require.NoError(t, err)
		}
	}
}

func contents(b service.MessageBatch) []string {
	var cs []string
	for _, m := range b {
		c, _ := m.AsBytes()
		cs = append(cs, string(c))
	}
	return cs
}

type source struct {
	p    *pipeline
	next int
}

func (s *source) Connect(context.Context) error { return nil }
func (s *source) Close(context.Context) error   { return nil }

func (s *source) ReadBatch(context.Context) (service.MessageBatch, service.AckFunc, error) {
	if s.next == len(s.p.transactions) {
		return nil, nil, service.ErrEndOfInput
	}
	n := s.next
	s.next++
	if s.p.read != nil {
		s.p.read(n)
	}
	var batch service.MessageBatch
	for _, c := range s.p.transactions[n] {
		batch = append(batch, service.NewMessage([]byte(c)))
	}
	return batch, func(_ context.Context, err error) error {
		s.p.mu.Lock()
		defer s.p.mu.Unlock()
		s.p.acks[n] = err
		return nil
	}, nil
}

// sink is an output that is a function.
type sink func(service.MessageBatch) error

func (sink) Connect(context.Context) error { return nil }
func (sink) Close(context.Context) error   { return nil }
func (s sink) WriteBatch(_ context.Context, b service.MessageBatch) error {
	return s(b)
}

// connecting is a sink whose Connect is a function.
type connecting struct {
	sink
	connect func() error
}

func (c connecting) Connect(context.Context) error { return c.connect() }

func connects() error { return nil }

// fail returns a BatchError that lists the messages with one of the contents, and nil
// if there is none.
func fail(b service.MessageBatch, these ...string) error {
	err := service.NewBatchError(b, errors.New("headline"))
	for i, c := range contents(b) {
		if slices.Contains(these, c) {
			err = err.Failed(i, errors.New("own text of "+c))
		}
	}
	if err.IndexedErrors() == 0 {
		return nil
	}
	return err
}

func isBatchError(err error) bool {
	var batchErr *service.BatchError
	return errors.As(err, &batchErr) && batchErr.IndexedErrors() > 0
}

func TestTheSecondPartialNackMixesUpAndLosesMessages(t *testing.T) {
	t.Parallel()
	fails := [][]string{{"b", "c"}, {"b"}} // two fail in the first call, one of them in the next
	p := &pipeline{replay: true, transactions: [][]string{{"a", "b", "c", "d"}}, write: func(call int, b service.MessageBatch) error {
		if call < len(fails) {
			return fail(b, fails[call]...)
		}
		return nil
	}}
	p.run(t, t.Context(), "target: {}")
	require.NoError(t, p.acks[0])
	require.Equal(t, [][]string{{"a", "b", "c", "d"}, {"b", "c"}, {"c"}}, p.calls,
		"Benthos no longer loses messages on the second partial nack (b was lost, c sent twice): output/report.go may report a BatchError whenever a part failed, so that reporter.separable and reporter.reduced can go, and with them the rows \"duplicates possible\" of docs/compositions.md")
}

func TestRetriesStarveReads(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	nacked := make(chan struct{})
	p := &pipeline{replay: true, transactions: [][]string{{"bad 1"}, {"bad 2"}, {"bad 3"}, {"bad 4"}, {"good"}}}
	p.read = func(n int) {
		if n == 4 {
			<-nacked
		}
	}
	p.write = func(call int, b service.MessageBatch) error {
		switch {
		case contents(b)[0] == "good":
			cancel()
			return nil
		case call == 14: // each was nacked three times; from here on there are pauses
			close(nacked)
		case call == 17:
			cancel()
		}
		return errors.New("refused")
	}
	p.run(t, ctx, "target: {}")
	require.GreaterOrEqual(t, len(p.calls), 18)
	require.NotContains(t, p.calls, []string{"good"},
		"Benthos no longer retries nacked messages before it reads new ones: docs/compositions.md need not say any more that a few permanent failures hold up all that comes after them")
}

func TestBatchingByAnInputAcknowledgesWhatWasNeverSent(t *testing.T) {
	t.Parallel()
	// A shutdown by force makes the batcher of an input acknowledge messages that no
	// output got. The acknowledgement does not always get through, so this tries
	// several times.
	for range 30 {
		ctx, cancel := context.WithCancel(t.Context())
		p := &pipeline{
			input:        "broker:\n  inputs: [ { source: {} } ]\n  batching: { count: 2 }\n",
			transactions: [][]string{{"a", "b"}, {"c", "d"}, {"e", "f"}},
		}
		p.read = func(n int) {
			if n == 2 { // the first is at the output, the second in the batcher
				cancel()
			}
		}
		p.write = func(int, service.MessageBatch) error {
			<-ctx.Done()
			return errors.New("shut down")
		}
		p.run(t, ctx, "target: {}")
		cancel()
		if err, ok := p.acks[1]; ok && err == nil && len(p.calls) == 1 {
			return
		}
	}
	t.Fatal("Benthos no longer acknowledges what a shutdown by force finds in the batcher of an input: docs/compositions.md need not warn of it, and newPlan in randomstreams/scenario_test.go may stop such streams by force, too")
}

func TestOutputLevelBatchingMakesABatchErrorPlain(t *testing.T) {
	t.Parallel()
	const mended = "Benthos now tells which messages of a transaction failed behind output-level batching: docs/compositions.md can call that exact without dead_letter, and Spec in output/config.go need not recommend it for that"
	p := &pipeline{transactions: [][]string{{"good", "bad"}}, write: func(_ int, b service.MessageBatch) error { return fail(b, "bad") }}
	p.run(t, t.Context(), "batched: {}")
	require.EqualError(t, p.acks[0], "own text of bad")
	require.False(t, isBatchError(p.acks[0]), mended)

	p = &pipeline{transactions: [][]string{{"good", "bad"}}, write: func(_ int, b service.MessageBatch) error { return fail(b, "bad") }}
	p.run(t, t.Context(), "target: {}")
	require.True(t, isBatchError(p.acks[0]), "without batching the input is told which")

	p = &pipeline{transactions: [][]string{{"good"}, {"bad"}}, write: func(_ int, b service.MessageBatch) error { return fail(b, "bad") }}
	p.run(t, t.Context(), "batched: {}")
	require.NoError(t, p.acks[0], "transactions of one message are told apart")
	require.Error(t, p.acks[1])
}

func TestAFallbackHasTheOuterTextForABatchOfOne(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	p := &pipeline{
		transactions: [][]string{{"one"}, {"two", "good"}},
		write:        func(_ int, b service.MessageBatch) error { return fail(b, "one", "two") },
		other: func(b service.MessageBatch) error {
			for i, c := range contents(b) {
				texts[c], _ = b[i].MetaGet("fallback_error")
			}
			return nil
		},
	}
	p.run(t, t.Context(), "fallback: [ { target: {} }, { other: {} } ]")
	require.Equal(t, map[string]string{"one": "headline", "two": "own text of two"}, texts,
		"Benthos now gives a fallback the message's own text also for a batch of one: reporter.report in output/report.go need not treat len(batch) == 1 apart")
}

func TestAFailingFallbackNacksTheWholeBatch(t *testing.T) {
	t.Parallel()
	p := &pipeline{
		transactions: [][]string{{"good", "bad"}},
		write:        func(_ int, b service.MessageBatch) error { return fail(b, "bad") },
		other:        func(service.MessageBatch) error { return errors.New("down") },
	}
	p.run(t, t.Context(), "fallback: [ { target: {} }, { other: {} } ]")
	require.EqualError(t, p.acks[0], "down")
	require.False(t, isBatchError(p.acks[0]),
		"Benthos now nacks only those messages that the last output of a fallback failed: docs/compositions.md can call a fallback exact also when its last output fails, as dead_letter in output/dead_letter.go is")
}

func TestErrNotConnectedSendsTheWholeBatchAgain(t *testing.T) {
	t.Parallel()
	p := &pipeline{transactions: [][]string{{"good", "bad"}}, write: func(call int, b service.MessageBatch) error {
		if call == 0 {
			return fmt.Errorf("one of two failed: %w", service.ErrNotConnected)
		}
		return nil
	}}
	p.run(t, t.Context(), "target: {}")
	require.NoError(t, p.acks[0])
	require.Equal(t, [][]string{{"good", "bad"}, {"good", "bad"}}, p.calls,
		"Benthos no longer sends the whole batch again for an error that wraps ErrNotConnected: output.WriteBatch in output/kafka_guarded.go may return one after a part was delivered, and so may guard for a lost connection")
}

func TestRetryOutputSendsTheWholePayloadAgain(t *testing.T) {
	t.Parallel()
	p := &pipeline{transactions: [][]string{{"good", "bad"}}, write: func(call int, b service.MessageBatch) error {
		if call == 0 {
			return fail(b, "bad")
		}
		return nil
	}}
	p.run(t, t.Context(), "retry: { backoff: { initial_interval: 1ms }, output: { target: {} } }")
	require.NoError(t, p.acks[0])
	require.Equal(t, [][]string{{"good", "bad"}, {"good", "bad"}}, p.calls,
		"The retry output now sends only the failed messages of a BatchError again, and so do broker and dynamic, which use it: docs/compositions.md can call them free of duplicates without dead_letter")
}

func TestUnserialisableContentReadsAsEmpty(t *testing.T) {
	t.Parallel()
	m := service.NewMessage([]byte("before"))
	m.SetStructuredMut(map[string]any{"f": math.NaN()})
	content, err := m.AsBytes()
	require.True(t, err == nil && len(content) == 0,
		"Message.AsBytes now reports structured content that can't be serialised: recordConfig.fill in output/records.go need not take empty structured content for it (error %v, content %q)", err, content)
}

func TestBloblangQueryValueHasNoMetadata(t *testing.T) {
	t.Parallel()
	mapping, err := bloblang.Parse(`@k == null`)
	require.NoError(t, err)
	batch := service.MessageBatch{service.NewMessage([]byte("m"))}
	for _, query := range []func() (any, error){
		func() (any, error) { return batch.BloblangQueryValue(0, mapping) }, //nolint:staticcheck // deprecated, and still what one finds first
		func() (any, error) { return batch[0].BloblangQueryValue(mapping) },
	} {
		_, err = query()
		require.ErrorContains(t, err, "metadata cannot be queried in this context",
			"BloblangQueryValue can now read metadata: check.isTrue in output/records.go may use it, which makes no message")
	}
	result, err := batch.BloblangExecutor(mapping).Query(0)
	require.NoError(t, err)
	is, err := result.AsStructured()
	require.NoError(t, err)
	require.Equal(t, true, is, "what output/records.go uses instead")
}

// owned returns an output as a plugin gets its child.
func owned(t *testing.T, connect func() error) *service.OwnedOutput {
	t.Helper()
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterBatchOutput("target", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		return connecting{sink(func(service.MessageBatch) error { return nil }), connect}, service.BatchPolicy{}, 1, nil
	}))
	conf, err := service.NewConfigSpec().Field(service.NewOutputField("child")).ParseYAML("child: { target: {} }", env)
	require.NoError(t, err)
	out, err := conf.FieldOutput("child")
	require.NoError(t, err)
	return out
}

func TestAnOwnedOutputThatIsNotPrimedNeverCloses(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, owned(t, connects).Close(ctx), context.DeadlineExceeded,
		"OwnedOutput.Close now returns also when Prime was never called: deadLetters.close in output/dead_letter.go need not look at primed")
}

func TestAnOwnedOutputThatNeverConnectsNeverCloses(t *testing.T) {
	t.Parallel()
	out := owned(t, func() error { return errors.New("refused") })
	require.NoError(t, out.Prime())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, out.Close(ctx), context.DeadlineExceeded,
		"OwnedOutput.Close now ends an output that does not connect: deadLetters.close in output/dead_letter.go need not bound the wait for it")
}

func TestAnOwnedOutputCanBePrimedOnce(t *testing.T) {
	t.Parallel()
	out := owned(t, connects)
	require.NoError(t, out.Prime())
	err := out.Prime()
	require.Error(t, err, "OwnedOutput.Prime can now be called again: deadLetters.open in output/dead_letter.go needs no sync.Once")
	require.ErrorContains(t, err, "already")
	require.NoError(t, out.Close(t.Context()))
}
