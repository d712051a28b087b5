//go:build linux || darwin

package faults

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// underLoad runs do while three streams write. One message of a hundred is too large:
// for the client, for a topic whose limit is read, and for a topic whose limit is not
// read. At the end each message must be accounted for.
//
// Only the third stream may leave good messages in doubt:
//
//  1. A batch with a bad message is sent, and its answer is lost.
//  2. It is sent again, and the broker rejects it.
//  3. Now guard can't tell for the other messages whether the first attempt was
//     appended.
func underLoad(t *testing.T, scenario string, do func(f *onkafka.Faults)) {
	c, proxy := onkafka.ThreeNodes(t)
	const limit = "20000"
	safe := map[string]string{"min.insync.replicas": "2"}
	limited := map[string]string{"min.insync.replicas": "2", "max.message.bytes": limit}
	c.CreateTopic("by-client", 3, 3, safe)
	c.CreateTopic("by-topic", 3, 3, limited)
	c.CreateTopic("by-broker", 3, 3, limited)
	c.WaitInSync()
	common := onkafka.Defaults(c).With(onkafka.Fields{
		"timeout":                  "2s",
		"request_timeout_overhead": "2s",
		"metadata_max_age":         "10s",
	})
	byClient := onkafka.NewChecker(t, "faults/"+scenario+"/limit of the client")
	byTopic := onkafka.NewChecker(t, "faults/"+scenario+"/limit of the topic")
	byBroker := onkafka.NewChecker(t, "faults/"+scenario+"/limit of the topic, not asked")
	byClient.Ordered, byBroker.Ordered = true, true
	byBroker.Uncertain = true
	f := &onkafka.Faults{Cluster: c, T: t, Proxy: proxy, Topic: "by-topic", Loads: []*onkafka.Stream{
		onkafka.Start(byClient, common.With(onkafka.Fields{"max_message_bytes": limit}), onkafka.Poisoned("by-client")),
		onkafka.Start(byTopic, common.With(onkafka.DeadLetters).With(onkafka.Fields{"max_in_flight": 10}), onkafka.Poisoned("by-topic")),
		onkafka.Start(byBroker, common.With(onkafka.Fields{"topic_rules": onkafka.Fields{"enabled": false}}), onkafka.Poisoned("by-broker")),
	}}
	f.GoOn()
	do(f)
	f.GoOn()
	for _, s := range f.Loads {
		s.Finish()
	}
	require.NoError(t, errors.Join(
		byClient.Verify(c, "by-client"),
		byTopic.Verify(c, "by-topic"),
		byBroker.Verify(c, "by-broker"),
	))
}

func TestFaultsKillingEachLeader(t *testing.T) {
	underLoad(t, "each leader killed and restarted", func(f *onkafka.Faults) {
		for partition := range 3 {
			leader := f.Leader(f.Topic, partition)
			f.Kill(leader)
			f.GoOn()
			f.Restart(leader)
			f.Settle()
		}
	})
}

// A stream has few batches in flight. All of them wait for the frozen leader, so the
// streams go on only after the time-outs of its requests.
func TestFaultsFreezingALeader(t *testing.T) {
	underLoad(t, "a leader frozen", func(f *onkafka.Faults) {
		leader := f.Leader(f.Topic, 0)
		f.Freeze(leader)
		f.GoOn()
		f.Thaw(leader)
		f.Settle()
	})
}

func TestFaultsTwoOfThreeNodesDown(t *testing.T) {
	underLoad(t, "two of three nodes down", func(f *onkafka.Faults) {
		down := []int{f.Leader(f.Topic, 0), f.Leader(f.Topic, 1)}
		if down[0] == down[1] {
			down[1] = down[0]%3 + 1
		}
		for _, n := range down {
			f.Kill(n)
		}
		f.Last(10 * time.Second)
		for _, n := range down {
			f.Restart(n)
		}
		f.Settle()
	})
}

func TestFaultsRollingRestart(t *testing.T) {
	underLoad(t, "rolling restart", func(f *onkafka.Faults) {
		for node := 1; node <= f.Nodes(); node++ {
			f.Stop(node)
			f.GoOn()
			f.Restart(node)
			f.Settle()
		}
	})
}

// Each cut comes after requests have reached the leader and before their answers reach
// the client. So the batches are in doubt.
func TestFaultsCuttingTheNetwork(t *testing.T) {
	underLoad(t, "network cut", func(f *onkafka.Faults) {
		for range 3 {
			f.Proxy.Silence()
			onkafka.Eventually(f.T, func() bool { return f.Proxy.Swallowed() > 0 }, "an answer to swallow")
			f.Proxy.Cut()
			onkafka.Eventually(f.T, func() bool { return f.Proxy.Denied() > 0 }, "another try to connect")
			f.Proxy.Connect(f.ClientAddr(onkafka.Proxied))
			f.GoOn()
		}
	})
}
