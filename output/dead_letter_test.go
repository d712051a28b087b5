package output

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// bad gives an illegal topic name.
const topicByContent = `topic: '${! if content().length() == 3 { "a b" } else { "t" } }'`

func TestDeadLettersSayWhatBecameOfThem(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	s := &streamtest.Stream{Batches: [][]string{{"m0", big, "bad", "m3"}, {"m4"}}}
	require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}", topicByContent, "key: some-key", "null_key: content().length() == 3")))
	require.Equal(t, map[int]error{0: nil, 1: nil}, s.Acked())
	require.Equal(t, once("m0", "m3", "m4"), c.Values("t"))
	require.Len(t, s.Captured(), 2)
	require.Equal(t, big, s.Captured()[0].Content)
	at := s.Captured()[0].Meta[metaFailedAt]
	_, err := time.Parse(time.RFC3339, at)
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		metaClass: "size_exceeded", metaTopic: "t", metaPartition: "0", metaKey: "some-key", metaHeaders: "[]", metaBytes: "30080", metaLimit: "20000", metaFailedAt: at,
		metaError: "size_exceeded: topic t partition 0: 30080 bytes exceed the topic's max.message.bytes (20000)",
	}, s.Captured()[0].Meta)
	require.Equal(t, "bad", s.Captured()[1].Content)
	require.Equal(t, map[string]string{
		metaClass: "unroutable", metaTopic: "a b", metaHeaders: "[]", metaFailedAt: s.Captured()[1].Meta[metaFailedAt],
		metaError: `unroutable: illegal topic name: Kafka takes letters, digits, '.', '_' and '-', but not '.' or '..' alone: of its 3 characters, number 2 is none of these`,
	}, s.Captured()[1].Meta)
}

func TestAFailingDeadLetterOutputLosesAndDuplicatesNothing(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	for name, refuse := range map[string]func(service.MessageBatch) error{
		"it fails as a whole": func(service.MessageBatch) error {
			if tries.Add(1)%4 != 0 {
				return errors.New("down")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1, limited)
			s := &streamtest.Stream{Config: streamtest.Config{Replay: true}, Refuse: refuse, Batches: [][]string{{"m0", big + "1", big + "2", "m3", big + "4"}, {"m5", big + "6"}}}
			require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}", "topic: t")))
			require.Equal(t, map[int]error{0: nil, 1: nil}, s.Acked())
			require.Equal(t, once("m0", "m3", "m5"), c.Values("t"))
			require.Len(t, s.DeadLetters(t), 4)
			require.Contains(t, s.Log.String(), "The output of dead_letter did not take")
			require.Contains(t, s.Log.String(), "The output of dead_letter takes messages again")
		})
	}
}

// If a child lists the messages that it did not take, only these are sent again.
func TestADeadLetterOutputMayTakeAPart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	c.Topic("dlq", 1, "max.message.bytes=35000")
	// The child is a kafka_guarded output, too. Its own dead letters are messages over
	// 35000 bytes. Its topic rejects all batches for a while.
	down := c.RefuseAll("dlq", kerr.NotEnoughReplicas)
	s := &streamtest.Stream{Batches: [][]string{{"m0", big + "1", huge, "m3"}}}
	go func() {
		_ = down.Wait(context.Background(), 1)
		down.Remove()
	}()
	child := "kafka_guarded:" + streamtest.Indent(c.config("topic: dlq", "dead_letter: { capture: {} }", `metadata: { include_prefixes: [ kafka_guarded_ ] }`), 2)
	require.True(t, s.Run(t, t.Context(), c.withDeadLetter(child, "topic: t")))
	require.Equal(t, once("m0", "m3"), c.Values("t"))
	require.Equal(t, once(big+"1"), c.Values("dlq"))
	require.Len(t, s.DeadLetters(t), 1)
	require.Contains(t, s.DeadLetters(t), huge)
	headers := map[string]string{}
	for _, h := range c.Log("dlq")[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	require.Equal(t, "size_exceeded", headers[metaClass])
}

func TestDeadLettersAreExactInEveryComposition(t *testing.T) {
	t.Parallel()
	batches := [][]string{{"m0", big + "1", "m2"}, {"m3", "bad", "m5", big + "6"}, {big + "7"}, {"m8"}}
	for name, wrap := range map[string]func(c *cluster) string{
		"alone": func(c *cluster) string { return c.withDeadLetter("capture: {}", topicByContent) },
		"output-level batching": func(c *cluster) string {
			return c.withDeadLetter("capture: {}", topicByContent, "batching: { count: 7, period: 20ms }")
		},
		"in a fallback": func(c *cluster) string {
			return "fallback:\n  -" + streamtest.Indent(c.withDeadLetter("capture: {}", topicByContent), 4) + "  - reject: 'nothing should come here'\n"
		},
		"in a retry": func(c *cluster) string {
			return "retry:\n  output:" + streamtest.Indent(c.withDeadLetter("capture: {}", topicByContent), 4)
		},
		"in a switch": func(c *cluster) string {
			return "switch:\n  cases:\n    - check: 'false'\n      output: { reject: never }\n    - output:" + streamtest.Indent(c.withDeadLetter("capture: {}", topicByContent), 8)
		},
		"in a broker": func(c *cluster) string {
			return "broker:\n  outputs:\n    -" + streamtest.Indent(c.withDeadLetter("capture: {}", topicByContent), 6) + "    - drop: {}\n"
		},
		"a switch as the child": func(c *cluster) string {
			return c.withDeadLetter("switch:\n  cases:\n    - check: 'content().length() > 3'\n      output: { capture: {} }\n    - output: { capture: {} }\n", topicByContent)
		},
		"a batched broker as the child": func(c *cluster) string {
			return c.withDeadLetter("broker:\n  outputs: [ { capture: {} } ]\n  batching: { count: 100, period: 5ms }\n", topicByContent)
		},
		"a resource as the child": func(c *cluster) string {
			return c.withDeadLetter("resource: letters\n", topicByContent)
		},
	} {
		for _, replay := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, replay %v", name, replay), func(t *testing.T) {
				t.Parallel()
				c := newCluster(t)
				c.Topic("t", 1, limited)
				s := &streamtest.Stream{Config: streamtest.Config{Replay: replay, Resources: "output_resources:\n  - label: letters\n    capture: {}\n"}, Batches: batches}
				require.True(t, s.Run(t, t.Context(), wrap(c)))
				require.Equal(t, map[int]error{0: nil, 1: nil, 2: nil, 3: nil}, s.Acked())
				require.Equal(t, once("m0", "m2", "m3", "m5", "m8"), c.Values("t"))
				dead := s.DeadLetters(t)
				require.Len(t, dead, 4)
				for _, content := range []string{big + "1", "bad", big + "6", big + "7"} {
					require.Contains(t, dead, content)
				}
			})
		}
	}
}

func TestDeadLettersMayBeDropped(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	s := &streamtest.Stream{Batches: [][]string{{"m0", big, "m2"}}}
	require.True(t, s.Run(t, t.Context(), c.withDeadLetter("drop: {}", "topic: t")))
	require.Equal(t, map[int]error{0: nil}, s.Acked())
	require.Equal(t, once("m0", "m2"), c.Values("t"))
}

func TestHeldClassesAreNotDeadLettered(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	denied := c.RefuseAll("t", kerr.TopicAuthorizationFailed)
	s := &streamtest.Stream{Batches: [][]string{{"m0", big, "m2"}}}
	go func() {
		_ = denied.Wait(context.Background(), 3)
		denied.Remove()
	}()
	require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}", "topic: t")))
	require.Equal(t, once("m0", "m2"), c.Values("t"))
	require.Len(t, s.DeadLetters(t), 1)
	require.Regexp(t, "2 messages for topic t are held(, for [0-9]+s so far,)? and tried again until it passes: unauthorized: topic t partition 0: TOPIC_AUTHORIZATION_FAILED", s.Log.String())
	require.Contains(t, s.Log.String(), "Messages for topic t are no longer held as unauthorized")
}

func TestPermanentMovesAClass(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	c.RefuseAll("t", kerr.TopicAuthorizationFailed)
	s := &streamtest.Stream{Batches: [][]string{{"m0", "m1"}}}
	require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}", "topic: t", "permanent: [ size_exceeded, unauthorized ]")))
	require.Len(t, s.DeadLetters(t), 2)
	require.Equal(t, "unauthorized", s.Captured()[0].Meta[metaClass])
}

func TestShutdownReportsUndeliveredDeadLetters(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	ctx, cancel := context.WithCancel(t.Context())
	down := streamtest.Sink(func(context.Context, service.MessageBatch) error {
		cancel()
		return errors.New("down")
	})
	conf, err := Spec().ParseYAML(c.config("topic: t", "report_failures: per_message", "dead_letter: { drop: {} }"), nil)
	require.NoError(t, err)
	o, err := newOutput(conf, conf.Resources())
	require.NoError(t, err)
	child, err := conf.Resources().ManagedBatchOutput("down", 1, down)
	require.NoError(t, err)
	o.letters.out = child
	require.NoError(t, o.Connect(t.Context()))
	batch := streamtest.Batch("m0", big+"1", "m2", big+"3")
	index := batch.Index()
	err = o.WriteBatch(ctx, batch)
	var batchErr *service.BatchError
	require.ErrorAs(t, err, &batchErr)
	var failed []int
	batchErr.WalkMessagesIndexedBy(index, func(i int, _ *service.Message, err error) bool {
		if err != nil {
			failed = append(failed, i)
		}
		return true
	})
	require.Equal(t, []int{1, 3}, failed)
	require.NoError(t, o.Close(context.Background()))
	require.Equal(t, once("m0", "m2"), c.Values("t"))
}

// A dead-letter output that can't connect must not delay the end of a stream that has
// no dead letters.
func TestADeadLetterOutputThatNeverConnectsDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	s := &streamtest.Stream{Batches: [][]string{{"m0"}}}
	child := "kafka_guarded: { seed_brokers: [ 127.0.0.1:1 ], topic: letters }"
	require.True(t, s.Run(t, t.Context(), c.withDeadLetter(child, "topic: t")), "the stream does not end")
	require.Equal(t, once("m0"), c.Values("t"))
}

// A class that permanent does not list is held, even if no retry can help.
func TestClassesThatAreNotPermanentAreHeld(t *testing.T) {
	t.Parallel()
	for _, permanent := range []string{"[]", "[ unknown_topic ]"} {
		t.Run(permanent, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1, limited)
			s := &streamtest.Stream{Batches: [][]string{{"m0", big, "m2"}}}
			go c.raiseWhenWritten("t", 2)
			require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}", "topic: t", "permanent: "+permanent)))
			require.Equal(t, map[int]error{0: nil}, s.Acked())
			require.Equal(t, once("m0", big, "m2"), c.Values("t"))
			require.Empty(t, s.Captured())
			require.Contains(t, s.Log.String(), "permanent replaces the default list, and leaves out size_exceeded, invalid_record, unroutable")
			require.Contains(t, s.Log.String(), "1 messages for topic t are held")
		})
	}
}

// Messages held for their class are reported when the time for retries is over.
func TestClassesThatAreNotPermanentAreGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newVirtualCluster(t)
		c.Topic("t", 1, limited)
		s := c.stream([]string{"m0", big, "m2"})
		require.True(t, s.Run(t, t.Context(), "fallback:\n  - "+strings.TrimPrefix(streamtest.Indent(c.alone("topic: t", "compression: none", "permanent: []", "report_failures: per_message", "retry: { max_elapsed_time: 20s }"), 4), "    ")+"  - capture: {}\n"))
		require.Equal(t, map[int]error{0: nil}, s.Acked())
		require.Equal(t, once("m0", "m2"), c.Values("t"))
		require.Len(t, s.Captured(), 1)
		require.Contains(t, s.Captured()[0].Meta["fallback_error"], "size_exceeded: ")
	})
}

// What a dead letter says of its failure, and what it takes to make its record again. It says
// nothing that an earlier failure left.
func TestWhatADeadLetterSays(t *testing.T) {
	t.Parallel()
	const at = "2030-01-02T03:04:05Z"
	field := func() *service.InterpolatedString {
		f, err := service.NewInterpolatedString("0")
		require.NoError(t, err)
		return f
	}
	size := guard.Failure{Class: guard.SizeExceeded, Outcome: guard.NotWritten, Topic: "t", Partition: 3, Bytes: 2, Limit: 1, LimitName: "the limit"}
	noLimit, ofContent := size, size
	noLimit.Limit = 0
	ofContent.Class, ofContent.LimitName, ofContent.Partition = guard.InvalidRecord, "", -1
	time42 := time.UnixMilli(42)
	for _, test := range []struct {
		name    string
		config  recordConfig
		record  *kgo.Record
		failure guard.Failure
		want    map[string]string
	}{
		{"no record", recordConfig{timestamp: field(), partition: field()}, nil, ofContent, map[string]string{}},
		{"a null key", recordConfig{}, &kgo.Record{Value: []byte("v"), Timestamp: time42}, ofContent, map[string]string{metaHeaders: "[]"}},
		{"an empty key", recordConfig{}, &kgo.Record{Key: []byte{}, Value: []byte{}}, ofContent, map[string]string{metaHeaders: "[]", metaKey: ""}},
		{"a null value", recordConfig{}, &kgo.Record{Key: []byte("k")}, ofContent, map[string]string{metaHeaders: "[]", metaKey: "k", metaNull: "true"}},
		{
			"headers", recordConfig{}, &kgo.Record{Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "b"}, {Key: "a\""}, {Key: "b"}}}, ofContent,
			map[string]string{metaHeaders: `["b","a\"","b"]`},
		},
		{"a timestamp", recordConfig{timestamp: field()}, &kgo.Record{Value: []byte("v"), Timestamp: time42}, ofContent, map[string]string{metaHeaders: "[]", metaTimestamp: "42"}},
		{"a partition of the config", recordConfig{partition: field()}, &kgo.Record{Value: []byte("v")}, ofContent, map[string]string{metaHeaders: "[]", metaPartition: "0"}},
		{"a size", recordConfig{}, &kgo.Record{Value: []byte("v")}, size, map[string]string{metaHeaders: "[]", metaPartition: "3", metaBytes: "2", metaLimit: "1"}},
		{"a size and no limit", recordConfig{}, &kgo.Record{Value: []byte("v")}, noLimit, map[string]string{metaHeaders: "[]", metaPartition: "3", metaBytes: "2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d, other := &deadLetters{records: test.config}, &deadLetters{}
			msg := service.NewMessage([]byte("v"))
			for _, name := range []string{metaClass, metaError, metaTopic, metaFailedAt, metaKey, metaPartition, metaBytes, metaLimit, metaNull, metaTimestamp, metaHeaders, metaLetterError} {
				msg.MetaSetMut(name, "of an earlier failure")
			}
			msg.MetaSetMut("its own", "kept")
			letter := d.letter(msg, test.record, &test.failure, at)
			want := map[string]string{"its own": "kept", metaClass: test.failure.Class.String(), metaError: test.failure.Error(), metaTopic: "t", metaFailedAt: at}
			maps.Copy(want, test.want)
			require.Equal(t, want, metaOf(letter))
			require.Equal(t, []*deadLetters{d}, lettersOf(letter))
			require.Empty(t, lettersOf(msg))

			// As the dead letter of another output it keeps what was said first.
			again := other.letter(letter, nil, &guard.Failure{Class: guard.Unauthorized, Outcome: guard.NotWritten, Topic: "letters", Partition: 1, Problem: "no right"}, "later")
			want[metaLetterError] = "unauthorized: topic letters partition 1: no right"
			require.Equal(t, want, metaOf(again))
			require.Equal(t, []*deadLetters{d, other}, lettersOf(again))
		})
	}
}

func metaOf(m *service.Message) map[string]string {
	all := map[string]string{}
	_ = m.MetaWalk(func(name, value string) error {
		all[name] = value
		return nil
	})
	return all
}

// What is dead-lettered: what was not written, for a class that is permanent, unless the
// breaker holds it, or it is a letter of this output.
func TestWhatIsDeadLettered(t *testing.T) {
	t.Parallel()
	conf, err := service.NewConfigSpec().ParseYAML("", nil)
	require.NoError(t, err)
	var got []string
	down := false
	out, err := conf.Resources().ManagedBatchOutput("letters", 1, streamtest.Sink(func(_ context.Context, batch service.MessageBatch) error {
		if down {
			return errors.New("down")
		}
		for _, m := range batch {
			content, _ := m.AsBytes()
			got = append(got, string(content))
		}
		return nil
	}))
	require.NoError(t, err)
	log, text := lines()
	retry := guard.Retry{InitialInterval: time.Millisecond, MaxInterval: time.Millisecond}
	n, m := newNotices(log, endpoint{}), metricsOfTest(t)
	d := &deadLetters{
		child:   &child{field: fieldDeadLetter, out: out, waiting: map[*childWrite]struct{}{}, notices: n, metrics: m, retry: retry, turns: turnsOf(retry)},
		classes: []guard.Class{guard.SizeExceeded, guard.Unroutable},
	}
	batch := streamtest.Batch("delivered", "large", "in doubt", "denied", "held by the breaker", "a letter of this output", "a letter of another", "illegal")
	batch[5] = d.letter(batch[5], nil, &guard.Failure{}, "")
	batch[6] = (&deadLetters{}).letter(batch[6], nil, &guard.Failure{}, "")
	large, illegal := failed(guard.SizeExceeded, guard.NotWritten), failed(guard.Unroutable, guard.NotWritten)
	verdicts := []guard.Verdict{delivered, large, failed(guard.SizeExceeded, guard.Unknown), failed(guard.Unauthorized, guard.NotWritten), large, large, large, illegal}
	records := make([]*kgo.Record, len(batch))
	require.Equal(t, map[int]bool{1: true, 6: true, 7: true}, d.deliver(t.Context(), batch, records, verdicts, []int{4}))
	require.Equal(t, []string{"large", "a letter of another", "illegal"}, got)
	require.Equal(t, 2, text.Count("messages for topic t failed for good"), text)

	require.Nil(t, d.deliver(t.Context(), batch[:1], records, verdicts[:1], nil))
	require.Len(t, got, 3, "nothing more came")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	down = true
	require.Empty(t, d.deliver(ended, batch, records, verdicts, nil), "nothing is taken")
	require.NoError(t, out.Close(t.Context()))
}

// max_elapsed_time bounds the tries at Kafka. A dead letter is tried for as long as it takes.
func TestDeadLettersAreNotGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newVirtualCluster(t)
		c.Topic("t", 1, limited)
		s := c.stream([]string{"m0", big, "m2"})
		m := newCounted()
		s.Metrics = m
		began := time.Now()
		s.Refuse = func(service.MessageBatch) error {
			if time.Since(began) < 2*time.Minute {
				return errors.New("down")
			}
			return nil
		}
		require.True(t, s.Run(t, t.Context(), c.alone("topic: t", "compression: none", "retry: { max_elapsed_time: 20s }", "dead_letter: { capture: {} }")))
		require.Equal(t, map[int]error{0: nil}, s.Acked())
		require.Equal(t, once("m0", "m2"), c.Values("t"))
		require.Len(t, s.Captured(), 1)
		require.EqualValues(t, 1, m.own()["kafka_guarded_dead_lettered{class=size_exceeded}"])
	})
}
