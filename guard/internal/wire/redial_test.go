package wire

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhoNeverAnswersIsDialedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r redials
		begin, dials := time.Now(), 0
		for ; time.Since(begin) < 10*time.Second; dials++ {
			require.NoError(t, r.wait(t.Context(), "mute:9092"))
			r.note("mute:9092", false)
		}
		require.Less(t, dials, 20)

		time.Sleep(redialMost)
		begin = time.Now()
		require.NoError(t, r.wait(t.Context(), "mute:9092"))
		require.Zero(t, time.Since(begin), "who has waited already does not wait again")
		require.NoError(t, r.wait(t.Context(), "another:9092"))

		over, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, r.wait(over, "mute:9092"), context.Canceled)

		r.note("mute:9092", true)
		begin = time.Now()
		require.NoError(t, r.wait(t.Context(), "mute:9092"))
		require.Zero(t, time.Since(begin), "one answer, and it costs nothing")
	})
}
