package output

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// A report whose time is over before its turn puts off no other one, and a turn goes to
// a report that has time for an answer: once the child takes messages again, it is
// noticed after a pause or two.
func TestAChildThatIsBackIsNoticedWhereTimeIsShort(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limit, answer time.Duration
		inFlight      int
	}{
		"one batch in flight":   {limit: 100 * time.Millisecond, answer: time.Millisecond, inFlight: 1},
		"many, a slow endpoint": {limit: 10 * time.Second, answer: 2 * time.Second, inFlight: 64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				parsed, err := service.NewConfigSpec().ParseYAML("", nil)
				require.NoError(t, err)
				var up atomic.Bool
				out, err := parsed.Resources().ManagedBatchOutput("reports", test.inFlight, streamtest.Sink(func(ctx context.Context, _ service.MessageBatch) error {
					if !up.Load() {
						return errors.New("no")
					}
					select {
					case <-time.After(test.answer):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}))
				require.NoError(t, err)
				retry := guard.Retry{InitialInterval: 100 * time.Millisecond, MaxInterval: 5 * time.Second, MaxElapsedTime: test.limit}
				log, _ := lines()
				c := &child{
					field: fieldDeliveryReport, out: out, whole: true, waiting: map[*childWrite]struct{}{}, notices: newNotices(log, endpoint{}),
					metrics: newMetrics(parsed.Resources().Metrics()), retry: retry, turns: turnsOf(retry),
				}
				var taken atomic.Int64
				const away, end = 20 * time.Minute, 20*time.Minute + 3*longest
				time.AfterFunc(away, func() { up.Store(true) })
				began := time.Now()
				var writers sync.WaitGroup
				for i := range test.inFlight {
					writers.Go(func() {
						time.Sleep(test.limit * time.Duration(i) / time.Duration(test.inFlight))
						for time.Since(began) < end {
							c.write(t.Context(), streamtest.Batch("a"), func(int) { taken.Add(1) })
							time.Sleep(time.Millisecond)
						}
					})
				}
				writers.Wait()
				require.NotZero(t, taken.Load())
				require.NoError(t, out.Close(t.Context()))
			})
		})
	}
}

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

// A dead letter that the child never answers, such as one for the output of a switch that
// hangs, holds up no other one: also not before the child has taken its first.
func TestALetterWithoutAnAnswerHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parsed, err := service.NewConfigSpec().ParseYAML("", nil)
		require.NoError(t, err)
		end := make(chan struct{})
		const hanging = 5
		out, err := parsed.Resources().ManagedBatchOutput("hanging", 2*hanging, streamtest.Sink(func(_ context.Context, batch service.MessageBatch) error {
			if content, _ := batch[0].AsBytes(); string(content) == "hangs" {
				<-end
				return errors.New("no")
			}
			return nil
		}))
		require.NoError(t, err)
		retry := guard.Retry{InitialInterval: 100 * time.Millisecond, MaxInterval: 5 * time.Second}
		log, _ := lines()
		c := &child{
			field: fieldDeadLetter, out: out, keepsPositions: true, waiting: map[*childWrite]struct{}{}, notices: newNotices(log, endpoint{}),
			metrics: newMetrics(parsed.Resources().Metrics()), retry: retry, turns: turnsOf(retry),
		}
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for range hanging {
			writers.Go(func() { c.write(ctx, streamtest.Batch("hangs"), func(int) { require.Fail(t, "it is not taken") }) })
		}
		time.Sleep(time.Second)
		for _, most := range []time.Duration{(hanging + 1) * slow, time.Second} {
			limited, stop := context.WithTimeout(ctx, time.Hour)
			began, taken := time.Now(), 0
			c.write(limited, streamtest.Batch("b", "c"), func(int) { taken++ })
			require.Equal(t, 2, taken)
			require.LessOrEqual(t, time.Since(began), most, "in virtual time")
			stop()
		}
		cancel()
		close(end)
		writers.Wait()
		require.NoError(t, out.Close(context.Background()))
	})
}
