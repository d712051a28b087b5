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
	// Metadata for the fields of the output. The message does not have the ones that
	// are empty.
	Topic, Partition, timestamp string
	Key                         *string
	Value                       []byte
	// class is the beginning of the expected dead letter's text. It is empty for a good
	// message.
	class string
	// Doomed is set for a message whose topic is deleted at about the same time: it may
	// be gone with it.
	Doomed bool
}

// Good makes a good message with a short value and one of a few keys.
func Good(topic, id string) Message {
	h := fnv.New32a()
	h.Write([]byte(id))
	key := fmt.Sprintf("key-%d", h.Sum32()%7)
	return Message{ID: id, Topic: topic, Key: &key, Value: []byte(id + " good")}
}

// Padded gives the message a value of size bytes.
func (m Message) Padded(size int, with Padding) Message {
	m.Value = append([]byte(m.ID+" "), with(size-len(m.ID)-1)...)
	return m
}

// Bad makes the message one that must be dead-lettered with the class.
func (m Message) Bad(class string) Message {
	m.class = class
	return m
}

// Sized pads the message so that a batch of it alone has exactly that many bytes: 61
// for the header, then the record with its length before it.
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

// Zeros are bytes that every codec makes much smaller.
func Zeros(size int) []byte { return bytes.Repeat([]byte("0"), size) }

// Noise is bytes that no codec makes smaller.
func Noise(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// age is the timestamp_ms of a time d ago.
func age(d time.Duration) string { return strconv.FormatInt(time.Now().Add(-d).UnixMilli(), 10) }

// Aged gives the message a timestamp d ago.
func (m Message) Aged(d time.Duration) Message {
	m.timestamp = age(d)
	return m
}

// Keyless takes the message's key away.
func (m Message) Keyless() Message {
	m.Key = nil
	return m
}

// Around returns n good messages with the given ones in the middle.
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
