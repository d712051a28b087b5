//go:build linux || darwin

package integration

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/proxytest"
)

// proxied is the node that clients reach through a proxy.
const proxied = 1

var (
	proxyOnce sync.Once
	theProxy  *proxytest.Proxy
)

// threeNodes returns a cluster of three nodes, and the proxy in front of one.
func threeNodes(t *testing.T) (*kafkatest.Cluster, *proxytest.Proxy) {
	t.Helper()
	skipShort(t)
	proxyOnce.Do(func() {
		var err error
		theProxy, err = proxytest.New()
		require.NoError(t, err)
	})
	c := shared(t, kafkatest.Options{Nodes: 3, AdvertisedPorts: map[int]int{proxied: theProxy.Port()}})
	theProxy.Connect(c.ClientAddr(proxied))
	return c, theProxy
}

// faults is what a test of faults does them with.
type faults struct {
	*kafkatest.Cluster
	t     *testing.T
	proxy *proxytest.Proxy
	topic string // the topic that faults are about
	loads []*stream
}

// goOn waits until every load has got on since.
func (f *faults) goOn() {
	f.t.Helper()
	for _, s := range f.loads {
		s.goOn(15)
	}
}

// settle waits until all replicas are in sync and every load has got on since.
func (f *faults) settle() {
	f.t.Helper()
	f.WaitInSync()
	f.goOn()
}

// underLoad runs do while three streams write, in which one message of a
// hundred is too large: for the client, for the topic, which tells its limit,
// and for a topic that is not asked. All messages must be accounted for in the
// end.
//
// If the broker refuses a batch for a message in it after an attempt whose fate
// is in doubt, then the others in it may have been written, as far as guard can
// know. That can only be in the stream whose client does not know the limit.
func underLoad(t *testing.T, scenario string, do func(f *faults)) {
	c, proxy := threeNodes(t)
	const limit = "20000"
	safe := map[string]string{"min.insync.replicas": "2"}
	limited := map[string]string{"min.insync.replicas": "2", "max.message.bytes": limit}
	c.CreateTopic("by-client", 3, 3, safe)
	c.CreateTopic("by-topic", 3, 3, limited)
	c.CreateTopic("by-broker", 3, 3, limited)
	c.WaitInSync()
	common := defaults(c).with(fields{
		"timeout":                  "2s",
		"request_timeout_overhead": "2s",
		"metadata_max_age":         "10s",
	})
	byClient := newLedger(t, "faults/"+scenario+"/limit of the client")
	byTopic := newLedger(t, "faults/"+scenario+"/limit of the topic")
	byBroker := newLedger(t, "faults/"+scenario+"/limit of the topic, not asked")
	byClient.ordered, byBroker.ordered = true, true
	byBroker.uncertain = true
	f := &faults{Cluster: c, t: t, proxy: proxy, topic: "by-topic", loads: []*stream{
		start(byClient, common.with(fields{"max_message_bytes": limit}), poisoned("by-client")),
		start(byTopic, common.with(deadLetters).with(fields{"max_in_flight": 10}), poisoned("by-topic")),
		start(byBroker, common.with(fields{"topic_rules": fields{"enabled": false}}), poisoned("by-broker")),
	}}
	f.goOn()
	do(f)
	f.goOn()
	for _, s := range f.loads {
		s.finish()
	}
	require.NoError(t, errors.Join(
		byClient.verify(c, "by-client"),
		byTopic.verify(c, "by-topic"),
		byBroker.verify(c, "by-broker"),
	))
}

// poisoned is a feed of batches of which every other has a message that is over
// the limit.
func poisoned(topic string) feed {
	const size = 50
	n := 0
	return paced(func() []message {
		var batch []message
		for range size {
			m := good(topic, fmt.Sprintf("m-%06d", n))
			if n%100 == 37 {
				m = m.padded(21_000, noise).bad(sizeExceeded)
			}
			batch = append(batch, m)
			n++
		}
		return batch
	})
}

func TestFaultsKillingEachLeader(t *testing.T) {
	underLoad(t, "each leader killed and restarted", func(f *faults) {
		for partition := range 3 {
			leader := f.Leader(f.topic, partition)
			f.Kill(leader)
			f.goOn()
			f.Restart(leader)
			f.settle()
		}
	})
}

// The streams can't get on before the time-outs of the requests to the frozen
// leader are over, since they have so few batches in flight.
func TestFaultsFreezingALeader(t *testing.T) {
	underLoad(t, "a leader frozen", func(f *faults) {
		leader := f.Leader(f.topic, 0)
		f.Freeze(leader)
		f.goOn()
		f.Thaw(leader)
		f.settle()
	})
}

func TestFaultsTwoOfThreeNodesDown(t *testing.T) {
	underLoad(t, "two of three nodes down", func(f *faults) {
		down := []int{f.Leader(f.topic, 0), f.Leader(f.topic, 1)}
		if down[0] == down[1] {
			down[1] = down[0]%3 + 1
		}
		for _, n := range down {
			f.Kill(n)
		}
		f.last(10 * time.Second)
		for _, n := range down {
			f.Restart(n)
		}
		f.settle()
	})
}

// last lets the fault last, and sees to it that nothing is given up meanwhile.
func (f *faults) last(d time.Duration) {
	f.t.Helper()
	require.Never(f.t, func() bool {
		for _, s := range f.loads {
			if s.ledger.deadAs("transient") > 0 {
				return true
			}
		}
		return false
	}, d, 100*time.Millisecond, "messages are given up")
}

func TestFaultsRollingRestart(t *testing.T) {
	underLoad(t, "rolling restart", func(f *faults) {
		for node := 1; node <= f.Nodes(); node++ {
			f.Stop(node)
			f.goOn()
			f.Restart(node)
			f.settle()
		}
	})
}

// Each cut comes after requests have reached the leader and before their
// answers reach the client, so that what became of them is in doubt.
func TestFaultsCuttingTheNetwork(t *testing.T) {
	underLoad(t, "network cut", func(f *faults) {
		for range 3 {
			f.proxy.Silence()
			eventually(f.t, func() bool { return f.proxy.Swallowed() > 0 }, "an answer to swallow")
			f.proxy.Cut()
			eventually(f.t, func() bool { return f.proxy.Denied() > 0 }, "another try to connect")
			f.proxy.Connect(f.ClientAddr(proxied))
			f.goOn()
		}
	})
}
