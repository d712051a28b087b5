package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	numberConst   = regexp.MustCompile(`(?m)^(?:const |\t)(\w+) += \d[\d_]*(?: << \d+)?(?: //.*)?$`)
	durationConst = regexp.MustCompile(`(?m)^(?:const |\t)(\w+) += [^=\n:(]*\btime\.(?:Second|Minute|Hour|Millisecond)\b`)
	testFunc      = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	inCode        = regexp.MustCompile("`([^`]+)`")
)

// numbers.md names each time and number of guard, and tests that are there for it.
func TestEveryNumberHasATest(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, match := range inCode.FindAllStringSubmatch(documents(t)["numbers.md"], -1) {
		listed[match[1]] = true
	}
	tests := map[string]bool{}
	for _, folder := range []string{"guard", "guard/internal/limits", "guard/internal/isolate", "guard/internal/producer", "guard/internal/partition", "guard/internal/broker"} {
		paths, err := filepath.Glob("../" + folder + "/*.go")
		require.NoError(t, err)
		for _, path := range paths {
			text, err := os.ReadFile(filepath.Clean(path))
			require.NoError(t, err)
			if strings.HasSuffix(path, "_test.go") {
				for _, match := range testFunc.FindAllStringSubmatch(string(text), -1) {
					tests[match[1]] = true
				}
				continue
			}
			for _, match := range append(durationConst.FindAllStringSubmatch(string(text), -1), numberConst.FindAllStringSubmatch(string(text), -1)...) {
				require.True(t, listed[match[1]], "%s: the table has no %s", path, match[1])
			}
		}
	}
	for name := range listed {
		if strings.HasPrefix(name, "Test") {
			require.True(t, tests[name], "there is no %s", name)
		}
	}
}
