package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/progress"
)

var (
	flagMessages = flag.Int("messages", 0, "how many messages the random scenarios take in all, 0 for what CI can afford")
	flagSeed     = flag.Uint64("seed", 0, "run the one random scenario of this seed, again and again until it breaks, at most -times")
	flagPlan     = flag.String("plan", "", "run the one scenario of this file, again and again until it breaks, at most -times")
	flagTimes    = flag.Int("times", 50, "how often -seed and -plan are run")
	flagFirst    = flag.Uint64("first", 1, "the seed of the first random scenario")
	flagStrict   = flag.Bool("strict", false, "take known breaks for new ones")
	flagKeepOn   = flag.Bool("keep-on", false, "go on after a break, and list all at the end")
	flagDialect  = flag.String("dialect", "", "have every broker of the random scenarios speak this dialect")
)

// TestRandom runs random scenarios until they have had the number of messages asked
// for. It prints the seed of a scenario that breaks:
//
//	go test ./sim -run TestRandom -seed 123 -v
func TestRandom(t *testing.T) {
	switch {
	case *flagSeed != 0:
		again(t, random(*flagSeed))
		return
	case *flagPlan != "":
		again(t, load(t, *flagPlan))
		return
	}
	messages := *flagMessages
	if messages == 0 {
		messages = 500_000
		if testing.Short() {
			messages = 30_000
		}
	}
	var next, seen, virtual, scenarios atomic.Int64
	var mu sync.Mutex
	broken, known := map[string][]uint64{}, map[string]int{}
	next.Store(int64(*flagFirst) - 1)
	begin := time.Now()
	defer progress.Lines(func() string { return fmt.Sprintf("%d of %d messages", seen.Load(), messages) })()
	t.Run("scenarios", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for seen.Load() < int64(messages) {
					seed := uint64(next.Add(1))
					r := live(t, random(seed))
					seen.Add(int64(r.seen))
					virtual.Add(int64(r.virtual))
					scenarios.Add(1)
					if r.broken == "" {
						continue
					}
					b := knownTo(random(seed), r)
					mu.Lock()
					if b != nil {
						known[b.name]++
					} else {
						broken[r.kind] = append(broken[r.kind], seed)
					}
					mu.Unlock()
					if b != nil {
						continue
					}
					if !*flagKeepOn {
						t.Errorf("seed %d: %s: %s\n%s", seed, r.kind, r.broken, random(seed))
						return
					}
					t.Logf("seed %d: %s: %s", seed, r.kind, r.broken)
				}
			})
		}
	})
	took := time.Since(begin)
	t.Logf("%d scenarios, %d messages in %s: %.0f messages/s, %.1f virtual hours per real minute", scenarios.Load(), seen.Load(), took.Round(time.Millisecond),
		float64(seen.Load())/took.Seconds(), time.Duration(virtual.Load()).Hours()/took.Minutes())
	t.Logf("known breaks: %v", known)
	for kind, seeds := range broken {
		slices.Sort(seeds)
		t.Errorf("%s: %d scenarios, for example seeds %v", kind, len(seeds), seeds[:min(10, len(seeds))])
	}
}

// again runs a plan repeatedly until it breaks.
func again(t *testing.T, p plan) {
	t.Log(p)
	for i := range *flagTimes {
		if r := live(t, p); r.broken != "" {
			t.Fatalf("run %d: %s: %s", i+1, r.kind, r.broken)
		}
	}
	t.Logf("it did not break in %d runs", *flagTimes)
}

func load(t *testing.T, file string) (p plan) {
	t.Helper()
	b, err := os.ReadFile(filepath.Clean(file))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &p))
	return p
}

// random makes a plan from a seed. Features that were added later draw from random
// numbers of their own, so that most seeds still give the same plan.
func random(seed uint64) plan {
	p := maker{rand.New(rand.NewPCG(seed, 7))}.plan(seed)
	if r := (maker{rand.New(rand.NewPCG(seed, 8))}); r.one(4) {
		r.topics(&p)
	}
	if r := (maker{rand.New(rand.NewPCG(seed, 9))}); r.one(3) {
		others := kafkafake.OtherDialects()
		p.Dialect = others[r.IntN(len(others))].Name
	}
	if r := (maker{rand.New(rand.NewPCG(seed, 10))}); p.Nodes > 1 && r.one(3) {
		r.clocks(&p)
	}
	if r := (maker{rand.New(rand.NewPCG(seed, 11))}); r.one(6) {
		p.TLS = r.one(2)
		// No request that takes longer than a session ever gets through.
		if (!p.TLS || r.one(2)) && p.Rate == 0 {
			p.Session = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}[r.IntN(3)]
		}
	}
	if r := (maker{rand.New(rand.NewPCG(seed, 12))}); p.dialect().Codecs == nil && r.one(8) {
		p.Codec = "zstd"
	}
	if r := (maker{rand.New(rand.NewPCG(seed, 13))}); r.one(10) {
		r.raised(&p)
	}
	if r := (maker{rand.New(rand.NewPCG(seed, 14))}); r.one(5) {
		r.following(&p)
	}
	if *flagDialect != "" {
		p.Dialect = *flagDialect
	}
	return p
}

// following has more queued for few partitions than a batch takes, so that batches follow
// one that is in flight, and has requests fail in the middle of that.
func (r maker) following(p *plan) {
	limited := func(c string) bool { return strings.HasPrefix(c, "max.message.bytes=") }
	if slices.ContainsFunc(p.Events, func(e event) bool { return e.Do == "set" }) {
		return
	}
	p.Configs = append(slices.DeleteFunc(p.Configs, limited), "max.message.bytes="+r.of("4000", "10000", "20000"))
	p.Partitions = 1 + r.IntN(2)
	if r.one(3) {
		p.Latency = time.Duration(5+r.IntN(60)) * time.Millisecond // where a part of a batch follows
	}
	for w := range 2 {
		var x writer
		for range 1 + r.IntN(4) {
			var records []run
			for range 1 + r.IntN(8) {
				records = append(records, run{Shape: good, Size: 1000, Times: 1 + r.IntN(40), Partition: int32(w)})
				if r.one(8) {
					records = append(records, r.bad(p))
				}
			}
			x.Writes = append(x.Writes, write{Records: records})
		}
		p.Writers = append(p.Writers, x)
	}
	for _, w := range p.Writers {
		for i := range w.Writes {
			for j := range w.Writes[i].Records {
				w.Writes[i].Records[j].Partition %= int32(p.Partitions)
			}
		}
	}
	for range r.IntN(4) {
		f := r.fault(p)
		f.Skip = r.IntN(60)
		p.Faults = append(p.Faults, f)
	}
}

// clocks sets the brokers' clocks apart.
func (r maker) clocks(p *plan) {
	for range p.Nodes {
		p.Clocks = append(p.Clocks, time.Duration(r.IntN(480)-240)*time.Second)
	}
	if slices.Contains(p.Configs, "message.timestamp.before.max.ms=10000") {
		p.MaxElapsed = time.Duration(1+r.IntN(20)) * time.Second // as with one clock, see plan
	}
}

// raised has limits raised, after which they can't be read for a while. Some records are
// larger than the limit before.
func (r maker) raised(p *plan) {
	if slices.ContainsFunc(p.Events, func(e event) bool { return e.Do == "close" || e.Do == "delete" }) {
		return
	}
	p.Configs = append(slices.DeleteFunc(p.Configs, func(c string) bool { return strings.HasPrefix(c, "max.message.bytes=") }), "max.message.bytes=20000")
	at := r.some() / 4
	p.Events = append(p.Events, event{At: at, Do: "set", Config: "max.message.bytes=100000"})
	f := fault{Key: "configs", Do: r.of("refuse", "disconnect_before", "disconnect_after", "swallow"), Count: -1, From: at, For: r.some() + time.Second}
	if f.Do == "refuse" {
		f.Code = r.of("TOPIC_AUTHORIZATION_FAILED", "UNKNOWN_SERVER_ERROR", "REQUEST_TIMED_OUT")
	}
	p.Faults = append(p.Faults, f)
	for _, w := range p.Writers {
		for i := range w.Writes {
			if x := &w.Writes[i]; r.one(2) {
				x.Records = append(x.Records, run{Shape: noise, Size: 30_000, Partition: r.Int32N(int32(p.Partitions))})
			}
		}
	}
}

// topics spreads the records over several topics: by run, by write, or by writer.
func (r maker) topics(p *plan) {
	p.Topics = 2 + r.IntN(4)
	by := r.IntN(3)
	for _, w := range p.Writers {
		of := r.IntN(p.Topics)
		for _, x := range w.Writes {
			if by > 0 {
				of = r.IntN(p.Topics)
			}
			for i := range x.Records {
				if by > 1 {
					of = r.IntN(p.Topics)
				}
				x.Records[i].Topic = of
			}
		}
	}
}

func (r maker) plan(seed uint64) plan {
	p := plan{
		Dialect: r.of("kafka", "kafka", "kafka", "kafka24", "registry", "redpanda", "redpanda_of_old", "gateway", "blurring_gateway", "event_hubs", "unreadable", "hanging", "uneven", "small_sockets"),
		Nodes:   []int{1, 1, 1, 2, 3}[r.IntN(5)], Partitions: 1 + r.IntN(6),
		Seed: seed, Latency: time.Duration(r.IntN(5)) * time.Millisecond, Jitter: time.Duration(1+r.IntN(5000)) * time.Microsecond,
		IgnoreRules: r.one(3), Keyed: r.one(2), Codec: r.of("", "", "gzip", "snappy", "lz4"),
	}
	if r.one(4) {
		p.RulesMaxAge = r.some()
	}
	if p.Dialect == "event_hubs" {
		p.Codec = r.of("", "gzip")
	}
	if r.one(2) {
		p.Rate = 1 << (16 + r.IntN(9))
	}
	if r.one(6) {
		p.NotIdempotent = true
		p.LeaderAck = r.one(2)
	}
	if r.one(8) {
		p.NoRetry = true
	}
	if r.one(8) {
		p.MaxElapsed = time.Duration(1+r.IntN(20)) * time.Second
	}
	if r.one(6) {
		p.MaxBuffered = 50 + r.IntN(1000)
	}
	if r.one(6) {
		p.HandOver = time.Duration(1+r.IntN(3000)) * time.Microsecond
	}
	if r.one(4) {
		p.UnknownRetries = 1 + r.IntN(4)
	}
	if r.one(10) {
		p.Expiry = time.Duration(1+r.IntN(60)) * time.Second
	}
	if r.one(10) {
		p.Clock = time.Duration(r.IntN(480)-240) * time.Second
	}
	if r.one(2) || p.Dialect == "uneven" && r.one(4) {
		p.Configs = append(p.Configs, "max.message.bytes="+r.of("20000", "50000", "100000"))
	}
	if r.one(4) {
		p.Configs = append(p.Configs, "cleanup.policy=compact")
	}
	if r.one(4) {
		p.Configs = append(p.Configs, "message.timestamp.before.max.ms="+r.of("3600000", "600000", "10000"))
	}
	if r.one(5) {
		p.Configs = append(p.Configs, "compression.type="+r.of("uncompressed", "gzip", "lz4"))
	}
	if slices.ContainsFunc(p.Configs, func(c string) bool { return strings.HasPrefix(c, "compression.type=") }) {
		// A broker that compresses anew rejects a record from before 1970 with an
		// ambiguous code. Alone in its partition, it would be retried for ever.
		p.MaxElapsed = time.Duration(1+r.IntN(20)) * time.Second
	}
	if p.Clock > 0 && slices.Contains(p.Configs, "message.timestamp.before.max.ms=10000") {
		// A broker whose clock is ahead rejects every timestamp that guard sets. The
		// records are good, and would be retried for ever.
		p.MaxElapsed = time.Duration(1+r.IntN(20)) * time.Second
	}
	if r.one(12) {
		r.fullSpeed(&p)
		return p
	}
	r.writers(&p)
	if r.one(2) {
		for range 1 + r.IntN(3) {
			p.Faults = append(p.Faults, r.fault(&p))
		}
	}
	if r.one(3) {
		for range 1 + r.IntN(3) {
			p.Events = append(p.Events, r.event(&p))
		}
		slices.SortFunc(p.Events, func(a, b event) int { return int(a.At - b.At) })
		p.Events = balanced(p.Events, p.Configs)
	}
	return p
}

// balanced returns the events with a "back" for each "away" and a "create" for a
// "delete", and none after a "close".
func balanced(events []event, configs []string) (out []event) {
	away, deleted := map[int32]bool{}, false
	for _, e := range events {
		switch e.Do {
		case "close":
			return append(out, e)
		case "away":
			away[e.Node] = true
		case "delete":
			deleted = true
		}
		out = append(out, e)
	}
	last := out[len(out)-1].At
	for node := range away {
		out = append(out, event{At: last + 7*time.Second, Do: "back", Node: node})
	}
	if deleted {
		out = append(out, event{At: last + 3*time.Second, Do: "create"})
	}
	return out
}

type maker struct{ *rand.Rand }

func (r maker) one(in int) bool             { return r.IntN(in) == 0 }
func (r maker) of(choices ...string) string { return choices[r.IntN(len(choices))] }

// some returns a random time, mostly a short one.
func (r maker) some() time.Duration {
	return time.Duration(1+r.IntN(100)) * []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second}[r.IntN(4)]
}

func (r maker) writers(p *plan) {
	bad := []int{0, 200, 50, 10, 3}[r.IntN(5)] // one in so many is bad, 0 for none
	size := []int{0, 0, 100, 1000, 1000}[r.IntN(5)]
	batch := []int{1, 4, 20, 100, 500}[r.IntN(5)]
	if r.one(12) {
		batch = 2000
	}
	ends, pauses := r.one(5), r.one(2)
	for range 1 + r.IntN(8) {
		var w writer
		for range 1 + r.IntN(6) {
			var x write
			if pauses {
				x.After = r.some()
			}
			if ends && r.one(2) {
				x.Ends = r.some()
			}
			for left := 1 + r.IntN(batch); left > 0; {
				n := 1 + r.IntN(min(left, 40))
				left -= n
				x.Records = append(x.Records, run{Shape: good, Size: size, Times: n, Partition: r.Int32N(int32(p.Partitions))})
				if bad > 0 && r.IntN(max(1, bad/n)) == 0 {
					x.Records = append(x.Records, r.bad(p))
				}
			}
			w.Writes = append(w.Writes, x)
		}
		p.Writers = append(p.Writers, w)
	}
}

// fullSpeed makes many writers write large batches without a pause to a topic with a
// low limit. Few records are bad. So rejections come while other batches wait.
func (r maker) fullSpeed(p *plan) {
	p.Configs = []string{"max.message.bytes=" + r.of("50000", "100000", "200000")}
	p.Codec, p.NoRetry, p.MaxElapsed, p.HandOver, p.MaxBuffered, p.Rate = "", false, 0, 0, 0, 1<<(18+r.IntN(7))
	poison := r.one(2)
	for range 4 + r.IntN(9) {
		var w writer
		for range 2 + r.IntN(6) {
			var x write
			for range 10 + r.IntN(40) {
				x.Records = append(x.Records, run{Shape: good, Size: 1000, Times: 1 + r.IntN(20), Partition: r.Int32N(int32(p.Partitions))})
			}
			if poison && r.one(3) {
				x.Records = append(x.Records, r.bad(p))
			}
			w.Writes = append(w.Writes, x)
		}
		p.Writers = append(p.Writers, w)
	}
}

func (r maker) bad(p *plan) run {
	out := run{Shape: shapes[1+r.IntN(len(shapes)-1)], Partition: r.Int32N(int32(p.Partitions))}
	if out.Shape == noise || out.Shape == zeros {
		out.Size = []int{15_000, 30_000, 60_000, 120_000, 1_100_000}[r.IntN(5)]
	}
	return out
}

func (r maker) fault(p *plan) fault {
	t := fault{
		Key:  r.of("", "", "", "metadata", "init", "configs"),
		Do:   r.of("refuse", "refuse", "refuse", "rewrite", "disconnect_before", "disconnect_after", "disconnect_within", "swallow", "swallow_answer", "delay", "delay_answer", "trickle"),
		Skip: r.IntN(6), Count: 1 + r.IntN(4),
	}
	if r.one(3) {
		t.Count, t.For = -1, r.some()/10+time.Millisecond
	}
	if p.Nodes > 1 && r.one(3) {
		t.Nodes = []int32{r.Int32N(int32(p.Nodes))}
	}
	if t.Key == "" && r.one(3) {
		t.Partitions = []int32{r.Int32N(int32(p.Partitions))}
	}
	switch t.Do {
	case "delay", "delay_answer":
		t.Pause = r.some() / 2
	case "trickle":
		t.Pause = time.Millisecond
	case "rewrite":
		t.Key, t.Code = "", r.of("KAFKA_STORAGE_ERROR", "NETWORK_EXCEPTION", "UNKNOWN_SERVER_ERROR", "REQUEST_TIMED_OUT", "NOT_ENOUGH_REPLICAS_AFTER_APPEND")
	case "refuse":
		switch t.Key {
		case "":
			t.Code = r.of("UNKNOWN_SERVER_ERROR", "CORRUPT_MESSAGE", "INVALID_RECORD", "MESSAGE_TOO_LARGE", "INVALID_TIMESTAMP",
				"NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "REQUEST_TIMED_OUT", "KAFKA_STORAGE_ERROR", "NETWORK_EXCEPTION",
				"TOPIC_AUTHORIZATION_FAILED", "POLICY_VIOLATION", "NOT_LEADER_FOR_PARTITION", "UNKNOWN_TOPIC_OR_PARTITION")
		case "metadata":
			t.Code = r.of("UNKNOWN_TOPIC_OR_PARTITION", "TOPIC_AUTHORIZATION_FAILED", "LEADER_NOT_AVAILABLE")
		case "init":
			t.Code = r.of("CLUSTER_AUTHORIZATION_FAILED", "COORDINATOR_LOAD_IN_PROGRESS", "NOT_COORDINATOR")
		default:
			t.Code = r.of("TOPIC_AUTHORIZATION_FAILED", "UNKNOWN_SERVER_ERROR", "REQUEST_TIMED_OUT")
		}
	}
	return t
}

func (r maker) event(p *plan) event {
	e := event{At: r.some() / 4, Do: r.of("move", "away", "cut", "set", "set", "delete", "close"), Node: r.Int32N(int32(p.Nodes)), Partition: r.Int32N(int32(p.Partitions))}
	if e.Do == "set" {
		e.Config = "max.message.bytes=" + r.of("10000", "20000", "50000", "100000")
	}
	return e
}
