package output

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/proxytest"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// A broker answers REBOOTSTRAP_REQUIRED (KIP-1102). The output then goes to the seed
// address, which leads to another cluster by now.
func TestRebootstrapGoesToTheSeedsAnew(t *testing.T) {
	t.Parallel()
	before, after := newCluster(t, kfake.ClusterID("before")), newCluster(t, kfake.ClusterID("after"))
	before.Topic("t", 1)
	after.Topic("t", 1)
	seed, err := proxytest.New()
	require.NoError(t, err)
	seed.Connect(before.ListenAddrs()[0])

	s := &streamtest.Stream{}
	for b := range 20 {
		s.Batches = append(s.Batches, []string{fmt.Sprintf("m%d", 2*b), fmt.Sprintf("m%d", 2*b+1)})
	}
	var moved atomic.Bool
	moving := before.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Count: -1, Err: kerr.NotLeaderForPartition,
		When: func(kmsg.Request) bool {
			// The first request of the stream ends the old cluster.
			if !moved.Swap(true) {
				seed.Connect(after.ListenAddrs()[0])
			}
			return true
		},
	})
	told := before.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Metadata}, Count: -1, TopLevel: true, Err: kerr.RebootstrapRequired,
		When: func(kmsg.Request) bool { return moved.Load() },
	})
	require.True(t, s.Run(t, t.Context(), "kafka_guarded:"+streamtest.Indent(fmt.Sprintf(`
seed_brokers: [ 127.0.0.1:%d ]
topic: t
retry: { initial_interval: 10ms, max_interval: 100ms }
dead_letter: { capture: {} }`, seed.Port()), 2)), s.Log)
	require.Positive(t, moving.Hits())
	require.Positive(t, told.Hits())
	require.Empty(t, s.Captured())
	want := map[string]int{}
	for _, batch := range s.Batches {
		for _, m := range batch {
			want[m] = 1
		}
	}
	require.Equal(t, want, after.Values("t"))
}
