package sim

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// knownBreak is a scenario that breaks guard today, and is not mended yet.
type knownBreak struct {
	name string // of its plan in testdata, too
	row  int    // in the list of attacks that found the first breaks, 0 for none
	kind string
	// why says what happens, so that it can be mended.
	why string
	// is reports whether a broken scenario broke in this way, as far as its plan tells.
	is func(p plan, r result) bool
}

// knownBreaks should be empty. When a break is mended, its entry is deleted. Its plan
// stays in testdata and must not break again.
var knownBreaks []knownBreak

// knownTo returns the known break of a scenario that broke, and nil if it is a new one.
func knownTo(p plan, r result) *knownBreak {
	if *flagStrict {
		return nil
	}
	for i := range knownBreaks {
		if knownBreaks[i].is(p, r) {
			return &knownBreaks[i]
		}
	}
	return nil
}

// TestPlansThatOnceBroke runs the plans of testdata. A plan breaks if, and only if,
// knownBreaks has it.
func TestPlansThatOnceBroke(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, b := range knownBreaks {
		require.Contains(t, files, filepath.Join("testdata", b.name+".json"))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := load(t, file)
			known := slices.IndexFunc(knownBreaks, func(b knownBreak) bool { return b.name == name })
			if known < 0 {
				for range 5 {
					r := live(t, p)
					require.Empty(t, r.broken, "%s", r.kind)
				}
				return
			}
			b := knownBreaks[known]
			t.Logf("known break (row %d): %s", b.row, b.why)
			others := map[string]int{}
			for range 40 {
				r := live(t, p)
				if r.kind == b.kind {
					return
				}
				others[r.kind]++
			}
			t.Errorf("it does not break any more: take it off the list of known breaks; it came to %v", others)
		})
	}
}
