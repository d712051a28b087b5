// Command benthos-strict-batches counts what arrives of 200 messages with
// error_handling.strict, when a processor fails three messages of ten, at random.
package main

import (
	"context"
	"fmt"
	"log"
	"sync"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

const config = `
error_handling: { strict: true }
input: { generate: { count: 200, batch_size: 20, interval: "", mapping: 'root = counter()' } }
pipeline:
  processors: [ { mapping: 'root = if random_int(max: 9) < 3 { throw("bad luck") }' } ]
output: { count: {} }
logger: { level: "NONE" }
`

func main() {
	var mu sync.Mutex
	arrived := map[string]int{}
	env := service.NewEnvironment()
	err := env.RegisterBatchOutput("count", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		return sink(func(batch service.MessageBatch) error {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range batch {
				content, err := m.AsBytes()
				if err != nil {
					return err
				}
				arrived[string(content)]++
			}
			return nil
		}), service.BatchPolicy{}, 1, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	builder := env.NewStreamBuilder()
	if err := builder.SetYAML(config); err != nil {
		log.Fatal(err)
	}
	stream, err := builder.Build()
	if err != nil {
		log.Fatal(err)
	}
	if err := stream.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
	twice := 0
	for _, n := range arrived {
		if n > 1 {
			twice++
		}
	}
	fmt.Printf("%d of 200 arrived, %d of them more than once; the stream ended without an error\n", len(arrived), twice)
}

type sink func(service.MessageBatch) error

func (sink) Connect(context.Context) error { return nil }
func (sink) Close(context.Context) error   { return nil }

func (s sink) WriteBatch(_ context.Context, batch service.MessageBatch) error { return s(batch) }
