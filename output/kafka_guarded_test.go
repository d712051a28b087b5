package output

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

var (
	big  = strings.Repeat("B", 30_000)     // over the limit of topic "t" below
	huge = strings.Repeat("H", (1<<20)+10) // over the client's
)

const limited = "max.message.bytes=20000"

func TestWriteBatchNamesExactlyTheFailed(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	o := c.output(`topic: '${! if content().length() == 3 { "a b" } else { "t" } }'`)
	failed, err := failures(t, o, streamtest.Batch("m0", "m1", big, "m3", "bad", "m5", huge, "m7"))
	require.Len(t, failed, 3)
	require.Equal(t, "size_exceeded: topic t partition 0: 30072 bytes exceed the topic's max.message.bytes (20000)", failed[2])
	require.Contains(t, failed[4], `unroutable: illegal topic name`)
	require.Equal(t, "size_exceeded: topic t: 1048660 bytes exceed the topic's max.message.bytes (20000)", failed[6])
	require.ErrorContains(t, err, failed[2]+" (3 of 8 messages failed: 2 size_exceeded, 1 unroutable)")
	require.Equal(t, once("m0", "m1", "m3", "m5", "m7"), c.Values("t"))
}

func TestWriteBatchReturnsNilWhenAllIsDelivered(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	o := c.output("topic: t")
	require.NoError(t, o.WriteBatch(t.Context(), streamtest.Batch("a", "b")))
	require.Equal(t, once("a", "b"), c.Values("t"))
	path := filepath.Join(t.TempDir(), "none")
	for _, o := range []*output{o, c.output("topic: t", "delivery_report: { file: { path: "+path+" } }")} {
		require.NoError(t, o.WriteBatch(t.Context(), nil))
	}
	require.NoFileExists(t, path)
}

func TestAMessageThatMakesNoRecordFailsAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, content, want string
		lines               []string
	}{
		{"topic", `{"s":"SECRET"}`, `unroutable: the interpolation of the field topic fails for this message`, []string{`topic: '${! json("t").not_null() }'`}},
		{"partition fails", `{"t":"t"}`, `unroutable: topic t: the interpolation of the field partition fails for this message`, []string{`topic: t`, `partitioner: manual`, `partition: '${! json("p").number() }'`}},
		{"partition abc", `{"p":"abc"}`, `unroutable: topic t: the field partition does not give a whole number up to 2147483647`, []string{`topic: t`, `partitioner: manual`, `partition: '${! json("p") }'`}},
		{"partition 99", `{"p":99}`, `unroutable: topic t partition 99: no such partition: the topic has 1`, []string{`topic: t`, `partitioner: manual`, `partition: '${! json("p") }'`}},
		{"key", `{"s":"SECRET"}`, `invalid_record: topic t: the interpolation of the field key fails for this message`, []string{`topic: t`, `key: '${! json("k").not_null() }'`}},
		{"timestamp", `{"ts":"SECRET"}`, `invalid_record: topic t: the field timestamp_ms does not give a whole number`, []string{`topic: t`, `timestamp_ms: '${! json("ts") }'`}},
		{"timestamp of the year 1", `{"ts":-62135596800000}`, `invalid_record: topic t: the field timestamp_ms gives the year 1: times that can be sent are from 1677 to 2262`, []string{`topic: t`, `timestamp_ms: '${! json("ts") }'`}},
		{"timestamp in seconds of the year 1", `{"ts":-62135596800}`, `invalid_record: topic t: the field timestamp gives the year 1: times that can be sent are from 1677 to 2262`, []string{`topic: t`, `timestamp: '${! json("ts") }'`}},
		{"null key check", `{"s":"SECRET"}`, `invalid_record: topic t: the mapping in the field null_key does not give a boolean for this message`, []string{`topic: t`, `null_key: 'this.s.or(false)'`}},
		{"tombstone check", `{"s":"SECRET"}`, `invalid_record: topic t: the mapping in the field tombstone fails for this message`, []string{`topic: t`, `tombstone: 'this.s.or("0").number() > 0'`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1)
			o := c.output(test.lines...)
			good := `{"t":"t","p":"0","k":"k","ts":1}`
			failed, err := failures(t, o, streamtest.Batch(good, test.content, good))
			require.Equal(t, map[int]string{1: test.want}, failed)
			require.NotContains(t, err.Error(), "SECRET")
			require.Equal(t, map[string]int{good: 2}, c.Values("t"))
		})
	}
}

// A topic that is made of the message is a part of the message. Only a legal one is
// shown.
func TestIllegalTopicsShowNoContent(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"a space": "SECRET content", "too long": strings.Repeat("SECRET", 100), "of two dots": ".."} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			o := c.output("topic: ${! content() }", "retry: { max_elapsed_time: 100ms }")
			failed, err := failures(t, o, streamtest.Batch("legal", content))
			require.Contains(t, failed[1], "unroutable: ")
			require.Contains(t, failed[1], "illegal topic name: ")
			require.NotContains(t, err.Error(), "SECRET")
			require.NotContains(t, failed[1], "SECRET")
		})
	}
}

func TestUnserialisableContentFailsAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	o := c.output("topic: t")
	batch := streamtest.Batch("a", "b", "c")
	batch[1].SetStructuredMut(map[string]any{"f": math.NaN()})
	failed, _ := failures(t, o, batch)
	require.Equal(t, map[int]string{1: "invalid_record: topic t: the message's structured content can't be serialised as JSON"}, failed)
	require.Equal(t, once("a", "c"), c.Values("t"))
}

func TestRecordsHaveWhatTheConfigSays(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 3)
	o := c.output(
		"topic: t", "partitioner: manual", `partition: '${! json("p") }'`, `key: '${! json("k").or("") }'`,
		`null_key: 'this.k == null'`, `tombstone: 'this.gone == true'`, `timestamp_ms: '${! json("ts") }'`,
		`metadata: { include_prefixes: [ "h_" ] }`,
	)
	batch := streamtest.Batch(`{"p":2,"k":"key","ts":1700000000123}`, `{"p":1,"k":"","ts":1}`, `{"p":0,"ts":2,"gone":true}`)
	batch[0].MetaSet("h_one", "1")
	batch[0].MetaSet("other", "2")
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	log := c.Log("t")
	require.Len(t, log, 3)
	for _, r := range log {
		switch r.Partition {
		case 2:
			require.Equal(t, "key", string(r.Key))
			require.EqualValues(t, 1700000000123, r.Timestamp.UnixMilli())
			require.Len(t, r.Headers, 1)
			require.Equal(t, "h_one", r.Headers[0].Key)
			require.Equal(t, "1", string(r.Headers[0].Value))
		case 1:
			require.NotNil(t, r.Key, "an interpolated key is never null")
			require.Empty(t, r.Key)
		case 0:
			require.Nil(t, r.Key)
			require.Nil(t, r.Value)
		}
	}
}

func TestThroughFallbackEveryDeadLetterHasItsOwnText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		batches [][]string
	}{
		{"a part of the batch", [][]string{{"m0", big + "1", "m2", "bad", huge + "1", "m5"}, {"m6"}}},
		{"all of the batch, for different reasons", [][]string{{big + "1", "bad", huge + "1"}, {"m6"}}},
		{"batches of one", [][]string{{big + "1"}, {"m6"}, {"bad"}, {huge + "1"}}},
	} {
		for _, replay := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, replay %v", test.name, replay), func(t *testing.T) {
				t.Parallel()
				c := newCluster(t)
				c.Topic("t", 1, limited)
				s := &streamtest.Stream{Config: streamtest.Config{Replay: replay}, Batches: test.batches}
				require.True(t, s.Run(t, t.Context(), c.inFallback(`topic: '${! if content().length() == 3 { "a b" } else { "t" } }'`)))
				dead := s.DeadLetters(t)
				require.Len(t, dead, 3)
				require.Regexp(t, `size_exceeded: topic t( partition 0)?: 30073 bytes exceed the topic's max.message.bytes \(20000\)`, dead[big+"1"])
				require.True(t, strings.HasPrefix(dead["bad"], "unroutable:"), dead["bad"])
				require.Regexp(t, `size_exceeded: topic t( partition 0)?: 1048661 bytes`, dead[huge+"1"])
				var good []string
				for i, b := range test.batches {
					require.NoError(t, s.Acked()[i])
					for _, m := range b {
						if strings.HasPrefix(m, "m") {
							good = append(good, m)
						}
					}
				}
				require.Equal(t, once(good...), c.Values("t"))
			})
		}
	}
}

func TestWithoutFallbackNothingIsLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	// The bad messages are at positions 1 and 4. An input that gets a BatchError for
	// both twice in a row would lose the first.
	s := &streamtest.Stream{Config: streamtest.Config{Replay: true}, Batches: [][]string{{"m0", big + "1", "m2", "m3", big + "4", "m5"}, {"m6", "m7"}}}
	// The large message is sent again and again, until the limit is raised.
	requests := c.Count(kmsg.Produce)
	go func() {
		_ = requests.Wait(t.Context(), 8)
		_, _ = c.Admin.AlterTopicConfigs(t.Context(), setConfig("max.message.bytes", "100000"), "t")
	}()
	require.True(t, s.Run(t, t.Context(), c.alone("topic: t", "topic_rules: { enabled: false }", quickRetry)))
	require.Equal(t, map[int]error{0: nil, 1: nil}, s.Acked())
	have := c.Values("t")
	for _, m := range []string{"m0", big + "1", "m2", "m3", big + "4", "m5", "m6", "m7"} {
		require.Contains(t, have, m)
	}
	require.Contains(t, s.Log.String(), "Nothing takes the messages that fail for good")
}

func TestWithoutReplayTheInputIsToldOfTheFailure(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	s := &streamtest.Stream{Batches: [][]string{{"m0", big}, {"m2"}}}
	require.True(t, s.Run(t, t.Context(), c.alone("topic: t", "topic_rules: { enabled: false }")))
	require.ErrorContains(t, s.Acked()[0], "size_exceeded:")
	require.NoError(t, s.Acked()[1])
	require.Equal(t, once("m0", "m2"), c.Values("t"))
}

func TestAnUnreachableClusterIsWaitedFor(t *testing.T) {
	t.Parallel()
	conf, err := Spec().ParseYAML("seed_brokers: [ 127.0.0.1:1 ]\ntopic: t\n", nil)
	require.NoError(t, err)
	o, err := newOutput(conf, conf.Resources())
	require.NoError(t, err)
	require.ErrorContains(t, o.Connect(t.Context()), "127.0.0.1:1")
	require.Equal(t, service.ErrNotConnected, o.WriteBatch(t.Context(), streamtest.Batch("a")), "nothing was handed over")
	require.NoError(t, o.Close(t.Context()))
}

func TestShutdownInTheMiddleSaysWhatIsOpen(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	stuck := c.RefuseAll("t", kerr.RequestTimedOut)
	o := c.output("topic: t")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_ = stuck.Wait(t.Context(), 1)
		cancel()
	}()
	err := o.WriteBatch(ctx, streamtest.Batch("a", "b"))
	require.ErrorContains(t, err, "transient: topic t partition 0: may have been written: ")
	require.NoError(t, o.Close(t.Context()))
	require.Equal(t, once("a", "b"), c.Values("t"), "the broker did append before it answered")
}
