package output

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

func TestADeliveryReportTellsEveryFate(t *testing.T) {
	t.Parallel()
	for _, dead := range []string{"", "dead_letter: { drop: {} }"} {
		t.Run(dead, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 3, limited)
			s := &streamtest.Stream{Batches: [][]string{{"m0", big, "m1", "bad", "m2"}, {"m3"}}}
			s.Run(t, t.Context(), c.alone(topicByContent, quickRetry, "max_in_flight: 1", "key: '${! content() }'", "delivery_report: { capture: {} }", dead))
			if dead != "" {
				require.Equal(t, map[int]error{0: nil, 1: nil}, s.Acked())
			}
			var order []string
			at := map[string]string{} // values by the place in the report
			for _, m := range s.Captured() {
				order = append(order, m.Content)
				switch m.Content {
				case big, "bad":
					require.Equal(t, "not_written", m.Meta[metaOutcome])
					require.Equal(t, map[string]string{big: "size_exceeded", "bad": "unroutable"}[m.Content], m.Meta[metaClass])
					require.Contains(t, m.Meta[metaError], m.Meta[metaClass]+":")
					require.NotContains(t, m.Meta, metaOffset)
				default:
					require.Equal(t, "delivered", m.Meta[metaOutcome])
					require.NotContains(t, m.Meta, metaClass)
					require.NotContains(t, m.Meta, metaError)
					at[m.Meta[metaTopic]+"/"+m.Meta[metaPartition]+"/"+m.Meta[metaOffset]+"/"+m.Meta[metaTimestampMs]] = m.Content
				}
			}
			require.Equal(t, []string{"m0", big, "m1", "bad", "m2", "m3"}, order)
			log := map[string]string{}
			for _, r := range c.Log("t") {
				log["t/"+strconv.Itoa(int(r.Partition))+"/"+strconv.Itoa(int(r.Offset))+"/"+strconv.FormatInt(r.Timestamp.UnixMilli(), 10)] = string(r.Value)
			}
			require.Equal(t, log, at, "each message is where its report says")
		})
	}
}

// A report that fails is sent again as a whole, and given up after its own time. The
// outcome of the messages stays the same.
func TestAFailingDeliveryReportChangesNoFate(t *testing.T) {
	t.Parallel()
	for name, tries := range map[string]int{"for a while": 3, "for ever": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1, limited)
			left := tries
			s := &streamtest.Stream{Batches: [][]string{{"m0", big, "m1"}}, Refuse: func(service.MessageBatch) error {
				if left == 0 {
					return nil
				}
				left--
				return errors.New("down")
			}}
			limit := map[bool]string{true: "delivery_report_max_elapsed_time: 200ms", false: "delivery_report_max_elapsed_time: 1h"}[tries < 0]
			require.True(t, s.Run(t, t.Context(), c.alone("topic: t", quickRetry, "dead_letter: { drop: {} }", "delivery_report: { capture: {} }", limit)))
			require.Equal(t, map[int]error{0: nil}, s.Acked())
			require.Equal(t, once("m0", "m1"), c.Values("t"))
			if tries < 0 {
				require.Empty(t, s.Captured())
				require.Contains(t, s.Log.String(), "The output of delivery_report did not take 3 messages for too long")
				return
			}
			require.Len(t, s.Captured(), 3)
		})
	}
}

// A message that comes from a delivery report keeps no metadata of that report.
func TestADeliveryReportForgetsAnEarlierOne(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	s := &streamtest.Stream{Batches: [][]string{{"m0"}}}
	s.Processors = []string{"mapping: 'meta " + metaError + " = \"old\"'", "mapping: 'meta " + metaClass + " = \"old\"'"}
	require.True(t, s.Run(t, t.Context(), c.alone("topic: t", "delivery_report: { capture: {} }")))
	require.NotContains(t, s.Captured()[0].Meta, metaError)
	require.NotContains(t, s.Captured()[0].Meta, metaClass)
}

func TestShutdownReportsOpenMessagesAsSuch(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	conf, err := Spec().ParseYAML(c.config("topic: missing", "allow_auto_topic_creation: false", "delivery_report: { drop: {} }"), nil)
	require.NoError(t, err)
	o, err := newOutput(conf, conf.Resources())
	require.NoError(t, err)
	var got []streamtest.Captured
	o.reports.out, err = conf.Resources().ManagedBatchOutput("report", 1, streamtest.Sink(func(_ context.Context, batch service.MessageBatch) (err error) {
		got, err = streamtest.Capture(batch)
		return err
	}))
	require.NoError(t, err)
	require.NoError(t, o.Connect(t.Context()))
	require.Error(t, o.WriteBatch(ctx, streamtest.Batch("m0")))
	require.NoError(t, o.Close(context.Background()))
	require.Len(t, got, 1)
	require.NotEqual(t, "delivered", got[0].Meta[metaOutcome])
}

// Without delivery_report, it costs nothing.
func BenchmarkDeliveryReport(b *testing.B) {
	c := newCluster(b)
	c.Topic("t", 1)
	batch := make([]string, 500)
	for i := range batch {
		batch[i] = strconv.Itoa(i)
	}
	for name, line := range map[string]string{"none": "", "drop": "delivery_report: { drop: {} }"} {
		b.Run(name, func(b *testing.B) {
			o := c.output("topic: t", line)
			messages := streamtest.Batch(batch...)
			b.ReportAllocs()
			for b.Loop() {
				if err := o.WriteBatch(b.Context(), messages); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A child that never connects gives no answer and no error.
func TestAReportToASilentChildIsGivenUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	s := &streamtest.Stream{Batches: [][]string{{"m0"}, {"m1"}}}
	require.True(t, s.Run(t, t.Context(), c.alone("topic: t", "delivery_report_max_elapsed_time: 100ms", "delivery_report: { kafka_guarded: { seed_brokers: [ 127.0.0.1:1 ], topic: reports } }")))
	require.Equal(t, map[int]error{0: nil, 1: nil}, s.Acked())
	require.Equal(t, once("m0", "m1"), c.Values("t"))
	require.Equal(t, 2, s.Log.Count("The output of delivery_report did not take 1 messages for too long"))
}

func TestASilentChildIsSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, text := lines()
		answer := make(chan struct{})
		parsed, err := service.NewConfigSpec().ParseYAML("", nil)
		require.NoError(t, err)
		out, err := parsed.Resources().ManagedBatchOutput("silent", 1, streamtest.Sink(func(context.Context, service.MessageBatch) error {
			<-answer
			return nil
		}))
		require.NoError(t, err)
		retry := guard.Retry{InitialInterval: time.Millisecond}
		c := &child{
			field: fieldDeadLetter, out: out, waiting: map[*childWrite]struct{}{}, notices: newNotices(log, endpoint{}),
			metrics: newMetrics(parsed.Resources().Metrics()), retry: retry, turns: turnsOf(retry),
		}
		done := make(chan struct{})
		go func() {
			c.write(t.Context(), streamtest.Batch("m0"), func(int) {})
			close(done)
		}()
		time.Sleep(slow)
		synctest.Wait()
		require.Equal(t, 1, text.Count("The output of dead_letter did not take 1 messages, which are tried again while their batches wait: it does not answer"))
		close(answer)
		<-done
		require.Equal(t, 1, text.Count("The output of dead_letter takes messages again"))
		require.NoError(t, out.Close(context.Background()))
	})
}
