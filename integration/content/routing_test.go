//go:build linux || darwin

package content

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

const unknownTopic = "unknown_topic"

func TestMessagesForIllegalTopicsAreUnroutable(t *testing.T) {
	c := onkafka.OneNode(t)
	c.CreateTopic("legal", 1, 1, nil)
	l := onkafka.NewChecker(t, "routing/illegal names")
	l.Ordered = true
	var midst []onkafka.Message
	for i, name := range []string{"two words", "", ".", "..", "a/b", "gr\u00fcn", strings.Repeat("x", 250)} {
		midst = append(midst, onkafka.Good(name, fmt.Sprintf("illegal-%d", i)).Bad(onkafka.Unroutable))
	}
	onkafka.Run(l, onkafka.Defaults(c).With(onkafka.Fields{"topic": `${! meta("topic").or("") }`}), onkafka.Around("legal", "a", 20, midst...))
	l.CheckTopics(c, "legal")
}

func TestMessagesForMissingPartitionsAreUnroutable(t *testing.T) {
	c := onkafka.OneNode(t)
	c.CreateTopic("routing", 2, 1, nil)
	l := onkafka.NewChecker(t, "routing/missing partitions")
	l.Ordered = true
	to := func(partition string, m onkafka.Message) onkafka.Message {
		m.Partition = partition
		return m
	}
	var batch []onkafka.Message
	for i := range 20 {
		batch = append(batch, to(fmt.Sprint(i%2), onkafka.Good("routing", fmt.Sprintf("m-%d", i))))
	}
	for i, none := range []string{"2", "99", "-1", "2147483648", "one"} {
		batch = append(batch[:5+i], append([]onkafka.Message{to(none, onkafka.Good("routing", "none-"+none).Bad(onkafka.Unroutable))}, batch[5+i:]...)...)
	}
	onkafka.Run(l, byPartition(c), batch)
	l.CheckTopics(c, "routing")
}

// byPartition has the fields of a stream whose messages name their partitions.
func byPartition(c *kafkatest.Cluster) onkafka.Fields {
	return onkafka.Defaults(c).With(onkafka.Fields{"partitioner": "manual", "partition": `${! meta("partition") }`})
}

func TestPartitionsMayBeAddedWhileRunning(t *testing.T) {
	c := onkafka.OneNode(t)
	c.CreateTopic("growing", 1, 1, nil)
	l := onkafka.NewChecker(t, "routing/partitions added while running")
	s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"metadata_max_age": "5s"}), onkafka.Steady("growing", "m"))
	s.GoOn(10)
	c.AddPartitions("growing", 3)
	onkafka.Eventually(t, func() bool {
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
	s.Finish()
	l.CheckTopics(c, "growing")
}

// The metadata of the client may be older than the new partition.
func TestAPartitionThatWasJustAddedIsNotMissing(t *testing.T) {
	c := onkafka.OneNode(t)
	for _, rules := range []bool{true, false} {
		t.Run(fmt.Sprintf("topic rules %t", rules), func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("growing", 1, 1, nil)
			l := onkafka.NewChecker(t, fmt.Sprintf("routing/a partition just added/topic rules %t", rules))
			next := make(chan []onkafka.Message, 1)
			s := onkafka.Start(l, byPartition(c).With(onkafka.Fields{"topic_rules": onkafka.Fields{"enabled": rules}}), onkafka.Channel(next))
			to := func(partition int, id string) []onkafka.Message {
				m := onkafka.Good("growing", id)
				m.Partition = fmt.Sprint(partition)
				return []onkafka.Message{m}
			}
			next <- to(0, "before")
			onkafka.Eventually(t, func() bool { return l.Acknowledged() == 1 }, "the first message")
			c.AddPartitions("growing", 1)
			time.Sleep(onkafka.Staleness)
			next <- to(1, "after")
			close(next)
			s.Wait()
			l.CheckTopics(c, "growing")
		})
	}
}

// Records of the deleted topic are deleted with it. Records that are sent afterwards
// wait for the new topic.
func TestATopicMayBeDeletedAndCreatedAgainWhileRunning(t *testing.T) {
	c := onkafka.OneNode(t)
	c.CreateTopic("phoenix", 1, 1, nil)
	c.CreateTopic("bystander", 1, 1, nil)
	l := onkafka.NewChecker(t, "routing/topic deleted and created again")
	other := onkafka.NewChecker(t, "routing/topic deleted and created again/another stream")
	l.Ordered, other.Ordered = true, true
	var gone atomic.Bool
	sent := onkafka.Steady("phoenix", "m")
	s := onkafka.Start(l, onkafka.Defaults(c), func(ctx context.Context) []onkafka.Message {
		doomed := !gone.Load()
		batch := sent(ctx)
		for i := range batch {
			batch[i].Doomed = doomed
		}
		return batch
	})
	o := onkafka.Start(other, onkafka.Defaults(c), onkafka.Steady("bystander", "b"))
	s.GoOn(10)
	c.DeleteTopic("phoenix")
	s.Held(unknownTopic, 1)
	gone.Store(true)
	o.GoOn(10)
	c.CreateTopic("phoenix", 1, 1, nil)
	s.GoOn(10)
	o.GoOn(10)
	s.Finish()
	o.Finish()
	l.CheckTopics(c, "phoenix")
	other.CheckTopics(c, "bystander")
}

// A topic is deleted and created again under a load that does not pause. Records of the
// earlier topics may be deleted with them. No record is in the last topic twice, or
// both there and dead-lettered.
func TestNothingIsDuplicatedWhileATopicIsDeletedAndCreatedAgainAtFullSpeed(t *testing.T) {
	c := onkafka.OneNode(t)
	for _, idempotent := range []bool{true, false} {
		t.Run(fmt.Sprintf("idempotent_write %t", idempotent), func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("phoenix", 3, 1, nil)
			l := onkafka.NewChecker(t, t.Name())
			l.Uncertain = !idempotent // without sequence numbers, the broker may append a batch behind a rejected one
			var n atomic.Int64
			s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"max_in_flight": 10, "idempotent_write": idempotent}), func(context.Context) []onkafka.Message {
				var batch []onkafka.Message
				for range 100 {
					m := onkafka.Good("phoenix", fmt.Sprintf("m-%06d", n.Add(1)))
					m.Doomed = true
					batch = append(batch, m)
				}
				return batch
			})
			for range 3 {
				s.GoOn(20)
				c.DeleteTopic("phoenix")
				c.CreateTopic("phoenix", 3, 1, nil)
			}
			s.GoOn(20)
			s.Finish()
			l.CheckTopics(c, "phoenix")
		})
	}
}

func TestMessagesWaitForATopicThatAppearsLater(t *testing.T) {
	c := onkafka.OneNode(t)
	l := onkafka.NewChecker(t, "routing/topic appears later")
	l.Ordered = true
	s := onkafka.Start(l, onkafka.Defaults(c), onkafka.Steady("late", "m"))
	s.Held(unknownTopic, 1)
	c.CreateTopic("late", 2, 1, nil)
	s.GoOn(10)
	s.Finish()
	l.CheckTopics(c, "late")
}

func TestOfOneBatchOnlyWhatHasNoTopicIsHandedOn(t *testing.T) {
	c := onkafka.OneNode(t)
	c.CreateTopic("there", 1, 1, nil)
	l := onkafka.NewChecker(t, "routing/no such topic, unknown_topic is permanent")
	l.Ordered = true
	var batch []onkafka.Message
	for i := range 20 {
		batch = append(batch, onkafka.Good("there", fmt.Sprintf("m-%d", i)), onkafka.Good("not-there", fmt.Sprintf("none-%d", i)).Bad(unknownTopic))
	}
	onkafka.Run(l, onkafka.Defaults(c).Permanently(unknownTopic), batch)
	l.CheckTopics(c, "there")
}
