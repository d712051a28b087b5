//go:build linux || darwin

package onkafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// Checker checks the deliveries of a scenario.
type Checker struct {
	deliverycheck.Checker
	t        *testing.T
	Scenario string
	// Ordered demands that messages with the same key are in the log in the order in
	// which they were sent. That takes a max_in_flight of 1.
	Ordered bool
	// Uncertain allows good messages among the dead letters if their text says
	// that they may have been written.
	Uncertain bool

	mu   sync.Mutex
	down bool // the dead-letter output fails
	sent map[string]Message
	acks int            // of batches
	dead map[string]int // by class
}

// NewChecker returns a checker for a scenario. Its counts are printed under that
// name.
func NewChecker(t *testing.T, scenario string) *Checker {
	return &Checker{t: t, Scenario: scenario, sent: map[string]Message{}, dead: map[string]int{}}
}

// send enters the messages and returns them as a batch for the stream.
func (l *Checker) send(messages []Message) service.MessageBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	var batch service.MessageBatch
	for _, m := range messages {
		l.Send(deliverycheck.Message{ID: m.ID, Class: m.class, Topic: m.Topic, Doomed: m.Doomed})
		l.sent[m.ID] = m
		msg := service.NewMessage(m.Value)
		for k, v := range map[string]string{"topic": m.Topic, "partition": m.Partition, "ts": m.timestamp} {
			if v != "" {
				msg.MetaSetMut(k, v)
			}
		}
		if m.Key != nil {
			msg.MetaSetMut("key", *m.Key)
		}
		batch = append(batch, msg)
	}
	return batch
}

// answer enters the answers for a batch.
func (l *Checker) answer(messages []Message, said []deliverycheck.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks++
	for i, m := range messages {
		l.Hear(m.ID, said[i])
		if said[i] == deliverycheck.Done {
			l.Acknowledge(m.ID)
		}
	}
}

// SetDown makes the output for dead letters fail, or take them again.
func (l *Checker) SetDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

// takeDeadLetters is the output for dead letters.
func (l *Checker) takeDeadLetters(_ context.Context, batch service.MessageBatch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return errors.New("the output for dead letters is closed")
	}
	letters, err := streamtest.Capture(batch)
	for _, d := range letters {
		l.TakeDeadLetter([]byte(d.Content), d.Why())
	}
	return err
}

// TakeDeadLetter enters a dead letter.
func (l *Checker) TakeDeadLetter(value []byte, why string) {
	m, ok := l.find(value)
	if !ok {
		l.Stray(fmt.Sprintf("a dead letter was never sent: %.60q", value))
		return
	}
	class, _, _ := strings.Cut(why, ":")
	l.dead[class]++
	l.DeadLetter(m.ID, "", why)
}

// find returns the message with that value.
func (l *Checker) find(value []byte) (Message, bool) {
	id, _, _ := bytes.Cut(value, []byte(" "))
	m, ok := l.sent[string(id)]
	return m, ok && bytes.Equal(value, m.Value)
}

// Acknowledged returns the number of acknowledged batches.
func (l *Checker) Acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acks
}

// deadAs returns the number of dead letters of a class.
func (l *Checker) deadAs(class string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead[class]
}

// CheckTopics reads the topics back, and fails the test unless every message has its
// right outcome, once.
func (l *Checker) CheckTopics(c *kafkatest.Cluster, topics ...string) {
	l.t.Helper()
	require.NoError(l.t, l.Verify(c, topics...))
}

// Verify does what CheckTopics does, and returns an error where that fails the
// test.
func (l *Checker) Verify(c *kafkatest.Cluster, topics ...string) error {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, topic := range topics {
		for _, r := range c.ReadAll(topic) {
			m, ok := l.find(r.Value)
			if !ok || !sameKey(m.Key, r.Key) {
				l.Stray(fmt.Sprintf("partition %d of %s has at offset %d what was not sent to it: %.60q", r.Partition, topic, r.Offset, r.Value))
				continue
			}
			sequence := ""
			if r.Key != nil {
				sequence = fmt.Sprintf("%s/%d/%s", topic, r.Partition, r.Key)
			}
			l.Deliver(m.ID, topic, sequence)
		}
	}
	n := l.Tally()
	dead := 0
	for _, of := range n.Dead {
		dead += of
	}
	l.t.Logf("RESULT %s sent=%d delivered=%d dead_lettered=%d duplicates=%d lost=%d good_failed=%d uncertain=%d", l.Scenario,
		n.Sent, n.Delivered, dead, n.Duplicates, n.Lost, n.WronglyDead-n.Uncertain, n.Uncertain)
	require.NotZero(l.t, n.Sent, "%s: nothing was sent", l.Scenario)
	if err := l.Check(deliverycheck.Promise{Ordered: l.Ordered, Uncertain: l.Uncertain}); err != nil {
		return fmt.Errorf("%s: %w", l.Scenario, err)
	}
	return nil
}

func sameKey(sent *string, read []byte) bool {
	if sent == nil {
		return read == nil
	}
	return read != nil && *sent == string(read)
}
