package output

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// Processors that change the positions of messages in a batch. After each, a message
// may have the tags of another one.
const (
	drops      = `mapping: 'root = if content().has_prefix("drop") { deleted() }'`
	multiplies = `unarchive: { format: lines }`
)

const quickRetry = "retry: { initial_interval: 1ms, max_interval: 10ms }"

// Without fallback and dead_letter, a failed message comes again until it passes.
// Whatever the pipeline did to its batch, no message may be acknowledged before it is
// in the topic.
func TestProcessorsInThePipelineLoseNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		processor string
		batch     []string
		want      []string
	}{
		{"a filter", drops, []string{"drop1", "m0", "m1", "bad", "m2"}, []string{"m0", "m1", "bad", "m2"}},
		{"a filter behind the bad", drops, []string{"bad", "m0", "drop1", "m1"}, []string{"m0", "m1", "bad"}},
		{"a multiplier", multiplies, []string{"m0\nbad1", "m1", "m2\nbad2"}, []string{"m0", "bad1", "m1", "m2", "bad2"}},
	} {
		for _, twice := range []bool{false, true} {
			t.Run(test.name+map[bool]string{true: ", twice"}[twice], func(t *testing.T) {
				t.Parallel()
				c := newCluster(t)
				c.Topic("t", 1)
				processors := []string{test.processor}
				if twice {
					processors = append(processors, test.processor)
				}
				// The topic of the bad messages is illegal at first.
				s := &streamtest.Stream{Config: streamtest.Config{Replay: true, Processors: append(processors, "mapping: 'meta try = counter()'")}, Batches: [][]string{test.batch}}
				topic := `topic: '${! if content().has_prefix("bad") && @try.number() < 12 { "a b" } else { "t" } }'`
				require.True(t, s.Run(t, t.Context(), c.alone(topic, quickRetry)))
				require.Equal(t, map[int]error{0: nil}, s.Acked())
				have := c.Values("t")
				for _, m := range test.want {
					require.Contains(t, have, m)
				}
			})
		}
	}
}

// The same for messages that are held and given up, although there is a dead_letter.
func TestAGivenUpMessageIsNotLostBehindAFilter(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	s := &streamtest.Stream{Config: streamtest.Config{Replay: true}, Batches: [][]string{{"drop1", "m0", "m1", "later", "m2"}}}
	s.Processors = []string{drops}
	when(s, streamtest.FailedWrite, func() { c.Topic("new", 1) })
	require.True(t, s.Run(t, t.Context(), c.alone(
		`topic: '${! if content() == "later" { "new" } else { "t" } }'`, "allow_auto_topic_creation: false",
		"retry: { initial_interval: 1ms, max_interval: 10ms, max_elapsed_time: 50ms }", "dead_letter: { capture: {} }")))
	require.Equal(t, map[int]error{0: nil}, s.Acked())
	require.Contains(t, c.Values("new"), "later")
	for _, m := range []string{"m0", "m1", "m2"} {
		require.Contains(t, c.Values("t"), m)
	}
	require.Empty(t, s.Captured())
}

// A child with processors of its own fails for a while, for one message or for all. Its
// error may list the messages or not.
func TestDeadLettersAreNotLostToTheChildsProcessors(t *testing.T) {
	t.Parallel()
	batch := []string{"m0", "bad-a", "bad-b", "bad-c", "m1", "bad-d"}
	bad := []string{"bad-a", "bad-b", "bad-c", "bad-d"}
	for _, child := range []struct {
		name, yaml string
		want       []string // contents that must arrive, whole or as a part of a message
	}{
		{"none", "capture: {}", bad},
		{"a filter", "capture: {}\nprocessors: [ { mapping: 'root = if content() == \"bad-a\" { deleted() }' } ]", bad[1:]},
		{"split", "capture: {}\nprocessors: [ { split: { size: 2 } } ]", bad},
		{"split by one", "capture: {}\nprocessors: [ { split: { size: 1 } } ]", bad},
		{"archive", "capture: {}\nprocessors: [ { archive: { format: lines } } ]", bad},
		{"group_by", "capture: {}\nprocessors: [ { group_by: [ { check: 'content() == \"bad-b\"' } ] } ]", bad},
		{"a multiplier", "capture: {}\nprocessors: [ { mapping: 'root = content() + \"\\n\" + content()' }, { unarchive: { format: lines } } ]", bad},
		{"switch", "switch:\n  cases:\n    - check: 'content() == \"bad-a\"'\n      output: { drop: {} }\n    - output: { capture: {}, processors: [ { split: { size: 2 } } ] }", bad[1:]},
		{"broker", "broker:\n  pattern: fan_out_fail_fast\n  outputs: [ { capture: {}, processors: [ { split: { size: 2 } } ] }, { drop: {} } ]", bad},
		{"resource", "resource: letters", bad},
	} {
		for _, fails := range []string{"in part", "wholly", "at random"} {
			t.Run(child.name+", "+fails, func(t *testing.T) {
				t.Parallel()
				c := newCluster(t)
				c.Topic("t", 1)
				f := &failing{how: fails, left: 3}
				s := &streamtest.Stream{Config: streamtest.Config{
					Replay:    true,
					Resources: "output_resources:\n  - label: letters\n    capture: {}\n    processors: [ { split: { size: 2 } } ]\n",
				}, Batches: [][]string{batch}, Refuse: f.refuse}
				topic := `topic: '${! if content().has_prefix("bad") { "a b" } else { "t" } }'`
				require.True(t, s.Run(t, t.Context(), c.withDeadLetter(child.yaml, topic)))
				require.Equal(t, map[int]error{0: nil}, s.Acked())
				require.Equal(t, once("m0", "m1"), c.Values("t"))
				arrived := ""
				for _, m := range s.Captured() {
					arrived += m.Content + "\n"
				}
				for _, m := range child.want {
					require.Contains(t, arrived, m)
				}
			})
		}
	}
}

// failing is a child that fails so often.
type failing struct {
	how  string
	mu   sync.Mutex
	left int
}

func (f *failing) refuse(batch service.MessageBatch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		return nil
	}
	f.left--
	down := errors.New("down")
	switch {
	case f.how == "in part" && len(batch) > 1:
		return service.NewBatchError(batch, down).Failed(len(batch)-1, down)
	case f.how == "at random" && f.left%2 == 0:
		return nil
	}
	return down
}

// A letter that the child always rejects delays only its own batch. There are few log
// lines about it.
func TestALetterThatIsRefusedForGoodDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var tries atomic.Int32
	s := &streamtest.Stream{Batches: [][]string{{"bad-a", "bad-never", "bad-b", "m0"}}, Refuse: func(batch service.MessageBatch) error {
		for _, m := range batch {
			if content, _ := m.AsBytes(); string(content) == "bad-never" {
				if tries.Add(1) == 20 {
					cancel()
				}
				return errors.New("refused for good")
			}
		}
		return nil
	}}
	topic := `topic: '${! if content().has_prefix("bad") { "a b" } else { "t" } }'`
	require.False(t, s.Run(t, ctx, c.withDeadLetter("capture: {}", topic)))
	dead := s.DeadLetters(t)
	require.Contains(t, dead, "bad-a")
	require.Contains(t, dead, "bad-b")
	require.Equal(t, 1, strings.Count(s.Log.String(), "The output of dead_letter did not take"))
}

func TestANestedDeadLetterKeepsTheFirstReason(t *testing.T) {
	t.Parallel()
	for _, child := range []string{"direct", "resource"} {
		t.Run(child, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1, limited)
			c.Topic("dlq", 1, limited)
			guarded := "kafka_guarded:" + streamtest.Indent(c.config("topic: dlq", "dead_letter: { capture: {} }"), 2)
			s := &streamtest.Stream{Batches: [][]string{{"m0", big}}}
			s.Resources = "output_resources:\n  - label: letters\n" + streamtest.Indent(guarded, 4)
			if child == "resource" {
				guarded = "resource: letters"
			}
			require.True(t, s.Run(t, t.Context(), c.withDeadLetter(guarded, "topic: t")))
			require.Len(t, s.Captured(), 1)
			meta := s.Captured()[0].Meta
			require.Equal(t, "t", meta[metaTopic])
			require.Equal(t, "size_exceeded", meta[metaClass])
			require.Contains(t, meta[metaError], "topic t partition 0:")
			require.Contains(t, meta[metaLetterError], "size_exceeded: topic dlq partition 0:")
		})
	}
}

func TestAChildThatMayWaitForEverIsRefused(t *testing.T) {
	t.Parallel()
	const guarded = "topic: t\nseed_brokers: [ localhost:9092 ]\ndead_letter: "
	for yaml, at := range map[string]string{
		"{ broker: { outputs: [ { drop: {} } ], batching: { count: 10 } } }":                                                                 "dead_letter.broker.batching",
		"{ switch: { cases: [ { output: { http_client: { url: 'http://a', batching: { byte_size: 10 } } } }, { output: { drop: {} } } ] } }": "dead_letter.switch.cases.0.output.http_client.batching",
		"{ broker: { outputs: [ { drop: {} } ], batching: { check: 'true' } } }":                                                             "dead_letter.broker.batching",
		"{ kafka_guarded: { seed_brokers: [ a:1 ], topic: dlq, batching: { count: 2 } } }":                                                   "dead_letter.kafka_guarded.batching",
	} {
		require.ErrorContains(t, refusal(guarded+yaml), at+" waits for a number of messages", yaml)
	}
	for _, yaml := range []string{
		"{ broker: { outputs: [ { drop: {} } ], batching: { count: 10, period: 1s } } }",
		"{ broker: { outputs: [ { drop: {} } ], batching: { count: 1 } } }",
		"{ drop: {} }",
	} {
		require.NoError(t, refusal(guarded+yaml), yaml)
	}
}

// A dead_letter leads back to its own output. The letter comes back once, and is then
// held like one that its output never takes. No other message waits for it.
func TestALetterThatComesBackIsHeld(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	ctx, cancel := context.WithCancel(t.Context())
	s := &streamtest.Stream{
		Config:  streamtest.Config{Resources: "output_resources:\n  - label: self" + streamtest.Indent(c.withDeadLetter("resource: self", "topic: t"), 4)},
		Batches: [][]string{{"m0", big}, {"m1"}},
		Hear: func(line string) {
			if strings.Contains(line, "The output of dead_letter did not take 1 messages, which are tried again while their batches wait: size_exceeded:") {
				cancel()
			}
		},
	}
	require.False(t, s.Run(t, ctx, "resource: self"))
	require.Equal(t, map[string]int{"m0": 1, "m1": 1}, c.Values("t"))
	require.NotContains(t, s.Acked(), 0)
}

// A dedupe in the child drops a letter that passed it, failed, and is tried again. The
// log warns of it at the start.
func TestADedupeInTheChildLosesWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	s := &streamtest.Stream{
		Config:  streamtest.Config{Resources: "cache_resources: [ { label: seen, memory: {} } ]"},
		Batches: [][]string{{"m0", big}}, Refuse: (&failing{how: "wholly", left: 1}).refuse,
	}
	require.True(t, s.Run(t, t.Context(), c.withDeadLetter("capture: {}\nprocessors: [ { dedupe: { cache: seen, key: '${! content() }' } } ]", "topic: t")))
	require.Equal(t, map[int]error{0: nil}, s.Acked())
	require.Empty(t, s.Captured())
	require.Contains(t, s.Log.String(), "dead_letter.processors.0.dedupe: a message that passes it and then fails is dropped when it is tried again")
}
