package guard

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// BenchmarkWrite compares Write, by the topic's rules and ignoring them, with
// kgo.ProduceSync of the same records, to a broker in the same process that
// stores nothing. Compare the rates and the allocations per batch of one run:
//
//	go test ./guard -run '^$' -bench 'Write$' -benchmem -count 10 | benchstat -col /by -
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{100, 1000} {
		for _, n := range []int{1, 50, 500} {
			for _, by := range []string{"ProduceSync", "Write", "WriteIgnoringRules"} {
				b.Run(fmt.Sprintf("bytes=%d/batch=%d/by=%s", size, n, by), func(b *testing.B) {
					write := writer(b, by)
					b.SetBytes(int64(n * size))
					b.ReportAllocs()
					b.ResetTimer()
					took := writeAll(write, b.N, n, size)
					b.ReportMetric(float64(b.N*n)/took.Seconds(), "records/s")
				})
			}
		}
	}
}

// BenchmarkWriteRatio has Write and ProduceSync take turns, so that a machine
// that is now faster, now slower is so for both. It gives the median of the
// ratios of their rates, and the quartiles.
//
//	go test ./guard -run '^$' -bench WriteRatio -benchtime 60x
func BenchmarkWriteRatio(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("bytes=%d/batch=500", size), func(b *testing.B) {
			const n, batches = 500, 400
			base, write := writer(b, "ProduceSync"), writer(b, "Write")
			writeAll(base, batches, n, size)
			writeAll(write, batches, n, size)
			ratios := make([]float64, 0, b.N)
			for range b.N {
				before := writeAll(base, batches/2, n, size)
				took := writeAll(write, batches, n, size)
				before += writeAll(base, batches/2, n, size)
				ratios = append(ratios, before.Seconds()/took.Seconds())
			}
			slices.Sort(ratios)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(ratios[len(ratios)/4], "x-q1")
			b.ReportMetric(ratios[len(ratios)/2], "x-median")
			b.ReportMetric(ratios[len(ratios)*3/4], "x-q3")
		})
	}
}

// writeAll writes batches of n records each and returns how long it took. It has
// several writers, as an output has batches in flight.
func writeAll(write func([]*kgo.Record), batches, n, size int) time.Duration {
	const writers = 4
	value, keys := make([]byte, size), make([][]byte, n)
	for i := range keys {
		keys[i] = []byte(fmt.Sprintf("%08d", i))
	}
	turns := make(chan struct{})
	var done sync.WaitGroup
	for range writers {
		done.Go(func() {
			made, rs := make([]kgo.Record, n), make([]*kgo.Record, n)
			for range turns {
				for i := range made {
					made[i] = kgo.Record{Topic: "t", Value: value, Key: keys[i]}
					rs[i] = &made[i]
				}
				write(rs)
			}
		})
	}
	start := time.Now()
	for range batches {
		turns <- struct{}{}
	}
	close(turns)
	done.Wait()
	return time.Since(start)
}

// writer returns what writes a batch.
func writer(b *testing.B, by string) func([]*kgo.Record) {
	cluster := kafkafake.New(b, kfake.SeedTopics(6, "t"), kfake.BlackholeProduce())
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))}
	if by != "ProduceSync" {
		g, err := New(Config{MaxMessageBytes: 1_000_012, IgnoreRules: by == "WriteIgnoringRules"}, opts...)
		require.NoError(b, err)
		b.Cleanup(g.Close)
		return func(rs []*kgo.Record) {
			for _, v := range g.Write(context.Background(), rs) {
				if v.Outcome != Delivered {
					panic(v.Err())
				}
			}
		}
	}
	cl, err := kgo.NewClient(opts...)
	require.NoError(b, err)
	b.Cleanup(cl.Close)
	return func(rs []*kgo.Record) {
		if err := cl.ProduceSync(context.Background(), rs...).FirstErr(); err != nil {
			panic(err)
		}
	}
}
