package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

func lint(t *testing.T, yaml []byte, rejectDeprecated bool) []string {
	t.Helper()
	lints, err := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter().
		SetSkipEnvVarCheck(true).SetRejectDeprecated(rejectDeprecated).LintYAML(yaml)
	require.NoError(t, err)
	var texts []string
	for _, l := range lints {
		texts = append(texts, l.Error())
	}
	return texts
}

func TestEveryConfigPassesTheLinter(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("config/*.yaml")
	require.NoError(t, err)
	require.Subset(t, files, []string{"config/claim_check.yaml", "config/kafka_to_kafka.yaml", "config/redrive.yaml"})
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			yaml, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Empty(t, lint(t, yaml, true))
		})
	}
}
