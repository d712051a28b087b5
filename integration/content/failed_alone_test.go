//go:build linux || darwin

package content

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// failedLimit is the max.message.bytes of the topics of
// TestFailedRecordsAreRejectedAlone.
const failedLimit = 2000

// rejectingTopics are topics by their properties. Together they reject records in each
// way that Kafka has.
var rejectingTopics = map[string]map[string]string{
	"plain":        {},
	"uncompressed": {"compression.type": "uncompressed"},
	"gzip":         {"compression.type": "gzip"},
	"zstd":         {"compression.type": "zstd"},
	"compacted":    {"cleanup.policy": "compact"},
	"aged":         {"message.timestamp.before.max.ms": "3600000", "message.timestamp.after.max.ms": "3600000"},
	"strict": {
		"cleanup.policy": "compact", "compression.type": "lz4",
		"message.timestamp.before.max.ms": "3600000", "message.timestamp.after.max.ms": "3600000",
	},
}

// TestFailedRecordsAreRejectedAlone writes 12,000 random records, without topic
// configs, in large concurrent writes. Many records fail without having been sent
// alone: the broker lists them, or it rejected a smaller record. The test then
// sends each failed record alone, by another client: the broker must reject it.
func TestFailedRecordsAreRejectedAlone(t *testing.T) {
	const writers, perWrite, inAll = 4, 600, 12_000
	c, relay := onkafka.Relayed(t, kafkatest.Options{})
	var total failures
	for _, codec := range slices.Sorted(maps.Keys(codecs)) {
		t.Run(codec, func(t *testing.T) {
			c := c.With(t)
			topics := slices.Sorted(maps.Keys(rejectingTopics))
			for i, kind := range topics {
				properties := maps.Clone(rejectingTopics[kind])
				properties["max.message.bytes"] = fmt.Sprint(failedLimit)
				topics[i] = fmt.Sprintf("failed-%s-%s", kind, codec)
				c.CreateTopic(topics[i], 1, 1, properties)
			}
			compression := kgo.ProducerBatchCompression(codecs[codec])
			g := onkafka.NewGuard(t, c, guard.Config{IgnoreRules: true, Retry: guard.Retry{InitialInterval: 50 * time.Millisecond, MaxInterval: time.Second}},
				compression)

			records := make([][]*kgo.Record, writers)
			verdicts := make([][]guard.Verdict, writers)
			var wg sync.WaitGroup
			relay.Follow(onkafka.Rules{Answer: total.answer})
			for w := range writers {
				rnd := rand.New(rand.NewPCG(uint64(w), uint64(len(codec))))
				for i := range perWrite {
					r := randomBadRecord(rnd, topics)
					r.Headers = append(r.Headers, kgo.RecordHeader{Key: "id", Value: fmt.Appendf(nil, "%d-%03d", w, i)})
					records[w] = append(records[w], r)
				}
				handed := make([]*kgo.Record, perWrite)
				for i, r := range records[w] { // kgo sets timestamp and partition of records that it sends
					again := *r
					handed[i] = &again
				}
				wg.Go(func() { verdicts[w] = g.Write(t.Context(), handed) })
			}
			wg.Wait()
			relay.Follow(onkafka.Rules{})

			log := map[string]int{}
			for _, topic := range topics {
				for _, r := range c.ReadAll(topic) {
					log[recordID(r)]++
				}
			}
			failed := map[string][]failedRecord{} // by topic
			for w := range writers {
				for i, v := range verdicts[w] {
					r := records[w][i]
					if v.Outcome == guard.Delivered {
						total.delivered++
						require.Equal(t, 1, log[recordID(r)], "copies in the log of a record that is delivered")
						continue
					}
					require.True(t, v.Class.Permanent(), "%v", v.Err())
					require.Equal(t, guard.NotWritten, v.Outcome, "%v", v.Err())
					require.Zero(t, log[recordID(r)], "copies in the log of a record that is not delivered: %v", v.Err())
					failed[r.Topic] = append(failed[r.Topic], failedRecord{r, v})
					total.count(v)
				}
			}
			total.sendAlone(t, c, compression, failed)
		})
	}
	total.report(t)
	require.Equal(t, inAll, total.delivered+total.failed())
	require.Less(t, int(total.alone.Load()), total.failed()*4/5, "records that were refused alone: others fail without")
}

// failedRecord is a record and its verdict.
type failedRecord struct {
	record  *kgo.Record
	verdict guard.Verdict
}

// failures counts verdicts, and the requests that they took.
type failures struct {
	delivered       int
	kinds           map[string]int // failures by class and code
	requests, alone atomic.Int64   // produce requests, and those whose single record was rejected
}

// answer counts the answer to a produce request, and does not change it.
func (n *failures) answer(req *kmsg.ProduceRequest, resp *kmsg.ProduceResponse) bool {
	n.requests.Add(1)
	if len(req.Topics) != 1 { // each topic has one partition; withdrawing records may have emptied the request
		return true
	}
	var batch kmsg.RecordBatch
	if batch.ReadFrom(req.Topics[0].Partitions[0].Records) == nil && batch.NumRecords == 1 && resp.Topics[0].Partitions[0].ErrorCode != 0 {
		n.alone.Add(1)
	}
	return true
}

func (n *failures) count(v guard.Verdict) {
	if n.kinds == nil {
		n.kinds = map[string]int{}
	}
	n.kinds[v.Class.String()+"/"+codeOf(v.Failure.Cause)]++
}

func (n *failures) failed() (all int) {
	for _, of := range n.kinds {
		all += of
	}
	return all
}

func (n *failures) report(t *testing.T) {
	t.Helper()
	for _, kind := range slices.Sorted(maps.Keys(n.kinds)) {
		t.Logf("RESULT failed/%s %d", kind, n.kinds[kind])
	}
	t.Logf("RESULT failed delivered=%d failed=%d requests=%d refused_alone=%d", n.delivered, n.failed(), n.requests.Load(), n.alone.Load())
}

// sendAlone sends each failed record alone: the broker must reject it, with a code
// of the same class.
func (n *failures) sendAlone(t *testing.T, c *kafkatest.Cluster, compression kgo.Opt, failed map[string][]failedRecord) {
	t.Helper()
	falsely := make(chan string, n.failed())
	var wg sync.WaitGroup
	for _, of := range failed {
		client, err := kgo.NewClient(append(c.ClientOpts(""), compression, kgo.ProducerLinger(0),
			kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))...)
		require.NoError(t, err)
		defer client.Close()
		wg.Go(func() {
			for _, c := range of {
				if err := client.ProduceSync(t.Context(), c.record).FirstErr(); !slices.Contains(classCodes[c.verdict.Class], codeOf(err)) {
					falsely <- fmt.Sprintf("record %s of %s, value of %d bytes, time %s: alone the broker says %v, and the verdict was %v",
						recordID(c.record), c.record.Topic, len(c.record.Value), c.record.Timestamp, err, c.verdict.Err())
				}
			}
		})
	}
	wg.Wait()
	close(falsely)
	for what := range falsely {
		t.Error(what)
	}
}

// classCodes are the codes with which a broker may reject a record alone, by the class
// that guard reports.
var classCodes = map[guard.Class][]string{
	guard.SizeExceeded:  {kerr.MessageTooLarge.Message},
	guard.InvalidRecord: {kerr.InvalidRecord.Message, kerr.InvalidTimestamp.Message, kerr.UnknownServerError.Message},
}

func codeOf(err error) string {
	if code := (*kerr.Error)(nil); errors.As(err, &code) {
		return code.Message
	}
	return fmt.Sprint(err)
}

// recordID returns the value of the last header. No two records have the same one.
func recordID(r *kgo.Record) string { return string(r.Headers[len(r.Headers)-1].Value) }

// randomBadRecord makes a record that one of the topics may reject: with about the size
// of the limit, raw or compressed, without a key, or with a timestamp out of bounds.
func randomBadRecord(rnd *rand.Rand, topics []string) *kgo.Record {
	r := randomRecord(rnd, topics[rnd.IntN(len(topics))], failedLimit)
	if rnd.IntN(2) == 0 { // a small record, of which a batch takes many
		r.Value = r.Value[:min(len(r.Value), rnd.IntN(100))]
	}
	if r.Key != nil || rnd.IntN(3) == 0 {
		r.Key = fmt.Appendf(nil, "key-%d", rnd.IntN(50))
	}
	// A fixed time, so that it is out of bounds on any clock.
	r.Timestamp = time.Time{}
	minutes := time.Duration(rnd.IntN(200)) * time.Minute
	switch rnd.IntN(8) {
	case 0:
		r.Timestamp = time.Now().Add(-80*time.Minute - minutes)
	case 1:
		r.Timestamp = time.Now().Add(80*time.Minute + minutes)
	case 2:
		r.Timestamp = time.Now().Add(-minutes / 5)
	case 3:
		r.Timestamp = time.UnixMilli(-1)
	}
	return r
}
