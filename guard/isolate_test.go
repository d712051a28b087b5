package guard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// Once a broker's lists are believed, it takes two requests to find any number of invalid
// records: one that is rejected, and one with the others.
func TestRecordErrorsNameTheFailedRecords(t *testing.T) {
	t.Parallel()
	for _, failed := range []int{1, 2, 10, 100, 500, 999, 1000} {
		t.Run(fmt.Sprint(failed, " of 1000"), func(t *testing.T) {
			t.Parallel()
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
			c.Topic("t", 1, "cleanup.policy=compact")
			g := newGuard(t, c, Config{IgnoreRules: true})
			// The first write makes the cluster's lists believed.
			vs := g.Write(t.Context(), []*kgo.Record{record("t", "no key", 0), {Topic: "t", Key: []byte("k"), Value: []byte("v")}})
			require.Equal(t, map[int]Class{0: InvalidRecord}, classes(vs))

			rnd := rand.New(rand.NewPCG(uint64(failed), 0))
			rs := records("t", "r", 1000, 10)
			want := map[int]Class{}
			for n, i := range rnd.Perm(1000) {
				if n < failed {
					want[i] = InvalidRecord
				} else {
					rs[i].Key = fmt.Append(nil, i)
				}
			}
			requests := c.Count(kmsg.Produce)
			vs = g.Write(t.Context(), rs)
			require.Equal(t, want, classes(vs))
			require.LessOrEqual(t, requests.Hits(), 3)
			for i := range want {
				require.Contains(t, vs[i].Err().Error(), "invalid_record: topic t partition 0: the broker says: Compacted topic cannot accept message without key in topic partition t-0")
			}
			account(t, c, rs, vs)
		})
	}
}

// A broker that lists no record, or only the first, has its batches halved.
func TestRecordsThatNoBrokerListsAreFound(t *testing.T) {
	t.Parallel()
	for _, d := range []kafkafake.Dialect{kafkafake.Kafka24(), kafkafake.Registry(), kafkafake.Gateway(), kafkafake.BlurringGateway()} {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.StartDialect(t, d, nil)
			c.Topic("t", 3, "cleanup.policy=compact")
			g := newGuard(t, c, Config{IgnoreRules: true}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			rs := records("t", "r", 200, 10)
			want := map[int]Class{}
			for i, r := range rs {
				r.Partition = int32(i % 3)
				r.Key = fmt.Append(nil, i)
				if i%40 == 7 {
					if want[i] = InvalidRecord; d.Content {
						poison(rs, i)
					} else if r.Key = nil; d.NullKeys {
						delete(want, i)
					}
				}
			}
			vs := g.Write(t.Context(), rs)
			require.Equal(t, want, classes(vs))
			account(t, c, rs, vs)
		})
	}
}

// Of records that are too large, one that is rejected alone proves that larger ones are, too.
func TestARejectionProvesLargerRecords(t *testing.T) {
	t.Parallel()
	const n, limit = 1000, 20_000
	for _, failed := range []int{1, 2, 10, 100, 500, 999, 1000} {
		for name, size := range map[string]func(rnd *rand.Rand, large bool) int{
			"small and large": func(_ *rand.Rand, large bool) int {
				if large {
					return 30_000
				}
				return 10
			},
			"of all sizes": func(rnd *rand.Rand, large bool) int {
				if large {
					return limit + rnd.IntN(30_000)
				}
				return 10 + rnd.IntN(100)
			},
		} {
			t.Run(fmt.Sprint(name, ", ", failed, " of 1000"), func(t *testing.T) {
				t.Parallel()
				c := kafkafake.New(t)
				c.Topic("t", 1, fmt.Sprint("max.message.bytes=", limit))
				g := newGuard(t, c, Config{IgnoreRules: true, MaxMessageBytes: 64 << 20})
				rnd := rand.New(rand.NewPCG(uint64(failed), 1))
				rs := make([]*kgo.Record, n)
				want := map[int]Class{}
				for k, i := range rnd.Perm(n) {
					rs[i] = record("t", fmt.Sprintf("%05d", i), size(rnd, k < failed))
					if k < failed {
						want[i] = SizeExceeded
					}
				}
				requests := c.Count(kmsg.Produce)
				vs := g.Write(t.Context(), rs)
				require.Equal(t, want, classes(vs))
				t.Logf("%d requests", requests.Hits())
				small := 0
				for i, r := range rs {
					if want[i] == None {
						small += rawSize(r)
					}
				}
				// What is left may take more than one batch, and the
				// smallest rejected one gets smaller a few times.
				batches := 3*(small/limit+1) + int(math.Log(n))
				require.LessOrEqual(t, requests.Hits(), int(math.Log2(n))+4+batches)
				account(t, c, rs, vs)
			})
		}
	}
}

// A record that guard stamps gets a new timestamp each time that it is sent.
func TestTimestampsThatGuardSetsAreSetAnew(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1, "message.timestamp.before.max.ms=500")
	g := newGuard(t, c, retrying(newTold()))
	hold := c.RefuseAll("t", kerr.NotLeaderForPartition)
	rs := records("t", "r", 20, 10)
	go func() {
		time.Sleep(700 * time.Millisecond)
		hold.Remove()
	}()
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
}

// A rejection proves nothing about records for another leader: its limit may differ.
func TestARejectionProvesNothingForAnotherLeader(t *testing.T) {
	t.Parallel()
	d := kafkafake.Uneven()
	c := kafkafake.StartDialect(t, d, nil, kfake.NumBrokers(len(d.Limits)))
	c.Topic("t", 12)
	g := newGuard(t, c, Config{IgnoreRules: true}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, name := range []string{"learn", "again"} {
		var rs []*kgo.Record
		failed := map[int]Class{}
		for _, size := range []int{100, 25_000, 60_000, 110_000, 120_000} {
			for p := range int32(12) {
				r := record("t", fmt.Sprint(name, p, "-", size, "-"), size)
				r.Partition = p
				if size > d.Limits[c.LeaderFor("t", p)] {
					failed[len(rs)] = SizeExceeded
				}
				rs = append(rs, r)
			}
		}
		requests := c.Count(kmsg.Produce)
		vs := g.Write(t.Context(), rs)
		require.Equal(t, failed, classes(vs))
		account(t, c, rs, vs)
		require.Less(t, requests.Hits(), 2*len(rs))
	}
}

// taughtASize returns a guard that does not ask for limits, and had a record of
// 30,000 bytes rejected by the topic t, which takes 20,000.
func taughtASize(t *testing.T) (*kafkafake.Cluster, *Guard) {
	t.Helper()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1, "max.message.bytes=20000")
	g := newGuard(t, c, Config{IgnoreRules: true})
	require.Equal(t, map[int]Class{0: SizeExceeded}, classes(g.Write(t.Context(), large("learn"))))
	return c, g
}

func large(name string) []*kgo.Record { return []*kgo.Record{record("t", name, 30_000)} }

// Writes share what a rejection proves.
func TestWritesShareARejection(t *testing.T) {
	t.Parallel()
	c, g := taughtASize(t)
	requests := c.Count(kmsg.Produce)
	var wg sync.WaitGroup
	vs := make([][]Verdict, 50)
	for n := range vs {
		wg.Go(func() { vs[n] = g.Write(t.Context(), large(fmt.Sprint(n, "-"))) })
	}
	wg.Wait()
	for n := range vs {
		require.Equal(t, map[int]Class{0: SizeExceeded}, classes(vs[n]))
		require.Contains(t, vs[n][0].Err().Error(), "size_exceeded: topic t")
	}
	require.Less(t, requests.Hits(), 25)
	require.Empty(t, c.Log("t"))
}

// Records with the key of a large one do not overtake it.
func TestLargeRecordsAreNotOvertakenByTheirKey(t *testing.T) {
	t.Parallel()
	c, g := taughtASize(t)
	c.Set("t", "max.message.bytes", "50000")
	time.Sleep(time.Second) // a rejection proves nothing for longer
	for n := range 20 {
		rs := []*kgo.Record{
			record("t", fmt.Sprint(n, "a"), 10), record("t", fmt.Sprint(n, "large"), 30_000), record("t", fmt.Sprint(n, "b"), 10),
			record("t", fmt.Sprint(n, "larger"), 40_000), record("t", fmt.Sprint(n, "c"), 10),
		}
		for _, r := range rs {
			r.Key = []byte("k")
		}
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		for i, v := range vs[1:] {
			require.Greater(t, v.Offset, vs[i].Offset)
		}
	}
}

// Once a broker has said that a topic takes none, records without a key go in batches of
// their own.
func TestRecordsWithoutAKeyGoApart(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 3, "cleanup.policy=compact")
	g := newGuard(t, c, Config{IgnoreRules: true})
	half := func(name string) (rs []*kgo.Record, keyless map[int]Class) {
		keyless = map[int]Class{}
		for n := range 100 {
			r := record("t", fmt.Sprint(name, n, "-"), 10)
			if n%2 == 0 {
				r.Key = fmt.Append(nil, n)
			} else {
				keyless[n] = InvalidRecord
			}
			rs = append(rs, r)
		}
		return rs, keyless
	}
	for n := range 3 {
		requests := c.Count(kmsg.Produce)
		rs, keyless := half(fmt.Sprint("compacted", n))
		vs := g.Write(t.Context(), rs)
		require.Equal(t, keyless, classes(vs))
		account(t, c, rs, vs)
		for _, v := range vs {
			if n > 0 && v.Failure == nil {
				require.False(t, v.BatchRejected)
			} else if n > 0 {
				require.Contains(t, v.Failure.Error(), "invalid_record: topic t partition ")
				require.Contains(t, v.Failure.Error(), "the broker says: Compacted topic cannot accept message without key")
			}
		}
		if n > 0 {
			require.LessOrEqual(t, requests.Hits(), 2)
		}
	}

	// Nothing fails for it once the topic takes them.
	c.Set("t", "cleanup.policy", "delete")
	rs, _ := half("deleted")
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
}

// A rejected batch counts as seen there, a raised epoch is fenced, or no number is looked at.
func TestBrokersThatNumberDifferently(t *testing.T) {
	t.Parallel()
	for _, d := range []kafkafake.Dialect{kafkafake.CountingRejected(), kafkafake.FencingEpochs(), kafkafake.Tansu(), kafkafake.Unnumbered()} {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.StartDialect(t, d, nil)
			c.Topic("t", 2)
			g := newGuard(t, c, retrying(newTold()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			for n := range 5 {
				rs := records("t", fmt.Sprint("r", n), 100, 10)
				want := map[int]Class{}
				for i, r := range rs {
					r.Partition = int32(i % 2)
					if d.Content && i%40 == 7 {
						poison(rs, i)
						want[i] = InvalidRecord
					}
				}
				vs := g.Write(t.Context(), rs)
				require.Equal(t, want, classes(vs))
				account(t, c, rs, vs)
			}
		})
	}
}

// What a proxy adds to each record is learned: batches get smaller, and stay so.
func TestBatchesThatGrowOnTheirWayGetSmaller(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Encrypting(), nil)
	c.Topic("t", 1, "max.message.bytes=20000")
	g := newGuard(t, c, Config{})
	requests := 0
	for n := range 10 {
		count := c.Count(kmsg.Produce)
		rs := records("t", fmt.Sprint("r", n), 400, 100)
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		requests = count.Hits()
	}
	require.LessOrEqual(t, requests, 2*(400*(110+142)/20_000+1), "nothing is rejected any more")

	// A record that is within the limit until it grows fails by what was observed.
	rs := []*kgo.Record{record("t", "edge", 19_900), record("t", "good", 100)}
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{0: SizeExceeded}, classes(vs))
	require.ErrorContains(t, vs[0].Err(), "19972 bytes exceed what the broker takes, as observed: the topic's max.message.bytes is 20000 as reported by the cluster: MESSAGE_TOO_LARGE")
}

// The memory of a write is used again: nothing of an earlier record sticks to a later one.
func TestAnIllegalTopicIsInNoRejectedBatch(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=1000")
	g := newGuard(t, c, Config{IgnoreRules: true})
	for range 20 {
		require.True(t, g.Write(t.Context(), []*kgo.Record{record("t", "large", 2000)})[0].BatchRejected)
		v := g.Write(t.Context(), []*kgo.Record{record("a b", "illegal", 10)})[0]
		require.Equal(t, Unroutable, v.Class)
		require.False(t, v.BatchRejected)
	}
}
