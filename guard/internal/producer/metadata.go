package producer

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// topic is a topic and its partitions, as the cluster last told of them.
type topic struct {
	all     *Producer
	name    string
	id      atomicID
	logTime atomic.Bool  // the log has the broker's time (LogAppendTime)
	read    atomic.Int64 // when the cluster last told of it, in ns

	mu         sync.Mutex
	choose     kgo.TopicPartitioner
	partitions []*partition
	writable   []int32 // that have a leader; nil if all have
	pending    []*Record
	asking     *Batch              // of pending records, the Policy about it
	astray     map[*Batch]struct{} // of records for partitions that are not there
	attempts   int
	missing    *Answer     // the cluster's last word, if it is no good one
	gone       bool        // forgotten
	scratch    [][]*Record // of place
	touched    []int
}

type atomicID struct{ v atomic.Pointer[[16]byte] }

func (a *atomicID) Load() [16]byte {
	if id := a.v.Load(); id != nil {
		return *id
	}
	return [16]byte{}
}
func (a *atomicID) Store(id [16]byte) { a.v.Store(&id) }

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
		t = &topic{all: p, name: name, choose: p.cfg.Partitioner.ForTopic(name)}
		p.topics[name] = t
	}
	return t
}

// Uses reports whether records went to a topic that is not forgotten.
func (p *Producer) Uses(name string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.topics[name] != nil
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
	if len(t.pending) > 0 || t.asking != nil || len(t.astray) > 0 || slices.ContainsFunc(t.partitions, func(part *partition) bool { return part.queued.Load() > 0 }) {
		return false
	}
	delete(p.topics, name)
	t.gone = true
	if len(t.partitions) > 0 {
		p.ids.renew()
	}
	for _, part := range t.partitions {
		part.mu.Lock()
		part.gone = true
		part.unlock()
	}
	return true
}

// send gives each record to its partition.
func (t *topic) send(records []*Record) {
	t.mu.Lock()
	if t.all.life.Err() != nil {
		t.mu.Unlock()
		t.all.finishAll(records, NotWritten, errClosed)
		return
	}
	if t.gone { // since it was looked up
		t.mu.Unlock()
		t.all.topic(t.name).send(records)
		return
	}
	if len(t.partitions) == 0 || len(t.pending) > 0 || t.asking != nil {
		t.pending = append(t.pending, records...)
		t.mu.Unlock()
		t.all.meta.want()
		return
	}
	kicks, stray := t.place(records)
	t.mu.Unlock()
	if t.all.cfg.MetadataMaxAge > 0 && time.Now().UnixNano()-t.read.Load() > int64(t.all.cfg.MetadataMaxAge) {
		t.all.meta.want()
	}
	kick(kicks)
	t.askAstray(stray)
}

// place chooses the partition of each record. It returns the nodes that are to be kicked, and
// a batch of the records whose partition the topic does not have, nil for none.
func (t *topic) place(records []*Record) (kicks []*node, astray *Batch) {
	var stray []*Record
	if len(t.scratch) < len(t.partitions) {
		t.scratch = make([][]*Record, len(t.partitions))
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
		n := t.partitions[to].enqueue(t.scratch[to])
		if n != nil && !slices.Contains(kicks, n) {
			kicks = append(kicks, n)
		}
		clear(t.scratch[to])
		t.scratch[to] = t.scratch[to][:0]
	}
	t.touched = t.touched[:0]
	if len(stray) > 0 {
		astray = &Batch{Topic: t.name, Partition: -1, Records: stray}
		if t.astray == nil {
			t.astray = map[*Batch]struct{}{}
		}
		t.astray[astray] = struct{}{}
	}
	return kicks, astray
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
	return i, b.t.partitions[to].queued.Load() + int64(len(b.t.scratch[to]))
}

func (b *backup) Rem() int { return b.n - b.next }

// askAstray puts records before the Policy whose partition the topic does not have.
func (t *topic) askAstray(b *Batch) {
	if b == nil {
		return
	}
	t.mu.Lock()
	n := len(t.partitions)
	t.mu.Unlock()
	go t.ask(b, Answer{NoPartition: true, Partitions: n})
}

// ask puts records without a partition before the Policy. Those that it does not fail are
// placed anew.
func (t *topic) ask(b *Batch, a Answer) {
	b.Attempts++
	if b.First.IsZero() {
		b.First = time.Now()
	}
	plan := t.all.cfg.Policy.Next(b, a)
	if plan.Pause > 0 {
		t.all.sleep(plan.Pause)
	}
	failed := map[*Record]error{}
	for _, f := range plan.Failed {
		failed[f.Record] = f.Reason
	}
	t.mu.Lock()
	if t.asking == b {
		t.asking = nil
	}
	delete(t.astray, b)
	var left []*Record
	for _, r := range b.Records {
		switch {
		case r.Ended():
		case failed[r] != nil:
		case r.leaving != nil:
			failed[r] = r.leaving()
		default:
			left = append(left, r)
		}
	}
	t.pending = slices.Concat(left, t.pending)
	t.attempts = b.Attempts
	t.mu.Unlock()
	for r, why := range failed {
		t.all.finishAll([]*Record{r}, NotWritten, why)
	}
	if t.all.life.Err() != nil {
		t.endPending()
		return
	}
	if a.NoPartition {
		t.flush()
		return
	}
	t.all.meta.want()
}

func (t *topic) endPending() {
	t.mu.Lock()
	pending := t.pending
	t.pending = nil
	t.mu.Unlock()
	t.all.finishAll(pending, NotWritten, errClosed)
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
	kicks, stray := t.place(records)
	t.mu.Unlock()
	kick(kicks)
	t.askAstray(stray)
}

// withdrawPending takes back records that have no partition yet. Those that are before the
// Policy end when it has decided, or at once if all are taken back. It returns those that have a
// partition by now.
func (p *Producer) withdrawPending(records []*Record, which Withdrawal, why func(*Record) error) (placed []*Record) {
	byTopic := map[string][]*Record{}
	for _, r := range records {
		byTopic[r.Topic] = append(byTopic[r.Topic], r)
	}
	for name, rs := range byTopic {
		t := p.topic(name)
		t.mu.Lock()
		asked := map[*Record]bool{}
		for b := range t.astray {
			for _, r := range b.Records {
				asked[r] = true
			}
		}
		if t.asking != nil {
			for _, r := range t.asking.Records {
				asked[r] = true
			}
		}
		out := map[*Record]bool{}
		for _, r := range rs {
			switch {
			case r.Ended():
			case r.part.Load() != nil:
				placed = append(placed, r)
			case which == Doubtful:
			case asked[r] && which != All:
				r.leaving = func() error { return why(r) }
			default:
				out[r] = true
			}
		}
		t.pending = slices.DeleteFunc(t.pending, func(r *Record) bool { return out[r] })
		t.mu.Unlock()
		for r := range out {
			p.finishAll([]*Record{r}, NotWritten, why(r))
		}
	}
	return placed
}

// metadata reads what the cluster tells of topics: at most once in MetadataMinAge, and
// soon when anything is wanted.
type metadata struct {
	all *Producer

	mu       sync.Mutex
	running  bool
	again    bool
	last     time.Time
	failures int
	waiting  []chan struct{} // for the reading that begins next
}

func (m *metadata) init(p *Producer) { m.all = p }

// want has the metadata of all topics in use read soon.
func (m *metadata) want() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.again = true
	if !m.running {
		m.running = true
		go m.run()
	}
}

// Refresh reads the metadata of a topic anew, and returns how many partitions it has. It has
// none if ctx ends before, or if the cluster says so: then with the reason.
func (p *Producer) Refresh(ctx context.Context, topic string) (int, error) {
	t := p.topic(topic)
	m := &p.meta
	done := make(chan struct{})
	m.mu.Lock()
	m.waiting = append(m.waiting, done)
	m.mu.Unlock()
	m.want()
	select {
	case <-done:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-p.life.Done():
		return 0, errClosed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.missing != nil {
		return 0, t.missing.Err
	}
	return len(t.partitions), nil
}

func (m *metadata) run() {
	for {
		m.mu.Lock()
		if !m.again || m.all.life.Err() != nil {
			m.running = false
			for _, w := range m.waiting {
				close(w)
			}
			m.waiting = nil
			m.mu.Unlock()
			return
		}
		pause := time.Until(m.last.Add(m.all.cfg.MetadataMinAge))
		if m.failures > 0 {
			pause = max(pause, m.all.cfg.Backoff(m.failures))
		}
		m.mu.Unlock()
		if pause > 0 && !m.all.sleep(pause) {
			continue
		}
		m.mu.Lock()
		m.again = false
		waiting := m.waiting
		m.waiting = nil
		m.last = time.Now()
		m.mu.Unlock()
		err := m.all.readMetadata()
		m.mu.Lock()
		if err != nil {
			m.failures++
			m.again = true
			m.waiting = append(m.waiting, waiting...)
			m.all.trouble.CompareAndSwap(nil, &err)
			if !code.OfError(err).Retry {
				go m.all.failPending(err)
			}
		} else {
			m.failures = 0
			for _, w := range waiting {
				close(w)
			}
		}
		m.mu.Unlock()
	}
}

// metadataWait bounds how long a metadata request is waited for.
const metadataWait = 10 * time.Second

func (p *Producer) readMetadata() error {
	ctx, cancel := context.WithTimeout(p.life, metadataWait)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = p.cfg.AutoCreate
	p.mu.RLock()
	for name := range p.topics {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr(name)})
	}
	p.mu.RUnlock()
	if len(req.Topics) == 0 {
		return nil
	}
	resp, err := req.RequestWith(ctx, p.cfg.Client)
	if err != nil {
		return err
	}
	for i := range resp.Topics {
		p.learn(&resp.Topics[i])
	}
	return nil
}

func (p *Producer) nodeOf(id int32) *node {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil {
		n = &node{all: p, id: id, broker: p.cfg.Client.Broker(int(id))}
		p.nodes[id] = n
	}
	return n
}

// learn notes what the cluster tells of a topic.
func (p *Producer) learn(m *kmsg.MetadataResponseTopic) {
	if m.Topic == nil {
		return
	}
	p.mu.RLock()
	t := p.topics[*m.Topic]
	p.mu.RUnlock()
	if t == nil {
		return
	}
	now := time.Now()
	t.read.Store(now.UnixNano())
	// Brokers list all partitions, from 0 on. Any other number is none of the topic's, and
	// room for as many would be without bound.
	listed := len(m.Partitions)
	m.Partitions = slices.DeleteFunc(m.Partitions, func(p kmsg.MetadataResponseTopicPartition) bool {
		return p.Partition < 0 || int(p.Partition) >= listed
	})
	if m.ErrorCode != 0 || len(m.Partitions) == 0 {
		t.notThere(m.ErrorCode)
		return
	}
	t.mu.Lock()
	t.missing = nil
	old := t.id.Load()
	renewed := m.TopicID != old
	if renewed {
		t.id.Store(m.TopicID)
	}
	if m.TopicID == [16]byte{} {
		p.nameOnly.Store(true)
	}
	count := 0
	for i := range m.Partitions {
		count = max(count, int(m.Partitions[i].Partition)+1)
	}
	var dropped []*partition
	if renewed && len(t.partitions) > count {
		dropped = t.partitions[count:]
		t.partitions = t.partitions[:count:count]
	}
	for n := len(t.partitions); n < count; n++ {
		t.partitions = append(t.partitions, &partition{topic: t, number: int32(n), single: unbounded, producer: noProducer})
	}
	leaders := make([]*node, len(t.partitions))
	for i := range m.Partitions {
		if l := m.Partitions[i]; l.Leader >= 0 {
			leaders[l.Partition] = p.nodeOf(l.Leader)
		}
	}
	t.writable = nil
	if slices.Contains(leaders, nil) {
		for i, l := range leaders {
			if l != nil {
				t.writable = append(t.writable, int32(i))
			}
		}
		if len(t.writable) == 0 {
			t.writable = nil
		}
	}
	partitions := t.partitions
	t.mu.Unlock()
	if renewed && old != [16]byte{} {
		for _, part := range partitions {
			part.renew()
		}
		for _, part := range dropped {
			part.evacuate()
		}
	}
	for i, part := range partitions {
		if leaders[i] != nil {
			part.lead(leaders[i])
			continue
		}
		if part.queued.Load() > 0 {
			err := code.Error(leaderNotAvailable)
			part.trouble.Store(&err)
			p.wantSoon()
		}
	}
	t.flush()
}

const leaderNotAvailable = 5

// wantSoon has metadata read again after a pause.
func (p *Producer) wantSoon() {
	time.AfterFunc(time.Duration(100+rand.IntN(50))*time.Millisecond, func() { p.meta.want() })
}

// notThere deals with a topic that the cluster has no partitions of to tell.
func (t *topic) notThere(errorCode int16) {
	if errorCode == 0 {
		errorCode = leaderNotAvailable
	}
	t.fail(Answer{Code: errorCode, Err: code.Error(errorCode), Metadata: true})
}

// failPending puts what has no partitions yet before the Policy, since the cluster lets nothing be
// asked.
func (p *Producer) failPending(err error) {
	p.mu.RLock()
	topics := slices.Collect(maps.Values(p.topics))
	p.mu.RUnlock()
	for _, t := range topics {
		t.fail(Answer{Err: err, Metadata: true})
	}
}

// fail puts pending records before the Policy.
func (t *topic) fail(a Answer) {
	t.mu.Lock()
	t.missing = &a
	if len(t.pending) > 0 && t.asking == nil {
		b := &Batch{Topic: t.name, Partition: -1, Records: t.pending, Attempts: t.attempts}
		t.pending, t.asking = nil, b
		go t.ask(b, a)
	}
	t.mu.Unlock()
}

// renew has a partition begin anew, since its topic is another one of the same name.
func (p *partition) renew() {
	p.mu.Lock()
	if p.topic.all.cfg.Idempotent {
		p.hasID, p.ownID = false, true
	}
	p.goOn()
}

// evacuate gives the records of a partition that is no more back to the topic.
func (p *partition) evacuate() {
	p.mu.Lock()
	p.evacuated = true
	p.goOn()
}

// reclaim takes the records of a partition that is no more back.
func (t *topic) reclaim(p *partition) {
	t.mu.Lock()
	p.mu.Lock()
	t.pending = slices.Concat(p.leave(), t.pending)
	p.unlock()
	t.mu.Unlock()
	t.all.meta.want()
}

// leave takes all records out of the partition that are not in flight.
func (p *partition) leave() []*Record {
	p.resolved()
	var records []*Record
	for _, b := range p.resend {
		records = append(records, b.Records...)
	}
	for _, bl := range p.blocked {
		records = append(records, bl.behind...)
	}
	for r, timer := range p.later {
		timer.Stop()
		records = append(records, r)
	}
	records = append(records, p.queue...)
	p.resend, p.queue, p.blocked, p.later = nil, nil, nil, nil
	records = slices.DeleteFunc(records, func(r *Record) bool { return ended(r) || r.Write == nil })
	slices.SortStableFunc(records, func(a, b *Record) int { return int(int64(a.order - b.order)) })
	for _, r := range records {
		r.part.Store(nil)
		r.doubt = false
	}
	p.queued.Store(0)
	return records
}
