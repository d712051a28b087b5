package model

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// kind says what is wrong with a message.
type kind int

const (
	good     kind = iota
	oversize      // it is larger than the topic takes
	illegal       // its topic can't exist
	poison        // the broker refuses its content
)

func (k kind) String() string { return [...]string{"good", "oversize", "illegal", "poison"}[k] }

// class returns the class of failure of a kind.
func (k kind) class() string {
	return [...]string{"", "size_exceeded", "unroutable", "invalid_record"}[k]
}

// The topic refuses batches that are larger, or have the mark in them.
const (
	topicLimit = 20_000
	poisonMark = "POISON"
)

// trouble is what the broker does to a produce request.
type trouble int

const (
	noTrouble trouble = iota
	unauthorized
	notEnoughReplicas
	notLeader
	timedOut  // after it has appended
	cutBefore // the connection, before it has
	cutAfter  // the connection, after it has
)

// plan is all that a seed decides.
type plan struct {
	composition composition
	child       child
	spy         bool // a spy listens right above the output
	budget      bool // the output gives up soon on what may pass
	replay      bool // the input sends again what is nacked
	rules       bool // the output asks what topics accept
	inFlight    int
	partitions  int
	kinds       []kind  // by message
	pads        []int   // by message
	batches     [][]int // of messages
	troubles    map[int]trouble
	childFails  int // so many calls of the child fail, in part or as a whole, or hang
	stops       []stop
}

// stop is a shutdown.
type stop struct {
	events int // since the start of the stream: reads, produce requests, calls of the child
	force  bool
	child  bool // at the first call of the child instead, which is down from then on
}

// newPlan makes a plan for about n messages.
func newPlan(rng *rand.Rand, n int) *plan {
	p := &plan{
		composition: compositions[rng.IntN(len(compositions))],
		child:       children[rng.IntN(len(children))],
		spy:         rng.IntN(2) == 0,
		replay:      rng.IntN(2) == 0,
		rules:       rng.IntN(2) == 0,
		inFlight:    []int{1, 1, 3, 10}[rng.IntN(4)],
		partitions:  1 + rng.IntN(3),
		troubles:    map[int]trouble{},
	}
	bad := []float64{0, 0.01, 0.05, 0.3}[rng.IntN(4)]
	most := []int{1, 5, 50, 200}[rng.IntN(4)] // messages of a batch
	if most < 50 {
		n /= 4 // they take the longer
	}
	for len(p.kinds) < n {
		var batch []int
		for range 1 + rng.IntN(most) {
			k := good
			if rng.Float64() < bad {
				k = kind(1 + rng.IntN(3))
			}
			pad := rng.IntN(100)
			switch {
			case k == oversize:
				pad = topicLimit + rng.IntN(5000)
			case rng.IntN(100) == 0:
				pad = rng.IntN(topicLimit / 2)
			}
			batch = append(batch, len(p.kinds))
			p.kinds, p.pads = append(p.kinds, k), append(p.pads, pad)
		}
		p.batches = append(p.batches, batch)
	}
	requests := len(p.batches)
	if rng.IntN(3) == 0 { // one is enough: kgo waits up to 5 s for new metadata
		p.troubles[1+rng.IntN(requests)] = []trouble{notEnoughReplicas, notLeader, timedOut}[rng.IntN(3)]
	}
	for range rng.IntN(4) {
		at := 1 + rng.IntN(requests)
		switch rng.IntN(3) {
		case 0:
			p.troubles[at] = cutBefore
		case 1:
			p.troubles[at] = cutAfter
		default:
			for i := range 1 + rng.IntN(4) {
				p.troubles[at+i] = unauthorized
			}
		}
	}
	if bad > 0 || p.has(unauthorized) {
		// kfake has one epoch per producer, where Kafka has one per
		// partition. What is in doubt in one partition, when a refusal in
		// another gets kgo a new epoch, is refused for its epoch and sent
		// again under the new one: a duplicate that Kafka has no part in.
		if p.has(timedOut, cutAfter) {
			p.partitions = 1
		}
	}
	p.childFails = rng.IntN(10)
	if rng.IntN(2) == 0 {
		for range 1 + rng.IntN(3) {
			// Batching by an input loses messages when it is stopped by
			// force, see canary.
			force := rng.IntN(3) > 0 && p.composition.input == ""
			child := force && p.child.fails && rng.IntN(2) == 0
			p.stops = append(p.stops, stop{1 + rng.IntN(2*requests), force, child})
		}
	}
	// The input can't count what is sent again below it.
	p.spy = p.spy || p.doubtful()
	// Below a spy, a shutdown by force is a patient one: its OwnedOutput knows
	// no other. So a child must not be down for good there.
	for i := range p.stops {
		p.stops[i].child = p.stops[i].child && !p.spy
	}
	// What the output gives up is for the input to send again, and not for
	// a fallback to take.
	p.budget = p.spy && p.composition.name != "fallback" && rng.IntN(3) == 0
	return p
}

func (p *plan) String() string {
	return fmt.Sprintf("%s, child %s, spy %v, budget %v, replay %v, rules %v, max_in_flight %d, %d partitions, %d messages in %d batches, troubles %v, %d failures of the child, stops %v",
		p.composition.name, p.child.name, p.spy, p.budget, p.replay, p.rules, p.inFlight, p.partitions, len(p.kinds), len(p.batches), p.troubles, p.childFails, p.stops)
}

// sure reports whether nothing can be in doubt: no shutdown, nothing given up,
// and no attempt to produce whose end is not known.
func (p *plan) sure() bool { return len(p.stops) == 0 && !p.doubtful() && !p.budget }

func (p *plan) doubtful() bool { return p.has(timedOut, cutBefore, cutAfter) }

// has reports whether any of these troubles is planned.
func (p *plan) has(these ...trouble) bool {
	for _, t := range p.troubles {
		if slices.Contains(these, t) {
			return true
		}
	}
	return false
}

// forced returns how many shutdowns there may be that do not wait.
func (p *plan) forced() int { return len(p.stops) }

// world is a run: a broker, a ledger and one stream after the other.
type world struct {
	*plan
	ledger
	cluster  *kfake.Cluster
	cut      atomic.Bool // the next answer of the broker
	current  trouble     // of the produce request at hand
	events   atomic.Int64
	stopAt   atomic.Int64
	stopNow  chan struct{}
	stopping atomic.Bool
	down     atomic.Bool // the child is, and its next call shuts the stream down

	// Under ledger.mu:
	rng    *rand.Rand // of the child
	queue  [][]int
	open   map[*send]struct{}
	change chan struct{} // closed when queue or open has changed
	logs   strings.Builder
}

// send is a batch that the input handed out, without an answer yet.
type send struct {
	ids   []int
	index *service.Indexer // nil when the input sends again what is nacked
}

func newWorld(p *plan, rng *rand.Rand) (*world, error) {
	w := &world{plan: p, rng: rng, queue: p.batches, open: map[*send]struct{}{}, change: make(chan struct{})}
	w.fates = make([]fate, len(p.kinds))
	for id, k := range p.kinds {
		w.fates[id].kind = k
	}
	var err error
	w.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		return listener{l, &w.cut}, err
	}))
	if err != nil {
		return nil, err
	}
	limit := strconv.Itoa(topicLimit)
	if err := w.cluster.CreateTopic("t", int32(p.partitions), map[string]string{"max.message.bytes": limit}); err != nil {
		return nil, err
	}
	if err := w.cluster.CreateTopic("letters", 1, nil); err != nil {
		return nil, err
	}
	w.addTroubles()
	return w, nil
}

// addTroubles has the broker make the trouble that is planned, and refuse poison.
func (w *world) addTroubles() {
	requests := 0
	w.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		w.event()
		requests++
		w.current = w.troubles[requests]
		switch w.current {
		case cutBefore:
			return nil, errors.New("cut"), true
		case cutAfter:
			w.cut.Store(true)
		default: // the faults below answer
		}
		return nil, nil, false
	})
	// The first fault that matches answers: a broker validates before it
	// appends.
	for partition := range int32(w.partitions) {
		w.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Partitions: []int32{partition}, Err: kerr.InvalidRecord, Count: -1,
			When: func(req kmsg.Request) bool {
				for _, t := range req.(*kmsg.ProduceRequest).Topics {
					for _, p := range t.Partitions {
						if p.Partition == partition && strings.Contains(string(p.Records), poisonMark) {
							return true
						}
					}
				}
				return false
			},
		})
	}
	for t, err := range map[trouble]*kerr.Error{
		unauthorized: kerr.TopicAuthorizationFailed, notEnoughReplicas: kerr.NotEnoughReplicas,
		notLeader: kerr.NotLeaderForPartition, timedOut: kerr.RequestTimedOut,
	} {
		w.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: -1,
			When: func(kmsg.Request) bool { return w.current == t },
		})
	}
}

// listener makes connections that are cut where the broker would answer.
type listener struct {
	net.Listener
	cut *atomic.Bool
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return conn{c, l.cut}, nil
}

type conn struct {
	net.Conn
	cut *atomic.Bool
}

func (c conn) Write(p []byte) (int, error) {
	if c.cut.CompareAndSwap(true, false) {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// event counts what may set off a shutdown.
func (w *world) event() {
	if w.events.Add(1) == w.stopAt.Load() {
		w.shutDown()
	}
}

// shutDown has the stream shut down, if it is not about to be already.
func (w *world) shutDown() {
	if w.stopping.CompareAndSwap(false, true) {
		close(w.stopNow)
	}
}

// changed wakes up those who wait for the queue.
func (w *world) changed() {
	close(w.change)
	w.change = make(chan struct{})
}

// source is the input of a stream of the world. It reads from the queue, and
// puts back what is nacked.
type source struct{ *world }

func (s source) Connect(context.Context) error { return nil }
func (s source) Close(context.Context) error   { return nil }

func (s source) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	s.event()
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			break
		}
		done, change := len(s.open) == 0 || s.replay, s.change
		s.mu.Unlock()
		if done {
			return nil, nil, service.ErrEndOfInput
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	defer s.mu.Unlock()
	out := &send{ids: s.queue[0]}
	s.queue = s.queue[1:]
	s.open[out] = struct{}{}
	var batch service.MessageBatch
	for _, id := range out.ids {
		batch = append(batch, s.message(id))
	}
	if !s.replay {
		out.index = batch.Index()
	}
	return batch, func(_ context.Context, err error) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answered(out, words(len(out.ids), out.index, err))
		return nil
	}, nil
}

// message makes the message with the ID.
func (w *world) message(id int) *service.Message {
	k := w.kinds[id]
	text := fmt.Sprintf("%s %d ", k, id)
	if k == poison {
		text += poisonMark
	}
	m := service.NewMessage([]byte(text + strings.Repeat("x", w.pads[id])))
	m.MetaSetMut("key", strconv.Itoa(id%7))
	return m
}

// idOf returns the ID in the content of a message.
func idOf(content []byte) int {
	fields := strings.SplitN(string(content), " ", 3)
	id, err := strconv.Atoi(fields[1])
	if err != nil {
		panic("no message of ours: " + string(content))
	}
	return id
}

// answered enters the answer to a send. What is not done is sent again.
func (w *world) answered(out *send, said []word) {
	if _, ok := w.open[out]; !ok {
		return // it comes too late
	}
	delete(w.open, out)
	var again []int
	for i, id := range out.ids {
		if !w.spy {
			w.hear(id, said[i])
		}
		if said[i] == saysDone {
			w.fates[id].acked = true
		} else {
			again = append(again, id)
		}
	}
	if len(again) > 0 {
		w.queue = append([][]int{again}, w.queue...)
	}
	w.changed()
}

// stopped settles what a stream that is over gave no answer to.
func (w *world) stopped() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for out := range w.open {
		said := make([]word, len(out.ids))
		for i := range said {
			said[i] = saysUnsure
		}
		w.answered(out, said)
	}
}

// letters is the dead-letter output of a world, or the end of it. It fails as
// planned.
type letters struct{ *world }

func (letters) Connect(context.Context) error { return nil }
func (letters) Close(context.Context) error   { return nil }

func (l letters) WriteBatch(_ context.Context, batch service.MessageBatch) error {
	l.event()
	if l.down.Load() {
		l.shutDown()
		return errors.New("the dead-letter output is down for good")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	failed := map[int]bool{}
	if l.childFails > 0 && l.child.fails && l.rng.IntN(2) == 0 {
		l.childFails--
		switch l.rng.IntN(3) {
		case 0:
			return errors.New("the dead-letter output is down")
		case 1:
			for i := range batch {
				if l.rng.IntN(2) == 0 {
					failed[i] = true
				}
			}
		default:
			pause := time.Duration(l.rng.IntN(50)) * time.Millisecond
			l.mu.Unlock()
			time.Sleep(pause)
			l.mu.Lock()
		}
	}
	for i, m := range batch {
		if failed[i] {
			continue
		}
		content, err := m.AsBytes()
		if err != nil {
			return err
		}
		class, _ := m.MetaGet("kafka_guarded_class")
		f := &l.fates[idOf(content)]
		f.dead++
		f.class = class
	}
	if len(failed) == 0 {
		return nil
	}
	err := service.NewBatchError(batch, errors.New("the dead-letter output did not take all"))
	for i := range failed {
		err = err.Failed(i, errors.New("not this one"))
	}
	return err
}

// caught is the output for what should not go on.
type caught struct{ *world }

func (caught) Connect(context.Context) error { return nil }
func (caught) Close(context.Context) error   { return nil }

func (c caught) WriteBatch(_ context.Context, batch service.MessageBatch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range batch {
		content, err := m.AsBytes()
		if err != nil {
			return err
		}
		c.fates[idOf(content)].caught++
	}
	return nil
}

// spy passes batches on to the output below it, and enters its answers.
type spy struct {
	*world
	child *service.OwnedOutput
	prime *sync.Once
}

func (s spy) Connect(context.Context) (err error) {
	s.prime.Do(func() { err = s.child.Prime() })
	return err
}

func (s spy) Close(ctx context.Context) error { return s.child.Close(ctx) }

// WriteBatch waits for the output's answer, also when ctx has ended: all trouble
// passes, and the output is not closed before.
func (s spy) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	ids := make([]int, len(batch))
	for i, m := range batch {
		content, err := m.AsBytes()
		if err != nil {
			return err
		}
		ids[i] = idOf(content)
	}
	index := batch.Index()
	err := s.child.WriteBatch(context.WithoutCancel(ctx), batch)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range words(len(ids), index, err) {
		s.hear(ids[i], w)
	}
	return err
}

// run runs streams until everything is acknowledged, and asks the oracle.
func (w *world) run(ctx context.Context) error {
	defer w.cluster.Close()
	for n := 0; ; n++ {
		w.stopNow = make(chan struct{})
		w.stopping.Store(false)
		w.events.Store(0)
		w.stopAt.Store(-1)
		force := false
		w.down.Store(n < len(w.stops) && w.stops[n].child)
		if n < len(w.stops) {
			if !w.stops[n].child {
				w.stopAt.Store(int64(w.stops[n].events))
			}
			force = w.stops[n].force
		}
		ended, err := w.stream(ctx, force)
		w.stopped()
		if err != nil {
			return err
		}
		w.mu.Lock()
		left := len(w.queue)
		w.mu.Unlock()
		if ended && left == 0 {
			break
		}
		if n > len(w.stops)+3 {
			return fmt.Errorf("after %d streams %d batches are left", n, left)
		}
	}
	if err := w.read(ctx); err != nil {
		return fmt.Errorf("reading the topics: %w", err)
	}
	slack := 0
	if w.child.kafka {
		slack = w.forced()
	}
	return w.oracle(w.sure(), slack)
}

// stream runs one stream to its end, or to the shutdown that is due.
func (w *world) stream(ctx context.Context, force bool) (ended bool, err error) {
	built, err := w.build()
	if err != nil {
		return false, err
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-w.stopNow:
			cancel()
		case <-running.Done():
		}
	}()
	if err = built.Run(running); err == nil {
		return true, nil
	}
	if ctx.Err() != nil {
		return false, fmt.Errorf("the stream did not end: %w", ctx.Err())
	}
	if force {
		_ = built.Stop(running) // has ended: closes all at once
	}
	patience := 30 * time.Second
	if w.replay {
		patience = 8 * time.Second
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// An input that sends again what is nacked may miss the end of its
	// context, and never end (autoretry.List.Shift of Benthos 4.80.0 waits on
	// a condition that is signalled without its lock). The output has.
	if err := built.Stop(within); err != nil && !w.replay {
		return false, fmt.Errorf("the stream does not stop (force %v): %w", force, err)
	}
	return false, nil
}

func (w *world) build() (*service.Stream, error) {
	env := service.NewEnvironment()
	if err := env.RegisterBatchInput("source", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
		if w.replay {
			return service.AutoRetryNacksBatched(source{w}), nil
		}
		return source{w}, nil
	}); err != nil {
		return nil, err
	}
	for name, out := range map[string]service.BatchOutput{"letters": letters{w}, "caught": caught{w}} {
		if err := env.RegisterBatchOutput(name, service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			return out, service.BatchPolicy{}, 2, nil
		}); err != nil {
			return nil, err
		}
	}
	if err := env.RegisterBatchOutput("spy", service.NewConfigSpec().Field(service.NewOutputField("on")), func(conf *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		child, err := conf.FieldOutput("on")
		return spy{w, child, &sync.Once{}}, service.BatchPolicy{}, w.inFlight, err
	}); err != nil {
		return nil, err
	}
	b := env.NewStreamBuilder()
	input := w.composition.input
	if input == "" {
		input = "source: {}"
	}
	if err := b.AddInputYAML(input); err != nil {
		return nil, err
	}
	if err := b.AddOutputYAML(w.outputYAML()); err != nil {
		return nil, fmt.Errorf("%w in\n%s", err, w.outputYAML())
	}
	if err := b.SetLoggerYAML("level: WARN"); err != nil {
		return nil, err
	}
	b.SetPrintLogger(printer{w})
	return b.Build()
}

// printer keeps the log of a world, for when something is wrong.
type printer struct{ *world }

func (p printer) Printf(format string, v ...any) { p.print(fmt.Sprintf(format, v...)) }
func (p printer) Println(v ...any)               { p.print(fmt.Sprintln(v...)) }
func (p printer) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.logs.Len() < 100_000 {
		p.logs.WriteString(text)
	}
}

// read enters what is in the topics, and looks at the order of each key.
func (w *world) read(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, "t", "letters")
	if err != nil {
		return err
	}
	var want int64
	at := map[string]map[int32]kgo.Offset{"t": {}, "letters": {}}
	ends.Each(func(o kadm.ListedOffset) {
		at[o.Topic][o.Partition] = kgo.NewOffset().At(0)
		want += o.Offset
	})
	consumer, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.ConsumePartitions(at))
	if err != nil {
		return err
	}
	defer consumer.Close()
	latest := map[string]int{} // by key
	for want > 0 {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			want--
			id := idOf(r.Value)
			w.mu.Lock()
			f := &w.fates[id]
			if r.Topic == "letters" {
				f.dead++
				for _, h := range r.Headers {
					if h.Key == "kafka_guarded_class" {
						f.class = string(h.Value)
					}
				}
				w.mu.Unlock()
				continue
			}
			f.topic++
			w.mu.Unlock()
			key := string(r.Key)
			if last, ok := latest[key]; ok && last > id && w.inFlight == 1 && w.sure() {
				return fmt.Errorf("the order of key %s is broken: message %d comes after %d", key, id, last)
			}
			latest[key] = id
		}
	}
	return nil
}
