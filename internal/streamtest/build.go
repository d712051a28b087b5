// Package streamtest runs streams of the real Benthos engine between a source and
// outputs of the test's own. Package deliverycheck checks their messages.
package streamtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// Config is what a stream is made of.
type Config struct {
	Source Source // of the input "source"
	// Replay has the input "source" send again what is nacked, as file, csv,
	// kafka_franz and other inputs do by themselves.
	Replay bool

	Input      string   // YAML, "source: {}" if empty
	Processors []string // YAML, each
	Output     string   // YAML
	Resources  string   // YAML, none if empty

	Sinks   map[string]Sink // outputs by their names
	Spy     Spy             // of the output "spy"; nil for no such output
	Metrics service.MetricsExporter
	Log     *Log       // nil for none
	Level   slog.Level // of the log

	// Environment adds what else the stream is to know, if it is not nil.
	Environment func(*service.Environment) error
}

// Build makes the stream. Outputs that are registered globally are there as well.
func (c Config) Build() (*service.Stream, error) {
	env := service.NewEnvironment()
	if err := c.register(env); err != nil {
		return nil, err
	}
	input := c.Input
	if input == "" {
		input = "source: {}"
	}
	b := env.NewStreamBuilder()
	add := func(with func(string) error, yaml string) error {
		if err := with(yaml); err != nil {
			return fmt.Errorf("%w in\n%s", err, yaml)
		}
		return nil
	}
	if err := errors.Join(add(b.AddInputYAML, input), add(b.AddOutputYAML, c.Output)); err != nil {
		return nil, err
	}
	for _, processor := range c.Processors {
		if err := add(b.AddProcessorYAML, processor); err != nil {
			return nil, err
		}
	}
	if c.Resources != "" {
		if err := add(b.AddResourcesYAML, c.Resources); err != nil {
			return nil, err
		}
	}
	if c.Metrics != nil {
		if err := b.SetMetricsYAML("exporter: {}"); err != nil {
			return nil, err
		}
	}
	handler := slog.DiscardHandler
	if c.Log != nil {
		handler = slog.NewTextHandler(c.Log, &slog.HandlerOptions{Level: c.Level})
	}
	b.SetLogger(slog.New(handler))
	return b.Build()
}

func (c Config) register(env *service.Environment) error {
	none := service.NewConfigSpec()
	if err := env.RegisterBatchInput("source", none, func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
		if c.Replay {
			return service.AutoRetryNacksBatched(&input{source: c.Source}), nil
		}
		return &input{source: c.Source, indexed: true}, nil
	}); err != nil {
		return err
	}
	for name, sink := range c.Sinks {
		if err := env.RegisterBatchOutput(name, none, func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			return sink, service.BatchPolicy{}, 1, nil
		}); err != nil {
			return err
		}
	}
	if c.Spy != nil {
		if err := c.Spy.register(env); err != nil {
			return err
		}
	}
	if c.Metrics != nil {
		if err := env.RegisterMetricsExporter("exporter", none, func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) {
			return c.Metrics, nil
		}); err != nil {
			return err
		}
	}
	if c.Environment != nil {
		return c.Environment(env)
	}
	return nil
}

// Stop stops a stream whose Run has returned for the end of its context, and
// waits for its end. With force it closes all at once, whatever is under way.
//
// An input that sends again what is nacked may miss the end of its context, and
// never end (autoretry.List.Shift of Benthos 4.80.0 waits on a condition that is
// signalled without its lock). The output has ended when patience is at its end,
// and all is well.
func (c Config) Stop(stream *service.Stream, force bool, patience time.Duration) error {
	if force {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = stream.Stop(ended)
	}
	within, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := stream.Stop(within); err != nil && !c.Replay {
		return fmt.Errorf("the stream does not stop (force %v): %w", force, err)
	}
	return nil
}

// Indent begins a new line, and indents the YAML by so many spaces, for it to be
// the value of what comes before it.
func Indent(yaml string, by int) string {
	pad := "\n" + strings.Repeat(" ", by)
	return pad + strings.ReplaceAll(strings.TrimSpace(yaml), "\n", pad) + "\n"
}
