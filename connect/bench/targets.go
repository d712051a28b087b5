//go:build linux || darwin

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/binary"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// The targets: what is sent to.
const (
	blackhole = "blackhole" // kfake in a process of its own, which stores nothing
	kafka     = "kafka"     // Apache Kafka, one node
)

// asKafkaStarts are the flags that Kafka's own script starts a broker with.
var asKafkaStarts = []string{
	"-Xms1g", "-Xmx1g",
	"-XX:-UseSerialGC", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
	"-XX:TieredStopAtLevel=4",
}

// target is a running broker.
type target struct {
	name    string
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
	end     func()
}

// start starts the target of the name.
func start(ctx context.Context, name string) (*target, error) {
	starts := map[string]func(context.Context) ([]string, func(), error){
		blackhole: startBlackhole,
		kafka: func(context.Context) ([]string, func(), error) {
			return kafkatest.Open(kafkatest.Options{JVM: asKafkaStarts})
		},
	}
	if starts[name] == nil {
		return nil, fmt.Errorf("no target is named %q: there are %s and %s", name, blackhole, kafka)
	}
	brokers, end, err := starts[name](ctx)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	// Topics come and go, and what is known of them must not be old.
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		end()
		return nil, fmt.Errorf("making the client for %s: %w", name, err)
	}
	return &target{name: name, brokers: brokers, client: client, admin: kadm.NewClient(client), end: end}, nil
}

func (t *target) stop() {
	t.client.Close()
	t.end()
}

// startBlackhole starts the process that serveBlackhole is in.
func startBlackhole(ctx context.Context) ([]string, func(), error) {
	cmd, err := again(ctx, "blackhole")
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	end := func() {
		in.Close()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		end()
		return nil, nil, fmt.Errorf("reading its address: %w", err)
	}
	return strings.Split(strings.TrimSpace(line), ","), end, nil
}

// serveBlackhole runs a broker until the input ends, as it does when the parent
// does. It is to take as little of the machine as it can.
func serveBlackhole(in io.Reader, out io.Writer) error {
	binary.TuneGC()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BlackholeProduce())
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintln(out, strings.Join(c.ListenAddrs(), ","))
	_, err = io.Copy(io.Discard, in)
	return err
}

// again is this program, with a subcommand.
func again(ctx context.Context, subcommand string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	return exec.CommandContext(ctx, self, subcommand), nil
}

// create makes topics for the load, and returns when the broker serves them.
func (t *target) create(ctx context.Context, topics []string, l load) error {
	now := "0"
	properties := map[string]*string{"file.delete.delay.ms": &now}
	if l.TopicLimit > 0 {
		limit := strconv.Itoa(l.TopicLimit)
		properties["max.message.bytes"] = &limit
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

// arrived is how many messages are in the topics.
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
