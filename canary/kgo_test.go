package canary

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// broker is an in-process broker with the topic "t" of one partition.
type broker struct {
	*kafkafake.Cluster
	t *testing.T
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	return &broker{kafkafake.New(t, kfake.SeedTopics(1, "t")), t}
}

// client returns a client that neither waits nor compresses.
func (b *broker) client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.ListenAddrs()...),
		kgo.DefaultProduceTopic("t"),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(0),
		kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }),
	}, opts...)...)
	require.NoError(b.t, err)
	b.t.Cleanup(cl.Close)
	return cl
}

// length returns how many records the topic "t" has.
func (b *broker) length() int64 {
	b.t.Helper()
	return b.PartitionInfo("t", 0).HighWatermark
}

// errs collects what the promises of records are called with.
type errs struct {
	mu sync.Mutex
	by map[string]error
}

func (e *errs) promise(r *kgo.Record, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.by == nil {
		e.by = map[string]error{}
	}
	e.by[string(r.Value)] = err
}

func record(value string) *kgo.Record { return kgo.StringRecord(value) }

func TestARefusedBatchTakesAllThatIsBufferedWithIt(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	cl := b.client()
	require.NoError(t, cl.ProduceSync(t.Context(), record("before")).FirstErr())
	arrived, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	b.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		first.Do(func() {
			close(arrived)
			b.SleepControl(func() { <-release })
		})
		return nil, nil, false
	})
	b.Refuse("t", 0, kafkafake.Mark, kerr.InvalidRecord)
	var e errs
	cl.Produce(t.Context(), record("POISON"), e.promise)
	<-arrived
	cl.Produce(t.Context(), record("of another call"), e.promise) // while the first is under way
	close(release)
	require.NoError(t, cl.Flush(t.Context()))
	require.ErrorIs(t, e.by["POISON"], kerr.InvalidRecord)
	require.ErrorIs(t, e.by["of another call"], kerr.InvalidRecord,
		"kgo no longer fails what is buffered for a partition along with a refused batch: only those that were in the batch are suspects, so that guard/isolate.go and the solo client's \"nothing else under way\" can be narrowed to them")
	require.EqualValues(t, 1, b.length())
}

func TestOnlyTheFirstRecordsContextCounts(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	for first, want := range map[bool]error{true: context.Canceled, false: nil} {
		cl := b.client(kgo.ProducerLinger(time.Minute))
		contexts := []context.Context{t.Context(), t.Context()}
		ended, cancel := context.WithCancel(t.Context())
		if first {
			contexts[0] = ended
		} else {
			contexts[1] = ended
		}
		var e errs
		for i, ctx := range contexts {
			cl.Produce(ctx, record(fmt.Sprint(i)), e.promise)
		}
		cancel()
		require.NoError(t, cl.Flush(t.Context()))
		const mended = "kgo now goes by each record's own context: write.produce in guard/write.go may pass on the context of the write, and slot need not take the place of the record's"
		for i := range contexts {
			if want == nil {
				require.NoError(t, e.by[fmt.Sprint(i)], mended)
			} else {
				require.ErrorIs(t, e.by[fmt.Sprint(i)], want, mended)
			}
		}
	}
}

func TestTheBatchSizeOfAPartitionNeverChanges(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	var limit, asked atomic.Int32
	limit.Store(1000)
	cl := b.client(kgo.ProducerBatchMaxBytesFn(func(string) int32 {
		asked.Add(1)
		return limit.Load()
	}))
	require.ErrorIs(t, cl.ProduceSync(t.Context(), kgo.SliceRecord(make([]byte, 2000))).FirstErr(), kerr.MessageTooLarge)
	limit.Store(10_000)
	before := asked.Load()
	refreshed := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Observe: true, Count: -1})
	for asked.Load() == before { // metadata was read since
		n := refreshed.Hits()
		cl.ForceMetadataRefresh()
		require.NoError(t, refreshed.Wait(t.Context(), n+1))
		require.NoError(t, cl.ProduceSync(t.Context(), record("small")).FirstErr())
	}
	require.ErrorIs(t, cl.ProduceSync(t.Context(), kgo.SliceRecord(make([]byte, 2000))).FirstErr(), kerr.MessageTooLarge,
		"kgo now changes the batch size of a live partition: generation.fits in guard/clients.go need not have a new client made when a topic's limit changes")
}

func TestAPromiseIsToldTheLastErrorAlone(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	cl := b.client()
	b.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Err: kerr.RequestTimedOut}, // it is appended all the same
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Err: kerr.InvalidRecord},
	)
	err := cl.ProduceSync(t.Context(), record("in the log")).FirstErr()
	require.EqualValues(t, 1, b.length(), "the first attempt was appended")
	require.Same(t, kerr.InvalidRecord, err, // nothing must be wrapped in it
		"kgo now tells a promise of an attempt in doubt before the last error (%v): guard/attempts.go need not listen on the connections", err)
}

func TestARefusedProducerIDIsRefusedForGood(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	cl := b.client()
	asked := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Observe: true, TopLevel: true, Count: -1})
	b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.ClusterAuthorizationFailed, TopLevel: true})
	require.ErrorIs(t, cl.ProduceSync(t.Context(), record("a")).FirstErr(), kerr.ClusterAuthorizationFailed)
	err := cl.ProduceSync(t.Context(), record("b")).FirstErr()
	const mended = "kgo now asks again for a producer ID that was refused: spoils in guard/retry.go need not have CLUSTER_AUTHORIZATION_FAILED make a new client"
	require.ErrorIs(t, err, kerr.ClusterAuthorizationFailed, mended)
	require.Equal(t, 1, asked.Hits(), mended)
	require.NoError(t, b.client().ProduceSync(t.Context(), record("c")).FirstErr(), "a new client asks")
}

func TestPurgingATopicLosesRecordsSilently(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	cl := b.client()
	for range 2 {
		require.NoError(t, cl.ProduceSync(t.Context(), record("m")).FirstErr())
		cl.PurgeTopicsFromProducing("t")
	}
	require.EqualValues(t, 1, b.length(),
		"kgo no longer loses what is produced after a purge: guard/clients.go may purge a topic whose limit or ID has changed, and needs no generations")
}

func TestRecordErrorsOfABrokerAreIgnored(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	cl := b.client(kgo.ProducerLinger(time.Minute))
	const marker = "only this one is to blame"
	b.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req := kreq.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.InvalidRecord.Code
				re := kmsg.NewProduceResponseTopicPartitionErrorRecord()
				re.RelativeOffset, re.ErrorMessage = 1, kmsg.StringPtr(marker)
				rp.ErrorRecords = append(rp.ErrorRecords, re)
				rp.ErrorMessage = kmsg.StringPtr(marker)
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	var e errs
	for _, v := range []string{"a", "b", "c"} {
		cl.Produce(t.Context(), record(v), e.promise)
	}
	require.NoError(t, cl.Flush(t.Context()))
	require.Len(t, e.by, 3)
	for v, err := range e.by {
		require.Same(t, kerr.InvalidRecord, err, // nothing must be wrapped in it
			"kgo now passes on the ErrorRecords or the ErrorMessage of a refusal (%s: %v): isolation.clear in guard/isolate.go can convict by them in place of searching, and guard/classify.go can quote the broker", v, err)
	}
}

// A batch of one record is 61 bytes and the record. kgo counts it up to 4 bytes
// larger before the first answer to a produce request, and 1 after it.
func TestKgoCountsABatchLargerThanItIs(t *testing.T) {
	t.Parallel()
	const limit = 5000
	const rest = 61 + 2 + 7 // what a batch has besides a value of 64 to 8191 bytes
	for _, test := range []struct {
		name string
		warm bool
		most int // the largest batch that is taken
	}{{"before the first answer", false, limit - 4}, {"after it", true, limit - 1}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			for size, taken := range map[int]bool{test.most: true, test.most + 1: false} {
				cl := b.client(kgo.ProducerBatchMaxBytes(limit))
				if test.warm {
					require.NoError(t, cl.ProduceSync(t.Context(), record("m")).FirstErr())
				}
				err := cl.ProduceSync(t.Context(), kgo.SliceRecord(make([]byte, size-rest))).FirstErr()
				const mended = "kgo now counts the bytes of a batch of one otherwise (a batch of %d bytes with a limit of %d: %v): kgoRounding in guard/write.go may be smaller, or must be larger"
				if taken {
					require.NoError(t, err, mended, size, limit, err)
				} else {
					require.ErrorIs(t, err, kerr.MessageTooLarge, mended, size, limit, err)
				}
			}
		})
	}
}

// Apache Kafka never answers such a request. The report is in docs/upstream.
func TestKgoSendsNullRecordsForWhatItFailed(t *testing.T) {
	t.Parallel()
	const partitions, limit = 6, 50_000
	c := kafkafake.New(t, kfake.SeedTopics(partitions, "t"))
	var null atomic.Int64
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition = p.Partition
				if p.Records == nil {
					null.Add(1)
					rp.ErrorCode = kerr.InvalidRecord.Code
				} else if len(p.Records) > limit {
					rp.ErrorCode = kerr.MessageTooLarge.Code
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	cl := (&broker{c, t}).client(kgo.ProducerBatchMaxBytes(2*limit), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for range 100 {
		var small, large []*kgo.Record
		for p := range int32(partitions) {
			small = append(small, &kgo.Record{Partition: p})
			for range 500 {
				large = append(large, &kgo.Record{Partition: p, Value: make([]byte, 1000)})
			}
		}
		// Once a partition has taken a batch, several may be under way to it.
		require.NoError(t, cl.ProduceSync(t.Context(), small...).FirstErr())
		cl.ProduceSync(t.Context(), large...)
		if null.Load() > 0 {
			return
		}
	}
	t.Fatal("kgo no longer sends null records for batches that it has failed: guard may have requests under way behind one that may be refused")
}
