//go:build linux || darwin

package onkafka

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// Relay is a network between clients and a node. It parses produce requests and their
// answers, and may change them. Clients learn from it that the node has its address.
// The node must have no TLS.
type Relay struct {
	listener net.Listener

	Mu sync.Mutex
	to string // address of the node, empty if it can't be reached
	Rules
	conns    map[net.Conn]struct{}
	Accepted int // connections so far
	Most     int // connections at a time
}

// host is where a relay listens.
const host = "127.0.0.1"

// Rules are what a relay does with requests and answers. The zero value changes
// nothing.
type Rules struct {
	// Request may change a produce request. If it returns false, the connection ends
	// before any byte of the request reaches the node. May be nil.
	Request func(*kmsg.ProduceRequest) bool
	// Refuse returns the code with which a produce request is answered in place of the
	// node. The node does not get the request. With 0 the request passes. May be nil.
	Refuse func(*kmsg.ProduceRequest) int16
	// Answer may change the answer to a produce request. If it returns false, the
	// connection ends without the answer. May be nil.
	Answer func(*kmsg.ProduceRequest, *kmsg.ProduceResponse) bool
	// largest is the size in bytes above which a request of any kind ends the
	// connection, 0 for no limit.
	largest int
}

func newRelay(t *testing.T) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	r := &Relay{listener: l, conns: map[net.Conn]struct{}{}}
	go r.accept()
	return r
}

// Relayed returns a cluster of one node, which the tests of a package share, and a
// relay of the test's own. The clients of the test reach the node through the relay.
func Relayed(t *testing.T, opts kafkatest.Options) (*kafkatest.Cluster, *Relay) {
	t.Helper()
	c, r := Shared(t, opts), newRelay(t)
	r.Connect(c.ClientAddr(1))
	return c.Behind(r.listener.Addr().String()), r
}

func (r *Relay) port() int { return r.listener.Addr().(*net.TCPAddr).Port }

// Open returns the number of connections.
func (r *Relay) Open() int {
	r.Mu.Lock()
	defer r.Mu.Unlock()
	return len(r.conns)
}

// Connect lets clients reach the node.
func (r *Relay) Connect(node string) {
	r.Mu.Lock()
	defer r.Mu.Unlock()
	r.to = node
}

// Cut ends all connections, and each new one at once.
func (r *Relay) Cut() {
	r.Mu.Lock()
	defer r.Mu.Unlock()
	r.to = ""
	for conn := range r.conns {
		conn.Close()
	}
}

// Follow sets the rules from the next request on.
func (r *Relay) Follow(now Rules) {
	r.Mu.Lock()
	defer r.Mu.Unlock()
	r.Rules = now
}

func (r *Relay) now() Rules {
	r.Mu.Lock()
	defer r.Mu.Unlock()
	return r.Rules
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.Mu.Lock()
		to := r.to
		r.Accepted++
		r.Mu.Unlock()
		node, err := net.Dial("tcp", to)
		if err != nil {
			client.Close()
			continue
		}
		c := &relayedConn{relay: r, client: client, node: node, open: map[uint32]asked{}}
		r.Mu.Lock()
		r.conns[client] = struct{}{}
		r.Most = max(r.Most, len(r.conns))
		if r.to == "" {
			client.Close()
		}
		r.Mu.Unlock()
		go c.run(c.requests)
		go c.run(c.answers)
	}
}

// relayedConn is a connection of a client.
type relayedConn struct {
	relay        *Relay
	client, node net.Conn

	mu   sync.Mutex
	open map[uint32]asked // unanswered ones, by correlation ID
}

// asked is a request whose answer the relay parses.
type asked struct {
	kmsg.Request
	refused int16 // the code of the answer, 0 if the node answers
}

func (c *relayedConn) run(way func() error) {
	_ = way() // either direction ends the connection
	c.client.Close()
	c.node.Close()
	c.relay.Mu.Lock()
	defer c.relay.Mu.Unlock()
	delete(c.relay.conns, c.client)
}

// frame reads a request or an answer, after its length.
func frame(from io.Reader, largest int) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if largest > 0 && n >= largest {
		return nil, io.EOF
	}
	p := make([]byte, n)
	_, err := io.ReadFull(from, p)
	return p, err
}

func send(to io.Writer, p []byte) error {
	_, err := to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...))
	return err
}

func (c *relayedConn) requests() error {
	for {
		p, err := frame(c.client, c.relay.now().largest)
		if err != nil {
			return err
		}
		switch kmsg.Key(binary.BigEndian.Uint16(p)) {
		case kmsg.Produce:
			if p, err = c.request(p); err != nil {
				return err
			}
		case kmsg.Metadata:
			req := kmsg.NewPtrMetadataRequest()
			req.SetVersion(int16(binary.BigEndian.Uint16(p[2:])))
			c.await(p, asked{Request: req})
		}
		if err := send(c.node, p); err != nil {
			return err
		}
	}
}

// await enters a request, of which p are the bytes.
func (c *relayedConn) await(p []byte, req asked) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[binary.BigEndian.Uint32(p[4:])] = req
}

// request reads a produce request, and returns the bytes for the node.
func (c *relayedConn) request(p []byte) ([]byte, error) {
	req := new(kmsg.ProduceRequest)
	req.SetVersion(int16(binary.BigEndian.Uint16(p[2:])))
	head := 10 + max(0, int(int16(binary.BigEndian.Uint16(p[8:])))) // with the client ID
	if req.IsFlexible() {
		head++ // kgo sends no tags
	}
	if err := req.ReadFrom(p[head:]); err != nil {
		return nil, err
	}
	now := c.relay.now()
	of := asked{Request: req}
	if now.Refuse != nil {
		of.refused = now.Refuse(req)
	}
	c.await(p, of)
	switch {
	case of.refused != 0:
		// A node answers in order. A request of another kind takes this one's place in
		// it.
		binary.BigEndian.PutUint32(p, uint32(kmsg.ApiVersions)<<16)
		if req.IsFlexible() {
			head--
		}
		return p[:head], nil
	case now.Request == nil:
		return p, nil
	case !now.Request(req):
		return nil, io.EOF
	}
	return req.AppendTo(p[:head:head]), nil
}

// refusal is the answer that rejects all partitions of a request.
func refusal(req *kmsg.ProduceRequest, code int16) *kmsg.ProduceResponse {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, of := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = of.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (c *relayedConn) answers() error {
	for {
		p, err := frame(c.node, 0)
		if err != nil {
			return err
		}
		id := binary.BigEndian.Uint32(p)
		c.mu.Lock()
		req, ok := c.open[id]
		delete(c.open, id)
		c.mu.Unlock()
		if ok {
			if p, err = c.answer(req, p); err != nil {
				return err
			}
		}
		if err := send(c.client, p); err != nil {
			return err
		}
	}
}

// answer reads the answer to a request, and returns the bytes for the client.
func (c *relayedConn) answer(req asked, p []byte) ([]byte, error) {
	resp := req.ResponseKind()
	head := 4
	if resp.IsFlexible() {
		head++ // brokers send no tags
	}
	produced, isProduce := req.Request.(*kmsg.ProduceRequest)
	if req.refused != 0 {
		return refusal(produced, req.refused).AppendTo(append(p[:4:4], make([]byte, head-4)...)), nil
	}
	change := c.relay.now().Answer
	if isProduce && change == nil {
		return p, nil
	}
	if err := resp.ReadFrom(p[head:]); err != nil {
		return nil, err
	}
	switch resp := resp.(type) {
	case *kmsg.MetadataResponse:
		for i := range resp.Brokers {
			resp.Brokers[i].Host, resp.Brokers[i].Port = host, int32(c.relay.port())
		}
	case *kmsg.ProduceResponse:
		if !change(produced, resp) {
			return nil, io.EOF
		}
	}
	return resp.AppendTo(p[:head:head]), nil
}
