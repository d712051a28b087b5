//go:build linux || darwin

package integration

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// A broker that refuses everybody says nothing of anybody.
func TestNobodyIsBlamedWhileABrokerRefusesEverybody(t *testing.T) {
	c, relay := relayed(t, kafkatest.Options{})
	for _, code := range []*kerr.Error{kerr.UnknownServerError, kerr.CorruptMessage} {
		for _, sick := range []time.Duration{time.Second, 3 * time.Second} {
			t.Run(fmt.Sprintf("%s for %s", code.Message, sick), func(t *testing.T) {
				c := c.With(t)
				topic := fmt.Sprintf("sick-%s-%s", code.Message, sick)
				c.CreateTopic(topic, 3, 1, nil)
				l := newLedger(t, t.Name())
				s := start(l, defaults(c).with(fields{"max_in_flight": 10}), steady(topic, "m"))
				s.goOn(5)
				relay.follow(rules{refuse: func(*kmsg.ProduceRequest) int16 { return code.Code }})
				time.Sleep(sick)
				relay.follow(rules{})
				s.goOn(15)
				s.finish()
				l.check(c, topic)
			})
		}
	}
}

// The broker fails after it has appended, and then refuses what is sent again.
func TestWhatAFailingBrokerHasAppendedIsNotSentAgain(t *testing.T) {
	c, relay := relayed(t, kafkatest.Options{})
	for _, code := range []*kerr.Error{
		kerr.KafkaStorageError, kerr.NetworkException, kerr.UnknownServerError, kerr.RequestTimedOut,
		kerr.NotEnoughReplicasAfterAppend,
		kerr.NotLeaderForPartition, // of a leader that loses the partition while it waits for the replicas
	} {
		for _, then := range []*kerr.Error{kerr.MessageTooLarge, kerr.InvalidRecord} {
			t.Run(fmt.Sprintf("%s, then %s", code.Message, then.Message), func(t *testing.T) {
				c := c.With(t)
				topic := fmt.Sprintf("failing%d-%d", code.Code, then.Code)
				c.CreateTopic(topic, 1, 1, nil)
				l := newLedger(t, t.Name())
				l.uncertain = true
				next := make(chan []message, 1)
				s := start(l, defaults(c).with(fields{"topic_rules": fields{"enabled": false}}), channel(next))
				next <- around(topic, "before", 5)
				eventually(t, func() bool { return l.acknowledged() == 1 }, "the first batch")
				var answered, refused atomic.Bool
				relay.follow(rules{
					answer: func(_ *kmsg.ProduceRequest, resp *kmsg.ProduceResponse) bool {
						if !answered.Swap(true) {
							resp.Topics[0].Partitions[0].ErrorCode = code.Code
						}
						return true
					},
					refuse: func(*kmsg.ProduceRequest) int16 {
						if answered.Load() && !refused.Swap(true) {
							return then.Code
						}
						return 0
					},
				})
				next <- around(topic, "twice", 5)
				eventually(t, func() bool { return l.acknowledged() == 2 }, "the batch that is refused after it was appended")
				relay.follow(rules{})
				next <- around(topic, "after", 5)
				close(next)
				s.wait()
				l.check(c, topic)
			})
		}
	}
}

// Records without a timestamp of their own are as old as the client makes them.
func TestAnOutageMakesNoRecordTooOld(t *testing.T) {
	c, relay := relayed(t, kafkatest.Options{})
	for _, rules := range []bool{true, false} {
		t.Run(fmt.Sprintf("topic rules %t", rules), func(t *testing.T) {
			c := c.With(t)
			topic := fmt.Sprint("young-", rules)
			c.CreateTopic(topic, 3, 1, map[string]string{"message.timestamp.before.max.ms": "2000"})
			l := newLedger(t, t.Name())
			l.uncertain = true // what was under way when the network was cut
			s := start(l, defaults(c).with(fields{"max_in_flight": 10, "topic_rules": fields{"enabled": rules}}), steady(topic, "m"))
			s.goOn(5)
			relay.cut()
			time.Sleep(5 * time.Second)
			relay.connect(c.ClientAddr(1))
			s.goOn(15)
			s.finish()
			l.check(c, topic)
		})
	}
}

// No byte is sent before a connection is there.
func TestNothingIsInDoubtWithoutAConnection(t *testing.T) {
	c, relay := relayed(t, kafkatest.Options{})
	for _, before := range []int{0, 5} {
		t.Run(fmt.Sprintf("after %d batches", before), func(t *testing.T) {
			c := c.With(t)
			topic := fmt.Sprint("unreached-", before)
			c.CreateTopic(topic, 3, 1, nil)
			l := newLedger(t, t.Name())
			next := make(chan []message, 100)
			if before == 0 {
				relay.cut()
			}
			s := start(l, defaults(c).with(fields{"max_in_flight": 10}), channel(next))
			for b := range before {
				next <- around(topic, fmt.Sprint("before-", b), 50)
			}
			eventually(t, func() bool { return l.acknowledged() == before }, "what comes before")
			relay.cut()
			for b := range 9 {
				next <- around(topic, fmt.Sprint("cut-", b), 50)
			}
			time.Sleep(5 * time.Second)
			relay.connect(c.ClientAddr(1))
			close(next)
			s.wait()
			l.check(c, topic)
		})
	}
}

// The broker has forgotten the producer by the time that it refuses a batch, and
// so takes the one behind it.
func TestAForgottenProducerDuplicatesNothing(t *testing.T) {
	c, relay := relayed(t, kafkatest.Options{Properties: map[string]string{
		"producer.id.expiration.ms":                "1000",
		"producer.id.expiration.check.interval.ms": "200",
	}})
	// Answers take long enough for requests to be under way behind others.
	relay.follow(rules{answer: func(*kmsg.ProduceRequest, *kmsg.ProduceResponse) bool {
		time.Sleep(30 * time.Millisecond)
		return true
	}})
	c.CreateTopic("forgotten", 1, 1, map[string]string{"cleanup.policy": "compact"})
	l := newLedger(t, "sick/producer forgotten")
	next := make(chan []message, 100)
	s := start(l, defaults(c).with(fields{"topic_rules": fields{"enabled": false}, "max_in_flight": 10}), channel(next))
	batches := 0
	for round := range 8 {
		for b := range 5 {
			id := fmt.Sprintf("r%d-b%d", round, b)
			if b == 0 {
				next <- around("forgotten", id, 5, good("forgotten", id+"-null").keyless().bad(invalidRecord))
			} else {
				next <- around("forgotten", id, 5)
			}
			batches++
			time.Sleep(10 * time.Millisecond)
		}
		eventually(t, func() bool { return l.acknowledged() == batches }, "round %d", round)
		time.Sleep(1500 * time.Millisecond)
	}
	close(next)
	s.wait()
	l.check(c, "forgotten")
}

// The largest request that the broker takes is smaller than a write. A broker that
// is slow to close the connection has the whole of the first such requests, and
// what they held may have been written, as far as a client can know.
func TestRequestsThatTheBrokerCutsAreMadeSmaller(t *testing.T) {
	c := shared(t, kafkatest.Options{Properties: map[string]string{"socket.request.max.bytes": "200000"}})
	c.CreateTopic("cut", 3, 1, nil)
	l := newLedger(t, "sick/socket.request.max.bytes")
	l.uncertain = true
	var batch []message
	for i := range 2000 {
		batch = append(batch, good("cut", fmt.Sprintf("m-%04d", i)).padded(1000, noise))
	}
	run(l, defaults(c).with(fields{"compression": "none"}), batch)
	l.check(c, "cut")
}

// With the right to see a topic alone, a client is refused a producer ID, and it
// takes another client to ask for one again.
func TestClientsAreBoundedWhileARightIsMissing(t *testing.T) {
	c, relay := relayed(t, speedOptions(kafkatest.DefaultVersion, 1))
	c.CreateTopic("denied", 1, 1, nil)
	c.Grant("User:"+alice, kadm.OpDescribe, kafkatest.TopicResource("denied"))
	l := newLedger(t, "sick/churn")
	f := defaults(c).with(fields{
		"sasl":          []any{fields{"mechanism": kafkatest.Plain, "username": alice, "password": alicePassword}},
		"max_in_flight": 32,
	})
	var n int
	var mu sync.Mutex
	s := start(l, f, paced(func() []message {
		mu.Lock()
		defer mu.Unlock()
		n++
		return around("denied", fmt.Sprint("m-", n), 5)
	}))
	s.held(unauthorized, 1)
	time.Sleep(5 * time.Second)
	relay.mu.Lock()
	accepted, most := relay.accepted, relay.most
	relay.mu.Unlock()
	t.Logf("RESULT %s connections=%d at_a_time=%d", l.scenario, accepted, most)
	c.Grant("User:"+alice, kadm.OpWrite, kafkatest.TopicResource("denied"))
	s.goOn(15)
	s.finish()
	l.check(c, "denied")
	require.LessOrEqual(t, most, 20, "connections at a time")
	require.LessOrEqual(t, accepted, 100, "connections in 5 s")
}

// Who sets a budget wants to hear when it is spent, whoever waits. What was never
// sent is not sent after that either.
func TestTheBudgetIsKeptWhileTheBrokerIsAway(t *testing.T) {
	c, relay := relayed(t, kafkatest.Options{})
	for _, before := range []int{0, 1} {
		t.Run(fmt.Sprintf("after %d batches", before), func(t *testing.T) {
			c := c.With(t)
			topic := fmt.Sprint("away-", before)
			c.CreateTopic(topic, 3, 1, nil)
			l := newLedger(t, t.Name())
			next := make(chan []message, 100)
			s := start(l, defaults(c).with(fields{"retry": fields{"max_elapsed_time": "2s"}}), channel(next))
			for b := range before {
				next <- around(topic, fmt.Sprint("before-", b), 10)
			}
			eventually(t, func() bool {
				return s.log.Count("kafka_guarded is now active") == 1 && l.acknowledged() == before
			}, "a connection, and what comes before")
			relay.cut()
			for b := range 3 {
				batch := around(topic, fmt.Sprint("away-", b), 10)
				for i := range batch {
					batch[i] = batch[i].bad("transient")
				}
				next <- batch
			}
			eventually(t, func() bool { return l.acknowledged() == before+3 }, "messages to be given up")
			relay.connect(c.ClientAddr(1))
			close(next)
			s.wait()
			l.check(c, topic)
		})
	}
}
