package producer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// topic is a topic and its partitions, as the cluster last told of them.
type topic struct {
	partition.Topic
	all  *Producer
	read atomic.Int64 // when the cluster last told of it, in ns

	mu         sync.Mutex
	choose     kgo.TopicPartitioner
	partitions []*partition.Partition
	writable   []int32 // that have a leader; nil if all have
	pending    []*partition.Record
	asking     *partition.Batch            // of records that were pending, the Policy about it
	asked      map[*partition.Batch]func() // that the Policy is asked about, and how to end that
	gone       bool                        // forgotten
	attempts   int
	missing    *broker.Answer        // the cluster's last word, if it is no good one
	woken      []partition.Woken     // to be told of
	scratch    [][]*partition.Record // of place
	touched    []int
}

// Introduce notes what the cluster tells of a topic that is not in use yet: its first records
// need not wait for that. What is told of one in use may be older than what is known of it.
func (p *Producer) Introduce(m *kmsg.MetadataResponseTopic) {
	if m.Topic == nil || m.ErrorCode != 0 || len(m.Partitions) == 0 {
		return
	}
	p.mu.Lock()
	known := p.topics[*m.Topic] != nil
	if !known {
		p.topics[*m.Topic] = p.newTopic(*m.Topic)
	}
	p.mu.Unlock()
	if !known {
		p.learn(m)
	}
}

func (p *Producer) newTopic(name string) *topic {
	t := &topic{all: p, choose: p.cfg.Partitioner.ForTopic(name)}
	t.Init(&p.partitions, name, t.reclaim)
	return t
}

// Uses reports whether records went to a topic that is not forgotten.
func (p *Producer) Uses(name string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.topics[name] != nil
}

// topic returns a topic, which is asked for when it is used first.
func (p *Producer) topic(name string) *topic {
	p.mu.RLock()
	t := p.topics[name]
	p.mu.RUnlock()
	if t != nil {
		return t
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t = p.topics[name]; t == nil {
		t = p.newTopic(name)
		p.topics[name] = t
	}
	return t
}

// Forget drops a topic that is out of use. If it is used again, its sequence numbers begin
// at 0. So it gets another producer ID then: brokers would take its first batch for one that
// they have. It returns false for a topic that has records.
func (p *Producer) Forget(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[name]
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) > 0 || len(t.asked) > 0 || slices.ContainsFunc(t.partitions, func(part *partition.Partition) bool { return part.Queued() > 0 }) {
		return false
	}
	delete(p.topics, name)
	t.gone = true
	if len(t.partitions) > 0 {
		p.ids.renew()
	}
	for _, part := range t.partitions {
		part.Forget()
	}
	return true
}

// send gives each record to its partition.
func (t *topic) send(records []*partition.Record) {
	t.mu.Lock()
	switch {
	case t.gone: // since it was looked up
		t.mu.Unlock()
		t.all.topic(t.Name).send(records)
		return
	case t.all.life.Err() != nil:
		t.finish(records, partition.ErrClosed)
		t.unlock()
		return
	case len(t.partitions) == 0 || len(t.pending) > 0 || t.asking != nil:
		t.pending = append(t.pending, records...)
		t.mu.Unlock()
		t.all.meta.want(t.Name)
		return
	}
	kicks := t.place(records)
	t.mu.Unlock()
	if t.all.cfg.MetadataMaxAge > 0 && time.Now().UnixNano()-t.read.Load() > int64(t.all.cfg.MetadataMaxAge) {
		t.all.meta.want(everyTopic)
	}
	kick(kicks)
}

// place chooses the partition of each record. It returns the nodes that are to be kicked. The
// Policy is asked about records whose partition the topic does not have.
func (t *topic) place(records []*partition.Record) (kicks []*broker.Node) {
	var stray []*partition.Record
	if len(t.scratch) < len(t.partitions) {
		t.scratch = make([][]*partition.Record, len(t.partitions))
	}
	if of, ok := t.choose.(kgo.TopicPartitionerOnNewBatch); ok {
		of.OnNewBatch()
	}
	for _, r := range records {
		to := t.partitionOf(r.Record)
		if to < 0 || to >= len(t.partitions) {
			stray = append(stray, r)
			continue
		}
		if len(t.scratch[to]) == 0 {
			t.touched = append(t.touched, to)
		}
		t.scratch[to] = append(t.scratch[to], r)
	}
	for _, to := range t.touched {
		n := t.partitions[to].Enqueue(t.scratch[to])
		if n != nil && !slices.Contains(kicks, n) {
			kicks = append(kicks, n)
		}
		clear(t.scratch[to])
		t.scratch[to] = t.scratch[to][:0]
	}
	t.touched = t.touched[:0]
	if len(stray) > 0 {
		t.ask(&partition.Batch{Topic: t.Name, Partition: -1, Records: stray}, broker.Answer{NoPartition: true, Partitions: len(t.partitions)})
	}
	return kicks
}

// partitionOf asks the partitioner.
func (t *topic) partitionOf(r *kgo.Record) int {
	n := len(t.partitions)
	consistent := t.writable == nil || t.choose.RequiresConsistency(r)
	if !consistent {
		n = len(t.writable)
	}
	var to int
	if of, ok := t.choose.(kgo.TopicBackupPartitioner); ok {
		to = of.PartitionByBackup(r, n, &backup{t: t, n: n, mapped: !consistent})
	} else {
		to = t.choose.Partition(r, n)
	}
	if !consistent && to >= 0 && to < n {
		return int(t.writable[to])
	}
	return to
}

// backup tells a partitioner how much is queued.
type backup struct {
	t       *topic
	next, n int
	mapped  bool
}

func (b *backup) Next() (int, int64) {
	i := b.next
	b.next++
	to := i
	if b.mapped {
		to = int(b.t.writable[i])
	}
	return i, b.t.partitions[to].Queued() + int64(len(b.t.scratch[to]))
}

func (b *backup) Rem() int { return b.n - b.next }

// ask puts records without a partition before the Policy. Those that it does not fail are
// placed anew.
func (t *topic) ask(b *partition.Batch, a broker.Answer) {
	ctx, end := context.WithCancel(t.all.life)
	if t.asked == nil {
		t.asked = map[*partition.Batch]func(){}
	}
	t.asked[b] = end
	go func() {
		defer end()
		b.Attempts++
		b.First = time.Now()
		plan := t.all.cfg.Policy.Next(ctx, b, a)
		if plan.Pause > 0 {
			sleep(ctx, plan.Pause)
		}
		t.follow(b, a, plan)
	}()
}

// follow does what a plan says.
func (t *topic) follow(b *partition.Batch, a broker.Answer, plan partition.Plan) {
	t.mu.Lock()
	for _, f := range plan.Failed {
		t.finish([]*partition.Record{f.Record}, f.Reason)
	}
	if t.asking == b {
		t.asking = nil
	}
	delete(t.asked, b)
	var left []*partition.Record
	for _, r := range b.Records {
		switch {
		case r.Ended():
		case r.Leaving() != nil:
			t.finish([]*partition.Record{r}, r.Leaving()())
		default:
			left = append(left, r)
		}
	}
	t.pending = slices.Concat(left, t.pending)
	t.attempts = b.Attempts
	t.unlock()
	if t.all.life.Err() != nil {
		t.endPending()
		return
	}
	if a.NoPartition {
		t.flush()
		return
	}
	t.all.meta.want(t.Name)
}

func (t *topic) endPending() {
	t.mu.Lock()
	t.finish(t.pending, partition.ErrClosed)
	t.pending = nil
	t.unlock()
}

// finish ends records that are in no partition. Their writes hear of it with unlock, when
// they are in no list any more.
func (t *topic) finish(records []*partition.Record, why error) {
	t.woken = t.all.partitions.End(t.woken, records, partition.NotWritten, why)
}

func (t *topic) unlock() {
	woken := t.woken
	t.woken = nil
	t.mu.Unlock()
	partition.Tell(woken)
}

// flush places what was pending.
func (t *topic) flush() {
	t.mu.Lock()
	if len(t.partitions) == 0 || t.asking != nil {
		t.mu.Unlock()
		return
	}
	records := t.pending
	t.pending, t.attempts = nil, 0
	kicks := t.place(records)
	t.mu.Unlock()
	kick(kicks)
}

// notThere deals with a topic that the cluster has no partitions of to tell.
func (t *topic) notThere(errorCode int16) {
	if errorCode == 0 {
		errorCode = leaderNotAvailable
	}
	t.fail(broker.Answer{Code: errorCode, Err: code.Error(errorCode), Metadata: true})
}

// fail puts pending records before the Policy.
func (t *topic) fail(a broker.Answer) {
	t.mu.Lock()
	t.missing = &a
	if len(t.pending) > 0 && t.asking == nil {
		b := &partition.Batch{Topic: t.Name, Partition: -1, Records: t.pending, Attempts: t.attempts}
		t.pending, t.asking = nil, b
		t.ask(b, a)
	}
	t.mu.Unlock()
}

// reclaim takes the records of a partition that is no more back.
func (t *topic) reclaim(p *partition.Partition) {
	t.mu.Lock()
	t.pending = slices.Concat(p.Leave(), t.pending)
	t.mu.Unlock()
	if t.all.life.Err() != nil {
		t.endPending()
		return
	}
	t.all.meta.want(t.Name)
}

// kick has nodes send what is ready.
func kick(nodes []*broker.Node) {
	for _, n := range nodes {
		n.Kick()
	}
}
