//go:build linux || darwin

package onkafka

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"time"
)

// The classes that the texts of dead letters begin with.
const (
	SizeExceeded  = "size_exceeded"
	InvalidRecord = "invalid_record"
	Unroutable    = "unroutable"
	Unauthorized  = "unauthorized"
)

// Message is a message of a test, and its right outcome.
type Message struct {
	ID string // the first word of its value, unique in the test
	// Metadata that the fields of the output go by. Where they are empty, the
	// message does not have them.
	Topic, Partition, timestamp string
	Key                         *string
	Value                       []byte
	// class begins the text of the dead letter that is to come of the
	// message. It is empty for one that is to be delivered.
	class string
	// Doomed says that the message may be gone together with its topic, which
	// is deleted at about the time that it is sent.
	Doomed bool
}

// Good makes a message that is to be delivered, with a short value and one of a
// few keys.
func Good(topic, id string) Message {
	h := fnv.New32a()
	h.Write([]byte(id))
	key := fmt.Sprintf("key-%d", h.Sum32()%7)
	return Message{ID: id, Topic: topic, Key: &key, Value: []byte(id + " good")}
}

// Padded gives the message a value of that many bytes.
func (m Message) Padded(size int, with Padding) Message {
	m.Value = append([]byte(m.ID+" "), with(size-len(m.ID)-1)...)
	return m
}

// Bad says that the message is to be a dead letter of the class.
func (m Message) Bad(class string) Message {
	m.class = class
	return m
}

// Sized pads the message so that a batch with it alone has exactly that many
// bytes: 61 of header, then the record behind its length.
func (m Message) Sized(batch int) Message {
	key := 0
	if m.Key != nil {
		key = len(*m.Key)
	}
	for value := batch; value > 0; value-- {
		body := 3 + varint(key) + key + varint(value) + value + 1
		if 61+varint(body)+body == batch {
			return m.Padded(value, Noise)
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

// Padding makes bytes to fill a message with.
type Padding func(size int) []byte

// Zeros are bytes that every codec makes small.
func Zeros(size int) []byte { return bytes.Repeat([]byte("0"), size) }

// Noise is bytes that no codec makes smaller.
func Noise(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// age is a timestamp for the field timestamp_ms, as of now.
func age(d time.Duration) string { return strconv.FormatInt(time.Now().Add(-d).UnixMilli(), 10) }

// Aged gives the message a timestamp that lies that long back.
func (m Message) Aged(d time.Duration) Message {
	m.timestamp = age(d)
	return m
}

// Keyless takes the message's key away.
func (m Message) Keyless() Message {
	m.Key = nil
	return m
}

// Around returns n good messages with the given ones in their midst.
func Around(topic, prefix string, n int, midst ...Message) []Message {
	var all []Message
	for i := range n {
		if i == n/2 {
			all = append(all, midst...)
		}
		all = append(all, Good(topic, fmt.Sprintf("%s-good-%03d", prefix, i)))
	}
	return all
}
