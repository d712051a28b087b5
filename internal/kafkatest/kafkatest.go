//go:build linux || darwin

package kafkatest

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
	"github.com/kafka-guarded/kafka-guarded/internal/progress"
)

// externalEnv names the environment variable with the brokers of the user's
// own cluster.
const externalEnv = "KAFKA_BROKERS"

func externalBrokers() []string {
	return strings.FieldsFunc(os.Getenv(externalEnv), func(r rune) bool {
		return r == ',' || r == ' '
	})
}

// Cluster is one test's handle of a running cluster. Its methods end that test
// when they fail, so call them from the goroutine of the test.
type Cluster struct {
	tb     testing.TB
	c      *cluster
	shared bool
	behind string // Behind's address, empty without
}

// Start starts a cluster for this test alone and ends it with the test.
func Start(tb testing.TB, opts Options) *Cluster {
	tb.Helper()
	opts = prepare(tb, opts)
	c, err := open(opts)
	if err != nil {
		tb.Fatalf("kafkatest: starting a cluster: %v", err)
	}
	tb.Cleanup(c.close)
	return newCluster(tb, c, opts, false)
}

// sharedCluster is a cluster of the whole test binary, or why there is none.
type sharedCluster struct {
	once sync.Once
	c    *cluster
	err  error
}

var (
	sharedMu sync.Mutex
	shared   = map[string]*sharedCluster{}
)

// Shared returns the cluster that all tests of this binary with equal options
// share. The first of them starts it; it runs until StopAll, or until the
// binary ends.
func Shared(tb testing.TB, opts Options) *Cluster {
	tb.Helper()
	opts = prepare(tb, opts)
	key, err := opts.key()
	if err != nil {
		tb.Fatalf("kafkatest: %v", err)
	}
	sharedMu.Lock()
	s := shared[key]
	if s == nil {
		s = &sharedCluster{}
		shared[key] = s
	}
	sharedMu.Unlock()
	s.once.Do(func() { s.c, s.err = open(opts) })
	if s.err != nil {
		tb.Fatalf("kafkatest: starting a shared cluster: %v", s.err)
	}
	return newCluster(tb, s.c, opts, true)
}

// StopAll ends all shared clusters and removes their data. No test may use
// one afterwards.
func StopAll() {
	sharedMu.Lock()
	defer sharedMu.Unlock()
	for key, s := range shared {
		s.once.Do(func() { s.err = fmt.Errorf("StopAll was called") })
		if s.c != nil {
			s.c.close()
		}
		delete(shared, key)
	}
}

// latest is the test that asked for a cluster last.
var latest atomic.Value

// parallel is how many parallel tests Main runs at a time. Go's default is the number
// of processors, but tests on a cluster wait far more than they compute.
const parallel = 12

// Main is a TestMain that runs the tests and then ends all shared clusters. Under
// -v it says once a minute which test is running.
func Main(m *testing.M) {
	flag.Parse() // which progress asks
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(parallel)) // the flag is there, and takes numbers
	}
	stop := progress.Lines(func() string {
		name, _ := latest.Load().(string)
		return cmp.Or(name, "the first cluster starts")
	})
	code := m.Run()
	stop()
	StopAll()
	for _, do := range atEnd {
		do()
	}
	os.Exit(code)
}

var atEnd []func()

// AtEnd makes Main call a function after the tests.
func AtEnd(do func()) {
	sharedMu.Lock()
	defer sharedMu.Unlock()
	atEnd = append(atEnd, do)
}

// prepare checks the options and skips the test if this machine, or the user's
// own cluster, can't satisfy them.
func prepare(tb testing.TB, opts Options) Options {
	tb.Helper()
	if len(externalBrokers()) > 0 {
		if what := opts.needsControl(); what != "" {
			tb.Skipf("kafkatest: the test sets Options.%s, which takes a cluster of its own; unset %s", what, externalEnv)
		}
		return opts
	}
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		tb.Fatalf("kafkatest: options: %v", err)
	}
	requireVersion(tb, opts.Version)
	return opts
}

func open(opts Options) (*cluster, error) {
	if seeds := externalBrokers(); len(seeds) > 0 {
		return connectExternal(context.Background(), seeds)
	}
	return start(context.Background(), opts)
}

func newCluster(tb testing.TB, c *cluster, opts Options, isShared bool) *Cluster {
	tb.Helper()
	latest.Store(tb.Name())
	if c.opts.Nodes < opts.Nodes {
		tb.Skipf("kafkatest: the test needs %d nodes, the cluster of %s has %d", opts.Nodes, externalEnv, c.opts.Nodes)
	}
	cl := &Cluster{tb: tb, c: c, shared: isShared}
	tb.Cleanup(func() {
		if tb.Failed() {
			cl.logTails()
		}
	})
	return cl
}

// With returns a handle of the same cluster for another test, such as a
// subtest.
func (c *Cluster) With(tb testing.TB) *Cluster {
	latest.Store(tb.Name())
	of := *c
	of.tb = tb
	return &of
}

// Behind returns a handle of the same cluster whose clients are told the address of a
// proxy. Only a proxy that rewrites the addresses in metadata keeps them from going
// past it.
func (c *Cluster) Behind(proxy string) *Cluster {
	of := *c
	of.behind = proxy
	return &of
}

// Nodes returns how many nodes the cluster has; they are numbered from 1.
func (c *Cluster) Nodes() int { return c.c.opts.Nodes }

// Brokers returns the addresses of the client listeners that a client is told.
func (c *Cluster) Brokers() []string {
	if c.behind != "" {
		return []string{c.behind}
	}
	return c.c.seeds
}

// ClientAddr returns the address that a node's client listener has, which is
// not the one clients are told if Options.AdvertisedPorts says otherwise.
func (c *Cluster) ClientAddr(node int) string {
	c.tb.Helper()
	return freeport.At(c.node(node).client)
}

// SuperUserAddr returns the address of a node's internal listener. Its clients need
// no credentials, and have all rights.
func (c *Cluster) SuperUserAddr(node int) string {
	c.tb.Helper()
	return freeport.At(c.node(node).internal)
}

// logTails shows the end of every node's log.
func (c *Cluster) logTails() {
	for _, n := range c.c.nodes {
		c.tb.Logf("the last %d lines of the log of Kafka node %d:\n%s", logTail, n.id, n.tail())
	}
}

// node returns a node by its number, and skips the test on the user's own
// cluster, whose nodes are not ours.
func (c *Cluster) node(id int) *node {
	c.tb.Helper()
	c.needControl("control over the nodes")
	if id < 1 || id > len(c.c.nodes) {
		c.tb.Fatalf("kafkatest: there is no node %d, there are %d", id, len(c.c.nodes))
	}
	return c.c.nodes[id-1]
}

func (c *Cluster) needControl(of string) {
	c.tb.Helper()
	if c.c.external() {
		c.tb.Skipf("kafkatest: the test needs %s, which takes a cluster of its own; unset %s", of, externalEnv)
	}
}

func (c *Cluster) must(err error, format string, args ...any) {
	c.tb.Helper()
	if err != nil {
		c.tb.Fatalf("kafkatest: %s: %v", fmt.Sprintf(format, args...), err)
	}
}
