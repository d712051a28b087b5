package guard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// client is a kgo client, and what is known of its attempts.
type client struct {
	*kgo.Client
	attempts *attempts
}

// settings are those of the caller's kgo options that guard goes by.
type settings struct {
	dial               dialer
	idempotent         bool
	defaultTopic       string
	defaultTopicAlways bool
	partitioner        kgo.Partitioner
	maxBufferedRecords int
	maxBufferedBytes   int // 0: no limit
	maxRequestBytes    int
	answers            bool           // acks other than none
	compressor         kgo.Compressor // nil: none
}

// readSettings reads the options by way of a client that never connects.
func readSettings(opts []kgo.Opt) (settings, error) {
	probe, err := kgo.NewClient(opts...)
	if err != nil {
		return settings{}, err
	}
	defer probe.Close()
	if probe.OptValue(kgo.TransactionalID) != "" {
		return settings{}, errors.New("a transactional ID is set: guard does not write in transactions")
	}
	if probe.OptValue(kgo.ManualFlushing) == true {
		return settings{}, errors.New("manual flushing is set: guard flushes by itself")
	}
	s := settings{
		idempotent:         probe.OptValue(kgo.DisableIdempotentWrite) == false,
		defaultTopic:       probe.OptValue(kgo.DefaultProduceTopic).(string),
		defaultTopicAlways: probe.OptValue(kgo.DefaultProduceTopicAlways) == true,
		partitioner:        probe.OptValue(kgo.RecordPartitioner).(kgo.Partitioner),
		maxBufferedRecords: int(probe.OptValue(kgo.MaxBufferedRecords).(int64)),
		maxBufferedBytes:   int(probe.OptValue(kgo.MaxBufferedBytes).(int64)),
		maxRequestBytes:    int(probe.OptValue(kgo.BrokerMaxWriteBytes).(int32)),
		answers:            probe.OptValue(kgo.RequiredAcks) != kgo.NoAck(),
	}
	s.compressor, _ = probe.OptValue(kgo.WithCompressor).(kgo.Compressor)
	// The dialer is where the options for TLS and dial time-outs end up.
	switch dial := probe.OptValue(kgo.Dialer).(type) {
	case func(context.Context, string, string) (net.Conn, error):
		s.dial = dial
	default:
		return settings{}, fmt.Errorf("reading the client's dialer: it is a %T", dial)
	}
	return s, nil
}

// newClient makes a client of the caller's options and those of its role.
// Nothing connects before the first request.
func newClient(s settings, given []kgo.Opt, role ...kgo.Opt) (*client, error) {
	a := newAttempts(s.idempotent)
	opts := slices.Concat(given, role, []kgo.Opt{
		kgo.ProducerLinger(linger),
		kgo.DialTLSConfig(nil), // it is in the dialer already
		kgo.Dialer(a.dialer(s.dial)),
		kgo.WithHooks(slotHook{}),
	})
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	return &client{Client: cl, attempts: a}, nil
}

// linger is for how long kgo waits for company of a record whose topic it sees
// for the first time. All others wait for the rest of their write, and no longer.
const linger = 10 * time.Millisecond

// generation is a client, and what it takes the topics to be.
//
// kgo asks for a partition's batch size once, and holds on to the topic that it
// knows when another one takes its name. Purging a topic from a client would
// change that, but can lose records silently. So a new generation takes over,
// while the old one drains.
type generation struct {
	*client

	mu     sync.Mutex
	topics map[string]generationTopic

	// Under Guard.mu:
	users   int
	retired bool
	spoiled bool
}

type generationTopic struct {
	ceiling int // the largest batch, 0 for any
	id      [16]byte
}

// newBulk makes the client of the fast path. It is handed no record that does
// not fit into a batch alone.
func (g *Guard) newBulk() (*generation, error) {
	gen := &generation{topics: map[string]generationTopic{}}
	ceiling := func(topic string) int32 {
		gen.mu.Lock()
		defer gen.mu.Unlock()
		if t, ok := gen.topics[topic]; ok {
			return int32(t.ceiling)
		}
		limit, _ := g.limit(&Rules{})
		return int32(limit)
	}
	var err error
	gen.client, err = newClient(g.settings, g.opts,
		kgo.ProducerBatchMaxBytesFn(ceiling),
		kgo.RecordPartitioner(checkedPartitioner{g.settings.partitioner}),
	)
	return gen, err
}

// newSolo makes the client for records that must be alone with those that they
// are sent with: suspects, and records that the bulk client does not take. It
// takes records of any size, to partitions that are chosen already.
func (g *Guard) newSolo() (*generation, error) {
	gen := &generation{topics: map[string]generationTopic{}}
	var err error
	gen.client, err = newClient(g.settings, g.opts,
		kgo.ProducerBatchMaxBytes(int32(g.settings.maxRequestBytes)),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedBytes(0),
	)
	return gen, err
}

// bulk returns the client of the fast path, fit for the part, to be given back
// with done.
func (g *Guard) bulk(p *part) (*generation, error) {
	return g.use(&g.bulkClient, g.newBulk, p, func(t *partTopic) generationTopic {
		return generationTopic{t.limit, t.rules.ID}
	})
}

// solo returns the client for the part's suspects, which is made on first need,
// to be given back with done.
func (g *Guard) solo(p *part) (*generation, error) {
	return g.use(&g.soloClient, g.newSolo, p, func(t *partTopic) generationTopic {
		return generationTopic{0, t.rules.ID}
	})
}

func (g *Guard) use(current **generation, replace func() (*generation, error), p *part, as func(*partTopic) generationTopic) (*generation, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, kgo.ErrClientClosed
	}
	if *current == nil || (*current).spoiled || !(*current).fits(p) {
		gen, err := replace()
		if err != nil {
			return nil, fmt.Errorf("creating a client: %w", err)
		}
		if old := *current; old != nil {
			old.retired = true
			old.closeIfDone()
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

// borrow counts one more user of a generation that the caller has not given back.
func (g *Guard) borrow(gen *generation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gen.users++
}

// spoil has new clients made for the writes to come.
func (g *Guard) spoil() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bulkClient.spoiled = true
	if g.soloClient != nil {
		g.soloClient.spoiled = true
	}
}

func (g *Guard) done(gen *generation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gen.users--
	gen.closeIfDone()
}

// closeIfDone closes a retired generation that no write uses.
func (gen *generation) closeIfDone() {
	if gen.retired && gen.users == 0 {
		go gen.Close()
	}
}

// fits reports whether the generation sends the part as it should be sent: in
// batches that the topics accept, to the topics that have the names by now. That
// a topic accepts more is no reason before a record needs it.
func (gen *generation) fits(p *part) bool {
	gen.mu.Lock()
	defer gen.mu.Unlock()
	for _, t := range p.topics {
		have, ok := gen.topics[t.rules.Topic]
		if !ok {
			continue
		}
		if have.ceiling > 0 && (t.limit < have.ceiling || t.largest > have.ceiling-kgoRounding) {
			return false
		}
		if t.rules.ID != [16]byte{} && have.id != [16]byte{} && t.rules.ID != have.id {
			return false
		}
	}
	return true
}

// checkedPartitioner notes in the slot of a record that its partitioner chose a
// partition that the topic does not have. kgo fails such a record alone, but
// with an error that can't be told from others.
type checkedPartitioner struct{ kgo.Partitioner }

func (p checkedPartitioner) ForTopic(topic string) kgo.TopicPartitioner {
	of := p.Partitioner.ForTopic(topic)
	switch of.(type) {
	case kgo.TopicPartitionerOnNewBatch, kgo.TopicBackupPartitioner:
		return of // they choose among what there is, and kgo looks for their methods
	}
	return checkedTopicPartitioner{of}
}

type checkedTopicPartitioner struct{ kgo.TopicPartitioner }

func (p checkedTopicPartitioner) Partition(r *kgo.Record, n int) int {
	choice := p.TopicPartitioner.Partition(r, n)
	if choice < 0 || choice >= n {
		if s, ok := r.Context.(*slot); ok {
			s.partitions = int32(n)
		}
	}
	return choice
}

// place chooses the partition of a record for the solo client, as the caller's
// partitioner would. It settles a record for which there is none.
func (w *write) place(c *client, s *slot) bool {
	topic := s.record().Topic
	n := w.guard.rules.of(topic).Partitions
	if n == 0 {
		var err error
		if n, err = c.partitions(w.ctx, topic); err != nil {
			s.fail(&Failure{Class: classify(err).class, Topic: topic, Partition: -1, Cause: err}, NotWritten)
			return false
		}
	}
	choice := w.guard.choices.choose(w.guard.settings.partitioner, s.record(), n)
	if choice < 0 || choice >= n {
		s.partitions = int32(n)
		s.fail(w.noSuchPartition(s), NotWritten)
		return false
	}
	s.record().Partition = int32(choice)
	return true
}

// partitions returns how many partitions a topic has, as of the metadata that
// kgo has, or fetches.
func (c *client) partitions(ctx context.Context, topic string) (int, error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, t)
	resp, err := c.RequestCachedMetadata(ctx, req, 0)
	if err != nil {
		return 0, err
	}
	for i := range resp.Topics {
		if t := &resp.Topics[i]; t.Topic != nil && *t.Topic == topic {
			return len(t.Partitions), kerr.ErrorForCode(t.ErrorCode)
		}
	}
	return 0, kerr.UnknownTopicOrPartition
}

// choices has a partitioner per topic, for what has to be known of a record's
// partition before kgo's places it.
type choices struct {
	mu     sync.Mutex
	topics map[string]kgo.TopicPartitioner
}

// of returns the partitioner of a topic.
func (c *choices) of(p kgo.Partitioner, topic string) kgo.TopicPartitioner {
	of, ok := c.topics[topic]
	if !ok {
		if c.topics == nil {
			c.topics = map[string]kgo.TopicPartitioner{}
		}
		of = p.ForTopic(topic)
		c.topics[topic] = of
	}
	return of
}

// fixed returns the partition of n that the record always goes to, if there is
// one: then the partitioner has no memory, and no use for what is buffered.
func (c *choices) fixed(p kgo.Partitioner, r *kgo.Record, n int) (partition int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.of(p, r.Topic)
	if !of.RequiresConsistency(r) {
		return 0, false
	}
	if of, ok := of.(kgo.TopicBackupPartitioner); ok {
		return of.PartitionByBackup(r, n, &noBackup{n: n}), true
	}
	return of.Partition(r, n), true
}

func (c *choices) choose(p kgo.Partitioner, r *kgo.Record, n int) int {
	if partition, ok := c.fixed(p, r, n); ok {
		return partition
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.of(p, r.Topic)
	if _, ok := of.(kgo.TopicBackupPartitioner); ok {
		return rand.IntN(n) // there is no backup to go by: any will do
	}
	return of.Partition(r, n)
}

// noBackup says of n partitions that nothing is buffered for them.
type noBackup struct{ next, n int }

func (b *noBackup) Next() (partition int, backup int64) {
	b.next++
	return b.next - 1, 0
}

func (b *noBackup) Rem() int { return b.n - b.next }

var errNewPartition = errors.New("the partition is new, and the client has not heard of it yet")

// noSuchPartition is the failure of a record whose partition its topic does not
// have, or has not had for long enough.
func (w *write) noSuchPartition(s *slot) *Failure {
	f := &Failure{Class: Unroutable, Topic: s.record().Topic, Partition: s.record().Partition}
	n := w.guard.rules.partitions(w.ctx, f.Topic)
	if 0 <= f.Partition && int(f.Partition) < n {
		f.Class, f.Cause = Transient, errNewPartition
		return f
	}
	f.Problem = fmt.Sprintf("no such partition: the topic has %d", max(n, int(s.partitions)))
	return f
}
