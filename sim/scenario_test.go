package sim

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// result is the outcome of a plan.
type result struct {
	broken  string // the break that the oracle found, "" for none
	kind    string // of the break, a word
	virtual time.Duration
	seen    int // messages
}

// patience is how much virtual time writes have left once the last fault is over.
const patience = 10 * time.Minute

// live runs a plan in a synctest bubble. It also breaks if guard leaves anything behind
// in the bubble, such as a goroutine that waits for ever.
func live(t *testing.T, p plan) (out result) {
	out.seen = p.messages()
	// This timer is outside of the bubble: while a goroutine waits for a mutex, virtual
	// time stands still.
	stuck := time.AfterFunc(5*time.Minute, func() {
		fmt.Fprintf(os.Stderr, "the clock of this scenario stands still: %s\n", p)
		debug.SetTraceback("all")
		panic("stuck")
	})
	defer stuck.Stop()
	defer func() {
		if r := recover(); r != nil && out.broken == "" {
			text := fmt.Sprint(r)
			out.kind, out.broken = "leak", text
			if !strings.Contains(text, "deadlock") {
				out.kind = "panic"
			}
		}
	}()
	may := p.goroutines()
	goroutines.Add(may)
	defer goroutines.Add(-may)
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		w := newScenario(t, p)
		out.kind, out.broken = w.live()
		out.virtual = time.Since(begin)
	})
	return out
}

// goroutines is the sum of the limits of all running scenarios, and the tests' own
// goroutines.
var goroutines atomic.Int64

func init() { goroutines.Store(50) }

// goroutines returns the limit for a scenario, with its brokers and clients.
func (p plan) goroutines() int64 {
	return int64(60*(max(1, p.Nodes)+1) + 10*len(p.Writers) + len(p.Events))
}

// scenario is a running plan.
type scenario struct {
	plan    plan
	t       *testing.T
	network *kafkafake.Network
	cluster *kafkafake.Cluster
	wire    *kafkafake.Wire // of the guard
	guard   *guard.Guard
	begin   time.Time

	faults []*kafkafake.FaultHandle // in the order of the plan

	setting chan struct{} // has room while no config is set: time stands still behind a mutex
	mu      sync.Mutex
	rules   []rules // of the first topic; the configs of the others never change
	notices []time.Time
	written []*written
	closed  time.Time
}

// rules are the topic's configs in a span of time.
type rules struct {
	configs     map[string]string
	from, until time.Time // zero for no bound
}

// written is a call of Write with its verdicts.
type written struct {
	writer, nth int
	records     []*kgo.Record
	runs        []run
	verdicts    []guard.Verdict // nil until Write returns
	begin, end  time.Time
	ended       bool // whether its context ended
}

func newScenario(t *testing.T, p plan) *scenario {
	w := &scenario{setting: make(chan struct{}, 1), plan: p, t: t, begin: time.Now()}
	w.network = &kafkafake.Network{Latency: p.Latency, Jitter: p.Jitter, Rate: p.Rate, TLS: p.TLS, Rand: rand.New(rand.NewPCG(p.Seed, 1))}
	w.cluster = kafkafake.StartDialect(t, p.dialect(), w.network, kfake.NumBrokers(max(1, p.Nodes)))
	w.rules = []rules{{configs: p.configs()}}
	for _, topic := range p.topics() {
		w.cluster.Topic(topic, int32(p.Partitions), p.Configs...)
		for i := range p.Partitions {
			if err := w.cluster.MoveTopicPartition(topic, int32(i), int32(i%max(1, p.Nodes))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tr := range p.Faults {
		w.faults = append(w.faults, w.cluster.AddFault(tr.on()))
	}
	config, opts := p.guard()
	config.Observer = noticed{w: w}
	w.wire = &kafkafake.Wire{ID: idOf}
	opts = append(opts, kgo.Dialer(w.wire.Dialer(w.network.Dial)))
	g, err := guard.New(config, append(w.cluster.Opts(), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	w.guard = g
	return w
}

// live runs the plan, and returns what the oracle finds.
func (w *scenario) live() (kind, broken string) {
	stop := make(chan struct{})
	var events sync.WaitGroup
	for _, e := range w.plan.Events {
		events.Go(func() {
			select {
			case <-time.After(e.At):
				w.happen(e)
			case <-stop:
			}
		})
	}
	done := make(chan struct{})
	var writers sync.WaitGroup
	for i := range w.plan.Writers {
		writers.Go(func() { w.write(i) })
	}
	go func() {
		writers.Wait()
		close(done)
	}()
	kind, broken = w.watch(done)
	close(stop)
	events.Wait()
	if broken == "" {
		kind, broken = w.check()
	}
	w.close()
	// Let requests that are still on the network end.
	time.Sleep(2 * time.Minute)
	return kind, broken
}

func (w *scenario) close() {
	w.mu.Lock()
	first := w.closed.IsZero()
	if first {
		w.closed = time.Now()
	}
	w.mu.Unlock()
	if first {
		w.guard.Close()
	}
}

// watch waits for the writers. It returns a break if they take too long.
func (w *scenario) watch(done <-chan struct{}) (kind, broken string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return "", ""
		case <-tick.C:
		}
		if conns := w.network.Open(); conns > w.connections() {
			return "churn", fmt.Sprintf("%d connections are open", conns)
		}
		if dialed := w.network.Dialed(); dialed > 50*w.connections()+int(time.Since(w.begin)/time.Second)*20 {
			return "churn", fmt.Sprintf("%d connections were made in %s", dialed, time.Since(w.begin))
		}
		if n := int64(runtime.NumGoroutine()); n > goroutines.Load() {
			return "churn", fmt.Sprintf("%d goroutines are at work", n)
		}
		w.mu.Lock()
		most := w.plan.calm() + w.longest() + patience
		stuck := slices.ContainsFunc(w.written, func(x *written) bool { return x.verdicts == nil && time.Since(x.begin) > most })
		closed, writing := w.closed, slices.ContainsFunc(w.written, func(x *written) bool { return x.verdicts == nil && time.Since(x.begin) > 15*time.Second })
		w.mu.Unlock()
		switch {
		case writing && !closed.IsZero() && time.Since(closed) > 15*time.Second:
			return "close", fmt.Sprintf("a write has not returned %s after Close", time.Since(closed))
		case stuck:
			w.close()
			return "hang", fmt.Sprintf("a write has not returned after %s", most)
		}
		if kind, broken := w.overdue(); broken != "" {
			return kind, broken
		}
	}
}

// connections is a limit that no correct client reaches: guard has at most three to a
// broker.
func (w *scenario) connections() int { return 20 * (max(1, w.plan.Nodes) + 1) }

// longest returns how long the plan takes without faults.
func (w *scenario) longest() (d time.Duration) {
	for _, wr := range w.plan.Writers {
		var one time.Duration
		for _, x := range wr.Writes {
			one += x.After + time.Duration(len(x.Records))*w.plan.HandOver
			for _, r := range x.Records {
				one += time.Duration(r.Times) * w.plan.HandOver
			}
		}
		d = max(d, one)
	}
	if target := w.plan.configs()["compression.type"]; target != "" && target != "producer" {
		// A broker that compresses anew can't store a time before 1970. It rejects it
		// with UNKNOWN_SERVER_ERROR, so that guard retries for ten seconds before each
		// step of isolation.
		for _, wr := range w.plan.Writers {
			for _, x := range wr.Writes {
				for _, r := range x.Records {
					if r.Shape == "before_epoch" {
						d += 10 * 10 * time.Second
					}
				}
			}
		}
	}
	if w.plan.Rate > 0 { // twice, since a batch may be sent again
		d += 2 * time.Duration(w.plan.bytes()) * time.Second / time.Duration(w.plan.Rate)
	}
	return d
}

// overdue finds a write that has not reported that it waits, or that goes on after
// max_elapsed_time.
func (w *scenario) overdue() (kind, broken string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.written {
		if x.verdicts != nil {
			continue
		}
		age := time.Since(x.begin)
		if most := w.plan.MaxElapsed; most > 0 && !w.plan.NoRetry && age > most+time.Minute {
			return "overdue", fmt.Sprintf("write %d of writer %d goes on after %s with a max_elapsed_time of %s", x.nth, x.writer, age, most)
		}
		told := false
		for _, n := range w.notices {
			told = told || n.After(x.begin) || time.Since(n) < 90*time.Second
		}
		if age > 90*time.Second && !told {
			return "silence", fmt.Sprintf("write %d of writer %d goes on after %s without a word", x.nth, x.writer, age)
		}
	}
	return "", ""
}

// write does the writes of one writer, one after the other.
func (w *scenario) write(i int) {
	for n, planned := range w.plan.Writers[i].Writes {
		if planned.After > 0 {
			time.Sleep(planned.After)
		}
		rs, runs := w.plan.records(i, n)
		x := &written{writer: i, nth: n, records: rs, runs: runs, begin: time.Now()}
		w.mu.Lock()
		w.written = append(w.written, x)
		w.mu.Unlock()
		ctx, cancel := context.WithCancel(context.Background())
		if planned.Ends > 0 {
			ctx, cancel = context.WithTimeout(ctx, planned.Ends)
		}
		verdicts := w.guard.Write(ctx, rs)
		ended := ctx.Err() != nil
		cancel()
		w.mu.Lock()
		x.verdicts, x.end, x.ended = verdicts, time.Now(), ended
		w.mu.Unlock()
	}
}

// happen does an event.
func (w *scenario) happen(e event) {
	switch e.Do {
	case "move":
		_ = w.cluster.MoveTopicPartition("t", e.Partition, e.Node)
	case "away":
		w.cluster.Away(e.Node, true)
	case "back":
		w.cluster.Away(e.Node, false)
	case "cut":
		w.cluster.Disconnect(e.Node)
	case "set":
		w.set(e.Config)
	case "delete":
		_ = w.cluster.DeleteTopic("t")
	case "create":
		w.ruled(time.Now(), w.plan.configs())
		w.cluster.Topic("t", int32(w.plan.Partitions), w.plan.Configs...)
	case "close":
		w.close()
	default:
		panic("no event is named " + e.Do)
	}
}

// set changes a config of the topic, one after the other: what is noted last holds.
func (w *scenario) set(config string) {
	w.setting <- struct{}{}
	defer func() { <-w.setting }()
	k, v, _ := strings.Cut(config, "=")
	for range 120 {
		if w.cluster.TopicInfo("t") == nil {
			return
		}
		asked := time.Now()
		res, err := w.cluster.Admin.AlterTopicConfigs(context.Background(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: k, Value: &v}}, "t")
		if err == nil && res[0].Err == nil {
			w.mu.Lock()
			configs := maps.Clone(w.rules[len(w.rules)-1].configs)
			w.mu.Unlock()
			configs[k] = v
			w.ruled(asked, configs)
			return
		}
		time.Sleep(time.Second)
	}
}

// ruled enters the topic's new configs. The broker has them since some time after
// since.
func (w *scenario) ruled(since time.Time, configs map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules[len(w.rules)-1].until = time.Now()
	w.rules = append(w.rules, rules{configs: configs, from: since})
}

// noticed enters when guard reported that records wait.
type noticed struct {
	guard.NoObserver
	w *scenario
}

func (n noticed) OnWaiting(guard.Waiting) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.notices = append(n.w.notices, time.Now())
}
