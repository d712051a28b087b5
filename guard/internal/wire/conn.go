package wire

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Dial is what kgo.Dialer takes.
type Dial func(ctx context.Context, network, host string) (net.Conn, error)

// Dialer returns a dialer whose connections report to the log. It must be given
// connections that are past TLS.
func (l *Log) Dialer(dial Dial) Dial {
	return func(ctx context.Context, network, host string) (net.Conn, error) {
		if err := l.redials.wait(ctx, host); err != nil {
			return nil, err
		}
		c, err := dial(ctx, network, host)
		l.mu.Lock()
		l.dialError = err
		l.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c, in: bufio.NewReader(c), log: l, host: host, requests: map[int32]*request{}, closed: make(chan struct{})}, nil
	}
}

// conn is a broker connection that follows produce and metadata requests and
// their answers. What it can't read it leaves be.
//
// kgo writes each request with one Write, and reads from one goroutine.
type conn struct {
	net.Conn
	in   *bufio.Reader // what it reads, a whole small answer at a time
	log  *Log
	host string

	mu       sync.Mutex
	heard    bool               // an answer
	requests map[int32]*request // by correlation ID, without an answer yet
	deadline time.Time          // of writing
	wroteAt  time.Time          // the first request
	quickest time.Duration      // of the answers
	once     sync.Once
	closed   chan struct{}

	answer []byte // what is left to hand out of an answer
	buffer []byte // for the next one
}

// SetWriteDeadline keeps the deadline in mind: what waits for its turn must be
// written before.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) Write(p []byte) (int, error) {
	id, r, follow := c.log.readRequest(p)
	c.mu.Lock()
	if c.wroteAt.IsZero() {
		c.wroteAt = time.Now()
	}
	c.mu.Unlock()
	if !follow {
		return c.Conn.Write(p)
	}
	out := p
	if kmsg.Key(r.key) == kmsg.InitProducerID {
		// Where it fails, so does all that kgo has by then, and what comes after
		// that would be in front of it.
		c.holdForHandOver(c.waiter())
	}
	if r.produce != nil {
		changed, ended := c.launch(r)
		if ended {
			c.rest()
			return 0, errEnded
		}
		if changed {
			out = r.written(p)
			r.size = len(out) // that is what is answered, or cut
		}
		r.produce = nil // its bytes are the caller's
	}
	batches := len(r.flights) // from here on, the answer may come
	c.mu.Lock()
	r.wroteAt = time.Now()
	c.requests[id] = r
	c.mu.Unlock()
	n, err := c.send(out, batches)
	if err != nil {
		// A request that has not left to its last byte can't be carried out.
		if r, ok := c.take(id); ok && n < len(out) {
			c.log.unsent(r, n > 0 && closedByPeer(err))
		}
		c.lose(closedByPeer(err))
		return min(n, len(p)), err
	}
	return len(p), nil
}

var errEnded = errors.New("nothing more is sent by this client")

// rest waits until nothing is under way any more in a log that has ended: with an
// error, kgo would close the connection, and what is under way on it would be lost.
func (c *conn) rest() {
	select {
	case <-c.log.atRest:
	case <-c.closed:
	}
}

// unprovenSize is from which size on a request may be one that the endpoint does
// not take.
const unprovenSize = 64 << 10

// send writes a request. The last byte of one that is larger than any that was
// answered so far waits for a moment: an endpoint that does not take so large a
// request closes the connection when it has read its length, and then it is known
// that nothing was done.
func (c *conn) send(out []byte, batches int) (n int, err error) {
	if batches == 0 || len(out) < unprovenSize || c.log.proven(len(out)) {
		return c.Conn.Write(out)
	}
	last := len(out) - 1
	if n, err = c.Conn.Write(out[:last]); err != nil {
		return n, err
	}
	timer := time.NewTimer(c.pause())
	defer timer.Stop()
	select {
	case <-c.closed:
		return last, errCut
	case <-timer.C:
	}
	n, err = c.Conn.Write(out[last:])
	return last + n, err
}

var errCut = errors.New("the connection was closed before the request had left: it may be larger than the endpoint takes")

// pause is how long it takes at most to hear that the connection is closed: twice
// as long as the quickest answer took.
func (c *conn) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return min(max(2*c.quickest, 10*time.Millisecond), 500*time.Millisecond)
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.answer) == 0 {
		if err := c.next(); err != nil {
			c.lose(closedByPeer(err))
			return 0, err
		}
	}
	n := copy(p, c.answer)
	c.answer = c.answer[n:]
	return n, nil
}

// next reads the next answer. By the time that kgo gets it, it is noted.
func (c *conn) next() error {
	if cap(c.buffer) < answerHead || cap(c.buffer) > 1<<20 {
		c.buffer = make([]byte, answerHead, 4096)
	}
	head := c.buffer[:answerHead]
	if _, err := io.ReadFull(c.in, head); err != nil {
		return err
	}
	if !c.heard { // written by this goroutine alone
		c.mu.Lock()
		c.heard, c.quickest = true, time.Since(c.wroteAt)
		c.mu.Unlock()
		c.log.redials.note(c.host, true)
	}
	rest := int(int32(binary.BigEndian.Uint32(head))) - (answerHead - 4)
	if rest < 0 || rest > 1<<30 {
		c.answer = head // no answer that we know: kgo will say so
		return nil
	}
	c.buffer = slices.Grow(head, rest)[:answerHead+rest]
	if _, err := io.ReadFull(c.in, c.buffer[answerHead:]); err != nil {
		return err
	}
	c.answer = c.buffer
	r, ok := c.take(int32(binary.BigEndian.Uint32(c.buffer[4:])))
	if !ok {
		return nil
	}
	c.mu.Lock()
	c.quickest = min(c.quickest, time.Since(r.wroteAt))
	c.mu.Unlock()
	switch kmsg.Key(r.key) {
	case kmsg.Metadata:
		meta := kmsg.MetadataResponse{Version: r.version}
		if readAnswer(c.buffer[answerHead:], &meta) {
			c.log.learn(&meta)
		}
	case kmsg.InitProducerID:
		id := kmsg.InitProducerIDResponse{Version: r.version}
		if readAnswer(c.buffer[answerHead:], &id) && id.ErrorCode != 0 {
			c.log.mu.Lock()
			c.log.abandon(func(Partition) bool { return true })
			c.log.mu.Unlock()
		}
	case kmsg.Produce:
		produce := kmsg.ProduceResponse{Version: r.version}
		if !readAnswer(c.buffer[answerHead:], &produce) {
			c.log.lost(r, false)
			return nil
		}
		if c.log.answered(r, &produce) {
			c.answer = appendAnswer(append(make([]byte, 0, len(c.buffer)), c.buffer[:answerHead]...), &produce)
			binary.BigEndian.PutUint32(c.answer, uint32(len(c.answer)-4))
		}
	}
	return nil
}

func (c *conn) Close() error {
	c.lose(false)
	return c.Conn.Close()
}

// lose gives up on all answers. kgo ends a connection after any error on it. If the
// other side has closed it, it may be for the size of a request: of the first one
// that has no answer, for what comes after it is not looked at.
func (c *conn) lose(byPeer bool) {
	c.mu.Lock()
	heard := c.heard
	requests := c.requests
	c.requests = map[int32]*request{}
	c.mu.Unlock()
	c.once.Do(func() {
		close(c.closed)
		if !heard {
			c.log.redials.note(c.host, false)
		}
	})
	var first *request
	for _, r := range requests {
		if len(r.flights) > 0 && (first == nil || r.flights[0].at < first.flights[0].at) {
			first = r
		}
	}
	for _, r := range requests {
		c.log.lost(r, byPeer && r == first)
	}
}

// closedByPeer reports whether an error is that the other side closed the
// connection.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, errCut)
}

func (c *conn) take(id int32) (*request, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.requests[id]
	delete(c.requests, id)
	return r, ok
}

// answered notes the answer to a request, and puts into it what kgo is to be
// told instead. It reports whether that is anything.
func (l *Log) answered(r *request, resp *kmsg.ProduceResponse) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts.answer(r.size)
	for i := range resp.Topics {
		t := &resp.Topics[i]
		topic := t.Topic
		if topic == "" {
			topic = l.topics[t.TopicID]
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			f := r.flight(Partition{topic, p.Partition})
			if f == nil {
				continue
			}
			h := f.of
			if !h.close(f) {
				continue
			}
			if p.ErrorCode == 0 {
				h.accept(l, f)
				l.opts.Accepted(f.Partition, f.bytes)
				continue
			}
			e := Event{Code: p.ErrorCode, Version: r.version, Appended: p.BaseOffset >= 0 && p.LogStartOffset >= 0}
			if p.ErrorMessage != nil {
				e.Message = *p.ErrorMessage
			}
			for _, named := range p.ErrorRecords {
				n := Named{Index: int(named.RelativeOffset)}
				if named.ErrorMessage != nil {
					n.Text = *named.ErrorMessage
				}
				e.Named = append(e.Named, n)
			}
			if code := h.refuse(l, f, e); code != p.ErrorCode {
				p.ErrorCode, changed = code, true
			}
		}
	}
	r.flights = slices.DeleteFunc(r.flights, func(f *flight) bool { return f == nil })
	l.loseLocked(r)
	return changed
}

// lost notes that no answer will come to a request, and whether that is because
// the connection ended.
func (l *Log) lost(r *request, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cut && len(r.flights) > 0 {
		l.cuts.cut(r.size)
	}
	l.loseLocked(r)
}

func (l *Log) loseLocked(r *request) {
	for _, f := range r.flights {
		if f.of.close(f) {
			f.of.add(l, Event{Lost: true, position: f.position, Records: f.records, Bytes: f.bytes, Alone: f.alone})
		}
	}
	r.flights = nil
}

// unsent takes back what was noted of a request that was not written to its end,
// and whether it is because the connection was closed.
func (l *Log) unsent(r *request, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cut && len(r.flights) > 0 {
		l.cuts.cut(r.size)
	}
	for _, f := range r.flights {
		f.of.close(f)
	}
	r.flights = nil
}
