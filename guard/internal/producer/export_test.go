package producer

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

const EveryTopic = everyTopic

// Want has metadata read soon.
func (p *Producer) Want(topic string) { p.meta.want(topic) }

// Learn notes metadata.
func (p *Producer) Learn(m *kmsg.MetadataResponseTopic) { p.learn(m) }

// IDOf returns the ID of a topic.
func (p *Producer) IDOf(name string) [16]byte { return p.topic(name).ID() }

// PartitionsOf returns the partitions of a topic.
func (p *Producer) PartitionsOf(name string) []*partition.Partition { return p.topic(name).partitions }

// WaitingForID is how many partitions wait for the common producer ID.
func (p *Producer) WaitingForID() int {
	p.ids.mu.Lock()
	defer p.ids.mu.Unlock()
	return len(p.ids.waiting)
}

// WithdrawPending takes back records without a partition.
func (p *Producer) WithdrawPending(records []*partition.Record, which partition.Withdrawal, why func(*partition.Record) error) []*partition.Record {
	return p.withdrawPending(records, which, why)
}

// TopicOf returns a topic, and Send gives it records.
func (p *Producer) TopicOf(name string) *topic { return p.topic(name) }

func (t *topic) Send(records []*partition.Record) { t.send(records) }

// FailPending says that the cluster lets nothing be asked.
func (p *Producer) FailPending(err error) { p.failPending(err) }
