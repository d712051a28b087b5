package kafkafake

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Wire notes what clients write to brokers and read from them: which record was in which
// Produce request, and when its answer was read. It is between a client and the network,
// and changes nothing. At a broker's end of a connection, it takes an answer for read as
// soon as the broker has written it, until a fault closes the connection: TCP may then drop
// what the client has not read.
type Wire struct {
	// ID returns what tells a record from all others, by its value.
	ID func(value []byte) string

	mu       sync.Mutex
	attempts map[string][]*Attempt
	requests int
	codes    map[int16]int
}

// Attempt is one batch in one Produce request. Its records share it.
type Attempt struct {
	Sent time.Time
	// Answered is when the client had read the answer, zero if it never did.
	Answered time.Time
	Code     int16
	// Offset tells that the answer has the offset of an append, also besides an error.
	Offset bool
	// Records is the number of records in the batch. Listed tells that the answer lists
	// some of them.
	Records int
	Listed  bool
}

// unclear are the codes with which a broker may answer both before and after an append.
var unclear = []*kerr.Error{
	kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.NetworkException, kerr.KafkaStorageError, kerr.UnknownServerError,
	kerr.OutOfOrderSequenceNumber, kerr.DuplicateSequenceNumber, kerr.InvalidProducerEpoch, kerr.UnknownProducerID, kerr.CorruptMessage,
}

// Unclear reports whether a broker may answer with the code both before and after an
// append.
func Unclear(code *kerr.Error) bool { return slices.Contains(unclear, code) }

// InDoubt reports whether a record was in a batch whose answer leaves open if it was
// appended, or that had no answer up to a time.
func (w *Wire) InDoubt(id string, until time.Time) bool {
	return slices.ContainsFunc(w.Attempts(id), func(a Attempt) bool {
		return a.Answered.IsZero() || a.Answered.After(until) || a.Offset && a.Code != 0 || Unclear(kerr.TypedErrorForCode(a.Code))
	})
}

// Rejected reports whether a broker rejected the record with one of the codes: alone in
// its batch, or in an answer that lists records.
func (w *Wire) Rejected(id string, codes ...*kerr.Error) bool {
	return slices.ContainsFunc(w.Attempts(id), func(a Attempt) bool {
		return (a.Records == 1 || a.Listed) && slices.Contains(codes, kerr.TypedErrorForCode(a.Code))
	})
}

// Dialer returns a function that dials by another one, and notes what goes over its
// connections.
func (w *Wire) Dialer(dial func(ctx context.Context, network, host string) (net.Conn, error)) func(ctx context.Context, network, host string) (net.Conn, error) {
	return func(ctx context.Context, network, host string) (net.Conn, error) {
		c, err := dial(ctx, network, host)
		if err != nil {
			return nil, err
		}
		return w.on(c), nil
	}
}

func (w *Wire) on(c net.Conn) *wireConn {
	return &wireConn{Conn: c, wire: w, open: map[int32]*wireRequest{}}
}

// Attempts returns the batches that a record was in, up to now.
func (w *Wire) Attempts(id string) (out []Attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.attempts[id] {
		out = append(out, *a)
	}
	return out
}

// Requests returns how many Produce requests were written.
func (w *Wire) Requests() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests
}

// Answers returns how many batches were answered with a code.
func (w *Wire) Answers(code int16) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.codes[code]
}

// Failed returns how many batches were answered with an error.
func (w *Wire) Failed() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for code, count := range w.codes {
		if code != 0 {
			n += count
		}
	}
	return n
}

// wireConn is a client's end of a connection.
type wireConn struct {
	net.Conn
	wire *Wire

	mu      sync.Mutex
	written []byte // of a request that is not complete
	read    []byte // of an answer
	open    map[int32]*wireRequest
	keep    bool // answered requests, too
	done    []*wireRequest
}

// wireRequest is a Produce request that has no answer yet.
type wireRequest struct {
	version int16
	batches map[wirePartition]*Attempt
}

type wirePartition struct {
	topic     string
	id        [16]byte
	partition int32
}

// Write notes a request before it leaves: its answer may be read before Write returns.
func (c *wireConn) Write(p []byte) (int, error) {
	c.request(p)
	return c.Conn.Write(p)
}

// Read notes an answer when its last byte is read.
func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.answer(p[:n])
	return n, err
}

// brokerConn is a broker's end of a connection.
type brokerConn struct{ *wireConn }

func (c brokerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.request(p[:n])
	return n, err
}

// lose notes that the client may have read no answer.
func (c brokerConn) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	for _, r := range c.done {
		for _, a := range r.batches {
			a.Answered = time.Time{}
		}
	}
}

// Write notes an answer before it leaves: the client may act on it before Write returns.
func (c brokerConn) Write(p []byte) (int, error) {
	c.answer(p)
	return c.Conn.Write(p)
}

func (c *wireConn) request(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = append(c.written, p...)
	for {
		frame := cutFrame(&c.written)
		if frame == nil {
			return
		}
		if e := open(frame); e != nil {
			if req, ok := e.req.(*kmsg.ProduceRequest); ok {
				c.open[int32(binary.BigEndian.Uint32(e.id))] = c.wire.sent(req)
			}
		}
	}
}

func (c *wireConn) answer(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = append(c.read, p...)
	for {
		frame := cutFrame(&c.read)
		if frame == nil {
			return
		}
		id := int32(binary.BigEndian.Uint32(frame[4:]))
		if r := c.open[id]; r != nil {
			delete(c.open, id)
			if c.keep {
				c.done = append(c.done, r)
			}
			c.wire.answered(r, frame[8:])
		}
	}
}

// cutFrame cuts the first request or answer off, with its length, nil if it is not complete.
func cutFrame(stream *[]byte) []byte {
	b := *stream
	if len(b) < 4 || len(b) < 4+int(binary.BigEndian.Uint32(b)) {
		return nil
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	frame := slices.Clone(b[:n])
	*stream = slices.Delete(b, 0, n)
	return frame
}

func (w *Wire) sent(req *kmsg.ProduceRequest) *wireRequest {
	r := &wireRequest{version: req.GetVersion(), batches: map[wirePartition]*Attempt{}}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests++
	if w.attempts == nil {
		w.attempts, w.codes = map[string][]*Attempt{}, map[int16]int{}
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			a := &Attempt{Sent: now}
			r.batches[wirePartition{t.Topic, t.TopicID, p.Partition}] = a
			batch, _ := parse(p.Records)
			a.Records = len(batch.records)
			for _, record := range batch.records {
				id := w.ID(record.Value)
				w.attempts[id] = append(w.attempts[id], a)
			}
		}
	}
	return r
}

func (w *Wire) answered(r *wireRequest, body []byte) {
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(r.version)
	if resp.IsFlexible() {
		body = body[1:]
	}
	if resp.ReadFrom(body) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if a := r.batches[wirePartition{t.Topic, t.TopicID, p.Partition}]; a != nil {
				w.codes[p.ErrorCode]++
				a.Answered, a.Code, a.Offset = time.Now(), p.ErrorCode, p.BaseOffset >= 0 && p.LogStartOffset >= 0
				a.Listed = len(p.ErrorRecords) > 0
			}
		}
	}
}
