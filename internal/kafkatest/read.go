//go:build linux || darwin

package kafkatest

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ReadAll returns every record of a topic up to the current end of each
// partition, ordered by partition and offset. It reads uncommitted records,
// too. It waits for a new leader if there is none.
//
// The end is the high watermark: a record that is not yet on all replicas in
// sync is not read, whatever its producer was told with acks below all.
func (c *Cluster) ReadAll(topic string) []*kgo.Record {
	c.tb.Helper()
	return c.readAll(topic, kgo.ReadUncommitted(), c.c.admin.ListEndOffsets)
}

// ReadAllCommitted is ReadAll without the records of aborted and of open
// transactions, and what comes after the latter.
func (c *Cluster) ReadAllCommitted(topic string) []*kgo.Record {
	c.tb.Helper()
	return c.readAll(topic, kgo.ReadCommitted(), c.c.admin.ListCommittedOffsets)
}

type listOffsets func(context.Context, ...string) (kadm.ListedOffsets, error)

func (c *Cluster) readAll(topic string, level kgo.IsolationLevel, end listOffsets) []*kgo.Record {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*opTimeout)
	defer cancel()
	t, err := c.c.topic(ctx, topic)
	c.must(err, "reading topic %s", topic)
	ends, err := c.c.offsets(ctx, topic, len(t.Partitions), end)
	c.must(err, "reading topic %s", topic)
	var all []*kgo.Record
	for p := range int32(len(t.Partitions)) {
		records, err := c.c.readPartition(ctx, topic, p, ends[p], level)
		c.must(err, "reading partition %d of topic %s", p, topic)
		all = append(all, records...)
	}
	return all
}

// offsets lists an offset of every partition, and tries again for as long as
// one has no leader that answers.
func (c *cluster) offsets(ctx context.Context, topic string, partitions int, list listOffsets) (map[int32]int64, error) {
	got := map[int32]int64{}
	var last error
	err := poll(ctx, func() (bool, error) {
		listed, err := list(ctx, topic)
		last = errors.Join(err, listed.Error())
		if last != nil || len(listed[topic]) < partitions {
			return false, nil
		}
		for p, o := range listed[topic] {
			got[p] = o.Offset
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing offsets: %w", errors.Join(err, last))
	}
	return got, nil
}

// readPartition reads a partition up to an offset. It fetches by hand: a
// consumer does not tell how far it is when the last offsets hold no record
// for it, because they are of an aborted transaction or compacted away.
func (c *cluster) readPartition(ctx context.Context, topic string, partition int32, end int64, level kgo.IsolationLevel) ([]*kgo.Record, error) {
	var (
		records []*kgo.Record
		next    int64 = -1
		last    error
	)
	err := poll(ctx, func() (bool, error) {
		for {
			if next < 0 {
				starts, err := c.admin.ListStartOffsets(ctx, topic)
				if last = errors.Join(err, starts.Error()); last != nil {
					return false, nil
				}
				start, ok := starts.Lookup(topic, partition)
				if !ok {
					return false, nil
				}
				next = start.Offset
			}
			if next >= end {
				return true, nil
			}
			got, after, err := c.fetch(ctx, topic, partition, next, level)
			if errors.Is(err, kerr.OffsetOutOfRange) {
				// The log has begun later since.
				records, next = nil, -1
			}
			if last = err; err != nil {
				return false, nil
			}
			for _, r := range got {
				if r.Offset < end {
					records = append(records, r)
				}
			}
			next = after
		}
	})
	if err != nil {
		return nil, fmt.Errorf("reading at offset %d of %d: %w", next, end, errors.Join(err, last))
	}
	return records, nil
}

// fetch reads from one offset, and returns where to go on.
func (c *cluster) fetch(ctx context.Context, topic string, partition int32, offset int64, level kgo.IsolationLevel) ([]*kgo.Record, int64, error) {
	t, err := c.topic(ctx, topic)
	if err != nil {
		return nil, 0, err
	}
	leader := int32(-1)
	for _, p := range t.Partitions {
		if p.Partition == partition {
			leader = p.Leader
		}
	}
	if leader < 0 {
		return nil, 0, errors.New("it has no leader")
	}
	fp := kmsg.NewFetchRequestTopicPartition()
	fp.Partition = partition
	fp.FetchOffset = offset
	fp.PartitionMaxBytes = 16 << 20
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic, ft.TopicID = topic, t.TopicID
	ft.Partitions = append(ft.Partitions, fp)
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = 500
	req.MinBytes = 1
	req.MaxBytes = 64 << 20
	if level == kgo.ReadCommitted() {
		req.IsolationLevel = 1
	}
	req.Topics = append(req.Topics, ft)
	ctx, cancel := context.WithTimeout(ctx, 3*pollTimeout)
	defer cancel()
	resp, err := c.client.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		return nil, 0, err
	}
	fr := resp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(fr.ErrorCode); err != nil {
		return nil, 0, err
	}
	if len(fr.Topics) != 1 || len(fr.Topics[0].Partitions) != 1 {
		return nil, 0, errors.New("the leader answered for another partition")
	}
	got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset:         offset,
		IsolationLevel: level,
		Topic:          topic,
		Partition:      partition,
	}, &fr.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return got.Records, next, got.Err
}
