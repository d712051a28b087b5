//go:build linux || darwin

package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// The output for dead letters is down for a minute, and a leader is killed and
// restarted meanwhile. Nothing that was delivered is sent again for it.
func TestDeadLettersWaitForAnOutputThatIsDown(t *testing.T) {
	c, _ := threeNodes(t)
	c.CreateTopic("letters-wait", 3, 3, map[string]string{"min.insync.replicas": "2", "max.message.bytes": "20000"})
	c.WaitInSync()
	l := newLedger(t, "dead letters/output down for a minute, leader killed")
	f := &faults{Cluster: c, t: t, topic: "letters-wait"}
	s := start(l, defaults(c).with(deadLetters).with(fields{"max_in_flight": 10, "timeout": "2s", "request_timeout_overhead": "2s"}), poisoned("letters-wait"))
	s.goOn(15)
	l.setDown(true)
	began := time.Now()
	eventually(t, func() bool { return s.log.Count("The output of dead_letter did not take") > 0 }, "it to be said")
	leader := f.Leader(f.topic, 0)
	f.Kill(leader)
	f.last(20 * time.Second)
	f.Restart(leader)
	f.WaitInSync()
	f.last(time.Minute - time.Since(began))
	l.setDown(false)
	s.goOn(15)
	s.finish()
	l.check(c, "letters-wait")
}

// What is held for a right that is missing is not diverted to the dead letters.
func TestNothingIsDeadLetteredForALostRight(t *testing.T) {
	c := secured(t)
	c.CreateTopic("rights-lost", 2, 1, map[string]string{"max.message.bytes": "20000"})
	mayWrite(c, alice, "rights-lost")
	l := newLedger(t, "dead letters/right lost and granted again")
	l.ordered = true
	s := start(l, as(t, c, kafkatest.Plain, alice, alicePassword).with(deadLetters), poisoned("rights-lost"))
	s.goOn(10)
	c.Revoke("User:"+alice, kadm.OpWrite, kafkatest.TopicResource("rights-lost"))
	s.held(unauthorized, 1)
	mayWrite(c, alice, "rights-lost")
	s.goOn(10)
	s.finish()
	l.check(c, "rights-lost")
}

// The dead letters go to another topic of the same cluster, by an output of the
// same kind.
func TestDeadLettersGoToATopic(t *testing.T) {
	c := oneNode(t)
	c.CreateTopic("orders", 3, 1, map[string]string{"max.message.bytes": "20000"})
	c.CreateTopic("letters", 1, 1, nil)
	l := newLedger(t, "dead letters/to a topic")
	child := fields{
		"seed_brokers": c.Brokers(),
		"topic":        "letters",
		"metadata":     fields{"include_prefixes": []string{"kafka_guarded_"}},
	}
	var all [][]message
	for b := range 20 {
		all = append(all, around("orders", fmt.Sprintf("b%d", b), 50, good("orders", fmt.Sprintf("large-%d", b)).padded(30_000, noise).bad(sizeExceeded)))
	}
	run(l, defaults(c).with(fields{"dead_letter": fields{"kafka_guarded": child}}), all...)
	for _, r := range c.ReadAll("letters") {
		headers := map[string]string{}
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		require.Equal(t, "orders", headers["kafka_guarded_topic"])
		l.buried(r.Value, headers["kafka_guarded_error"])
	}
	l.check(c, "orders")
}
