package producertest

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// MetadataAsked notes when metadata of topics is asked for, and of how many.
func MetadataAsked(c *kafkafake.Cluster) func() (at []time.Time, topics []int) {
	var mu sync.Mutex
	var when []time.Time
	var of []int
	c.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Count: -1, When: func(req kmsg.Request) bool {
		if n := len(req.(*kmsg.MetadataRequest).Topics); n > 0 {
			mu.Lock()
			defer mu.Unlock()
			when, of = append(when, time.Now()), append(of, n)
		}
		return false
	}})
	return func() ([]time.Time, []int) {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		defer func() { when, of = nil, nil }()
		return when, of
	}
}

// Heard counts what is told of records.
type Heard struct{ Buffered, Unbuffered, Failed int }

// OnProduceRecordBuffered counts a record that was buffered.
func (h *Heard) OnProduceRecordBuffered(*kgo.Record) { h.Buffered++ }

// OnProduceRecordUnbuffered counts a record that ended.
func (h *Heard) OnProduceRecordUnbuffered(_ *kgo.Record, err error) {
	h.Unbuffered++
	if err != nil {
		h.Failed++
	}
}

// TwoInABatch has two of the records of these tests fill a batch.
func TwoInABatch(cfg *producer.Config) {
	two := 2*recordbatch.SizeOf(&kgo.Record{Value: []byte("a")}) - recordbatch.Overhead
	cfg.MaxBatch = func(string, int32) (int, int) { return two, math.MaxInt32 }
}

// Outcomes returns those of records.
func Outcomes(records []*partition.Record) (all []partition.Outcome) {
	for _, r := range records {
		all = append(all, r.Outcome())
	}
	return all
}

// New returns a producer beside a cluster, with changes of its Config.
func New(t *testing.T, c *kafkafake.Cluster, policy partition.Policy, change ...func(*producer.Config)) *producer.Producer {
	t.Helper()
	hook := &producer.Hook{}
	backoff := func(int) time.Duration { return time.Millisecond }
	cl, err := kgo.NewClient(append(c.Opts(), kgo.WithHooks(hook), kgo.RetryBackoffFn(backoff))...)
	require.NoError(t, err)
	cfg := producer.Config{
		Client: cl, Acks: -1, Timeout: time.Second, Idempotent: true, Partitioner: kgo.ManualPartitioner(), MaxRequest: 100 << 20, InFlight: 5,
		MetadataMinAge: time.Millisecond, Backoff: backoff, Policy: policy,
		MaxBatch: func(string, int32) (int, int) { return 100_000, math.MaxInt32 },
	}
	for _, f := range change {
		f(&cfg)
	}
	p := producer.New(cfg, hook)
	t.Cleanup(func() {
		p.Close()
		cl.Close()
	})
	return p
}

// Write sends values to partitions of the topic "t", and waits.
func Write(t *testing.T, p *producer.Producer, partitions int, values ...string) []*partition.Record {
	t.Helper()
	records := sendTo(p, partitions, values)
	Wait(t, records[0])
	return records
}

// sendTo sends values to partitions of the topic "t" as one write.
func sendTo(p *producer.Producer, partitions int, values []string) (records []*partition.Record) {
	w := partition.NewWrite()
	w.Expect(len(values))
	for i, v := range values {
		r := &partition.Record{Record: &kgo.Record{Topic: "t", Partition: int32(i % partitions), Value: []byte(v)}, Write: w}
		r.Prepare()
		records = append(records, r)
	}
	p.Send(records)
	return records
}

// Values returns n values with a prefix.
func Values(prefix string, n int) (vs []string) {
	for i := range n {
		vs = append(vs, fmt.Sprintf("%s-%05d", prefix, i))
	}
	return vs
}

// RequireExact requires each record to be in the log as often as its outcome says.
func RequireExact(t *testing.T, c *kafkafake.Cluster, records []*partition.Record) {
	t.Helper()
	log := map[string][]*kgo.Record{}
	for _, r := range c.Log("t") {
		log[string(r.Value)] = append(log[string(r.Value)], r)
	}
	for _, r := range records {
		found := log[string(r.Value)]
		switch r.Outcome() {
		case partition.Acked:
			require.Len(t, found, 1, "%s", r.Value)
			require.Equal(t, r.Partition, found[0].Partition)
			require.Equal(t, r.Offset, found[0].Offset)
		case partition.NotWritten:
			require.Empty(t, found, "%s", r.Value)
		default:
			require.LessOrEqual(t, len(found), 1, "%s", r.Value)
		}
	}
}

// SendTogether sends values to partition 0 of the topic "t" as one write.
func SendTogether(p *producer.Producer, values ...string) []*partition.Record {
	return sendTo(p, 1, values)
}

// RequireSettled sends a record whose first answer is lost, and requires that it is acked, and
// in the log once.
func RequireSettled(t *testing.T, c *kafkafake.Cluster, p *producer.Producer) {
	t.Helper()
	c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
	r := Send(p, kgo.Record{Value: []byte("in doubt")})
	Wait(t, r)
	require.Equal(t, partition.Acked, r.Outcome(), "%v", r.Reason)
	RequireExact(t, c, []*partition.Record{r})
}

// Send sends a record of the topic "t" as a write of its own.
func Send(p *producer.Producer, r kgo.Record) *partition.Record {
	r.Topic = "t"
	to := &partition.Record{Record: &r, Write: partition.NewWrite()}
	to.Prepare()
	to.Write.Expect(1)
	p.Send([]*partition.Record{to})
	return to
}

// Wait waits for the writes of records.
func Wait(t *testing.T, records ...*partition.Record) {
	t.Helper()
	for _, r := range records {
		select {
		case <-r.Write.Done:
		case <-time.After(5 * time.Minute):
			t.Fatalf("%s has not ended", r.Value)
		}
	}
}

// Stop is where a request stops until it is let go.
type Stop struct{ Came, LetGo chan struct{} }

// StopNext stops the next produce request, which then meets a fault.
func StopNext(c *kafkafake.Cluster, f kafkafake.Fault) Stop {
	return StopAfter(c, f, func() bool { return true })
}

// Lost has the answer to the next produce request lost. The one after it stops.
func Lost(c *kafkafake.Cluster, f kafkafake.Fault) Stop {
	var first *kafkafake.FaultHandle
	s := StopAfter(c, f, func() bool { return first.Hits() > 0 }) // it is asked before the first
	first = c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
	return s
}

// StopAfter stops the next produce request once something has begun.
func StopAfter(c *kafkafake.Cluster, f kafkafake.Fault, begun func() bool) Stop {
	s := Stop{make(chan struct{}), make(chan struct{})}
	var once atomic.Bool
	f.When = func(kmsg.Request) bool {
		if !begun() || once.Swap(true) {
			return false
		}
		close(s.Came)
		<-s.LetGo
		return true
	}
	c.AddFault(f)
	return s
}

// Rejected is a fault: a batch is rejected for what is in it.
var Rejected = kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord}

// ErrGivenUp is why tests give records up.
var ErrGivenUp = errors.New("given up")

// GivenUp returns ErrGivenUp.
func GivenUp(*partition.Record) error { return ErrGivenUp }

// Another returns metadata of another topic "t" with so many partitions.
func Another(partitions int) *kmsg.MetadataResponseTopic {
	name := "t"
	m := &kmsg.MetadataResponseTopic{Topic: &name, TopicID: [16]byte{1}}
	for n := range partitions {
		m.Partitions = append(m.Partitions, kmsg.MetadataResponseTopicPartition{Partition: int32(n)})
	}
	return m
}
