package producer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// Whatever befalls requests and answers, each record is in the log once, and in order.
func TestEveryRecordIsWrittenOnceUnderFaults(t *testing.T) {
	t.Parallel()
	for _, do := range kafkafake.Actions() {
		if do == kafkafake.Swallow || do == kafkafake.SwallowAnswer {
			continue // the client waits for seconds: the simulation has them
		}
		t.Run(do.String(), func(t *testing.T) {
			t.Parallel()
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil, kfake.NumBrokers(2))
			c.Topic("t", 3)
			policy := &producertest.Plain{}
			p := producertest.New(t, c, policy)
			var all []*partition.Record
			for n := range 20 {
				tr := kafkafake.Fault{Do: do, Count: 1 + n%3, Pause: time.Millisecond, Code: kerr.NotEnoughReplicas}
				if do == kafkafake.Rewrite {
					tr.Code = kerr.RequestTimedOut
				}
				c.AddFault(tr)
				require.NoError(t, c.MoveTopicPartition("t", int32(n%3), int32(n%2)))
				rs := producertest.Write(t, p, 3, producertest.Values(fmt.Sprint("w", n), 50)...)
				for _, r := range rs {
					require.Equal(t, partition.Acked, r.Outcome(), "%v", r.Reason)
				}
				all = append(all, rs...)
			}
			producertest.RequireExact(t, c, all)
			last := map[int32]int64{}
			for _, r := range all {
				before, ok := last[r.Partition]
				require.True(t, !ok || r.Offset > before)
				last[r.Partition] = r.Offset
			}
		})
	}
}

// What is given up while it is in flight is Unknown, and is not sent again.
func TestWhatIsGivenUpIsNotSentAgain(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := producertest.New(t, c, &producertest.Plain{})
	require.Equal(t, partition.Acked, producertest.Write(t, p, 1, "first")[0].Outcome())
	h := c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Hour})
	w := partition.NewWrite()
	r := &partition.Record{Record: &kgo.Record{Topic: "t", Value: []byte("second")}, Write: w}
	r.Prepare()
	w.Expect(1)
	p.Send([]*partition.Record{r})
	require.Eventually(t, func() bool { return h.Hits() == 1 }, 5*time.Minute, time.Millisecond)
	why := errors.New("given up")
	p.Withdraw([]*partition.Record{r}, partition.Queued, func(*partition.Record) error { return why })
	require.False(t, r.Ended(), "it may still be answered")
	p.Withdraw([]*partition.Record{r}, partition.All, func(*partition.Record) error { return why })
	<-w.Done
	require.Equal(t, partition.Unknown, r.Outcome())
	require.Equal(t, why, r.Reason)
	r.Value[0] = 'x' // it is the caller's again
}

// What is before the Policy is given up once that has decided, since it looks at the records,
// and the Policy is told to be quick.
func TestWhatIsBeforeThePolicyIsGivenUpAfterIt(t *testing.T) {
	t.Parallel()
	for _, topic := range []string{"t", "missing"} {
		t.Run(topic, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
			c.Topic("t", 1)
			c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord})
			asked := make(chan struct{}, 1)
			p := producertest.New(t, c, producertest.UntilGivenUp{Asked: asked})
			w := partition.NewWrite()
			r := &partition.Record{Record: &kgo.Record{Topic: topic, Value: []byte("v")}, Write: w}
			r.Prepare()
			w.Expect(1)
			p.Send([]*partition.Record{r})
			<-asked
			why := errors.New("given up")
			p.Withdraw([]*partition.Record{r}, partition.Queued, func(*partition.Record) error { return why })
			require.False(t, r.Ended(), "the partition.Policy may find out more")
			p.Withdraw([]*partition.Record{r}, partition.All, func(*partition.Record) error { return why })
			<-w.Done
			require.Equal(t, partition.NotWritten, r.Outcome())
			require.Equal(t, why, r.Reason)
			r.Value[0] = 'x' // it is the caller's again
		})
	}
}

// A batch that is sent again keeps its content, its number and its checksum.
func TestABatchThatIsSentAgainIsTheSame(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	var mu sync.Mutex
	var seen [][]byte
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1, Observe: true, When: func(req kmsg.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, append([]byte(nil), req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records...))
		return true
	}})
	p := producertest.New(t, c, &producertest.Plain{})
	c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Count: 2})
	all := producertest.Write(t, p, 1, producertest.Values("a", 10)...)
	producertest.RequireExact(t, c, all)
	mu.Lock()
	defer mu.Unlock()
	require.GreaterOrEqual(t, len(seen), 3)
	for _, b := range seen[1:] {
		require.Equal(t, seen[0], b)
	}
	b := seen[0]
	require.Equal(t, crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)), binary.BigEndian.Uint32(b[17:]))
}

// A topic that is not there yet gets its records once it is.
func TestRecordsWaitForTheirTopic(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	policy := &producertest.Plain{}
	p := producertest.New(t, c, policy)
	w := partition.NewWrite()
	r := &partition.Record{Record: &kgo.Record{Topic: "t", Value: []byte("v")}, Write: w}
	r.Prepare()
	w.Expect(1)
	p.Send([]*partition.Record{r})
	require.Eventually(t, func() bool { return len(policy.Asked()) > 0 }, 5*time.Minute, time.Millisecond)
	require.True(t, policy.Asked()[0].Metadata)
	c.Topic("t", 1)
	<-w.Done
	require.Equal(t, partition.Acked, r.Outcome())
}

// Close ends everything: what was never sent is NotWritten.
func TestCloseEndsWhatIsQueued(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	p := producertest.New(t, c, &producertest.Plain{})
	w := partition.NewWrite()
	r := &partition.Record{Record: &kgo.Record{Topic: "missing", Value: []byte("v")}, Write: w}
	r.Prepare()
	w.Expect(1)
	p.Send([]*partition.Record{r})
	p.Close()
	<-w.Done
	require.Equal(t, partition.NotWritten, r.Outcome())
	require.ErrorIs(t, r.Reason, kgo.ErrClientClosed)
	_, err := p.Refresh(context.Background(), "t")
	require.ErrorIs(t, err, kgo.ErrClientClosed)
}

// A topic that is used again after it was forgotten loses nothing: its sequence numbers begin
// anew, and brokers remember the last ones.
func TestAForgottenTopicIsUsedAgain(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := producertest.New(t, c, &producertest.Plain{})
	var all []*partition.Record
	for n := range 3 {
		all = append(all, producertest.Write(t, p, 1, producertest.Values(fmt.Sprint("w", n), 3)...)...)
		p.Forget("t")
	}
	producertest.RequireExact(t, c, all)
}

// A topic may be forgotten at any moment.
func TestATopicIsForgottenWhileItIsWrittenTo(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := producertest.New(t, c, &producertest.Plain{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			p.Forget("t")
		}
	}()
	var all []*partition.Record
	for n := range 300 {
		all = append(all, producertest.Write(t, p, 1, producertest.Values(fmt.Sprint("w", n), 2)...)...)
	}
	for _, r := range all {
		require.Equal(t, partition.Acked, r.Outcome(), "%v", r.Reason)
	}
	producertest.RequireExact(t, c, all)
}

// partitioned counts what it hears of.
type partitioned struct{ records, leaders int }

func (h *partitioned) OnProduceRecordPartitioned(_ *kgo.Record, leader int32) {
	h.records++
	h.leaders += int(leader)
}

func TestHooksHearOfPartitions(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 2)
	hook := &partitioned{}
	p := producertest.New(t, c, &producertest.Plain{}, func(cfg *producer.Config) { cfg.Hooks = []kgo.Hook{hook} })
	producertest.Write(t, p, 2, producertest.Values("v", 10)...)
	require.Equal(t, partitioned{records: 10, leaders: 0}, *hook) // of the one broker, number 0
}

// Of two records with one key that are to be sent again later, the second waits for the first.
func TestTheEarlierOfTwoRecordsGoesFirst(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	asked := 0
	p := producertest.New(t, c, producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
		asked++
		if asked == 1 {
			return partition.Plan{Parts: []partition.Part{{Records: b.Records[:1]}}, Later: []partition.Later{{Record: b.Records[1], After: time.Hour}}}
		}
		return partition.Plan{Later: []partition.Later{{Record: b.Records[0], After: time.Millisecond}}}
	}))
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Count: 2})
	w := partition.NewWrite()
	var records []*partition.Record
	for _, v := range []string{"first", "second"} {
		r := &partition.Record{Record: &kgo.Record{Topic: "t", Key: []byte("k"), Value: []byte(v)}, Write: w}
		r.Prepare()
		records = append(records, r)
	}
	w.Expect(2)
	p.Send(records)
	<-w.Done
	producertest.RequireExact(t, c, records)
	require.Equal(t, []int64{0, 1}, []int64{records[0].Offset, records[1].Offset})
}

// While a topic is missing, metadata is asked for of that topic, and not of all others.
func TestOnlyWantedTopicsAreAskedFor(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	p := producertest.New(t, c, &producertest.Plain{})
	producertest.Write(t, p, 1, "v")
	asked := make(chan int, 100)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Count: -1, Observe: true, When: func(req kmsg.Request) bool {
		select {
		case asked <- len(req.(*kmsg.MetadataRequest).Topics):
		default:
		}
		return true
	}})
	r := &partition.Record{Record: &kgo.Record{Topic: "missing", Value: []byte("v")}, Write: partition.NewWrite()}
	r.Prepare()
	r.Write.Expect(1)
	p.Send([]*partition.Record{r})
	for range 5 {
		require.Equal(t, 1, <-asked)
	}
}
