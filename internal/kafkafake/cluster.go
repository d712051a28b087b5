// Package kafkafake runs a Kafka cluster in the process of a test. The cluster is kfake,
// with the dialects of other brokers, a network in memory, and faults on it.
package kafkafake

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// Cluster is a kfake cluster that ends with its test.
type Cluster struct {
	*kfake.Cluster
	// Admin is an administrator's client. It has no credentials, and neither the
	// dialect nor faults apply to it.
	Admin *kadm.Client

	t testing.TB

	// For a cluster with fronts.
	dialect   Dialect
	dial      []kgo.Opt
	producers producers
	numbers   numbers
	mu        sync.Mutex
	fronted   map[*front]struct{}
	away      map[int32]bool
	faults    []*FaultHandle
	wire      *Wire // nil for none
}

// New starts a cluster of plain kfake, without a dialect. It has one broker unless the
// options say otherwise.
func New(t testing.TB, opts ...kfake.Opt) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	require.NoError(t, c.start(opts))
	t.Cleanup(c.Close)
	return c
}

// StartDialect starts a cluster with a dialect, to which AddFault adds faults. A nil
// network is the network of the machine.
func StartDialect(t testing.TB, d Dialect, n *Network, opts ...kfake.Opt) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	listen := net.Listen
	if n != nil {
		listen, c.dial = n.Listen, n.Opts()
	}
	require.NoError(t, c.startDialect(d, listen, opts))
	t.Cleanup(c.Close)
	return c
}

// Open is StartDialect for a program that is no test. The program must close the
// cluster. It must not call methods that fail a test.
func Open(d Dialect, opts ...kfake.Opt) (*Cluster, error) {
	c := &Cluster{}
	if err := c.startDialect(d, net.Listen, opts); err != nil {
		return nil, fmt.Errorf("starting a cluster of dialect %s: %w", d.Name, err)
	}
	return c, nil
}

func (c *Cluster) startDialect(d Dialect, listen func(network, address string) (net.Listener, error), opts []kfake.Opt) error {
	c.dialect, c.fronted, c.away = d, map[*front]struct{}{}, map[int32]bool{}
	switch {
	case d.Versions != nil:
		opts = append(opts, kfake.MaxVersions(d.Versions))
	case !d.FirstFromZero: // kfake decides by whether versions are capped
		opts = append(opts, kfake.MaxVersions(kversion.Stable()))
	}
	if d.Limits != nil {
		opts = append(opts, kfake.BrokerConfigs(map[string]string{"message.max.bytes": fmt.Sprint(slices.Max(d.Limits))}))
	}
	if d.Session > 0 {
		opts = append(opts, kfake.EnableSASL(), kfake.Superuser("PLAIN", "producer", "secret"), kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": fmt.Sprint(d.Session.Milliseconds())}))
		c.dial = append(c.dial, kgo.SASL(plain.Auth{User: "producer", Pass: "secret"}.AsMechanism()))
	}
	return c.start(append(opts, kfake.ListenFn(c.fronts(listen))))
}

// keepAll turns log cleaning off. Tests compare verdicts with the log, and some live
// through hours of virtual time, while kfake cleans once an hour.
var keepAll = map[string]string{"log.cleaner.backoff.ms": fmt.Sprint((10 * 365 * 24 * time.Hour).Milliseconds())}

func (c *Cluster) start(opts []kfake.Opt) (err error) {
	c.Cluster, err = kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.BrokerConfigs(keepAll)}, opts...)...)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(append(c.Opts(), kgo.ClientID(observer))...)
	if err != nil {
		c.Cluster.Close()
		return err
	}
	c.Admin = kadm.NewClient(cl)
	return nil
}

// Close ends the cluster and its Admin.
func (c *Cluster) Close() {
	c.Admin.Close()
	c.Cluster.Close()
}

// Opts are the options that a client needs to reach the cluster.
func (c *Cluster) Opts() []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, c.dial...)
}

// Topic creates a topic with configs given as "key=value".
func (c *Cluster) Topic(name string, partitions int32, configs ...string) {
	c.t.Helper()
	m := map[string]string{}
	for _, config := range configs {
		k, v, _ := strings.Cut(config, "=")
		m[k] = v
	}
	require.NoError(c.t, c.CreateTopic(name, partitions, m))
}

// Set sets a config of a topic.
func (c *Cluster) Set(topic, name, value string) {
	c.t.Helper()
	res, err := c.Admin.AlterTopicConfigs(context.Background(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
	require.NoError(c.t, err)
	for _, r := range res {
		require.NoError(c.t, r.Err)
	}
}

// Mark is the content that Refuse looks for by convention.
const Mark = "POISON"

// Refuse makes the broker reject, with err, every batch of the partition that has the
// mark in its bytes, until the fault is removed. Batches must not be compressed.
func (c *Cluster) Refuse(topic string, partition int32, mark string, err *kerr.Error) *kfake.FaultHandle {
	return c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{partition}, Err: err, Count: -1,
		When: Holds(partition, mark),
	})
}

// Holds returns a condition of faults: the bytes of a batch for the partition have the
// mark in them.
func Holds(partition int32, mark string) func(kmsg.Request) bool {
	return func(req kmsg.Request) bool {
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range t.Partitions {
				if p.Partition == partition && bytes.Contains(p.Records, []byte(mark)) {
					return true
				}
			}
		}
		return false
	}
}

// RefuseAll makes the broker reject, with err, every batch of the topic, until the
// fault is removed.
func (c *Cluster) RefuseAll(topic string, err *kerr.Error) *kfake.FaultHandle {
	return c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: err, Count: -1})
}

// Count counts the requests of a kind from now on.
func (c *Cluster) Count(key kmsg.Key) *kfake.FaultHandle {
	return c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Count: -1, Observe: true})
}

// Log returns the records of a topic, by partition and offset.
func (c *Cluster) Log(topic string) []*kgo.Record {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	log, err := c.Read(ctx, topic)
	require.NoError(c.t, err)
	return log
}

// Read is Log with an error.
func (c *Cluster) Read(ctx context.Context, topic string) ([]*kgo.Record, error) {
	return Read(ctx, c.Cluster, topic, append(c.dial, kgo.ClientID(observer))...)
}

// Read returns the records of a topic of a cluster, by partition and offset. The
// options are for the client that reads.
func Read(ctx context.Context, c *kfake.Cluster, topic string, opts ...kgo.Opt) ([]*kgo.Record, error) {
	var want int64
	at := map[int32]kgo.Offset{}
	for _, p := range c.PartitionInfos(topic) {
		at[p.Partition] = kgo.NewOffset().At(0)
		want += p.HighWatermark
	}
	if want == 0 {
		return nil, nil
	}
	opts = append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: at}), kgo.WithDecompressor(decompressor())}, opts...)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var log []*kgo.Record
	for int64(len(log)) < want {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("reading topic %s: %w", topic, err)
		}
		log = append(log, fetches.Records()...)
	}
	slices.SortStableFunc(log, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return log, nil
}

// Values returns how often the topic has each value.
func (c *Cluster) Values(topic string) map[string]int {
	c.t.Helper()
	m := map[string]int{}
	for _, r := range c.Log(topic) {
		m[string(r.Value)]++
	}
	return m
}
