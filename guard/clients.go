package guard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// generation is a client, and what it takes the topics to be.
//
// kgo asks for a partition's batch size once, and holds on to the topic that it
// knows when another one takes its name. Purging a topic from a client would
// change that, but can lose records silently. So a new generation takes over,
// while the old one drains.
type generation struct {
	*kgo.Client
	log  *wire.Log
	life context.Context // ends with the guard
	born time.Time
	// settles is how old it must be to be replaced because batches are to be
	// smaller, where the limit is only being found out.
	settles time.Duration
	solo    bool // in each partition, one search at a time has it for itself

	mu     sync.Mutex
	topics map[string]generationTopic

	// Under Guard.mu:
	users   int
	retired bool // another one has taken its place
	spoiled bool // another one is to
	ended   bool // it is closed, whoever uses it
}

type generationTopic struct {
	ceiling int // of its batches, 0 for any
	id      [16]byte
	known   bool // kgo has its partitions
}

// linger is for how long kgo waits for company of a record. A hand-over ends it.
const linger = 50 * time.Millisecond

// retryBackoff is how long kgo waits after so many failures in a row: from 100 ms to a
// second, as Kafka's own clients do (retry.backoff.ms, retry.backoff.max.ms). By itself
// kgo goes up to 5 seconds, and may find out that late that a broker is back.
func retryBackoff(failures int) time.Duration {
	const least, most = 100 * time.Millisecond, time.Second
	pause := min(least<<min(max(failures-1, 0), 10), most)
	return time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64()))
}

// vaguePatience is for how long a batch is sent again that is refused vaguely,
// before it is searched for culprits. A broker that is sick for less may even have
// written what it refuses: then it says so once it is well.
const vaguePatience = 10 * time.Second

// newGeneration makes a client of the caller's options and those of its role.
// Nothing connects before the first request.
func (g *Guard) newGeneration(role ...kgo.Opt) (*generation, error) {
	gen := &generation{life: g.life, born: time.Now(), settles: settlesAtLeast, topics: map[string]generationTopic{}}
	gen.log = wire.New(wire.Options{
		Idempotent: g.settings.idempotent,
		Sequential: func() bool { return g.writers.Load() == 1 },
		Risky: func(topic string, bytes int) bool {
			return g.bounds.get(topic).risky(g.rules.of(topic).Known, bytes)
		},
		Accepted: func(p wire.Partition, bytes int) {
			g.bounds.get(p.Topic).accepted(bytes)
			g.accepted.add(p)
		},
		Refused: func(p wire.Partition, code int16, bytes int, alone bool) {
			if classify(codeError(code)).class == SizeExceeded {
				g.bounds.get(p.Topic).tooLarge(bytes, alone)
			}
		},
		Vague:    vague,
		Patience: vaguePatience,
		RetryAs:  sameBatchAgain,
	})
	own := []kgo.Opt{
		kgo.ProducerLinger(linger),
		kgo.MaxBufferedRecords(math.MaxInt32), // see room
		kgo.MaxBufferedBytes(0),
		kgo.DialTLSConfig(nil), // it is in the dialer already
		kgo.Dialer(gen.log.Dialer(g.settings.dial)),
		kgo.WithHooks(landings{gen.log}),
	}
	if g.settings.logger != nil {
		own = append(own, kgo.WithLogger(quietLogger{g.settings.logger}))
	}
	var err error
	gen.Client, err = kgo.NewClient(slices.Concat(g.opts, role, own)...)
	return gen, err
}

// newBulk makes the client of the fast path. It is handed no record that does
// not fit into a batch alone.
func (g *Guard) newBulk() (*generation, error) {
	var gen *generation
	ceiling := func(topic string) int32 {
		if gen != nil {
			gen.mu.Lock()
			defer gen.mu.Unlock()
			if t, ok := gen.topics[topic]; ok {
				return int32(t.ceiling)
			}
		}
		limit, _ := g.limit(&Rules{})
		if most := int(g.requestLimit.Load()); most > 0 {
			limit = min(limit, most-requestOverhead)
		}
		return int32(limit)
	}
	role := []kgo.Opt{
		kgo.ProducerBatchMaxBytesFn(ceiling),
		kgo.RecordPartitioner(watchedPartitioner{g.settings.partitioner}),
	}
	if most := g.requestLimit.Load(); most > 0 {
		role = append(role, kgo.BrokerMaxWriteBytes(int32(most)))
	}
	made, err := g.newGeneration(role...)
	gen = made
	return made, err
}

// newSolo makes the client for records that must be alone with those that they
// are sent with: suspects, and records that the bulk client does not take. It
// takes records of any size, to partitions that are chosen already.
func (g *Guard) newSolo() (*generation, error) {
	gen, err := g.newGeneration(
		kgo.ProducerBatchMaxBytes(int32(g.settings.maxRequestBytes)),
		kgo.RecordPartitioner(watchedPartitioner{kgo.ManualPartitioner()}),
	)
	if err == nil {
		gen.solo = true
	}
	return gen, err
}

// bulk returns the client of the fast path, fit for the part, to be given back
// with done.
func (g *Guard) bulk(p *part) (*generation, error) {
	return g.use(&g.bulkClient, g.newBulk, p, func(t *partTopic) generationTopic {
		return generationTopic{ceiling: t.ceiling(), id: t.rules.ID}
	})
}

// solo returns the client for the part's suspects, which is made on first need,
// to be given back with done.
func (g *Guard) solo(p *part) (*generation, error) {
	return g.use(&g.soloClient, g.newSolo, p, func(t *partTopic) generationTopic {
		return generationTopic{id: t.rules.ID}
	})
}

func (g *Guard) use(current **generation, replace func() (*generation, error), p *part, as func(*partTopic) generationTopic) (*generation, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, kgo.ErrClientClosed
	}
	if old := *current; old == nil || old.ended || old.worn(p.paused) || !old.fits(p) {
		gen, err := replace()
		if err != nil {
			return nil, fmt.Errorf("creating a client: %w", err)
		}
		g.generations[gen] = struct{}{}
		if old != nil {
			gen.settles = min(2*old.settles, settlesAtMost)
			old.retired = true
			g.closeIfDone(old)
		}
		*current = gen
	}
	gen := *current
	gen.mu.Lock()
	for _, t := range p.topics {
		if _, ok := gen.topics[t.rules.Topic]; !ok {
			gen.topics[t.rules.Topic] = as(t)
		}
	}
	gen.mu.Unlock()
	gen.users++
	return gen, nil
}

// worn reports whether a spoiled generation is to be replaced, for who has paused
// since it failed there: once for all who have.
func (gen *generation) worn(paused time.Duration) bool {
	const atLeast = 100 * time.Millisecond // for who comes for the first time
	if paused == 0 {
		paused = atLeast
	}
	return gen.spoiled && time.Since(gen.born) >= paused
}

// borrow counts one more user of a generation that the caller has not given back.
func (g *Guard) borrow(gen *generation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gen.users++
}

// spoil has a new client made for the writes to come, in the place of one that
// stays of no use.
func (g *Guard) spoil(gen *generation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gen.spoiled = true
}

func (g *Guard) done(gen *generation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gen.users--
	g.closeIfDone(gen)
}

// closeIfDone closes a retired generation that no write uses.
func (g *Guard) closeIfDone(gen *generation) {
	if gen.retired && gen.users == 0 {
		delete(g.generations, gen)
		go gen.Close()
	}
}

// refitAfter is how old a client must be to be replaced only because batches
// could be larger by now.
const refitAfter = time.Minute

// A limit is found out in a few steps, each of which takes a new client. Brokers may
// differ in it, though, and then it is not found: so each client stays for longer.
const settlesAtLeast, settlesAtMost = 50 * time.Millisecond, time.Second

// fits reports whether the generation sends the part as it should be sent: in
// batches that the topics accept, to the topics that have the names by now.
func (gen *generation) fits(p *part) bool {
	gen.mu.Lock()
	defer gen.mu.Unlock()
	for _, t := range p.topics {
		have, ok := gen.topics[t.rules.Topic]
		switch {
		case !ok:
		case t.rules.ID != [16]byte{} && have.id != [16]byte{} && t.rules.ID != have.id:
			return false
		case have.ceiling == 0: // it takes any size
		case t.largest > have.ceiling-kgoRounding:
			return false
		case have.ceiling > t.most && (t.rules.Known || time.Since(gen.born) > gen.settles):
			return false
		case t.target >= 2*have.ceiling && time.Since(gen.born) > refitAfter:
			return false
		}
	}
	return true
}

// shrinkAfter is how often in a row an endpoint must have cut requests of a size
// before what waits for them is given up, so that smaller ones can be made of it.
const shrinkAfter = 3

// leastRequest is the size below which requests are not made smaller.
const leastRequest = 16 << 10

// shrink has requests made smaller when an endpoint closes the connection on them
// again and again, without an answer, at a size above what it answers.
func (g *Guard) shrink(gen *generation) {
	size, times := gen.log.Cut()
	g.mu.Lock()
	if times < shrinkAfter || size <= leastRequest || gen.ended || g.closed {
		g.mu.Unlock()
		return
	}
	most := int64(max(size/2, leastRequest))
	if now := g.requestLimit.Load(); now == 0 || most < now {
		g.requestLimit.Store(most)
	}
	gen.spoiled, gen.ended = true, true
	g.mu.Unlock()
	gen.log.End()
	gen.Close() // what it has fails, and what was never sent is sent anew
}

// endDead closes a client in which nothing was accepted of late and nothing is
// under way, so that what it has is not sent any more: kgo does not give up what is
// behind a batch in doubt. It reports whether it did. What others have under way
// would be in doubt for it.
func (g *Guard) endDead(gen *generation) bool {
	if gen.log.Idle() < giveUpGrace {
		return false
	}
	g.mu.Lock()
	gen.spoiled, gen.ended = true, true
	g.mu.Unlock()
	gen.log.End()
	gen.Close()
	return true
}

// overRequest reports whether a record does not fit into a request that the endpoint
// is known to take.
func (g *Guard) overRequest(s *slot) bool {
	most := g.requestLimit.Load()
	return most > 0 && int64(s.size)+requestOverhead > most
}

// trouble returns what keeps the slots' records from being acknowledged, as far
// as the connections show it, nil for nothing.
func (gen *generation) trouble(slots []*slot) error {
	if size, times := gen.log.Cut(); times > 0 {
		return fmt.Errorf("the connection is closed without an answer on requests of %d bytes, %d times in a row: check the limit of the endpoint (socket.request.max.bytes)", size, times)
	}
	for _, s := range slots {
		tp := wire.Partition{Topic: s.record().Topic, Partition: -1}
		if s.where() == placed {
			tp.Partition = s.record().Partition
		}
		e, dial, ok := gen.log.Last(tp)
		switch {
		case !ok:
			continue
		case dial != nil:
			return dial
		case e.Lost:
			return errLost
		case e.Code != 0:
			return codeError(e.Code)
		}
	}
	return nil
}

var errLost = errors.New("the connection was lost before the answer")
