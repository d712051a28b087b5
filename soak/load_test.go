//go:build linux || darwin

package soak

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// load says what one stream writes. A message can be made again from its number, so
// nothing of it is kept.
type load struct {
	Number   int // of the load, from 0
	Name     string
	InFlight int
	Codec    string
	Rules    bool // topic_rules
	Keys     bool // the messages of the plain topic have keys; their order is kept if InFlight is 1
	Times    bool // the messages have timestamps of their own
}

// loads are the streams of a soak, which run at the same time in one process.
var loads = []load{
	{Number: 0, Name: "limits read, lz4, 10 in flight", InFlight: 10, Codec: "lz4", Rules: true, Times: true},
	{Number: 1, Name: "not read, plain, 10 in flight", InFlight: 10, Codec: "none", Keys: true, Times: true},
	{Number: 2, Name: "limits read, zstd, in order", InFlight: 1, Codec: "zstd", Rules: true, Keys: true},
}

// plain and compacted are the topics of a load. The topic missing does not exist.
func (l load) plain() string     { return fmt.Sprintf("soak-%d-plain", l.Number) }
func (l load) compacted() string { return fmt.Sprintf("soak-%d-compacted", l.Number) }
func (l load) missing() string   { return fmt.Sprintf("soak-%d-missing", l.Number) }

// ordered says that messages of one key must keep their order.
func (l load) ordered() bool { return l.Keys && l.InFlight == 1 }

// kind says what is special about a message.
type kind int

const (
	good         kind = iota // to the plain topic
	goodKeyed                // to the compacted one
	tooLarge                 // with any codec
	compressible             // too large, unless it is compressed
	nullKey                  // to the compacted topic
	badTime                  // a timestamp that the topic rejects
	illegalTopic
	missingTopic
	kinds
)

func (k kind) String() string {
	return [...]string{"good", "good, compacted topic", "too large", "too large, but compressible", "no key, compacted topic", "timestamp out of bounds",
		"illegal topic", "topic that is not there"}[k]
}

// class is the failure class that a message must be dead-lettered with. It is empty if
// the message must be delivered.
func (l load) class(k kind) string {
	switch k {
	case tooLarge:
		return "size_exceeded"
	case compressible:
		if l.Codec == "none" {
			return "size_exceeded"
		}
	case nullKey, badTime:
		return "invalid_record"
	case illegalTopic:
		return "unroutable"
	case missingTopic:
		return "unknown_topic"
	default:
	}
	return ""
}

const (
	batchSize = 500 // messages
	bodySize  = 980
	largeSize = 300_000 // more than each of limits
	poolSize  = 4 << 20
	keysPlain = 97
	onePoison = 100 // one message in so many is bad
	poisonAt  = 37  // its place among them
	// One bad message in so many is for the topic that does not exist. The cluster
	// takes a second to confirm that, and the batch waits meanwhile.
	oneMissing = 60
	compactedN = 4 // one message of so many is for the compacted topic
)

// limits are the values of max.message.bytes of the plain topics. Each good message is
// within all of them. A full batch is over all of them.
var limits = []string{"100000", "60000", "150000"}

// kind returns the kind of message n.
func (l load) kind(n uint64) kind {
	if n%onePoison == poisonAt {
		which := n / onePoison
		k := tooLarge + kind(which%uint64(missingTopic-tooLarge))
		switch {
		case which%oneMissing == oneMissing-1:
			return missingTopic
		case k == badTime && !l.Times:
			return tooLarge
		}
		return k
	}
	if n%compactedN == 1 {
		return goodKeyed
	}
	return good
}

// message is message n of a load. Its value is head and body.
type message struct {
	kind  kind
	topic string
	key   string // empty for none
	time  time.Time
	head  []byte
	body  []byte
}

// pool and zeros are the bytes that bodies are cut from. No codec makes pool smaller.
// All processes compute the same bytes.
var pool, zeros = func() ([]byte, []byte) {
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, poolSize)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b, make([]byte, largeSize)
}()

// headSize is the size of the head: the load, the number, and a space.
const headSize = 16

func (l load) head(n uint64) []byte { return fmt.Appendf(nil, "%02d-%012d ", l.Number, n) }

// numberOf reads the head of a value.
func numberOf(value []byte) (load int, n uint64, ok bool) {
	if len(value) < headSize || value[2] != '-' || value[headSize-1] != ' ' {
		return 0, 0, false
	}
	load, err := strconv.Atoi(string(value[:2]))
	if err != nil || load >= len(loads) {
		return 0, 0, false
	}
	n, err = strconv.ParseUint(string(value[3:headSize-1]), 10, 64)
	return load, n, err == nil
}

// message returns message n. Its time, if the load sets one, is a millisecond after the
// epoch for each thousand messages. So it is in the past, except for badTime.
func (l load) message(n uint64, epoch time.Time) message {
	m := message{kind: l.kind(n), topic: l.plain(), head: l.head(n)}
	size, from := bodySize, pool
	switch m.kind {
	case tooLarge:
		size = largeSize
	case compressible:
		size, from = largeSize, zeros
	default:
	}
	at := int(n * 7919 % uint64(len(from)-size+1))
	m.body = from[at : at+size]
	if l.Keys {
		m.key = fmt.Sprintf("key-%d", n%keysPlain)
	}
	if l.Times {
		m.time = epoch.Add(time.Duration(n/1000) * time.Millisecond)
	}
	switch m.kind {
	case goodKeyed:
		m.topic, m.key = l.compacted(), string(m.head)
	case nullKey:
		m.topic, m.key = l.compacted(), ""
	case badTime:
		m.time = m.time.Add(1000 * time.Hour)
	case illegalTopic:
		m.topic = "no/topic"
	case missingTopic:
		m.topic = l.missing()
	default:
	}
	return m
}

// is reports whether a value is the message's.
func (m message) is(value []byte) bool {
	return len(value) == headSize+len(m.body) && bytes.Equal(value[:headSize], m.head) && bytes.Equal(value[headSize:], m.body)
}
