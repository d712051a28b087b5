package producer

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// metadata reads what the cluster tells of topics: at most once in MetadataMinAge, and
// soon when anything is wanted.
type metadata struct {
	all *Producer

	mu       sync.Mutex
	running  bool
	wanted   map[string]struct{} // topics; everyTopic is all in use
	last     time.Time
	failures int
	waiting  []chan struct{} // for the reading that begins next
}

// everyTopic is no name of a topic.
const everyTopic = ""

// want has the metadata of a topic read soon, or of everyTopic.
func (m *metadata) want(topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wantLocked(topic)
}

func (m *metadata) wantLocked(topic string) {
	if m.wanted == nil {
		m.wanted = map[string]struct{}{}
	}
	m.wanted[topic] = struct{}{}
	if !m.running {
		m.running = true
		go m.run()
	}
}

// Refresh reads the metadata of a topic anew, and returns how many partitions it has. It has
// none if ctx ends before, or if the cluster says so: then with the reason.
func (p *Producer) Refresh(ctx context.Context, topic string) (int, error) {
	t := p.topic(topic)
	done := make(chan struct{})
	m := &p.meta
	m.mu.Lock()
	m.waiting = append(m.waiting, done)
	m.wantLocked(topic)
	m.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-p.life.Done():
		return 0, partition.ErrClosed
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
		if len(m.wanted) == 0 || m.all.life.Err() != nil {
			m.running = false
			m.mu.Unlock()
			return
		}
		pause := time.Until(m.last.Add(m.all.cfg.MetadataMinAge))
		if m.failures > 0 {
			pause = max(pause, m.all.cfg.Backoff(m.failures))
		}
		m.mu.Unlock()
		if pause > 0 && !sleep(m.all.life, pause) {
			continue
		}
		m.mu.Lock()
		wanted, waiting := m.wanted, m.waiting
		m.wanted, m.waiting = nil, nil
		m.last = time.Now()
		m.mu.Unlock()
		err := m.all.readMetadata(wanted)
		m.mu.Lock()
		if err != nil {
			m.failures++
			maps.Copy(wanted, m.wanted)
			m.wanted = wanted
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

// askWait bounds how long an answer about topics or a producer ID is waited for. kgo asks
// any broker, now and then a seed, and one that does not answer may take as long as a dial.
const askWait = 10 * time.Second

func (p *Producer) readMetadata(wanted map[string]struct{}) error {
	ctx, cancel := context.WithTimeout(p.life, askWait)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = p.cfg.AutoCreate
	p.mu.RLock()
	_, every := wanted[everyTopic]
	for name := range p.topics {
		if _, ok := wanted[name]; !ok && !every {
			continue
		}
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

func (p *Producer) nodeOf(id int32) *broker.Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil {
		n = broker.NewNode(&p.brokers, id, p.cfg.Client.Broker(int(id)))
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
	leaders := make([]*broker.Node, listed) // the producer's lock is taken before a topic's
	for i := range m.Partitions {
		if l := m.Partitions[i]; l.Leader >= 0 {
			leaders[l.Partition] = p.nodeOf(l.Leader)
		}
	}
	t.mu.Lock()
	t.missing = nil
	old := t.ID()
	renewed := false
	if m.TopicID == [16]byte{} { // not every broker tells
		p.brokers.NameOnly()
	} else {
		renewed = old != [16]byte{} && m.TopicID != old
		t.SetID(m.TopicID)
	}
	count := 0
	for i := range m.Partitions {
		count = max(count, int(m.Partitions[i].Partition)+1)
	}
	var dropped []*partition.Partition
	if renewed && len(t.partitions) > count {
		dropped = t.partitions[count:]
		t.partitions = t.partitions[:count:count]
	}
	for n := len(t.partitions); n < count; n++ {
		t.partitions = append(t.partitions, partition.New(&t.Topic, int32(n)))
	}
	leaders = append(leaders, make([]*broker.Node, max(0, len(t.partitions)-listed))...)[:len(t.partitions)]
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
	if renewed {
		for _, part := range partitions {
			part.Renew()
		}
		for _, part := range dropped {
			part.Evacuate()
		}
	}
	for i, part := range partitions {
		if leaders[i] != nil {
			part.Lead(leaders[i])
			continue
		}
		if part.Queued() > 0 {
			err := code.Error(leaderNotAvailable)
			part.Trouble(err)
			t.wantSoon()
		}
	}
	t.flush()
}

const leaderNotAvailable = 5

// wantSoon has the topic's metadata read again after a pause.
func (t *topic) wantSoon() {
	time.AfterFunc(time.Duration(100+rand.IntN(50))*time.Millisecond, func() { t.all.meta.want(t.Name) })
}

// failPending puts what has no partitions yet before the Policy, since the cluster lets nothing be
// asked.
func (p *Producer) failPending(err error) {
	p.mu.RLock()
	topics := slices.Collect(maps.Values(p.topics))
	p.mu.RUnlock()
	for _, t := range topics {
		t.fail(broker.Answer{Err: err, Metadata: true})
	}
}

// sleep waits, and reports whether ctx has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
