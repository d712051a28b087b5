package partition_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A batch that is sent again, after batches have become smaller, is cut to their size, and keeps
// its order with what follows it.
func TestABatchThatIsSentAgainIsCut(t *testing.T) {
	t.Parallel()
	size := func(n int) int {
		return n*(recordbatch.SizeOf(&kgo.Record{Value: []byte("a")})-recordbatch.Overhead) + recordbatch.Overhead
	}
	for n, want := range map[int]string{1: "a b c d e, a, b, c, d, e, x", 2: "a b c d e, a b, c d, e, x", 5: "a b c d e, a b c d e, x"} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var most atomic.Int64
			most.Store(100_000)
			producertest.InVirtualTime(t, 1, producertest.SameAfter(time.Minute), func(w *producertest.World) {
				w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
				records := w.Send(5, nil)
				time.Sleep(time.Second)
				most.Store(int64(size(n)))
				next := w.Send(1, func(_ int, r *partition.Record) { r.Value = []byte("x") })
				producertest.Wait(w.T, records[0], next[0])
				require.Equal(w, want, strings.Join(w.ValuesSeen(), ", "))
				producertest.RequireExact(w.T, w.Cluster, append(records, next...))
			}, func(cfg *producer.Config) {
				cfg.MaxBatch = func(string, int32) (int, int) { return int(most.Load()), math.MaxInt32 }
			})
		})
	}
}

// A request is filled to the byte, with batches of a record each, too, that are new, rejected or
// in doubt.
func TestARequestIsFilledToTheByte(t *testing.T) {
	t.Parallel()
	value := bytes.Repeat([]byte("."), 1000)
	const beside = 32 + 16 // of a batch: its partition, lengths, and the topic's ID
	all := besideBatches + 3*(recordbatch.SizeOf(&kgo.Record{Value: value})+beside)
	for _, do := range []string{"new", "rejected", "in doubt"} {
		for short, want := range map[int][]int{0: {3}, 1: {2, 1}} {
			t.Run(fmt.Sprint(do, " ", short), func(t *testing.T) {
				producertest.InVirtualTime(t, 3, producertest.SameAfter(time.Minute), func(w *producertest.World) {
					switch do {
					case "rejected":
						w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Count: len(want)})
					case "in doubt":
						w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
						w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Count: len(want)})
					}
					records := w.Send(3, func(i int, r *partition.Record) {
						r.Partition, r.Value = int32(i), append([]byte{byte('a' + i)}, value[1:]...)
					})
					producertest.Wait(w.T, records[0])
					batches := map[int]int{}
					last := 0
					for _, b := range w.Seen() {
						batches[b.Request]++
						require.LessOrEqual(w, b.Size, all-short)
						last = b.Request
					}
					for i, n := range want {
						if do == "new" || short == 0 {
							require.Equal(w, n, batches[last+1-len(want)+i], batches)
						}
					}
					require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked, partition.Acked}, producertest.Outcomes(records))
					producertest.RequireExact(w.T, w.Cluster, records)
				}, func(cfg *producer.Config) { cfg.MaxRequest = all - short })
			})
		}
	}
}

// besideBatches is what a request has room for besides its batches.
const besideBatches = 512
