package kafkafake

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// front stands between a client and kfake on each connection, for the dialect and the
// faults. As Kafka does, it handles a request only when the one before it is answered.
type front struct {
	net.Conn
	cluster *Cluster
	node    int32

	mu      sync.Mutex
	changed *sync.Cond
	waiting *exchange // passed to kfake, and not answered yet
	closed  bool
	gone    chan struct{} // closed with it

	produced atomic.Bool // whether there was a produce request
	expires  time.Time   // the SASL session, zero for never

	toKfake []byte // the part of a request that kfake has not read yet
}

// exchange is a request and its answer.
type exchange struct {
	head  []byte // of the request, up to the body
	id    []byte // the correlation ID
	req   kmsg.Request
	names []string // of a produce request's topics

	received time.Time

	refused map[partitionOf]*Refusal // not passed to kfake
	rewrite *FaultHandle             // a Rewrite of the answer
	after   *FaultHandle             // a fault of the answer
}

// partitionOf is a partition by its indexes in a produce request.
type partitionOf struct{ topic, partition int }

// fronts puts a front on each connection of each listener.
func (c *Cluster) fronts(listen func(network, address string) (net.Listener, error)) func(network, address string) (net.Listener, error) {
	node := int32(-1)
	return func(network, address string) (net.Listener, error) {
		l, err := listen(network, address)
		node++
		return frontListener{l, c, node}, err
	}
}

type frontListener struct {
	net.Listener
	cluster *Cluster
	node    int32
}

func (l frontListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		f := &front{Conn: conn, cluster: l.cluster, node: l.node, gone: make(chan struct{})}
		f.changed = sync.NewCond(&f.mu)
		if l.cluster.enter(f) {
			return f, nil
		}
		conn.Close()
	}
}

// Read is called by kfake to read requests.
func (f *front) Read(p []byte) (int, error) {
	for len(f.toKfake) == 0 {
		request, err := f.next()
		if err != nil {
			return 0, err
		}
		f.toKfake = request
	}
	n := copy(p, f.toKfake)
	f.toKfake = f.toKfake[n:]
	return n, nil
}

// next returns the next request for kfake, with its length.
func (f *front) next() ([]byte, error) {
	f.mu.Lock()
	for f.waiting != nil && !f.closed {
		f.changed.Wait()
	}
	closed := f.closed
	f.mu.Unlock()
	if closed {
		return nil, net.ErrClosed
	}
	var size [4]byte
	if _, err := io.ReadFull(f.Conn, size[:]); err != nil {
		return nil, err
	}
	// A broker decides by the length alone, before it reads the request.
	if most := f.cluster.dialect.MaxRequest; most > 0 && int(binary.BigEndian.Uint32(size[:])) > most {
		return nil, f.cut()
	}
	frame := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
	copy(frame, size[:])
	if _, err := io.ReadFull(f.Conn, frame[4:]); err != nil {
		return nil, err
	}
	e := open(frame)
	if e == nil {
		return frame, nil
	}
	return f.treat(frame, e)
}

// observer is the client ID of clients without a dialect and faults.
const observer = "kafkafake"

// open parses a request. It returns nil for a request that passes unchanged.
func open(frame []byte) *exchange {
	const fixed = 4 + 2 + 2 + 4
	key, version := int16(binary.BigEndian.Uint16(frame[4:])), int16(binary.BigEndian.Uint16(frame[6:]))
	req := kmsg.RequestForKey(key)
	if req == nil || kmsg.Key(key) == kmsg.ApiVersions { // whose version may be another one in the answer
		return nil
	}
	req.SetVersion(version)
	at := fixed + 2
	if n := int(int16(binary.BigEndian.Uint16(frame[fixed:]))); n > 0 {
		if string(frame[at:at+n]) == observer {
			return nil
		}
		at += n
	}
	if req.IsFlexible() {
		at++
	}
	if req.ReadFrom(frame[at:]) != nil {
		return nil
	}
	return &exchange{head: frame[:at], id: frame[8:12], req: req, received: time.Now()}
}

// treat applies faults and dialect to a request. It returns the bytes for kfake, which
// may be none.
func (f *front) treat(frame []byte, e *exchange) ([]byte, error) {
	d := &f.cluster.dialect
	switch kmsg.Key(e.req.Key()) {
	case kmsg.SASLHandshake, kmsg.SASLAuthenticate:
	default:
		if !f.expires.IsZero() && time.Now().After(f.expires) {
			return nil, f.cut() // Kafka takes nothing else then
		}
	}
	produce, isProduce := e.req.(*kmsg.ProduceRequest)
	if isProduce {
		f.produced.Store(true)
		e.names = f.cluster.names(produce)
	}
	for _, h := range f.cluster.strike(f.node, e.req, e.names) {
		switch h.Do {
		case DisconnectBefore:
			return nil, f.cut()
		case Swallow:
			return nil, f.mute()
		case Delay:
			f.pause(h.Pause)
		case Refuse:
			switch {
			case isProduce:
				e.refuse(produce, h, h.Code)
			case kmsg.Key(e.req.Key()) == kmsg.Metadata:
				e.rewrite = h
			default:
				return nil, f.answer(e, refusal(e.req, h.Code))
			}
		case Rewrite:
			e.rewrite = h
		default:
			e.after = h
		}
	}
	switch {
	case isProduce:
		return f.produce(e, produce)
	case kmsg.Key(e.req.Key()) == kmsg.DescribeConfigs && asksForTopics(e.req) && d.Configs == Denied:
		return nil, f.answer(e, refusal(e.req, kerr.TopicAuthorizationFailed))
	case kmsg.Key(e.req.Key()) == kmsg.DescribeConfigs && asksForTopics(e.req) && d.Configs == OfNone:
		return nil, f.answer(e, refusal(e.req, kerr.UnknownTopicOrPartition))
	case kmsg.Key(e.req.Key()) == kmsg.DescribeConfigs && asksForTopics(e.req) && d.Configs == Silent:
		return nil, f.mute()
	}
	f.wait(e)
	return frame, nil
}

// frameOf joins a head and a request.
func frameOf(head []byte, req kmsg.Request) []byte {
	frame := req.AppendTo(append([]byte(nil), head...))
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame
}

// Write is called by kfake to write an answer, in one call each.
func (f *front) Write(p []byte) (int, error) {
	f.mu.Lock()
	e := f.waiting
	f.mu.Unlock()
	if e == nil {
		return f.Conn.Write(p)
	}
	resp := e.req.ResponseKind()
	resp.SetVersion(e.req.GetVersion())
	body := p[8:]
	if resp.IsFlexible() {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return 0, err
	}
	return len(p), f.answer(e, resp)
}

// answer sends the answer of a request, with its faults.
func (f *front) answer(e *exchange, resp kmsg.Response) error {
	resp.SetVersion(e.req.GetVersion())
	switch resp := resp.(type) {
	case *kmsg.ProduceResponse:
		e.complete(resp)
	case *kmsg.InitProducerIDResponse:
		f.cluster.numbers.give(resp)
	case *kmsg.SASLAuthenticateResponse:
		if resp.SessionLifetimeMillis > 0 {
			f.expires = time.Now().Add(time.Duration(resp.SessionLifetimeMillis) * time.Millisecond)
		}
	case *kmsg.DescribeConfigsResponse:
		f.cluster.dialect.tell(f.node, resp)
	}
	if h := e.rewrite; h != nil {
		switch of := resp.(type) {
		case *kmsg.ProduceResponse: // complete did it
		case *kmsg.MetadataResponse:
			refuseTopics(of, h.Code)
		default:
			resp = refusal(e.req, h.Code)
			resp.SetVersion(e.req.GetVersion())
		}
	}
	frame := append([]byte{0, 0, 0, 0}, e.id...)
	if resp.IsFlexible() {
		frame = append(frame, 0)
	}
	frame = resp.AppendTo(frame)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	if h := e.after; h != nil {
		switch h.Do {
		case DisconnectAfter:
			return f.cut()
		case DisconnectWithin:
			_, _ = f.Conn.Write(frame[:len(frame)/2])
			return f.cut()
		case SwallowAnswer:
			return f.mute()
		case DelayAnswer:
			f.pause(h.Pause)
		case Trickle:
			for i := range frame {
				if _, err := f.Conn.Write(frame[i : i+1]); err != nil {
					return err
				}
				f.pause(h.Pause)
			}
			frame = nil
		default: // a fault of the request
		}
	}
	_, err := f.Conn.Write(frame)
	f.done()
	return err
}

// wait lets the front handle the next request only after kfake's answer.
func (f *front) wait(e *exchange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = e
}

func (f *front) done() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = nil
	f.changed.Broadcast()
}

// mute answers nothing more on the connection, until the client or the cluster closes
// it.
func (f *front) mute() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = &exchange{}
	go func() { // the client may close it first
		_, _ = io.Copy(io.Discard, f.Conn)
		f.Close()
	}()
	for !f.closed {
		f.changed.Wait()
	}
	return net.ErrClosed
}

func (f *front) cut() error {
	if noted, ok := f.Conn.(brokerConn); ok {
		noted.lose()
	}
	f.Close()
	return net.ErrClosed
}

// pause sleeps, unless the connection ends before.
func (f *front) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.gone:
	}
}

func (f *front) Close() error {
	f.mu.Lock()
	if !f.closed {
		close(f.gone)
	}
	f.closed = true
	f.changed.Broadcast()
	f.mu.Unlock()
	f.cluster.leave(f)
	return f.Conn.Close()
}
