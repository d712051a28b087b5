package guard

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// passingOn retries all but what has no topic.
var passingOn = Config{Permanent: []Class{SizeExceeded, InvalidRecord, Unroutable, UnknownTopic}, Retry: Retry{InitialInterval: time.Second}}

// Where messages without a topic fail for good, they do not wait for topics to appear: what was
// found within a second counts.
func TestMissingTopicsFailAtOnce(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, passingOn)
		metadata := c.Count(kmsg.Metadata)
		began := time.Now()
		for n := range 100 {
			rs := append(records("t", fmt.Sprint("r", n), 2, 10), record("missing", "", 10), record(fmt.Sprint("missing-", n%10), "", 10))
			vs := g.Write(t.Context(), rs)
			require.Equal(t, map[int]Class{2: UnknownTopic, 3: UnknownTopic}, classes(vs))
			require.ErrorIs(t, vs[2].Err(), kerr.UnknownTopicOrPartition)
			require.Equal(t, NotWritten, vs[2].Outcome)
		}
		require.Less(t, time.Since(began), 2*time.Second)
		require.LessOrEqual(t, metadata.Hits(), 11+11, "each topic is asked for once a second")
		require.Len(t, c.Log("t"), 1+200)
	})
}

// A topic that is created is written to, a second later at most.
func TestAMissingTopicMayAppear(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, passingOn)
		write := func() map[int]Class { return classes(g.Write(t.Context(), records("late", "r", 1, 10))) }
		require.Equal(t, map[int]Class{0: UnknownTopic}, write())
		c.Topic("late", 1)
		time.Sleep(time.Second + time.Millisecond)
		require.Empty(t, write())
		require.Len(t, c.Log("late"), 1)
	})
}

// A broker that lacks the metadata of a topic that is in use makes no message fail. Nor does one
// whose answer another broker contradicts.
func TestATopicInUseIsNotMissing(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		c, g := newVirtual(t, passingOn)
		c.Topic("new", 1)
		var mu sync.Mutex
		left := 6
		c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
			mu.Lock()
			defer mu.Unlock()
			if left == 0 {
				return nil, nil, false
			}
			left--
			c.KeepControl()
			return unknown(r.(*kmsg.MetadataRequest)), nil, true
		})
		time.Sleep(defaultRulesMaxAge)
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 1, 10))))
		time.Sleep(time.Second)
		require.Empty(t, classes(g.Write(t.Context(), records("t", "r", 1, 10))))
		mu.Lock()
		left = 2
		mu.Unlock()
		require.Empty(t, classes(g.Write(t.Context(), records("new", "r", 1, 10))))
	})
}

// unknown answers that no topic is there.
func unknown(r *kmsg.MetadataRequest) kmsg.Response {
	resp := r.ResponseKind().(*kmsg.MetadataResponse)
	for _, t := range r.Topics {
		one := kmsg.NewMetadataResponseTopic()
		one.Topic, one.TopicID, one.ErrorCode = t.Topic, t.TopicID, kerr.UnknownTopicOrPartition.Code
		resp.Topics = append(resp.Topics, one)
	}
	return resp
}

// Topics that clients make up are in no request any more once they are out of use, whether
// or not messages wait for them.
func TestMissingTopicsAreForgotten(t *testing.T) {
	for name, config := range map[string]Config{
		"passed on": passingOn,
		"given up":  {Retry: Retry{InitialInterval: time.Second, MaxElapsedTime: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T) {
				c, g := newVirtual(t, config, kgo.MetadataMaxAge(time.Minute))
				var rs []*kgo.Record
				for n := range 1000 {
					rs = append(rs, record(fmt.Sprint("missing-", n), "", 10))
				}
				require.Len(t, classes(g.Write(t.Context(), rs)), 1000)
				c.Topic("another", 1)
				write := func(topic string) {
					require.Empty(t, classes(g.Write(t.Context(), records(topic, "r", 1, 10))))
				}
				time.Sleep(30 * time.Second)
				write("another") // what is out of use is looked for with limits
				var mu sync.Mutex
				most := 0
				c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
					c.KeepControl()
					mu.Lock()
					defer mu.Unlock()
					most = max(most, len(r.(*kmsg.MetadataRequest).Topics))
					return nil, nil, false
				})
				time.Sleep(2 * time.Minute)
				write("t")
				time.Sleep(time.Minute)
				write("t")
				mu.Lock()
				defer mu.Unlock()
				require.NotZero(t, most)
				require.LessOrEqual(t, most, 3)
			})
		})
	}
}

// The same holds for the only topic of a write.
func TestTheOnlyTopicOfAWriteIsMissing(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		_, g := newVirtual(t, passingOn)
		began := time.Now()
		for n := range 100 {
			require.Equal(t, map[int]Class{0: UnknownTopic}, classes(g.Write(t.Context(), records("missing", fmt.Sprint("r", n), 1, 10))))
		}
		require.Less(t, time.Since(began), 500*time.Millisecond)
	})
}

// A record gets the client's topic where it has none, or always.
func TestTheDefaultTopic(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			opts []kgo.Opt
			want map[int]Class
			a, b int // records in these topics
		}{
			{nil, map[int]Class{0: Unroutable, 2: Unroutable}, 0, 1},
			{[]kgo.Opt{kgo.DefaultProduceTopic("a")}, map[int]Class{}, 2, 1},
			{[]kgo.Opt{kgo.DefaultProduceTopic("a"), kgo.DefaultProduceTopicAlways()}, map[int]Class{}, 3, 0},
		} {
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
			c.Topic("a", 1)
			c.Topic("b", 1)
			g := newGuard(t, c, Config{}, append(c.Opts(), test.opts...)...)
			rs := []*kgo.Record{record("", "first", 10), record("b", "second", 10), record("", "third", 10)}
			require.Equal(t, test.want, classes(g.Write(t.Context(), rs)))
			require.Len(t, c.Log("a"), test.a)
			require.Len(t, c.Log("b"), test.b)
		}
	})
}
