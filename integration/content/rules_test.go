//go:build linux || darwin

package content

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "snappy": kgo.SnappyCompression(), "gzip": kgo.GzipCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// TestWhatTheLimitsRejectTheBrokerRejects writes 10,000 random records, of sizes about
// the topic's limit, with keys, headers and timestamps, in each codec.
//
// A record that the limits reject is then sent by a second guard that ignores the
// limits: the broker must reject it. A record that the limits accept and the broker
// rejects is a miss. Misses cost requests, and are counted.
func TestWhatTheLimitsRejectTheBrokerRejects(t *testing.T) {
	const limit, each, batch = 2000, 500, 100
	c := onkafka.OneNode(t)
	total, rejected, misses := 0, 0, 0
	for kind, properties := range map[string]map[string]string{
		"plain":        {},
		"uncompressed": {"compression.type": "uncompressed"},
		"gzip":         {"compression.type": "gzip"},
		"aged":         {"message.timestamp.before.max.ms": "3600000", "message.timestamp.after.max.ms": "3600000"},
	} {
		for codec, opt := range codecs {
			topic := fmt.Sprintf("rules-%s-%s", kind, codec)
			properties["max.message.bytes"] = fmt.Sprint(limit)
			if kind == "aged" {
				properties["cleanup.policy"] = "compact"
			}
			c.CreateTopic(topic, 1, 1, properties)
			compression := kgo.ProducerBatchCompression(opt)
			g := onkafka.NewGuard(t, c, guard.Config{}, compression)
			ask := onkafka.NewGuard(t, c, guard.Config{IgnoreRules: true, MaxMessageBytes: 1 << 20}, compression)
			rnd := rand.New(rand.NewPCG(uint64(len(topic)), 7))
			for n := 0; n < each; n += batch {
				records := make([]*kgo.Record, batch)
				for i := range records {
					records[i] = randomRecord(rnd, topic, limit)
				}
				var candidates []*kgo.Record
				for i, v := range g.Write(t.Context(), records) {
					total++
					switch {
					case v.Outcome == guard.Delivered:
					case v.Failure.Cause == nil:
						again := *records[i]
						candidates = append(candidates, &again)
					default:
						require.True(t, v.Class.Permanent(), "%v", v.Err())
						misses++
					}
				}
				rejected += len(candidates)
				for i, v := range ask.Write(t.Context(), candidates) {
					require.NotEqual(t, guard.Delivered, v.Outcome, "%s: a record of %d bytes at %s was rejected, and the broker takes it", topic, len(candidates[i].Value), candidates[i].Timestamp)
					require.True(t, v.Class.Permanent(), "%v", v.Err())
				}
			}
		}
	}
	t.Logf("RESULT rules records=%d rejected=%d falsely=0 misses=%d", total, rejected, misses)
	require.Equal(t, 4*len(codecs)*each, total)
	require.NotZero(t, rejected)
}

// randomRecord makes a record of about the size of the limit, raw or compressed.
func randomRecord(rnd *rand.Rand, topic string, limit int) *kgo.Record {
	size := limit - 150 + rnd.IntN(150)
	if rnd.IntN(3) == 0 {
		size = rnd.IntN(3 * limit)
	}
	value := make([]byte, size)
	noisy := rnd.IntN(size + 1) // the rest of the value compresses to nothing
	if rnd.IntN(2) == 0 {
		noisy = size
	}
	for i := range noisy {
		value[i] = byte(rnd.Uint32())
	}
	r := &kgo.Record{Topic: topic, Value: value}
	if rnd.IntN(4) > 0 {
		r.Key = make([]byte, rnd.IntN(40))
	}
	for range rnd.IntN(3) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "h", Value: make([]byte, rnd.IntN(30))})
	}
	switch rnd.IntN(4) {
	case 0:
		r.Timestamp = time.Now().Add(time.Duration(rnd.IntN(8*3600)-4*3600) * time.Second)
	case 1:
		r.Timestamp = time.UnixMilli(-1)
	}
	return r
}

// TestLimitsThatChangeUnderLoad changes the topic's limit 50 times under load. Each
// batch has a bad record.
func TestLimitsThatChangeUnderLoad(t *testing.T) {
	const writers, perBatch, badRecord = 4, 20, 11
	c := onkafka.OneNode(t)
	c.CreateTopic("changing", writers, 1, map[string]string{"max.message.bytes": "20000"})
	g := onkafka.NewGuard(t, c, guard.Config{RulesMaxAge: 20 * time.Millisecond},
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	fates := map[string]guard.Verdict{}
	for w := range writers {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				batch := make([]*kgo.Record, perBatch)
				for i := range batch {
					size := 500
					if i == badRecord {
						size = 60_000
					}
					value := make([]byte, size)
					copy(value, fmt.Sprintf("w%d-%08d-%02d", w, n, i))
					batch[i] = &kgo.Record{Topic: "changing", Partition: int32(w), Value: value}
				}
				verdicts := g.Write(context.Background(), batch)
				mu.Lock()
				for i, v := range verdicts {
					fates[string(batch[i].Value[:14])] = v
				}
				mu.Unlock()
			}
		})
	}
	for i := range 50 {
		c.SetTopicConfig("changing", "max.message.bytes", []string{"20000", "5000", "50000"}[i%3])
	}
	close(stop)
	wg.Wait()

	log, order := map[string]int{}, map[int32][]string{}
	for _, r := range c.ReadAll("changing") {
		id := string(r.Value[:14])
		log[id]++
		order[r.Partition] = append(order[r.Partition], id)
	}
	lost, duplicates, goodFailed := 0, 0, 0
	for id, v := range fates {
		switch bad := id[12:] == fmt.Sprintf("%02d", badRecord); {
		case bad:
			require.Equal(t, guard.SizeExceeded, v.Class, "%s", id)
			require.Zero(t, log[id])
		case v.Outcome != guard.Delivered:
			goodFailed++
			t.Logf("%s: %v", id, v.Err())
		case log[id] == 0:
			lost++
		case log[id] > 1:
			duplicates++
		}
	}
	t.Logf("RESULT limits-changing sent=%d delivered=%d duplicates=%d lost=%d good_failed=%d", len(fates), len(log), duplicates, lost, goodFailed)
	require.Zero(t, lost)
	require.Zero(t, duplicates)
	require.Zero(t, goodFailed)
	for partition, ids := range order {
		require.True(t, slices.IsSorted(ids), "order in partition %d", partition)
	}
}
