// Command benthos-second-partial-nack shows what an input that replays nacked
// messages sends after the same batch has failed in part twice.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

const config = `
input: { generate: { count: 4, batch_size: 4, interval: "", mapping: 'root = counter()' } }
output: { flaky: {} }
logger: { level: "NONE" }
`

func main() {
	// The first write takes 1 and 4, the second one 3, the third all.
	refuses := [][]string{{"2", "3"}, {"2"}}
	env := service.NewEnvironment()
	err := env.RegisterBatchOutput("flaky", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		return sink(func(batch service.MessageBatch) error {
			var these []string
			if len(refuses) > 0 {
				these, refuses = refuses[0], refuses[1:]
			}
			refused := service.NewBatchError(batch, errors.New("some are refused"))
			var all []string
			for i, m := range batch {
				content, _ := m.AsBytes()
				all = append(all, string(content))
				if slices.Contains(these, string(content)) {
					refused = refused.Failed(i, errors.New("refused"))
				}
			}
			fmt.Printf("write of %v, refused are %v\n", all, these)
			if refused.IndexedErrors() == 0 {
				return nil
			}
			return refused
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
}

type sink func(service.MessageBatch) error

func (sink) Connect(context.Context) error { return nil }
func (sink) Close(context.Context) error   { return nil }

func (s sink) WriteBatch(_ context.Context, batch service.MessageBatch) error { return s(batch) }
