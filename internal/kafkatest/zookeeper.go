//go:build linux || darwin

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
)

// zooKeeper keeps the metadata of a cluster of one node, for a version that can't
// do that by itself.
type zooKeeper struct {
	port int
	proc *process
}

// startZooKeeper starts the one that comes with the version and does not wait for
// it: the node does.
func startZooKeeper(r *javaRuntime, dir string) (*zooKeeper, error) {
	port, err := freeport.Port()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "zookeeper.properties")
	err = writeProperties(config, map[string]string{
		"dataDir":                filepath.Join(dir, "zookeeper"),
		"clientPortAddress":      freeport.Host,
		"clientPort":             strconv.Itoa(port),
		"tickTime":               "500", // the shortest session has two
		"admin.enableServer":     "false",
		"4lw.commands.whitelist": "dump",
	})
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "zookeeper.log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of ZooKeeper: %w", err)
	}
	defer log.Close()
	cmd := r.command(r.archiveFlags(), "org.apache.zookeeper.server.quorum.QuorumPeerMain", config)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := startProcess(cmd)
	if err != nil {
		return nil, fmt.Errorf("starting ZooKeeper: %w", err)
	}
	return &zooKeeper{port, proc}, nil
}

// connect makes the properties of a node those of one with ZooKeeper.
func (z *zooKeeper) connect(n *node, p map[string]string) {
	maps.DeleteFunc(p, func(key, _ string) bool {
		switch key {
		case "process.roles", "node.id", "controller.quorum.voters", "controller.listener.names":
			return true
		}
		return false
	})
	p["broker.id"] = strconv.Itoa(n.id)
	p["zookeeper.connect"] = freeport.At(z.port)
	p["zookeeper.session.timeout.ms"] = "3000" // a killed node may not come back before
	// The default is the session's, and ZooKeeper may still be starting.
	p["zookeeper.connection.timeout.ms"] = "60000"
	p["listeners"] = fmt.Sprintf("%s://%s,%s://%s", internalListener, freeport.At(n.internal), clientListener, freeport.At(n.client))
}

// waitGone waits until the session of a node has ended. Before that ZooKeeper does
// not take it back.
func (z *zooKeeper) waitGone(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	return poll(ctx, func() (bool, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", freeport.At(z.port))
		if err != nil {
			return false, fmt.Errorf("asking ZooKeeper for its sessions: %w", err)
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("dump"))
		sessions, err := io.ReadAll(conn)
		return err == nil && !strings.Contains(string(sessions), fmt.Sprintf("/brokers/ids/%d\n", n.id)), nil
	})
}

// settleInLog is settle for a node with ZooKeeper, which answers with what
// ZooKeeper has, whether it goes by that or not. It logs each change before it
// acts by it, one after the other.
func (c *cluster) settleInLog(ctx context.Context) error {
	const topic, line = "kafkatest.settle", "Processing override for entityPath: topics/kafkatest.settle "
	if _, err := c.admin.CreateTopic(ctx, 1, 1, nil, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("settling: %w", err)
	}
	for range 2 {
		before, err := c.nodes[0].logged(line)
		if err != nil {
			return fmt.Errorf("settling: %w", err)
		}
		c.settled++
		if err := c.setTopicConfig(ctx, topic, "retention.ms", fmt.Sprint(c.settled)); err != nil {
			return fmt.Errorf("settling: %w", err)
		}
		err = poll(ctx, func() (bool, error) {
			n, err := c.nodes[0].logged(line)
			return n > before, err
		})
		if err != nil {
			return fmt.Errorf("settling: %w", err)
		}
	}
	return nil
}
