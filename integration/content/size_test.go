//go:build linux || darwin

package content

import (
	"fmt"
	"testing"
	"time"

	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

func TestTooLargeMessagesAreFoundWhateverLimitTheyExceed(t *testing.T) {
	c := onkafka.OneNode(t)
	for _, test := range []struct {
		name       string
		properties map[string]string
		fields     onkafka.Fields
		fits, over int // bytes of values
		with       onkafka.Padding
	}{
		{
			name:   "client",
			fields: onkafka.Fields{"max_message_bytes": "20000", "compression": "none"},
			fits:   19_000, over: 20_500, with: onkafka.Noise,
		},
		{
			name:   "topic default",
			fields: onkafka.Fields{},
			fits:   1_048_000, over: 1_049_000, with: onkafka.Noise,
		},
		{
			name:       "topic",
			properties: map[string]string{"max.message.bytes": "20000"},
			fits:       19_000, over: 20_500, with: onkafka.Noise,
		},
		{
			name:       "topic, whose limit nobody asks for",
			properties: map[string]string{"max.message.bytes": "20000"},
			fields:     onkafka.Fields{"topic_rules": onkafka.Fields{"enabled": false}},
			fits:       19_000, over: 20_500, with: onkafka.Noise,
		},
		{
			name:       "topic above the default",
			properties: map[string]string{"max.message.bytes": "2000000"},
			fits:       1_900_000, over: 2_100_000, with: onkafka.Noise,
		},
		{
			name:       "segment",
			properties: map[string]string{"segment.bytes": "1048576", "max.message.bytes": "3000000"},
			fits:       1_000_000, over: 1_500_000, with: onkafka.Noise,
		},
		{
			// The broker reports a segment.bytes of 1 GiB nevertheless.
			name:       "internal segment",
			properties: map[string]string{"internal.segment.bytes": "20000"},
			fits:       19_000, over: 20_500, with: onkafka.Noise,
		},
		{
			name:       "topic that decompresses",
			properties: map[string]string{"compression.type": "uncompressed", "max.message.bytes": "20000"},
			fields:     onkafka.Fields{"compression": "zstd"},
			fits:       19_000, over: 20_500, with: onkafka.Zeros,
		},
		{
			name:       "topic with another codec",
			properties: map[string]string{"compression.type": "gzip", "max.message.bytes": "20000"},
			fields:     onkafka.Fields{"compression": "snappy"},
			fits:       19_000, over: 20_500, with: onkafka.Noise,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("size", 1, 1, test.properties)
			l := onkafka.NewChecker(t, "size/"+test.name)
			l.Ordered = true
			var all [][]onkafka.Message
			for i := range 3 {
				id := func(s string) onkafka.Message { return onkafka.Good("size", fmt.Sprintf("b%d-%s", i, s)) }
				all = append(all, onkafka.Around("size", fmt.Sprintf("b%d", i), 20,
					id("fits").Padded(test.fits, test.with),
					id("over").Padded(test.over, test.with).Bad(onkafka.SizeExceeded),
					id("fits-too").Padded(test.fits, test.with)))
			}
			onkafka.Run(l, onkafka.Defaults(c).With(test.fields), all...)
			l.CheckTopics(c, "size")
		})
	}
}

// A message that compresses may be many times the limit, unless the broker decompresses
// it.
func TestWhatFitsCompressedIsDelivered(t *testing.T) {
	c := onkafka.OneNode(t)
	c.CreateTopic("size", 1, 1, map[string]string{"max.message.bytes": "20000"})
	l := onkafka.NewChecker(t, "size/compressible over the topic's limit")
	onkafka.Run(l, onkafka.Defaults(c).With(onkafka.Fields{"compression": "zstd"}),
		onkafka.Around("size", "a", 20, onkafka.Good("size", "compressible").Padded(500_000, onkafka.Zeros)))
	l.CheckTopics(c, "size")
}

// From 4.4.0 on Kafka limits each record of a compressed batch. Random bytes do not
// compress, so kgo sends their batch uncompressed, and Kafka does not look at its
// records.
func TestTheLimitOfDecompressedRecords(t *testing.T) {
	c := onkafka.OneNode(t)
	c.CreateTopic("long", 1, 1, map[string]string{"max.decompressed.message.bytes": "2000"})
	l := onkafka.NewChecker(t, "size/decompressed records")
	onkafka.Run(l, onkafka.Defaults(c).With(onkafka.Fields{"compression": "lz4"}),
		onkafka.Around("long", "a", 50, onkafka.Good("long", "too-long").Padded(5000, onkafka.Zeros).Bad(onkafka.SizeExceeded)),
		onkafka.Around("long", "b", 50, onkafka.Good("long", "noise").Padded(5000, onkafka.Noise)))
	l.CheckTopics(c, "long")
}

func TestBatchesOverTheLimitAreDeliveredIfEachMessageFits(t *testing.T) {
	c := onkafka.OneNode(t)
	for _, test := range []struct {
		name       string
		properties map[string]string
		fields     onkafka.Fields
		with       onkafka.Padding
	}{
		{"client", nil, onkafka.Fields{"max_message_bytes": "20000", "compression": "none"}, onkafka.Noise},
		{"topic", map[string]string{"max.message.bytes": "20000"}, nil, onkafka.Noise},
		{"topic that decompresses", map[string]string{"max.message.bytes": "20000", "compression.type": "uncompressed"}, onkafka.Fields{"compression": "lz4"}, onkafka.Zeros},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("size", 2, 1, test.properties)
			l := onkafka.NewChecker(t, "size/batches over the limit/"+test.name)
			l.Ordered = true
			var all [][]onkafka.Message
			for b := range 4 {
				var batch []onkafka.Message
				for i := range 60 {
					batch = append(batch, onkafka.Good("size", fmt.Sprintf("m-%d-%03d", b, i)).Padded(1000, test.with))
				}
				all = append(all, batch)
			}
			onkafka.Run(l, onkafka.Defaults(c).With(test.fields), all...)
			l.CheckTopics(c, "size")
		})
	}
}

// The payload is random, so that a codec does not change its size: kgo sends a batch
// that compression does not make smaller as it is.
func TestTheLimitIsExactToTheByte(t *testing.T) {
	c := onkafka.OneNode(t)
	const limit = 20_000
	for _, whose := range []string{"client", "topic", "topic, not asked"} {
		for _, codec := range []string{"none", "snappy", "lz4", "gzip", "zstd"} {
			t.Run(whose+", "+codec, func(t *testing.T) {
				c := c.With(t)
				f := onkafka.Defaults(c).With(onkafka.Fields{"compression": codec})
				var properties map[string]string
				if whose == "client" {
					f["max_message_bytes"] = fmt.Sprint(limit)
				} else {
					properties = map[string]string{"max.message.bytes": fmt.Sprint(limit)}
					f["topic_rules"] = onkafka.Fields{"enabled": whose == "topic"}
				}
				c.CreateTopic("size", 1, 1, properties)
				l := onkafka.NewChecker(t, fmt.Sprintf("size/to the byte/%s/%s", whose, codec))
				l.Ordered = true
				onkafka.Run(l, f,
					onkafka.Around("size", "a", 6,
						onkafka.Good("size", "a-at").Sized(limit),
						onkafka.Good("size", "a-over").Sized(limit+1).Bad(onkafka.SizeExceeded)),
					[]onkafka.Message{onkafka.Good("size", "b-at").Sized(limit)},
					[]onkafka.Message{onkafka.Good("size", "b-over").Sized(limit + 1).Bad(onkafka.SizeExceeded)},
					onkafka.Around("size", "c", 6,
						onkafka.Good("size", "c-over").Sized(limit+1).Bad(onkafka.SizeExceeded),
						onkafka.Good("size", "c-at").Sized(limit),
						onkafka.Good("size", "c-below").Sized(limit-1)))
				l.CheckTopics(c, "size")
			})
		}
	}
}

// The limit that the client knows may be out of date.
func TestTheLimitMayChangeWhileRunning(t *testing.T) {
	c := onkafka.OneNode(t)
	for _, rules := range []bool{true, false} {
		t.Run(fmt.Sprintf("topic rules %t", rules), func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("size", 1, 1, map[string]string{"max.message.bytes": "20000"})
			l := onkafka.NewChecker(t, fmt.Sprintf("size/limit changed while running/topic rules %t", rules))
			l.Ordered = true
			next := make(chan []onkafka.Message, 1)
			s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"topic_rules": onkafka.Fields{"enabled": rules}}), onkafka.Channel(next))
			batch := func(b int, midst onkafka.Message) {
				next <- onkafka.Around("size", fmt.Sprintf("b%d", b), 10, midst)
				onkafka.Eventually(t, func() bool { return l.Acknowledged() == b }, "batch %d", b)
			}
			sized := func(id string, size int) onkafka.Message { return onkafka.Good("size", id).Padded(size, onkafka.Noise) }
			batch(1, sized("fits", 15_000))
			c.SetTopicConfig("size", "max.message.bytes", "10000")
			batch(2, sized("over-the-lowered", 15_000).Bad(onkafka.SizeExceeded))
			c.SetTopicConfig("size", "max.message.bytes", "40000")
			time.Sleep(onkafka.Staleness)
			batch(3, sized("fits-the-raised", 30_000))
			batch(4, sized("over-the-raised", 45_000).Bad(onkafka.SizeExceeded))
			close(next)
			s.Wait()
			l.CheckTopics(c, "size")
		})
	}
}
