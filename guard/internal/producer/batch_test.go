package producer

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// lengths are around those from which on a length takes a byte more.
var lengths = []int{0, 1, 63, 64, 8191, 8192}

// randomBatch returns a batch of random records.
func randomBatch(t *testing.T, rnd *rand.Rand) *Batch {
	t.Helper()
	text := func() []byte {
		if rnd.IntN(5) == 0 {
			return nil
		}
		return []byte(strings.Repeat("x", lengths[rnd.IntN(len(lengths))]+rnd.IntN(2)))
	}
	b := &Batch{producer: producerID{1<<40 + 7, 12}, sequence: 1<<30 + 5}
	base := rnd.Int64N(1 << 41)
	for range 1 + rnd.IntN(200) {
		r := &Record{Record: &kgo.Record{Key: text(), Value: text(), Timestamp: time.UnixMilli(base + rnd.Int64N(1<<rnd.IntN(33)) - 1<<rnd.IntN(32))}, Write: NewWrite()}
		for range rnd.IntN(3) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(text()), Value: text()})
		}
		r.Prepare()
		require.True(t, b.add(r, unbounded))
	}
	return b
}

// readBatch returns a batch as a broker reads it, and its records.
func readBatch(t *testing.T, raw []byte) (b kmsg.RecordBatch, records []kmsg.Record) {
	t.Helper()
	require.NoError(t, b.ReadFrom(raw))
	require.EqualValues(t, len(raw)-12, b.Length)
	require.Equal(t, int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli))), b.CRC)
	content := b.Records
	if codec := b.Attributes & 7; codec != 0 {
		var err error
		content, err = kgo.DefaultDecompressor().Decompress(content, kgo.CompressionCodecType(codec))
		require.NoError(t, err)
	}
	for len(content) > 0 {
		var r kmsg.Record
		require.NoError(t, r.ReadFrom(content))
		require.NotZero(t, r.Length)
		size := varintSize(int(r.Length)) + int(r.Length)
		content, records = content[size:], append(records, r)
	}
	return b, records
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
		dst := b.appendTo([]byte("before"), flexible, compressor, 9)
		require.True(t, bytes.HasPrefix(dst, []byte("before")))
		prefix := 6 + 4
		if flexible {
			prefix = 6 + varintSize((b.Sent+1)/2) // as wide as an unsigned one of twice that
		}
		raw := dst[prefix:]
		require.Len(t, raw, b.Sent)
		read, records := readBatch(t, raw)
		switch {
		case compressor == nil:
			require.Equal(t, b.size, b.Sent)
		case read.Attributes == 0:
			require.Equal(t, b.size, b.Sent, "it is not sent compressed if that is no smaller")
		default:
			require.Less(t, b.Sent, b.size)
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

// What is no smaller compressed is not compressed, and zstd is only for brokers that know it.
func TestWhenABatchIsCompressed(t *testing.T) {
	t.Parallel()
	batch := func(value string) *Batch {
		b := &Batch{}
		r := &Record{Record: &kgo.Record{Value: []byte(value), Timestamp: time.UnixMilli(1)}}
		r.Prepare()
		b.add(r, unbounded)
		return b
	}
	large := strings.Repeat("v", 1000)
	for _, test := range []struct {
		name    string
		codecs  []kgo.CompressionCodec
		version int16
		value   string
		want    int16
	}{
		{"smaller", []kgo.CompressionCodec{kgo.GzipCompression()}, 9, large, 1},
		{"no smaller", []kgo.CompressionCodec{kgo.GzipCompression()}, 9, "v", 0},
		{"zstd", []kgo.CompressionCodec{kgo.ZstdCompression(), kgo.GzipCompression()}, 7, large, 4},
		{"before zstd", []kgo.CompressionCodec{kgo.ZstdCompression(), kgo.GzipCompression()}, 6, large, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			compressor, err := kgo.DefaultCompressor(test.codecs...)
			require.NoError(t, err)
			b := batch(test.value)
			read, records := readBatch(t, b.appendTo(nil, false, compressor, test.version)[4:])
			require.Equal(t, test.want, read.Attributes)
			require.Equal(t, test.value, string(records[0].Value))
			if test.version >= 7 {
				require.Equal(t, b.Sent, SentSize(b.Records[0], compressor))
			}
			require.EqualValues(t, b.size, b.Records[0].Size)
			require.Equal(t, b.size, SentSize(b.Records[0], nil))
			require.Equal(t, b.size, SizeOf(b.Records[0].Record))
			require.Equal(t, b.size, RawSize(b.Records))
		})
	}
}

// A batch takes what fits to the byte, and a first record of any size.
func TestHowMuchABatchTakes(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // repeatable
	for range 20 {
		whole := randomBatch(t, rnd)
		again := &Batch{}
		for i, r := range whole.Records {
			require.True(t, again.add(r, whole.size), i)
		}
		short := &Batch{}
		for _, r := range whole.Records[:len(whole.Records)-1] {
			require.True(t, short.add(r, whole.size-1))
		}
		last := whole.Records[len(whole.Records)-1]
		require.Equal(t, len(whole.Records) == 1, short.add(last, whole.size-1))
	}
}

// Timestamps that the producer sets are set anew, and no others.
func TestWhatIsStampedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &Batch{}
		at := time.UnixMilli(time.Now().UnixMilli())
		own := at.Add(-time.Hour)
		for _, unstamped := range []bool{false, true, true} {
			r := &Record{Record: &kgo.Record{Timestamp: own}}
			r.Prepare()
			r.Unstamped = unstamped
			if unstamped {
				r.Timestamp = at
			}
			b.add(r, unbounded)
		}
		require.False(t, b.StampedBefore(at))
		require.True(t, b.StampedBefore(at.Add(time.Millisecond)))
		require.False(t, (&Batch{Records: b.Records[:1]}).StampedBefore(at.Add(time.Hour)))
		time.Sleep(time.Minute + time.Microsecond)
		b.restamp()
		now := at.Add(time.Minute)
		require.Equal(t, []time.Time{own, now, now}, []time.Time{b.Records[0].Timestamp, b.Records[1].Timestamp, b.Records[2].Timestamp})
		require.Len(t, b.Records, 3)
		b.Records[0].Timestamp = now // so that the first of the batch is another one
		b.restamp()
		read, _ := readBatch(t, b.appendTo(nil, false, nil, 9)[4:])
		require.Equal(t, []int64{now.UnixMilli(), now.UnixMilli()}, []int64{read.FirstTimestamp, read.MaxTimestamp})
	})
}

// A record that is used again is as one that is new.
func TestPrepareMakesARecordNew(t *testing.T) {
	t.Parallel()
	fresh := &Record{Record: &kgo.Record{Value: []byte("v")}}
	fresh.Prepare()
	used := &Record{
		Record: &kgo.Record{Value: []byte("v")}, Unstamped: false, Single: true, Alone: true, Apart: true, Questioned: true,
		Offset: 7, Appended: 7, Reason: errGivenUp, doubt: true, leaving: func() error { return nil },
	}
	used.outcome.Store(uint32(Unknown))
	used.part.Store(&partition{})
	used.Prepare()
	require.Equal(t, fresh, used)
	require.True(t, used.Unstamped)
	require.False(t, used.Ended())
	require.False(t, used.Partitioned())

	used.Timestamp = time.UnixMicro(1234)
	used.Prepare()
	require.False(t, used.Unstamped)
	require.Equal(t, time.UnixMilli(1), used.Timestamp)
}

// How large requests may be is learned from those that were answered, and from those on which
// the connection ended.
func TestHowLargeRequestsAreMade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sizes{}
		require.Equal(t, 1_000_000, s.limit())
		s.answered(600_000)
		s.answered(500_000)
		require.Equal(t, 1_200_000, s.limit(), "twice what was answered")

		s = &sizes{}
		require.Equal(t, 800_000, s.cut(800_000))
		require.Equal(t, 400_000, s.limit(), "half of what was not")
		require.Equal(t, 900_000, s.cut(900_000))
		require.Equal(t, 400_000, s.limit(), "the smallest counts")
		s.answered(700_000)
		require.Equal(t, 700_000, s.limit(), "what was answered is no more than that")
		require.Zero(t, s.cut(700_000), "which may end for another reason")
		s.answered(799_999)
		require.Equal(t, 799_999, s.limit())
		s.answered(800_000)
		require.Equal(t, 1_600_000, s.limit(), "the broker takes it")

		s = &sizes{}
		require.Zero(t, s.cut(16384))
		require.Equal(t, 1_000_000, s.limit(), "small requests end for another reason")
		require.Equal(t, 16385, s.cut(16385))
		require.Equal(t, 16384, s.limit())

		s = &sizes{}
		s.cut(800_000)
		time.Sleep(30 * time.Second)
		s.cut(800_000)
		time.Sleep(time.Minute)
		s.answered(1)
		require.Equal(t, 400_000, s.limit())
		time.Sleep(time.Nanosecond)
		s.answered(1)
		require.Equal(t, 1_000_000, s.limit(), "it is tried again after a minute")

		n := &node{}
		n.sizes.cut(800_000)
		require.Equal(t, 400_000-512, n.batchLimit())
	})
}
