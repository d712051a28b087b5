//go:build linux || darwin

package onkafka

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// Program returns the path of kafka-guarded. The first test of a package under
// integration/ that asks for it builds it.
func Program(t *testing.T) string {
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	return path
}

var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kafka-guarded-")
	if err != nil {
		return "", fmt.Errorf("making a directory for the program: %w", err)
	}
	kafkatest.AtEnd(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "kafka-guarded")
	if out, err := exec.Command("go", "build", "-o", path, "../..").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return path, nil
})
