package model

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	messages = flag.Int("messages", 100_000, "about how many messages to send, over all random streams")
	seed     = flag.Uint64("seed", 0, "run only the stream of this seed, 0 for as many random ones as it takes")
)

// failedSeeds are of runs that once went wrong, through us, Benthos, kfake or
// this test. They are always run. A seed decides on everything but the timing, as
// long as newPlan stays as it is: add to its end.
var failedSeeds = []uint64{
	4654727086749381934, 5306085873347825905, 7323508680597143000,
	4132579919435312789, 15143102457435414690, 9298260106054201491,
}

const (
	perRun  = 2000 // messages, about
	workers = 8    // runs at a time: they mostly wait
	runTime = time.Minute
)

// composition puts the output, given as YAML, where it belongs.
type composition struct {
	name  string
	wrap  func(guarded string) string
	lines []string // of the output's own
	input string   // YAML, of the plain source if empty
}

// compositions are those that docs/compositions.md marks as exact with a
// dead_letter.
var compositions = []composition{
	{name: "alone", wrap: func(g string) string { return g }},
	{name: "output-level batching", wrap: func(g string) string { return g }, lines: []string{"batching: { count: 60, period: 2ms }"}},
	{name: "upstream batching", wrap: func(g string) string { return g }, input: "broker:\n  inputs: [ { source: {} } ]\n  batching: { count: 60, period: 2ms }\n"},
	{name: "fallback", wrap: func(g string) string { return "fallback:\n  -" + indent(g, 4) + "  - caught: {}\n" }},
	{name: "retry", wrap: func(g string) string { return "retry:\n  output:" + indent(g, 4) }},
	{name: "switch", wrap: func(g string) string {
		return "switch:\n  cases:\n    - check: 'false'\n      output: { caught: {} }\n    - output:" + indent(g, 8)
	}},
	{name: "broker", wrap: func(g string) string { return "broker:\n  outputs:\n    -" + indent(g, 6) + "    - drop: {}\n" }},
	{name: "dynamic", wrap: func(g string) string { return "dynamic:\n  outputs:\n    only:" + indent(g, 6) }},
	{name: "drop_on", wrap: func(g string) string { return "drop_on:\n  error_patterns: [ nothing ]\n  output:" + indent(g, 4) }},
}

// child is a dead-letter output.
type child struct {
	name  string
	yaml  func(w *world) string
	fails bool // it may fail a part, and its errors come through as they are
	kafka bool // its letters are in the topic "letters"
}

var children = []child{
	{name: "plain", fails: true, yaml: func(*world) string { return "letters: {}" }},
	{name: "switch", fails: true, yaml: func(*world) string {
		return "switch:\n  cases:\n    - check: 'content().length() > 1000'\n      output: { letters: {} }\n    - output: { letters: {} }\n"
	}},
	{name: "batched broker", yaml: func(*world) string {
		return "broker:\n  outputs: [ { letters: {} } ]\n  batching: { count: 10, period: 2ms }\n"
	}},
	{name: "kafka_guarded", kafka: true, yaml: func(w *world) string {
		return "kafka_guarded:" + indent(w.guarded("topic: letters", "metadata: { include_prefixes: [ kafka_guarded_ ] }"), 2)
	}},
}

// guarded is the YAML of the output's fields.
func (w *world) guarded(lines ...string) string {
	budget := "0s"
	if w.budget {
		budget = "5ms"
	}
	return "seed_brokers: [ " + strings.Join(w.cluster.ListenAddrs(), ",") + " ]\ncompression: none\n" +
		"retry: { initial_interval: 1ms, max_interval: 20ms, max_elapsed_time: " + budget + " }\n" + strings.Join(lines, "\n") + "\n"
}

// outputYAML is the output of the world's streams.
func (w *world) outputYAML() string {
	g := "kafka_guarded:" + indent(w.guarded(append([]string{
		`topic: '${! if content().string().has_prefix("illegal") { "a b" } else { "t" } }'`,
		`key: '${! @key }'`,
		fmt.Sprintf("max_in_flight: %d", w.inFlight),
		fmt.Sprintf("topic_rules: { enabled: %v }", w.rules),
		"dead_letter:" + indent(w.child.yaml(w), 2),
	}, w.composition.lines...)...), 2)
	if w.spy {
		g = "spy:\n  on:" + indent(g, 4)
	}
	return w.composition.wrap(g)
}

func indent(yaml string, by int) string {
	pad := "\n" + strings.Repeat(" ", by)
	return pad + strings.ReplaceAll(strings.TrimSpace(yaml), "\n", pad) + "\n"
}

// simulate makes the run of a seed, and returns how many messages it sent.
func simulate(ctx context.Context, seed uint64) (sent int, err error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	p := newPlan(rng, perRun)
	plan := p.String()
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	w, err := newWorld(p, rng)
	if err == nil {
		err = w.run(ctx)
	}
	w.tell()
	if err != nil {
		return len(p.kinds), fmt.Errorf("seed %d (%s): %w\n%s", seed, plan, err, w.tail())
	}
	return len(p.kinds), nil
}

// told sums up what the runs were like.
var told struct {
	sync.Mutex
	delivered, dead, unsure, caught, twice, stops, troubles int
}

// tell adds the run to told.
func (w *world) tell() {
	if w == nil {
		return
	}
	told.Lock()
	defer told.Unlock()
	told.stops += len(w.stops)
	told.troubles += len(w.troubles)
	for _, f := range w.fates {
		told.delivered += min(f.topic, 1)
		told.dead += min(f.dead, 1)
		told.unsure += f.unsure
		told.caught += f.caught
		if f.topic+f.dead > 1 {
			told.twice++
		}
	}
}

// tail is the end of the world's log.
func (w *world) tail() string {
	if w == nil {
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.logs.String()
	return text[max(0, len(text)-3000):]
}

func TestFailedSeeds(t *testing.T) {
	errs := make([]error, len(failedSeeds))
	var wg sync.WaitGroup
	for i, seed := range failedSeeds {
		wg.Go(func() { _, errs[i] = simulate(t.Context(), seed) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

func TestModel(t *testing.T) {
	if *seed != 0 {
		_, err := simulate(t.Context(), *seed)
		require.NoError(t, err)
		return
	}
	var mu sync.Mutex
	var failures []error
	left, runs := *messages, 0
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				stop := left <= 0 || len(failures) >= 3
				mu.Unlock()
				if stop {
					return
				}
				sent, err := simulate(t.Context(), rand.Uint64())
				mu.Lock()
				left -= sent
				runs++
				if err != nil {
					failures = append(failures, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d runs, %d messages, %d shutdowns and %d troubles planned", runs, *messages-left, told.stops, told.troubles)
	t.Logf("%d messages are in the topic, %d in the dead letters, %d anywhere more than once; %d times a message was sent without a word on it, %d times it was passed on",
		told.delivered, told.dead, told.twice, told.unsure, told.caught)
	for _, err := range failures {
		t.Error(err)
	}
}
