package partition_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// lengths are around those from which on a length takes a byte more.
var lengths = []int{0, 1, 63, 64, 8191, 8192}

// randomBatch returns a batch of random records.
func randomBatch(t *testing.T, rnd *rand.Rand) *partition.Batch {
	t.Helper()
	text := func() []byte {
		if rnd.IntN(5) == 0 {
			return nil
		}
		return []byte(strings.Repeat("x", lengths[rnd.IntN(len(lengths))]+rnd.IntN(2)))
	}
	b := partition.NewBatch(recordbatch.ProducerID{ID: 1<<40 + 7, Epoch: 12}, 1<<30+5)
	base := rnd.Int64N(1 << 41)
	for range 1 + rnd.IntN(200) {
		r := &partition.Record{Record: &kgo.Record{Key: text(), Value: text(), Timestamp: time.UnixMilli(base + rnd.Int64N(1<<rnd.IntN(33)) - 1<<rnd.IntN(32))}, Write: partition.NewWrite()}
		for range rnd.IntN(3) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(text()), Value: text()})
		}
		r.Prepare()
		require.True(t, b.Add(r, math.MaxInt32))
	}
	return b
}

// What is written is what Kafka's own code reads, and has the size that was reckoned with.
func TestABatchIsWrittenAsKafkaReadsIt(t *testing.T) {
	t.Parallel()
	gzip, err := kgo.DefaultCompressor(kgo.GzipCompression())
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable
	for n := range 60 {
		b := randomBatch(t, rnd)
		compressor := []kgo.Compressor{nil, gzip}[n%2]
		flexible := n%3 == 0
		version := map[bool]int16{false: 8, true: 9}[flexible]
		dst := b.Compressed(compressor).AppendTo([]byte("before"), version, [16]byte{})
		require.True(t, bytes.HasPrefix(dst, []byte("before")))
		prefix := 6 + 4
		if flexible {
			prefix = 6 + kbin.VarintLen(int32((b.Sent+1)/2)) // as wide as an unsigned one of twice that
		}
		raw := dst[prefix:]
		require.Len(t, raw, b.Sent)
		read, records := producertest.ReadBatch(t, raw)
		switch {
		case compressor == nil:
			require.Equal(t, b.Size(), b.Sent)
		case read.Attributes == 0:
			require.Equal(t, b.Size(), b.Sent, "it is not sent compressed if that is no smaller")
		default:
			require.Less(t, b.Sent, b.Size())
		}
		first, last := b.Records[0].Timestamp.UnixMilli(), int64(0)
		require.Len(t, records, len(b.Records))
		for i, r := range b.Records {
			got, at := records[i], r.Timestamp.UnixMilli()
			last = max(last, at)
			require.Equal(t, at, first+got.TimestampDelta64)
			require.EqualValues(t, i, got.OffsetDelta)
			require.Equal(t, r.Key, got.Key)
			require.Equal(t, r.Value, got.Value)
			require.Len(t, got.Headers, len(r.Headers))
			for k, h := range r.Headers {
				require.Equal(t, h.Key, got.Headers[k].Key)
				require.Equal(t, h.Value, got.Headers[k].Value)
			}
		}
		read.Length, read.CRC, read.Records = 0, 0, nil
		require.Equal(t, kmsg.RecordBatch{
			PartitionLeaderEpoch: -1, Magic: 2, Attributes: read.Attributes, LastOffsetDelta: int32(len(records) - 1), FirstTimestamp: first,
			MaxTimestamp: last, ProducerID: 1<<40 + 7, ProducerEpoch: 12, FirstSequence: 1<<30 + 5, NumRecords: int32(len(records)),
		}, read)
	}
}

// A batch takes what fits to the byte, and a first record of any size.
func TestHowMuchABatchTakes(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // repeatable
	for range 20 {
		whole := randomBatch(t, rnd)
		again := &partition.Batch{}
		for i, r := range whole.Records {
			require.True(t, again.Add(r, whole.Size()), i)
		}
		short := &partition.Batch{}
		for _, r := range whole.Records[:len(whole.Records)-1] {
			require.True(t, short.Add(r, whole.Size()-1))
		}
		last := whole.Records[len(whole.Records)-1]
		require.Equal(t, len(whole.Records) == 1, short.Add(last, whole.Size()-1))
	}
}

// Timestamps that the producer sets are set anew, and no others.
func TestWhatIsStampedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &partition.Batch{}
		at := time.UnixMilli(time.Now().UnixMilli())
		own := at.Add(-time.Hour)
		for _, unstamped := range []bool{false, true, true} {
			r := &partition.Record{Record: &kgo.Record{Timestamp: own}}
			r.Prepare()
			r.Unstamped = unstamped
			if unstamped {
				r.Timestamp = at
			}
			b.Add(r, math.MaxInt32)
		}
		require.False(t, b.StampedBefore(at))
		require.True(t, b.StampedBefore(at.Add(time.Millisecond)))
		require.False(t, (&partition.Batch{Records: b.Records[:1]}).StampedBefore(at.Add(time.Hour)))
		time.Sleep(time.Minute + time.Microsecond)
		b.Restamp()
		now := at.Add(time.Minute)
		require.Equal(t, []time.Time{own, now, now}, []time.Time{b.Records[0].Timestamp, b.Records[1].Timestamp, b.Records[2].Timestamp})
		require.Len(t, b.Records, 3)
		b.Records[0].Timestamp = now // so that the first of the batch is another one
		b.Restamp()
		read, _ := producertest.ReadBatch(t, b.Compressed(nil).AppendTo(nil, 8, [16]byte{})[4:])
		require.Equal(t, []int64{now.UnixMilli(), now.UnixMilli()}, []int64{read.FirstTimestamp, read.MaxTimestamp})
	})
}
