package guard

import (
	"context"
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

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// Where the broker names them, it takes three requests to single out any number
// of invalid records: all, one of the named alone (once for a cluster), the rest.
func TestTheBrokerNamesTheCulprits(t *testing.T) {
	t.Parallel()
	for _, culprits := range []int{1, 2, 10, 100, 500, 999, 1000} {
		t.Run(fmt.Sprint(culprits, " of 1000"), func(t *testing.T) {
			t.Parallel()
			c := kafkafake.Speak(t, kafkafake.Kafka(), nil)
			c.Topic("t", 1, "cleanup.policy=compact")
			g := newGuard(t, c, Config{IgnoreRules: true})
			// The first write makes the cluster's word good.
			vs := g.Write(t.Context(), []*kgo.Record{record("t", "no key", 0), {Topic: "t", Key: []byte("k"), Value: []byte("v")}})
			require.Equal(t, map[int]Class{0: InvalidRecord}, classes(vs))

			rnd := rand.New(rand.NewPCG(uint64(culprits), 0))
			rs := records("t", "r", 1000, 10)
			want := map[int]Class{}
			for n, i := range rnd.Perm(1000) {
				if n < culprits {
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

// A cluster that names nobody, or only the first, is searched.
func TestWhoeverIsNotNamedIsSearchedFor(t *testing.T) {
	t.Parallel()
	for _, d := range []kafkafake.Dialect{kafkafake.Kafka24(), kafkafake.Registry(), kafkafake.Gateway(), kafkafake.BlurringGateway()} {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.Speak(t, d, nil)
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

// Of records that are too large, one is the witness against all that are no
// smaller.
func TestAWitnessCondemnsBySize(t *testing.T) {
	t.Parallel()
	const n, limit = 1000, 20_000
	for _, culprits := range []int{1, 2, 10, 100, 500, 999, 1000} {
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
			t.Run(fmt.Sprint(name, ", ", culprits, " of 1000"), func(t *testing.T) {
				t.Parallel()
				c := kafkafake.New(t)
				c.Topic("t", 1, fmt.Sprint("max.message.bytes=", limit))
				g := newGuard(t, c, Config{IgnoreRules: true, MaxMessageBytes: 64 << 20})
				rnd := rand.New(rand.NewPCG(uint64(culprits), 1))
				rs := make([]*kgo.Record, n)
				want := map[int]Class{}
				for k, i := range rnd.Perm(n) {
					rs[i] = record("t", fmt.Sprintf("%05d", i), size(rnd, k < culprits))
					if k < culprits {
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
				// witnesses get smaller a few times.
				batches := 3*(small/limit+1) + int(math.Log(n))
				require.LessOrEqual(t, requests.Hits(), int(math.Log2(n))+4+batches)
				account(t, c, rs, vs)
			})
		}
	}
}

// Timestamps that we chose are nobody's fault: what is refused for one is sent
// again with another.
func TestTimestampsOfOursAreChosenAnew(t *testing.T) {
	t.Parallel()
	c := kafkafake.Speak(t, kafkafake.Kafka(), nil)
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

// A control lies between two refusals: it came after the first, and the record was sent
// after it. And a time that we chose is too old also because the request took long.
func TestWhatIsAControl(t *testing.T) {
	t.Parallel()
	const invalidTimestamp, unknownServerError, invalidRecord = 32, -1, 87
	now := time.Now()
	for _, test := range []struct {
		name  string
		code  int16
		ours  bool // the timestamp
		sent  moment
		again bool // it is sent again
		proof bool
	}{
		{"it says something", invalidRecord, true, moment{now, 5}, true, true},
		{"nothing accepted", unknownServerError, false, moment{now, 5}, true, false},
		{"accepted", unknownServerError, false, moment{now, 6}, true, true},
		{"accepted, but soon after", unknownServerError, false, moment{now.Add(-58 * time.Second), 6}, true, false},
		{"accepted, and not sent again", unknownServerError, false, moment{now.Add(-58 * time.Second), 6}, false, true},
		{"a time of its own", invalidTimestamp, false, moment{now, 5}, true, true},
		{"our time, nothing accepted", invalidTimestamp, true, moment{now, 5}, true, false},
		{"our time, accepted", invalidTimestamp, true, moment{now, 6}, true, true},
		{"our time, accepted, but it took long", invalidTimestamp, true, moment{now.Add(-10 * time.Second), 6}, true, false},
	} {
		g := &Guard{}
		if test.again {
			g.config.Retry.InitialInterval = time.Second
		}
		s := &slot{unstamped: test.ours, refusal: refusal{moment: moment{now.Add(-time.Minute), 5}}}
		require.Equal(t, test.proof, g.proof(s, &wire.Event{Code: test.code, Alone: true, Records: 1}, test.sent), test.name)
	}
}

// Of the records that are as large as one that was refused before, one for each
// leader is sent alone, and is the witness for its other partitions, but for no other
// leader's: their limits may differ.
func TestAWitnessSpeaksForAllThatItsLeaderLeads(t *testing.T) {
	t.Parallel()
	d := kafkafake.Uneven()
	c := kafkafake.Speak(t, d, nil, kfake.NumBrokers(len(d.Limits)))
	c.Topic("t", 12)
	g := newGuard(t, c, Config{IgnoreRules: true}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	batch := func(name string) (rs []*kgo.Record, culprits map[int]Class) {
		culprits = map[int]Class{}
		for _, size := range []int{100, 25_000, 60_000, 110_000, 120_000} {
			for p := range int32(12) {
				r := record("t", fmt.Sprint(name, p, "-", size, "-"), size)
				r.Partition = p
				if size > d.Limits[c.LeaderFor("t", p)] {
					culprits[len(rs)] = SizeExceeded
				}
				rs = append(rs, r)
			}
		}
		return rs, culprits
	}
	rs, culprits := batch("learn")
	vs := g.Write(t.Context(), rs)
	require.Equal(t, culprits, classes(vs))
	account(t, c, rs, vs)

	tried := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1, Observe: true, When: func(req kmsg.Request) bool {
		batches, large := 0, false
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range t.Partitions {
				batches++
				large = large || len(p.Records) > 20_000
			}
		}
		return batches == 1 && large
	}})
	rs, culprits = batch("again")
	vs = g.Write(t.Context(), rs)
	require.Equal(t, culprits, classes(vs))
	account(t, c, rs, vs)
	require.Less(t, tried.Hits(), len(culprits)/2)
}

// taughtASize returns a guard that does not ask for rules, and was refused a record of
// 30,000 bytes by the topic t, which takes 20,000.
func taughtASize(t *testing.T) (*kafkafake.Cluster, *Guard) {
	t.Helper()
	c := kafkafake.Speak(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1, "max.message.bytes=20000")
	g := newGuard(t, c, Config{IgnoreRules: true})
	require.Equal(t, map[int]Class{0: SizeExceeded}, classes(g.Write(t.Context(), large("learn"))))
	return c, g
}

func large(name string) []*kgo.Record { return []*kgo.Record{record("t", name, 30_000)} }

// What a try found is no older than the try: a witness of the one before is not handed
// on, for it speaks of no write that came after it.
func TestAWitnessIsNotHandedOn(t *testing.T) {
	t.Parallel()
	c, g := taughtASize(t)
	c.Set("t", "max.message.bytes", "27000")
	g.bounds.get("t").aloneRefused(24_000)
	trial := g.bounds.get("t").trial(place{leader: g.rules.of("t").leader(0), partition: -1})
	trial.turn <- struct{}{}
	rs := []*kgo.Record{record("t", "fits", 25_000)}
	done := make(chan []Verdict)
	go func() { done <- g.Write(t.Context(), rs) }()
	waitsForATry(t, g, 1)
	trial.began, trial.witness = time.Now(), &witness{raw: 30_000, sent: 30_000}
	<-trial.turn
	vs := <-done
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
	require.Nil(t, trial.witness)
}

// waitsForATry waits until so many records wait for another's try.
func waitsForATry(t *testing.T, g *Guard, records int) {
	t.Helper()
	require.Eventually(t, func() bool {
		g.waits.mu.Lock()
		defer g.waits.mu.Unlock()
		return g.waits.totals[Transient.String()] == records
	}, 10*time.Second, time.Millisecond)
}

// Writes that come while a record is tried share the next one's answer.
func TestWritesShareAWitness(t *testing.T) {
	t.Parallel()
	c, g := taughtASize(t)

	h := c.Trouble(kafkafake.Trouble{Do: kafkafake.DelayAnswer, Count: -1, Pause: 50 * time.Millisecond})
	defer h.Over()
	requests := c.Count(kmsg.Produce)
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			rs := large(fmt.Sprint(n, "-"))
			vs := g.Write(t.Context(), rs)
			require.Equal(t, map[int]Class{0: SizeExceeded}, classes(vs))
			require.Contains(t, vs[0].Err().Error(), "size_exceeded: topic t")
		})
	}
	wg.Wait()
	require.Less(t, requests.Hits(), 25)
	require.Empty(t, c.Log("t"))
}

// A large record is tried while the others are delivered.
func TestNobodyWaitsForATryOfALargeRecord(t *testing.T) {
	t.Parallel()
	c, g := taughtASize(t)

	trial := g.bounds.get("t").trial(place{leader: g.rules.of("t").leader(0), partition: -1})
	trial.turn <- struct{}{}
	rs := []*kgo.Record{record("t", "a", 10), record("t", "large", 30_000), record("t", "b", 10)}
	done := make(chan []Verdict)
	go func() { done <- g.Write(t.Context(), rs) }()
	require.Eventually(t, func() bool { return len(c.Log("t")) == 2 }, 10*time.Second, time.Millisecond)
	require.Empty(t, done)
	<-trial.turn
	vs := <-done
	require.Equal(t, map[int]Class{1: SizeExceeded}, classes(vs))
	account(t, c, rs, vs)
}

// But for those with its key that come behind it.
func TestNothingWithItsKeyOvertakesALargeRecord(t *testing.T) {
	t.Parallel()
	c, g := taughtASize(t)
	c.Set("t", "max.message.bytes", "50000")
	for n := range 20 {
		rs := []*kgo.Record{
			record("t", fmt.Sprint(n, "a"), 10), record("t", fmt.Sprint(n, "large"), 30_000), record("t", fmt.Sprint(n, "b"), 10),
			record("t", fmt.Sprint(n, "larger"), 40_000), record("t", fmt.Sprint(n, "c"), 10),
		}
		for _, r := range rs {
			r.Key = []byte("k")
		}
		g.bounds.get("t").aloneRefused(20_000) // as if it were not known that the limit was raised
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		for i, v := range vs[1:] {
			require.Greater(t, v.Offset, vs[i].Offset)
		}
	}
}

// Once a broker has said that a topic takes none, records without a key spoil no batch.
func TestRecordsWithoutAKeyAreTriedByThemselves(t *testing.T) {
	t.Parallel()
	c := kafkafake.Speak(t, kafkafake.Kafka(), nil)
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
				require.False(t, v.Suspected)
			} else if n > 0 {
				require.Contains(t, v.Failure.Error(), "invalid_record: topic t partition ")
				require.Contains(t, v.Failure.Error(), "the broker says: Compacted topic cannot accept message without key")
			}
		}
		if n > 0 {
			require.LessOrEqual(t, requests.Hits(), 2)
		}
	}

	// Nobody is condemned for it, and it is forgotten as soon as they are taken.
	c.Set("t", "cleanup.policy", "delete")
	for n := range 2 {
		rs, _ := half(fmt.Sprint("deleted", n))
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
		require.False(t, g.bounds.get("t").needsKey())
	}
}

// Who waits for another write's try is counted among those who wait.
func TestWhoWaitsForATryIsCounted(t *testing.T) {
	t.Parallel()
	c, g := taughtASize(t)

	h := c.Trouble(kafkafake.Trouble{Do: kafkafake.DelayAnswer, Count: -1, Pause: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for n := range 5 {
		wg.Go(func() { g.Write(ctx, large(fmt.Sprint(n, "-"))) })
	}
	waitsForATry(t, g, 5)
	h.Over()
	cancel()
	wg.Wait()
	require.Empty(t, c.Log("t"))
}
