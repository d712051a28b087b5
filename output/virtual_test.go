package output

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/progress"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

var (
	virtualSeed    = flag.Uint64("virtual-seed", 0, "run the one stream in virtual time of this seed")
	virtualStreams = flag.Int("virtual-streams", 0, "how many streams in virtual time, 0 for what CI can afford")
	virtualFirst   = flag.Uint64("virtual-first", 1, "the seed of the first of these streams")
	virtualOutage  = flag.Duration("virtual-outage", 6*time.Hour, "longest outage of a stream in virtual time; seeds draw up to 72h")
)

const (
	// standstill is how long the virtual clock may stand still, in real time. On a busy
	// machine it stands still for seconds.
	standstill = 5 * time.Minute

	// dialsPerSecond is how often a stream's client may dial per second of virtual
	// time, on average. In an outage it dials 2.18 times: about once a second for
	// metadata, and once for the leader.
	dialsPerSecond = 2.5
)

// TestVirtualStreams runs the whole engine in virtual time, with a network in memory.
// Package sim has more faults, but only for guard. This test has outputs around and
// inside.
func TestVirtualStreams(t *testing.T) {
	if *virtualSeed != 0 {
		for range 20 {
			require.NoError(t, liveStream(t, *virtualSeed))
		}
		return
	}
	streams := *virtualStreams
	if streams == 0 {
		streams = 150
		if testing.Short() {
			streams = 20
		}
	}
	begin, virtual, failed, unsure := time.Now(), time.Duration(0), 0, 0
	took := make([]time.Duration, streams) // real time of each stream
	var at atomic.Uint64
	defer progress.Lines(func() string { return fmt.Sprintf("stream %d of %d", at.Load(), streams) })()
	for n := range streams {
		seed := *virtualFirst + uint64(n)
		at.Store(uint64(n))
		began := time.Now()
		w, err := liveStreamOf(t, seed)
		took[n] = time.Since(began)
		virtual += w.took
		for _, f := range w.checker.Fates() {
			unsure += min(f.Unsure, 1)
		}
		if err != nil {
			t.Errorf("-virtual-seed %d: %s: %v", seed, w, err)
			if failed++; failed > 10 {
				return
			}
		}
	}
	all, median := time.Since(begin), slices.Sorted(slices.Values(took))[streams/2]
	t.Logf("%d streams in %s, %.0f virtual hours per real minute, %d messages in doubt or untold for a while", streams, all.Round(time.Millisecond), virtual.Hours()/all.Minutes(), unsure)
	for n, d := range took {
		if d > 10*median {
			t.Logf("-virtual-seed %d took %s, the median is %s", *virtualFirst+uint64(n), d, median)
		}
	}
}

// TestTheVirtualCheckerNotices changes what is known of a stream whose brokers refuse
// requests for a while, and that is right.
func TestTheVirtualCheckerNotices(t *testing.T) {
	for _, test := range []struct {
		want  string
		wrong func(c *deliverycheck.Checker, good string)
	}{
		{"", func(*deliverycheck.Checker, string) {}},
		{"is dead-lettered, and good", func(c *deliverycheck.Checker, good string) { c.DeadLetter(good, "capture", "invalid_record: x") }},
		{"is dead-lettered, and good", func(c *deliverycheck.Checker, good string) {
			c.DeadLetter(good, "capture", "transient: may have been written")
		}},
		{"is unsure", func(c *deliverycheck.Checker, good string) { c.Hear(good, deliverycheck.Unsure) }},
		{"is not acknowledged", func(c *deliverycheck.Checker, _ string) { c.Send(deliverycheck.Message{ID: "left out"}) }},
		{"is there too often", func(c *deliverycheck.Checker, good string) { c.Deliver(good, "t", "") }},
	} {
		w := newVirtualStream(3592)
		require.False(t, w.doubtful)
		require.NotEmpty(t, w.faults)
		w, err := liveStreamOf(t, 3592)
		require.NoError(t, err)
		all := w.checker.Fates()
		test.wrong(&w.checker, all[slices.IndexFunc(all, func(f deliverycheck.Fate) bool { return f.Class == "" })].ID)
		if err = w.check(); test.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, test.want)
		}
	}
}

func liveStream(t *testing.T, seed uint64) error {
	_, err := liveStreamOf(t, seed)
	return err
}

// virtualStream is a stream in a bubble.
type virtualStream struct {
	seed     uint64
	rnd      *rand.Rand
	dialect  kafkafake.Dialect
	shape    string // the outputs around
	lines    []string
	child    string // the behaviour of the child
	inFlight string
	batches  int
	doubtful bool
	faults   []kafkafake.Fault
	outage   time.Duration
	around   string        // "switch" for a switch around, with a case that no message takes
	onChild  string        // processors of dead_letter
	report   string        // the behaviour of the output of delivery_report, "" for none
	stops    int           // number of shutdowns, each with a new start
	stopped  time.Duration // time until a shutdown
	stopAt   atomic.Int64  // begin of the next shutdown, or of the one that goes on, 0 for none
	// perMessage is set if the output tells of each message what became of it.
	perMessage bool

	checker deliverycheck.Checker
	wire    kafkafake.Wire
	most    float64 // requests of all writes, without retries
	next    int
	mu      sync.Mutex
	letters int
	took    time.Duration
	dialed  int
	books   sync.Mutex // for the fields below; mu is locked while the child hangs
	batch   [][]letter // nacked, or not answered before a shutdown
	open    map[int][]letter
	sent    int
	reports map[string]deliverycheck.Record // the last one of each message
	told    int                             // number of batches of reports
}

// letter is a message of the source.
type letter struct{ id, content, key string }

func (w *virtualStream) String() string {
	return fmt.Sprintf("%s, %s, child %s, on it %q, around %q, report %q, %d stops after %s, %d batches, outage %s, faults %+v, %v", w.dialect.Name, w.shape, w.child, w.onChild, w.around, w.report, w.stops, w.stopped, w.batches, w.outage, w.faults, w.lines)
}

func newVirtualStream(seed uint64) *virtualStream {
	r := rand.New(rand.NewPCG(seed, 11))
	of := func(choices ...string) string { return choices[r.IntN(len(choices))] }
	all := kafkafake.Dialects()
	w := &virtualStream{wire: kafkafake.Wire{ID: idOf}, seed: seed, rnd: r, dialect: all[r.IntN(len(all))], batches: 1 + r.IntN(30)}
	if w.dialect.Limits != nil { // there is one broker
		w.dialect = kafkafake.Kafka()
	}
	w.shape = of("alone", "dead_letter", "dead_letter", "fallback", "retry", "batching")
	w.child = of("takes", "takes", "fails", "hangs", "takes a part")
	w.lines = []string{"topic: t", "key: ${! @k }", "null_key: '@k == null'", "compression: " + of("none", "gzip")}
	w.inFlight = of("1", "1", "10")
	w.lines = append(w.lines, "max_in_flight: "+w.inFlight)
	if r.IntN(4) == 0 {
		w.lines = append(w.lines, "topic_rules: { enabled: false }")
	}
	if r.IntN(3) == 0 {
		w.outage = time.Duration(1+r.IntN(72)) * []time.Duration{time.Second, time.Minute, time.Hour}[r.IntN(3)]
		w.outage = min(w.outage, *virtualOutage)
	}
	for range r.IntN(3) {
		tr := kafkafake.Fault{Skip: r.IntN(8), Count: 1 + r.IntN(4), Do: kafkafake.Actions()[r.IntN(len(kafkafake.Actions()))], Pause: time.Duration(r.IntN(2000)) * time.Millisecond}
		switch tr.Do {
		case kafkafake.Refuse:
			tr.Code = []*kerr.Error{kerr.NotEnoughReplicas, kerr.TopicAuthorizationFailed, kerr.PolicyViolation, kerr.NotLeaderForPartition}[r.IntN(4)]
			tr.For = time.Duration(1+r.IntN(120)) * time.Second
			tr.Count = -1
		case kafkafake.Rewrite:
			tr.Code = []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.KafkaStorageError}[r.IntN(3)]
		case kafkafake.Trickle:
			tr.Pause = time.Millisecond
		default:
		}
		if r.IntN(4) == 0 && tr.Do != kafkafake.Refuse && tr.Do != kafkafake.Rewrite {
			tr.Keys = []kmsg.Key{[]kmsg.Key{kmsg.Metadata, kmsg.DescribeConfigs, kmsg.InitProducerID}[r.IntN(3)]}
		}
		w.doubtful = w.doubtful || tr.Do != kafkafake.Refuse
		w.faults = append(w.faults, tr)
	}
	w.doubtful = w.doubtful || w.outage > 0
	w.surround(rand.New(rand.NewPCG(seed, 13)))
	return w
}

func liveStreamOf(t *testing.T, seed uint64) (w *virtualStream, err error) {
	w = newVirtualStream(seed)
	var clock atomic.Int64 // virtual
	defer watch(&clock, fmt.Sprintf("seed %d: %s", seed, w))()
	defer func() {
		if r := recover(); r != nil && err == nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ticking := time.NewTicker(time.Minute)
		ended := make(chan struct{})
		go func() {
			for {
				select {
				case now := <-ticking.C:
					clock.Store(now.UnixNano())
				case <-ended:
					return
				}
			}
		}()
		defer close(ended)
		err = w.live(t)
		w.took = time.Since(begin)
	})
	return w, err
}

// watch panics with the stacks of all goroutines when the virtual clock has stood still
// for too long: code runs without end, or all goroutines wait for a mutex, which stops
// virtual time. While the clock moves, however slowly, no time counts: the machine may
// be busy.
func watch(clock *atomic.Int64, what string) (stop func()) {
	stopped := make(chan struct{})
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		last, since := int64(0), time.Now()
		for {
			select {
			case <-stopped:
				return
			case <-tick.C:
			}
			if now := clock.Load(); now != last {
				last, since = now, time.Now()
			}
			if time.Since(since) > standstill {
				fmt.Fprintf(os.Stderr, "the virtual clock stands still for %s, %s\n", standstill, what)
				debug.SetTraceback("all")
				panic("the virtual clock stands still")
			}
		}
	}()
	return func() { close(stopped) }
}

func (w *virtualStream) live(t *testing.T) error {
	begin := time.Now()
	network := &kafkafake.Network{Latency: time.Millisecond, Jitter: time.Millisecond, Rand: rand.New(rand.NewPCG(w.seed, 12))}
	c := kafkafake.StartDialect(t, w.dialect, network)
	c.Topic("t", 3, "max.message.bytes=20000", "cleanup.policy=compact")
	for _, tr := range w.faults {
		c.AddFault(tr)
	}
	if w.outage > 0 {
		go func() {
			time.Sleep(10 * time.Millisecond)
			c.Away(0, true)
			time.Sleep(w.outage)
			c.Away(0, false)
		}()
	}
	own := "virtual:" + streamtest.Indent("seed_brokers: [ '"+c.ListenAddrs()[0]+"' ]\n"+strings.Join(w.lines, "\n"), 2)
	config := streamtest.Config{
		Source: w.source, Replay: w.shape != "fallback" && w.stops == 0,
		Sinks: map[string]streamtest.Sink{"capture": w.capture, "report": w.hear},
		Environment: func(env *service.Environment) error {
			return env.RegisterBatchOutput("virtual", Spec(), func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
				o, err := newOutput(conf, mgr)
				if err != nil {
					return nil, service.BatchPolicy{}, 0, err
				}
				o.client.dialer.open = w.wire.Dialer(network.Dial)
				policy, err := conf.FieldBatchPolicy(fieldBatching)
				if err != nil {
					return nil, service.BatchPolicy{}, 0, err
				}
				n, err := conf.FieldInt(fieldMaxInFlight)
				return o, policy, n, err
			})
		},
	}
	if w.report != "" {
		w.lines = append(w.lines, "delivery_report: { report: {} }")
		own = "virtual:" + streamtest.Indent("seed_brokers: [ '"+c.ListenAddrs()[0]+"' ]\n"+strings.Join(w.lines, "\n"), 2)
	}
	switch w.shape {
	case "alone":
		config.Output = own
	case "retry":
		config.Output = "retry:\n  output:" + streamtest.Indent(own, 4)
	case "fallback":
		config.Output = "fallback:\n  - virtual:" + streamtest.Indent("seed_brokers: [ '"+c.ListenAddrs()[0]+"' ]\n"+strings.Join(w.lines, "\n"), 6) + "  - capture: {}\n"
	default:
		more := []string{"retry: { initial_interval: 100ms, max_interval: 1s }", "dead_letter: { capture: {}" + w.onChild + " }"}
		if w.shape == "batching" {
			more = append(more, "batching: { count: 20, period: 200ms }")
		}
		config.Output = own + streamtest.Indent(strings.Join(more, "\n"), 2)
	}
	if w.around == "switch" {
		config.Output = "switch:\n  cases:\n    - check: 'false'\n      output: { drop: {} }\n    - output:" + streamtest.Indent(config.Output, 8)
	}
	config.Output = "spy:\n  max_in_flight: " + w.inFlight + "\n  \"on\":" + streamtest.Indent(config.Output, 4)
	config.Spy = func(batch service.MessageBatch, said []deliverycheck.Answer) {
		bytes, ids, doubts := 0, make([]string, len(batch)), make([]bool, len(batch))
		for i, m := range batch {
			content, _ := m.AsBytes()
			ids[i] = idOf(content)
			doubts[i] = w.inDoubt(ids[i])
			bytes += len(content) + 100
			if w.around != "" && !w.perMessage && said[i] != deliverycheck.Done {
				said[i] = deliverycheck.Untold // a switch gives each message the error of the batch
			}
		}
		w.checker.HearAll(ids, said, doubts, !w.perMessage && (w.stopping() || slices.Contains(doubts, true)))
		w.books.Lock()
		defer w.books.Unlock()
		// For any record of a batch, brokers without details may take a search.
		w.most += deliverycheck.MostRequests(3, bytes, 20_000, len(batch), len(batch))
	}
	if err := w.run(config); err != nil {
		return err
	}
	w.dialed = network.Dialed()
	if most := 1000 + int(dialsPerSecond*time.Since(begin).Seconds()); w.dialed > most {
		return fmt.Errorf("the client dialed %d times in %s, more than %d", w.dialed, time.Since(begin), most)
	}
	if n, most := w.wire.Requests(), w.most+3*(10+2*time.Since(begin).Seconds()); float64(n) > most {
		return fmt.Errorf("%d produce requests in %s, at most %.0f are expected", n, time.Since(begin), most)
	}
	network.Calm()
	reading, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	log, err := c.Read(reading, "t")
	if err != nil {
		return err
	}
	for _, r := range log {
		id := idOf(r.Value)
		sequence := ""
		if r.Key != nil {
			sequence = string(r.Key)
		}
		w.checker.Deliver(id, "t", sequence)
	}
	time.Sleep(2 * time.Minute)
	if err := w.checkReports(log); err != nil {
		return err
	}
	return w.check()
}

func (w *virtualStream) check() error {
	promise := deliverycheck.Promise{
		Uncertain: true,
		InDoubt:   w.inDoubt,
		Ordered:   w.inFlight == "1" && w.shape != "retry" && w.shape != "batching" && !w.doubtful && w.stopped == 0,
	}
	if strings.Contains(w.onChild, "split") && w.child != "takes" { // it fails for a part, so letters come again
		promise.Again = 1000
	}
	return w.checker.Check(promise)
}

// idOf returns the part of a value that no other message has.
func idOf(value []byte) string {
	id, _, _ := strings.Cut(string(value), ".")
	return id
}

// inDoubt reports whether a message may be in doubt. A shutdown ends the wait for answers,
// so those that come after its begin are late.
func (w *virtualStream) inDoubt(id string) bool {
	until := time.Now()
	if w.stopping() {
		until = time.Unix(0, w.stopAt.Load()-1)
	}
	return w.wire.InDoubt(id, until)
}

// stopping reports whether the stream shuts down.
func (w *virtualStream) stopping() bool {
	at := w.stopAt.Load()
	return at != 0 && time.Now().UnixNano() >= at
}

// source returns new batches, and again those that were not acknowledged. All messages
// are good if no output takes the bad ones.
func (w *virtualStream) source(ctx context.Context) (service.MessageBatch, streamtest.Answer, error) {
	letters, nth, err := w.take(ctx)
	if err != nil {
		return nil, nil, err
	}
	var batch service.MessageBatch
	for _, l := range letters {
		msg := service.NewMessage([]byte(l.content))
		if l.key != "" {
			msg.MetaSet("k", l.key)
		}
		batch = append(batch, msg)
	}
	return batch, func(err error, _ []deliverycheck.Answer) { w.answered(nth, err) }, nil
}

// write makes a batch.
func (w *virtualStream) write() (letters []letter) {
	for range 1 + w.rnd.IntN(40) {
		w.next++
		m := deliverycheck.Message{ID: fmt.Sprintf("m%05d", w.next)}
		content, key := m.ID+".", fmt.Sprint("k", w.rnd.IntN(5))
		if w.shape != "alone" && w.shape != "retry" && w.rnd.IntN(15) == 0 {
			switch w.rnd.IntN(3) {
			case 0:
				content += noise(w.rnd, 60_000)
				m.Class = "size_exceeded"
			case 1:
				if !w.dialect.NullKeys {
					key, m.Class = "", "invalid_record"
				}
			case 2:
				if w.dialect.Content && !w.dialect.LastDecides {
					content += kafkafake.Mark
					m.Class = "invalid_record"
				}
			}
		}
		w.checker.Send(m)
		letters = append(letters, letter{m.ID, content, key})
	}
	return letters
}

func noise(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

// capture is the child output, or the next output of a fallback.
func (w *virtualStream) capture(ctx context.Context, batch service.MessageBatch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.letters++
	switch {
	case w.shape == "fallback": // it is the last output; if it fails, the whole batch is sent again
	case w.child == "fails" && w.letters%3 != 0:
		return errors.New("the child is not well")
	case w.child == "hangs" && w.letters%3 == 1:
		select {
		case <-time.After(40 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	case w.child == "takes a part" && w.letters%2 == 1 && len(batch) > 1:
		if err := w.takeDeadLetters(batch[1:]); err != nil {
			return err
		}
		return service.NewBatchError(batch, errors.New("not the first")).Failed(0, errors.New("not the first"))
	}
	return w.takeDeadLetters(batch)
}

func (w *virtualStream) takeDeadLetters(batch service.MessageBatch) error {
	letters, err := streamtest.Capture(batch)
	for _, l := range letters {
		w.checker.DeadLetter(idOf([]byte(l.Content)), "capture", l.Why())
	}
	return err
}
