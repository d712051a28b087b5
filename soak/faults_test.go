//go:build linux || darwin

package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// fault is a fault of the cluster, and its end.
type fault struct {
	name string
	do   func(s *soak)
}

var faults = []fault{
	{"kill -9 of a node", (*soak).killNode},
	{"frozen node", (*soak).freezeNode},
	{"network cut", (*soak).cutNetwork},
	{"answers swallowed, then cut", (*soak).swallowAnswers},
	{"rolling restart", (*soak).rollingRestart},
	{"log directory lost", (*soak).loseLogDir},
	{"leaders moved", (*soak).moveLeaders},
	{"limit changed", (*soak).changeLimit},
	{"rights taken away", (*soak).takeRights},
	{"quiet", (*soak).beQuiet},
}

// order draws faults so that all kinds come equally often: all of them in a random
// order, then all of them in another one.
func order(random *rand.Rand) func() fault {
	var left []int
	return func() fault {
		if len(left) == 0 {
			left = random.Perm(len(faults))
		}
		next := left[0]
		left = left[1:]
		return faults[next]
	}
}

// last sleeps for a random time, from one second to so many.
func (s *soak) last(seconds int) {
	time.Sleep(time.Second + time.Duration(s.random.Int64N(int64(seconds-1)*int64(time.Second))))
}

func (s *soak) anyNode() int { return 1 + s.random.IntN(s.cluster.Nodes()) }

func (s *soak) killNode() {
	node := s.anyNode()
	s.cluster.Kill(node)
	s.last(8)
	s.cluster.Restart(node)
}

func (s *soak) freezeNode() {
	node := s.anyNode()
	s.cluster.Freeze(node)
	s.last(12) // the controller takes a node for dead after 3 s
	s.cluster.Thaw(node)
}

func (s *soak) cutNetwork() {
	node := 1 + s.random.IntN(len(s.proxies))
	s.proxies[node-1].Cut()
	s.last(8)
	s.proxies[node-1].Connect(s.cluster.ClientAddr(node))
}

func (s *soak) swallowAnswers() {
	node := 1 + s.random.IntN(len(s.proxies))
	s.proxies[node-1].Silence()
	s.last(8)
	s.proxies[node-1].Cut()
	s.proxies[node-1].Connect(s.cluster.ClientAddr(node))
}

func (s *soak) rollingRestart() {
	for node := 1; node <= s.cluster.Nodes(); node++ {
		s.cluster.Stop(node)
		s.cluster.Restart(node)
		s.settle()
	}
}

// loseLogDir takes one of its two disks away from a node. It stands in for a full disk,
// which would take a small file system, and so root. The node does the same in both
// cases.
func (s *soak) loseLogDir() {
	node := s.anyNode()
	s.cluster.TakeLogDir(node)
	require.Eventually(s.t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		dirs, err := s.cluster.Admin().DescribeBrokerLogDirs(ctx, int32(node), nil)
		return err == nil && dirs.Error() != nil
	}, patience, 100*time.Millisecond, "node %d does not notice that a log directory is gone", node)
	s.last(8)
	s.cluster.GiveLogDir(node)
	s.cluster.Restart(node)
}

// moveLeaders makes the next replica of each partition its leader.
func (s *soak) moveLeaders() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	admin := s.cluster.Admin()
	topics, err := admin.ListTopics(ctx, s.topics()...)
	require.NoError(s.t, err)
	var move kadm.AlterPartitionAssignmentsReq
	all := kadm.TopicsSet{}
	for _, t := range topics {
		for _, p := range t.Partitions {
			move.Assign(t.Topic, p.Partition, append(append([]int32{}, p.Replicas[1:]...), p.Replicas[0]))
			all.Add(t.Topic, p.Partition)
		}
	}
	moved, err := admin.AlterPartitionAssignments(ctx, move)
	require.NoError(s.t, errors.Join(err, moved.Error()))
	_, err = admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, all)
	require.NoError(s.t, err)
}

func (s *soak) changeLimit() {
	l := loads[s.random.IntN(len(loads))]
	s.limit[l.Number]++
	s.cluster.SetTopicConfig(l.plain(), "max.message.bytes", limits[s.limit[l.Number]%len(limits)])
}

func (s *soak) takeRights() {
	l := loads[s.random.IntN(len(loads))]
	topic := kafkatest.TopicResource([]string{l.plain(), l.compacted()}[s.random.IntN(2)])
	op := kadm.OpWrite
	if l.Rules && s.random.IntN(2) == 0 {
		op = kadm.OpDescribeConfigs
	}
	s.cluster.Revoke("User:"+user, op, topic)
	s.last(6)
	s.cluster.Grant("User:"+user, op, topic)
}

func (s *soak) beQuiet() {
	s.process.pause("quiet")
	s.last(10)
	s.process.goOn("quiet")
}

// settle waits until all replicas are in sync. If a follower can't catch up with full
// speed on this machine, the sources are paused until it has.
func (s *soak) settle() {
	s.t.Helper()
	began := time.Now()
	for {
		err := s.inSync()
		if err == nil {
			break
		}
		took := time.Since(began)
		if took > 30*time.Second {
			s.process.pause("replicas")
		}
		require.Less(s.t, took, patience, "replicas are not in sync: %v", err)
		time.Sleep(100 * time.Millisecond)
	}
	s.process.goOn("replicas")
}

func (s *soak) inSync() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	topics, err := s.cluster.Admin().ListTopics(ctx, s.topics()...)
	if err != nil {
		return err
	}
	if err := topics.Error(); err != nil {
		return err
	}
	for _, t := range topics {
		for _, p := range t.Partitions {
			if p.Leader < 0 || len(p.ISR) < len(p.Replicas) {
				return fmt.Errorf("partition %d of %s: leader %d, in sync %v", p.Partition, t.Topic, p.Leader, p.ISR)
			}
		}
	}
	return nil
}
