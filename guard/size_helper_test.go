package guard

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
)

// rawSize is the size of an uncompressed batch with the record alone.
func rawSize(r *kgo.Record) int { return producer.SizeOf(r) }

func sentSize(g *Guard, r *kgo.Record) int {
	p := &producer.Record{Record: r}
	p.Prepare()
	return producer.SentSize(p, g.settings.compressor)
}
