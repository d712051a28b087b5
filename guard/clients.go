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
	answers            bool // acks other than none
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

// newBulk makes the client of the fast path. A record that does not fit into a
// batch of the given size alone is never handed to it.
func newBulk(s settings, given []kgo.Opt, maxBatchBytes int) (*client, error) {
	return newClient(s, given,
		kgo.ProducerBatchMaxBytes(int32(maxBatchBytes)),
		kgo.RecordPartitioner(checkedPartitioner{s.partitioner}),
	)
}

// newSolo makes the client for records that must be alone with those that they
// are sent with: suspects, and records within kgo's rounding of the limit. It
// takes records of any size, to partitions that are chosen already.
func newSolo(s settings, given []kgo.Opt) (*client, error) {
	return newClient(s, given,
		kgo.ProducerBatchMaxBytes(int32(s.maxRequestBytes)),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedBytes(0),
	)
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
	topic := s.record.Topic
	n, err := c.partitions(w.ctx, topic)
	if err != nil {
		r := classify(err)
		s.fail(&Failure{Class: r.class, Topic: topic, Partition: -1, Cause: err}, NotWritten)
		return false
	}
	choice := w.guard.choices.choose(w.guard.settings.partitioner, s.record, n)
	if choice < 0 || choice >= n {
		s.partitions = int32(n)
		s.fail(noSuchPartition(s), NotWritten)
		return false
	}
	s.record.Partition = int32(choice)
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

// choices has a partitioner per topic, for records that kgo's can't place.
type choices struct {
	mu     sync.Mutex
	topics map[string]kgo.TopicPartitioner
}

func (c *choices) choose(p kgo.Partitioner, r *kgo.Record, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	of, ok := c.topics[r.Topic]
	if !ok {
		if c.topics == nil {
			c.topics = map[string]kgo.TopicPartitioner{}
		}
		of = p.ForTopic(r.Topic)
		c.topics[r.Topic] = of
	}
	if _, ok := of.(kgo.TopicBackupPartitioner); ok {
		return rand.IntN(n) // there is no backup to go by: any will do
	}
	return of.Partition(r, n)
}

// noSuchPartition is the failure of a record whose partition its topic does not
// have.
func noSuchPartition(s *slot) *Failure {
	return &Failure{
		Class: Unroutable, Topic: s.record.Topic, Partition: s.record.Partition,
		Problem: fmt.Sprintf("no such partition: the topic has %d", s.partitions),
	}
}
