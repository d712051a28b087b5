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

// link is a proxy between clients and a node. It delays, can be cut, and counts.
type link struct {
	listener net.Listener
	node     string // its address

	trip     atomic.Int64 // the round-trip time, a duration
	late     atomic.Int64 // further delay of each answer, a duration
	produces atomic.Int64 // requests

	mu   sync.Mutex
	away bool
	open map[net.Conn]net.Conn // by the client's end
	most int                   // open at a time
}

// newLink returns a link that is not connected to a node yet.
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

// cut closes all connections, and every new one at once.
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

// mostOpen is the largest number of connections at a time since the last call.
func (l *link) mostOpen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.most
	l.most = len(l.open)
	return n
}

// forward carries one connection in both directions.
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
	// Connecting takes a round trip.
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

// chunk is the bytes of one read, and the time when they arrive.
type chunk struct {
	bytes *[]byte
	due   time.Time
}

const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any {
	b := make([]byte, chunkSize)
	return &b
}}

// pass carries bytes one way. Each chunk is delayed, but does not delay the ones behind
// it. So the delay does not bound the bandwidth.
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
			from.Close() // this ends the read
		}
	}
	to.Close()
}

// frames finds the requests in the bytes of a client.
type frames struct {
	head []byte
	left int // bytes left of the current request
	seen func(key int16)
}

func (f *frames) look(b []byte) {
	const size, head = 4, 6 // the length, and the length with the API key
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
