package output

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// What is held is written again until it passes, after growing pauses, and each verdict goes
// to its own message.
func TestWhatIsHeldIsWrittenAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHolder("a test", guard.Retry{InitialInterval: time.Second, MaxInterval: 8 * time.Second, MaxElapsedTime: time.Second}, metricsOfTest(t))
		refused := failed(guard.Unauthorized, guard.NotWritten)
		records := []*kgo.Record{{Topic: "0"}, {Topic: "1"}, nil, {Topic: "3"}, {Topic: "4"}}
		verdicts := []guard.Verdict{delivered, refused, refused, delivered, refused}
		var written [][]string
		var again [][]int
		var pauses []time.Duration
		last := time.Now()
		write := func(_ context.Context, records []*kgo.Record) (vs []guard.Verdict) {
			pauses, last = append(pauses, time.Since(last)), time.Now()
			var topics []string
			for _, r := range records {
				topics = append(topics, r.Topic)
				passes := len(written) > 10 || r.Topic == "4" && len(written) > 0
				vs = append(vs, []guard.Verdict{refused, {Outcome: guard.Delivered, Partition: int32(r.Topic[0] - '0')}}[btoi(passes)])
			}
			written = append(written, topics)
			return vs
		}
		pick := func(of []int) (held []int) {
			again = append(again, of)
			for i, v := range verdicts {
				if v.Outcome == guard.NotWritten && (records[i] != nil || len(written) < 11) {
					held = append(held, i)
				}
			}
			return held
		}
		require.Empty(t, h.hold(t.Context(), write, records, verdicts, pick))
		require.Equal(t, [][]string{{"1", "4"}, {"1", "4"}, {"1"}}, written[:3])
		require.Len(t, written, 12)
		require.Equal(t, [][]int{nil, {1, 4}, {1, 4}, {1}}, again[:4])
		require.Equal(t, []int32{0, 1, -1, 0, 4}, []int32{verdicts[0].Partition, verdicts[1].Partition, verdicts[2].Partition, verdicts[3].Partition, verdicts[4].Partition})
		require.LessOrEqual(t, pauses[0], 2*time.Second)
		for _, p := range pauses[5:] { // drawn from half of what they grow to, and up to one and a half
			require.GreaterOrEqual(t, p, 4*time.Second)
			require.LessOrEqual(t, p, 12*time.Second)
		}

		// One message is as many are, and the end of the stream is waited for by no pause.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		verdicts[1], records[2] = refused, records[0]
		verdicts[2] = delivered
		began := time.Now()
		require.Equal(t, []int{1}, h.hold(ctx, write, records, verdicts, pick))
		require.Zero(t, time.Since(began))
		written = nil
		require.Empty(t, h.hold(t.Context(), write, records, verdicts, func([]int) []int { return nil }))
		require.Empty(t, written, "there is nothing to hold")

		h.retry.MaxElapsedTime = time.Minute
		began = time.Now()
		require.Equal(t, []int{1}, h.hold(t.Context(), func(context.Context, []*kgo.Record) []guard.Verdict { return verdicts[1:2] }, records, verdicts, pick))
		require.InDelta(t, 60, time.Since(began).Seconds(), 13, "given up when its time is up")
	})
}

// noKey begins a message of which no record can be made.
const noKey = "no key"

// keyed has a key for each message but these.
const keyed = `key: '${! if content().string().has_prefix("` + noKey + `") { throw("none") } else { "k" } }'`

// What is held is counted over all batches, for as long as it waits.
func TestWhatIsHeldIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newVirtualCluster(t)
		c.Topic("t", 1)
		m := newCounted()
		s := c.stream([]string{"m0", noKey + "1", "bad", "m3"}, []string{noKey + "4"}, []string{"m5"})
		s.Metrics = m
		var waiting map[string]int64
		go func() {
			time.Sleep(30 * time.Second)
			waiting = m.own()
		}()
		guarded := c.alone(topicByContent, keyed, "permanent: []", "report_failures: per_message", "retry: { initial_interval: 1s, max_interval: 8s, max_elapsed_time: 1m }")
		require.True(t, s.Run(t, t.Context(), "fallback:\n  -"+streamtest.Indent(guarded, 4)+"  - capture: {}\n"))
		require.Equal(t, once("m0", "m3", "m5"), c.Values("t"))
		require.Equal(t, map[int]error{0: nil, 1: nil, 2: nil}, s.Acked())
		dead := s.DeadLetters(t)
		require.Len(t, dead, 3)
		for content, class := range map[string]string{noKey + "1": "invalid_record: ", "bad": "unroutable: ", noKey + "4": "invalid_record: "} {
			require.Contains(t, dead[content], class)
		}
		require.EqualValues(t, 3, waiting["kafka_guarded_waiting{class=permanent}"], waiting)
		require.NotContains(t, m.own(), "kafka_guarded_waiting{class=permanent}")
	})
}
