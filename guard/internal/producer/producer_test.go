package producer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// plain is a Policy that sends everything again as it is, and fails what a broker rejects
// for good.
type plain struct {
	mu    sync.Mutex
	acked int
	next  []Answer
}

func (p *plain) Acked(*Batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acked++
}

func (*plain) Check(*Record, int32) error { return nil }

func (p *plain) Next(_ context.Context, b *Batch, a Answer) (plan Plan) {
	p.mu.Lock()
	p.next = append(p.next, a)
	p.mu.Unlock()
	var e *kerr.Error
	if errors.As(a.Err, &e) && !e.Retriable && e != kerr.OutOfOrderSequenceNumber && e != kerr.UnknownServerError || a.NoPartition {
		for _, r := range b.Records {
			plan.Failed = append(plan.Failed, Failed{Record: r, Reason: errors.New("rejected")})
		}
		return plan
	}
	return Plan{Same: true, Pause: time.Millisecond}
}

func newProducer(t *testing.T, c *kafkafake.Cluster, policy Policy, change ...func(*Config)) *Producer {
	t.Helper()
	hook := &Hook{}
	backoff := func(int) time.Duration { return time.Millisecond }
	cl, err := kgo.NewClient(append(c.Opts(), kgo.WithHooks(hook), kgo.RetryBackoffFn(backoff))...)
	require.NoError(t, err)
	cfg := Config{
		Client: cl, Acks: -1, Timeout: time.Second, Idempotent: true, Partitioner: kgo.ManualPartitioner(), MaxRequest: 100 << 20, InFlight: 5,
		MetadataMinAge: time.Millisecond, Backoff: backoff, Policy: policy,
		MaxBatch: func(string, int32) (int, int) { return 100_000, math.MaxInt32 },
	}
	for _, f := range change {
		f(&cfg)
	}
	p := New(cfg, hook)
	t.Cleanup(func() {
		p.Close()
		cl.Close()
	})
	return p
}

// write sends values to partitions of the topic "t", and waits.
func write(t *testing.T, p *Producer, partitions int, values ...string) []*Record {
	t.Helper()
	w := NewWrite()
	records := make([]*Record, len(values))
	for i, v := range values {
		records[i] = &Record{Record: &kgo.Record{Topic: "t", Partition: int32(i % partitions), Value: []byte(v)}, Write: w}
		records[i].Prepare()
	}
	w.Expect(len(records))
	p.Send(records)
	select {
	case <-w.Done:
	case <-time.After(5 * time.Minute):
		t.Fatal("the records have not ended")
	}
	return records
}

func values(prefix string, n int) (vs []string) {
	for i := range n {
		vs = append(vs, fmt.Sprintf("%s-%05d", prefix, i))
	}
	return vs
}

// requireExact requires each record to be in the log as often as its outcome says.
func requireExact(t *testing.T, c *kafkafake.Cluster, records []*Record) {
	t.Helper()
	log := map[string][]*kgo.Record{}
	for _, r := range c.Log("t") {
		log[string(r.Value)] = append(log[string(r.Value)], r)
	}
	for _, r := range records {
		found := log[string(r.Value)]
		switch r.Outcome() {
		case Acked:
			require.Len(t, found, 1, "%s", r.Value)
			require.Equal(t, r.Partition, found[0].Partition)
			require.Equal(t, r.Offset, found[0].Offset)
		case NotWritten:
			require.Empty(t, found, "%s", r.Value)
		default:
			require.LessOrEqual(t, len(found), 1, "%s", r.Value)
		}
	}
}

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
			policy := &plain{}
			p := newProducer(t, c, policy)
			var all []*Record
			for n := range 20 {
				tr := kafkafake.Fault{Do: do, Count: 1 + n%3, Pause: time.Millisecond, Code: kerr.NotEnoughReplicas}
				if do == kafkafake.Rewrite {
					tr.Code = kerr.RequestTimedOut
				}
				c.AddFault(tr)
				require.NoError(t, c.MoveTopicPartition("t", int32(n%3), int32(n%2)))
				rs := write(t, p, 3, values(fmt.Sprint("w", n), 50)...)
				for _, r := range rs {
					require.Equal(t, Acked, r.Outcome(), "%v", r.Reason)
				}
				all = append(all, rs...)
			}
			requireExact(t, c, all)
			last := map[int32]int64{}
			for _, r := range all {
				before, ok := last[r.Partition]
				require.True(t, !ok || r.Offset > before)
				last[r.Partition] = r.Offset
			}
		})
	}
}

// 0 follows 2^31-1 (KIP-98).
func TestSequenceNumbersWrap(t *testing.T) {
	t.Parallel()
	require.EqualValues(t, 0, next(math.MaxInt32, 1))
	require.EqualValues(t, 4, next(math.MaxInt32-5, 10))
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := newProducer(t, c, &plain{})
	rs := write(t, p, 1, values("a", 3)...)
	part := p.topic("t").partitions[0]
	part.mu.Lock()
	require.EqualValues(t, 3, part.sequence)
	part.mu.Unlock()
	requireExact(t, c, rs)
}

// A producer that the broker does not know any more gets an ID of its own for the partition,
// and nothing is lost.
func TestAPartitionThatLosesTrackTakesAnIDOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, code := range []*kerr.Error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidProducerIDMapping, kerr.DuplicateSequenceNumber} {
		t.Run(code.Message, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
			c.Topic("t", 2)
			p := newProducer(t, c, policyFunc(func(_ *Batch, a Answer) Plan { return Plan{Same: true} }))
			all := write(t, p, 2, values("a", 10)...)
			c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: code, Partitions: []int32{1}})
			all = append(all, write(t, p, 2, values("b", 10)...)...)
			for _, r := range all {
				require.Equal(t, Acked, r.Outcome())
			}
			requireExact(t, c, all)
			one, two := p.topic("t").partitions[0], p.topic("t").partitions[1]
			require.NotEqual(t, one.producer, two.producer)
		})
	}
}

// policyFunc is a Policy of one function.
type policyFunc func(*Batch, Answer) Plan

func (policyFunc) Acked(*Batch)                                      {}
func (policyFunc) Check(*Record, int32) error                        { return nil }
func (f policyFunc) Next(_ context.Context, b *Batch, a Answer) Plan { return f(b, a) }

// What is given up while it is in flight is Unknown, and is not sent again.
func TestWhatIsGivenUpIsNotSentAgain(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := newProducer(t, c, &plain{})
	require.Equal(t, Acked, write(t, p, 1, "first")[0].Outcome())
	h := c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Hour})
	w := NewWrite()
	r := &Record{Record: &kgo.Record{Topic: "t", Value: []byte("second")}, Write: w}
	r.Prepare()
	w.Expect(1)
	p.Send([]*Record{r})
	require.Eventually(t, func() bool { return h.Hits() == 1 }, 5*time.Minute, time.Millisecond)
	why := errors.New("given up")
	p.Withdraw([]*Record{r}, Queued, func(*Record) error { return why })
	require.False(t, r.Ended(), "it may still be answered")
	p.Withdraw([]*Record{r}, All, func(*Record) error { return why })
	<-w.Done
	require.Equal(t, Unknown, r.Outcome())
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
			p := newProducer(t, c, untilGivenUp{asked})
			w := NewWrite()
			r := &Record{Record: &kgo.Record{Topic: topic, Value: []byte("v")}, Write: w}
			r.Prepare()
			w.Expect(1)
			p.Send([]*Record{r})
			<-asked
			why := errors.New("given up")
			p.Withdraw([]*Record{r}, Queued, func(*Record) error { return why })
			require.False(t, r.Ended(), "the Policy may find out more")
			p.Withdraw([]*Record{r}, All, func(*Record) error { return why })
			<-w.Done
			require.Equal(t, NotWritten, r.Outcome())
			require.Equal(t, why, r.Reason)
			r.Value[0] = 'x' // it is the caller's again
		})
	}
}

// untilGivenUp is a Policy that looks at records until they are given up.
type untilGivenUp struct{ asked chan struct{} }

func (untilGivenUp) Acked(*Batch)               {}
func (untilGivenUp) Check(*Record, int32) error { return nil }
func (u untilGivenUp) Next(ctx context.Context, b *Batch, _ Answer) Plan {
	select {
	case u.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	if string(b.Records[0].Value) == "x" {
		panic("the record was given back before")
	}
	return Plan{Same: true}
}

// A batch differs from each one in doubt in how many records it has.
func TestABatchIsNotTakenForOneInDoubt(t *testing.T) {
	t.Parallel()
	b := &Batch{Records: make([]*Record, 5)}
	at := func(counts ...int) (all []doubt) {
		for _, n := range counts {
			all = append(all, doubt{first: 7, count: n})
		}
		return all
	}
	for _, test := range []struct {
		doubts []doubt
		free   int
	}{{nil, 5}, {at(4), 5}, {at(5), 4}, {at(4, 5), 3}, {at(1, 2, 3, 4, 5), 0}, {[]doubt{{first: 8, count: 5}}, 5}} {
		p := &partition{sequence: 7, doubts: test.doubts}
		require.Equal(t, test.free, p.freeCount(b), "%v", test.doubts)
	}
	b.unanswered = true
	require.Equal(t, 5, (&partition{sequence: 7, doubts: at(5)}).freeCount(b), "it is the one in doubt")
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
	p := newProducer(t, c, &plain{})
	c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Count: 2})
	all := write(t, p, 1, values("a", 10)...)
	requireExact(t, c, all)
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
	policy := &plain{}
	p := newProducer(t, c, policy)
	w := NewWrite()
	r := &Record{Record: &kgo.Record{Topic: "t", Value: []byte("v")}, Write: w}
	r.Prepare()
	w.Expect(1)
	p.Send([]*Record{r})
	require.Eventually(t, func() bool {
		policy.mu.Lock()
		defer policy.mu.Unlock()
		return len(policy.next) > 0
	}, 5*time.Minute, time.Millisecond)
	require.True(t, policy.next[0].Metadata)
	c.Topic("t", 1)
	<-w.Done
	require.Equal(t, Acked, r.Outcome())
}

// Close ends everything: what was never sent is NotWritten.
func TestCloseEndsWhatIsQueued(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	p := newProducer(t, c, &plain{})
	w := NewWrite()
	r := &Record{Record: &kgo.Record{Topic: "missing", Value: []byte("v")}, Write: w}
	r.Prepare()
	w.Expect(1)
	p.Send([]*Record{r})
	p.Close()
	<-w.Done
	require.Equal(t, NotWritten, r.Outcome())
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
	p := newProducer(t, c, &plain{})
	var all []*Record
	for n := range 3 {
		all = append(all, write(t, p, 1, values(fmt.Sprint("w", n), 3)...)...)
		p.Forget("t")
	}
	requireExact(t, c, all)
}

// A topic may be forgotten at any moment.
func TestATopicIsForgottenWhileItIsWrittenTo(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := newProducer(t, c, &plain{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			p.Forget("t")
		}
	}()
	var all []*Record
	for n := range 300 {
		all = append(all, write(t, p, 1, values(fmt.Sprint("w", n), 2)...)...)
	}
	for _, r := range all {
		require.Equal(t, Acked, r.Outcome(), "%v", r.Reason)
	}
	requireExact(t, c, all)
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
	p := newProducer(t, c, &plain{}, func(cfg *Config) { cfg.Hooks = []kgo.Hook{hook} })
	write(t, p, 2, values("v", 10)...)
	require.Equal(t, partitioned{records: 10, leaders: 0}, *hook) // of the one broker, number 0
}

// Of two records with one key that are to be sent again later, the second waits for the first.
func TestTheEarlierOfTwoRecordsGoesFirst(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	asked := 0
	p := newProducer(t, c, policyFunc(func(b *Batch, a Answer) Plan {
		asked++
		if asked == 1 {
			return Plan{Parts: []Part{{Records: b.Records[:1]}}, Later: []Later{{Record: b.Records[1], After: time.Hour}}}
		}
		return Plan{Later: []Later{{Record: b.Records[0], After: time.Millisecond}}}
	}))
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Count: 2})
	w := NewWrite()
	var records []*Record
	for _, v := range []string{"first", "second"} {
		r := &Record{Record: &kgo.Record{Topic: "t", Key: []byte("k"), Value: []byte(v)}, Write: w}
		r.Prepare()
		records = append(records, r)
	}
	w.Expect(2)
	p.Send(records)
	<-w.Done
	requireExact(t, c, records)
	require.Equal(t, []int64{0, 1}, []int64{records[0].Offset, records[1].Offset})
}

// While a topic is missing, metadata is asked for of that topic, and not of all others.
func TestOnlyWantedTopicsAreAskedFor(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	p := newProducer(t, c, &plain{})
	write(t, p, 1, "v")
	asked := make(chan int, 100)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Count: -1, Observe: true, When: func(req kmsg.Request) bool {
		select {
		case asked <- len(req.(*kmsg.MetadataRequest).Topics):
		default:
		}
		return true
	}})
	r := &Record{Record: &kgo.Record{Topic: "missing", Value: []byte("v")}, Write: NewWrite()}
	r.Prepare()
	r.Write.Expect(1)
	p.Send([]*Record{r})
	for range 5 {
		require.Equal(t, 1, <-asked)
	}
}
