package config_test

import (
	"os"
	"path/filepath"
	"testing"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	_ "github.com/kafka-guarded/kafka-guarded/output"
)

func TestEveryConfigPassesTheLinter(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.yaml")
	require.NoError(t, err)
	require.Subset(t, files, []string{"example.yaml", "fallback.yaml", "http_gateway.yaml"})
	linter := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter().SetRejectDeprecated(true)
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			yaml, err := os.ReadFile(file)
			require.NoError(t, err)
			lints, err := linter.LintYAML(yaml)
			require.NoError(t, err)
			require.Empty(t, lints)
		})
	}
}
