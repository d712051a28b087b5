package check

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFindingsInATerminal(t *testing.T) {
	var all findings
	all.add(fine, "a")
	all.add(failing, "b")
	all.add(failing, "c")
	var out strings.Builder
	p := newPrinter(&out)
	p.outputs = 2
	require.False(t, p.colored, "it is no terminal")
	p.findings(all)
	p.sum()
	require.Equal(t, "  ok    a\n  fail  b\n  fail  c\n2 outputs: 1 ok, 2 fail\n", out.String())

	out.Reset()
	p = newPrinter(&out)
	p.colored = true
	p.findings(all[:2])
	require.Equal(t, "  \x1b[32mok  \x1b[0m  a\n  \x1b[31mfail\x1b[0m  b\n", out.String())

	file, err := os.Create(t.TempDir() + "/out")
	require.NoError(t, err)
	defer file.Close()
	require.False(t, newPrinter(file).colored, "a file is no terminal")
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	require.True(t, takesColors())
	t.Setenv("NO_COLOR", "1")
	require.False(t, takesColors())
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	require.False(t, takesColors())
}
