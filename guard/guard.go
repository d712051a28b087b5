// Package guard writes records to Kafka and says, for each one, what became of
// it and why.
//
// Kafka refuses a batch as a whole, and the client library then fails all that
// is buffered for the partition with one and the same error. Guard finds out
// which records are to blame, delivers all others, and never calls a record
// unwritten that may be in the log.
//
// The words of this package:
//
//   - record: what is to be written; in a write it has a slot.
//   - part: what of a write is handed over in one go, so that records keep their
//     order.
//   - hand-over: giving records to kgo, until it is done with them; a landing is
//     where a record is in that, and how it ended.
//   - suspect: a record of a batch that was refused for what is in it.
//   - culprit: a suspect that is proved to be to blame.
//   - alone: by itself in a batch, and for proof also in the request.
//   - held: not written, for a reason that may pass; it is sent again.
//   - lane: the right to search for culprits in a partition, one at a time.
//   - generation: a kgo client, until another takes its place.
//   - bounds: what brokers taught of a topic where the rules are not known.
//   - try: sending, by itself, what is like a record that was refused before.
//   - verdict: what became of a record; it is given once.
package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// defaultMaxMessageBytes is the size in bytes of the largest batch for a topic
// whose rules are not known, when Config.MaxMessageBytes is not set either.
const defaultMaxMessageBytes = 1 << 20

// defaultRulesMaxAge is the default of Config.RulesMaxAge.
const defaultRulesMaxAge = 5 * time.Minute

// Config is what guard adds to the options of the kgo client. Its zero value
// is the default.
type Config struct {
	// MaxMessageBytes is the size in bytes of the largest batch that is sent,
	// and so of the largest record with its 61 bytes of batch header and its
	// own overhead. It is a further ceiling on what the topic accepts
	// (Kafka's topic properties max.message.bytes and segment.bytes), which
	// guard learns from the cluster. 0 is no further ceiling, and 1 MiB where
	// the topic's is not known. It corresponds to max.request.size of Kafka's own producer, and takes the place of
	// kgo.ProducerBatchMaxBytes.
	MaxMessageBytes int

	// IgnoreRules has guard not ask the cluster what its topics accept: what
	// the broker refuses decides, which takes extra requests to find the
	// records to blame.
	IgnoreRules bool

	// RulesMaxAge is how old what a topic accepts may be before it is read
	// again, in the background, overriding the default of 5 minutes. What the
	// broker refuses, or the rules would, has it read at once. It takes the
	// right to DESCRIBE_CONFIGS on the topic.
	RulesMaxAge time.Duration

	// OnRules is called with the rules of each topic once they are read, and
	// again when they have changed. The old ones are nil the first time, the
	// new ones when the topic is forgotten, out of use for an hour. It must
	// return soon.
	OnRules func(old, now *Rules)

	// OnBound is called when, of a topic whose rules are not known, the size
	// in bytes is learned from which on records are refused for it. It must
	// return soon.
	OnBound func(topic string, bytes int)

	// Retry says whether and how to send records again that are refused for
	// a reason that may pass. By default, Write returns as soon as kgo hands
	// a record back.
	Retry Retry

	// Permanent has the classes of failure that are not tried again,
	// overriding the default of SizeExceeded, InvalidRecord and Unroutable.
	// Transient can't be one.
	Permanent []Class

	// OnRetry is called when records that failed with a class are sent again.
	OnRetry func(class Class, records int)

	// OnWaiting is called when records are held, or have waited for 10
	// seconds for anything else, once a minute while they do, and when none
	// does any more. It must return soon.
	OnWaiting func(Waiting)

	// OnWaits is called with how many records wait for a reason, see
	// Waiting.Why, whenever that changes. It must return soon.
	OnWaits func(why string, records int)
}

// minMaxMessageBytes is the smallest batch size that kgo takes.
const minMaxMessageBytes = 512

// Validate reports what is wrong with the config. New calls it.
func (c Config) Validate() error {
	if c.MaxMessageBytes != 0 && (c.MaxMessageBytes < minMaxMessageBytes || c.MaxMessageBytes > 1<<30) {
		return fmt.Errorf("max_message_bytes is %d, it must be between %d and %d", c.MaxMessageBytes, minMaxMessageBytes, 1<<30)
	}
	if c.RulesMaxAge < 0 {
		return fmt.Errorf("the maximum age of topic rules is %s, it must not be negative", c.RulesMaxAge)
	}
	if slices.Contains(c.Permanent, Transient) {
		return errors.New("the class transient can't be permanent: it passes")
	}
	if r := c.Retry; r.InitialInterval < 0 || r.MaxInterval < 0 || r.MaxElapsedTime < 0 {
		return fmt.Errorf("the retry intervals %s and %s and the maximum elapsed time %s must not be negative", r.InitialInterval, r.MaxInterval, r.MaxElapsedTime)
	}
	return nil
}

// Guard writes records to Kafka. Its methods may be called concurrently.
type Guard struct {
	config   Config
	settings settings
	opts     []kgo.Opt

	// Records are produced with a context of the client's lifetime: kgo fails
	// everything buffered for a partition when that of its first record ends.
	life context.Context
	stop context.CancelFunc

	control *kgo.Client // for all but producing
	rules   *rulebook
	bounds  allBounds

	mu          sync.Mutex
	generations map[*generation]struct{} // that are not closed
	bulkClient  *generation
	soloClient  *generation // nil before the first need
	closed      bool

	accepted     acceptances
	namesRightly atomic.Bool  // a record that the cluster named was refused alone, too
	requestLimit atomic.Int64 // on requests, learned from an endpoint that cuts them, 0 for none

	writers atomic.Int32 // writes under way
	writes  sync.Pool    // of *write, to be used again
	room    room
	waits   waits
	lanes   lanes
	crowd   crowd
	choices choices
}

// New returns a Guard on clients with the given kgo options. It does not
// connect; Ping does.
//
// The options may be any that a producing client takes, except for
// kgo.TransactionalID and kgo.ManualFlushing. Guard sets the batch size itself,
// see Config.MaxMessageBytes, and unless kgo.RetryBackoffFn says otherwise it has
// kgo wait no longer than a second between two tries. The clients are guard's own:
// hooks and partitioners among the options are used by more than one.
func New(config Config, opts ...kgo.Opt) (*Guard, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.RulesMaxAge == 0 {
		config.RulesMaxAge = defaultRulesMaxAge
	}
	if config.OnRules == nil {
		config.OnRules = func(_, _ *Rules) {}
	}
	if config.OnBound == nil {
		config.OnBound = func(string, int) {}
	}
	if config.OnRetry == nil {
		config.OnRetry = func(Class, int) {}
	}
	if config.OnWaiting == nil {
		config.OnWaiting = func(Waiting) {}
	}
	if config.OnWaits == nil {
		config.OnWaits = func(string, int) {}
	}
	opts = slices.Concat([]kgo.Opt{kgo.RetryBackoffFn(retryBackoff)}, opts)
	settings, err := readSettings(opts)
	if err != nil {
		return nil, err
	}
	g := &Guard{
		config: config, settings: settings, opts: opts, generations: map[*generation]struct{}{},
		room: newRoom(settings.maxBufferedRecords, settings.maxBufferedBytes), crowd: newCrowd(),
	}
	g.life, g.stop = context.WithCancel(context.Background())
	g.waits.tell, g.waits.count = config.OnWaiting, config.OnWaits
	if g.control, err = kgo.NewClient(opts...); err != nil {
		return nil, err
	}
	g.rules = &rulebook{
		client: g.control, life: g.life, maxAge: config.RulesMaxAge, fresh: rulesFresh,
		disabled: config.IgnoreRules, changed: config.OnRules, forget: g.forget,
		silent: map[int32]time.Time{},
	}
	if g.bulkClient, err = g.newBulk(); err != nil {
		g.control.Close()
		return nil, err
	}
	g.generations[g.bulkClient] = struct{}{}
	return g, nil
}

// forget drops what is known of a topic that is out of use.
func (g *Guard) forget(topic string) {
	g.choices.forget(topic)
	g.bounds.topics.Delete(topic)
}

// Ping reports whether any broker answers. The error is kgo's own.
func (g *Guard) Ping(ctx context.Context) error { return g.control.Ping(ctx) }

// Rules returns what a topic accepts, by an answer of the cluster that is at most
// a second old, if there is one. Rules.Unknown says why there is none.
func (g *Guard) Rules(ctx context.Context, topic string) Rules {
	g.rules.learn(ctx, []string{topic})
	g.rules.refresh(ctx, []string{topic})
	return *g.rules.of(topic)
}

// Close ends the clients. Writes that are under way return: what is not yet
// acknowledged is NotWritten if it was never sent, else Unknown.
func (g *Guard) Close() {
	g.stop()
	g.mu.Lock()
	g.closed = true
	open := g.generations
	g.generations = map[*generation]struct{}{}
	g.mu.Unlock()
	for gen := range open {
		gen.Close()
	}
	g.control.Close()
}

// Write writes the records and returns one verdict for each, in input order.
// It returns once every record's fate is known, or ctx ends: then what may be
// written is Unknown, and the rest NotWritten.
//
// Records with the same key keep their order when writes are sequential, also
// when the broker refuses some and the others are sent again; so do those without
// a key that go to the same partition, unless one of them is held that was
// refused alone, or is sent alone to find out whether it is too large. A record
// must not be in two writes at a time. Write sets its Timestamp, if zero, its
// Partition and what else kgo sets.
func (g *Guard) Write(ctx context.Context, records []*kgo.Record) []Verdict {
	w, end := g.begin(ctx, records)
	others, rest := w.tryLikely(w.preflight()) // the rules condemn without a request
	w.deliverAll(others)
	w.deliverAll(rest())
	return end()
}

// deliverAll deals with what is open, part by part.
func (w *write) deliverAll(open []*slot) {
	for ; len(open) > 0; open = unsettled(open) {
		var p *part
		p, open = w.guard.cut(open)
		if err := w.deliver(p); err != nil {
			w.abandon(p.all, err)
			w.abandon(open, err)
			return
		}
	}
}

// deliver deals with a part to the end: until nothing of it is held, or the write
// is to give up. The error is for what could not be handed over at all.
func (w *write) deliver(p *part) error {
	release, err := w.admit(p)
	if err != nil {
		return err
	}
	defer release()
	again := retries{write: w}
	defer func() { again.wait(nil, true) }()
	for {
		suspects, err := w.sendTogether(p)
		if err != nil {
			return err
		}
		innocent := len(suspects)
		suspects = w.judgeAgain(p, suspects)
		w.isolate(p, suspects, p.alone, len(suspects) < innocent)
		held := again.pause(p.all)
		if len(held) == 0 {
			return nil
		}
		p.paused = again.last
		p.next(w.guard, w.judge(held))
	}
}

// sendTogether sends what goes together by the bulk client, settles what can be
// settled, and returns the suspects.
func (w *write) sendTogether(p *part) (suspects []*slot, err error) {
	if len(p.together) == 0 {
		return nil, nil
	}
	gen, err := w.guard.bulk(p)
	if err != nil {
		return nil, err
	}
	defer w.guard.done(gen)
	if slices.ContainsFunc(p.together, w.guard.overRequest) { // learned since the part was cut
		p.next(w.guard, slices.Concat(p.together, p.alone))
	}
	since := w.handOver(p, gen, p.together, func() {})
	for _, s := range p.together {
		if !w.settle(gen, s, since) {
			suspects = append(suspects, s)
			if w.guard.surprised(s) {
				w.guard.bounds.get(s.record().Topic).refused()
			}
			continue
		}
		if f := s.verdict().Failure; f != nil && spoils(f) {
			w.guard.spoil(gen)
		}
	}
	return suspects, nil
}

// judgeAgain settles suspects that are condemned by rules which are fresh: the
// limit may be lower than it was. It returns the others.
func (w *write) judgeAgain(p *part, suspects []*slot) []*slot {
	if len(suspects) == 0 {
		return nil
	}
	w.guard.rules.refresh(w.ctx, p.names())
	suspects = w.judge(suspects)
	for _, t := range p.topics {
		t.set(w.guard)
	}
	return suspects
}

// next has the part go on with what was held. What was refused alone goes alone
// again, and so does what is by now known to be over what the endpoint takes in a
// request with others; what has its key goes behind it.
func (p *part) next(g *Guard, held []*slot) {
	type key struct{ topic, key string }
	alone, behind := map[*slot]bool{}, map[key]bool{}
	for _, s := range p.alone {
		alone[s] = true
	}
	p.together, p.alone = nil, nil
	for _, s := range held {
		r := s.record()
		k := key{r.Topic, string(r.Key)}
		own := s.refusal.alone || g.overRequest(s)
		if own && r.Key != nil {
			behind[k] = true
		}
		if alone[s] || own || r.Key != nil && behind[k] {
			p.alone = append(p.alone, s)
		} else {
			p.together = append(p.together, s)
		}
	}
	for _, t := range p.topics {
		t.set(g)
	}
}
