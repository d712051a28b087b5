//go:build linux || darwin

package speed

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// coreVersions are the versions of Kafka that the core is tested on. CI has the oldest,
// which differs most, and the newest. The long form is
//
//	make versions
var coreVersions = flag.String("versions", kafkatest.Versions[0]+","+kafkatest.NewestVersion,
	"the versions of Kafka to test the core on, separated by commas, or all")

// core has the tests that each version of Kafka must pass, by name.
var core = []struct {
	name string
	test func(*testing.T, coreCluster)
}{
	{"clean", coreClean},
	{"too large", coreTooLarge},
	{"null keys in a compacted topic", coreNullKeys},
	{"timestamps out of bounds", coreTimestamps},
	{"the broker lists the failed records", coreListed},
	{"limit that changes", coreLimitChanges},
	{"killed and restarted", coreKilled},
}

// coreCluster is a cluster of some version, with its data for a test of the core.
type coreCluster struct {
	*kafkatest.Cluster
	version  string
	rules    speedRules
	topic    string
	scenario string
}

func TestCoreOnVersions(t *testing.T) {
	onkafka.SkipShort(t)
	t.Parallel()
	versions := strings.Split(*coreVersions, ",")
	if *coreVersions == "all" {
		versions = kafkatest.Versions
	}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			began, passed := time.Now(), 0
			cluster := kafkatest.Start(t, onkafka.SpeedOptions(version, 1))
			if kafkatest.Older(version, "2.8.0") { // from then on WRITE implies it
				cluster.Grant("User:"+onkafka.Alice, kadm.OpIdempotentWrite, kafkatest.ClusterResource())
			}
			for _, rules := range []speedRules{rulesRead, rulesForbidden} {
				for n, of := range core {
					name := fmt.Sprintf("%s/%s", of.name, rules)
					t.Run(name, func(t *testing.T) {
						c := coreCluster{cluster.With(t), version, rules, fmt.Sprintf("core-%d-%t", n, rules == rulesRead), "versions/" + version + "/" + name}
						onkafka.MayWrite(c.Cluster, onkafka.Alice, c.topic)
						if rules == rulesRead {
							c.Grant("User:"+onkafka.Alice, kadm.OpDescribeConfigs, kafkatest.TopicResource(c.topic))
						}
						of.test(t, c)
						passed++ // a failed test does not get here
					})
				}
			}
			t.Logf("RESULT Kafka %s: %d of %d passed, %s, %.0f s",
				version, passed, 2*len(core), abilities(t, cluster), time.Since(began).Seconds())
		})
	}
}

// abilities names the features of the cluster that matter to guard.
func abilities(t *testing.T, c *kafkatest.Cluster) string {
	t.Helper()
	versions, err := c.Admin().ApiVersions(t.Context())
	require.NoError(t, err)
	broker := versions[1]
	produce, _ := broker.KeyMaxVersion(int16(kmsg.Produce))
	mode := "ZooKeeper"
	if _, is := broker.KeyMaxVersion(int16(kmsg.DescribeQuorum)); is {
		mode = "KRaft"
	}
	c.CreateTopic("abilities", 1, 1, nil)
	topics, err := c.Admin().ListTopics(t.Context(), "abilities")
	require.NoError(t, err)
	return fmt.Sprintf("%s, produce v%d, topic IDs %t", mode, produce, topics["abilities"].ID != kadm.TopicID{})
}

// create makes the topic of the test.
func (c coreCluster) create(properties map[string]string) {
	c.CreateTopic(c.topic, 3, 1, properties)
}

// fields are those of a stream to the cluster.
func (c coreCluster) fields() onkafka.Fields {
	return onkafka.Defaults(c.Cluster).With(onkafka.Fields{
		"sasl":          []any{onkafka.Fields{"mechanism": kafkatest.Plain, "username": onkafka.Alice, "password": onkafka.AlicePassword}},
		"timestamp_ms":  `${! meta("ts") }`,
		"max_in_flight": 10,
	})
}

// oldest is the config that bounds the age of a message.
func (c coreCluster) oldest() string {
	if kafkatest.Older(c.version, "3.6.0") {
		return "message.timestamp.difference.max.ms"
	}
	return "message.timestamp.before.max.ms"
}

// runBatches runs ten batches of 50 messages. bad spoils every fifth message.
func (c coreCluster) runBatches(t *testing.T, bad func(onkafka.Message) onkafka.Message) {
	t.Helper()
	l := onkafka.NewChecker(t, c.scenario)
	onkafka.Run(l, c.fields(), c.batches(bad)...)
	l.CheckTopics(c.Cluster, c.topic)
}

func (c coreCluster) batches(bad func(onkafka.Message) onkafka.Message) (all [][]onkafka.Message) {
	for b := range 10 {
		var batch []onkafka.Message
		for i := range 50 {
			m := onkafka.Good(c.topic, fmt.Sprintf("m-%02d-%02d", b, i)).Aged(10 * time.Minute)
			if i%5 == 3 {
				m = bad(m)
			}
			batch = append(batch, m)
		}
		all = append(all, batch)
	}
	return all
}

func coreClean(t *testing.T, c coreCluster) {
	c.create(nil)
	c.runBatches(t, func(m onkafka.Message) onkafka.Message { return m })
}

func coreTooLarge(t *testing.T, c coreCluster) {
	c.create(map[string]string{"max.message.bytes": "20000"})
	c.runBatches(t, func(m onkafka.Message) onkafka.Message {
		return m.Padded(21_000, onkafka.Noise).Bad(onkafka.SizeExceeded)
	})
}

func coreNullKeys(t *testing.T, c coreCluster) {
	c.create(map[string]string{"cleanup.policy": "compact"})
	c.runBatches(t, func(m onkafka.Message) onkafka.Message { return m.Keyless().Bad(onkafka.InvalidRecord) })
}

func coreTimestamps(t *testing.T, c coreCluster) {
	c.create(map[string]string{c.oldest(): "3600000"})
	c.runBatches(t, func(m onkafka.Message) onkafka.Message { return m.Aged(2 * time.Hour).Bad(onkafka.InvalidRecord) })
}

// requests counts produce requests.
type requests struct{ atomic.Int64 }

// OnBrokerWrite is kgo's hook for requests.
func (n *requests) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if kmsg.Key(key) == kmsg.Produce {
		n.Add(1)
	}
}

// coreListed writes 1,000 records, of which half are bad for two reasons. Without topic
// configs, the broker's record errors find them: one request has all records, one has a
// single listed record as proof, and one has the records that were not listed.
func coreListed(t *testing.T, c coreCluster) {
	c.CreateTopic(c.topic, 1, 1, map[string]string{"cleanup.policy": "compact", c.oldest(): "3600000"})
	var sent requests
	g := onkafka.NewGuard(t, c.Cluster, guard.Config{}, append(c.ClientOpts(onkafka.Alice), kgo.WithHooks(&sent), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	// The first write shows that the broker's record errors are right.
	first := g.Write(t.Context(), []*kgo.Record{{Topic: c.topic}, {Topic: c.topic, Key: []byte("first")}})
	require.Equal(t, guard.InvalidRecord, first[0].Class)
	require.Equal(t, guard.Delivered, first[1].Outcome)
	sent.Store(0)

	var records []*kgo.Record
	want, words := map[int]guard.Class{}, map[string]int{}
	for i := range 1000 {
		record := &kgo.Record{Topic: c.topic, Key: fmt.Append(nil, i), Value: fmt.Append(nil, i), Timestamp: time.Now()}
		switch i % 4 {
		case 1:
			record.Key = nil
		case 3:
			record.Timestamp = time.Now().Add(-2 * time.Hour)
		}
		if i%2 == 1 {
			want[i] = guard.InvalidRecord
		}
		records = append(records, record)
	}
	got := map[int]guard.Class{}
	for i, v := range g.Write(t.Context(), records) {
		if v.Outcome != guard.Delivered {
			got[i] = v.Class
			before, _, _ := strings.Cut(v.Failure.Problem, c.topic)
			before, _, _ = strings.Cut(before, " of message")
			words[strings.TrimRight(before, "0123456789")]++
		}
	}
	require.Equal(t, want, got)
	require.Len(t, c.ReadAll(c.topic), 501)
	if c.rules == rulesRead {
		require.LessOrEqual(t, sent.Load(), int64(3), "produce requests: a record to confirm each of two limits, and all others")
		return
	}
	t.Logf("RESULT %s requests=%d", c.scenario, sent.Load())
	if kafkatest.Older(c.version, "2.5.0") {
		require.LessOrEqual(t, sent.Load(), int64(502), "produce requests")
		return // it lists only the first bad record of a batch, without a text
	}
	require.Equal(t, map[string]int{
		"the broker says: Compacted topic cannot accept message without key in topic partition ": 250,
		"the broker says: Timestamp ": 250,
	}, words)
	require.LessOrEqual(t, sent.Load(), int64(3), "produce requests")
}

// coreLimitChanges raises and lowers the topic's limit while a stream runs. Records
// between the two limits are sent only while the limit is the high one.
func coreLimitChanges(t *testing.T, c coreCluster) {
	c.create(map[string]string{"max.message.bytes": "20000"})
	l := onkafka.NewChecker(t, c.scenario)
	input := c.batches(func(m onkafka.Message) onkafka.Message { return m })
	next, turn := onkafka.Batches(input...), make(chan struct{})
	s := onkafka.Start(l, c.fields(), func(ctx context.Context) []onkafka.Message {
		select {
		case <-turn:
			return next(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	limits := []string{"50000", "20000"}
	for b := range input {
		for i := range input[b] {
			if m := &input[b][i]; i%5 == 3 {
				*m = m.Padded(30_000, onkafka.Noise)
				if b%2 == 0 { // before the limit is raised
					*m = m.Bad(onkafka.SizeExceeded)
				}
			}
		}
		turn <- struct{}{}
		s.GoOn(1)
		c.SetTopicConfig(c.topic, "max.message.bytes", limits[b%2])
		if c.rules == rulesRead {
			time.Sleep(onkafka.Staleness)
		}
	}
	close(turn)
	s.Wait()
	l.CheckTopics(c.Cluster, c.topic)
}

// coreKilled kills the only node under load, and starts it again.
func coreKilled(t *testing.T, c coreCluster) {
	c.create(map[string]string{"max.message.bytes": "20000"})
	l := onkafka.NewChecker(t, c.scenario)
	n := 0
	s := onkafka.Start(l, c.fields(), func(ctx context.Context) []onkafka.Message {
		if ctx.Err() != nil {
			return nil
		}
		var batch []onkafka.Message
		for range 50 {
			m := onkafka.Good(c.topic, fmt.Sprintf("m-%06d", n)).Aged(0)
			if n%100 == 37 && c.rules == rulesRead { // without known limits, a good record of its batch may be in doubt
				m = m.Padded(21_000, onkafka.Noise).Bad(onkafka.SizeExceeded)
			}
			n++
			batch = append(batch, m)
		}
		return batch
	})
	s.GoOn(10)
	c.Kill(1)
	c.Restart(1)
	s.GoOn(10)
	s.Finish()
	l.CheckTopics(c.Cluster, c.topic)
}
