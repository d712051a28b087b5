//go:build linux || darwin

package content

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
	"github.com/kafka-guarded/kafka-guarded/internal/rawproduce"
)

// rejections are records, by class, that a topic of rejecting rejects.
var rejections = []struct {
	name  string
	class guard.Class
	make  func(*kgo.Record)
}{
	{"too large", guard.SizeExceeded, func(r *kgo.Record) { r.Value = onkafka.Noise(30_000) }},
	{"without a key", guard.InvalidRecord, func(r *kgo.Record) { r.Key = nil }},
	{"too old", guard.InvalidRecord, func(r *kgo.Record) { r.Timestamp = time.Now().Add(-2 * time.Hour) }},
}

// eachRejection runs a test for each way to be rejected, idempotent and not, with topic
// configs read and not. Each run has a topic of its own.
func eachRejection(t *testing.T, test func(t *testing.T, c *kafkatest.Cluster, topic string, g *guard.Guard, class guard.Class, bad func(*kgo.Record))) {
	c := onkafka.OneNode(t)
	for n, of := range rejections {
		for _, idempotent := range []bool{true, false} {
			for _, ignore := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/idempotent %t/rules ignored %t", of.name, idempotent, ignore), func(t *testing.T) {
					c := c.With(t)
					topic := fmt.Sprintf("%s-%d-%t-%t", strings.ToLower(strings.Split(t.Name(), "/")[0]), n, idempotent, ignore)
					c.CreateTopic(topic, 1, 1, map[string]string{"max.message.bytes": "20000", "cleanup.policy": "compact", "message.timestamp.before.max.ms": "3600000"})
					opts := []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())}
					if !idempotent {
						opts = append(opts, kgo.DisableIdempotentWrite())
					}
					test(t, c, topic, onkafka.NewGuard(t, c, guard.Config{IgnoreRules: ignore}, opts...), of.class, of.make)
				})
			}
		}
	}
}

// rejectable returns n records for a topic, all with one key. bad spoils those at the
// given positions.
func rejectable(topic, key, prefix string, n int, bad func(*kgo.Record), places ...int) (records []*kgo.Record) {
	for i := range n {
		records = append(records, &kgo.Record{
			Topic: topic, Key: []byte(key), Value: fmt.Appendf(nil, "%s-%03d", prefix, i),
			Headers: []kgo.RecordHeader{{Key: "id", Value: fmt.Appendf(nil, "%s-%03d", prefix, i)}},
		})
	}
	for _, i := range places {
		bad(records[i])
	}
	return records
}

// failedAs returns the classes of the records that were not delivered, by index.
func failedAs(verdicts []guard.Verdict) map[int]guard.Class {
	failed := map[int]guard.Class{}
	for i, v := range verdicts {
		if v.Outcome != guard.Delivered {
			failed[i] = v.Class
		}
	}
	return failed
}

// After a rejection some idempotent producers go on with a sequence number that the
// broker does not expect. Then the broker rejects the next record, too.
func TestTheNextRecordGoesThroughAfterARejection(t *testing.T) {
	eachRejection(t, func(t *testing.T, c *kafkatest.Cluster, topic string, g *guard.Guard, class guard.Class, bad func(*kgo.Record)) {
		for round := range 3 {
			prefix := fmt.Sprintf("r%d", round)
			// Alone, so that no record of the batch is acked.
			require.Equal(t, map[int]guard.Class{0: class}, failedAs(g.Write(t.Context(), rejectable(topic, "k", prefix+"-alone", 1, bad, 0))))
			require.Empty(t, failedAs(g.Write(t.Context(), rejectable(topic, "k", prefix+"-next", 1, bad))))
			require.Equal(t, map[int]guard.Class{50: class}, failedAs(g.Write(t.Context(), rejectable(topic, "k", prefix+"-many", 100, bad, 50))))
			require.Empty(t, failedAs(g.Write(t.Context(), rejectable(topic, "k", prefix+"-after", 1, bad))))
		}
		require.Len(t, ids(c, topic), 3*(1+99+1))
	})
}

// ids returns the IDs of the records in a topic of one partition, in their order.
func ids(c *kafkatest.Cluster, topic string) (found []string) {
	for _, r := range c.ReadAll(topic) {
		for _, h := range r.Headers {
			if h.Key == "id" {
				found = append(found, string(h.Value))
			}
		}
	}
	return found
}

func TestABatchThatWasTakenApartKeepsItsOrder(t *testing.T) {
	eachRejection(t, func(t *testing.T, c *kafkatest.Cluster, topic string, g *guard.Guard, class guard.Class, bad func(*kgo.Record)) {
		want, places := map[int]guard.Class{}, []int{0, 13, 50, 51, 99}
		for _, i := range places {
			want[i] = class
		}
		var order []string
		for round := range 3 {
			prefix := fmt.Sprintf("r%d", round)
			require.Equal(t, want, failedAs(g.Write(t.Context(), rejectable(topic, "k", prefix, 100, bad, places...))))
			for i := range 100 {
				if _, failed := want[i]; !failed {
					order = append(order, fmt.Sprintf("%s-%03d", prefix, i))
				}
			}
		}
		require.Equal(t, order, ids(c, topic))
	})
}

// Some producers report a rejection only when they send the next batch. Here the input
// sends nothing before the first batch is acknowledged.
func TestARejectionIsReportedWithoutFurtherTraffic(t *testing.T) {
	c := onkafka.OneNode(t)
	for _, idempotent := range []bool{true, false} {
		for _, fields := range []onkafka.Fields{nil, onkafka.DeadLetters, {"topic_rules": onkafka.Fields{"enabled": false}}} {
			t.Run(fmt.Sprintf("idempotent %t/%v", idempotent, fields), func(t *testing.T) {
				c := c.With(t)
				c.CreateTopic("quiet", 1, 1, map[string]string{"cleanup.policy": "compact"})
				l := onkafka.NewChecker(t, t.Name())
				first, more := []onkafka.Message{onkafka.Good("quiet", "bad").Keyless().Bad(onkafka.InvalidRecord)}, make(chan struct{})
				next := onkafka.Batches(first, onkafka.Around("quiet", "after", 4))
				given := 0
				s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"idempotent_write": idempotent}).With(fields), func(ctx context.Context) []onkafka.Message {
					if given++; given > 1 {
						select {
						case <-more:
						case <-ctx.Done():
							return nil
						}
					}
					return next(ctx)
				})
				s.GoOn(1)
				close(more)
				s.Wait()
				l.CheckTopics(c, "quiet")
			})
		}
	}
}

// sizesInText finds the size in a failure's text, and the name and value of the limit
// if it has them.
var sizesInText = regexp.MustCompile(`(\d+) bytes exceed (the topic's [a-z.]+|max_message_bytes)(?: \((\d+)\))?`)

// No text pairs the size of one record with another record's limit. The batches have
// records of three sizes, and three limits apply.
func TestATextHasTheRecordsOwnSizeAndTheLimitsOwnName(t *testing.T) {
	c := onkafka.OneNode(t)
	for _, ignore := range []bool{true, false} {
		for _, test := range []struct {
			name       string
			properties map[string]string
			client     int
			limits     map[string]int // by the name in the text
		}{
			{"topic", map[string]string{"max.message.bytes": "20000"}, 0, map[string]int{"the topic's max.message.bytes": 20000}},
			{"client below the topic", map[string]string{"max.message.bytes": "20000"}, 10_000, map[string]int{"max_message_bytes": 10000, "the topic's max.message.bytes": 20000}},
			{"topic below the client", map[string]string{"max.message.bytes": "20000"}, 50_000, map[string]int{"max_message_bytes": 50000, "the topic's max.message.bytes": 20000}},
			{"segment", map[string]string{"max.message.bytes": "3000000", "segment.bytes": "1048576"}, 2_000_000, map[string]int{"max_message_bytes": 2000000, "the topic's segment.bytes": 1048576}},
			{"default", nil, 0, map[string]int{"the topic's max.message.bytes": 1048588}},
		} {
			t.Run(fmt.Sprintf("%s/rules ignored %t", test.name, ignore), func(t *testing.T) {
				c := c.With(t)
				topic := fmt.Sprintf("texts-%s-%t", strings.ReplaceAll(test.name, " ", "-"), ignore)
				c.CreateTopic(topic, 1, 1, test.properties)
				g := onkafka.NewGuard(t, c, guard.Config{IgnoreRules: ignore, MaxMessageBytes: test.client}, kgo.ProducerBatchCompression(kgo.NoCompression()))
				var records []*kgo.Record
				for i := range 60 {
					size := []int{100, 100, 9_000, 18_000, 25_000, 60_000, 900_000, 1_200_000, 2_500_000}[i%9]
					records = append(records, &kgo.Record{Topic: topic, Key: []byte("k"), Value: onkafka.Noise(size)})
				}
				if test.client == 0 {
					test.limits["max_message_bytes"] = 1 << 20 // the default if configs are not read
				}
				failed := 0
				for i, v := range g.Write(t.Context(), records) {
					if v.Outcome == guard.Delivered {
						continue
					}
					failed++
					text := v.Err().Error()
					said := sizesInText.FindStringSubmatch(text)
					require.NotNil(t, said, text)
					own := len(rawproduce.Batch(kmsg.Record{Key: records[i].Key, Value: records[i].Value}))
					require.Equal(t, strconv.Itoa(own), said[1], "the size of record %d: %s", i, text)
					limit, known := test.limits[said[2]]
					require.True(t, known, "the name of the limit: %s", text)
					require.Greater(t, own, limit, text)
					if said[3] != "" {
						require.Equal(t, strconv.Itoa(limit), said[3], "the limit: %s", text)
					}
				}
				require.Positive(t, failed)
			})
		}
	}
}
