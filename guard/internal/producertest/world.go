// Package producertest has a producer and its cluster in virtual time, for tests of the
// producer and of the packages below it.
package producertest

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// ReadBatch returns a batch as a broker reads it, and its records.
func ReadBatch(t *testing.T, raw []byte) (b kmsg.RecordBatch, records []kmsg.Record) {
	t.Helper()
	require.NoError(t, b.ReadFrom(raw))
	require.EqualValues(t, len(raw)-12, b.Length)
	require.Equal(t, int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli))), b.CRC)
	content := b.Records
	if codec := b.Attributes & 7; codec != 0 {
		var err error
		content, err = kgo.DefaultDecompressor().Decompress(content, kgo.CompressionCodecType(codec))
		require.NoError(t, err)
	}
	for len(content) > 0 {
		var r kmsg.Record
		require.NoError(t, r.ReadFrom(content))
		require.NotZero(t, r.Length)
		size := kbin.VarintLen(r.Length) + int(r.Length)
		content, records = content[size:], append(records, r)
	}
	return b, records
}

// World is a producer and its cluster in virtual time, and the batches that came there.
type World struct {
	*testing.T
	Cluster  *kafkafake.Cluster
	Producer *producer.Producer

	first  []*partition.Record // of each partition
	warmed int

	mu   sync.Mutex
	came []SeenBatch
}

// SeenBatch is a batch in a produce request.
type SeenBatch struct {
	Request int // its number
	Size    int // of the request
	At      time.Time
	To      int32
	Values  string // of its records
	Stamps  []int64
	Number  recordbatch.ProducerID
	First   int32 // sequence number
}

// InVirtualTime runs a test with a topic "t", in which each partition has a record already.
func InVirtualTime(t *testing.T, partitions int, policy partition.Policy, test func(w *World), change ...func(*producer.Config)) {
	t.Helper()
	BesideDialect(t, kafkafake.Kafka(), partitions, policy, test, change...)
}

// BesideDialect does that with a cluster of a dialect.
func BesideDialect(t *testing.T, d kafkafake.Dialect, partitions int, policy partition.Policy, test func(w *World), change ...func(*producer.Config)) {
	t.Helper()
	beside(t, d, time.Millisecond, partitions, policy, test, change...)
}

// WithLatency does that with a cluster that a request takes some time to, and its answer as
// long back.
func WithLatency(t *testing.T, latency time.Duration, partitions int, policy partition.Policy, test func(w *World), change ...func(*producer.Config)) {
	t.Helper()
	beside(t, kafkafake.Kafka(), latency, partitions, policy, test, change...)
}

func beside(t *testing.T, d kafkafake.Dialect, latency time.Duration, partitions int, policy partition.Policy, test func(w *World), change ...func(*producer.Config)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &World{T: t, Cluster: kafkafake.StartDialect(t, d, &kafkafake.Network{Latency: latency})}
		w.Cluster.Topic("t", int32(partitions))
		w.Producer = New(t, w.Cluster, policy, change...)
		w.first = Write(t, w.Producer, partitions, Values("first", partitions)...)
		requests := 0
		w.Cluster.AddFault(kafkafake.Fault{Count: -1, When: func(req kmsg.Request) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			requests++
			size := len(req.AppendTo(nil))
			for _, topic := range req.(*kmsg.ProduceRequest).Topics {
				for _, p := range topic.Partitions {
					b, records := ReadBatch(t, p.Records)
					s := SeenBatch{Request: requests, Size: size, At: time.Now(), To: p.Partition, Number: recordbatch.ProducerID{ID: b.ProducerID, Epoch: b.ProducerEpoch}, First: b.FirstSequence}
					for _, r := range records {
						s.Values += " " + string(r.Value[:min(1, len(r.Value))])
						s.Stamps = append(s.Stamps, b.FirstTimestamp+r.TimestampDelta64)
					}
					s.Values = strings.TrimSpace(s.Values)
					w.came = append(w.came, s)
				}
			}
			return false
		}})
		test(w)
	})
}

// Seen returns what came since the last time.
func (w *World) Seen() []SeenBatch {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	came := w.came
	w.came = nil
	return came
}

// ValuesSeen are the records of each batch that came since the last time: a letter each.
func (w *World) ValuesSeen() (values []string) {
	for _, b := range w.Seen() {
		values = append(values, b.Values)
	}
	return values
}

// Records are a write of records, named a, b, c and so on.
func (w *World) Records(n int, change func(i int, r *partition.Record)) (records []*partition.Record) {
	wr := partition.NewWrite()
	wr.Expect(n)
	for i := range n {
		r := &partition.Record{Record: &kgo.Record{Topic: "t", Value: []byte(string(rune('a' + i)))}, Write: wr}
		if change != nil {
			change(i, r) // before it is prepared
		}
		alone, single, apart := r.Alone, r.Single, r.Apart
		r.Prepare()
		r.Alone, r.Single, r.Apart = alone, single, apart
		records = append(records, r)
	}
	return records
}

// Send sends records, see Records.
func (w *World) Send(n int, change func(i int, r *partition.Record)) []*partition.Record {
	records := w.Records(n, change)
	w.Producer.Send(records)
	return records
}

// Refuse has each batch with a record of a value refused.
func (w *World) Refuse(code *kerr.Error, value string) *kafkafake.FaultHandle {
	is := func(v string) bool { return v == value }
	return w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: code, Count: -1, When: w.Holds(is)})
}

// Holds reports whether a produce request has a record with such a value.
func (w *World) Holds(is func(value string) bool) func(kmsg.Request) bool {
	return func(req kmsg.Request) bool {
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range t.Partitions {
				_, records := ReadBatch(w.T, p.Records)
				if slices.ContainsFunc(records, func(r kmsg.Record) bool { return is(string(r.Value)) }) {
					return true
				}
			}
		}
		return false
	}
}

// OnBatchWith has a fault befall the next batch with a record that begins with value.
func (w *World) OnBatchWith(value string, f kafkafake.Fault) {
	f.When = w.Holds(func(v string) bool { return strings.HasPrefix(v, value) })
	w.Cluster.AddFault(f)
}

// Partition returns a partition of the topic "t".
func (w *World) Partition(n int) *partition.Partition { return w.first[n].Place() }

// Warm has so many batches acked, and what the tests before it left forgotten.
func (w *World) Warm(batches int) {
	for range batches {
		w.warmed++
		Wait(w.T, w.Send(1, func(_ int, r *partition.Record) { r.Value = fmt.Appendf(nil, "warm-%d", w.warmed) })[0])
	}
	w.Seen()
}
