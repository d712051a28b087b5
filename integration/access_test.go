//go:build linux || darwin

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

const unauthorized = "unauthorized"

// as returns the fields of a stream to the secured cluster as a user.
func as(t *testing.T, c *kafkatest.Cluster, mechanism, user, password string) fields {
	t.Helper()
	login := fields{"mechanism": mechanism, "username": user, "password": password}
	if mechanism == kafkatest.OAuthBearer {
		login = fields{"mechanism": mechanism, "token": kafkatest.UnsecuredToken(user, time.Hour)}
	}
	return defaults(c).with(fields{
		"tls":  fields{"enabled": true, "root_cas_file": pemFile(t, c.Certs().CA)},
		"sasl": []any{login},
	})
}

func pemFile(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func mayWrite(c *kafkatest.Cluster, user, topic string) {
	c.Grant("User:"+user, kadm.OpWrite, kafkatest.TopicResource(topic))
}

// oneRightOfTwo makes the topics "allowed" and "denied", and alice may write only
// to the former.
func oneRightOfTwo(c *kafkatest.Cluster, partitions int) {
	c.CreateTopic("allowed", partitions, 1, nil)
	c.CreateTopic("denied", partitions, 1, nil)
	mayWrite(c, alice, "allowed")
}

// WRITE on the topic is all it takes: IDEMPOTENT_WRITE on the cluster comes
// with it since Kafka 2.8, and limits that can't be read are found out.
func TestTheRightToWriteIsEnough(t *testing.T) {
	c := secured(t)
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
			mayWrite(c, alice, "rights")
			for _, op := range test.more {
				c.Grant("User:"+alice, op, kafkatest.TopicResource("rights"))
			}
			l := newLedger(t, "access/"+test.name)
			l.ordered = true
			run(l, as(t, c, kafkatest.Plain, alice, alicePassword),
				around("rights", "a", 20,
					good("rights", "large").padded(30_000, noise).bad(sizeExceeded),
					good("rights", "null").keyless().bad(invalidRecord)),
				around("rights", "b", 20))
			l.check(c, "rights")
		})
	}
}

func TestAForbiddenTopicDoesNotHoldUpAnotherStream(t *testing.T) {
	c := secured(t)
	oneRightOfTwo(c, 1)
	f := as(t, c, kafkatest.Plain, alice, alicePassword)
	allowed, denied := newLedger(t, "access/two streams/allowed"), newLedger(t, "access/two streams/denied at first")
	allowed.ordered, denied.ordered = true, true
	var flow, stuck [][]message
	for b := range 10 {
		flow = append(flow, around("allowed", fmt.Sprintf("a%d", b), 20))
		stuck = append(stuck, around("denied", fmt.Sprintf("d%d", b), 20))
	}
	waits := start(denied, f, batches(stuck...))
	waits.held(unauthorized, 1)
	start(allowed, f, batches(flow...)).wait()
	allowed.check(c, "allowed")
	require.Zero(t, denied.acknowledged())
	mayWrite(c, alice, "denied")
	waits.wait()
	denied.check(c, "denied")
}

func TestOfOneBatchOnlyTheForbiddenIsHandedOn(t *testing.T) {
	c := secured(t)
	oneRightOfTwo(c, 2)
	l := newLedger(t, "access/one batch, unauthorized is permanent")
	l.ordered = true
	var all [][]message
	for b := range 3 {
		var batch []message
		for i := range 20 {
			batch = append(batch,
				good("allowed", fmt.Sprintf("a-%d-%d", b, i)),
				good("denied", fmt.Sprintf("d-%d-%d", b, i)).bad(unauthorized))
		}
		all = append(all, batch)
	}
	run(l, as(t, c, kafkatest.Plain, alice, alicePassword).permanently(unauthorized), all...)
	l.check(c, "allowed", "denied")
}

func TestABatchWithAForbiddenTopicIsHeldAndSaidToBeHeld(t *testing.T) {
	c := secured(t)
	oneRightOfTwo(c, 1)
	l := newLedger(t, "access/one batch, held")
	l.ordered = true
	s := start(l, as(t, c, kafkatest.Plain, alice, alicePassword), batches(
		around("allowed", "a", 10, good("denied", "d-0"), good("denied", "d-1")),
		around("allowed", "b", 10)))
	s.held(unauthorized, 1)
	require.Zero(t, l.acknowledged())
	mayWrite(c, alice, "denied")
	s.wait()
	l.check(c, "allowed", "denied")
}

func TestMessagesWaitForTheRightToWrite(t *testing.T) {
	c := secured(t)
	for _, user := range []struct{ name, password, other string }{
		{bob, bobPassword, "no other right"},
		{alice, alicePassword, "another topic's"},
	} {
		t.Run(user.other, func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("later", 2, 1, nil)
			c.CreateTopic("other", 1, 1, nil)
			if user.name == alice {
				mayWrite(c, alice, "other") // and so obtain a producer ID
			}
			l := newLedger(t, "access/granted, revoked, granted/"+user.other)
			l.ordered = true
			s := start(l, as(t, c, kafkatest.Plain, user.name, user.password), steady("later", "m"))
			s.held(unauthorized, 1)
			mayWrite(c, user.name, "later")
			s.goOn(10)
			c.Revoke("User:"+user.name, kadm.OpWrite, kafkatest.TopicResource("later"))
			s.held(unauthorized, 2)
			mayWrite(c, user.name, "later")
			s.goOn(10)
			s.finish()
			l.check(c, "later")
		})
	}
}
