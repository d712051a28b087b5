// Package demo demonstrates kafka_guarded without a Kafka cluster. It starts a broker
// in the process, runs a config against it with the real engine, and then looks for
// each message in the log and in the dead letters.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/kafka-guarded/kafka-guarded/config"
)

// Options say what to demonstrate.
type Options struct {
	// Messages is how many messages the recipe makes.
	Messages int
	// Poison is the share of bad messages, from 0 to 1.
	Poison float64
	// Recipe is one of Recipes. Empty is the first one.
	Recipe string
	// Verbose makes the engine log to stderr.
	Verbose bool
	// Keep leaves the broker up after the report, until the context ends.
	Keep bool
	// Out is where progress and the report go.
	Out io.Writer
}

// Recipes are the names of the recipes: config/example.yaml, with a dead_letter, and
// config/fallback.yaml.
var Recipes = []string{"dead-letter", "fallback"}

// config returns the recipe's config.
func (o Options) config() []byte {
	if o.Recipe == Recipes[1] {
		return config.Fallback
	}
	return config.Example
}

// Validate reports what is wrong with the options. Example calls it.
func (o Options) Validate() error {
	if o.Messages < 1 {
		return fmt.Errorf("messages is %d, it must be at least 1", o.Messages)
	}
	if !(o.Poison >= 0 && o.Poison <= 1) {
		return fmt.Errorf("poison is %v, it must be between 0 and 1", o.Poison)
	}
	if o.Recipe != "" && !slices.Contains(Recipes, o.Recipe) {
		return fmt.Errorf("recipe is %q, there are %s", o.Recipe, strings.Join(Recipes, " and "))
	}
	return nil
}

// errInterrupted means that the context ended before the stream did.
var errInterrupted = errors.New("interrupted")

// Example runs the recipe and accounts for every message. It also returns an error
// if a message has a wrong outcome: the tally has the numbers.
func Example(ctx context.Context, o Options) (Tally, error) {
	if err := o.Validate(); err != nil {
		return Tally{}, err
	}
	b, err := newBroker(exampleTopics...)
	if err != nil {
		return Tally{}, err
	}
	defer b.close()
	dir, err := os.MkdirTemp("", "kafka-guarded-demo-")
	if err != nil {
		return Tally{}, fmt.Errorf("making a directory for dead letters: %w", err)
	}
	defer os.RemoveAll(dir)

	r := recipe{
		config: o.config(),
		env: map[string]string{
			envBrokers:     b.addresses(),
			"DEAD_LETTERS": dir,
			"MESSAGES":     strconv.Itoa(o.Messages),
			"POISON":       strconv.FormatFloat(o.Poison, 'f', -1, 64),
		},
	}
	if o.Verbose {
		r.logs = verbose()
	}
	letters := deadLetterFiles(dir)
	stream, err := r.build()
	if err != nil {
		return Tally{}, fmt.Errorf("building the example: %w", err)
	}
	fmt.Fprintf(o.Out, "%s messages, %s %% of them poison, to a broker at %s\n", comma(o.Messages), humanize.FtoaWithDigits(o.Poison*100, 2), b.addresses())
	p := newProgress(o.Out, o.Messages, o.Verbose, func(ctx context.Context) (int, error) {
		n, err := b.count(ctx)
		return n + letters.count(), err
	})
	took, err := runStream(ctx, stream, p)
	if err != nil {
		return Tally{}, err
	}

	l := newOrders(o.Messages, o.Poison)
	if err := b.each(ctx, l.deliver); err != nil {
		return Tally{}, err
	}
	if err := letters.each(l.deadLetter); err != nil {
		return Tally{}, err
	}
	t := l.tally(o.Poison)
	t.print(o.Out, took)
	if o.Keep {
		keep(ctx, o.Out, b, dir)
	} else {
		printNext(o.Out)
	}
	return t, t.Err()
}

// Own runs a config of the user, and then prints the topics. env is added to the
// environment of the process.
func Own(ctx context.Context, o Options, path string, env map[string]string) error {
	yaml, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the config: %w", err)
	}
	b, err := newBroker()
	if err != nil {
		return err
	}
	defer b.close()
	r := recipe{config: yaml, env: map[string]string{envBrokers: b.addresses()}, logs: troubles()}
	for name, value := range env {
		r.env[name] = value
	}
	if o.Verbose {
		r.logs = verbose()
	}
	stream, err := r.build()
	if err != nil {
		return fmt.Errorf("building %s: %w", path, err)
	}
	fmt.Fprintf(o.Out, "%s, with a broker at %s\n", path, b.addresses())
	_, err = runStream(ctx, stream, newProgress(o.Out, -1, o.Verbose, b.count))
	if err != nil && !errors.Is(err, errInterrupted) {
		return fmt.Errorf("running %s: %w", path, err)
	}
	// A config without an end ends by Ctrl-C. Its records are read all the same.
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := b.printTopics(reading, o.Out); err != nil {
		return err
	}
	if o.Keep && err == nil {
		keep(ctx, o.Out, b, "")
	}
	return nil
}

// keep waits for the context to end.
func keep(ctx context.Context, w io.Writer, b *broker, dir string) {
	fmt.Fprintf(w, "\nThe broker stays at %s until Ctrl-C", b.addresses())
	if dir != "" {
		fmt.Fprintf(w, ", and the dead letters in %s", dir)
	}
	fmt.Fprintln(w, ". For example:")
	if topics, err := b.topics(ctx); err == nil && len(topics) > 0 {
		fmt.Fprintf(w, "  kcat -b %s -t %s -C -e -c 3\n", b.addresses(), topics[0])
	}
	if dir != "" {
		fmt.Fprintf(w, "  cut -c 1-200 %s/*.jsonl\n", dir)
	}
	<-ctx.Done()
}
