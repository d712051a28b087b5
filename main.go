package main

import (
	"context"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/twmb/franz-go/pkg/kfake"
	_ "github.com/urfave/cli/v2"

	_ "github.com/kafka-guarded/kafka-guarded/output"
)

func main() { service.RunCLI(context.Background()) }
