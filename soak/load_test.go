//go:build linux || darwin

package soak

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// load is what one stream writes. A message follows from its number, so that
// nothing has to be remembered of it.
type load struct {
	Number   int // of the load, from 0
	Name     string
	InFlight int
	Codec    string
	Rules    bool // topic_rules
	Keys     bool // in the plain topic; the order of each is kept if InFlight is 1
	Times    bool // the messages have timestamps of their own
}

// loads are the streams of a soak, which run at the same time in one process.
var loads = []load{
	{Number: 0, Name: "limits read, lz4, 10 in flight", InFlight: 10, Codec: "lz4", Rules: true, Times: true},
	{Number: 1, Name: "not read, plain, 10 in flight", InFlight: 10, Codec: "none", Keys: true, Times: true},
	{Number: 2, Name: "limits read, zstd, in order", InFlight: 1, Codec: "zstd", Rules: true, Keys: true},
}

// plain and compacted are the topics of a load, missing is one that is not there.
func (l load) plain() string     { return fmt.Sprintf("soak-%d-plain", l.Number) }
func (l load) compacted() string { return fmt.Sprintf("soak-%d-compacted", l.Number) }
func (l load) missing() string   { return fmt.Sprintf("soak-%d-missing", l.Number) }

// ordered says that messages of one key must keep their order.
func (l load) ordered() bool { return l.Keys && l.InFlight == 1 }

// kind is what is particular about a message.
type kind int

const (
	good         kind = iota // to the plain topic
	goodKeyed                // to the compacted one
	tooLarge                 // whatever the codec
	compressible             // too large, unless it is compressed
	nullKey                  // to the compacted topic
	badTime                  // beyond what the topic takes
	illegalTopic
	missingTopic
	kinds
)

func (k kind) String() string {
	return [...]string{"good", "good, compacted topic", "too large", "too large, but compressible", "no key, compacted topic", "timestamp out of bounds",
		"illegal topic", "topic that is not there"}[k]
}

// class is the class of failure that a message must be dead-lettered with, or
// empty if it must be delivered.
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
	largeSize = 300_000 // over each of limits
	poolSize  = 4 << 20
	keysPlain = 97
	onePoison = 100 // messages
	poisonAt  = 37  // of them
	// Of the poison, one in so many is for a topic that is not there. To find
	// that out takes a second each, which its batch waits for.
	oneMissing = 60
	compactedN = 4 // one message of so many is for the compacted topic
)

// limits are what max.message.bytes of the plain topics changes between. None of
// the good messages is ever over it, but a batch always is.
var limits = []string{"100000", "60000", "150000"}

// kind returns what message n is.
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

// pool is where bodies are cut out of: bytes that no codec makes smaller, and
// zeros. All processes have the same.
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

// message returns message n. Its time, if the load has any, is counted from the
// epoch of the soak, by a millisecond for a thousand messages: always in the past,
// but for the one that is not.
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

// is reports whether a value is that of the message.
func (m message) is(value []byte) bool {
	return len(value) == headSize+len(m.body) && bytes.Equal(value[:headSize], m.head) && bytes.Equal(value[headSize:], m.body)
}
