//go:build linux || darwin

package reported

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
	"github.com/kafka-guarded/kafka-guarded/internal/proxytest"
)

// records returns n records for a topic, each with another value.
func records(topic, prefix string, n int) (rs []*kgo.Record) {
	for i := range n {
		rs = append(rs, &kgo.Record{Topic: topic, Key: fmt.Append(nil, i%7), Value: fmt.Appendf(nil, "%s-%05d", prefix, i)})
	}
	return rs
}

// requireInLog requires that the topic has each delivered record once, at the offset of
// its verdict, and no other record.
func requireInLog(t *testing.T, c *kafkatest.Cluster, topic string, rs []*kgo.Record, vs []guard.Verdict) {
	t.Helper()
	log := map[string][]*kgo.Record{}
	for _, r := range c.ReadAll(topic) {
		log[string(r.Value)] = append(log[string(r.Value)], r)
	}
	for i, r := range rs {
		if vs[i].Outcome != guard.Delivered {
			require.Empty(t, log[string(r.Value)])
			continue
		}
		require.Len(t, log[string(r.Value)], 1, "%v", vs[i].Err())
		require.Equal(t, log[string(r.Value)][0].Offset, vs[i].Offset)
		require.Equal(t, log[string(r.Value)][0].Timestamp.UnixMilli(), vs[i].Timestamp.UnixMilli())
		delete(log, string(r.Value))
	}
	require.Empty(t, log)
}

// The only seed broker is a relay to a broker that advertises its own address. When the
// relay ends, the client goes on with the address that it learned, even if the topic's
// limit changes then.
func TestASeedThatEndsIsNotMissed(t *testing.T) {
	c := onkafka.OneNode(t)
	for _, ignore := range []bool{false, true} {
		topic := fmt.Sprint("seed-ends-", ignore)
		c.CreateTopic(topic, 3, 1, nil)
		relay, err := proxytest.New()
		require.NoError(t, err)
		relay.Connect(c.Brokers()[0])
		g, err := guard.New(guard.Config{IgnoreRules: ignore, RulesMaxAge: 100 * time.Millisecond, Retry: guard.Retry{InitialInterval: 10 * time.Millisecond}},
			kgo.SeedBrokers(fmt.Sprintf("127.0.0.1:%d", relay.Port())), kgo.ProducerBatchCompression(kgo.NoCompression()))
		require.NoError(t, err)
		defer g.Close()
		var rs []*kgo.Record
		var vs []guard.Verdict
		write := func(more []*kgo.Record) {
			rs, vs = append(rs, more...), append(vs, g.Write(t.Context(), more)...)
		}
		write(records(topic, "before", 100))
		relay.Cut()
		c.SetTopicConfig(topic, "max.message.bytes", "20000")
		for n := range 20 {
			more := records(topic, fmt.Sprint("after", n), 50)
			more[25].Value = bytes.Repeat(more[25].Value, 4000)
			write(more)
		}
		for i, v := range vs {
			if len(rs[i].Value) > 20_000 {
				require.Equal(t, guard.SizeExceeded, v.Class)
			} else {
				require.Equal(t, guard.Delivered, v.Outcome, "%v", v.Err())
			}
		}
		requireInLog(t, c, topic, rs, vs)
	}
}

// A seed broker that answers later is used when it does.
func TestSeedsThatAnswerLaterAreUsed(t *testing.T) {
	c := onkafka.OneNode(t)
	g := onkafka.NewGuard(t, c, guard.Config{})
	require.NoError(t, g.UseSeeds(t.Context(), append([]string{"127.0.0.1:1"}, c.Brokers()...)...))
	c.CreateTopic("later-seeds", 1, 1, nil)
	rs := records("later-seeds", "r", 10)
	vs := g.Write(t.Context(), rs)
	requireInLog(t, c, "later-seeds", rs, vs)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, g.UseSeeds(ended, "127.0.0.1:1"))
}

// With LogAppendTime, the verdict has the broker's timestamp.
func TestTheVerdictHasTheLogsTime(t *testing.T) {
	c := onkafka.OneNode(t)
	c.CreateTopic("log-append-time", 2, 1, map[string]string{"message.timestamp.type": "LogAppendTime"})
	g := onkafka.NewGuard(t, c, guard.Config{})
	rs := records("log-append-time", "r", 100)
	for _, r := range rs {
		r.Timestamp = time.Now().Add(-time.Hour)
	}
	vs := g.Write(t.Context(), rs)
	for _, v := range vs {
		require.NoError(t, v.Err())
		require.Less(t, time.Since(v.Timestamp), 30*time.Minute)
	}
	requireInLog(t, c, "log-append-time", rs, vs)
}

// Brokers may limit the connections of a client (KIP-402): at most three go to each.
func TestConnectionsToABrokerAreFew(t *testing.T) {
	c, relay := onkafka.Relayed(t, kafkatest.Options{})
	c.CreateTopic("few", 6, 1, map[string]string{"max.message.bytes": "20000"})
	for _, ignore := range []bool{false, true} {
		g := onkafka.NewGuard(t, c, guard.Config{IgnoreRules: ignore}, kgo.ProducerBatchCompression(kgo.NoCompression()))
		before := relay.Open()
		for n := range 10 {
			rs := records("few", fmt.Sprint(ignore, n), 200)
			rs[100].Value = bytes.Repeat(rs[100].Value, 4000)
			for i, v := range g.Write(t.Context(), rs) {
				require.Equal(t, i == 100, v.Outcome != guard.Delivered, "%v", v.Err())
			}
		}
		require.LessOrEqual(t, relay.Open()-before, 3)
		g.Close()
	}
}
