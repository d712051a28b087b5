//go:build linux || darwin

package speed

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// The streams of these tests never pause: ten batches of 500 messages wait in the
// output at any time. The topic takes a fifth of such a batch. A load with pauses would
// hide how a rejection affects other requests in flight.
//
// CI runs short streams, and kills one leader less. The long form is
//
//	go test ./integration/speed -run AtFullSpeed -v -timeout 60m -messages 100000 -runs 5
var (
	speedMessages = flag.Int("messages", 10_000, "how many messages each stream of the tests at full speed has")
	speedRuns     = flag.Int("runs", 1, "how often each stream of the tests at full speed runs")
)

const (
	speedTopic  = "full-speed"
	speedLimit  = "100000" // max.message.bytes
	speedBatch  = 500      // messages
	speedGood   = 1000     // bytes of a good message
	speedPoison = 101_000  // bytes of a bad one
)

// speedRules says how a stream gets to know the limit of its topic.
type speedRules string

const (
	rulesRead      speedRules = "rules read"
	rulesDisabled  speedRules = "topic_rules disabled"
	rulesForbidden speedRules = "no right to read rules"
)

// speedLoad is the load of a stream at full speed.
type speedLoad struct {
	name   string
	poison string // the class of one message in a hundred, "" for none
	// With keys every request has batches of all partitions. With a slow codec it takes
	// long from building a request to writing it. If kgo's own producer fails a batch
	// in that time, it writes null records, and no broker ever answers.
	keys  bool
	codec string
}

var speedLoads = []speedLoad{
	{name: "clean", codec: "none"},
	{name: "clean, keys, gzip", keys: true, codec: "gzip"},
	{name: "poisoned", poison: onkafka.SizeExceeded, codec: "none"},
	{name: "poisoned, keys, gzip", poison: onkafka.SizeExceeded, keys: true, codec: "gzip"},
	{name: "compacted, some without a key", poison: onkafka.InvalidRecord, keys: true, codec: "none"},
}

// feed returns an input that never pauses, with so many messages.
func (l speedLoad) feed(messages int) onkafka.Feed {
	pool := onkafka.Noise(4 << 20)
	n := 0
	return func(context.Context) []onkafka.Message {
		var batch []onkafka.Message
		for ; n < messages && len(batch) < speedBatch; n++ {
			m := onkafka.Message{ID: fmt.Sprintf("m-%06d", n), Topic: speedTopic}
			if l.keys {
				m.Key = &m.ID
			}
			size := speedGood
			if l.poison != "" && n%100 == 37 {
				m = m.Bad(l.poison)
				if l.poison == onkafka.SizeExceeded {
					size = speedPoison
				} else {
					m.Key = nil
				}
			}
			from := n * 7919 % (len(pool) - speedPoison)
			m.Value = fmt.Appendf(nil, "%s %s", m.ID, pool[from:from+size])
			batch = append(batch, m)
		}
		return batch
	}
}

// atFullSpeed runs so many messages of the load, and calls meanwhile at the same time.
// It accounts for each message, and returns how long the stream took.
func atFullSpeed(t *testing.T, c *kafkatest.Cluster, messages int, rules speedRules, load speedLoad, meanwhile func(*onkafka.Stream)) time.Duration {
	t.Helper()
	properties := map[string]string{"max.message.bytes": speedLimit}
	if load.poison == onkafka.InvalidRecord {
		properties["cleanup.policy"] = "compact"
	}
	c.CreateTopic(speedTopic, 6, c.Nodes(), properties)
	onkafka.MayWrite(c, onkafka.Alice, speedTopic)
	if rules == rulesRead {
		c.Grant("User:"+onkafka.Alice, kadm.OpDescribeConfigs, kafkatest.TopicResource(speedTopic))
	}
	l := onkafka.NewChecker(t, fmt.Sprintf("full speed/%s/%s", rules, load.name))
	unanswerable := c.Logged(nullRecords)
	began := time.Now()
	s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{
		"sasl":          []any{onkafka.Fields{"mechanism": kafkatest.Plain, "username": onkafka.Alice, "password": onkafka.AlicePassword}},
		"topic_rules":   onkafka.Fields{"enabled": rules != rulesDisabled},
		"compression":   load.codec,
		"max_in_flight": 10,
	}), load.feed(messages))
	if meanwhile != nil {
		meanwhile(s)
	}
	s.Wait()
	took := time.Since(began)
	l.CheckTopics(c, speedTopic)
	require.Equal(t, unanswerable, c.Logged(nullRecords), "the broker got requests with null records, which it never answers")
	return took
}

// nullRecords is in Kafka's log of a produce request with null records.
const nullRecords = "ProduceRequest.partitionSizes"

// This test is not parallel, so that no other test slows its streams down.
func TestAllIsDeliveredAtFullSpeed(t *testing.T) {
	for _, version := range []string{kafkatest.DefaultVersion, kafkatest.Version39} {
		for _, load := range speedLoads {
			took := map[speedRules]time.Duration{} // the median
			for _, rules := range []speedRules{rulesRead, rulesDisabled, rulesForbidden} {
				if rules == rulesDisabled && version == kafkatest.Version39 {
					continue // the other two show what differs with the version
				}
				t.Run(fmt.Sprintf("%s, %s, %s", version, load.name, rules), func(t *testing.T) {
					c := onkafka.Shared(t, onkafka.SpeedOptions(version, 1))
					var all []time.Duration
					for run := range *speedRuns {
						t.Run(fmt.Sprint("run ", run+1), func(t *testing.T) {
							all = append(all, atFullSpeed(t, c.With(t), *speedMessages, rules, load, nil))
						})
					}
					slices.Sort(all)
					if len(all) > 0 {
						took[rules] = all[len(all)/2]
						t.Logf("RESULT full speed/%s/%s/%s seconds=%.2f slowest=%.2f to_rules_read=%.2f", version, load.name, rules,
							took[rules].Seconds(), all[len(all)-1].Seconds(), took[rules].Seconds()/took[rulesRead].Seconds())
					}
				})
			}
		}
	}
}

// Kafka never answers a request with null records. It answers one with empty records,
// and appends the batches of the other partitions. The two requests differ by one byte.
func TestKafkaAnswersEmptyRecords(t *testing.T) {
	t.Parallel()
	for _, version := range []string{kafkatest.DefaultVersion, kafkatest.Version39} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, relay := onkafka.Relayed(t, onkafka.SpeedOptions(version, 1))
			c.CreateTopic("empty", 2, 1, nil)
			onkafka.MayWrite(c, onkafka.Alice, "empty")
			relay.Follow(onkafka.Rules{Request: func(req *kmsg.ProduceRequest) bool {
				for i := range req.Topics[0].Partitions {
					if p := &req.Topics[0].Partitions[i]; p.Partition == 0 {
						p.Records = []byte{}
					}
				}
				return true
			}})
			client, err := kgo.NewClient(append(c.ClientOpts(onkafka.Alice), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(time.Second))...)
			require.NoError(t, err)
			defer client.Close()
			results := client.ProduceSync(t.Context(), &kgo.Record{Topic: "empty"}, &kgo.Record{Topic: "empty", Partition: 1})
			got := map[int32]error{}
			for _, r := range results {
				got[r.Record.Partition] = r.Err
			}
			require.Equal(t, map[int32]error{0: kerr.InvalidRecord, 1: nil}, got)
			require.Len(t, c.ReadAll("empty"), 1)
		})
	}
}

func TestAllIsDeliveredAtFullSpeedWhileALeaderIsKilled(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rules speedRules
		load  speedLoad
		// Without a known limit a batch may be rejected after its first attempt went to
		// the killed leader. Then its records may have been written.
		uncertain bool
	}{
		{rulesRead, speedLoads[2], false},
		{rulesForbidden, speedLoads[1], true},
		{rulesForbidden, speedLoads[4], true},
		{rulesRead, speedLoads[1], false},
	} {
		if test.rules == rulesRead && test.load.poison == "" && *speedRuns == 1 {
			continue
		}
		t.Run(fmt.Sprintf("%s, %s", test.load.name, test.rules), func(t *testing.T) {
			c := onkafka.Shared(t, onkafka.SpeedOptions(kafkatest.DefaultVersion, 3))
			for run := range *speedRuns {
				t.Run(fmt.Sprint("run ", run+1), func(t *testing.T) {
					c := c.With(t)
					messages := 4 * *speedMessages // enough that some are left when the leader is killed
					atFullSpeed(t, c, messages, test.rules, test.load, func(s *onkafka.Stream) {
						s.Checker.Uncertain = test.uncertain
						s.GoOn(messages / speedBatch / 4)
						c.Kill(c.Leader(speedTopic, 0))
					})
				})
			}
		})
	}
}
