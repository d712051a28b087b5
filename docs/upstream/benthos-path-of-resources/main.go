// Command benthos-path-of-resources prints what service.Resources.Path tells an
// output that is used by a fallback, as a child and as a resource.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

const config = `
input: { generate: { count: 1, interval: "", mapping: 'root = "m"' } }
output:
  fallback:
    - where: {}
    - resource: shared
    - switch: { cases: [ { check: "false", output: { reject: "no" } }, { output: { where: {} } } ] }
    - drop: {}
output_resources:
  - label: shared
    where: {}
logger: { level: "NONE" }
`

func main() {
	env := service.NewEnvironment()
	err := env.RegisterBatchOutput("where", service.NewConfigSpec(), func(_ *service.ParsedConfig, mgr *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		fmt.Println(strings.Join(mgr.Path(), "."))
		return nothing{}, service.BatchPolicy{}, 1, nil
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

type nothing struct{}

func (nothing) Connect(context.Context) error { return nil }
func (nothing) Close(context.Context) error   { return nil }

func (nothing) WriteBatch(context.Context, service.MessageBatch) error {
	return errors.New("the next, please")
}
