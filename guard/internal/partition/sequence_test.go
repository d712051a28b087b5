package partition_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// 0 follows 2^31-1 (KIP-98).
func TestSequenceNumbersWrap(t *testing.T) {
	t.Parallel()
	require.EqualValues(t, 0, partition.Next(math.MaxInt32, 1))
	require.EqualValues(t, 4, partition.Next(math.MaxInt32-5, 10))
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := producertest.New(t, c, &producertest.Plain{})
	rs := producertest.Write(t, p, 1, producertest.Values("a", 3)...)
	require.EqualValues(t, 3, rs[0].Place().Sequence())
	producertest.RequireExact(t, c, rs)
}

// A producer that the broker does not know any more gets an ID of its own for the partition,
// and nothing is lost.
func TestAPartitionThatLosesTrackTakesAnIDOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, code := range []*kerr.Error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidProducerIDMapping, kerr.DuplicateSequenceNumber} {
		t.Run(code.Message, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
			c.Topic("t", 2)
			p := producertest.New(t, c, producertest.PolicyFunc(func(_ *partition.Batch, a broker.Answer) partition.Plan { return partition.Plan{Same: true} }))
			all := producertest.Write(t, p, 2, producertest.Values("a", 10)...)
			c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: code, Partitions: []int32{1}})
			all = append(all, producertest.Write(t, p, 2, producertest.Values("b", 10)...)...)
			for _, r := range all {
				require.Equal(t, partition.Acked, r.Outcome())
			}
			producertest.RequireExact(t, c, all)
			require.NotEqual(t, all[0].Place().ProducerID(), all[1].Place().ProducerID())
		})
	}
}
