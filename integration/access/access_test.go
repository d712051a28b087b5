//go:build linux || darwin

package access

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// oneRightOfTwo makes the topics "allowed" and "denied". Alice may write to "allowed"
// only.
func oneRightOfTwo(c *kafkatest.Cluster, partitions int) {
	c.CreateTopic("allowed", partitions, 1, nil)
	c.CreateTopic("denied", partitions, 1, nil)
	onkafka.MayWrite(c, onkafka.Alice, "allowed")
}

// WRITE on the topic is enough. Since Kafka 2.8 it implies IDEMPOTENT_WRITE on the
// cluster. Limits that can't be read are learned from rejections.
func TestTheRightToWriteIsEnough(t *testing.T) {
	c := onkafka.Secured(t)
	for _, test := range []struct {
		name string
		more []kadm.ACLOperation
	}{
		{"write", nil},
		{"write and describe configs", []kadm.ACLOperation{kadm.OpDescribeConfigs}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("rights", 2, 1, map[string]string{"max.message.bytes": "20000", "cleanup.policy": "compact"})
			onkafka.MayWrite(c, onkafka.Alice, "rights")
			for _, op := range test.more {
				c.Grant("User:"+onkafka.Alice, op, kafkatest.TopicResource("rights"))
			}
			l := onkafka.NewChecker(t, "access/"+test.name)
			l.Ordered = true
			onkafka.Run(l, onkafka.As(t, c, kafkatest.Plain, onkafka.Alice, onkafka.AlicePassword),
				onkafka.Around("rights", "a", 20,
					onkafka.Good("rights", "large").Padded(30_000, onkafka.Noise).Bad(onkafka.SizeExceeded),
					onkafka.Good("rights", "null").Keyless().Bad(onkafka.InvalidRecord)),
				onkafka.Around("rights", "b", 20))
			l.CheckTopics(c, "rights")
		})
	}
}

func TestAForbiddenTopicDoesNotHoldUpAnotherStream(t *testing.T) {
	c := onkafka.Secured(t)
	oneRightOfTwo(c, 1)
	f := onkafka.As(t, c, kafkatest.Plain, onkafka.Alice, onkafka.AlicePassword)
	allowed, denied := onkafka.NewChecker(t, "access/two streams/allowed"), onkafka.NewChecker(t, "access/two streams/denied at first")
	allowed.Ordered, denied.Ordered = true, true
	var flow, stuck [][]onkafka.Message
	for b := range 10 {
		flow = append(flow, onkafka.Around("allowed", fmt.Sprintf("a%d", b), 20))
		stuck = append(stuck, onkafka.Around("denied", fmt.Sprintf("d%d", b), 20))
	}
	waits := onkafka.Start(denied, f, onkafka.Batches(stuck...))
	waits.Held(onkafka.Unauthorized, 1)
	onkafka.Start(allowed, f, onkafka.Batches(flow...)).Wait()
	allowed.CheckTopics(c, "allowed")
	require.Zero(t, denied.Acknowledged())
	onkafka.MayWrite(c, onkafka.Alice, "denied")
	waits.Wait()
	denied.CheckTopics(c, "denied")
}

func TestOfOneBatchOnlyTheForbiddenIsHandedOn(t *testing.T) {
	c := onkafka.Secured(t)
	oneRightOfTwo(c, 2)
	l := onkafka.NewChecker(t, "access/one batch, unauthorized is permanent")
	l.Ordered = true
	var all [][]onkafka.Message
	for b := range 3 {
		var batch []onkafka.Message
		for i := range 20 {
			batch = append(batch,
				onkafka.Good("allowed", fmt.Sprintf("a-%d-%d", b, i)),
				onkafka.Good("denied", fmt.Sprintf("d-%d-%d", b, i)).Bad(onkafka.Unauthorized))
		}
		all = append(all, batch)
	}
	onkafka.Run(l, onkafka.As(t, c, kafkatest.Plain, onkafka.Alice, onkafka.AlicePassword).Permanently(onkafka.Unauthorized), all...)
	l.CheckTopics(c, "allowed", "denied")
}

func TestABatchWithAForbiddenTopicIsHeldAndSaidToBeHeld(t *testing.T) {
	c := onkafka.Secured(t)
	oneRightOfTwo(c, 1)
	l := onkafka.NewChecker(t, "access/one batch, held")
	l.Ordered = true
	s := onkafka.Start(l, onkafka.As(t, c, kafkatest.Plain, onkafka.Alice, onkafka.AlicePassword), onkafka.Batches(
		onkafka.Around("allowed", "a", 10, onkafka.Good("denied", "d-0"), onkafka.Good("denied", "d-1")),
		onkafka.Around("allowed", "b", 10)))
	s.Held(onkafka.Unauthorized, 1)
	require.Zero(t, l.Acknowledged())
	onkafka.MayWrite(c, onkafka.Alice, "denied")
	s.Wait()
	l.CheckTopics(c, "allowed", "denied")
}

// The second line about messages that are held comes a minute after the first.
func TestMessagesWaitForTheRightToWrite(t *testing.T) {
	t.Parallel()
	for _, user := range []struct{ name, password, other string }{
		{onkafka.Bob, onkafka.BobPassword, "no other right"},
		{onkafka.Alice, onkafka.AlicePassword, "another topic's"},
	} {
		t.Run(user.other, func(t *testing.T) {
			t.Parallel()
			c := onkafka.Secured(t)
			later, other := "later-"+user.name, "other-"+user.name
			c.CreateTopic(later, 2, 1, nil)
			c.CreateTopic(other, 1, 1, nil)
			if user.name == onkafka.Alice {
				onkafka.MayWrite(c, onkafka.Alice, other) // so that she gets a producer ID
			}
			l := onkafka.NewChecker(t, "access/granted, revoked, granted/"+user.other)
			l.Ordered = true
			s := onkafka.Start(l, onkafka.As(t, c, kafkatest.Plain, user.name, user.password), onkafka.Steady(later, "m"))
			s.Held(onkafka.Unauthorized, 1)
			onkafka.MayWrite(c, user.name, later)
			s.GoOn(10)
			c.Revoke("User:"+user.name, kadm.OpWrite, kafkatest.TopicResource(later))
			s.Held(onkafka.Unauthorized, 2)
			onkafka.MayWrite(c, user.name, later)
			s.GoOn(10)
			s.Finish()
			l.CheckTopics(c, later)
		})
	}
}
