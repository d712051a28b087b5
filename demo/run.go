package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"

	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// envBrokers is the environment variable from which configs take the brokers.
const envBrokers = "KAFKA_BROKERS"

// stopTimeout is how long a stream that is interrupted may take to end.
const stopTimeout = 5 * time.Second

// recipe is a config and its environment.
type recipe struct {
	config []byte
	env    map[string]string // before the environment of the process
	logs   slog.Handler      // nil for none
}

func (r recipe) build() (*service.Stream, error) {
	asked := false
	b := service.NewStreamBuilder()
	b.SetEnvVarLookupFunc(func(name string) (string, bool) {
		asked = asked || name == envBrokers
		if value, ok := r.env[name]; ok {
			return value, true
		}
		return os.LookupEnv(name)
	})
	if err := b.SetYAML(string(r.config)); err != nil {
		return nil, err
	}
	if !asked {
		return nil, errors.New("the config has no ${" + envBrokers + "}, so it would not reach the broker of the demo")
	}
	logs := r.logs
	if logs == nil {
		logs = slog.DiscardHandler
	}
	b.SetLogger(slog.New(logs))
	return b.Build()
}

// runStream runs the stream to its end and returns how long it took. If the
// context ends before, it stops the stream and returns errInterrupted.
func runStream(ctx context.Context, stream *service.Stream, p *progress) (time.Duration, error) {
	stop := p.start(ctx)
	defer stop()
	begin := time.Now()
	err := stream.Run(ctx)
	if ctx.Err() == nil {
		return time.Since(begin), err
	}
	if err := stream.StopWithin(stopTimeout); err != nil {
		return 0, fmt.Errorf("stopping the stream: %w", err)
	}
	return 0, errInterrupted
}

// verbose logs at the default level of the engine.
func verbose() slog.Handler { return slog.NewTextHandler(os.Stderr, nil) }

// troubles logs errors alone.
func troubles() slog.Handler {
	return slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})
}
