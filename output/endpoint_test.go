package output

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

func TestAdviceOfServices(t *testing.T) {
	t.Parallel()
	hubs, msk := endpoint{eventHubs: true}, endpoint{iam: true}
	held := func(cause error) error {
		return &guard.Failure{Class: guard.Refused, Topic: "t", Partition: -1, Cause: cause}
	}
	require.Contains(t, hubs.advice(held(kerr.PolicyViolation)), "Event Hubs throttles with this error")
	require.Empty(t, endpoint{}.advice(held(kerr.PolicyViolation)))
	require.Contains(t, msk.advice(held(kerr.TopicAuthorizationFailed)), "IAM has to allow kafka-cluster:DescribeTopic and kafka-cluster:WriteData on the topic")
	require.Contains(t, msk.advice(held(kerr.ClusterAuthorizationFailed)), "kafka-cluster:WriteDataIdempotently on the cluster, or set idempotent_write: false")
	require.Equal(t, ". Grant WRITE on the topic", endpoint{}.advice(held(kerr.TopicAuthorizationFailed)))
	require.Equal(t, ". Grant IDEMPOTENT_WRITE on the cluster, or set idempotent_write: false", endpoint{}.advice(held(kerr.ClusterAuthorizationFailed)))
	require.Equal(t, ". Create the topic", endpoint{}.advice(held(kerr.UnknownTopicOrPartition)))
	for _, right := range []Right{WriteTopic, WriteIdempotent, DescribeTopic, DescribeBrokers} {
		require.Contains(t, msk.name(right), "kafka-cluster:")
		require.Equal(t, string(right), endpoint{}.name(right))
	}
}

// Event Hubs throttles with POLICY_VIOLATION. The rejected messages are held, and
// delivered later.
func TestEventHubsThrottlingIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	o := c.output("topic: t")
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.PolicyViolation, Count: 2})
	failed, err := failures(t, o, streamtest.Batch("a"))
	require.NoError(t, err)
	require.Empty(t, failed)
	require.Equal(t, once("a"), c.Values("t"))
}
