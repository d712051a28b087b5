// Package proxytest is a network with faults, for tests.
package proxytest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Proxy is the network between clients and a node.
type Proxy struct {
	listener net.Listener

	mu   sync.Mutex
	node string // address, empty if the node can't be reached
	open map[net.Conn]struct{}

	mute              atomic.Bool
	swallowed, denied atomic.Int64
}

// New returns a proxy without a node. It lives as long as the process.
func New() (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, open: map[net.Conn]struct{}{}}
	go p.accept()
	return p, nil
}

// Port is where clients find the node.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Connect lets clients reach the node, and get its answers.
func (p *Proxy) Connect(node string) {
	p.mute.Store(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.node = node
}

// Silence passes requests, and drops answers.
func (p *Proxy) Silence() {
	p.swallowed.Store(0)
	p.mute.Store(true)
}

// Cut ends all connections, and every new one at once.
func (p *Proxy) Cut() {
	p.denied.Store(0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.node = ""
	for conn := range p.open {
		conn.Close()
	}
	clear(p.open)
}

// Swallowed returns the bytes of answers that were dropped since the latest Silence.
func (p *Proxy) Swallowed() int64 { return p.swallowed.Load() }

// Denied returns the connections that were ended since the latest Cut.
func (p *Proxy) Denied() int64 { return p.denied.Load() }

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		node := p.node
		p.mu.Unlock()
		if node == "" {
			p.denied.Add(1)
			client.Close()
			continue
		}
		conn, err := net.Dial("tcp", node)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		if p.node == "" {
			client.Close()
			conn.Close()
		}
		p.open[client], p.open[conn] = struct{}{}, struct{}{}
		p.mu.Unlock()
		go p.forward(conn, client, nil)
		go p.forward(client, conn, &p.mute)
	}
}

// forward copies bytes, but drops those that it reads while mute is set.
func (p *Proxy) forward(to, from net.Conn, mute *atomic.Bool) {
	defer func() {
		to.Close()
		from.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, to)
		delete(p.open, from)
	}()
	if mute == nil {
		_, _ = io.Copy(to, from)
		return
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		switch {
		case mute.Load():
			p.swallowed.Add(int64(n))
		default:
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
