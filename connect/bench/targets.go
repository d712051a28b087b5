//go:build linux || darwin

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// The targets to which messages are sent.
const (
	blackhole    = "blackhole"          // kfake in a process of its own, storing nothing
	fakeKafka    = "blackhole-kafka"    // the same, with Kafka's rejections
	fakeRedpanda = "blackhole-redpanda" // the same, with Redpanda's rejections, whose text has the limit
	fakeGateway  = "blackhole-growing"  // the same, behind a gateway that makes each record 142 bytes larger
	kafka        = "kafka"              // Apache Kafka, one node
	behindProxy  = "kafka-proxy"        // the same node behind a proxy without delay
	near         = "kafka-1ms"          // the same with a round trip of 1 ms
	away         = "kafka-5ms"
	far          = "kafka-20ms"
	farthest     = "kafka-50ms"
	slowNode     = "kafka-slow-node" // three nodes, one of which answers late
)

// lateness is the delay of the slow node.
const lateness = 200 * time.Millisecond

// place is a target that is not started yet.
type place struct {
	name    string
	cluster string // the same for all places of a cluster
	trip    time.Duration
	proxied bool
}

// The clusters that are real.
const (
	oneNode    = "one node of Kafka"
	threeNodes = "three nodes of Kafka"
)

// places are all targets, in the order of the report.
var places = []place{
	{name: blackhole, cluster: blackhole},
	{name: fakeKafka, cluster: fakeKafka},
	{name: fakeRedpanda, cluster: fakeRedpanda},
	{name: fakeGateway, cluster: fakeGateway},
	{name: kafka, cluster: oneNode},
	{name: behindProxy, cluster: oneNode, proxied: true},
	{name: near, cluster: oneNode, proxied: true, trip: time.Millisecond},
	{name: away, cluster: oneNode, proxied: true, trip: 5 * time.Millisecond},
	{name: far, cluster: oneNode, proxied: true, trip: 20 * time.Millisecond},
	{name: farthest, cluster: oneNode, proxied: true, trip: 50 * time.Millisecond},
	{name: slowNode, cluster: threeNodes, proxied: true},
}

// placeOf returns the place with a name.
func placeOf(name string) (place, error) {
	for _, p := range places {
		if p.name == name {
			return p, nil
		}
	}
	names := ""
	for _, p := range places {
		names += " " + p.name
	}
	return place{}, fmt.Errorf("no target is named %q: there are%s", name, names)
}

// asKafkaStarts are the JVM flags of Kafka's own start script.
var asKafkaStarts = []string{
	"-Xms1g", "-Xmx1g",
	"-XX:-UseSerialGC", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
	"-XX:TieredStopAtLevel=4",
}

// cluster is a running cluster, for one place or several.
type cluster struct {
	direct  []string // the brokers' addresses
	proxied []string // by the links
	links   []*link  // one for each node
	client  *kgo.Client
	admin   *kadm.Client
	end     func()
}

// startCluster starts the cluster with a name.
func startCluster(ctx context.Context, name string) (c *cluster, err error) {
	switch name {
	case oneNode:
		c, err = startKafka(1)
	case threeNodes:
		c, err = startKafka(3)
	default:
		c = &cluster{}
		c.direct, c.end, err = startFake(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	// Topics are created and deleted for each run, so metadata must be new.
	c.client, err = kgo.NewClient(kgo.SeedBrokers(c.direct...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		c.end()
		return nil, fmt.Errorf("making the client for %s: %w", name, err)
	}
	c.admin = kadm.NewClient(c.client)
	return c, nil
}

// startKafka starts nodes of Kafka, each with a link.
func startKafka(nodes int) (*cluster, error) {
	c := &cluster{}
	ports := map[int]int{}
	for id := 1; id <= nodes; id++ {
		l, err := newLink()
		if err != nil {
			return nil, err
		}
		c.links = append(c.links, l)
		ports[id] = l.port()
	}
	running, err := kafkatest.Open(kafkatest.Options{Nodes: nodes, JVM: asKafkaStarts, AdvertisedPorts: ports})
	if err != nil {
		return nil, err
	}
	c.direct, c.proxied = running.Direct, running.Brokers
	if len(running.Listeners) < nodes { // a cluster of the user's own, see kafkatest
		c.links, c.proxied = nil, nil
	}
	for i, l := range c.links {
		l.serve(running.Listeners[i])
	}
	c.end = func() {
		for _, l := range c.links {
			l.close()
		}
		running.Close()
	}
	return c, nil
}

func (c *cluster) stop() {
	c.client.Close()
	c.end()
}

// target is a place that is started.
type target struct {
	place
	*cluster
	brokers []string // the addresses for clients
}

// start starts the target with a name. It uses a running cluster if there is one for
// it.
func start(ctx context.Context, name string, running map[string]*cluster) (*target, error) {
	p, err := placeOf(name)
	if err != nil {
		return nil, err
	}
	c := running[p.cluster]
	if c == nil {
		if c, err = startCluster(ctx, p.cluster); err != nil {
			return nil, err
		}
		running[p.cluster] = c
	}
	t := &target{place: p, cluster: c, brokers: c.direct}
	if p.proxied {
		if t.brokers = c.proxied; len(t.brokers) == 0 {
			return nil, fmt.Errorf("%s needs a Kafka of its own", name)
		}
	}
	return t, nil
}

// set sets delay and addresses of the links to those of this target.
func (t *target) set() {
	for i, l := range t.links {
		l.trip.Store(int64(t.trip))
		l.late.Store(0)
		if t.name == slowNode && i == 0 {
			l.late.Store(int64(lateness))
		}
	}
}

// create makes topics for the load, and returns when the broker serves them.
func (t *target) create(ctx context.Context, topics []string, l load) error {
	now := "0"
	properties := map[string]*string{"file.delete.delay.ms": &now}
	if l.TopicLimit > 0 {
		limit := strconv.Itoa(l.TopicLimit)
		properties["max.message.bytes"] = &limit
	}
	if l.Compacted {
		policy := "compact"
		properties["cleanup.policy"] = &policy
	}
	made, err := t.admin.CreateTopics(ctx, int32(l.Partitions), 1, properties, topics...)
	if err == nil {
		err = made.Error()
	}
	if err != nil {
		return fmt.Errorf("creating topics: %w", err)
	}
	for {
		if _, err = t.arrived(ctx, topics); err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for new topics: %w", err)
		}
	}
}

// remove deletes the topics.
func (t *target) remove(ctx context.Context, topics []string) error {
	gone, err := t.admin.DeleteTopics(ctx, topics...)
	if err == nil {
		err = gone.Error()
	}
	if err != nil {
		return fmt.Errorf("deleting topics: %w", err)
	}
	return nil
}

// arrived is the number of messages in the topics.
func (t *target) arrived(ctx context.Context, topics []string) (int, error) {
	ends, err := t.admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err == nil && len(ends) != len(topics) {
		err = errors.New("a topic is missing")
	}
	if err != nil {
		return 0, fmt.Errorf("counting what arrived: %w", err)
	}
	var n int64
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return int(n), nil
}

// connections is the most that a node had at a time through its link since the last
// call.
func (t *target) connections() (most int) {
	for _, l := range t.links {
		most = max(most, l.mostOpen())
	}
	return most
}
