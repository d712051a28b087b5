// Command kafka-guarded-connect is Benthos with the kafka_guarded output beside
// the Kafka inputs and outputs of Redpanda Connect, and with its Prometheus
// metrics. It is a module of its own, so that programs that need only the plugin
// don't pay for these.
//
//	cd connect && go run . run config/kafka_to_kafka.yaml
//
// The code of this module is under the Apache License 2.0, but a binary of it is not
// open source: Redpanda Connect's Kafka components link its internal/serviceaccount,
// which is under the Redpanda Community License
// (https://github.com/redpanda-data/connect/blob/main/licenses/rcl.md). So no
// release has this binary. Build it yourself, for use within that licence.
package main

import (
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/io"
	_ "github.com/redpanda-data/connect/v4/public/components/kafka"
	_ "github.com/redpanda-data/connect/v4/public/components/prometheus"

	"github.com/kafka-guarded/kafka-guarded/check"
	_ "github.com/kafka-guarded/kafka-guarded/connect/aws"
	_ "github.com/kafka-guarded/kafka-guarded/connect/otlp"
	"github.com/kafka-guarded/kafka-guarded/deadletters"
	"github.com/kafka-guarded/kafka-guarded/internal/binary"
	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// The linker can set these: -ldflags "-X main.version=v1.2.3". Otherwise the
// toolchain knows.
var version, date string

func main() {
	binary.Run("kafka-guarded-connect", version, date,
		service.CLIOptAddCommand(check.Command()),
		service.CLIOptAddCommand(deadletters.Command()),
	)
}
