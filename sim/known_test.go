package sim

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// knownBreak is a way in which guard breaks today.
type knownBreak struct {
	name string // of its plan in testdata, too
	row  int    // of the list of attacks that the breaks were first found by, 0 for none
	kind string
	// why says what happens, for the one that mends it.
	why string
	// is reports whether a scenario that broke broke in this way, as far as can be
	// said from its plan.
	is func(p plan, r result) bool
}

// knownBreaks is to become empty. What is mended comes off the list, and its plan
// stays in testdata, where it must not break any more.
var knownBreaks []knownBreak

// knownTo returns the known break that a scenario's is, nil for a new one.
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

// TestPlansThatOnceBroke has the plans in testdata break if, and only if, the list
// says so.
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
