package limits

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// latency is how long a request takes to a broker, and an answer back.
const latency = time.Millisecond

// asking is Limits that ask a cluster, and what they tell.
type asking struct {
	*kafkafake.Cluster
	*Limits
	readings *kafkafake.FaultHandle // the requests for configs
	end      func()

	mu       sync.Mutex
	told     []string
	requests []string // the topics of each
	keep     bool     // topics are in use
}

// ask returns Limits of a cluster with the topic t, whose brokers lead a partition each.
func ask(t *testing.T, d kafkafake.Dialect, brokers int, change func(*Config), configs ...string) *asking {
	t.Helper()
	a := &asking{Cluster: kafkafake.StartDialect(t, d, &kafkafake.Network{Latency: latency}, kfake.NumBrokers(brokers))}
	a.Topic("t", int32(brokers), configs...)
	for p := range int32(brokers) {
		require.NoError(t, a.MoveTopicPartition("t", p, p))
	}
	client, err := kgo.NewClient(append(a.Opts(), kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	life, end := context.WithCancel(t.Context())
	t.Cleanup(func() {
		end()
		time.Sleep(time.Minute) // what is on its way arrives
	})
	a.end = end
	tell := func(format string, args ...any) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.told = append(a.told, fmt.Sprintf(format, args...))
	}
	config := Config{
		Own: Own{MaxRequestBytes: 100 << 20, Codec: uncompressed}, Client: client, Life: life, MaxAge: time.Hour,
		Changed: func(old, now *Rules) {
			size := func(r *Rules) int {
				if r == nil {
					return -1
				}
				return r.MaxMessageBytes
			}
			tell("from %d to %d", size(old), size(now))
		},
		Differs: func(d Difference) { tell("%s: %s %d takes %d", d.Topic, d.Name, d.Reported, d.Taken) },
		Metadata: func(m *kmsg.MetadataResponseTopic) {
			if m.Topic != nil {
				tell("%s has %d partitions", *m.Topic, len(m.Partitions))
			}
		},
		Forget: func(string) bool { return !a.keep },
	}
	if change != nil {
		change(&config)
	}
	a.Limits = New(config)
	a.readings = a.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Do: kafkafake.Delay, Count: -1, When: func(r kmsg.Request) bool {
		var topics []string
		for _, res := range r.(*kmsg.DescribeConfigsRequest).Resources {
			topics = append(topics, res.ResourceName)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.requests = append(a.requests, fmt.Sprint(topics))
		return true
	}})
	return a
}

// fail has requests for configs fail.
func (a *asking) fail(f kafkafake.Fault) *kafkafake.FaultHandle {
	f.Keys = []kmsg.Key{kmsg.DescribeConfigs}
	return a.AddFault(f)
}

// learn asks for limits, and returns how long that took.
func (a *asking) learn(t *testing.T, topics ...string) time.Duration {
	t.Helper()
	began := time.Now()
	a.Learn(t.Context(), topics)
	return time.Since(began)
}

func (a *asking) refresh(t *testing.T, topics ...string) time.Duration {
	t.Helper()
	began := time.Now()
	a.Refresh(t.Context(), topics)
	return time.Since(began)
}

// take returns what was told since the last time.
func (a *asking) take() []string {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	told := a.told
	a.told = nil
	return told
}

// asked returns the topics of the readings since the last time: a leader that is asked besides
// is none of its own.
func (a *asking) asked() []string {
	time.Sleep(100 * time.Millisecond) // it is read in the background
	a.mu.Lock()
	defer a.mu.Unlock()
	requests := a.requests
	a.requests = nil
	return slices.Compact(requests)
}

func TestWhatIsReadOfATopic(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil, "max.message.bytes=1000", "segment.bytes=5000", "cleanup.policy=compact", "compression.type=gzip", "message.timestamp.before.max.ms=60000")
		require.False(t, a.Of("t").Known)
		require.EqualError(t, a.Of("t").Unknown, "not read from the cluster")
		require.Less(t, a.learn(t, "t"), time.Second)
		require.Zero(t, a.refresh(t, "t"), "it has no other leader")
		r := a.Of("t")
		require.True(t, r.Known)
		require.NoError(t, r.Unknown)
		require.NotZero(t, r.ID)
		require.Equal(t, "max.message.bytes 1000, segment.bytes 5000, compacted true, compression.type gzip, timestamps before 1m0s and after 1h0m0s, partitions 1", r.String())
		require.Equal(t, []int32{0}, r.leaders)
		require.Empty(t, r.others)
		require.Equal(t, []string{"t has 1 partitions", "from -1 to 1000"}, a.take())
		require.Equal(t, []string{"[t]"}, a.asked())
	})
}

// An answer may lack a topic, have an error for one of many, or tell of others.
func TestAnAnswerOfParts(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil)
		topics := []string{"denied", "left out", "none", "told"}
		for _, topic := range topics {
			a.Topic(topic, 1)
		}
		a.ControlKey(int16(kmsg.DescribeConfigs), func(r kmsg.Request) (kmsg.Response, error, bool) {
			a.KeepControl()
			resp := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
			add := func(name string, code int16, values ...string) {
				res := kmsg.NewDescribeConfigsResponseResource()
				res.ResourceType, res.ResourceName, res.ErrorCode = kmsg.ConfigResourceTypeTopic, name, code
				for _, value := range values {
					c := kmsg.NewDescribeConfigsResponseResourceConfig()
					c.Name, c.Value = "max.message.bytes", kmsg.StringPtr(value)
					res.Configs = append(res.Configs, c)
				}
				resp.Resources = append(resp.Resources, res)
			}
			add("denied", kerr.TopicAuthorizationFailed.Code, "1000")
			add("none", 0)
			add("another", 0, "1000")
			add("told", 0, "1000")
			return resp, nil, true
		})
		a.learn(t, topics...)
		told := map[string]string{}
		for _, topic := range topics {
			r := a.Of(topic)
			if told[topic] = fmt.Sprint(r.Unknown); r.Known {
				told[topic] += fmt.Sprint(" ", r.MaxMessageBytes)
			}
		}
		require.Equal(t, map[string]string{
			"denied": kerr.TopicAuthorizationFailed.Error(), "left out": ErrNotTold.Error(), "none": ErrNotTold.Error(), "told": "<nil> 1000",
		}, told)
	})
}

// Limits are read again in the background once they are older than the config says.
func TestOldLimitsAreReadInTheBackground(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, func(c *Config) { c.MaxAge = time.Minute }, "max.message.bytes=1000")
		a.learn(t, "t")
		a.asked()
		a.Set("t", "max.message.bytes", "2000")
		time.Sleep(time.Until(a.Of("t").read.Add(time.Minute)))
		require.Zero(t, a.learn(t, "t"))
		require.Empty(t, a.asked(), "it is a minute old")
		require.Zero(t, a.learn(t, "t"), "it is not waited for")
		require.Equal(t, 1000, a.Of("t").MaxMessageBytes)
		require.Equal(t, []string{"[t]"}, a.asked())
		require.Equal(t, 2000, a.Of("t").MaxMessageBytes)
		require.Equal(t, []string{"t has 1 partitions", "from -1 to 1000", "t has 1 partitions", "from 1000 to 2000"}, a.take())
		time.Sleep(2 * time.Minute)
		a.learn(t, "t")
		a.asked()
		require.Equal(t, []string{"t has 1 partitions"}, a.take(), "nothing has changed")
	})
}

// Refresh reads limits that are older than a second, and waits for them.
func TestRefreshedLimitsAreASecondOld(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil, "max.message.bytes=1000")
		require.NotZero(t, a.refresh(t, "t"))
		a.Set("t", "max.message.bytes", "2000")
		a.asked()
		time.Sleep(time.Until(a.Of("t").read.Add(Fresh)))
		require.Zero(t, a.refresh(t, "t"))
		require.Empty(t, a.asked())
		require.NotZero(t, a.refresh(t, "t"))
		require.Equal(t, 2000, a.Of("t").MaxMessageBytes)
		require.Equal(t, []string{"[t]"}, a.asked())
	})
}

// Topics that are asked for while others are read are read together, and none is read twice.
func TestReadingsAreShared(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil)
		for _, topic := range []string{"a", "b", "c"} {
			a.Topic(topic, 1)
		}
		var wg sync.WaitGroup
		for _, topics := range [][]string{{"a", "t"}, {"t"}, {"b"}, {"a", "c"}, {"c"}} {
			wg.Go(func() {
				a.Learn(t.Context(), topics)
				for _, topic := range topics {
					if !a.Of(topic).Known {
						t.Errorf("%s was not waited for", topic)
					}
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		require.Equal(t, []string{"[a t]", "[a b c]"}, a.asked())

		time.Sleep(2 * time.Second)
		for _, leaders := range []bool{true, true, false} { // one that asks the leaders serves both
			wg.Go(func() { <-a.reported.read([]string{"t"}, leaders).done })
			synctest.Wait()
		}
		wg.Wait()
		require.Equal(t, []string{"[t]"}, a.asked())
		first, second := a.reported.read([]string{"t"}, false), a.reported.read([]string{"t"}, true)
		require.NotSame(t, first, second, "the first one does not ask the leaders")
		require.Same(t, first, a.reported.read([]string{"t"}, false))
		require.Same(t, second, a.reported.read([]string{"a", "t"}, true))
		<-second.done
		a.asked()
	})
}

// The first write to a topic waits for its limits for five seconds, unless it ends.
func TestHowLongLimitsAreWaitedFor(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		start := func() *asking { return ask(t, kafkafake.Hanging(), 1, nil) }
		a := start()
		began := time.Now()
		require.Equal(t, Wait, a.learn(t, "t"))
		require.EqualError(t, a.Of("t").Unknown, "not read from the cluster")
		time.Sleep(time.Until(began.Add(2*Wait - time.Millisecond)))
		require.EqualError(t, a.Of("t").Unknown, "not read from the cluster")
		time.Sleep(2 * time.Millisecond)
		r := a.Of("t")
		require.ErrorIs(t, r.Unknown, context.DeadlineExceeded)
		require.Equal(t, 1, r.Partitions)
		require.False(t, r.Missing())

		a = start()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		a.Learn(ctx, []string{"t"})
		require.Equal(t, time.Second, time.Since(began))

		a = start()
		time.AfterFunc(time.Second, a.end)
		require.Equal(t, time.Second, a.learn(t, "t"))
	})
}

// A cluster that did not answer is asked again after ten seconds, and then waited for half a
// second only.
func TestAClusterThatHangsIsWaitedForOnce(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil, "max.message.bytes=1000")
		hang := a.fail(kafkafake.Fault{Do: kafkafake.DelayAnswer, Count: -1, Pause: time.Hour})
		began := time.Now()
		a.learn(t, "t")
		time.Sleep(time.Until(began.Add(2*Wait + time.Millisecond)))
		hung := time.Now()
		reading := func(after time.Duration) time.Duration {
			time.Sleep(time.Until(hung.Add(after)))
			return a.refresh(t, "t")
		}
		require.Less(t, reading(2*time.Second), 10*time.Millisecond)
		require.EqualError(t, a.Of("t").Unknown, "the cluster does not answer")
		require.Less(t, reading(rulesRetry-10*time.Millisecond), 10*time.Millisecond)
		require.InDelta(t, hangWait, reading(rulesRetry+2*time.Second), float64(10*time.Millisecond))
		require.Less(t, reading(2*rulesRetry), 10*time.Millisecond, "it hung again")
		hang.Over()
		reading(4 * rulesRetry)
		require.True(t, a.Of("t").Known)
		hang = a.fail(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 700 * time.Millisecond})
		require.Greater(t, reading(5*rulesRetry), 700*time.Millisecond, "it has answered, and is waited for again")
		require.Equal(t, 1, hang.Hits())
	})
}

// A cluster that hung answers again, but slowly. Its limits are read again within minutes.
// While it hangs, little time is spent on waiting for it.
func TestASlowClusterIsReadAfterItHung(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil, "max.message.bytes=1000")
		hang := a.fail(kafkafake.Fault{Do: kafkafake.DelayAnswer, Count: -1, Pause: time.Hour})
		a.learn(t, "t")
		time.Sleep(2 * Wait)
		var waited time.Duration
		for range 3600 {
			waited += a.refresh(t, "t")
			time.Sleep(time.Second)
		}
		require.Less(t, waited, time.Hour/10)
		hang.Over()
		a.fail(kafkafake.Fault{Do: kafkafake.DelayAnswer, Count: -1, Pause: 3 * time.Second})
		for range 180 {
			a.refresh(t, "t")
			time.Sleep(time.Second)
		}
		require.True(t, a.Of("t").Known, "%v", a.Of("t").Unknown)
	})
}

// What a cluster said holds while it does not answer. It is asked again after ten seconds.
func TestKnownLimitsOutliveAClusterThatIsAway(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct{ age, again time.Duration }{{time.Hour, rulesRetry}, {5 * time.Second, 5 * time.Second}} {
			a := ask(t, kafkafake.Kafka(), 1, func(c *Config) { c.MaxAge = test.age }, "max.message.bytes=1000")
			a.learn(t, "t")
			first := a.Of("t")
			away := a.fail(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: -1})
			time.Sleep(2 * test.age)
			a.asked()
			asked := time.Now()
			a.learn(t, "t")
			require.NotEmpty(t, a.asked())
			require.True(t, a.Of("t").Known)
			require.Equal(t, first.read, a.Of("t").read, "it is as old as it was")
			time.Sleep(time.Until(asked.Add(test.again)))
			a.learn(t, "t")
			require.Empty(t, a.asked())
			a.learn(t, "t")
			require.NotEmpty(t, a.asked())
			require.Len(t, slices.DeleteFunc(a.take(), func(told string) bool { return told == "t has 1 partitions" }), 1)
			away.Over()
		}
	})
}

// A cluster that answers nothing leaves a topic unknown, with the reason.
func TestWhyLimitsAreNotKnown(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil)
		a.fail(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: -1})
		a.learn(t, "t")
		r := a.Of("t")
		require.False(t, r.Known)
		require.ErrorContains(t, r.Unknown, "describing topic configs: ")
		require.Equal(t, 1, r.Partitions)

		a = ask(t, kafkafake.Kafka(), 1, nil)
		a.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Do: kafkafake.DisconnectBefore, Count: -1})
		a.learn(t, "t")
		require.ErrorContains(t, a.Of("t").Unknown, "reading metadata: ")
		require.False(t, a.Of("t").Known)
		require.Zero(t, a.Of("t").Partitions)

		a = ask(t, kafkafake.Unreadable(), 1, nil)
		a.learn(t, "t")
		require.ErrorIs(t, a.Of("t").Unknown, kerr.TopicAuthorizationFailed)
		require.Equal(t, 1, a.Of("t").Partitions)

		a = ask(t, kafkafake.ConfigsOfNoTopic(), 1, nil)
		a.learn(t, "t", "missing")
		require.Equal(t, ErrOtherTopics, a.Of("t").Unknown)
		require.True(t, a.Of("missing").Missing())
		require.ErrorIs(t, a.Of("missing").Unknown, kerr.UnknownTopicOrPartition)

		a = ask(t, kafkafake.Kafka(), 1, func(c *Config) { c.Ignore = true })
		a.learn(t, "t")
		require.EqualError(t, a.Of("t").Unknown, "reading it is turned off")
		require.Equal(t, 1, a.Of("t").Partitions)
		time.Sleep(time.Minute)
		require.Zero(t, a.refresh(t, "t"))
		require.Empty(t, a.asked())
		require.Equal(t, []string{"t has 1 partitions"}, a.take())
	})
}

// Another broker is asked if one closes the connection, three times in all.
func TestHowManyBrokersAreAskedForConfigs(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			cut   int
			known bool
		}{{3, true}, {4, false}} { // kgo itself tries again once

			a := ask(t, kafkafake.Kafka(), 1, nil)
			cut := a.fail(kafkafake.Fault{Do: kafkafake.DisconnectBefore, Count: test.cut})
			a.learn(t, "t")
			require.Equal(t, test.known, a.Of("t").Known, "%d cuts", cut.Hits())
		}
	})
}

// A topic that was just created may be missing on one of the two brokers that are asked.
func TestATopicThatOneBrokerDoesNotKnowYet(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil, "max.message.bytes=1000")
		a.answerMetadata(func(resp *kmsg.MetadataResponse) {
			one, other := kmsg.NewMetadataResponseTopic(), kmsg.NewMetadataResponseTopic()
			one.Topic, one.ErrorCode = kmsg.StringPtr("t"), kerr.UnknownTopicOrPartition.Code
			other.Topic = kmsg.StringPtr("another")
			resp.Topics = append(resp.Topics, other, kmsg.NewMetadataResponseTopic(), one)
		})
		a.learn(t, "t")
		require.True(t, a.Of("t").Known)
		require.False(t, a.Of("another").Known, "it was not asked for")
		require.EqualError(t, a.Of("another").Unknown, "not read from the cluster")

		a = ask(t, kafkafake.Kafka(), 1, nil, "max.message.bytes=1000")
		a.answerMetadata(func(resp *kmsg.MetadataResponse) {
			one := kmsg.NewMetadataResponseTopic()
			one.Topic, one.ErrorCode = kmsg.StringPtr("t"), kerr.TopicAuthorizationFailed.Code
			resp.Topics = append(resp.Topics, one)
		})
		a.learn(t, "t")
		require.False(t, a.Of("t").Known)
		require.ErrorIs(t, a.Of("t").Unknown, kerr.TopicAuthorizationFailed)
		require.Zero(t, a.Of("t").MaxMessageBytes)
	})
}

// answerMetadata answers requests for topics with what add adds.
func (a *asking) answerMetadata(add func(*kmsg.MetadataResponse)) {
	a.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		a.KeepControl()
		req := r.(*kmsg.MetadataRequest)
		if len(req.Topics) == 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		b := kmsg.NewMetadataResponseBroker()
		_, err := fmt.Sscanf(a.ListenAddrs()[0], "127.0.0.1:%d", &b.Port)
		b.Host = "127.0.0.1"
		resp.Brokers = append(resp.Brokers, b)
		add(resp)
		return resp, err, true
	})
}

// The leaders that have no partition, or one that there is not, are left out.
func TestTheLeadersOfATopic(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil)
		a.answerMetadata(func(resp *kmsg.MetadataResponse) {
			one := kmsg.NewMetadataResponseTopic()
			one.Topic, one.TopicID = kmsg.StringPtr("t"), [16]byte{7}
			for _, p := range [][2]int32{{0, 0}, {1, -1}, {2, 5}, {3, 5}, {-1, 6}, {7, 6}, {4, 8}} {
				part := kmsg.NewMetadataResponseTopicPartition()
				part.Partition, part.Leader = p[0], p[1]
				one.Partitions = append(one.Partitions, part)
			}
			resp.Topics = append(resp.Topics, one)
		})
		a.learn(t, "t")
		r := a.Of("t")
		require.Equal(t, []int32{0, -1, 5, 5, 8, -1, -1}, r.leaders)
		require.Equal(t, []int32{5, 8}, r.others)
		require.Equal(t, [16]byte{7}, r.ID)
	})
}

// Where a topic has no limits of its own, each leader is asked for those that it applies.
func TestEachLeaderIsAskedForItsLimits(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Uneven(), 3, nil)
		a.learn(t, "t")
		r := a.Of("t")
		require.NotEmpty(t, r.others)
		require.Equal(t, math.MaxInt32, r.strict().MaxMessageBytes, "a leader has not told its own")
		time.Sleep(2 * time.Hour)
		a.learn(t, "t")
		a.asked()
		require.NotEmpty(t, a.Of("t").others, "nor is it asked in the background")
		require.NotZero(t, a.refresh(t, "t"), "they are fresh, but not of all leaders")
		all := func() {
			r = a.Of("t")
			require.Empty(t, r.others)
			require.Equal(t, 20_000, r.MaxMessageBytes)
			require.Equal(t, 100_000, r.strict().MaxMessageBytes)
			require.Equal(t, []int64{time.Hour.Milliseconds(), (3 * time.Hour).Milliseconds()}, []int64{r.Before, r.strict().Before})
		}
		all()
		require.Zero(t, a.refresh(t, "t"))
		time.Sleep(2 * time.Hour)
		a.take()
		a.learn(t, "t")
		a.asked()
		all()
		require.Equal(t, []string{"t has 3 partitions"}, a.take(), "all leaders are asked from then on, whichever broker answers first")
	})
}

// A leader that does not tell its limits stays among those that may have any, and is not asked
// again for ten seconds.
func TestALeaderThatDoesNotTellItsLimits(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Uneven(), 3, nil)
		a.learn(t, "t") // the client knows the brokers
		hang := a.fail(kafkafake.Fault{Nodes: []int32{1}, Do: kafkafake.DelayAnswer, Count: -1, Pause: time.Hour})
		reading := func() (took time.Duration, others []int32) {
			found := map[string]*Rules{"t": {Topic: "t", Known: true, MaxMessageBytes: 50_000, others: []int32{1, 2}}, "unknown": {others: []int32{2}}}
			began := time.Now()
			a.reported.askLeaders(t.Context(), []string{"t", "unknown"}, found)
			require.Equal(t, 100_000, found["t"].mild.MaxMessageBytes)
			require.Nil(t, found["unknown"].mild)
			return time.Since(began), found["t"].others
		}
		asked := time.Now()
		took, others := reading()
		require.Equal(t, leaderWait, took)
		require.Equal(t, []int32{1}, others)
		time.Sleep(time.Until(asked.Add(rulesRetry)))
		took, others = reading()
		require.Less(t, took, 10*time.Millisecond, "the other one is asked alone")
		require.Equal(t, []int32{1}, others)
		time.Sleep(time.Until(asked.Add(rulesRetry + time.Millisecond)))
		hang.Over()
		hang = a.fail(kafkafake.Fault{Nodes: []int32{1}, Do: kafkafake.DelayAnswer, Pause: leaderWait - 10*time.Millisecond})
		for range 2 { // one that has answered is asked at once
			_, others = reading()
			require.Empty(t, others)
		}
		require.Equal(t, 1, hang.Hits())
	})
}

// What was found out of a limit holds for the topic, and not for another one of the same name.
func TestWhatIsConfirmedEndsWithTheTopic(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil, "max.message.bytes=1000")
		a.learn(t, "t")
		a.Refute(a.rejecting(ofSize(2000), time.Now()))
		time.Sleep(2 * time.Second)
		a.refresh(t, "t")
		require.Nil(t, a.rejecting(ofSize(2000), time.Now()), "the same topic")
		_, err := a.Admin.DeleteTopic(t.Context(), "t")
		require.NoError(t, err)
		a.Topic("t", 1, "max.message.bytes=1000")
		time.Sleep(2 * time.Second)
		a.refresh(t, "t")
		require.NotNil(t, a.rejecting(ofSize(2000), time.Now()), "another topic")
	})
}

// A limit that does not hold is told once it was read again: it may have been raised.
func TestADifferenceIsToldIfTheLimitIsTheSame(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			name      string
			meanwhile func(*asking)
			told      []string
		}{
			{"it is the same", func(*asking) {}, []string{"t: max.message.bytes 1000 takes 2000"}},
			{"it was raised", func(a *asking) { a.Set("t", "max.message.bytes", "3000") }, nil},
			{"the topic is another one", func(a *asking) {
				_, _ = a.Admin.DeleteTopic(context.Background(), "t")
				a.Topic("t", 1, "max.message.bytes=1000")
			}, nil},
			{"the topic is gone", func(a *asking) { _, _ = a.Admin.DeleteTopic(context.Background(), "t") }, nil},
		} {
			a := ask(t, kafkafake.Kafka(), 1, nil, "max.message.bytes=1000")
			a.learn(t, "t")
			v := a.rejecting(ofSize(2000), time.Now())
			require.NotNil(t, v)
			test.meanwhile(a)
			a.asked()
			a.Refute(v)
			require.Equal(t, []string{"[t]"}, a.asked(), test.name)
			if test.told != nil {
				a.Refute(v)
				require.Empty(t, a.asked(), "it is not believed")
			}
			told := slices.DeleteFunc(a.take(), func(told string) bool {
				return told == "t has 1 partitions" || told == "t has 0 partitions" || told[:4] == "from"
			})
			require.Equal(t, test.told, append([]string(nil), told...), test.name)
		}
	})
}

// A topic that is out of use is forgotten with all that was learned of it.
func TestATopicThatIsOutOfUseIsForgotten(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, inUse := range []bool{false, true} {
			a := ask(t, kafkafake.Kafka(), 1, nil, "max.message.bytes=1000")
			a.Topic("another", 1)
			a.keep = inUse
			a.learn(t, "t")
			a.Acked("t", 0, 700, 0)
			time.Sleep(time.Until(time.Unix(0, a.Of("t").used.Load()).Add(forgetAfter)))
			a.learn(t, "another")
			require.True(t, a.Of("t").Known, "it is used for an hour")
			require.Equal(t, 700, a.Taken("t", 0))
			a.take()
			time.Sleep(time.Second)
			a.refresh(t, "t", "another") // does not use it
			time.Sleep(2 * time.Second)
			a.refresh(t, "another")
			told := a.take()
			require.Equal(t, inUse, a.Of("t").Known)
			require.Equal(t, !inUse, slices.Contains(told, "from 1000 to -1"), "%q", told)
			if inUse {
				require.Equal(t, 700, a.Taken("t", 0))
			} else {
				require.Zero(t, a.Taken("t", 0))
			}
		}
	})
}

// What may be rejected is checked again by limits of all topics that were read for it.
func TestLimitsAreReadBeforeARecordIsRejected(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil, "max.message.bytes=1000")
		a.Topic("another", 1, "max.message.bytes=1000")
		a.learn(t, "t", "another")
		a.asked()
		a.Set("t", "max.message.bytes", "3000")
		time.Sleep(2 * time.Second)
		other := ofSize(2000)
		other.Record = &kgo.Record{Topic: "another"}
		found := a.Rejecting(t.Context(), []Record{ofSize(2000), ofSize(2000), other, ofSize(4000)})
		require.Equal(t, []bool{false, false, true, true}, []bool{found[0] != nil, found[1] != nil, found[2] != nil, found[3] != nil})
		require.Equal(t, []string{"[another t]"}, a.asked())
	})
}

// Metadata and configs are asked for side by side once the cluster has answered both.
func TestMetadataAndConfigsAreReadTogether(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil)
		const pause = 100 * time.Millisecond
		a.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Do: kafkafake.DelayAnswer, Count: -1, Pause: pause})
		a.fail(kafkafake.Fault{Do: kafkafake.DelayAnswer, Count: -1, Pause: pause / 2})
		require.Greater(t, a.learn(t, "t"), pause+pause/2)
		time.Sleep(2 * time.Second)
		began := time.Now()
		<-a.reported.read([]string{"t"}, false).done
		require.InDelta(t, pause, time.Since(began), float64(20*time.Millisecond))
		require.Equal(t, 1, a.Of("t").Partitions, "both are waited for")
	})
}

// Where not even metadata are answered, configs are not waited for, and not held to be the
// reason.
func TestAClusterThatAnswersNothing(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		a := ask(t, kafkafake.Kafka(), 1, nil)
		hang := a.fail(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Hour})
		cut := a.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Do: kafkafake.DisconnectBefore, Count: -1})
		require.Less(t, a.learn(t, "t"), time.Second)
		require.ErrorContains(t, a.Of("t").Unknown, "reading metadata: ")
		cut.Over()
		hang.Over()
		time.Sleep(2 * time.Second)
		a.refresh(t, "t")
		require.True(t, a.Of("t").Known, "%v", a.Of("t").Unknown)
	})
}
