package guard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// watchedPartitioner notes in the slot of a record that its partitioner chose a
// partition that the topic does not have: kgo fails such a record alone, but
// with an error that can't be told from others. And it turns introductions away.
type watchedPartitioner struct{ kgo.Partitioner }

func (p watchedPartitioner) ForTopic(topic string) kgo.TopicPartitioner {
	of := watched{p.Partitioner.ForTopic(topic)}
	// kgo looks for these methods.
	batch, onNewBatch := of.TopicPartitioner.(kgo.TopicPartitionerOnNewBatch)
	backup, byBackup := of.TopicPartitioner.(kgo.TopicBackupPartitioner)
	switch {
	case onNewBatch && byBackup:
		return struct {
			watchedBackup
			kgo.TopicPartitionerOnNewBatch
		}{watchedBackup{of, backup}, batch}
	case byBackup:
		return watchedBackup{of, backup}
	case onNewBatch:
		return struct {
			watched
			kgo.TopicPartitionerOnNewBatch
		}{of, batch}
	default:
		return of
	}
}

type watched struct{ kgo.TopicPartitioner }

func (p watched) RequiresConsistency(r *kgo.Record) bool {
	return introduces(r) || p.TopicPartitioner.RequiresConsistency(r)
}

func (p watched) Partition(r *kgo.Record, n int) int {
	if turnAway(r) {
		return -1
	}
	choice := p.TopicPartitioner.Partition(r, n)
	if choice < 0 || choice >= n {
		if s, ok := r.Context.(*slot); ok {
			s.err = fmt.Errorf("the partitioner chose %d of %d partitions", choice, n)
			s.to(strayed)
		}
	}
	return choice
}

type watchedBackup struct {
	watched
	backup kgo.TopicBackupPartitioner
}

func (p watchedBackup) PartitionByBackup(r *kgo.Record, n int, iter kgo.TopicBackupIter) int {
	if turnAway(r) {
		return -1
	}
	return p.backup.PartitionByBackup(r, n, iter)
}

// introduction is the Context of a record that is never sent. It has kgo learn
// of a topic, and is turned away once kgo knows the topic's partitions.
type introduction struct {
	context.Context
	made bool
}

func introduces(r *kgo.Record) bool {
	_, ok := r.Context.(*introduction)
	return ok
}

func turnAway(r *kgo.Record) bool {
	i, ok := r.Context.(*introduction)
	if ok {
		i.made = true
	}
	return ok
}

// onlyCanceled is a Context of which it can't be told that its time was up: when it
// ends, kgo fails other writes' introductions to the topic with its error, and they
// are to know that it was not their time.
type onlyCanceled struct{ context.Context }

func (c onlyCanceled) Err() error {
	if c.Context.Err() != nil {
		return context.Canceled
	}
	return nil
}

// introduce sees to it that the client knows the topics of the slots, so that a
// hand-over places every record at once, and returns the slots to hand over. The
// others are never placed.
func (w *write) introduce(gen *generation, slots []*slot) []*slot {
	var topics distinct
	last := ""
	gen.mu.Lock()
	for _, s := range slots {
		topic := s.record().Topic
		if topic != last && !gen.topics[topic].known {
			topics.add(topic)
		}
		last = topic
	}
	gen.mu.Unlock()
	unknown := topics.names
	if len(unknown) == 0 {
		return slots
	}
	leave := w.guard.waits.enter(w.waiting(slots, Transient.String(), func() error { return gen.trouble(slots) }))
	errs := map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, topic := range unknown {
		wg.Add(1)
		i := &introduction{Context: context.Background()}
		gen.Produce(onlyCanceled{w.ctx}, &kgo.Record{Topic: topic, Partition: -1, Context: i}, func(_ *kgo.Record, err error) {
			defer wg.Done()
			if !i.made {
				mu.Lock()
				defer mu.Unlock()
				errs[topic] = err
				return
			}
			gen.mu.Lock()
			defer gen.mu.Unlock()
			t := gen.topics[topic]
			t.known = true
			gen.topics[topic] = t
		})
	}
	wg.Wait()
	leave(w.ctx.Err() != nil)
	if len(errs) == 0 {
		return slots
	}
	var known []*slot
	for _, s := range slots {
		err, failed := errs[s.record().Topic]
		if !failed {
			known = append(known, s)
			continue
		}
		s.reset()
		s.err = err
		s.to(neverPlaced)
	}
	return known
}

// place chooses the partition of a record for the solo client, as the caller's
// partitioner would. It settles a record for which there is none.
func (w *write) place(s *slot) bool {
	topic := s.record().Topic
	rules := w.guard.rules.of(topic)
	if rules.Partitions == 0 {
		w.guard.rules.renew(w.ctx, []string{topic})
		if rules = w.guard.rules.of(topic); rules.Partitions == 0 {
			cause := rules.Unknown
			if cause == nil {
				cause = errNotRead
			}
			s.fail(&Failure{Class: classify(cause).class, Topic: topic, Partition: -1, Cause: cause}, NotWritten)
			return false
		}
	}
	choice := w.guard.choices.choose(w.guard.settings.partitioner, s.record(), rules.Partitions)
	if choice < 0 || choice >= rules.Partitions {
		s.fail(w.noSuchPartition(s), NotWritten)
		return false
	}
	s.record().Partition = int32(choice)
	return true
}

// destination returns the partition that a record goes to for its own sake, such
// as its key's, or -1.
func (g *Guard) destination(rules *Rules, s *slot) int {
	if rules.Partitions == 0 { // not known
		return -1
	}
	partition, ok := g.choices.fixed(g.settings.partitioner, s.record(), rules.Partitions)
	if !ok || partition < 0 || partition >= rules.Partitions {
		return -1
	}
	return partition
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

// forget drops the partitioner of a topic that is no longer in use.
func (c *choices) forget(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.topics, topic)
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

// choose returns the partition of n for a record that is a batch of its own, or the
// first of one.
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
	if of, ok := of.(kgo.TopicPartitionerOnNewBatch); ok {
		of.OnNewBatch()
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
	n, err := w.guard.rules.partitions(w.ctx, f.Topic)
	switch {
	case err != nil: // that it has none is not proved
		f.Class, f.Cause = Transient, err
	case 0 <= f.Partition && int(f.Partition) < n:
		f.Class, f.Cause = Transient, errNewPartition
	default:
		f.Problem = fmt.Sprintf("no such partition: the topic has %d", n)
	}
	return f
}
