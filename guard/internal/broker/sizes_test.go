package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// How large requests may be is learned from those that were answered, and from those on which
// the connection ended.
func TestHowLargeRequestsAreMade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sizes{}
		require.Equal(t, 1_000_000, s.limit())
		s.answered(600_000)
		s.answered(500_000)
		require.Equal(t, 1_200_000, s.limit(), "twice what was answered")

		s = &sizes{}
		require.Equal(t, 800_000, s.cut(800_000))
		require.Equal(t, 400_000, s.limit(), "half of what was not")
		require.Equal(t, 900_000, s.cut(900_000))
		require.Equal(t, 400_000, s.limit(), "the smallest counts")
		s.answered(700_000)
		require.Equal(t, 700_000, s.limit(), "what was answered is no more than that")
		require.Zero(t, s.cut(700_000), "which may end for another reason")
		s.answered(799_999)
		require.Equal(t, 799_999, s.limit())
		s.answered(800_000)
		require.Equal(t, 1_600_000, s.limit(), "the broker takes it")

		s = &sizes{}
		require.Zero(t, s.cut(16384))
		require.Equal(t, 1_000_000, s.limit(), "small requests end for another reason")
		require.Equal(t, 16385, s.cut(16385))
		require.Equal(t, 16384, s.limit())

		s = &sizes{}
		s.cut(800_000)
		time.Sleep(30 * time.Second)
		s.cut(800_000)
		time.Sleep(time.Minute)
		s.answered(1)
		require.Equal(t, 400_000, s.limit())
		time.Sleep(time.Nanosecond)
		s.answered(1)
		require.Equal(t, 1_000_000, s.limit(), "it is tried again after a minute")

		n := &Node{}
		n.sizes.cut(800_000)
		require.Equal(t, 400_000-512, n.BatchLimit())
	})
}
