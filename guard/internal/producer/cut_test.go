package producer

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

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A batch that is sent again, after batches have become smaller, is cut to their size, and keeps
// its order with what follows it.
func TestABatchThatIsSentAgainIsCut(t *testing.T) {
	t.Parallel()
	size := func(n int) int { return n*(SizeOf(&kgo.Record{Value: []byte("a")})-BatchOverhead) + BatchOverhead }
	for n, want := range map[int]string{1: "a b c d e, a, b, c, d, e, x", 2: "a b c d e, a b, c d, e, x", 5: "a b c d e, a b c d e, x"} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var most atomic.Int64
			most.Store(100_000)
			inVirtualTime(t, 1, sameAfter(time.Minute), func(w *world) {
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
				records := w.send(5, nil)
				time.Sleep(time.Second)
				most.Store(int64(size(n)))
				next := w.send(1, func(_ int, r *Record) { r.Value = []byte("x") })
				wait(w.T, records[0], next[0])
				require.Equal(w, want, strings.Join(w.valuesSeen(), ", "))
				requireExact(w.T, w.c, append(records, next...))
			}, func(cfg *Config) {
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
	all := requestOverhead + 3*(SizeOf(&kgo.Record{Value: value})+beside)
	for _, do := range []string{"new", "rejected", "in doubt"} {
		for short, want := range map[int][]int{0: {3}, 1: {2, 1}} {
			t.Run(fmt.Sprint(do, " ", short), func(t *testing.T) {
				inVirtualTime(t, 3, sameAfter(time.Minute), func(w *world) {
					switch do {
					case "rejected":
						w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Count: len(want)})
					case "in doubt":
						w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 5 * time.Second})
						w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Count: len(want)})
					}
					records := w.send(3, func(i int, r *Record) { r.Partition, r.Value = int32(i), append([]byte{byte('a' + i)}, value[1:]...) })
					wait(w.T, records[0])
					batches := map[int]int{}
					last := 0
					for _, b := range w.seen() {
						batches[b.request]++
						require.LessOrEqual(w, b.size, all-short)
						last = b.request
					}
					for i, n := range want {
						if do == "new" || short == 0 {
							require.Equal(w, n, batches[last+1-len(want)+i], batches)
						}
					}
					require.Equal(w, []Outcome{Acked, Acked, Acked}, outcomes(records))
					requireExact(w.T, w.c, records)
				}, func(cfg *Config) { cfg.MaxRequest = all - short })
			})
		}
	}
}
