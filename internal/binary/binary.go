// Package binary has what the programs kafka-guarded and kafka-guarded-connect
// have in common.
package binary

import (
	"context"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/urfave/cli/v2"

	"github.com/kafka-guarded/kafka-guarded/output"
)

// Run runs the Benthos command line under a name. linkedVersion and linkedDate are the
// values that the linker set, if any.
func Run(name, linkedVersion, linkedDate string, opts ...service.CLIOptFunc) {
	TuneGC()
	helpWith(examples)
	version, date := Stamps(linkedVersion, linkedDate)
	service.RunCLI(context.Background(), append([]service.CLIOptFunc{
		service.CLIOptSetBinaryName(name),
		service.CLIOptSetProductName("Kafka Guarded"),
		// The help texts add paths of Benthos' own guides to this URL.
		service.CLIOptSetDocumentationURL("https://docs.redpanda.com/redpanda-connect"),
		service.CLIOptSetVersion(version, date),
		service.CLIOptOnConfigParse(output.OnConfigParse),
	}, opts...)...)
}

// examples are the examples of --help. Benthos' own ones use components that are not
// linked.
const examples = `Run a config with a stream, or choose a command:

   {{.Name}} list outputs
   {{.Name}} create stdin//kafka_guarded > ./config.yaml
   {{.Name}} lint ./config.yaml
   {{.Name}} check ./config.yaml
   {{.Name}} run ./config.yaml
   {{.Name}} run -r "./resources/*.yaml" ./config.yaml`

// helpWith puts a description into the help of the program.
func helpWith(description string) {
	cli.AppHelpTemplate = strings.Replace(cli.AppHelpTemplate, `{{template "descriptionTemplate" .}}`, description, 1)
}

// Stamps returns the version of the program, and when it was built or else when its
// source was committed. The linker's values come first, then the toolchain's.
func Stamps(linkedVersion, linkedDate string) (version, date string) {
	version, date = linkedVersion, linkedDate
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if version == "" && info.Main.Version != "(devel)" {
			version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.time" && date == "":
				date = s.Value
			}
		}
	}
	if version == "" {
		version = revision
	}
	if version == "" {
		version = "dev"
	}
	if date == "" {
		date = "unknown"
	}
	return version, date
}

// headroom is how many bytes of garbage more than by Go's default may gather
// before they are collected. docs/performance.md has what it was chosen by.
const headroom = 64 << 20

// TuneGC has the garbage collector run less often while the heap is small, unless
// GOGC or GOMEMLIMIT says otherwise. Each collection empties the pools of request
// buffers in the Kafka client, which then have to grow again; with the few
// megabytes that a stream has in use, Go would collect many times a second.
//
// It costs up to headroom bytes of memory, whatever the size of the heap. That is
// why it is done by memory that is only reserved, and never touched, rather than
// by a percentage of the heap.
func TuneGC() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if reserve.Load() == nil {
		reserve.Store(new([headroom]byte))
	}
}

// reserve is atomic because runs that share a process, as in tests, each call TuneGC.
var reserve atomic.Pointer[[headroom]byte]
