//go:build linux || darwin

package main

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// franzRun says how to run a config of testdata/franz, and which results must be equal.
type franzRun struct {
	name   string
	topics []string // suffixes that the config adds to TOPIC; nil for none
	count  int      // records in each topic, or in all topics if there are several

	anyPartition bool // do not compare partitions: they are random, or depend on load
	timestamps   bool // compare timestamps: the config sets them
	ordered      bool // compare the order within a partition
	codec        bool // compare the codec of batches; it depends on their size, too
}

func TestFranzConfigsWriteTheSameRecordsWithOneWordChanged(t *testing.T) {
	c := kafka(t)
	configs := franzConfigs(t)
	for _, run := range []franzRun{
		{name: "01_minimal", count: 400, anyPartition: true},
		{name: "02_key", count: 400},
		{name: "03_murmur2_hash", count: 400},
		{name: "04_round_robin", count: 400, anyPartition: true},
		{name: "05_least_backup", count: 400, anyPartition: true},
		{name: "06_manual_partition", count: 400},
		{name: "07_compression_lz4", count: 400, anyPartition: true, codec: true},
		{name: "08_compression_gzip", count: 400, anyPartition: true, codec: true},
		{name: "09_compression_zstd", count: 400, anyPartition: true, codec: true},
		{name: "10_compression_none", count: 400, anyPartition: true, codec: true},
		{name: "11_metadata_prefixes", count: 400, anyPartition: true},
		{name: "12_metadata_patterns", count: 400},
		{name: "13_timestamp_ms", count: 400, timestamps: true},
		{name: "14_timestamp_deprecated", count: 400, anyPartition: true, timestamps: true},
		{name: "15_batching", count: 400, anyPartition: true},
		{name: "16_batching_archive", count: 16},
		{name: "17_acks_leader", count: 400},
		{name: "18_acks_none", count: 400, anyPartition: true},
		{name: "19_in_order", count: 400, ordered: true},
		{name: "20_fallback", count: 400},
		{name: "21_switch", topics: []string{"-refunds", "-orders"}, count: 400},
		{name: "22_fan_out", topics: []string{"-full", "-anonymous"}, count: 800},
		{name: "23_topic_per_message", topics: []string{"-eu", "-us", "-asia"}, count: 400},
		{name: "24_binary_content", count: 400},
		{name: "25_limits", count: 400},
		{name: "26_tcp_and_pipelining", count: 400, anyPartition: true},
		{name: "27_resource", count: 360},
	} {
		t.Run(run.name, func(t *testing.T) {
			yaml := configs[run.name]
			require.NotEmpty(t, yaml)
			theirs := run.records(t, c, "franz", yaml)
			ours := run.records(t, c, "guarded", migrated(t, yaml))
			require.Len(t, theirs, run.count)
			require.Len(t, ours, run.count)
			for i := range theirs {
				require.Equal(t, theirs[i], ours[i], "record %d", i)
			}
		})
	}
}

// written is the part of a record that is compared.
type written struct {
	topic     string // the suffix of TOPIC
	partition int32
	key       []byte
	value     []byte
	headers   []kgo.RecordHeader
	timestamp time.Time
	codec     uint8
}

// records runs the config to its end, and returns the records of its topics. They are
// in the order of partitions and offsets. If the order is not compared, they are sorted
// by content.
func (run franzRun) records(t *testing.T, c *kafkatest.Cluster, with string, yaml []byte) (all []written) {
	t.Helper()
	prefix := with + "-" + run.name
	topics := run.topics
	if topics == nil {
		topics = []string{""}
	}
	c = c.With(t)
	for _, topic := range topics {
		c.CreateTopic(prefix+topic, 4, 1, map[string]string{"retention.ms": "-1"})
	}
	runStream(t, string(yaml), map[string]string{
		"KAFKA_BROKERS": strings.Join(c.Brokers(), ","),
		"TOPIC":         prefix,
	})
	var records []*kgo.Record
	for deadline := time.Now().Add(patience); len(records) < run.count && time.Now().Before(deadline); {
		records = nil // a record without an ack may appear later
		for _, topic := range topics {
			records = append(records, c.ReadAll(prefix+topic)...)
		}
	}
	for _, topic := range topics {
		for _, r := range records {
			if r.Topic != prefix+topic {
				continue
			}
			w := written{topic: topic, key: r.Key, value: r.Value, headers: r.Headers}
			slices.SortFunc(w.headers, func(a, b kgo.RecordHeader) int { return cmp.Compare(a.Key, b.Key) })
			if !run.anyPartition {
				w.partition = r.Partition
			}
			if run.timestamps {
				w.timestamp = r.Timestamp
			} else {
				require.WithinDuration(t, time.Now(), r.Timestamp, time.Minute)
			}
			if run.codec {
				w.codec = r.Attrs.CompressionType()
			}
			all = append(all, w)
		}
	}
	if !run.ordered {
		slices.SortStableFunc(all, func(a, b written) int {
			return cmp.Or(cmp.Compare(a.topic, b.topic), bytes.Compare(a.value, b.value), bytes.Compare(a.key, b.key))
		})
	}
	return all
}

// runStream runs a stream that ends by itself.
func runStream(t *testing.T, yaml string, env map[string]string) {
	t.Helper()
	b := service.NewStreamBuilder()
	b.SetEnvVarLookupFunc(func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	b.SetLogger(slog.New(slog.DiscardHandler))
	require.NoError(t, b.SetYAML(yaml))
	stream, err := b.Build()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, stream.Run(ctx))
}
