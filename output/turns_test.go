package output

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// Many batches may wait with a message that the child never takes. Another batch has
// its turn all the same.
func TestWhatAChildNeverTakesHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parsed, err := service.NewConfigSpec().ParseYAML("", nil)
		require.NoError(t, err)
		var failed atomic.Int64
		out, err := parsed.Resources().ManagedBatchOutput("picky", 1, streamtest.Sink(func(_ context.Context, batch service.MessageBatch) error {
			for _, m := range batch {
				if content, _ := m.AsBytes(); string(content) == "never" {
					failed.Add(1)
					return errors.New("no")
				}
			}
			return nil
		}))
		require.NoError(t, err)
		retry := guard.Retry{InitialInterval: 100 * time.Millisecond, MaxInterval: 5 * time.Second}
		log, _ := lines()
		c := &child{
			field: fieldDeadLetter, out: out, waiting: map[*childWrite]struct{}{}, notices: newNotices(log, endpoint{}),
			metrics: newMetrics(parsed.Resources().Metrics()), retry: retry, turns: turnsOf(retry),
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		const never = 20
		for range never {
			go func() {
				c.write(ctx, streamtest.Batch("a", "never"), func(int) {})
				ended <- struct{}{}
			}()
		}
		for range 30 {
			time.Sleep(10 * time.Second)
			began := time.Now()
			taken := 0
			c.write(ctx, streamtest.Batch("b", "c"), func(int) { taken++ })
			require.Equal(t, 2, taken)
			require.LessOrEqual(t, time.Since(began), 5*time.Minute, "in virtual time")
		}
		t.Log(failed.Load(), "writes failed")
		cancel()
		for range never {
			<-ended
		}
		require.NoError(t, out.Close(context.Background()))
	})
}
