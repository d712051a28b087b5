package guard

import (
	"context"
	"encoding/binary"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// attempts knows what kgo keeps to itself: which partitions had an attempt to
// produce whose result is in doubt.
//
// kgo tries again after a time-out, a lost connection or too few replicas, and
// hands its promise the last error alone. A broker validates a batch before it
// looks whether it has it already, so when the last error is a refusal, the
// record may still be in the log from an earlier attempt. Only the connection
// shows that, hence this listens on it: to the partitions of each produce
// request, and to the code of each answer.
type attempts struct {
	idempotent bool

	mu         sync.Mutex
	clock      uint64 // counts attempts that ended in doubt
	doubts     map[topicPartition]uint64
	unanswered map[topicPartition]int
	topics     map[[16]byte]string
}

type topicPartition struct {
	topic     string
	partition int32
}

func newAttempts(idempotent bool) *attempts {
	return &attempts{
		idempotent: idempotent,
		doubts:     map[topicPartition]uint64{},
		unanswered: map[topicPartition]int{},
		topics:     map[[16]byte]string{},
	}
}

// now returns a mark to pass to inDoubt for what is handed over after it.
func (a *attempts) now() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.clock
}

// inDoubt reports whether an attempt on the partition ended in doubt since the
// mark. For an error that is not the broker's answer to a produce request, a
// request without an answer is one, too.
func (a *attempts) inDoubt(tp topicPartition, since uint64, of reach) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.doubts[tp] > since || of == ofClient && a.unanswered[tp] > 0
}

// sent notes the partitions of a request before it is written, since the
// answer may be read before the write returns.
func (a *attempts) sent(tps []topicPartition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, tp := range tps {
		a.unanswered[tp]++
	}
}

// answered notes the code with which one partition of a request came back.
func (a *attempts) answered(tp topicPartition, code int16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settleLocked(tp)
	switch code {
	case kerr.RequestTimedOut.Code, kerr.NotEnoughReplicasAfterAppend.Code:
		a.doubtLocked(tp)
	case 0:
	default:
		// Sequence numbers have the broker refuse what follows a refused
		// batch. Without them it appends the batches that are under way,
		// while kgo fails them along with the refused one.
		if !a.idempotent && a.unanswered[tp] > 0 {
			a.doubtLocked(tp)
		}
	}
}

// lost notes that no answer will come for the partitions of a request.
func (a *attempts) lost(tps []topicPartition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, tp := range tps {
		a.settleLocked(tp)
		a.doubtLocked(tp)
	}
}

// unsent takes back what sent noted of a request of which no byte was written.
func (a *attempts) unsent(tps []topicPartition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, tp := range tps {
		a.settleLocked(tp)
	}
}

func (a *attempts) settleLocked(tp topicPartition) {
	if a.unanswered[tp]--; a.unanswered[tp] <= 0 {
		delete(a.unanswered, tp)
	}
}

func (a *attempts) doubtLocked(tp topicPartition) {
	a.clock++
	a.doubts[tp] = a.clock
}

// name returns the name of the topic with the given ID, "" for one that no
// metadata has named. Produce v13 and later (KIP-516) carry IDs alone.
func (a *attempts) name(id [16]byte) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.topics[id]
}

func (a *attempts) learn(meta *kmsg.MetadataResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range meta.Topics {
		if t := &meta.Topics[i]; t.Topic != nil && t.TopicID != [16]byte{} {
			a.topics[t.TopicID] = *t.Topic
		}
	}
}

// dialer returns a dialer whose connections report to a. It must be given
// connections that are past TLS.
func (a *attempts) dialer(dial dialer) dialer {
	return func(ctx context.Context, network, host string) (net.Conn, error) {
		conn, err := dial(ctx, network, host)
		if err != nil {
			return nil, err
		}
		return &listener{Conn: conn, attempts: a, requests: map[int32]request{}}, nil
	}
}

type dialer func(ctx context.Context, network, host string) (net.Conn, error)

// listener is a broker connection that follows produce and metadata requests
// and their answers. It changes nothing, and what it can't read it leaves be.
//
// kgo writes each request with one Write, and reads from one goroutine.
type listener struct {
	net.Conn
	attempts *attempts

	mu       sync.Mutex
	requests map[int32]request // by correlation ID, without an answer yet

	// The answer that is being read: its length and correlation ID, then, if
	// it is one to follow, the rest, else how much of it is still to come.
	head []byte
	body []byte
	rest int
}

// request is a request that waits for its answer.
type request struct {
	key, version int16
	partitions   []topicPartition
}

const (
	requestHead = 12 // length, key, version, correlation ID
	answerHead  = 8  // length, correlation ID
)

func (l *listener) Write(p []byte) (int, error) {
	id, r, follow := l.request(p)
	if follow {
		l.mu.Lock()
		l.requests[id] = r
		l.mu.Unlock()
		l.attempts.sent(r.partitions)
	}
	n, err := l.Conn.Write(p)
	if err != nil && n == 0 && follow {
		if r, ok := l.take(id); ok {
			l.attempts.unsent(r.partitions)
		}
	}
	if err != nil {
		l.lose()
	}
	return n, err
}

func (l *listener) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.read(p[:n])
	if err != nil {
		l.lose()
	}
	return n, err
}

func (l *listener) Close() error {
	l.lose()
	return l.Conn.Close()
}

// lose gives up on all answers. kgo ends a connection after any error on it.
func (l *listener) lose() {
	l.mu.Lock()
	requests := l.requests
	l.requests = map[int32]request{}
	l.mu.Unlock()
	for _, r := range requests {
		l.attempts.lost(r.partitions)
	}
}

func (l *listener) take(id int32) (request, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.requests[id]
	delete(l.requests, id)
	return r, ok
}

// request returns what there is to follow of a request, if there is.
func (l *listener) request(p []byte) (id int32, r request, follow bool) {
	if len(p) < requestHead {
		return 0, r, false
	}
	r.key = int16(binary.BigEndian.Uint16(p[4:]))
	r.version = int16(binary.BigEndian.Uint16(p[6:]))
	id = int32(binary.BigEndian.Uint32(p[8:]))
	switch kmsg.Key(r.key) {
	case kmsg.Metadata:
		return id, r, true
	case kmsg.Produce:
		var produce kmsg.ProduceRequest
		produce.SetVersion(r.version)
		if !readRequest(p[requestHead:], &produce) || produce.Acks == 0 {
			return 0, r, false
		}
		for i := range produce.Topics {
			t := &produce.Topics[i]
			topic := l.topic(t.Topic, t.TopicID)
			for j := range t.Partitions {
				r.partitions = append(r.partitions, topicPartition{topic, t.Partitions[j].Partition})
			}
		}
		return id, r, true
	}
	return 0, r, false
}

func (l *listener) topic(name string, id [16]byte) string {
	if name != "" {
		return name
	}
	return l.attempts.name(id)
}

// read follows the answers. By the time that kgo has seen the end of one, it is
// noted.
func (l *listener) read(p []byte) {
	for len(p) > 0 {
		switch {
		case len(l.head) < answerHead:
			n := min(answerHead-len(l.head), len(p))
			l.head, p = append(l.head, p[:n]...), p[n:]
			if len(l.head) < answerHead {
				return
			}
			l.rest = int(binary.BigEndian.Uint32(l.head)) - (answerHead - 4)
			l.body = l.body[:0]
		default:
			n := min(l.rest, len(p))
			if l.following() {
				l.body = append(l.body, p[:n]...)
			}
			l.rest, p = l.rest-n, p[n:]
		}
		if len(l.head) == answerHead && l.rest <= 0 {
			l.answer()
			l.head = l.head[:0]
		}
	}
}

func (l *listener) correlationID() int32 { return int32(binary.BigEndian.Uint32(l.head[4:])) }

func (l *listener) following() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.requests[l.correlationID()]
	return ok
}

func (l *listener) answer() {
	r, ok := l.take(l.correlationID())
	if !ok {
		return
	}
	switch kmsg.Key(r.key) {
	case kmsg.Metadata:
		var meta kmsg.MetadataResponse
		meta.SetVersion(r.version)
		if readAnswer(l.body, &meta) {
			l.attempts.learn(&meta)
		}
	case kmsg.Produce:
		var produce kmsg.ProduceResponse
		produce.SetVersion(r.version)
		if !readAnswer(l.body, &produce) {
			l.attempts.lost(r.partitions)
			return
		}
		open := make(map[topicPartition]bool, len(r.partitions))
		for _, tp := range r.partitions {
			open[tp] = true
		}
		for i := range produce.Topics {
			t := &produce.Topics[i]
			topic := l.topic(t.Topic, t.TopicID)
			for j := range t.Partitions {
				tp := topicPartition{topic, t.Partitions[j].Partition}
				if open[tp] {
					delete(open, tp)
					l.attempts.answered(tp, t.Partitions[j].ErrorCode)
				}
			}
		}
		for tp := range open {
			l.attempts.lost([]topicPartition{tp})
		}
	}
}

// readRequest reads what follows the correlation ID of a request: the client
// ID, the tags of a flexible version (KIP-482; kgo sends none), the request.
func readRequest(p []byte, r kmsg.Request) bool {
	if len(p) < 2 {
		return false
	}
	skip := 2
	if n := int16(binary.BigEndian.Uint16(p)); n > 0 {
		skip += int(n)
	}
	if r.IsFlexible() {
		skip++
	}
	return len(p) >= skip && r.ReadFrom(p[skip:]) == nil
}

// readAnswer reads what follows the correlation ID of an answer: the tags of a
// flexible version (brokers send none), the answer.
func readAnswer(p []byte, r kmsg.Response) bool {
	if r.IsFlexible() {
		if len(p) == 0 || p[0] != 0 {
			return false
		}
		p = p[1:]
	}
	return r.ReadFrom(p) == nil
}
