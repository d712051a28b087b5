//go:build linux || darwin

package kafkatest

import (
	"bytes"
	"os"
)

// Logged returns how many lines of the nodes' logs have the text in them, in all
// runs of the nodes so far. Of the user's own cluster it sees none.
func (c *Cluster) Logged(text string) int {
	c.tb.Helper()
	count := 0
	for _, n := range c.c.nodes {
		lines, err := n.logged(text)
		c.must(err, "reading the log of node %d", n.id)
		count += lines
	}
	return count
}

// logged returns how many lines of the node's log have the text in them.
func (n *node) logged(text string) (count int, err error) {
	log, err := os.ReadFile(n.logFile)
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte(text)) {
			count++
		}
	}
	return count, err
}
