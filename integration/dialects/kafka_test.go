//go:build linux || darwin

// Package dialects compares the brokers of internal/kafkafake with real ones: both
// get the same raw requests.
package dialects

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/rawproduce"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

// broker is a broker that gets the requests.
type broker struct {
	name   string
	create func(t *testing.T, topic string, configs map[string]string)
	opts   []kgo.Opt
	addr   string
}

// brokers are Apache Kafka and the simulated broker that must answer alike.
func brokers(t *testing.T) []broker {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts a real Kafka node: run it without -short")
	}
	kafka := kafkatest.Start(t, kafkatest.Options{Version: kafkatest.NewestVersion})
	fake := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	return []broker{
		{"Kafka", func(_ *testing.T, topic string, configs map[string]string) { kafka.CreateTopic(topic, 2, 1, configs) }, kafka.ClientOpts(""), kafka.Brokers()[0]},
		{"kafkafake", func(t *testing.T, topic string, configs map[string]string) {
			require.NoError(t, fake.CreateTopic(topic, 2, configs))
		}, fake.Opts(), fake.ListenAddrs()[0]},
	}
}

// asked is a broker in one scenario, with its answers.
type asked struct {
	*testing.T
	conn  *rawproduce.Conn
	topic string
	id    [16]byte
	said  []string
}

// producer is a new producer ID.
func (a *asked) producer() int64 {
	a.Helper()
	id, err := a.conn.NewProducer()
	require.NoError(a, err)
	return id
}

// send sends a batch to partition 0, and keeps the answer.
func (a *asked) send(batch []byte) {
	a.Helper()
	a.sendTo(13, a.topic, a.id, rawproduce.Partition{Records: batch})
}

func (a *asked) sendTo(version int16, topic string, id [16]byte, partitions ...rawproduce.Partition) {
	a.Helper()
	answers, err := a.conn.Produce(version, topic, id, partitions...)
	require.NoError(a, err)
	for _, of := range answers {
		a.said = append(a.said, say(of))
	}
}

// say returns an answer as text: its code, base offset, and other fields that are set.
func say(of kmsg.ProduceResponseTopicPartition) string {
	code := "NONE"
	if err := kerr.ErrorForCode(of.ErrorCode); err != nil {
		code, _, _ = strings.Cut(err.Error(), ":")
	}
	words := fmt.Sprintf("%s base %d", code, of.BaseOffset)
	if of.LogAppendTime >= 0 {
		words += " time"
	}
	for _, r := range of.ErrorRecords {
		words += fmt.Sprintf(" named %d", r.RelativeOffset)
	}
	if of.ErrorMessage != nil {
		words += " text"
	}
	return words
}

const (
	corrupt = "CORRUPT_MESSAGE base -1"
	invalid = "INVALID_RECORD base -1"
	first   = "NONE base 0"
	second  = "NONE base 1"
	third   = "NONE base 2"
)

// Kafka's answers to produce requests: to those of guard, and to those that no client
// sends.
func TestKafkasAnswersToProduce(t *testing.T) {
	all := brokers(t)
	one := func() []byte { return rawproduce.Batch(rawproduce.Good()) }
	changed := func(change func(b []byte)) []byte { return rawproduce.Changed(one(), change) }
	keyless := kmsg.Record{Value: []byte("v")}
	early := rawproduce.Good()
	early.TimestampDelta64 = 2 * time.Hour.Milliseconds()
	for n, test := range []struct {
		name    string
		configs map[string]string
		ask     func(a *asked)
		said    []string
	}{
		{"good", nil, func(a *asked) { a.send(one()); a.send(one()) }, []string{first, second}},
		{"duplicate", nil, func(a *asked) {
			id := a.producer()
			a.send(rawproduce.Numbered(one(), id, 0, 0))
			a.send(rawproduce.Numbered(one(), id, 0, 0))
		}, []string{first, first + " time"}},
		{"topic with the log's time", map[string]string{"message.timestamp.type": "LogAppendTime"}, func(a *asked) {
			a.send(rawproduce.Batch(early))
		}, []string{first + " time"}},
		{"first sequence number in a partition that was never written", nil, func(a *asked) {
			a.send(rawproduce.Numbered(one(), a.producer(), 0, 50))
		}, []string{first}},
		{"gap in the sequence", nil, func(a *asked) {
			id := a.producer()
			a.send(rawproduce.Numbered(one(), id, 0, 0))
			a.send(rawproduce.Numbered(one(), id, 0, 2))
			a.send(rawproduce.Numbered(one(), id, 0, 1))
		}, []string{first, "OUT_OF_ORDER_SEQUENCE_NUMBER base -1", second}},
		{"epochs", nil, func(a *asked) {
			id := a.producer()
			a.send(rawproduce.Numbered(one(), id, 0, 0))
			a.send(rawproduce.Numbered(one(), id, 3, 0)) // the client raised its epoch
			a.send(rawproduce.Numbered(one(), id, 2, 0))
			a.send(rawproduce.Numbered(one(), id, 4, 1))
			a.send(rawproduce.Numbered(one(), id, 3, 1))
		}, []string{first, second, "INVALID_PRODUCER_EPOCH base -1", "OUT_OF_ORDER_SEQUENCE_NUMBER base -1", third}},
		{"rejected number is not used up", map[string]string{"cleanup.policy": "compact"}, func(a *asked) {
			id := a.producer()
			a.send(rawproduce.Numbered(rawproduce.Batch(keyless), id, 0, 0))
			a.send(rawproduce.Numbered(one(), id, 0, 0))
		}, []string{"INVALID_RECORD base -1 named 0 text", first}},
		{"no such topic", nil, func(a *asked) { a.sendTo(12, "nowhere", [16]byte{}, rawproduce.Partition{Records: one()}) },
			[]string{"UNKNOWN_TOPIC_OR_PARTITION base -1"}},
		{"no such topic ID", nil, func(a *asked) { a.sendTo(13, "", [16]byte{1, 2, 3}, rawproduce.Partition{Records: one()}) },
			[]string{"UNKNOWN_TOPIC_ID base -1"}},
		{"no such partition", nil, func(a *asked) {
			a.sendTo(13, a.topic, a.id, rawproduce.Partition{Partition: 7, Records: one()})
		}, []string{"UNKNOWN_TOPIC_OR_PARTITION base -1"}},
		{"a partition twice", nil, func(a *asked) {
			two := rawproduce.Batch(rawproduce.Good(), rawproduce.Good())
			a.sendTo(13, a.topic, a.id, rawproduce.Partition{Records: one()}, rawproduce.Partition{Records: two})
			a.send(one())
		}, []string{first, third}},
		{"too large", map[string]string{"max.message.bytes": "100"}, func(a *asked) {
			a.send(rawproduce.Batch(kmsg.Record{Value: make([]byte, 100)}))
		}, []string{"MESSAGE_TOO_LARGE base -1"}},
		{"without a key", map[string]string{"cleanup.policy": "compact"}, func(a *asked) {
			a.send(rawproduce.Batch(keyless, rawproduce.Good(), keyless))
			a.send(rawproduce.Gzipped(rawproduce.Batch(rawproduce.Good(), keyless)))
		}, []string{"INVALID_RECORD base -1 named 0 named 2 text", "INVALID_RECORD base -1 named 1 text"}},
		{"without a key and too early", map[string]string{"cleanup.policy": "compact"}, func(a *asked) {
			a.send(rawproduce.Batch(keyless, early))
		}, []string{"INVALID_TIMESTAMP base -1 named 0 named 1 text"}},
		{"no cleanup policy, without a key", map[string]string{"cleanup.policy": ""}, func(a *asked) {
			a.send(rawproduce.Batch(keyless))
		}, []string{first}},
		{"decompressed", map[string]string{"max.decompressed.message.bytes": "2000", "cleanup.policy": "compact"}, func(a *asked) {
			a.send(rawproduce.Gzipped(rawproduce.Batch(rawproduce.OfLength(2000))))
			a.send(rawproduce.Gzipped(rawproduce.Batch(keyless, rawproduce.OfLength(2001))))
			a.send(rawproduce.Batch(rawproduce.OfLength(2001)))
		}, []string{first, "INVALID_RECORD base -1", second}},
		{"checksum", nil, func(a *asked) {
			b := one()
			b[rawproduce.AtCRC]++
			a.send(b)
		}, []string{corrupt}},
		{"checksum, with a producer", nil, func(a *asked) {
			b := rawproduce.Numbered(one(), a.producer(), 0, 0)
			b[rawproduce.AtCRC]++
			a.send(b)
		}, []string{corrupt}},
		{"magic 1", nil, func(a *asked) { a.send(changed(func(b []byte) { b[rawproduce.AtMagic] = 1 })) }, []string{invalid}},
		{"first offset 5", nil, func(a *asked) { a.send(changed(func(b []byte) { b[7] = 5 })) }, []string{invalid}},
		{"last offset delta 5", nil, func(a *asked) { a.send(changed(func(b []byte) { b[rawproduce.AtLastDelta+3] = 5 })) }, []string{invalid}},
		{"count 2 of 1", nil, func(a *asked) {
			a.send(changed(func(b []byte) { b[rawproduce.AtCount+3], b[rawproduce.AtLastDelta+3] = 2, 1 }))
		}, []string{invalid}},
		{"count 1 of 2", nil, func(a *asked) {
			a.send(rawproduce.Changed(rawproduce.Batch(rawproduce.Good(), rawproduce.Good()), func(b []byte) {
				b[rawproduce.AtCount+3], b[rawproduce.AtLastDelta+3] = 1, 0
			}))
		}, []string{invalid}},
		{"no records in the batch", nil, func(a *asked) { a.send(rawproduce.Batch()) }, []string{invalid}},
		{"no batch", nil, func(a *asked) { a.send([]byte{}) }, []string{invalid}},
		{"two batches", nil, func(a *asked) { a.send(append(one(), one()...)) }, []string{invalid}},
		{"cut short", nil, func(a *asked) { a.send(one()[:rawproduce.HeadSize+2]) }, []string{invalid}},
		{"control batch", nil, func(a *asked) { a.send(changed(func(b []byte) { b[rawproduce.AtAttributes+1] |= 0x20 })) }, []string{invalid}},
		{"gzip that is none", nil, func(a *asked) { a.send(changed(func(b []byte) { b[rawproduce.AtAttributes+1] |= 1 })) },
			[]string{"UNKNOWN_SERVER_ERROR base -1"}},
		{"bytes behind the batch", nil, func(a *asked) { a.send(append(one(), 1, 2, 3)) }, []string{first}},
		{"negative sequence of a producer", nil, func(a *asked) { a.send(rawproduce.Numbered(one(), a.producer(), 0, -1)) }, []string{invalid}},
		{"acks 0", nil, func(a *asked) {
			b := one()
			closed, err := a.conn.Unacked(13, a.topic, a.id, rawproduce.Partition{Records: b})
			require.NoError(a, err)
			require.False(a, closed)
			b[rawproduce.AtCRC]++
			closed, err = a.conn.Unacked(13, a.topic, a.id, rawproduce.Partition{Records: b})
			require.NoError(a, err)
			require.True(a, closed)
		}, nil},
	} {
		for _, b := range all {
			t.Run(test.name+"/"+b.name, func(t *testing.T) {
				a := &asked{T: t, topic: fmt.Sprintf("t-%d", n)}
				b.create(t, a.topic, test.configs)
				a.id = topicID(t, b, a.topic)
				conn, err := rawproduce.Dial(b.addr)
				require.NoError(t, err)
				defer conn.Close()
				a.conn = conn
				test.ask(a)
				require.Equal(t, test.said, a.said)
			})
		}
	}
}

func topicID(t *testing.T, b broker, topic string) [16]byte {
	t.Helper()
	cl, err := kgo.NewClient(b.opts...)
	require.NoError(t, err)
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(t.Context(), topic)
	require.NoError(t, err)
	require.NoError(t, topics[topic].Err)
	return topics[topic].ID
}

// The configs that Kafka reports for a topic without configs of its own.
func TestKafkasReportedConfigs(t *testing.T) {
	for _, b := range brokers(t) {
		b.create(t, "t", nil)
		cl, err := kgo.NewClient(b.opts...)
		require.NoError(t, err)
		defer cl.Close()
		configs, err := kadm.NewClient(cl).DescribeTopicConfigs(t.Context(), "t")
		require.NoError(t, err)
		told := map[string]string{}
		for _, c := range configs[0].Configs {
			told[c.Key] = c.MaybeValue()
		}
		for name, value := range map[string]string{
			"max.message.bytes": "1048588", "segment.bytes": "1073741824", "cleanup.policy": "delete", "compression.type": "producer",
			"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "9223372036854775807", "message.timestamp.after.max.ms": "3600000",
			"max.decompressed.message.bytes": "2147483639",
		} {
			require.Equal(t, value, told[name], "%s of %s", name, b.name)
		}
	}
}
