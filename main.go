// Command kafka-guarded is Benthos with the kafka_guarded output, with a check of
// configs that use it, and with a demonstration of it that needs nothing else.
package main

import (
	"context"
	"runtime/debug"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/check"
	"github.com/kafka-guarded/kafka-guarded/demo"
	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// The linker can set these: -ldflags "-X main.version=v1.2.3". Otherwise the
// toolchain knows.
var version, date string

func main() {
	v, d := stamps()
	service.RunCLI(context.Background(),
		service.CLIOptSetBinaryName("kafka-guarded"),
		service.CLIOptSetProductName("Kafka Guarded"),
		service.CLIOptSetDocumentationURL("https://github.com/kafka-guarded/kafka-guarded"),
		service.CLIOptSetVersion(v, d),
		service.CLIOptAddCommand(demo.Command()),
		service.CLIOptAddCommand(check.Command()),
	)
}

// stamps returns the version of the binary and when it was built, or else when
// its source was committed.
func stamps() (v, d string) {
	v, d = version, date
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" && info.Main.Version != "(devel)" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.time":
				if d == "" {
					d = s.Value
				}
			}
		}
	}
	if v == "" {
		v = revision
	}
	if v == "" {
		v = "dev"
	}
	if d == "" {
		d = "unknown"
	}
	return v, d
}
