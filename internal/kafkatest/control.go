//go:build linux || darwin

package kafkatest

import (
	"context"
	"os"
)

// Kill ends a node at once, as a power cut does. The others notice after the
// session timeout of 3 s.
func (c *Cluster) Kill(node int) {
	c.tb.Helper()
	n := c.node(node)
	c.restoreLater(n)
	n.kill()
}

// Stop shuts a node down gracefully: it hands over what it leads first.
func (c *Cluster) Stop(node int) {
	c.tb.Helper()
	n := c.node(node)
	c.expect(n, nodeRunning, "stop")
	c.restoreLater(n)
	c.must(n.stop(), "stopping a node")
}

// Freeze stops a node's process from running. Its connections stay open and
// nothing answers on them; the other nodes take it for dead after the session
// timeout of 3 s.
func (c *Cluster) Freeze(node int) {
	c.tb.Helper()
	n := c.node(node)
	c.expect(n, nodeRunning, "freeze")
	c.restoreLater(n)
	c.must(n.freeze(), "freezing a node")
}

// Thaw lets a frozen node run again, and waits until all running nodes see it.
func (c *Cluster) Thaw(node int) {
	c.tb.Helper()
	n := c.node(node)
	c.expect(n, nodeFrozen, "thaw")
	c.must(n.thaw(), "thawing a node")
	c.must(c.c.waitReady(context.Background(), n), "thawing node %d", node)
}

// TakeLogDir takes the last of a node's Options.LogDirs away, as a disk that fails
// does. The node notices when it next opens a file there, within 5 s, and goes on
// without: to the node, that and a full disk are the same. Only on a cluster of the
// test's own: GiveLogDir is not called by itself.
func (c *Cluster) TakeLogDir(node int) {
	c.tb.Helper()
	dir := c.lastLogDir(node)
	c.must(os.Rename(dir, dir+takenAway), "taking a log directory of node %d away", node)
}

// GiveLogDir brings the directory back, which the node takes at its next start.
func (c *Cluster) GiveLogDir(node int) {
	c.tb.Helper()
	dir := c.lastLogDir(node)
	c.must(os.Rename(dir+takenAway, dir), "giving a log directory back to node %d", node)
}

const takenAway = "-taken-away"

func (c *Cluster) lastLogDir(node int) string {
	c.tb.Helper()
	n := c.node(node)
	if len(n.dirs) < 2 || c.shared {
		c.tb.Fatalf("kafkatest: node %d ends with its only log directory, or is shared", node)
	}
	return n.dirs[len(n.dirs)-1]
}

// Restart starts a node, after ending it at once if it is not down, and waits
// until all running nodes see it. Its replicas may still be catching up:
// WaitInSync waits for them.
func (c *Cluster) Restart(node int) {
	c.tb.Helper()
	n := c.node(node)
	c.restoreLater(n)
	c.must(c.c.restart(n), "restarting node %d", node)
}

// WaitInSync waits until every replica of every partition is in sync. It needs
// all nodes to be running.
func (c *Cluster) WaitInSync() {
	c.tb.Helper()
	c.needControl("control over the nodes")
	c.must(c.c.waitInSync(context.Background()), "waiting for replicas")
}

func (c *Cluster) expect(n *node, state nodeState, to string) {
	c.tb.Helper()
	if n.state != state {
		c.tb.Fatalf("kafkatest: can't %s node %d, it is %s", to, n.id, n.state)
	}
}

// restoreLater makes the node of a shared cluster run as before when the test
// ends, for the tests that follow.
func (c *Cluster) restoreLater(n *node) {
	if !c.shared {
		return
	}
	c.tb.Cleanup(func() {
		c.tb.Helper()
		if err := c.c.restore(n); err != nil {
			c.tb.Errorf("kafkatest: restoring node %d of a shared cluster: %v", n.id, err)
		}
	})
}

func (c *cluster) restart(n *node) error {
	n.kill()
	if c.zk != nil {
		if err := c.zk.waitGone(context.Background(), n); err != nil {
			return err
		}
	}
	if err := n.launch(c.runtime, c.runtime.archiveFlags()); err != nil {
		return err
	}
	return c.waitReady(context.Background(), n)
}

// restore makes a node run, and waits until replicas are in sync once all
// nodes run.
func (c *cluster) restore(n *node) error {
	switch n.state {
	case nodeRunning:
	case nodeDown:
		if err := c.restart(n); err != nil {
			return err
		}
	case nodeFrozen:
		if err := n.thaw(); err != nil {
			return err
		}
		if err := c.waitReady(context.Background(), n); err != nil {
			return err
		}
	}
	if len(c.running()) < len(c.nodes) {
		return nil
	}
	return c.waitInSync(context.Background())
}

// String says what the node does, in an error.
func (s nodeState) String() string {
	switch s {
	case nodeRunning:
		return "running"
	case nodeFrozen:
		return "frozen"
	case nodeDown:
		return "down"
	}
	return "unknown"
}
