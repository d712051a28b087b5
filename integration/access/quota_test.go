//go:build linux || darwin

package access

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// A broker measures the rate over ten seconds. So it throttles after 2 MB, which even a
// busy machine sends within ten seconds.
func TestThrottlingLosesNothing(t *testing.T) {
	t.Parallel()
	c := onkafka.OneNode(t)
	c.CreateTopic("throttled", 2, 1, nil)
	const client = "throttled"
	c.SetQuota("", client, 200_000)
	l := onkafka.NewChecker(t, "quota/200 kB per second")
	l.Ordered = true
	var all [][]onkafka.Message
	for b := range 20 {
		var batch []onkafka.Message
		for i := range 20 {
			batch = append(batch, onkafka.Good("throttled", fmt.Sprintf("b%02d-%02d", b, i)).Padded(10_000, onkafka.Noise))
		}
		all = append(all, append(batch, onkafka.Good("throttled", fmt.Sprintf("b%02d-huge", b)).Padded(2<<20, onkafka.Noise).Bad(onkafka.SizeExceeded)))
	}
	s := onkafka.StartAt(l, onkafka.Defaults(c).With(onkafka.Fields{"client_id": client, "compression": "none"}), onkafka.Batches(all...), slog.LevelDebug)
	s.Wait()
	l.CheckTopics(c, "throttled")
	require.NotZero(t, s.Log.Count("broker is throttling us"), "the quota was not felt")
}
