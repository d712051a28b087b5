//go:build linux || darwin

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is the network between clients and a node: a proxy that takes its time,
// can be cut, and sees what passes.
type link struct {
	listener net.Listener
	node     string // its address

	trip     atomic.Int64 // the round-trip time, a duration
	late     atomic.Int64 // how much later each answer is, a duration
	produces atomic.Int64 // requests

	mu   sync.Mutex
	away bool
	open map[net.Conn]net.Conn // by the client's end
	most int                   // that were open at a time
}

// newLink returns a link that leads nowhere until it is told a node.
func newLink() (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for clients: %w", err)
	}
	return &link{listener: listener, open: map[net.Conn]net.Conn{}}, nil
}

// serve forwards to the node until the link is closed.
func (l *link) serve(node string) {
	l.node = node
	go func() {
		for {
			client, err := l.listener.Accept()
			if err != nil {
				return
			}
			go l.forward(client)
		}
	}()
}

func (l *link) port() int { return l.listener.Addr().(*net.TCPAddr).Port }

func (l *link) close() {
	l.listener.Close()
	l.cut()
}

// cut ends all connections, and every new one at once.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = true
	for client, node := range l.open {
		client.Close()
		node.Close()
	}
}

// mend lets clients reach the node again.
func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = false
}

// mostOpen is how many connections there were at a time since it was last asked.
func (l *link) mostOpen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.most
	l.most = len(l.open)
	return n
}

// forward carries one connection.
func (l *link) forward(client net.Conn) {
	defer client.Close()
	accepted := time.Now()
	node, err := net.Dial("tcp", l.node)
	if err != nil {
		return
	}
	defer node.Close()
	l.mu.Lock()
	if l.away {
		l.mu.Unlock()
		return
	}
	l.open[client] = node
	l.most = max(l.most, len(l.open))
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, client)
	}()
	trip := func() time.Duration { return time.Duration(l.trip.Load()) }
	// A client has no connection until its first packet is back.
	opened := accepted.Add(trip())
	frames := frames{seen: func(key int16) {
		if key == 0 {
			l.produces.Add(1)
		}
	}}
	var both sync.WaitGroup
	both.Go(func() {
		pass(node, client, frames.look, func() time.Time { return latest(time.Now(), opened).Add(trip() / 2) })
	})
	both.Go(func() {
		pass(client, node, nil, func() time.Time { return time.Now().Add(trip()/2 + time.Duration(l.late.Load())) })
	})
	both.Wait()
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// chunk is what was read in one go, and when it is at the other end.
type chunk struct {
	bytes *[]byte
	due   time.Time
}

const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any {
	b := make([]byte, chunkSize)
	return &b
}}

// pass carries bytes one way. What is under way does not hold up what is behind
// it: a delay is no bound to the bandwidth.
func pass(to, from net.Conn, look func([]byte), due func() time.Time) {
	underWay := make(chan chunk, 1024)
	go func() {
		defer close(underWay)
		for {
			b := chunks.Get().(*[]byte)
			n, err := from.Read((*b)[:chunkSize])
			if n > 0 {
				*b = (*b)[:n]
				if look != nil {
					look(*b)
				}
				underWay <- chunk{b, due()}
			}
			if err != nil {
				return
			}
		}
	}()
	var failed error
	for c := range underWay {
		time.Sleep(time.Until(c.due))
		if failed == nil {
			_, failed = to.Write(*c.bytes)
		}
		*c.bytes = (*c.bytes)[:chunkSize]
		chunks.Put(c.bytes)
		if failed != nil {
			from.Close() // which ends the reading
		}
	}
	to.Close()
}

// frames finds the requests in what a client sends.
type frames struct {
	head []byte
	left int // bytes of the request that is being read
	seen func(key int16)
}

func (f *frames) look(b []byte) {
	const size, head = 4, 6 // the length, and with it the key
	for len(b) > 0 {
		if f.left > 0 {
			n := min(f.left, len(b))
			b, f.left = b[n:], f.left-n
			continue
		}
		n := min(head-len(f.head), len(b))
		f.head = append(f.head, b[:n]...)
		b = b[n:]
		if len(f.head) == head {
			f.left = int(binary.BigEndian.Uint32(f.head)) - (head - size)
			f.seen(int16(binary.BigEndian.Uint16(f.head[size:])))
			f.head = f.head[:0]
		}
	}
}
