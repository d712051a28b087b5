package output

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

func TestInFallback(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		path []string
		want bool
	}{
		{[]string{"root", "output"}, false},
		{[]string{"root", "output", "fallback", "0"}, true},
		{[]string{"root", "output", "fallback", "1", "switch", "0", "output"}, true},
		{[]string{"root", "output", "fallback"}, false},
		{[]string{"root", "output", "fallback", "0", "dead_letter"}, false},
		{[]string{"root", "output", "dead_letter", "fallback", "0"}, true},
	} {
		require.Equal(t, test.want, inFallback(test.path), "%v", test.path)
	}
}

// What works and yet loses something is not for the linter to refuse, but for
// the log to say.
func TestTheLogSaysWhatAConfigLosesAtTheStart(t *testing.T) {
	t.Parallel()
	const (
		leader   = "acks is leader: what the leader of a partition has acknowledged is lost if it fails"
		none     = "acks is none: what is handed to the network counts as delivered"
		both     = "The fallback around this output gets the others that failed"
		inexact  = "batching is set in an output of a fallback"
		batching = "batching: { count: 10 }"
		letters  = "dead_letter: { drop: {} }"
	)
	for _, test := range []struct {
		name     string
		fallback bool
		lines    []string
		want     []string
	}{
		{"the default", false, nil, nil},
		{"the default in a fallback", true, nil, nil},
		{"acks leader", false, []string{"acks: leader", "idempotent_write: false"}, []string{leader}},
		{"acks none", true, []string{"acks: none", "idempotent_write: false"}, []string{none}},
		{"dead_letter", false, []string{letters}, nil},
		{"dead_letter in a fallback", true, []string{letters}, []string{both}},
		{"batching", false, []string{batching}, nil},
		{"batching in a fallback", true, []string{batching}, []string{inexact}},
		{"batching and dead_letter in a fallback", true, []string{batching, letters}, []string{both}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			s := &streamtest.Stream{}
			lines := append([]string{"topic: t"}, test.lines...)
			yaml := c.alone(lines...)
			if test.fallback {
				yaml = c.inFallback(lines...)
			}
			require.True(t, s.Run(t, t.Context(), yaml))
			for _, text := range []string{leader, none, both, inexact} {
				said := false
				for _, want := range test.want {
					said = said || want == text
				}
				if said {
					require.Contains(t, s.Log.String(), text)
				} else {
					require.NotContains(t, s.Log.String(), text)
				}
			}
		})
	}
}
