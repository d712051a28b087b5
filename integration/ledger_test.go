//go:build linux || darwin

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/ledger"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// message is a message of a test, and what is to become of it.
type message struct {
	id string // the first word of its value, unlike any other's in the ledger
	// Metadata that the fields of the output go by. Where they are empty, the
	// message does not have them.
	topic, partition, timestamp string
	key                         *string
	value                       []byte
	// class begins the text of the dead letter that is to come of the
	// message. It is empty for one that is to be delivered.
	class string
	// doomed says that the message may be gone together with its topic, which
	// is deleted at about the time that it is sent.
	doomed bool
}

// account is the ledger of a scenario.
type account struct {
	ledger.Ledger
	t        *testing.T
	scenario string
	// ordered says that messages with the same key must be in the log in the
	// order they were sent in. It takes a max_in_flight of 1.
	ordered bool
	// uncertain says that innocents may be among the dead letters if their
	// text says that they may have been written. Then they may be.
	uncertain bool

	mu   sync.Mutex
	down bool // the output for dead letters takes nothing
	sent map[string]message
	acks int            // of batches
	dead map[string]int // by the class that was said
}

func newLedger(t *testing.T, scenario string) *account {
	return &account{t: t, scenario: scenario, sent: map[string]message{}, dead: map[string]int{}}
}

// send enters the messages and returns them as a batch for the stream.
func (l *account) send(messages []message) service.MessageBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	var batch service.MessageBatch
	for _, m := range messages {
		l.Send(ledger.Message{ID: m.id, Class: m.class, Topic: m.topic, Doomed: m.doomed})
		l.sent[m.id] = m
		msg := service.NewMessage(m.value)
		for k, v := range map[string]string{"topic": m.topic, "partition": m.partition, "ts": m.timestamp} {
			if v != "" {
				msg.MetaSetMut(k, v)
			}
		}
		if m.key != nil {
			msg.MetaSetMut("key", *m.key)
		}
		batch = append(batch, msg)
	}
	return batch
}

// answer enters what was said of a batch.
func (l *account) answer(messages []message, said []ledger.Word) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks++
	for i, m := range messages {
		l.Hear(m.id, said[i])
		if said[i] == ledger.Done {
			l.Acknowledge(m.id)
		}
	}
}

// setDown has the output for dead letters take nothing, or take them again.
func (l *account) setDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

// bury is the output for dead letters.
func (l *account) bury(_ context.Context, batch service.MessageBatch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return errors.New("the graveyard is closed")
	}
	letters, err := streamtest.Capture(batch)
	for _, d := range letters {
		l.buried([]byte(d.Content), d.Why())
	}
	return err
}

// buried enters a dead letter.
func (l *account) buried(value []byte, why string) {
	m, ok := l.find(value)
	if !ok {
		l.Stray(fmt.Sprintf("a dead letter was never sent: %.60q", value))
		return
	}
	class, _, _ := strings.Cut(why, ":")
	l.dead[class]++
	l.Bury(m.id, "", why)
}

// find returns the message with that value.
func (l *account) find(value []byte) (message, bool) {
	id, _, _ := bytes.Cut(value, []byte(" "))
	m, ok := l.sent[string(id)]
	return m, ok && bytes.Equal(value, m.value)
}

// acknowledged returns how many batches are done with.
func (l *account) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acks
}

// deadAs returns how many dead letters of a class there are.
func (l *account) deadAs(class string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead[class]
}

// check reads the topics back and fails the test unless every message has the
// one fate it deserves.
func (l *account) check(c *kafkatest.Cluster, topics ...string) {
	l.t.Helper()
	require.NoError(l.t, l.verify(c, topics...))
}

// verify is check for when another ledger is to be looked at, too: it returns
// what is wrong.
func (l *account) verify(c *kafkatest.Cluster, topics ...string) error {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, topic := range topics {
		for _, r := range c.ReadAll(topic) {
			m, ok := l.find(r.Value)
			if !ok || !sameKey(m.key, r.Key) {
				l.Stray(fmt.Sprintf("partition %d of %s has at offset %d what was not sent to it: %.60q", r.Partition, topic, r.Offset, r.Value))
				continue
			}
			lane := ""
			if r.Key != nil {
				lane = fmt.Sprintf("%s/%d/%s", topic, r.Partition, r.Key)
			}
			l.Deliver(m.id, topic, lane)
		}
	}
	n := l.Tally()
	dead := 0
	for _, of := range n.Dead {
		dead += of
	}
	l.t.Logf("RESULT %s sent=%d delivered=%d dead_lettered=%d duplicates=%d lost=%d innocents=%d uncertain=%d", l.scenario,
		n.Sent, n.Delivered, dead, n.Duplicates, n.Lost, n.Innocents-n.Uncertain, n.Uncertain)
	require.NotZero(l.t, n.Sent, "%s: nothing was sent", l.scenario)
	if err := l.Check(ledger.Promise{Ordered: l.ordered, Uncertain: l.uncertain}); err != nil {
		return fmt.Errorf("%s: %w", l.scenario, err)
	}
	return nil
}

func sameKey(sent *string, read []byte) bool {
	if sent == nil {
		return read == nil
	}
	return read != nil && *sent == string(read)
}

// good makes a message that is to be delivered, with a short value and one of a
// few keys.
func good(topic, id string) message {
	h := fnv.New32a()
	h.Write([]byte(id))
	key := fmt.Sprintf("key-%d", h.Sum32()%7)
	return message{id: id, topic: topic, key: &key, value: []byte(id + " good")}
}

// padded gives the message a value of that many bytes.
func (m message) padded(size int, with padding) message {
	m.value = append([]byte(m.id+" "), with(size-len(m.id)-1)...)
	return m
}

// bad says that the message is to be a dead letter of the class.
func (m message) bad(class string) message {
	m.class = class
	return m
}

// sized pads the message so that a batch with it alone has exactly that many
// bytes: 61 of header, then the record behind its length.
func (m message) sized(batch int) message {
	key := 0
	if m.key != nil {
		key = len(*m.key)
	}
	for value := batch; value > 0; value-- {
		body := 3 + varint(key) + key + varint(value) + value + 1
		if 61+varint(body)+body == batch {
			return m.padded(value, noise)
		}
	}
	panic(fmt.Sprintf("there is no batch of %d bytes", batch))
}

// varint returns the size of n as a zig-zag varint.
func varint(n int) int {
	size := 1
	for n >>= 6; n > 0; n >>= 7 {
		size++
	}
	return size
}

// padding makes bytes to fill a message with.
type padding func(size int) []byte

// zeros are bytes that every codec makes small.
func zeros(size int) []byte { return bytes.Repeat([]byte("0"), size) }

// noise is bytes that no codec makes smaller.
func noise(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}
