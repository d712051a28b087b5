//go:build linux || darwin

package integration

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// A broker looks at the last ten seconds: it throttles beyond 10 MB.
func TestThrottlingLosesNothing(t *testing.T) {
	c := oneNode(t)
	c.CreateTopic("throttled", 2, 1, nil)
	const client = "throttled"
	c.SetQuota("", client, 1<<20)
	l := newLedger(t, "quota/1 MB per second")
	l.ordered = true
	var all [][]message
	for b := range 80 {
		var batch []message
		for i := range 20 {
			batch = append(batch, good("throttled", fmt.Sprintf("b%02d-%02d", b, i)).padded(10_000, noise))
		}
		all = append(all, append(batch, good("throttled", fmt.Sprintf("b%02d-huge", b)).padded(2<<20, noise).bad(sizeExceeded)))
	}
	s := startAt(l, defaults(c).with(fields{"client_id": client, "compression": "none"}), batches(all...), slog.LevelDebug)
	s.wait()
	l.check(c, "throttled")
	require.NotZero(t, s.log.Count("broker is throttling us"), "the quota was not felt")
}
