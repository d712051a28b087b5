package output

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// failed is the verdict of a message that failed for a class.
func failed(class guard.Class, outcome guard.Outcome) guard.Verdict {
	f := &guard.Failure{Class: class, Outcome: outcome, Topic: "t", Partition: -1, Problem: "why"}
	return guard.Verdict{Outcome: outcome, Class: class, Partition: -1, Offset: -1, Failure: f}
}

var delivered = guard.Verdict{Outcome: guard.Delivered}

// metricsOfTest are metrics that no exporter reads.
func metricsOfTest(t *testing.T) *metrics {
	t.Helper()
	conf, err := service.NewConfigSpec().ParseYAML("", nil)
	require.NoError(t, err)
	return newMetrics(conf.Resources().Metrics())
}

// The position of the output and its fields decide what hears of a failure, after a pause or
// not, and what is held in place of a report.
func TestHowFailuresAreReported(t *testing.T) {
	t.Parallel()
	at := func(r errorrouting.Routing) position { return position{Output: errorrouting.Output{Routing: r}} }
	inFallback := at(errorrouting.Routing{PerMessage: true, Routed: true})
	loses, forgets := at(errorrouting.Routing{Loses: "switch"}), at(errorrouting.Routing{Forgets: "dedupe"})
	batched := batching{on: true}
	all := []string{"too large", "in doubt", "refused"}
	for _, test := range []struct {
		name       string
		reports    reporting
		at         position
		policy     batching
		deadLetter bool
		perMessage bool
		paced      bool
		held       []string
	}{
		{name: "a stream's own output", paced: true},
		{name: "with dead_letter", deadLetter: true},
		{name: "where something takes failures", at: at(errorrouting.Routing{Routed: true})},
		{name: "in a fallback", at: inFallback, perMessage: true},
		{name: "where nothing takes single failures", at: at(errorrouting.Routing{PerMessage: true}), perMessage: true, paced: true},
		{name: "with batching", policy: batched, perMessage: true, paced: true},
		{name: "with batching in a fallback", at: inFallback, policy: batched, perMessage: true},
		{name: "with processors of batching", policy: batching{on: true, processors: true}, paced: true},
		{name: "with processors of batching in a fallback", at: inFallback, policy: batching{on: true, processors: true}},
		{name: "in a switch", at: loses, paced: true, held: all},
		{name: "behind a dedupe", at: forgets, paced: true, held: all},
		{name: "in a switch, with dead_letter", at: loses, deadLetter: true, held: []string{"in doubt", "refused"}},
		{name: "always by message", reports: reportPerMessage, at: loses, perMessage: true},
		{name: "always by batch", reports: reportPerBatch, at: inFallback},
		{name: "always by batch, where messages are lost", reports: reportPerBatch, at: forgets, deadLetter: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log, text := lines()
				c := clientConfig{reports: test.reports}
				c.guard.Retry = guard.Retry{InitialInterval: time.Second, MaxInterval: time.Minute, MaxElapsedTime: time.Millisecond}
				c.guard.Permanent = []guard.Class{guard.SizeExceeded}
				n := newNotices(log, endpoint{})
				r := newReporter(c, test.at, test.policy, test.deadLetter, n, metricsOfTest(t))
				batch := streamtest.Batch("fine", "too large", "in doubt", "refused")
				verdicts := []guard.Verdict{delivered, failed(guard.SizeExceeded, guard.NotWritten), failed(guard.SizeExceeded, guard.Unknown), failed(guard.Unauthorized, guard.NotWritten)}

				began := time.Now()
				err := r.report(t.Context(), batch, verdicts, nil)
				require.Equal(t, test.paced, time.Since(began) > 0)
				require.Equal(t, test.perMessage, errors.As(err, new(*service.BatchError)))
				require.Contains(t, text.String(), "1 of the 4 messages of a batch may have been written or not")

				var records []*kgo.Record
				for _, m := range batch {
					content, err := m.AsBytes()
					require.NoError(t, err)
					records = append(records, &kgo.Record{Topic: "t", Value: content})
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var held []string
				write := func(_ context.Context, records []*kgo.Record) []guard.Verdict {
					for _, r := range records {
						held = append(held, string(r.Value))
					}
					cancel() // once is enough
					return nil
				}
				r.hold(ctx, write, records, verdicts)
				require.Equal(t, test.held, held)
				require.Equal(t, len(test.held) > 0, text.Count("can't be reported without a loss") > 0)
			})
		})
	}
}

// What Benthos gets for a batch: nothing, or which messages failed and why.
func TestTheErrorOfABatch(t *testing.T) {
	t.Parallel()
	large, doubt, illegal := failed(guard.SizeExceeded, guard.NotWritten), failed(guard.Transient, guard.Unknown), failed(guard.Unroutable, guard.NotWritten)
	denied, content := failed(guard.Unauthorized, guard.NotWritten), failed(guard.InvalidRecord, guard.NotWritten)
	for _, test := range []struct {
		name     string
		verdicts []guard.Verdict
		taken    map[int]bool
		want     string         // the error of the batch
		listed   map[int]string // nil where it lists no message
	}{
		{name: "all are delivered", verdicts: []guard.Verdict{delivered, delivered}},
		{name: "the failed are taken", verdicts: []guard.Verdict{delivered, large}, taken: map[int]bool{1: true}},
		{name: "one of three", verdicts: []guard.Verdict{delivered, large, delivered}, want: large.Failure.Error(), listed: map[int]string{1: large.Failure.Error()}},
		{name: "the only one", verdicts: []guard.Verdict{large}, want: large.Failure.Error()},
		{
			name: "one that is not taken", verdicts: []guard.Verdict{large, delivered, doubt}, taken: map[int]bool{0: true},
			want: doubt.Failure.Error(), listed: map[int]string{2: doubt.Failure.Error()},
		},
		{
			name: "several of each class", verdicts: []guard.Verdict{delivered, denied, illegal, large, doubt, content, large, denied, delivered, large},
			want: denied.Failure.Error() + " (8 of 10 messages failed: 3 size_exceeded, 1 invalid_record, 1 unroutable, 2 unauthorized, 1 transient)",
			listed: map[int]string{
				1: denied.Failure.Error(), 2: illegal.Failure.Error(), 3: large.Failure.Error(), 4: doubt.Failure.Error(), 5: content.Failure.Error(),
				6: large.Failure.Error(), 7: denied.Failure.Error(), 9: large.Failure.Error(),
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			log, text := lines()
			batch := streamtest.Batch(make([]string, len(test.verdicts))...)
			r := newReporter(clientConfig{reports: reportPerMessage}, position{}, batching{}, false, newNotices(log, endpoint{}), nil)
			index := batch.Index()
			err := r.report(t.Context(), batch, test.verdicts, test.taken)
			doubtful := 0
			for _, v := range test.verdicts {
				doubtful += btoi(v.Outcome == guard.Unknown)
			}
			require.Equal(t, doubtful, text.Count("may have been written or not"))
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, test.want)
			require.ErrorAs(t, err, new(*guard.Failure))
			var batchErr *service.BatchError
			require.Equal(t, test.listed != nil, errors.As(err, &batchErr))
			if test.listed == nil {
				return
			}
			listed := map[int]string{}
			batchErr.WalkMessagesIndexedBy(index, func(i int, _ *service.Message, err error) bool {
				if err != nil {
					listed[i] = err.Error()
				}
				return true
			})
			require.Equal(t, test.listed, listed)
		})
	}
}

// Failures that no component takes are reported at growing intervals. They are short again
// when there was none for a minute.
func TestUnroutedFailuresArePaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(guard.Retry{InitialInterval: time.Second, MaxInterval: time.Hour, MaxElapsedTime: time.Second})
		pause := func(ctx context.Context) time.Duration {
			began := time.Now()
			p.wait(ctx)
			return time.Since(began)
		}
		const longest = time.Hour + time.Hour/2 // pauses are drawn, from half of what they grow to
		require.LessOrEqual(t, pause(t.Context()), 2*time.Second)
		for range 20 {
			pause(t.Context())
		}
		for range 20 {
			took := pause(t.Context())
			require.GreaterOrEqual(t, took, 30*time.Minute)
			require.LessOrEqual(t, took, longest)
			time.Sleep(quiet)
		}
		time.Sleep(time.Nanosecond)
		require.LessOrEqual(t, pause(t.Context()), 2*time.Second)

		for range 20 {
			pause(t.Context())
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.Zero(t, pause(ended), "a shutdown waits for no pause")
		require.Equal(t, time.Minute, quiet)
	})
}
