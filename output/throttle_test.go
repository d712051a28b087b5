package output

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

func TestThrottlingIsLoggedAndCounted(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	c.throttle(time.Second)
	m := newCounted()
	s := &streamtest.Stream{Config: streamtest.Config{Metrics: m}, Batches: [][]string{{"m0", "m1"}}}
	require.True(t, s.Run(t, t.Context(), c.alone("topic: t", "dead_letter: { drop: {} }")))
	require.Equal(t, once("m0", "m1"), c.Values("t"))
	require.Equal(t, 1, s.Log.Count("level=WARN", "Broker 0 throttles this output, because of a quota: it takes no further request for 1s"), s.Log.String())
	require.EqualValues(t, 1000, m.own()["kafka_guarded_throttled_ms"])
}

// throttle makes the broker throttle with its next answer to a produce request. That
// request is rejected, and the client retries it.
func (c *cluster) throttle(d time.Duration) {
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		resp.ThrottleMillis = int32(d.Milliseconds())
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.NotEnoughReplicas.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
}

func TestThrottlingIsLoggedAtABoundedRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, text := lines()
		h := newThrottles(log, newMetrics(service.MockResources().Metrics()))
		defer h.close()
		for range 100 {
			h.OnBrokerThrottle(kgo.BrokerMetadata{NodeID: 1}, 20*time.Millisecond, true)
		}
		h.OnBrokerThrottle(kgo.BrokerMetadata{NodeID: 2}, 40*time.Second, true)
		require.Equal(t, 1, text.Count("level=INFO", "Broker 1 throttles this output, because of a quota: it takes no further request for 20ms"))
		require.Equal(t, 1, text.Count("level=WARN", "Broker 2 throttles this output, because of a quota: it takes no further request for 40s"))
		time.Sleep(noticeInterval)
		synctest.Wait()
		require.Equal(t, 1, text.Count("level=INFO", "Broker 1 has throttled this output 99 times since the last such line, because of a quota: for 1.98s in all, 20ms at most"))
		time.Sleep(2 * noticeInterval)
		synctest.Wait()
		require.Equal(t, 3, text.Count("throttle"), "nothing came any more")
	})
}
