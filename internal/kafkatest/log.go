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
		log, err := os.ReadFile(n.logFile)
		c.must(err, "reading the log of node %d", n.id)
		for line := range bytes.Lines(log) {
			if bytes.Contains(line, []byte(text)) {
				count++
			}
		}
	}
	return count
}
