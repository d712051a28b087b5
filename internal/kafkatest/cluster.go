//go:build linux || darwin

package kafkatest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
)

const (
	// pollInterval is how often a condition is looked at.
	pollInterval = 20 * time.Millisecond

	// pollTimeout is how long one look may take: a frozen node never
	// answers.
	pollTimeout = 10 * time.Second

	// opTimeout is how long a method may take, but for starting and
	// stopping nodes. It covers an election of both the controller and the
	// leaders, on a machine that is busy with other things.
	opTimeout = 3 * time.Minute
)

// cluster is a running cluster, for any test: the nodes of our own, or
// none if it is the user's.
type cluster struct {
	opts    Options
	runtime *javaRuntime
	dir     string
	nodes   []*node
	certs   *Certs
	zk      *zooKeeper // before 3.3
	seeds   []string   // what clients are given
	client  *kgo.Client
	admin   *kadm.Client

	settleMu sync.Mutex
	settled  float64
}

// start starts a cluster and waits until all of its nodes see each other.
func start(ctx context.Context, opts Options) (*cluster, error) {
	r, err := findRuntime(opts.Version)
	if err != nil {
		return nil, err
	}
	if err := r.resolve(ctx); err != nil {
		return nil, err
	}
	if err := r.archive(ctx); err != nil {
		return nil, err
	}
	return startWith(ctx, r, opts, append(r.archiveFlags(), opts.JVM...))
}

// startWith starts a cluster with the given JVM flags. A port is free when it
// is chosen and may be taken when the node binds it a second later, so it
// tries again with others then.
func startWith(ctx context.Context, r *javaRuntime, opts Options, flags []string) (*cluster, error) {
	for try := 1; ; try++ {
		c, err := startOnce(ctx, r, opts, flags)
		if err == nil {
			return c, nil
		}
		if try == 3 || !strings.Contains(err.Error(), "Address already in use") {
			return nil, err
		}
	}
}

func startOnce(ctx context.Context, r *javaRuntime, opts Options, flags []string) (_ *cluster, err error) {
	c := &cluster{opts: opts, runtime: r}
	if c.dir, err = os.MkdirTemp("", "kafkatest-"); err != nil {
		return nil, fmt.Errorf("making a data directory: %w", err)
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	var internal []string
	for id := 1; id <= opts.Nodes; id++ {
		n, err := newNode(id, c.dir, opts.AdvertisedPorts[id], opts.LogDirs)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
		c.seeds = append(c.seeds, freeport.At(n.advertised))
		internal = append(internal, freeport.At(n.internal))
	}
	if opts.TLS {
		if c.certs, err = makeCerts(c.dir, opts.ExpiredCert); err != nil {
			return nil, err
		}
	}
	if opts.zooKeeper() {
		if c.zk, err = startZooKeeper(r, c.dir); err != nil {
			return nil, err
		}
	}
	for _, n := range c.nodes {
		if err := writeProperties(n.config, c.nodeProperties(n)); err != nil {
			return nil, err
		}
	}
	if c.zk == nil {
		if err := c.format(); err != nil {
			return nil, err
		}
	}
	for _, n := range c.nodes {
		if err := n.launch(r, flags); err != nil {
			return nil, err
		}
	}
	if err := c.connect(internal); err != nil {
		return nil, err
	}
	if err := c.waitReady(ctx, c.nodes...); err != nil {
		return nil, err
	}
	return c, nil
}

// connectExternal connects to the user's own cluster.
func connectExternal(ctx context.Context, seeds []string) (*cluster, error) {
	c := &cluster{seeds: seeds}
	if err := c.connect(seeds); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	brokers, err := c.admin.ListBrokers(ctx)
	if err != nil {
		c.close()
		return nil, fmt.Errorf("connecting to the cluster of %s=%s: %w", externalEnv, strings.Join(seeds, ","), err)
	}
	c.opts.Nodes = len(brokers)
	return c, nil
}

// connect makes the clients of the super user.
func (c *cluster) connect(seeds []string) error {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(seeds...),
		kgo.RequestTimeoutOverhead(pollTimeout),
		kgo.RetryTimeout(opTimeout),
		// For this long it goes by what it knows of a topic, which a test
		// may have deleted and created again since.
		kgo.MetadataMinAge(pollInterval),
	)
	if err != nil {
		return fmt.Errorf("making the admin client: %w", err)
	}
	c.client = cl
	c.admin = kadm.NewClient(cl)
	c.admin.SetTimeoutMillis(30_000)
	return nil
}

// external tells whether the cluster is the user's own.
func (c *cluster) external() bool { return len(c.nodes) == 0 }

// close ends the nodes and removes their data.
func (c *cluster) close() {
	if c.client != nil {
		c.client.Close()
	}
	for _, n := range c.nodes {
		n.kill()
	}
	if c.zk != nil {
		c.zk.proc.kill()
	}
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
}

// format prepares the storage of all nodes. Kafka's tool does it for the first
// one; the others' differs in two IDs only, and a JVM less is a second less.
func (c *cluster) format() error {
	first := c.nodes[0]
	id := newUUID()
	args := append([]string{"format", "--config", first.config, "--cluster-id", id}, c.opts.scramArgs()...)
	cmd := c.runtime.command(c.runtime.archiveFlags(), "kafka.tools.StorageTool", args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := startProcess(cmd)
	if err != nil {
		return fmt.Errorf("formatting storage of node %d: %w", first.id, err)
	}
	if <-p.done; p.err != nil {
		return fmt.Errorf("formatting storage of node %d: %w\n%s", first.id, p.err, out.String())
	}
	if len(c.nodes) == 1 {
		return nil
	}
	bootstrap, records, err := readBootstrap(first.dir)
	if err != nil {
		return fmt.Errorf("formatting storage of node %d: %w", first.id, err)
	}
	for _, n := range c.nodes[1:] {
		for _, dir := range n.dirs {
			err := os.Mkdir(dir, 0o700)
			if err == nil {
				err = writeProperties(filepath.Join(dir, "meta.properties"), map[string]string{
					"version":      "1",
					"cluster.id":   id,
					"node.id":      fmt.Sprint(n.id),
					"directory.id": newUUID(),
				})
			}
			if err != nil {
				return fmt.Errorf("formatting storage of node %d: %w", n.id, err)
			}
		}
		file := filepath.Join(n.dir, bootstrap)
		err := os.MkdirAll(filepath.Dir(file), 0o700)
		if err == nil {
			err = os.WriteFile(file, records, 0o600)
		}
		if err != nil {
			return fmt.Errorf("formatting storage of node %d: %w", n.id, err)
		}
	}
	return nil
}

// readBootstrap reads the first records of the cluster's metadata out of a
// formatted directory, and returns where in it they are. Since Kafka 4.4 they are
// the first snapshot of the metadata.
func readBootstrap(dir string) (file string, records []byte, err error) {
	for _, file = range []string{
		"bootstrap.checkpoint",
		filepath.Join("__cluster_metadata-0", "00000000000000000000-0000000000.checkpoint"),
	} {
		if records, err = os.ReadFile(filepath.Join(dir, file)); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return file, records, err
}

// newUUID makes an ID as Kafka writes them. It does not begin with a dash,
// which would read as an option on a command line.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[0] &= 0x7f
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// running are the nodes that can answer.
func (c *cluster) running() []*node {
	var up []*node
	for _, n := range c.nodes {
		if n.state == nodeRunning {
			up = append(up, n)
		}
	}
	return up
}

// on sends a request to one node's internal listener.
func (c *cluster) on(ctx context.Context, n *node, req kmsg.Request) (kmsg.Response, error) {
	return c.client.SeedBrokers()[n.id-1].Request(ctx, req)
}

// everywhere polls until the check passes for the answer of every running node
// to the request. Of the user's own cluster it asks every broker there is.
func (c *cluster) everywhere(ctx context.Context, req kmsg.Request, check func(kmsg.Response) error) error {
	var brokers []*kgo.Broker
	if c.external() {
		list, err := c.admin.ListBrokers(ctx)
		if err != nil {
			return fmt.Errorf("listing brokers: %w", err)
		}
		for _, b := range list {
			brokers = append(brokers, c.client.Broker(int(b.NodeID)))
		}
	}
	seeds := c.client.SeedBrokers()
	for _, n := range c.running() {
		brokers = append(brokers, seeds[n.id-1])
	}
	for _, b := range brokers {
		var last error
		err := poll(ctx, func() (bool, error) {
			tctx, cancel := context.WithTimeout(ctx, pollTimeout)
			defer cancel()
			resp, err := b.Request(tctx, req)
			if err == nil {
				err = check(resp)
			}
			last = err
			return err == nil, nil
		})
		if err != nil {
			return fmt.Errorf("waiting for all nodes to know: %w", errors.Join(err, last))
		}
	}
	return nil
}

// poll calls f until it returns true or an error, or ctx ends.
func poll(ctx context.Context, f func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		ok, err := f()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
