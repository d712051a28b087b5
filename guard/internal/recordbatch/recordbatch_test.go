package recordbatch_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// What is no smaller compressed is not compressed, and zstd is only for brokers that know it.
func TestWhenABatchIsCompressed(t *testing.T) {
	t.Parallel()
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
			r := &kgo.Record{Value: []byte(test.value)}
			b := recordbatch.Batch{Count: 1, Size: recordbatch.SizeOf(r)}
			dst, sent := b.Append(nil, test.version, compressor, func(dst []byte) []byte {
				return recordbatch.AppendRecord(dst, r, recordbatch.FixedSize(r), 0, 0)
			})
			raw := dst[len(dst)-sent:]
			if test.version >= 9 {
				require.Equal(t, kbin.AppendUvarint(nil, uint32(sent)+1), dst[:len(dst)-sent])
			} else {
				require.Equal(t, kbin.AppendInt32(nil, int32(sent)), dst[:len(dst)-sent])
			}
			read, records := producertest.ReadBatch(t, raw)
			require.Equal(t, test.want, read.Attributes)
			require.Equal(t, test.value, string(records[0].Value))
			if test.version >= 7 {
				require.Equal(t, sent, recordbatch.SentSize(r, compressor))
			}
			require.Equal(t, b.Size, recordbatch.SentSize(r, nil))
		})
	}
}
