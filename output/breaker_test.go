package output

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// when calls f once the log of the stream has a text.
func when(s *streamtest.Stream, said string, f func()) {
	var once sync.Once
	s.Hear = func(line string) {
		if strings.Contains(line, said) {
			once.Do(func() { go f() })
		}
	}
}

func breakerConfigOf(fields string) string {
	return "dead_letter_breaker: { enabled: true, messages: 20, max_failed_share: 0.5, " + fields + " }"
}

// manyBatches has batches of five messages. Only the first of each batch is good while
// the limit is low.
func manyBatches(n int) (batches [][]string, all []string) {
	for i := range n {
		batch := []string{fmt.Sprintf("m%d", i)}
		for k := range 4 {
			batch = append(batch, fmt.Sprintf("%s%d-%d", big, i, k))
		}
		batches, all = append(batches, batch), append(all, batch...)
	}
	return batches, all
}

// A limit is lowered by mistake, and raised again. Messages that failed before the
// breaker opened are in the dead letters. All others are delivered once.
func TestTheBreakerHoldsAMassFailure(t *testing.T) {
	t.Parallel()
	for _, inFlight := range []int{1, 10} {
		t.Run(fmt.Sprint("max_in_flight ", inFlight), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 2, limited)
			batches, all := manyBatches(40)
			s := &streamtest.Stream{Batches: batches}
			when(s, "messages for topic t failed for good. The failed ones are held", func() {
				_, _ = c.Admin.AlterTopicConfigs(t.Context(), setConfig("max.message.bytes", "1000000"), "t")
			})
			require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}", "topic: t", fmt.Sprint("max_in_flight: ", inFlight), breakerConfigOf(""))))
			have, dead := c.Values("t"), s.DeadLetters(t)
			for _, m := range all {
				_, isDead := dead[m]
				require.Equal(t, 1, have[m]+btoi(isDead), short(m))
			}
			require.LessOrEqual(t, len(dead), 20, "no more than it takes to open")
			require.Len(t, s.Acked(), len(batches))
			for n, err := range s.Acked() {
				require.NoError(t, err, n)
			}
		})
	}
}

func TestTheBreakerGoesOn(t *testing.T) {
	t.Parallel()
	for name, field := range map[string]string{"after max_hold": "max_hold: 50ms", "when resume is true": "resume: 'true'"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1, limited)
			batches, all := manyBatches(12)
			s := &streamtest.Stream{Batches: batches}
			require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}", "topic: t", "max_in_flight: 1", breakerConfigOf(field))))
			require.Len(t, s.DeadLetters(t), len(all)-len(batches))
			require.Len(t, c.Values("t"), len(batches))
			held := strings.Contains(s.Log.String(), "The failed ones are held")
			require.Equal(t, name == "after max_hold", held)
		})
	}
}

// The hold ends, and the log says so, once the held messages pass, also where no other
// message fails after them. The next hold has the whole of max_hold.
func TestTheBreakerHoldsASecondTime(t *testing.T) {
	t.Parallel()
	for name, topic := range map[string]string{"a topic": "t", "no legal topic": "a b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				parsed, err := service.NewConfigSpec().ParseYAML("", nil)
				require.NoError(t, err)
				log, text := lines()
				var c clientConfig
				c.guard.Permanent = []guard.Class{guard.SizeExceeded}
				c.guard.Retry = guard.Retry{InitialInterval: time.Second, MaxInterval: time.Minute}
				c.breaker = breakerConfig{enabled: true, messages: 10, share: 0.5, maxHold: time.Hour}
				b := newBreaker(c, newNotices(log, endpoint{}), newMetrics(parsed.Resources().Metrics()))
				for n := range 3 {
					records, verdicts := make([]*kgo.Record, 10), make([]guard.Verdict, 10)
					for i := range records {
						records[i] = &kgo.Record{Topic: topic}
						verdicts[i] = guard.Verdict{Outcome: guard.NotWritten, Class: guard.SizeExceeded, Failure: &guard.Failure{Class: guard.SizeExceeded, Topic: topic}}
					}
					mended := time.Now().Add(30 * time.Minute)
					held := b.hold(t.Context(), func(_ context.Context, again []*kgo.Record) []guard.Verdict {
						if time.Now().Before(mended) {
							return append([]guard.Verdict(nil), verdicts[:len(again)]...)
						}
						passed := make([]guard.Verdict, len(again))
						for i := range passed {
							passed[i].Outcome = guard.Delivered
						}
						return passed
					}, records, verdicts)
					require.Empty(t, held)
					for _, v := range verdicts {
						require.Equal(t, guard.Delivered, v.Outcome)
					}
					require.Equal(t, n+1, strings.Count(text.String(), "not held any more"), text)
					time.Sleep(50 * time.Minute) // less than it takes to forget the topic
				}
			})
		})
	}
}

// Messages that are given up while Kafka is away say nothing of what fails for good: the
// topic is held as before, and no failed message goes to the dead letters.
func TestTheBreakerHoldsThroughAnOutage(t *testing.T) {
	t.Parallel()
	parsed, err := service.NewConfigSpec().ParseYAML("", nil)
	require.NoError(t, err)
	log, _ := lines()
	var c clientConfig
	c.guard.Permanent = []guard.Class{guard.SizeExceeded}
	c.breaker = breakerConfig{enabled: true, messages: 10, share: 0.5}
	b := newBreaker(c, newNotices(log, endpoint{}), newMetrics(parsed.Resources().Metrics()))
	records, failed, away := make([]*kgo.Record, 10), make([]guard.Verdict, 10), make([]guard.Verdict, 10)
	for i := range records {
		records[i] = &kgo.Record{Topic: "t"}
		failed[i] = guard.Verdict{Outcome: guard.NotWritten, Class: guard.SizeExceeded, Failure: &guard.Failure{Class: guard.SizeExceeded, Topic: "t"}}
		away[i] = guard.Verdict{Outcome: []guard.Outcome{guard.NotWritten, guard.Unknown}[i%2], Class: guard.Transient, Failure: &guard.Failure{Class: guard.Transient, Topic: "t"}}
	}
	b.count(records, failed, nil)
	require.Len(t, b.held(records, failed), 10)
	b.count(records, away, nil)
	b.count(records, away, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	require.Len(t, b.held(records, failed), 10)
	clear(away)
	for i := range away {
		away[i].Outcome = guard.Delivered
	}
	b.count(records, away, nil)
	require.Empty(t, b.held(records, failed))
}

// Messages without a topic count together, and so do those that make no record.
func TestTheBreakerHoldsWhatHasNoTopic(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	var batches [][]string
	for i := range 12 {
		batches = append(batches, []string{fmt.Sprintf("bad%d", i), fmt.Sprintf("none%d", i), fmt.Sprintf("worse%d", i)})
	}
	s := &streamtest.Stream{Batches: batches}
	ctx, cancel := context.WithCancel(t.Context())
	when(s, "messages have no legal topic. The failed ones are held", cancel)
	topic := `topic: '${! if content().has_prefix("none") { throw("no topic") } else { "a b" } }'`
	require.False(t, s.Run(t, ctx, c.withDeadLetter("capture: {}", topic, "max_in_flight: 1", breakerConfigOf(""))))
	require.LessOrEqual(t, len(s.DeadLetters(t)), 20)
}

// Topics may be made of messages: those that are out of use take no memory.
func TestTheBreakerForgetsTopics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(clientConfig{breaker: breakerConfig{enabled: true, messages: 10}}, nil, nil)
		seen := func(topic string) {
			b.count([]*kgo.Record{{Topic: topic}}, []guard.Verdict{{Outcome: guard.Delivered}}, nil)
		}
		for i := range 120 {
			seen(fmt.Sprint("topic-", i))
			seen("always")
			time.Sleep(time.Minute)
		}
		require.Len(t, b.topics, 60+2, "those of the last hour, the one in use, and the count of all")
		require.True(t, b.of("always").full)
	})
}

// Messages that the breaker holds at a shutdown are reported, and not dead-lettered.
func TestTheBreakerReportsWhatItHoldsAtAShutdown(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	conf, err := Spec().ParseYAML(c.config("topic: t", quickRetry, "report_failures: per_message", "dead_letter: { drop: {} }", "dead_letter_breaker: { enabled: true, messages: 1 }"), nil)
	require.NoError(t, err)
	o, err := newOutput(conf, conf.Resources())
	require.NoError(t, err)
	o.letters.out, err = conf.Resources().ManagedBatchOutput("never", 1, streamtest.Sink(func(context.Context, service.MessageBatch) error {
		require.Fail(t, "nothing is for the dead letters")
		return nil
	}))
	require.NoError(t, err)
	require.NoError(t, o.Connect(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log, text := lines()
	text.OnLine = func(line string) {
		if strings.Contains(line, "are held") {
			cancel()
		}
	}
	o.breaker.notices = newNotices(log, endpoint{})
	batch := streamtest.Batch("m0", big)
	index := batch.Index()
	failed := failedOf(o.WriteBatch(ctx, batch), index, 2)
	require.Len(t, failed, 1)
	require.ErrorContains(t, failed[1], "size_exceeded:")
	require.NoError(t, o.Close(context.Background()))
}

func TestTheBreakerLeavesFewFailuresAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	var batches [][]string
	for i := range 20 {
		batches = append(batches, []string{fmt.Sprintf("m%d", i), fmt.Sprintf("n%d", i), fmt.Sprintf("%s%d", big, i)})
	}
	s := &streamtest.Stream{Batches: batches}
	require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}", "topic: t", breakerConfigOf(""))))
	require.Len(t, s.DeadLetters(t), 20)
	require.NotContains(t, s.Log.String(), "are held")
}

func TestTheBreakerNeedsADeadLetter(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, refusal("topic: t\nseed_brokers: [ a:1 ]\ndead_letter_breaker: { enabled: true }"), "there is no dead_letter to keep messages from")
	require.ErrorContains(t, refusal("topic: t\nseed_brokers: [ a:1 ]\ndead_letter_breaker: { max_failed_share: 2 }"), "dead_letter_breaker.max_failed_share is 2, it must be from 0 to 1")
}
