package kafkafake

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/rawproduce"
)

// newProducer asks for a producer ID.
func newProducer(t *testing.T, c *Cluster) int64 {
	t.Helper()
	cl, err := kgo.NewClient(c.Opts()...)
	require.NoError(t, err)
	defer cl.Close()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	resp, err := req.RequestWith(t.Context(), cl)
	require.NoError(t, err)
	require.Zero(t, resp.ErrorCode)
	return resp.ProducerID
}

// The dialects get the same batches of one producer, one after the other. The test
// compares their answers, and the length of the log.
func TestDialectsNumberBatches(t *testing.T) {
	t.Parallel()
	type sent struct {
		marked   bool
		epoch    int16
		sequence int32
		code     *kerr.Error
	}
	for _, test := range []struct {
		dialect Dialect
		sent    []sent
		log     int
	}{
		{Registry(), []sent{
			{false, 0, 0, nil},
			{true, 0, 1, kerr.InvalidRecord},
			{false, 0, 2, kerr.OutOfOrderSequenceNumber},
			{false, 0, 1, nil},
			{false, 0, 1, nil}, // a duplicate is acked, and not appended
			{false, 1, 0, nil}, // so is an epoch that the client raised
		}, 3},
		{CountingRejected(), []sent{
			{false, 0, 0, nil},
			{true, 0, 1, kerr.InvalidRecord},
			{false, 0, 3, kerr.OutOfOrderSequenceNumber},
			{false, 0, 2, nil},
			{false, 0, 1, kerr.DuplicateSequenceNumber},
			{false, 0, 0, kerr.DuplicateSequenceNumber},
			{false, 1, 0, nil},
			{false, 0, 3, kerr.InvalidProducerEpoch},
		}, 3},
		{Tansu(), []sent{
			{false, 0, 0, nil},
			{true, 0, 1, kerr.InvalidRecord},
			{false, 0, 1, kerr.DuplicateSequenceNumber},
			{false, 1, 0, kerr.ProducerFenced},
			{false, 0, 2, nil},
		}, 2},
		{FencingEpochs(), []sent{
			{false, 0, 0, nil},
			{false, 1, 0, kerr.InvalidProducerEpoch},
			{false, 0, 0, nil}, // a duplicate
			{false, 0, 1, nil},
		}, 2},
		{Unnumbered(), []sent{
			{false, 0, 0, nil},
			{false, 0, 0, nil},
			{false, 0, 7, nil},
			{false, 1, 3, nil},
		}, 4},
	} {
		t.Run(test.dialect.Name, func(t *testing.T) {
			t.Parallel()
			c := StartDialect(t, test.dialect, nil)
			c.Topic("t", 1)
			id := newProducer(t, c)
			for i, s := range test.sent {
				r := rawproduce.Good()
				if s.marked {
					r.Value = []byte(Mark)
				}
				answers, err := produce(t, c, "t", rawproduce.Numbered(rawproduce.Batch(r), id, s.epoch, s.sequence))
				require.NoError(t, err)
				require.Equal(t, codeOf(s.code), answers[0].ErrorCode, "batch %d: %v", i, kerr.ErrorForCode(answers[0].ErrorCode))
			}
			require.Len(t, c.Log("t"), test.log)

			answers, err := produce(t, c, "t", rawproduce.Numbered(rawproduce.Batch(rawproduce.Good()), newProducer(t, c), 0, 0))
			require.NoError(t, err)
			require.Zero(t, answers[0].ErrorCode, "a new producer ID is taken by each")
		})
	}
}

func TestCountingRejectedKnowsOnlyItsOwnProducers(t *testing.T) {
	t.Parallel()
	c := StartDialect(t, CountingRejected(), nil)
	c.Topic("t", 1)
	answers, err := produce(t, c, "t", rawproduce.Numbered(rawproduce.Batch(rawproduce.Good()), 77, 0, 0))
	require.NoError(t, err)
	require.Equal(t, kerr.UnknownProducerID.Code, answers[0].ErrorCode)
}

// A batch that a fault keeps from the broker is not counted.
func TestCountingRejectedDoesNotCountWhatItNeverSaw(t *testing.T) {
	t.Parallel()
	c := StartDialect(t, CountingRejected(), nil)
	c.Topic("t", 1)
	id := newProducer(t, c)
	c.AddFault(Fault{Do: Refuse, Code: kerr.NotLeaderForPartition})
	for _, code := range []int16{kerr.NotLeaderForPartition.Code, 0} {
		answers, err := produce(t, c, "t", rawproduce.Numbered(rawproduce.Batch(rawproduce.Good()), id, 0, 0))
		require.NoError(t, err)
		require.Equal(t, code, answers[0].ErrorCode)
	}
}

func TestProxiesReportOtherConfigs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		dialect Dialect
		code    *kerr.Error
		limit   string
		policy  string
	}{
		{Kafka(), nil, "2000", "delete"},
		{ConfigsOfAnotherTopic(), nil, "600", "compact"},
		{ConfigsOfNoTopic(), kerr.UnknownTopicOrPartition, "", ""},
	} {
		c := StartDialect(t, test.dialect, nil)
		c.Topic("t", 1, "max.message.bytes=2000")
		r := describe(t, c, "t")
		require.Equal(t, codeOf(test.code), r.ErrorCode, test.dialect.Name)
		told := map[string]string{}
		for _, c := range r.Configs {
			told[c.Name] = *c.Value
		}
		require.Equal(t, test.limit, told["max.message.bytes"], test.dialect.Name)
		require.Equal(t, test.policy, told["cleanup.policy"], test.dialect.Name)
		answers, err := produce(t, c, "t", rawproduce.Batch(kmsg.Record{Value: make([]byte, 1500)}))
		require.NoError(t, err)
		require.Zero(t, answers[0].ErrorCode, "the true topic takes it")
	}
}

// describe reads a topic's configs.
func describe(t *testing.T, c *Cluster, topic string) kmsg.DescribeConfigsResponseResource {
	t.Helper()
	cl, err := kgo.NewClient(c.Opts()...)
	require.NoError(t, err)
	defer cl.Close()
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(t.Context(), cl)
	require.NoError(t, err)
	require.Len(t, resp.Resources, 1)
	return resp.Resources[0]
}

// Encryption adds bytes to each record. So a batch of many records may be too large,
// while a larger batch of one record is not.
func TestEncryptingMeasuresWhatItMakes(t *testing.T) {
	t.Parallel()
	c := StartDialect(t, Encrypting(), nil)
	c.Topic("t", 1, "max.message.bytes=1000")
	many := make([]kmsg.Record, 6)
	for i := range many {
		many[i] = rawproduce.Good()
	}
	for _, test := range []struct {
		batch []byte
		code  *kerr.Error
	}{
		{sized(1000 - 142), nil},
		{sized(1000 - 141), kerr.MessageTooLarge},
		{rawproduce.Batch(many...), nil},
		{rawproduce.Batch(append(many, rawproduce.Good())...), kerr.MessageTooLarge},
	} {
		answers, err := produce(t, c, "t", test.batch)
		require.NoError(t, err)
		require.Equal(t, codeOf(test.code), answers[0].ErrorCode, "%d bytes", len(test.batch))
	}
	require.Less(t, len(rawproduce.Batch(append(many, rawproduce.Good())...)), 1000-142)
}

// sized makes a batch of one record with the given size.
func sized(bytes int) []byte {
	for n := bytes - batchHead; ; n-- {
		if b := rawproduce.Batch(kmsg.Record{Key: []byte("k"), Value: make([]byte, n)}); len(b) == bytes {
			return b
		}
	}
}

// A record over max.decompressed.message.bytes is rejected in a compressed batch only.
// Neither it nor a record without a key is listed then.
func TestKafkaLimitsDecompressedRecords(t *testing.T) {
	t.Parallel()
	keyless := kmsg.Record{Value: []byte("v")}
	for name, start := range map[string]func(t *testing.T) *Cluster{
		"topic":  func(t *testing.T) *Cluster { return topicOf44(t, Kafka(), maxDecompressed+"=2000") },
		"broker": func(t *testing.T) *Cluster { return topicOf44(t, SmallDecompressed()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			for _, test := range []struct {
				name   string
				batch  []byte
				code   *kerr.Error
				listed int
			}{
				{"2000 bytes", rawproduce.Gzipped(rawproduce.Batch(rawproduce.OfLength(2000))), nil, 0},
				{"2001 bytes", rawproduce.Gzipped(rawproduce.Batch(rawproduce.Good(), rawproduce.OfLength(2001), keyless)), kerr.InvalidRecord, 0},
				{"2001 bytes, not compressed", rawproduce.Batch(rawproduce.Good(), rawproduce.OfLength(2001)), nil, 0},
				{"no key", rawproduce.Gzipped(rawproduce.Batch(rawproduce.Good(), keyless)), kerr.InvalidRecord, 1},
			} {
				answers, err := produce(t, c, "t", test.batch)
				require.NoError(t, err)
				require.Equal(t, codeOf(test.code), answers[0].ErrorCode, test.name)
				require.Len(t, answers[0].ErrorRecords, test.listed, test.name)
				require.Equal(t, test.listed > 0, answers[0].ErrorMessage != nil, test.name)
			}
		})
	}
}

func topicOf44(t *testing.T, d Dialect, configs ...string) *Cluster {
	t.Helper()
	c := StartDialect(t, d, nil)
	c.Topic("t", 1, append(configs, "cleanup.policy=compact")...)
	return c
}

// codeOf returns the code of an error, 0 for none.
func codeOf(err *kerr.Error) int16 {
	if err == nil {
		return 0
	}
	return err.Code
}
