package output

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// drop_on with back_pressure drops a message that takes longer, while it is still being
// written.
func TestDropOnBackPressureLoses(t *testing.T) {
	t.Parallel()
	for _, dead := range []bool{false, true} {
		t.Run(fmt.Sprintf("dead_letter %v", dead), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1)
			c.RefuseAll("t", kerr.TopicAuthorizationFailed)
			guarded := c.alone("topic: t")
			if dead {
				guarded = c.withDeadLetter("capture: {}", "topic: t")
			}
			s := &streamtest.Stream{Batches: [][]string{{"m0"}, {"m1"}}}
			require.True(t, s.Run(t, t.Context(), "drop_on:\n  error: true\n  back_pressure: 50ms\n  output:"+streamtest.Indent(guarded, 4)))
			got, detail := outcome(s, c.Values("t"), true)
			require.Equal(t, lost, got, detail)
		})
	}
}

// drop_on with error_patterns matches one text for all failed messages of a batch. So
// it also drops messages that failed for another reason.
func TestDropOnErrorPatternsLoses(t *testing.T) {
	t.Parallel()
	for _, dead := range []bool{false, true} {
		t.Run(fmt.Sprintf("dead_letter %v", dead), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newVirtualCluster(t)
				c.Topic("t", 1, limited)
				c.RefuseAll("t", kerr.TopicAuthorizationFailed)
				lines := []string{"topic: t", "compression: none", "max_message_bytes: 20000", "retry: { max_elapsed_time: 20s }"}
				if dead {
					lines = append(lines, "dead_letter: { capture: {} }")
				}
				s := c.stream([]string{big + "0", "m1"})
				require.True(t, s.Run(t, t.Context(), "drop_on:\n  error_patterns: [ '^size_exceeded:' ]\n  output:"+streamtest.Indent(c.alone(lines...), 4)))
				got, detail := outcome(s, c.Values("t"), true)
				if !dead {
					require.Equal(t, lost, got, detail)
					return
				}
				require.Len(t, s.Captured(), 1, detail)
				require.ErrorContains(t, s.Acked()[0], "unauthorized:", "the text of the one that is left")
			})
		})
	}
}
