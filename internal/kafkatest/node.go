//go:build linux || darwin

package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
)

const (
	// startTimeout is how long a node may take until the others see it.
	startTimeout = 5 * time.Minute

	// stopTimeout is how long a graceful shutdown may take.
	stopTimeout = 3 * time.Minute

	// logTail is how many lines of a node's log a failed test shows.
	logTail = 60
)

// nodeState is what a node does now.
type nodeState int

const (
	nodeDown nodeState = iota
	nodeRunning
	nodeFrozen
)

// node is one Kafka process: broker and controller.
type node struct {
	id         int
	client     int // port for clients
	advertised int // port that clients are told
	internal   int // port for brokers and for the super user
	controller int // port for controllers

	dir     string // of the metadata and, if it is the only one, of the data
	dirs    []string
	config  string // the file of broker properties
	logFile string // output of all its runs

	state nodeState
	proc  *process
}

func newNode(id int, dir string, advertised, logDirs int) (*node, error) {
	n := &node{
		id:      id,
		dir:     filepath.Join(dir, fmt.Sprintf("node-%d", id)),
		config:  filepath.Join(dir, fmt.Sprintf("node-%d.properties", id)),
		logFile: filepath.Join(dir, fmt.Sprintf("node-%d.log", id)),
	}
	n.dirs = []string{n.dir}
	for i := 2; i <= logDirs; i++ {
		n.dirs = append(n.dirs, fmt.Sprintf("%s-%d", n.dir, i))
	}
	for _, p := range []*int{&n.client, &n.internal, &n.controller} {
		var err error
		if *p, err = freeport.Port(); err != nil {
			return nil, err
		}
	}
	n.advertised = n.client
	if advertised != 0 {
		n.advertised = advertised
	}
	return n, nil
}

// launch starts the process and does not wait for it.
func (n *node) launch(r *javaRuntime, flags []string) error {
	log, err := os.OpenFile(n.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of node %d: %w", n.id, err)
	}
	defer log.Close()
	cmd := r.command(flags, "kafka.Kafka", n.config)
	cmd.Dir = filepath.Dir(n.dir)
	cmd.Stdout, cmd.Stderr = log, log
	if n.proc, err = startProcess(cmd); err != nil {
		return fmt.Errorf("starting node %d: %w", n.id, err)
	}
	n.state = nodeRunning
	return nil
}

// kill ends the process without a shutdown.
func (n *node) kill() {
	if n.state != nodeDown {
		n.proc.kill()
		n.state = nodeDown
	}
}

// stop asks the process to shut down and waits until it has.
func (n *node) stop() error {
	if err := n.proc.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending node %d: %w", n.id, err)
	}
	select {
	case <-n.proc.done:
		n.state = nodeDown
		return nil
	case <-time.After(stopTimeout):
		n.kill()
		return fmt.Errorf("node %d did not shut down in %s", n.id, stopTimeout)
	}
}

func (n *node) freeze() error {
	if err := n.proc.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freezing node %d: %w", n.id, err)
	}
	n.state = nodeFrozen
	return nil
}

func (n *node) thaw() error {
	if err := n.proc.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("thawing node %d: %w", n.id, err)
	}
	n.state = nodeRunning
	return nil
}

// tail returns the last lines of the log.
func (n *node) tail() string { return tail(n.logFile) }

func tail(file string) string {
	const atMost = 64 << 10
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-atMost), io.SeekStart)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-logTail):], []byte("\n")))
}

// sees tells whether the node answers and knows the wanted nodes as alive.
func (c *cluster) sees(ctx context.Context, n *node, wanted []*node) bool {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := c.on(ctx, n, req)
	if err != nil {
		return false
	}
	alive := map[int32]bool{}
	for _, b := range resp.(*kmsg.MetadataResponse).Brokers {
		alive[b.NodeID] = true
	}
	for _, w := range wanted {
		if !alive[int32(w.id)] {
			return false
		}
	}
	return true
}

// waitReady waits until every running node sees the given ones.
func (c *cluster) waitReady(ctx context.Context, nodes ...*node) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, by := range c.running() {
		err := poll(ctx, func() (bool, error) {
			for _, n := range c.running() {
				if n.proc.ended() {
					n.state = nodeDown
					return false, fmt.Errorf("node %d has ended (%v), its log:\n%s", n.id, n.proc.err, n.tail()) //nolint:errorlint // nil after a clean end
				}
			}
			return c.sees(ctx, by, nodes), nil
		})
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w, its log:\n%s", err, by.tail())
		}
		if err != nil {
			return fmt.Errorf("waiting until node %d sees all nodes: %w", by.id, err)
		}
	}
	return nil
}

// waitInSync waits until every replica of every partition is in sync, as far
// as the nodes know.
func (c *cluster) waitInSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var behind string
	err := poll(ctx, func() (bool, error) {
		for _, n := range c.running() {
			tctx, tcancel := context.WithTimeout(ctx, pollTimeout)
			req := kmsg.NewPtrMetadataRequest()
			req.Topics = nil // all of them
			resp, err := c.on(tctx, n, req)
			tcancel()
			if err != nil {
				behind = err.Error()
				return false, nil
			}
			for _, t := range resp.(*kmsg.MetadataResponse).Topics {
				for _, p := range t.Partitions {
					if p.Leader < 0 || len(p.ISR) < len(p.Replicas) {
						behind = fmt.Sprintf("partition %d of topic %s: leader %d, replicas %v, in sync %v",
							p.Partition, *t.Topic, p.Leader, p.Replicas, p.ISR)
						return false, nil
					}
				}
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for replicas to be in sync (%s): %w", behind, err)
	}
	return nil
}
