// Command benthos-contexts-by-position shows which messages Benthos takes a
// BatchError to be about after a batched processor has filtered the batch.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

const config = `
input: { generate: { count: 4, batch_size: 4, interval: "", mapping: 'root = counter()' } }
output:
  fallback:
    - picky: {}
      processors: [ { mapping: 'root = if content() == "1" { deleted() }' } ]
    - dead: {}
logger: { level: "NONE" }
`

func main() {
	fmt.Println("of 1, 2, 3 and 4 the mapping filters 1, and the output refuses 3")
	env := service.NewEnvironment()
	err := errors.Join(register(env, "picky", picky), register(env, "dead", dead))
	builder := env.NewStreamBuilder()
	err = errors.Join(err, builder.SetYAML(config))
	if err != nil {
		log.Fatal(err)
	}
	stream, err := builder.Build()
	if err != nil {
		log.Fatal(err)
	}
	if err := stream.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func picky(batch service.MessageBatch) error {
	refused := service.NewBatchError(batch, errors.New("some are refused"))
	for i, m := range batch {
		if content, _ := m.AsBytes(); string(content) == "3" {
			refused = refused.Failed(i, errors.New("3 is refused"))
		} else {
			fmt.Printf("delivered: %s\n", content)
		}
	}
	return refused
}

func dead(batch service.MessageBatch) error {
	for _, m := range batch {
		content, _ := m.AsBytes()
		why, _ := m.MetaGet("fallback_error")
		fmt.Printf("fallback: %s (%s)\n", content, why)
	}
	return nil
}

func register(env *service.Environment, name string, write sink) error {
	return env.RegisterBatchOutput(name, service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		return write, service.BatchPolicy{}, 1, nil
	})
}

type sink func(service.MessageBatch) error

func (sink) Connect(context.Context) error { return nil }
func (sink) Close(context.Context) error   { return nil }

func (s sink) WriteBatch(_ context.Context, batch service.MessageBatch) error { return s(batch) }
