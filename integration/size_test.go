//go:build linux || darwin

package integration

import (
	"fmt"
	"testing"
	"time"
)

const sizeExceeded = "size_exceeded"

// around returns n good messages with the given ones in their midst.
func around(topic, prefix string, n int, midst ...message) []message {
	var all []message
	for i := range n {
		if i == n/2 {
			all = append(all, midst...)
		}
		all = append(all, good(topic, fmt.Sprintf("%s-good-%03d", prefix, i)))
	}
	return all
}

func TestTooLargeMessagesAreFoundWhateverLimitTheyExceed(t *testing.T) {
	c := oneNode(t)
	for _, test := range []struct {
		name       string
		properties map[string]string
		fields     fields
		fits, over int // bytes of values
		with       padding
	}{
		{
			name:   "client",
			fields: fields{"max_message_bytes": "20000", "compression": "none"},
			fits:   19_000, over: 20_500, with: noise,
		},
		{
			name:   "topic default",
			fields: fields{},
			fits:   1_048_000, over: 1_049_000, with: noise,
		},
		{
			name:       "topic",
			properties: map[string]string{"max.message.bytes": "20000"},
			fits:       19_000, over: 20_500, with: noise,
		},
		{
			name:       "topic, whose limit nobody asks for",
			properties: map[string]string{"max.message.bytes": "20000"},
			fields:     fields{"topic_rules": fields{"enabled": false}},
			fits:       19_000, over: 20_500, with: noise,
		},
		{
			name:       "topic above the default",
			properties: map[string]string{"max.message.bytes": "2000000"},
			fits:       1_900_000, over: 2_100_000, with: noise,
		},
		{
			name:       "segment",
			properties: map[string]string{"segment.bytes": "1048576", "max.message.bytes": "3000000"},
			fits:       1_000_000, over: 1_500_000, with: noise,
		},
		{
			name:       "topic that decompresses",
			properties: map[string]string{"compression.type": "uncompressed", "max.message.bytes": "20000"},
			fields:     fields{"compression": "zstd"},
			fits:       19_000, over: 20_500, with: zeros,
		},
		{
			name:       "topic with another codec",
			properties: map[string]string{"compression.type": "gzip", "max.message.bytes": "20000"},
			fields:     fields{"compression": "snappy"},
			fits:       19_000, over: 20_500, with: noise,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("size", 1, 1, test.properties)
			l := newLedger(t, "size/"+test.name)
			l.ordered = true
			var all [][]message
			for i := range 3 {
				id := func(s string) message { return good("size", fmt.Sprintf("b%d-%s", i, s)) }
				all = append(all, around("size", fmt.Sprintf("b%d", i), 20,
					id("fits").padded(test.fits, test.with),
					id("over").padded(test.over, test.with).bad(sizeExceeded),
					id("fits-too").padded(test.fits, test.with)))
			}
			run(l, defaults(c).with(test.fields), all...)
			l.check(c, "size")
		})
	}
}

// A compressible message may be many times the limit, as long as nobody
// decompresses it.
func TestWhatFitsCompressedIsDelivered(t *testing.T) {
	c := oneNode(t)
	c.CreateTopic("size", 1, 1, map[string]string{"max.message.bytes": "20000"})
	l := newLedger(t, "size/compressible over the topic's limit")
	run(l, defaults(c).with(fields{"compression": "zstd"}),
		around("size", "a", 20, good("size", "compressible").padded(500_000, zeros)))
	l.check(c, "size")
}

func TestBatchesOverTheLimitAreDeliveredIfEachMessageFits(t *testing.T) {
	c := oneNode(t)
	for _, test := range []struct {
		name       string
		properties map[string]string
		fields     fields
		with       padding
	}{
		{"client", nil, fields{"max_message_bytes": "20000", "compression": "none"}, noise},
		{"topic", map[string]string{"max.message.bytes": "20000"}, nil, noise},
		{"topic that decompresses", map[string]string{"max.message.bytes": "20000", "compression.type": "uncompressed"}, fields{"compression": "lz4"}, zeros},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("size", 2, 1, test.properties)
			l := newLedger(t, "size/batches over the limit/"+test.name)
			l.ordered = true
			var all [][]message
			for b := range 4 {
				var batch []message
				for i := range 60 {
					batch = append(batch, good("size", fmt.Sprintf("m-%d-%03d", b, i)).padded(1000, test.with))
				}
				all = append(all, batch)
			}
			run(l, defaults(c).with(test.fields), all...)
			l.check(c, "size")
		})
	}
}

// The payload is noise, so that a codec changes nothing: kgo sends what does
// not get smaller as it is.
func TestTheLimitIsExactToTheByte(t *testing.T) {
	c := oneNode(t)
	const limit = 20_000
	for _, whose := range []string{"client", "topic", "topic, not asked"} {
		for _, codec := range []string{"none", "snappy", "lz4", "gzip", "zstd"} {
			t.Run(whose+", "+codec, func(t *testing.T) {
				c := c.With(t)
				f := defaults(c).with(fields{"compression": codec})
				var properties map[string]string
				if whose == "client" {
					f["max_message_bytes"] = fmt.Sprint(limit)
				} else {
					properties = map[string]string{"max.message.bytes": fmt.Sprint(limit)}
					f["topic_rules"] = fields{"enabled": whose == "topic"}
				}
				c.CreateTopic("size", 1, 1, properties)
				l := newLedger(t, fmt.Sprintf("size/to the byte/%s/%s", whose, codec))
				l.ordered = true
				run(l, f,
					around("size", "a", 6,
						good("size", "a-at").sized(limit),
						good("size", "a-over").sized(limit+1).bad(sizeExceeded)),
					[]message{good("size", "b-at").sized(limit)},
					[]message{good("size", "b-over").sized(limit + 1).bad(sizeExceeded)},
					around("size", "c", 6,
						good("size", "c-over").sized(limit+1).bad(sizeExceeded),
						good("size", "c-at").sized(limit),
						good("size", "c-below").sized(limit-1)))
				l.check(c, "size")
			})
		}
	}
}

// What the client knows of a topic may be older than its limit.
func TestTheLimitMayChangeWhileRunning(t *testing.T) {
	c := oneNode(t)
	for _, rules := range []bool{true, false} {
		t.Run(fmt.Sprintf("topic rules %t", rules), func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("size", 1, 1, map[string]string{"max.message.bytes": "20000"})
			l := newLedger(t, fmt.Sprintf("size/limit changed while running/topic rules %t", rules))
			l.ordered = true
			next := make(chan []message, 1)
			s := start(l, defaults(c).with(fields{"topic_rules": fields{"enabled": rules}}), channel(next))
			batch := func(b int, midst message) {
				next <- around("size", fmt.Sprintf("b%d", b), 10, midst)
				eventually(t, func() bool { return l.acknowledged() == b }, "batch %d", b)
			}
			sized := func(id string, size int) message { return good("size", id).padded(size, noise) }
			batch(1, sized("fits", 15_000))
			c.SetTopicConfig("size", "max.message.bytes", "10000")
			batch(2, sized("over-the-lowered", 15_000).bad(sizeExceeded))
			c.SetTopicConfig("size", "max.message.bytes", "40000")
			time.Sleep(staleness)
			batch(3, sized("fits-the-raised", 30_000))
			batch(4, sized("over-the-raised", 45_000).bad(sizeExceeded))
			close(next)
			s.wait()
			l.check(c, "size")
		})
	}
}
