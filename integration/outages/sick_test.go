//go:build linux || darwin

package outages

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
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// If a broker rejects every batch, no record fails for good.
func TestNoRecordFailsWhileABrokerRejectsEveryBatch(t *testing.T) {
	t.Parallel()
	for _, code := range []*kerr.Error{kerr.UnknownServerError, kerr.CorruptMessage} {
		for _, sick := range []time.Duration{time.Second, 3 * time.Second} {
			t.Run(fmt.Sprintf("%s for %s", code.Message, sick), func(t *testing.T) {
				t.Parallel()
				c, relay := onkafka.Relayed(t, kafkatest.Options{})
				topic := fmt.Sprintf("sick-%s-%s", code.Message, sick)
				c.CreateTopic(topic, 3, 1, nil)
				l := onkafka.NewChecker(t, t.Name())
				s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"max_in_flight": 10}), onkafka.Steady(topic, "m"))
				s.GoOn(5)
				relay.Follow(onkafka.Rules{Refuse: func(*kmsg.ProduceRequest) int16 { return code.Code }})
				time.Sleep(sick)
				relay.Follow(onkafka.Rules{})
				s.GoOn(15)
				s.Finish()
				l.CheckTopics(c, topic)
			})
		}
	}
}

// The broker appends a batch and answers with an error. It rejects the batch when it is
// sent again.
func TestWhatAFailingBrokerHasAppendedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	c, relay := onkafka.Relayed(t, kafkatest.Options{})
	for _, code := range []*kerr.Error{
		kerr.KafkaStorageError, kerr.NetworkException, kerr.UnknownServerError, kerr.RequestTimedOut,
		kerr.NotEnoughReplicasAfterAppend,
		kerr.NotLeaderForPartition, // a leader answers so if it loses the partition while it waits for replicas
	} {
		for _, then := range []*kerr.Error{kerr.MessageTooLarge, kerr.InvalidRecord} {
			t.Run(fmt.Sprintf("%s, then %s", code.Message, then.Message), func(t *testing.T) {
				c := c.With(t)
				topic := fmt.Sprintf("failing%d-%d", code.Code, then.Code)
				c.CreateTopic(topic, 1, 1, nil)
				l := onkafka.NewChecker(t, t.Name())
				l.Uncertain = true
				next := make(chan []onkafka.Message, 1)
				s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"topic_rules": onkafka.Fields{"enabled": false}}), onkafka.Channel(next))
				next <- onkafka.Around(topic, "before", 5)
				onkafka.Eventually(t, func() bool { return l.Acknowledged() == 1 }, "the first batch")
				var answered, refused atomic.Bool
				relay.Follow(onkafka.Rules{
					Answer: func(_ *kmsg.ProduceRequest, resp *kmsg.ProduceResponse) bool {
						if !answered.Swap(true) {
							resp.Topics[0].Partitions[0].ErrorCode = code.Code
						}
						return true
					},
					Refuse: func(*kmsg.ProduceRequest) int16 {
						if answered.Load() && !refused.Swap(true) {
							return then.Code
						}
						return 0
					},
				})
				next <- onkafka.Around(topic, "twice", 5)
				onkafka.Eventually(t, func() bool { return l.Acknowledged() == 2 }, "the batch that is refused after it was appended")
				relay.Follow(onkafka.Rules{})
				next <- onkafka.Around(topic, "after", 5)
				close(next)
				s.Wait()
				l.CheckTopics(c, topic)
			})
		}
	}
}

// Guard stamps a record without a timestamp when it is sent, not when it is written.
func TestAnOutageMakesNoRecordTooOld(t *testing.T) {
	t.Parallel()
	for _, rules := range []bool{true, false} {
		t.Run(fmt.Sprintf("topic rules %t", rules), func(t *testing.T) {
			t.Parallel()
			c, relay := onkafka.Relayed(t, kafkatest.Options{})
			topic := fmt.Sprint("young-", rules)
			c.CreateTopic(topic, 3, 1, map[string]string{"message.timestamp.before.max.ms": "2000"})
			l := onkafka.NewChecker(t, t.Name())
			l.Uncertain = true // batches in flight when the network was cut
			s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"max_in_flight": 10, "topic_rules": onkafka.Fields{"enabled": rules}}), onkafka.Steady(topic, "m"))
			s.GoOn(5)
			relay.Cut()
			time.Sleep(5 * time.Second)
			relay.Connect(c.ClientAddr(1))
			s.GoOn(15)
			s.Finish()
			l.CheckTopics(c, topic)
		})
	}
}

// Without a connection nothing is sent, so nothing is in doubt.
func TestNothingIsInDoubtWithoutAConnection(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 5} {
		t.Run(fmt.Sprintf("after %d batches", before), func(t *testing.T) {
			t.Parallel()
			c, relay := onkafka.Relayed(t, kafkatest.Options{})
			topic := fmt.Sprint("unreached-", before)
			c.CreateTopic(topic, 3, 1, nil)
			l := onkafka.NewChecker(t, t.Name())
			next := make(chan []onkafka.Message, 100)
			if before == 0 {
				relay.Cut()
			}
			s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"max_in_flight": 10}), onkafka.Channel(next))
			for b := range before {
				next <- onkafka.Around(topic, fmt.Sprint("before-", b), 50)
			}
			onkafka.Eventually(t, func() bool { return l.Acknowledged() == before }, "what comes before")
			relay.Cut()
			for b := range 9 {
				next <- onkafka.Around(topic, fmt.Sprint("cut-", b), 50)
			}
			time.Sleep(5 * time.Second)
			relay.Connect(c.ClientAddr(1))
			close(next)
			s.Wait()
			l.CheckTopics(c, topic)
		})
	}
}

// The broker forgets the producer. It rejects the batch in flight, and would take the
// one behind it.
func TestAForgottenProducerDuplicatesNothing(t *testing.T) {
	t.Parallel()
	c, relay := onkafka.Relayed(t, kafkatest.Options{Properties: map[string]string{
		"producer.id.expiration.ms":                "1000",
		"producer.id.expiration.check.interval.ms": "200",
	}})
	// Answers are slow, so that several requests are in flight.
	relay.Follow(onkafka.Rules{Answer: func(*kmsg.ProduceRequest, *kmsg.ProduceResponse) bool {
		time.Sleep(30 * time.Millisecond)
		return true
	}})
	c.CreateTopic("forgotten", 1, 1, map[string]string{"cleanup.policy": "compact"})
	l := onkafka.NewChecker(t, "sick/producer forgotten")
	next := make(chan []onkafka.Message, 100)
	s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"topic_rules": onkafka.Fields{"enabled": false}, "max_in_flight": 10}), onkafka.Channel(next))
	batches := 0
	for round := range 8 {
		for b := range 5 {
			id := fmt.Sprintf("r%d-b%d", round, b)
			if b == 0 {
				next <- onkafka.Around("forgotten", id, 5, onkafka.Good("forgotten", id+"-null").Keyless().Bad(onkafka.InvalidRecord))
			} else {
				next <- onkafka.Around("forgotten", id, 5)
			}
			batches++
			time.Sleep(10 * time.Millisecond)
		}
		onkafka.Eventually(t, func() bool { return l.Acknowledged() == batches }, "round %d", round)
		time.Sleep(1500 * time.Millisecond)
	}
	close(next)
	s.Wait()
	l.CheckTopics(c, "forgotten")
}

// The broker closes the connection on requests as large as this write. If it is slow to
// close, it may have read all of a request. So guard can't know whether it was
// appended.
func TestRequestsThatTheBrokerCutsAreMadeSmaller(t *testing.T) {
	t.Parallel()
	c := onkafka.Shared(t, kafkatest.Options{Properties: map[string]string{"socket.request.max.bytes": "200000"}})
	c.CreateTopic("cut", 3, 1, nil)
	l := onkafka.NewChecker(t, "sick/socket.request.max.bytes")
	l.Uncertain = true
	var batch []onkafka.Message
	for i := range 2000 {
		batch = append(batch, onkafka.Good("cut", fmt.Sprintf("m-%04d", i)).Padded(1000, onkafka.Noise))
	}
	onkafka.Run(l, onkafka.Defaults(c).With(onkafka.Fields{"compression": "none"}), batch)
	l.CheckTopics(c, "cut")
}

// Alice may only describe the topic, so the broker gives her no producer ID. To ask
// again must not take ever more connections.
func TestClientsAreBoundedWhileARightIsMissing(t *testing.T) {
	t.Parallel()
	c, relay := onkafka.Relayed(t, onkafka.SpeedOptions(kafkatest.DefaultVersion, 1))
	c.CreateTopic("denied", 1, 1, nil)
	c.Grant("User:"+onkafka.Alice, kadm.OpDescribe, kafkatest.TopicResource("denied"))
	l := onkafka.NewChecker(t, "sick/churn")
	f := onkafka.Defaults(c).With(onkafka.Fields{
		"sasl":          []any{onkafka.Fields{"mechanism": kafkatest.Plain, "username": onkafka.Alice, "password": onkafka.AlicePassword}},
		"max_in_flight": 32,
	})
	var n int
	var mu sync.Mutex
	s := onkafka.Start(l, f, onkafka.Paced(func() []onkafka.Message {
		mu.Lock()
		defer mu.Unlock()
		n++
		return onkafka.Around("denied", fmt.Sprint("m-", n), 5)
	}))
	s.Held(onkafka.Unauthorized, 1)
	time.Sleep(5 * time.Second)
	relay.Mu.Lock()
	accepted, most := relay.Accepted, relay.Most
	relay.Mu.Unlock()
	t.Logf("RESULT %s connections=%d at_a_time=%d", l.Scenario, accepted, most)
	c.Grant("User:"+onkafka.Alice, kadm.OpWrite, kafkatest.TopicResource("denied"))
	s.GoOn(15)
	s.Finish()
	l.CheckTopics(c, "denied")
	require.LessOrEqual(t, most, 20, "connections at a time")
	require.LessOrEqual(t, accepted, 100, "connections in 5 s")
}

// When max_elapsed_time is over, each waiting record is reported. A record that was not
// sent until then is not sent later.
func TestTheBudgetIsKeptWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 1} {
		t.Run(fmt.Sprintf("after %d batches", before), func(t *testing.T) {
			t.Parallel()
			c, relay := onkafka.Relayed(t, kafkatest.Options{})
			topic := fmt.Sprint("away-", before)
			c.CreateTopic(topic, 3, 1, nil)
			l := onkafka.NewChecker(t, t.Name())
			next := make(chan []onkafka.Message, 100)
			// Connect before the broker goes away, so that connecting takes no part of
			// the time.
			s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"max_in_flight": 3, "retry": onkafka.Fields{"max_elapsed_time": "10s"}}), onkafka.Channel(next))
			for b := range before {
				next <- onkafka.Around(topic, fmt.Sprint("before-", b), 10)
			}
			onkafka.Eventually(t, func() bool {
				return s.Log.Count("kafka_guarded is now active") == 1 && l.Acknowledged() == before
			}, "a connection, and what comes before")
			relay.Cut()
			for b := range 3 {
				batch := onkafka.Around(topic, fmt.Sprint("away-", b), 10)
				for i := range batch {
					batch[i] = batch[i].Bad("transient")
				}
				next <- batch
			}
			onkafka.Eventually(t, func() bool { return l.Acknowledged() == before+3 }, "messages to be given up")
			relay.Connect(c.ClientAddr(1))
			close(next)
			s.Wait()
			l.CheckTopics(c, topic)
		})
	}
}
