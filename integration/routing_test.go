//go:build linux || darwin

package integration

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

const unknownTopic = "unknown_topic"

func TestMessagesForIllegalTopicsAreUnroutable(t *testing.T) {
	c := oneNode(t)
	c.CreateTopic("legal", 1, 1, nil)
	l := newLedger(t, "routing/illegal names")
	l.ordered = true
	var midst []message
	for i, name := range []string{"two words", "", ".", "..", "a/b", "gr\u00fcn", strings.Repeat("x", 250)} {
		midst = append(midst, good(name, fmt.Sprintf("illegal-%d", i)).bad(unroutable))
	}
	run(l, defaults(c).with(fields{"topic": `${! meta("topic").or("") }`}), around("legal", "a", 20, midst...))
	l.check(c, "legal")
}

func TestMessagesForMissingPartitionsAreUnroutable(t *testing.T) {
	c := oneNode(t)
	c.CreateTopic("routing", 2, 1, nil)
	l := newLedger(t, "routing/missing partitions")
	l.ordered = true
	to := func(partition string, m message) message {
		m.partition = partition
		return m
	}
	var batch []message
	for i := range 20 {
		batch = append(batch, to(fmt.Sprint(i%2), good("routing", fmt.Sprintf("m-%d", i))))
	}
	for i, none := range []string{"2", "99", "-1", "2147483648", "one"} {
		batch = append(batch[:5+i], append([]message{to(none, good("routing", "none-"+none).bad(unroutable))}, batch[5+i:]...)...)
	}
	run(l, byPartition(c), batch)
	l.check(c, "routing")
}

// byPartition are the fields of a stream whose messages name their partitions.
func byPartition(c *kafkatest.Cluster) fields {
	return defaults(c).with(fields{"partitioner": "manual", "partition": `${! meta("partition") }`})
}

func TestPartitionsMayBeAddedWhileRunning(t *testing.T) {
	c := oneNode(t)
	c.CreateTopic("growing", 1, 1, nil)
	l := newLedger(t, "routing/partitions added while running")
	s := start(l, defaults(c).with(fields{"metadata_max_age": "5s"}), steady("growing", "m"))
	s.goOn(10)
	c.AddPartitions("growing", 3)
	eventually(t, func() bool {
		ends, err := c.Admin().ListEndOffsets(context.Background(), "growing")
		if err != nil {
			return false
		}
		used := 0
		for _, end := range ends["growing"] {
			if end.Offset > 0 {
				used++
			}
		}
		return used > 1
	}, "messages in the new partitions")
	s.finish()
	l.check(c, "growing")
}

// What the client knows of a topic may be older than the partition.
func TestAPartitionThatWasJustAddedIsNotMissing(t *testing.T) {
	c := oneNode(t)
	for _, rules := range []bool{true, false} {
		t.Run(fmt.Sprintf("topic rules %t", rules), func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("growing", 1, 1, nil)
			l := newLedger(t, fmt.Sprintf("routing/a partition just added/topic rules %t", rules))
			next := make(chan []message, 1)
			s := start(l, byPartition(c).with(fields{"topic_rules": fields{"enabled": rules}}), channel(next))
			to := func(partition int, id string) []message {
				m := good("growing", id)
				m.partition = fmt.Sprint(partition)
				return []message{m}
			}
			next <- to(0, "before")
			eventually(t, func() bool { return l.acknowledged() == 1 }, "the first message")
			c.AddPartitions("growing", 1)
			time.Sleep(staleness)
			next <- to(1, "after")
			close(next)
			s.wait()
			l.check(c, "growing")
		})
	}
}

// What was written to the topic that was deleted is gone with it. What is sent
// from then on waits for the new one.
func TestATopicMayBeDeletedAndCreatedAgainWhileRunning(t *testing.T) {
	c := oneNode(t)
	c.CreateTopic("phoenix", 1, 1, nil)
	c.CreateTopic("bystander", 1, 1, nil)
	l := newLedger(t, "routing/topic deleted and created again")
	other := newLedger(t, "routing/topic deleted and created again/another stream")
	l.ordered, other.ordered = true, true
	var gone atomic.Bool
	sent := steady("phoenix", "m")
	s := start(l, defaults(c), func(ctx context.Context) []message {
		doomed := !gone.Load()
		batch := sent(ctx)
		for i := range batch {
			batch[i].doomed = doomed
		}
		return batch
	})
	o := start(other, defaults(c), steady("bystander", "b"))
	s.goOn(10)
	c.DeleteTopic("phoenix")
	s.held(unknownTopic, 1)
	gone.Store(true)
	o.goOn(10)
	c.CreateTopic("phoenix", 1, 1, nil)
	s.goOn(10)
	o.goOn(10)
	s.finish()
	o.finish()
	l.check(c, "phoenix")
	other.check(c, "bystander")
}

// The topic goes and comes back under a load that does not pause. What was written
// to an earlier one may be gone with it. Nothing is in the last one twice, nor
// anything that was handed on.
func TestNothingIsDuplicatedWhileATopicIsDeletedAndCreatedAgainAtFullSpeed(t *testing.T) {
	c := oneNode(t)
	for _, idempotent := range []bool{true, false} {
		t.Run(fmt.Sprintf("idempotent_write %t", idempotent), func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("phoenix", 3, 1, nil)
			l := newLedger(t, t.Name())
			l.uncertain = !idempotent // without sequence numbers, what is behind a refused batch may be taken
			var n atomic.Int64
			s := start(l, defaults(c).with(fields{"max_in_flight": 10, "idempotent_write": idempotent}), func(context.Context) []message {
				var batch []message
				for range 100 {
					m := good("phoenix", fmt.Sprintf("m-%06d", n.Add(1)))
					m.doomed = true
					batch = append(batch, m)
				}
				return batch
			})
			for range 3 {
				s.goOn(20)
				c.DeleteTopic("phoenix")
				c.CreateTopic("phoenix", 3, 1, nil)
			}
			s.goOn(20)
			s.finish()
			l.check(c, "phoenix")
		})
	}
}

func TestMessagesWaitForATopicThatAppearsLater(t *testing.T) {
	c := oneNode(t)
	l := newLedger(t, "routing/topic appears later")
	l.ordered = true
	s := start(l, defaults(c), steady("late", "m"))
	s.held(unknownTopic, 1)
	c.CreateTopic("late", 2, 1, nil)
	s.goOn(10)
	s.finish()
	l.check(c, "late")
}

// channel is a feed of what is sent on the channel.
func channel(all <-chan []message) feed {
	return func(ctx context.Context) []message {
		select {
		case next := <-all:
			return next
		case <-ctx.Done():
			return nil
		}
	}
}

// steady is a feed of batches of ten good messages, until the input ends.
func steady(topic, prefix string) feed {
	n := 0
	return paced(func() []message {
		var batch []message
		for range 10 {
			batch = append(batch, good(topic, fmt.Sprintf("%s-%06d", prefix, n)))
			n++
		}
		return batch
	})
}

// paced is a feed at a rate that leaves the cluster some of the machine.
func paced(next func() []message) feed {
	tick := time.NewTicker(20 * time.Millisecond)
	return func(ctx context.Context) []message {
		select {
		case <-tick.C:
			return next()
		case <-ctx.Done():
			tick.Stop()
			return nil
		}
	}
}

func TestOfOneBatchOnlyWhatHasNoTopicIsHandedOn(t *testing.T) {
	c := oneNode(t)
	c.CreateTopic("there", 1, 1, nil)
	l := newLedger(t, "routing/no such topic, unknown_topic is permanent")
	l.ordered = true
	var batch []message
	for i := range 20 {
		batch = append(batch, good("there", fmt.Sprintf("m-%d", i)), good("not-there", fmt.Sprintf("none-%d", i)).bad(unknownTopic))
	}
	run(l, defaults(c).permanently(unknownTopic), batch)
	l.check(c, "there")
}
