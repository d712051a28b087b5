package guard

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// cluster is an in-process broker and what a test asks of it.
type cluster struct {
	*kfake.Cluster
	t     testing.TB
	admin *kadm.Client
}

func newCluster(t testing.TB, opts ...kfake.Opt) *cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return &cluster{Cluster: c, t: t, admin: kadm.NewClient(cl)}
}

// topic creates a topic with configs given as "key=value".
func (c *cluster) topic(name string, partitions int32, configs ...string) {
	c.t.Helper()
	m := map[string]*string{}
	for _, kv := range configs {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = &v
	}
	_, err := c.admin.CreateTopic(context.Background(), partitions, -1, m, name)
	require.NoError(c.t, err)
}

// guard returns a Guard on the cluster that does not compress, so that a test
// can look into batches.
func (c *cluster) guard(config Config, opts ...kgo.Opt) *Guard {
	c.t.Helper()
	g, err := New(config, append([]kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }),
		kgo.MetadataMinAge(10 * time.Millisecond),
	}, opts...)...)
	require.NoError(c.t, err)
	c.t.Cleanup(g.Close)
	return g
}

// refuse has the broker refuse, with err, every batch of the partition that has
// a record whose value contains the mark.
func (c *cluster) refuse(topic string, partition int32, mark string, err *kerr.Error) *kfake.FaultHandle {
	return c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{partition}, Err: err, Count: -1,
		When: func(req kmsg.Request) bool {
			for _, t := range req.(*kmsg.ProduceRequest).Topics {
				for _, p := range t.Partitions {
					if p.Partition == partition && bytes.Contains(p.Records, []byte(mark)) {
						return true
					}
				}
			}
			return false
		},
	})
}

// countProduce counts the produce requests from now on.
func (c *cluster) countProduce() *kfake.FaultHandle {
	return c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1, Observe: true})
}

// log reads all that is in a topic, by partition and offset.
func (c *cluster) log(topic string) []*kgo.Record {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ends, err := c.admin.ListEndOffsets(ctx, topic)
	require.NoError(c.t, err)
	require.NoError(c.t, ends.Error())
	var want int64
	at := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		at[o.Partition] = kgo.NewOffset().At(0)
		want += o.Offset
	})
	if want == 0 {
		return nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: at}))
	require.NoError(c.t, err)
	defer cl.Close()
	var log []*kgo.Record
	for int64(len(log)) < want {
		fetches := cl.PollFetches(ctx)
		require.NoError(c.t, fetches.Err())
		log = append(log, fetches.Records()...)
	}
	slices.SortStableFunc(log, func(a, b *kgo.Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	return log
}

// account holds the verdicts against the log. A value must be in one record
// only.
func (c *cluster) account(records []*kgo.Record, verdicts []Verdict) {
	c.t.Helper()
	require.Len(c.t, verdicts, len(records))
	log := map[string][]*kgo.Record{}
	seen := map[string]bool{}
	for _, r := range records {
		if r != nil && LegalTopic(r.Topic) && !seen[r.Topic] {
			seen[r.Topic] = true
			for _, l := range c.log(r.Topic) {
				log[l.Topic+string(l.Value)] = append(log[l.Topic+string(l.Value)], l)
			}
		}
	}
	for i, r := range records {
		v := verdicts[i]
		require.Equal(c.t, v.Outcome == Delivered, v.Failure == nil, "record %d: %+v", i, v)
		require.Equal(c.t, v.Outcome == Delivered, v.Class == None, "record %d: %+v", i, v)
		if r == nil {
			continue
		}
		found := log[r.Topic+string(r.Value)]
		switch v.Outcome {
		case Delivered:
			require.Len(c.t, found, 1, "record %d is delivered", i)
			require.Equal(c.t, found[0].Partition, v.Partition, "record %d", i)
			if v.Offset >= 0 {
				require.Equal(c.t, found[0].Offset, v.Offset, "record %d", i)
			}
			require.Equal(c.t, found[0].Timestamp, v.Timestamp, "record %d", i)
		case NotWritten:
			require.Empty(c.t, found, "record %d is not written: %v", i, v.Failure)
		default:
			require.LessOrEqual(c.t, len(found), 1, "record %d is unknown", i)
		}
	}
}

// classes returns the classes of what is not delivered, by index.
func classes(verdicts []Verdict) map[int]Class {
	m := map[int]Class{}
	for i, v := range verdicts {
		if v.Outcome != Delivered {
			m[i] = v.Class
		}
	}
	return m
}

// records makes n records of about size bytes each, with distinct values that
// begin with the prefix. All are for partition 0 of the topic.
func records(topic, prefix string, n, size int) []*kgo.Record {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = record(topic, fmt.Sprintf("%s-%05d", prefix, i), size)
	}
	return rs
}

func record(topic, value string, size int) *kgo.Record {
	if pad := size - len(value); pad > 0 {
		value += strings.Repeat("x", pad)
	}
	return &kgo.Record{Topic: topic, Value: []byte(value)}
}

// poison marks the records at the indexes for refuse.
func poison(rs []*kgo.Record, at ...int) {
	for _, i := range at {
		rs[i].Value = append(rs[i].Value, "POISON"...)
	}
}
