package kafkafake

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Network is a network in memory. It uses no socket, so it works in a testing/synctest
// bubble, where its delays take virtual time. The zero value has no delays.
type Network struct {
	// Latency is the delay of bytes, each way. Jitter is the most that Rand adds to it.
	Latency, Jitter time.Duration
	// Rate is the bytes per second of a connection, each way, 0 for no bound.
	Rate int
	// Rand is nil for no jitter.
	Rand *rand.Rand
	// TLS has all connections encrypted.
	TLS bool

	calm      atomic.Bool
	mu        sync.Mutex
	listeners map[string]*listener
	open      map[*conn]struct{} // the clients' ends
	dialed    int
}

// Opts are the options that a client needs to dial on the network.
func (n *Network) Opts() []kgo.Opt { return []kgo.Opt{kgo.Dialer(n.Dial)} }

// Open returns the number of connections that clients have now.
func (n *Network) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.open)
}

// Dialed returns the number of connections that clients have made.
func (n *Network) Dialed() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dialed
}

// Listen is for kfake.ListenFn.
func (n *Network) Listen(_, _ string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners, n.open = map[string]*listener{}, map[*conn]struct{}{}
	}
	l := &listener{
		at:    &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9000 + len(n.listeners)},
		dials: make(chan net.Conn), closed: make(chan struct{}),
	}
	n.listeners[l.at.String()] = l
	if n.TLS {
		return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate().own}, MinVersion: tls.VersionTLS12}), nil
	}
	return l, nil
}

// errRefused is the error of dialling an address without a listener.
var errRefused = errors.New("connection refused")

// Dial is for kgo.Dialer.
func (n *Network) Dial(ctx context.Context, _, host string) (net.Conn, error) {
	c, err := n.dial(ctx, host)
	if err != nil || !n.TLS {
		return c, err
	}
	encrypted := tls.Client(c, &tls.Config{RootCAs: certificate().roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})
	if err := encrypted.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("dial %s: %w", host, err)
	}
	return encrypted, nil
}

func (n *Network) dial(ctx context.Context, host string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[host]
	n.mu.Unlock()
	if !n.travel(0, ctx.Done()) {
		return nil, ctx.Err()
	}
	if l == nil {
		return nil, fmt.Errorf("dial %s: %w", host, errRefused)
	}
	there, back := newStream(), newStream()
	client := &conn{network: n, in: back, out: there, local: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 1}, remote: l.at, closed: make(chan struct{})}
	server := &conn{network: n, in: there, out: back, local: l.at, remote: client.local, closed: make(chan struct{})}
	select {
	case l.dials <- server:
	case <-l.closed:
		return nil, fmt.Errorf("dial %s: %w", host, errRefused)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open[client] = struct{}{}
	client.counted = true
	n.dialed++
	return client, nil
}

// Calm removes all delays from now on.
func (n *Network) Calm() { n.calm.Store(true) }

// travel waits as long as the bytes take, and reports whether they arrived.
func (n *Network) travel(size int, closed <-chan struct{}) bool {
	if n.calm.Load() {
		return true
	}
	d := n.Latency
	if n.Rate > 0 {
		d += time.Duration(size) * time.Second / time.Duration(n.Rate)
	}
	if n.Rand != nil && n.Jitter > 0 {
		n.mu.Lock()
		d += time.Duration(n.Rand.Int64N(int64(n.Jitter)))
		n.mu.Unlock()
	}
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-closed:
		return false
	}
}

type listener struct {
	at     *net.TCPAddr
	dials  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.dials:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return l.at }

// conn is one end of a connection. Its writes are buffered without a bound.
type conn struct {
	network       *Network
	in, out       *stream
	local, remote net.Addr
	counted       bool
	closed        chan struct{}
	once          sync.Once
}

func (c *conn) Read(p []byte) (int, error) { return c.in.read(p) }

func (c *conn) Write(p []byte) (int, error) {
	if !c.network.travel(len(p), c.closed) {
		return 0, net.ErrClosed
	}
	return c.out.write(p)
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.in.close(net.ErrClosed)
	c.out.close(io.EOF)
	if c.counted {
		c.network.mu.Lock()
		delete(c.network.open, c)
		c.network.mu.Unlock()
	}
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.setDeadline(t)
	return nil
}
func (c *conn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }
func (c *conn) SetWriteDeadline(time.Time) error  { return nil } // a write never blocks

// stream is one direction of a connection.
type stream struct {
	mu       sync.Mutex
	changed  *sync.Cond
	bytes    []byte
	end      error // the error of reads after the last byte
	deadline time.Time
	alarm    *time.Timer
}

func newStream() *stream {
	s := &stream{}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case errors.Is(s.end, net.ErrClosed):
			return 0, s.end
		case len(s.bytes) > 0:
			n := copy(p, s.bytes)
			s.bytes = s.bytes[n:]
			return n, nil
		case s.end != nil:
			return 0, s.end
		case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
			return 0, os.ErrDeadlineExceeded
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		return 0, io.ErrClosedPipe
	}
	s.bytes = append(s.bytes, p...)
	s.changed.Broadcast()
	return len(p), nil
}

func (s *stream) close(end error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil || errors.Is(end, net.ErrClosed) {
		s.end = end
	}
	if s.alarm != nil {
		s.alarm.Stop()
	}
	s.changed.Broadcast()
}

func (s *stream) setDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	if s.alarm != nil {
		s.alarm.Stop()
	}
	if !t.IsZero() {
		s.alarm = time.AfterFunc(time.Until(t), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changed.Broadcast()
		})
	}
	s.changed.Broadcast()
}
