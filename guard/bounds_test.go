package guard

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

func TestWhichTopicNamesAreLegal(t *testing.T) {
	t.Parallel()
	const legal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	for c := range 256 {
		name := "x" + string([]byte{byte(c)})
		require.Equal(t, strings.IndexByte(legal, byte(c)) >= 0, CheckTopic(name) == nil, "%q", name)
	}
	require.NoError(t, CheckTopic(strings.Repeat("x", 249)))
	require.ErrorContains(t, CheckTopic(strings.Repeat("x", 250)), "250 characters, Kafka takes at most 249")
	for _, name := range []string{"", ".", ".."} {
		require.Error(t, CheckTopic(name))
	}
	require.NoError(t, CheckTopic("..."))
	require.ErrorContains(t, CheckTopic("ab c"), "of its 4 characters, number 3 is none of these")
	_, g := newPlain(t)
	vs := g.Write(t.Context(), []*kgo.Record{{Topic: "a b"}, nil})
	require.Equal(t, []any{Unroutable, int32(-1), InvalidRecord, int32(-1)}, []any{vs[0].Class, vs[0].Partition, vs[1].Class, vs[1].Partition})
}

func newPlain(t *testing.T) (*kafkafake.Cluster, *Guard) {
	t.Helper()
	c := kafkafake.New(t)
	return c, newGuard(t, c, Config{})
}

func TestWhichConfigsAreValid(t *testing.T) {
	t.Parallel()
	for _, config := range []Config{
		{}, {MaxMessageBytes: 512}, {MaxMessageBytes: 1 << 30}, {RulesMaxAge: 1}, {Permanent: []Class{Unauthorized}},
		{Retry: Retry{InitialInterval: 1, MaxInterval: 1, MaxElapsedTime: 1}},
	} {
		require.NoError(t, config.Validate(), "%+v", config)
	}
	for _, config := range []Config{
		{MaxMessageBytes: -1}, {MaxMessageBytes: 511}, {MaxMessageBytes: 1<<30 + 1}, {RulesMaxAge: -1}, {Permanent: []Class{Unauthorized, Transient}},
		{Retry: Retry{InitialInterval: -1}}, {Retry: Retry{MaxInterval: -1}}, {Retry: Retry{MaxElapsedTime: -1}},
	} {
		require.Error(t, config.Validate(), "%+v", config)
	}
}

func TestTheLengthOfAFailuresText(t *testing.T) {
	t.Parallel()
	text := func(n int) string {
		f := &Failure{Class: Refused, Outcome: NotWritten, Problem: strings.Repeat("x", n-len("refused: "))}
		return f.Error()
	}
	require.Len(t, text(2000), 2000)
	require.True(t, strings.HasSuffix(text(2000), "xxxx"))
	require.Len(t, text(2001), 2000)
	require.True(t, strings.HasSuffix(text(2001), "x ..."))
}

// What kgo's options say of producing is passed on.
func TestWhatOfTheOptionsCounts(t *testing.T) {
	t.Parallel()
	of := func(opts ...kgo.Opt) (got []any) {
		g, err := New(Config{}, opts...)
		require.NoError(t, err)
		defer g.Close()
		require.Equal(t, int32(16<<20), g.client.OptValue(kgo.BrokerMaxReadBytes))
		c := g.settings.producer(g)
		return []any{c.Acks, c.InFlight, c.Idempotent, c.Timeout, c.AutoCreate, c.MaxRequest, c.MetadataMinAge, c.MetadataMaxAge, g.settings.codec}
	}
	const mostBytes = 100 << 20
	require.Equal(t, []any{int16(-1), 5, true, 10 * time.Second, false, mostBytes, 100 * time.Millisecond, 5 * time.Minute, "snappy"}, of())
	require.Equal(t, []any{int16(0), 1, false, 10 * time.Second, false, mostBytes, 100 * time.Millisecond, 5 * time.Minute, "snappy"}, of(kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()))
	require.Equal(t, []any{int16(1), 7, false, time.Second, true, 1 << 20, 10 * time.Millisecond, time.Minute, "uncompressed"},
		of(kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(7), kgo.ProduceRequestTimeout(time.Second), kgo.AllowAutoTopicCreation(),
			kgo.BrokerMaxWriteBytes(1<<20), kgo.MetadataMinAge(10*time.Millisecond), kgo.MetadataMaxAge(time.Minute), kgo.ProducerBatchCompression(kgo.NoCompression())))
	for codec, name := range map[kgo.CompressionCodec]string{kgo.GzipCompression(): "gzip", kgo.Lz4Compression(): "lz4", kgo.ZstdCompression(): "zstd"} {
		require.Equal(t, name, of(kgo.ProducerBatchCompression(codec))[8])
	}
}

func TestWhyThereIsNoRequestLimit(t *testing.T) {
	t.Parallel()
	c, g := newPlain(t)
	n, err := g.RequestLimit(t.Context())
	require.Zero(t, n)
	require.EqualError(t, err, "no broker reports its socket.request.max.bytes")
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Count: -1, Err: kerr.ClusterAuthorizationFailed})
	n, err = g.RequestLimit(t.Context())
	require.Zero(t, n)
	require.ErrorIs(t, err, kerr.ClusterAuthorizationFailed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n, err = newGuard(t, c, Config{}).RequestLimit(ctx)
	require.Zero(t, n)
	require.ErrorContains(t, err, "listing brokers: ")
}

// A client is not told of all topics of a cluster when it gets other seeds.
func TestOtherSeedsAskForNoTopics(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, Config{})
		all := c.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Do: kafkafake.Delay, Count: -1, When: func(r kmsg.Request) bool { return r.(*kmsg.MetadataRequest).Topics == nil }})
		require.NoError(t, g.UseSeeds(t.Context(), c.ListenAddrs()...))
		require.Zero(t, all.Hits())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Error(t, g.UseSeeds(ctx, "nowhere:1"))
	})
}

// What a write that gives up says of its records: what the broker answered last, and that its
// time was up if it was.
func TestWhatAWriteThatGivesUpSays(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			name   string
			fault  kafkafake.Fault
			budget bool
			want   []any
			text   string
		}{
			{"the leader moves, and the context ends", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotLeaderForPartition}, false, []any{NotWritten, Transient}, "transient: topic t partition 0: NOT_LEADER"},
			{"the leader moves, and the time is up", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotLeaderForPartition}, true, []any{NotWritten, Transient}, "transient: topic t partition 0: given up after retry.max_elapsed_time: NOT_LEADER"},
			{"a right is missing, and the time is up", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed}, true, []any{NotWritten, Unauthorized}, "unauthorized: topic t partition 0: TOPIC_AUTHORIZATION_FAILED"},
			{"the topic is gone, and the context ends", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownTopicOrPartition}, false, []any{NotWritten, UnknownTopic}, "unknown_topic: topic t partition 0: UNKNOWN_TOPIC_OR_PARTITION"},
			{"no answer comes", kafkafake.Fault{Do: kafkafake.SwallowAnswer}, false, []any{Unknown, Transient}, "transient: topic t partition 0: may have been written: "},
		} {
			config := Config{Retry: Retry{InitialInterval: 100 * time.Millisecond}}
			if test.budget {
				config.Retry.MaxElapsedTime = 5 * time.Second
			}
			c, g := newVirtual(t, config)
			test.fault.Count = -1
			c.AddFault(test.fault)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			vs := g.Write(ctx, records("t", "r", 2, 10))
			cancel()
			for _, v := range vs {
				require.Equal(t, test.want, []any{v.Outcome, v.Class}, "%s: %v", test.name, v.Err())
				require.True(t, strings.HasPrefix(v.Err().Error(), test.text), "%s: %v", test.name, v.Err())
				require.Equal(t, []any{v.Outcome, "t", int32(0)}, []any{v.Failure.Outcome, v.Failure.Topic, v.Failure.Partition}, test.name)
				require.Equal(t, []any{int32(0), int64(-1)}, []any{v.Partition, v.Offset}, test.name)
			}
		}
	})
}

// A record behind a batch that is held waits for the same, and says so with its cause.
func TestRecordsBehindAHeldBatchWaitForTheSame(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, Observer: n})
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed, Count: -1, For: 2 * time.Minute})
		done := make(chan []Verdict)
		go func() { done <- g.Write(t.Context(), records("t", "first", 2, 10)) }()
		time.Sleep(100 * time.Millisecond)
		require.Empty(t, classes(g.Write(t.Context(), records("t", "behind", 3, 10))))
		require.Empty(t, classes(<-done))
		told := n.take()
		most := 0
		for _, w := range told {
			require.Equal(t, []any{"t", "unauthorized", Unauthorized}, []any{w.Topic, w.Why, w.Class})
			require.ErrorIs(t, w.Cause, kerr.TopicAuthorizationFailed)
			require.Contains(t, w.Cause.Error(), "unauthorized: topic t partition 0: ")
			most = max(most, w.Records)
		}
		require.Equal(t, 5, most)
		require.True(t, told[len(told)-1].Over)
		require.False(t, told[len(told)-1].GivenUp)
	})
}

// A record that is sent again by itself is held for the reason of its rejection.
func TestARecordThatIsRetriedAloneSaysWhy(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		n := &notices{}
		c, g := newVirtual(t, Config{Retry: Retry{InitialInterval: time.Second}, Observer: n})
		c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidTimestamp, Count: 3})
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 1, 10))))
		told := n.take()
		require.NotEmpty(t, told)
		for _, w := range told {
			require.Equal(t, []any{"t", "transient", Transient}, []any{w.Topic, w.Why, w.Class})
			require.ErrorIs(t, w.Cause, kerr.InvalidTimestamp)
			require.Contains(t, w.Cause.Error(), "transient: topic t partition 0: ")
			require.NotContains(t, w.Cause.Error(), "may have been written")
		}
	})
}
