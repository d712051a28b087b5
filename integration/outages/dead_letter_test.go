//go:build linux || darwin

package outages

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// The dead-letter output is down for a minute. Meanwhile a leader is killed and
// restarted. No delivered message is sent again for that.
func TestDeadLettersWaitForAnOutputThatIsDown(t *testing.T) {
	t.Parallel()
	c, _ := onkafka.ThreeNodes(t)
	c.CreateTopic("letters-wait", 3, 3, map[string]string{"min.insync.replicas": "2", "max.message.bytes": "20000"})
	c.WaitInSync()
	l := onkafka.NewChecker(t, "dead letters/output down for a minute, leader killed")
	f := &onkafka.Faults{Cluster: c, T: t, Topic: "letters-wait"}
	s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.DeadLetters).With(onkafka.Fields{"max_in_flight": 10, "timeout": "2s", "request_timeout_overhead": "2s"}), onkafka.Poisoned("letters-wait"))
	s.GoOn(15)
	l.SetDown(true)
	began := time.Now()
	onkafka.Eventually(t, func() bool { return s.Log.Count("The output of dead_letter did not take") > 0 }, "it to be said")
	leader := f.Leader(f.Topic, 0)
	f.Kill(leader)
	f.Last(20 * time.Second)
	f.Restart(leader)
	f.WaitInSync()
	f.Last(time.Minute - time.Since(began))
	l.SetDown(false)
	s.GoOn(15)
	s.Finish()
	l.CheckTopics(c, "letters-wait")
}

// Messages that wait for a missing right are not dead-lettered.
func TestNothingIsDeadLetteredForALostRight(t *testing.T) {
	t.Parallel()
	c := onkafka.Secured(t)
	c.CreateTopic("rights-lost", 2, 1, map[string]string{"max.message.bytes": "20000"})
	onkafka.MayWrite(c, onkafka.Alice, "rights-lost")
	l := onkafka.NewChecker(t, "dead letters/right lost and granted again")
	l.Ordered = true
	s := onkafka.Start(l, onkafka.As(t, c, kafkatest.Plain, onkafka.Alice, onkafka.AlicePassword).With(onkafka.DeadLetters), onkafka.Poisoned("rights-lost"))
	s.GoOn(10)
	c.Revoke("User:"+onkafka.Alice, kadm.OpWrite, kafkatest.TopicResource("rights-lost"))
	s.Held(onkafka.Unauthorized, 1)
	onkafka.MayWrite(c, onkafka.Alice, "rights-lost")
	s.GoOn(10)
	s.Finish()
	l.CheckTopics(c, "rights-lost")
}

// The dead letters go to another topic of the same cluster, by another kafka_guarded
// output.
func TestDeadLettersGoToATopic(t *testing.T) {
	t.Parallel()
	c := onkafka.OneNode(t)
	c.CreateTopic("orders", 3, 1, map[string]string{"max.message.bytes": "20000"})
	c.CreateTopic("letters", 1, 1, nil)
	l := onkafka.NewChecker(t, "dead letters/to a topic")
	child := onkafka.Fields{
		"seed_brokers": c.Brokers(),
		"topic":        "letters",
		"metadata":     onkafka.Fields{"include_prefixes": []string{"kafka_guarded_"}},
	}
	var all [][]onkafka.Message
	for b := range 20 {
		all = append(all, onkafka.Around("orders", fmt.Sprintf("b%d", b), 50, onkafka.Good("orders", fmt.Sprintf("large-%d", b)).Padded(30_000, onkafka.Noise).Bad(onkafka.SizeExceeded)))
	}
	onkafka.Run(l, onkafka.Defaults(c).With(onkafka.Fields{"dead_letter": onkafka.Fields{"kafka_guarded": child}}), all...)
	for _, r := range c.ReadAll("letters") {
		headers := map[string]string{}
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		require.Equal(t, "orders", headers["kafka_guarded_topic"])
		l.TakeDeadLetter(r.Value, headers["kafka_guarded_error"])
	}
	l.CheckTopics(c, "orders")
}
