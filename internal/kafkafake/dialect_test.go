package kafkafake

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/rawproduce"
)

// produce sends a request with a batch for each partition of a topic.
func produce(t *testing.T, c *Cluster, topic string, batches ...[]byte) ([]kmsg.ProduceResponseTopicPartition, error) {
	t.Helper()
	cl, err := kgo.NewClient(append(c.Opts(), kgo.RequestRetries(0))...)
	require.NoError(t, err)
	defer cl.Close()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	of := kmsg.NewProduceRequestTopic()
	of.Topic, of.TopicID = topic, c.TopicInfo(topic).TopicID
	for i, b := range batches {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = int32(i), b
		of.Partitions = append(of.Partitions, p)
	}
	req.Topics = append(req.Topics, of)
	resp, err := cl.Broker(0).Request(t.Context(), req)
	if err != nil {
		return nil, err
	}
	answers := make([]kmsg.ProduceResponseTopicPartition, len(batches))
	for _, p := range resp.(*kmsg.ProduceResponse).Topics[0].Partitions {
		answers[p.Partition] = p
	}
	return answers, nil
}

func TestDialectsListTheFailedRecords(t *testing.T) {
	t.Parallel()
	keyless := kmsg.Record{Value: []byte("v")}
	old := rawproduce.Good()
	old.TimestampDelta64 = -2 * time.Hour.Milliseconds()
	marked := kmsg.Record{Key: []byte("k"), Value: []byte(Mark)}
	large := kmsg.Record{Key: []byte("k"), Value: make([]byte, 30_000)}
	const noKey = "Compacted topic cannot accept message without key in topic partition t-0"
	for _, test := range []struct {
		dialect Dialect
		batch   []byte
		code    *kerr.Error // nil if accepted
		listed  []int32
		text    string // of the last listed record
	}{
		{Kafka(), rawproduce.Batch(rawproduce.Good(), rawproduce.Good()), nil, nil, ""},
		{Kafka(), rawproduce.Batch(rawproduce.Good(), keyless, rawproduce.Good(), keyless), kerr.InvalidRecord, []int32{1, 3}, noKey},
		{Kafka(), rawproduce.Batch(keyless, old, rawproduce.Good()), kerr.InvalidTimestamp, []int32{0, 1}, "is out of range"},
		{Kafka(), rawproduce.Batch(rawproduce.Good(), large), kerr.MessageTooLarge, nil, ""},
		{Kafka(), rawproduce.Batch(rawproduce.Good(), marked), nil, nil, ""},
		{Kafka24(), rawproduce.Batch(rawproduce.Good(), keyless, keyless), kerr.InvalidRecord, []int32{1}, ""},
		{Registry(), rawproduce.Batch(rawproduce.Good(), marked, marked), kerr.InvalidRecord, []int32{1, 2}, "interceptor"},
		{Redpanda(), rawproduce.Batch(rawproduce.Good(), keyless), nil, nil, ""},
		{Redpanda(), rawproduce.Batch(rawproduce.Good(), old), kerr.InvalidTimestamp, nil, ""},
		{Redpanda(), rawproduce.Batch(marked, rawproduce.Good()), nil, nil, ""},
		{Redpanda(), rawproduce.Batch(rawproduce.Good(), marked), kerr.InvalidRecord, nil, ""},
		{RedpandaOfOld(), rawproduce.Batch(rawproduce.Good(), old), nil, nil, ""},
		{BlurringGateway(), rawproduce.Batch(rawproduce.Good(), marked), kerr.InvalidRecord, nil, ""},
		{EventHubs(), rawproduce.Batch(keyless, old), nil, nil, ""},
	} {
		t.Run(test.dialect.Name, func(t *testing.T) {
			t.Parallel()
			c := StartDialect(t, test.dialect, nil)
			c.Topic("t", 1, "max.message.bytes=20000", "cleanup.policy=compact", "message.timestamp.before.max.ms=3600000")
			answers, err := produce(t, c, "t", test.batch)
			require.NoError(t, err)
			a := answers[0]
			if test.code == nil {
				require.Zero(t, a.ErrorCode)
				require.NotEmpty(t, c.Log("t"))
				return
			}
			require.Equal(t, test.code, kerr.ErrorForCode(a.ErrorCode))
			require.Empty(t, c.Log("t"), "nothing of a refused batch is in the log")
			var listed []int32
			for _, r := range a.ErrorRecords {
				listed = append(listed, r.RelativeOffset)
			}
			require.Equal(t, test.listed, listed)
			if test.text != "" {
				require.Contains(t, *a.ErrorRecords[len(listed)-1].ErrorMessage, test.text)
			}
		})
	}
}

// A gateway rejects all partitions of a request for one bad record. A broker accepts
// the other partitions.
func TestAGatewayRefusesTheWholeRequest(t *testing.T) {
	t.Parallel()
	marked := kmsg.Record{Value: []byte(Mark)}
	for _, test := range []struct {
		dialect Dialect
		codes   []int16
	}{
		{Registry(), []int16{0, kerr.InvalidRecord.Code, 0}},
		{Gateway(), []int16{kerr.InvalidRecord.Code, kerr.InvalidRecord.Code, kerr.InvalidRecord.Code}},
	} {
		c := StartDialect(t, test.dialect, nil)
		c.Topic("t", 3)
		answers, err := produce(t, c, "t", rawproduce.Batch(rawproduce.Good()), rawproduce.Batch(rawproduce.Good(), marked), rawproduce.Batch(rawproduce.Good()))
		require.NoError(t, err)
		for i, a := range answers {
			require.Equal(t, test.codes[i], a.ErrorCode, test.dialect.Name)
			require.Equal(t, i == 1, len(a.ErrorRecords) == 1, "only the failed record is listed")
		}
	}
}

func TestKafkaNeverAnswersARequestWithNullRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := StartDialect(t, Kafka(), &Network{})
		c.Topic("t", 2)
		before := time.Now()
		_, err := produce(t, c, "t", rawproduce.Batch(rawproduce.Good()), nil)
		require.Error(t, err)
		require.GreaterOrEqual(t, time.Since(before), 10*time.Second, "it is the client that gives up")

		answers, err := produce(t, c, "t", rawproduce.Batch(rawproduce.Good()), []byte{})
		require.NoError(t, err)
		require.Equal(t, []int16{0, kerr.InvalidRecord.Code}, []int16{answers[0].ErrorCode, answers[1].ErrorCode}, "empty records are no null")
	})
}

func TestEventHubsClosesTheConnectionOverAMegabyte(t *testing.T) {
	t.Parallel()
	c := StartDialect(t, EventHubs(), nil)
	c.Topic("t", 2, "max.message.bytes=2000000")
	half := rawproduce.Batch(kmsg.Record{Value: []byte(strings.Repeat("x", 600_000))})
	_, err := produce(t, c, "t", half)
	require.NoError(t, err)
	_, err = produce(t, c, "t", half, half)
	require.Error(t, err)
	var code *kerr.Error
	require.NotErrorAs(t, err, &code)
}

func TestDialectsTellTheirRules(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		dialect Dialect
		node    int32
		want    map[string]string
		without string
	}{
		{Kafka(), 0, map[string]string{"max.message.bytes": "1048588", "message.timestamp.after.max.ms": "3600000"}, "redpanda.remote.read"},
		{Redpanda(), 0, map[string]string{"redpanda.remote.read": "false", "message.timestamp.after.max.ms": "3600000"}, "none"},
		{RedpandaOfOld(), 0, map[string]string{"redpanda.remote.read": "false"}, "message.timestamp.after.max.ms"},
		{Uneven(), 0, map[string]string{"max.message.bytes": "50000"}, "none"},
		{Uneven(), 1, map[string]string{"max.message.bytes": "20000"}, "none"},
	} {
		c := StartDialect(t, test.dialect, nil, kfake.NumBrokers(2))
		c.Topic("t", 1)
		cl, err := kgo.NewClient(c.Opts()...)
		require.NoError(t, err)
		defer cl.Close()
		req := kmsg.NewPtrDescribeConfigsRequest()
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
		req.Resources = append(req.Resources, r)
		resp, err := cl.Broker(int(test.node)).Request(t.Context(), req)
		require.NoError(t, err)
		told := map[string]string{}
		for _, c := range resp.(*kmsg.DescribeConfigsResponse).Resources[0].Configs {
			told[c.Name] = *c.Value
		}
		for k, v := range test.want {
			require.Equal(t, v, told[k], test.dialect.Name)
		}
		require.NotContains(t, told, test.without)
	}
	c := StartDialect(t, Unreadable(), nil)
	c.Topic("t", 1)
	cl, err := kgo.NewClient(c.Opts()...)
	require.NoError(t, err)
	defer cl.Close()
	_, err = kmsg.NewPtrDescribeConfigsRequest().RequestWith(t.Context(), cl)
	require.NoError(t, err)
}

// Sequence numbers count per partition, and so do epochs.
func TestKafkaKeepsOneEpochPerPartition(t *testing.T) {
	t.Parallel()
	from := func(epoch int16) []byte { return rawproduce.Numbered(rawproduce.Batch(rawproduce.Good()), 7, epoch, 0) }
	for _, shared := range []bool{false, true} {
		d := Kafka()
		d.SharedEpochs = shared
		c := StartDialect(t, d, nil)
		c.Topic("t", 2)
		answers, err := produce(t, c, "t", from(1), from(0))
		require.NoError(t, err)
		require.Zero(t, answers[0].ErrorCode)
		require.Equal(t, shared, answers[1].ErrorCode == kerr.InvalidProducerEpoch.Code)
	}
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		fault   Fault
		log     int
		code    *kerr.Error
		fails   bool
		atLeast time.Duration
	}{
		{Fault{Do: Refuse, Code: kerr.PolicyViolation}, 0, kerr.PolicyViolation, false, 0},
		{Fault{Do: Rewrite, Code: kerr.KafkaStorageError}, 1, kerr.KafkaStorageError, false, 0},
		{Fault{Do: DisconnectBefore}, 0, nil, true, 0},
		{Fault{Do: DisconnectAfter}, 1, nil, true, 0},
		{Fault{Do: DisconnectWithin}, 1, nil, true, 0},
		{Fault{Do: Swallow}, 0, nil, true, 10 * time.Second},
		{Fault{Do: SwallowAnswer}, 1, nil, true, 10 * time.Second},
		{Fault{Do: Delay, Pause: time.Second}, 1, nil, false, time.Second},
		{Fault{Do: DelayAnswer, Pause: time.Second}, 1, nil, false, time.Second},
		{Fault{Do: Trickle, Pause: 10 * time.Millisecond}, 1, nil, false, 100 * time.Millisecond},
	} {
		t.Run(test.fault.Do.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := StartDialect(t, Kafka(), &Network{})
				c.Topic("t", 1)
				h := c.AddFault(test.fault)
				before := time.Now()
				answers, err := produce(t, c, "t", rawproduce.Batch(rawproduce.Good()))
				require.Equal(t, 1, h.Hits())
				require.Equal(t, test.fails, err != nil, "%v", err)
				if err == nil {
					code := kerr.ErrorForCode(answers[0].ErrorCode)
					require.True(t, code == nil && test.code == nil || errors.Is(code, test.code), "%v", code)
				}
				require.GreaterOrEqual(t, time.Since(before), test.atLeast)
				synctest.Wait()
				require.Len(t, c.Log("t"), test.log)

				_, err = produce(t, c, "t", rawproduce.Batch(rawproduce.Good()))
				require.NoError(t, err, "it strikes once")
			})
		})
	}
}

// Rejects returns what the broker answers to a client that sends the record alone.
func TestRejectsIsWhatTheBrokerDoes(t *testing.T) {
	t.Parallel()
	c := StartDialect(t, Kafka(), nil)
	c.Topic("t", 1, "max.message.bytes=1000", "cleanup.policy=compact")
	for name, codec := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "zstd": kgo.ZstdCompression()} {
		cl, err := kgo.NewClient(append(c.Opts(), kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(1<<20))...)
		require.NoError(t, err)
		defer cl.Close()
		compressor, err := kgo.DefaultCompressor(codec)
		require.NoError(t, err)
		for _, r := range []*kgo.Record{
			{Key: []byte("k"), Value: []byte("v")},
			{Value: []byte("v")},
			{Key: []byte("k"), Value: make([]byte, 929)}, // exactly 1000 bytes
			{Key: []byte("k"), Value: make([]byte, 930)},
			{Key: []byte("k"), Value: make([]byte, 50_000)},
			{Key: []byte("k"), Value: []byte("v"), Timestamp: time.Now().Add(2 * time.Hour)},
		} {
			r.Topic = "t"
			if r.Timestamp.IsZero() {
				r.Timestamp = time.Now()
			}
			err := cl.ProduceSync(context.Background(), r).FirstErr()
			rejected := c.Rejects(r, 0, compressor)
			require.Equal(t, err != nil, rejected != nil, "%s, %d bytes: %v, %+v", name, len(r.Value), err, rejected)
			if err != nil {
				require.ErrorIs(t, err, rejected.Code)
			}
		}
	}
}

// Hours later, the records of a compacted topic are still there.
func TestNoRecordIsCleanedAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &Network{}
		c := StartDialect(t, Kafka(), network)
		c.Topic("t", 1, "cleanup.policy=compact")
		cl, err := kgo.NewClient(c.Opts()...)
		require.NoError(t, err)
		defer cl.Close()
		for range 3 {
			require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Key: []byte("k"), Value: []byte("v")}).FirstErr())
		}
		time.Sleep(25 * time.Hour)
		require.Len(t, c.Log("t"), 3)
	})
}
