// Command kafka-guarded-connect is Benthos with the kafka_guarded output beside
// the Kafka inputs and outputs of Redpanda Connect, and with its Prometheus
// metrics. It is a module of its own, so that those who need only the plugin
// don't pay for these.
//
//	cd connect && go run . run config/kafka_to_kafka.yaml
package main

import (
	"context"
	"runtime/debug"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/io"
	_ "github.com/redpanda-data/connect/v4/public/components/kafka"
	_ "github.com/redpanda-data/connect/v4/public/components/prometheus"

	_ "github.com/kafka-guarded/kafka-guarded/connect/aws"
	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// The linker can set these: -ldflags "-X main.version=v1.2.3". Otherwise the
// toolchain knows.
var version, date string

func main() {
	v, d := stamps()
	service.RunCLI(context.Background(),
		service.CLIOptSetBinaryName("kafka-guarded-connect"),
		service.CLIOptSetProductName("Kafka Guarded"),
		service.CLIOptSetDocumentationURL("https://github.com/kafka-guarded/kafka-guarded"),
		service.CLIOptSetVersion(v, d),
	)
}

// stamps returns the version of the binary and when its source was committed.
func stamps() (v, d string) {
	v, d = version, date
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && v == "":
				v = s.Value
			case s.Key == "vcs.time" && d == "":
				d = s.Value
			}
		}
	}
	if v == "" {
		v = "dev"
	}
	if d == "" {
		d = "unknown"
	}
	return v, d
}
