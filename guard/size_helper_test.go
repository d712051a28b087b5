package guard

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// rawSize is the size of an uncompressed batch with the record alone.
func rawSize(r *kgo.Record) int { return recordbatch.SizeOf(r) }

func sentSize(g *Guard, r *kgo.Record) int { return recordbatch.SentSize(r, g.settings.compressor) }
