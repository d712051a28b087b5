// Command kafka-guarded is Benthos with the kafka_guarded output, with metrics for
// Prometheus, with a check of configs that use the output, and with a demonstration
// of it that needs nothing else. All that it links is open source, which
// tools/licenses checks.
package main

import (
	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/check"
	"github.com/kafka-guarded/kafka-guarded/deadletters"
	"github.com/kafka-guarded/kafka-guarded/demo"
	"github.com/kafka-guarded/kafka-guarded/internal/binary"
	_ "github.com/kafka-guarded/kafka-guarded/output"
	_ "github.com/kafka-guarded/kafka-guarded/prometheus"
)

// The linker can set these: -ldflags "-X main.version=v1.2.3". Otherwise the
// toolchain knows.
var version, date string

func main() {
	binary.Run("kafka-guarded", version, date,
		service.CLIOptAddCommand(demo.Command()),
		service.CLIOptAddCommand(check.Command()),
		service.CLIOptAddCommand(deadletters.Command()),
	)
}
