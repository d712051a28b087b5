//go:build linux || darwin

package integration

import (
	"bytes"
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

// ledger accounts for every message of a scenario.
type ledger struct {
	t        *testing.T
	scenario string
	// ordered says that messages with the same key must be in the log in the
	// order they were sent in. It takes a max_in_flight of 1.
	ordered bool
	// uncertain says that innocents may be among the dead letters if their
	// text says that they may have been written. Then they may be.
	uncertain bool

	mu    sync.Mutex
	down  bool // the output for dead letters takes nothing
	sent  []message
	index map[string]int // into sent, by ID
	dead  []deadLetter
	acks  []error // of batches, in the order they were acknowledged in
}

// deadLetter is a message that came out of the fallback, or of dead_letter.
type deadLetter struct {
	value []byte
	text  string // why
}

func newLedger(t *testing.T, scenario string) *ledger {
	return &ledger{t: t, scenario: scenario, index: map[string]int{}}
}

// send enters the messages and returns them as a batch for the stream.
func (l *ledger) send(messages []message) service.MessageBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	var batch service.MessageBatch
	for _, m := range messages {
		l.index[m.id] = len(l.sent)
		l.sent = append(l.sent, m)
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

func (l *ledger) acknowledge(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks = append(l.acks, err)
}

// setDown has the output for dead letters take nothing, or take them again.
func (l *ledger) setDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

func (l *ledger) bury(batch service.MessageBatch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return errors.New("the graveyard is closed")
	}
	for _, m := range batch {
		value, err := m.AsBytes()
		if err != nil {
			return err
		}
		text, ok := m.MetaGet("fallback_error")
		if !ok {
			text, _ = m.MetaGet("kafka_guarded_error")
		}
		l.dead = append(l.dead, deadLetter{value, text})
	}
	return nil
}

// acknowledged returns how many batches are done with.
func (l *ledger) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acks)
}

// buried returns how many dead letters of a class there are.
func (l *ledger) buried(class string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, d := range l.dead {
		if strings.HasPrefix(d.text, class+":") {
			n++
		}
	}
	return n
}

// tally is the result of a scenario, in messages.
type tally struct {
	sent, delivered, deadLettered int
	duplicates                    int // copies in the log and among the dead letters, beyond the first
	lost                          int // neither in the log nor dead-lettered
	innocents                     int // dead-lettered without deserving it
	acquitted                     int // delivered without deserving it
	misjudged                     int // dead-lettered for another reason than their own
	uncertain                     int // dead-lettered because they may have been written, where that is allowed
	disordered                    int // behind a later message with the same key
	foreign                       int // in the log or among the dead letters, but not as sent
}

// check reads the topics back and fails the test unless every message has the
// one fate it deserves.
func (l *ledger) check(c *kafkatest.Cluster, topics ...string) {
	l.t.Helper()
	require.Empty(l.t, l.verify(c, topics...))
}

// verify is check for when another ledger is to be looked at, too: it returns
// what is wrong.
func (l *ledger) verify(c *kafkatest.Cluster, topics ...string) (problems []string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var (
		n      = tally{sent: len(l.sent)}
		inLog  = make([]int, len(l.sent))
		inDead = make([]int, len(l.sent))
		last   = map[string]int{} // the latest message so far, by partition and key
	)
	problem := func(count *int, format string, args ...any) {
		*count++
		if len(problems) < 20 {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	find := func(value []byte) (int, bool) {
		id, _, _ := bytes.Cut(value, []byte(" "))
		i, ok := l.index[string(id)]
		return i, ok && bytes.Equal(value, l.sent[i].value)
	}
	for _, topic := range topics {
		for _, r := range c.ReadAll(topic) {
			i, ok := find(r.Value)
			if !ok || l.sent[i].topic != topic || !sameKey(l.sent[i].key, r.Key) {
				problem(&n.foreign, "partition %d of %s has at offset %d what was not sent to it: %.60q", r.Partition, topic, r.Offset, r.Value)
				continue
			}
			inLog[i]++
			if !l.ordered || r.Key == nil || inLog[i] > 1 {
				continue
			}
			lane := fmt.Sprintf("%s/%d/%s", topic, r.Partition, r.Key)
			if before, ok := last[lane]; ok && i < before {
				problem(&n.disordered, "%s is behind %s in the log, and has the same key", l.sent[i].id, l.sent[before].id)
			}
			last[lane] = max(last[lane], i)
		}
	}
	texts := make([]string, len(l.sent))
	for _, d := range l.dead {
		i, ok := find(d.value)
		if !ok {
			problem(&n.foreign, "a dead letter was never sent: %.60q", d.value)
			continue
		}
		inDead[i]++
		texts[i] = d.text
	}
	for i, m := range l.sent {
		uncertain := l.uncertain && m.class == "" && strings.Contains(texts[i], "may have been written")
		if copies := inLog[i] + inDead[i]; copies > 1 && (!uncertain || inLog[i] > 1 || inDead[i] > 1) {
			problem(&n.duplicates, "%s was delivered %d times and dead-lettered %d times: %s", m.id, inLog[i], inDead[i], texts[i])
		} else if copies == 0 && !m.doomed {
			problem(&n.lost, "%s was neither delivered nor dead-lettered", m.id)
		}
		if inLog[i] > 0 {
			n.delivered++
			if m.class != "" {
				problem(&n.acquitted, "%s was delivered, not dead-lettered as %s", m.id, m.class)
			}
		}
		if inDead[i] > 0 {
			n.deadLettered++
			switch {
			case uncertain:
				n.uncertain++
			case m.class == "":
				problem(&n.innocents, "%s was dead-lettered: %s", m.id, texts[i])
			case !strings.HasPrefix(texts[i], m.class+":"):
				problem(&n.misjudged, "%s was dead-lettered, not as %s: %s", m.id, m.class, texts[i])
			}
		}
	}
	for i, err := range l.acks {
		if err != nil {
			problems = append(problems, fmt.Sprintf("acknowledgement %d is an error: %v", i, err))
		}
	}
	l.t.Logf("RESULT %s sent=%d delivered=%d dead_lettered=%d duplicates=%d lost=%d innocents=%d uncertain=%d", l.scenario,
		n.sent, n.delivered, n.deadLettered, n.duplicates, n.lost, n.innocents, n.uncertain)
	require.NotZero(l.t, n.sent, "%s: nothing was sent", l.scenario)
	if len(problems) > 0 {
		problems = append([]string{fmt.Sprintf("%s: %+v, of which:", l.scenario, n)}, problems...)
	}
	return problems
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
