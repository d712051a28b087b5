package guard

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkWrite compares Write, by the topic's rules and ignoring them, with
// kgo.ProduceSync of the same records, to a broker in the same process that
// stores nothing. Compare the rates and the
// allocations per batch of one run:
//
//	go test ./guard -run '^$' -bench Write -benchmem -count 10 | benchstat -col /by -
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{100, 1000} {
		for _, n := range []int{1, 50, 500} {
			for _, by := range []string{"ProduceSync", "Write", "WriteIgnoringRules"} {
				b.Run(fmt.Sprintf("bytes=%d/batch=%d/by=%s", size, n, by), func(b *testing.B) {
					cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(6, "t"), kfake.BlackholeProduce())
					require.NoError(b, err)
					defer cluster.Close()
					opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))}
					write := producer(b, by, opts)
					value := make([]byte, size)
					// Several writers, as an output has batches in flight.
					const writers = 4
					turns := make(chan struct{})
					done := make(chan struct{})
					for range writers {
						go func() {
							defer func() { done <- struct{}{} }()
							made, rs := make([]kgo.Record, n), make([]*kgo.Record, n)
							for range turns {
								for i := range made {
									made[i] = kgo.Record{Topic: "t", Value: value, Key: value[:8:8]}
									rs[i] = &made[i]
								}
								write(rs)
							}
						}()
					}
					b.SetBytes(int64(n * size))
					b.ReportAllocs()
					b.ResetTimer()
					start := time.Now()
					for range b.N {
						turns <- struct{}{}
					}
					close(turns)
					for range writers {
						<-done
					}
					b.ReportMetric(float64(b.N*n)/time.Since(start).Seconds(), "records/s")
				})
			}
		}
	}
}

func producer(b *testing.B, by string, opts []kgo.Opt) func([]*kgo.Record) {
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
