package upstream

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// docs/upstream has reports of the faults that these tests show.

// drops is a processor that drops the message a. Faults of processors that work on
// batches, as mapping does, are shown with it.
const drops = `{ mapping: 'root = if content() == "a" { deleted() }' }`

func TestAfterABatchedProcessorABatchErrorNamesOtherMessages(t *testing.T) {
	t.Parallel()
	const mended = "Benthos no longer gives contexts by position after a batched processor: a BatchError may be relied on behind processors, so that report.go and the child outputs of package output need not ask what stands in between, and docs/compositions.md can drop the columns with a filter and with a multiplier"
	var other []string
	p := &pipeline{
		transactions: [][]string{{"a", "b", "c", "d"}},
		write:        func(_ int, b service.MessageBatch) error { return fail(b, "c") },
		other: func(b service.MessageBatch) error {
			other = contents(b)
			return nil
		},
	}
	p.run(t, t.Context(), "fallback: [ { target: {}, processors: [ "+drops+" ] }, { other: {} } ]")
	require.Equal(t, [][]string{{"b", "c", "d"}}, p.calls)
	require.Equal(t, []string{"b"}, other, mended)

	p = &pipeline{replay: true, transactions: [][]string{{"a", "b", "c", "d"}}, write: func(call int, b service.MessageBatch) error {
		if call == 0 {
			return fail(b, "c")
		}
		return nil
	}}
	p.run(t, t.Context(), "target: {}\nprocessors: [ "+drops+" ]")
	require.NoError(t, p.acks[0])
	require.Equal(t, [][]string{{"b", "c", "d"}, {"b"}}, p.calls, mended)
}

// The output does not know which messages failed, and returns an error about the whole
// batch. Benthos lists the wrong messages even so.
func TestBenthosItselfNamesOtherMessagesThanThoseThatFailed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, output string
		fails        func(call int) bool
		sent         []string
		want         [][]string
		lost         string
	}{
		{
			name:   "a processor that makes several batches",
			output: "target: {}\nprocessors: [ { split: { size: 2 } } ]",
			fails:  func(call int) bool { return call == 1 },
			sent:   []string{"b", "c", "d", "e"},
			want:   [][]string{{"b", "c"}, {"d", "e"}, {"b", "c"}},
			lost:   "d and e",
		},
		{
			name:   "a switch behind a filter",
			output: "switch: { cases: [ { check: 'false', output: { other: {} } }, { output: { target: {} } } ] }\nprocessors: [ " + drops + " ]",
			fails:  func(call int) bool { return call == 0 },
			sent:   []string{"a", "b", "c", "d"},
			want:   [][]string{{"b", "c", "d"}, {"b", "c"}},
			lost:   "d",
		},
		{
			name:   "a switch, and the rest of a batch fails again",
			output: "switch: { cases: [ { check: 'content() == \"b\" || content() == \"e\"', output: { target: {} } }, { output: { other: {} } } ] }",
			fails:  func(call int) bool { return call <= 1 },
			sent:   []string{"a", "b", "c", "d", "e", "f"},
			want:   [][]string{{"b", "e"}, {"b", "e"}, {"e"}},
			lost:   "b",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := &pipeline{
				replay: true, transactions: [][]string{test.sent},
				write: func(call int, _ service.MessageBatch) error {
					if test.fails(call) {
						return errors.New("the whole batch failed")
					}
					return nil
				},
				other: func(service.MessageBatch) error { return nil },
			}
			p.run(t, t.Context(), test.output)
			require.NoError(t, p.acks[0])
			require.Equal(t, test.want, p.calls, "Benthos no longer loses "+test.lost+": docs/compositions.md and package errorrouting need not warn of it any more")
		})
	}
}

// A processor fails b and c at first, and b once more.
func TestStrictErrorHandlingLosesMessages(t *testing.T) {
	t.Parallel()
	fails := map[string]int{"b": 2, "c": 1}
	arrived := map[string]int{}
	var mu sync.Mutex
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterProcessor("unlucky", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.Processor, error) {
		return unlucky(func(content string) error {
			mu.Lock()
			defer mu.Unlock()
			if fails[content]--; fails[content] >= 0 {
				return errors.New("bad luck")
			}
			return nil
		}), nil
	}))
	require.NoError(t, env.RegisterBatchOutput("count", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		return sink(func(b service.MessageBatch) error {
			mu.Lock()
			defer mu.Unlock()
			for _, content := range contents(b) {
				arrived[content]++
			}
			return nil
		}), service.BatchPolicy{}, 1, nil
	}))
	builder := env.NewStreamBuilder()
	require.NoError(t, builder.SetYAML(`
error_handling: { strict: true }
input: { generate: { count: 4, batch_size: 4, interval: "", mapping: 'root = ["a", "b", "c", "d"].index(counter() - 1)' } }
pipeline: { processors: [ { unlucky: {} } ] }
output: { count: {} }
logger: { level: NONE }
`))
	stream, err := builder.Build()
	require.NoError(t, err)
	require.NoError(t, stream.Run(t.Context()))
	require.Equal(t, map[string]int{"a": 1, "c": 2, "d": 1}, arrived,
		"Benthos no longer loses messages (b was lost, c sent twice) with error_handling.strict: docs/compositions.md need not warn of it any more")
}

type unlucky func(content string) error

func (unlucky) Close(context.Context) error { return nil }

func (u unlucky) Process(_ context.Context, m *service.Message) (service.MessageBatch, error) {
	content, err := m.AsBytes()
	if err == nil {
		err = u(string(content))
	}
	return service.MessageBatch{m}, err
}

func TestAResourceIsNotToldWhichOutputUsesIt(t *testing.T) {
	t.Parallel()
	var paths [][]string
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterBatchOutput("where", service.NewConfigSpec(), func(_ *service.ParsedConfig, mgr *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		paths = append(paths, mgr.Path())
		return sink(func(service.MessageBatch) error { return errors.New("the next, please") }), service.BatchPolicy{}, 1, nil
	}))
	builder := env.NewStreamBuilder()
	require.NoError(t, builder.SetYAML(`
input: { generate: { count: 1, interval: "", mapping: 'root = "m"' } }
output: { fallback: [ { where: {} }, { resource: shared }, { drop: {} } ] }
output_resources: [ { label: shared, where: {} } ]
logger: { level: NONE }
`))
	stream, err := builder.Build()
	require.NoError(t, err)
	require.NoError(t, stream.Run(t.Context()))
	require.ElementsMatch(t, [][]string{{"output", "fallback", "0"}, {"output_resources"}}, paths,
		"Benthos now tells a resource more of its place: what package output guesses from the path, or has the user say in the config, may be read from it")
}

func TestAStopDoesNotEndWhatAResourceWrites(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		output string
		ends   bool
	}{
		{"stuck: {}", true},
		{"resource: a", false},
	} {
		t.Run(test.output, func(t *testing.T) {
			t.Parallel()
			began, ended := make(chan struct{}), make(chan struct{})
			env := service.NewEnvironment()
			require.NoError(t, env.RegisterBatchOutput("stuck", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
				return stuck(func(ctx context.Context) {
					close(began)
					<-ctx.Done()
					close(ended)
				}), service.BatchPolicy{}, 1, nil
			}))
			builder := env.NewStreamBuilder()
			require.NoError(t, builder.SetYAML(`
input: { generate: { count: 1, interval: "", mapping: 'root = "m"' } }
output: { `+test.output+` }
output_resources: [ { label: a, stuck: {} } ]
logger: { level: NONE }
`))
			stream, err := builder.Build()
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-began
				cancel()
			}()
			require.ErrorIs(t, stream.Run(ctx), context.Canceled)
			_ = stream.Stop(ctx) // has ended: closes all at once
			patience := time.Second
			if test.ends {
				patience = 2 * time.Minute
			}
			within, done := context.WithTimeout(t.Context(), patience)
			defer done()
			err = stream.Stop(within)
			if test.ends {
				<-ended
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "resource 'a' failed to cleanly shutdown", "Benthos now ends what resources write when it is stopped by force: internal/streamtest and package randomstreams need not leave that out")
			select {
			case <-ended:
				require.Fail(t, "the write has ended")
			default:
			}
		})
	}
}

type stuck func(context.Context)

func (stuck) Connect(context.Context) error { return nil }
func (stuck) Close(context.Context) error   { return nil }
func (s stuck) WriteBatch(ctx context.Context, _ service.MessageBatch) error {
	s(ctx)
	return ctx.Err()
}
