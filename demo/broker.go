package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 4
	// topicLimit is the max.message.bytes of the example's topics. It is below the
	// default limit of topics and clients. A client that does not read it gets its
	// batches rejected.
	topicLimit = 100_000
)

// broker is a Kafka cluster of three brokers in the process.
type broker struct {
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
}

// newBroker starts a broker with the topics. It creates others when they are used.
func newBroker(topics ...string) (*broker, error) {
	c, err := kfake.NewCluster(kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(partitions))
	if err != nil {
		return nil, fmt.Errorf("starting the broker: %w", err)
	}
	for _, topic := range topics {
		if err := c.CreateTopic(topic, partitions, map[string]string{"max.message.bytes": fmt.Sprint(topicLimit)}); err != nil {
			c.Close()
			return nil, fmt.Errorf("creating the topic %s: %w", topic, err)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
	return &broker{cluster: c, client: client, admin: kadm.NewClient(client)}, nil
}

func (b *broker) close() {
	b.client.Close()
	b.cluster.Close()
}

func (b *broker) addresses() string { return strings.Join(b.cluster.ListenAddrs(), ",") }

// topics returns the names of all topics, sorted.
func (b *broker) topics(ctx context.Context) ([]string, error) {
	topics, err := b.admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the topics: %w", err)
	}
	return topics.Names(), nil
}

// ends returns the end offsets of all topics.
func (b *broker) ends(ctx context.Context) (kadm.ListedOffsets, error) {
	ends, err := b.admin.ListEndOffsets(ctx)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing the end offsets: %w", err)
	}
	return ends, nil
}

// count returns the number of records in all topics.
func (b *broker) count(ctx context.Context) (int, error) {
	ends, err := b.ends(ctx)
	n := int64(0)
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return int(n), err
}

// pollTimeout is how long the broker may take for the next records.
const pollTimeout = 30 * time.Second

// each calls fn for each record of all topics.
func (b *broker) each(ctx context.Context, fn func(*kgo.Record) error) error {
	ends, err := b.ends(ctx)
	if err != nil {
		return err
	}
	from := map[string]map[int32]kgo.Offset{}
	open := int64(0)
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset == 0 {
			return
		}
		if from[o.Topic] == nil {
			from[o.Topic] = map[int32]kgo.Offset{}
		}
		from[o.Topic][o.Partition] = kgo.NewOffset().At(0)
		open += o.Offset
	})
	if open == 0 {
		return nil
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.ConsumePartitions(from))
	if err != nil {
		return fmt.Errorf("connecting to the broker: %w", err)
	}
	defer reader.Close()
	poll := func() kgo.Fetches {
		ctx, cancel := context.WithTimeout(ctx, pollTimeout)
		defer cancel()
		return reader.PollFetches(ctx)
	}
	for open > 0 {
		fetches := poll()
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		for r := range fetches.RecordsAll() {
			open--
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}
