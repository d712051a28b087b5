// Command custom-binary is Benthos with the kafka_guarded output and a function
// of its own. Copy this folder, and add what your streams need.
package main

import (
	"context"
	"errors"
	"hash/crc32"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/check"
	"github.com/kafka-guarded/kafka-guarded/output"
)

func init() {
	bloblang.MustRegisterMethodV2("bucket",
		bloblang.NewPluginSpec().Param(bloblang.NewInt64Param("of")),
		func(args *bloblang.ParsedParams) (bloblang.Method, error) {
			of, err := args.GetInt64("of")
			if err != nil {
				return nil, err
			}
			if of < 1 {
				return nil, errors.New("there is at least one bucket")
			}
			return bloblang.StringMethod(func(s string) (any, error) {
				return int64(crc32.ChecksumIEEE([]byte(s))) % of, nil
			}), nil
		})
}

func main() {
	service.RunCLI(context.Background(),
		service.CLIOptSetBinaryName("custom-binary"),
		service.CLIOptOnConfigParse(output.OnConfigParse), // its outputs know their position in the config
		service.CLIOptAddCommand(check.Command()),         // custom-binary check config/stream.yaml
	)
}
