//go:build linux || darwin

package onkafka

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/proxytest"
)

// Proxied is the node that clients reach through a proxy.
const Proxied = 1

var (
	proxyOnce sync.Once
	theProxy  *proxytest.Proxy
	inUse     sync.Mutex // held by the test that has the three nodes
)

// ThreeNodes returns a cluster of three nodes, and the proxy in front of one. One test
// at a time has them, since it may kill nodes and silence the proxy.
func ThreeNodes(t *testing.T) (*kafkatest.Cluster, *proxytest.Proxy) {
	t.Helper()
	SkipShort(t)
	inUse.Lock()
	t.Cleanup(inUse.Unlock)
	proxyOnce.Do(func() {
		var err error
		theProxy, err = proxytest.New()
		require.NoError(t, err)
	})
	c := Shared(t, kafkatest.Options{Nodes: 3, AdvertisedPorts: map[int]int{Proxied: theProxy.Port()}})
	theProxy.Connect(c.ClientAddr(Proxied))
	return c, theProxy
}

// Faults causes faults in a test.
type Faults struct {
	*kafkatest.Cluster
	T     *testing.T
	Proxy *proxytest.Proxy
	Topic string // the topic that faults are about
	Loads []*Stream
}

// GoOn waits until every load has made progress.
func (f *Faults) GoOn() {
	f.T.Helper()
	for _, s := range f.Loads {
		s.GoOn(15)
	}
}

// Settle waits until all replicas are in sync and every load has made progress.
func (f *Faults) Settle() {
	f.T.Helper()
	f.WaitInSync()
	f.GoOn()
}

// Poisoned is a feed of batches. Every other batch has a message that is too large.
func Poisoned(topic string) Feed {
	const size = 50
	n := 0
	return Paced(func() []Message {
		var batch []Message
		for range size {
			m := Good(topic, fmt.Sprintf("m-%06d", n))
			if n%100 == 37 {
				m = m.Padded(21_000, Noise).Bad(SizeExceeded)
			}
			batch = append(batch, m)
			n++
		}
		return batch
	})
}

// Last sleeps while the fault lasts, and checks that no message is given up meanwhile.
func (f *Faults) Last(d time.Duration) {
	f.T.Helper()
	require.Never(f.T, func() bool {
		for _, s := range f.Loads {
			if s.Checker.deadAs("transient") > 0 {
				return true
			}
		}
		return false
	}, d, 100*time.Millisecond, "messages are given up")
}
