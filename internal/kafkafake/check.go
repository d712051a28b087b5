package kafkafake

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Topic is what a broker checks a batch by.
type Topic struct {
	Name    string
	Configs map[string]string // the topic's own
}

// Refusal is the reason for which a batch is rejected.
type Refusal struct {
	Code *kerr.Error
	// Message is the text of the answer, Listed are its record errors.
	Message string
	Listed  []kmsg.ProduceResponseTopicPartitionErrorRecord
	// FromZero is set if the answer has the base offset 0, not -1.
	FromZero bool
}

// Check returns why a node that leads the partition rejects a batch of the v2 format,
// and nil if it accepts it. It does not check sequence numbers.
func (d *Dialect) Check(topic Topic, partition, node int32, batch []byte) *Refusal {
	if r := malformed(batch); r != nil {
		return r
	}
	batch, _ = whole(batch)
	parsed, r := parse(batch)
	if d.Codecs != nil && !contains(d.Codecs, parsed.codec) {
		return &Refusal{Code: kerr.UnsupportedForMessageFormat}
	}
	limit := topic.number("max.message.bytes", int64(d.limit(node)))
	if d.AnySize {
		limit = forever
	}
	if d.measure(batch, parsed) > limit {
		return &Refusal{Code: kerr.MessageTooLarge}
	}
	if r := inconsistent(batch); r != nil {
		return r
	}
	if r != nil {
		return r
	}
	if d.tooLongDecompressed(topic, parsed) {
		return &Refusal{Code: kerr.InvalidRecord}
	}
	if r := d.checkRecords(topic, partition, node, parsed); r != nil {
		return r
	}
	size := d.measure(batch, parsed)
	if target := topic.text("compression.type", "producer"); !d.NeverRecompresses && target != "producer" && target != codecNames[parsed.codec] {
		for _, r := range parsed.records {
			if ms := parsed.timestamp(&r); ms < -1 {
				return &Refusal{Code: kerr.UnknownServerError}
			}
		}
		if size = int64(recompressed(parsed, target)); size > limit {
			return &Refusal{Code: kerr.MessageTooLarge}
		}
	}
	if size > topic.number("segment.bytes", 1<<30) && !d.AnySize {
		return &Refusal{Code: kerr.RecordListTooLarge}
	}
	return nil
}

// measure returns the size that the broker compares with its limit.
func (d *Dialect) measure(batch []byte, b *parsedBatch) int64 {
	if d.Grows > 0 {
		return int64(batchHead + len(b.body) + d.Grows*len(b.records))
	}
	return int64(len(batch))
}

// maxDecompressed is the config of Kafka 4.4 about records of compressed batches.
const maxDecompressed = "max.decompressed.message.bytes"

// tooLongDecompressed reports whether a compressed batch has a record that is too long.
// Kafka then checks nothing else of the batch, and lists no record.
func (d *Dialect) tooLongDecompressed(topic Topic, b *parsedBatch) bool {
	limit := int64(forever)
	if d.MaxDecompressed > 0 {
		limit = int64(d.MaxDecompressed)
	}
	limit = topic.number(maxDecompressed, limit)
	return b.codec != kgo.CodecNone && slices.ContainsFunc(b.records, func(r kmsg.Record) bool { return int64(r.Length) > limit })
}

// checkRecords checks each record.
func (d *Dialect) checkRecords(topic Topic, partition, node int32, b *parsedBatch) *Refusal {
	var listed []kmsg.ProduceResponseTopicPartitionErrorRecord
	badTime := false
	for i := range b.records {
		text, code := d.checkRecord(topic, partition, node, b, i)
		if code == nil {
			continue
		}
		badTime = badTime || code == kerr.InvalidTimestamp
		e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
		e.RelativeOffset, e.ErrorMessage = int32(i), &text
		listed = append(listed, e)
		if d.Listing == ListsFirst {
			listed[0].ErrorMessage = nil
			r := &Refusal{Code: code, Listed: listed, Message: text}
			return r
		}
	}
	if len(listed) == 0 {
		return nil
	}
	r := &Refusal{Code: kerr.InvalidRecord}
	if badTime {
		r.Code = kerr.InvalidTimestamp
	}
	if d.Listing == ListsFromOne {
		for i := range listed {
			listed[i].RelativeOffset++
		}
	}
	if d.Listing != ListsNone {
		r.Listed, r.Message = listed, summary(listed, badTime)
	}
	return r
}

// summary is Kafka's text for the listed records.
func summary(listed []kmsg.ProduceResponseTopicPartitionErrorRecord, badTime bool) string {
	if badTime {
		return "One or more records have been rejected due to invalid timestamp"
	}
	first := make([]string, 0, 3)
	for _, e := range listed[:min(3, len(listed))] {
		first = append(first, fmt.Sprintf("RecordError(batchIndex=%d, message='%s')", e.RelativeOffset, *e.ErrorMessage))
	}
	return fmt.Sprintf("One or more records have been rejected due to %d record errors in total, and only showing the first three errors at most: [%s]",
		len(listed), strings.Join(first, ", "))
}

// checkRecord checks one record: first the key, then the timestamp.
func (d *Dialect) checkRecord(topic Topic, partition, node int32, b *parsedBatch, i int) (string, *kerr.Error) {
	r := &b.records[i]
	if !d.NullKeys && r.Key == nil && strings.Contains(topic.text("cleanup.policy", "delete"), "compact") {
		return fmt.Sprintf("Compacted topic cannot accept message without key in topic partition %s-%d", topic.Name, partition), kerr.InvalidRecord
	}
	if !d.AnyTimestamp && topic.text("message.timestamp.type", "CreateTime") == "CreateTime" {
		before, after := topic.number("message.timestamp.before.max.ms", d.age(node)), topic.number("message.timestamp.after.max.ms", time.Hour.Milliseconds())
		ms, now := b.timestamp(r), time.Now().Add(d.Clock(node)).UnixMilli()
		if ms != -1 && (now-ms > before || ms-now > after) {
			return fmt.Sprintf("Timestamp %d of message with offset %d is out of range. The timestamp should be within [%d, %d]", ms, i, now-before, now+after), kerr.InvalidTimestamp
		}
	}
	if d.Content && (!d.LastDecides || i == len(b.records)-1) && bytes.Contains(r.Value, []byte(Mark)) {
		return "Log record is rejected by the record interceptor", kerr.InvalidRecord
	}
	return "", nil
}

// Alone returns why a node rejects a record that is alone in its batch, and nil if it
// accepts it.
func (d *Dialect) Alone(topic Topic, partition, node int32, r *kgo.Record, c kgo.Compressor) *Refusal {
	return d.Check(topic, partition, node, batchOf(r, c))
}

// batchOf returns the batch of a single record.
func batchOf(r *kgo.Record, c kgo.Compressor) []byte {
	kr := kmsg.Record{Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		kr.Headers = append(kr.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
	}
	body := kr.AppendTo(nil)[1:] // without the length, which is 0 and takes one byte
	kr.Length = int32(len(body))
	records := kr.AppendTo(nil)
	b := kmsg.RecordBatch{Magic: 2, FirstTimestamp: r.Timestamp.UnixMilli(), MaxTimestamp: r.Timestamp.UnixMilli(), NumRecords: 1, Records: records}
	if c != nil {
		if short, codec := c.Compress(new(bytes.Buffer), records); len(short) < len(records) {
			b.Records, b.Attributes = bytes.Clone(short), int16(codec)
		}
	}
	b.Length = int32(batchHead - 12 + len(b.Records))
	out := b.AppendTo(nil)
	seal(out)
	return out
}

// parsedBatch is a batch, decompressed.
type parsedBatch struct {
	first   int64 // timestamp
	codec   kgo.CompressionCodecType
	body    []byte
	records []kmsg.Record
}

func (b *parsedBatch) timestamp(r *kmsg.Record) int64 { return b.first + r.TimestampDelta64 }

var decompressor = sync.OnceValue(func() kgo.Decompressor { return shared{kgo.DefaultDecompressor()} })

// shared is a decompressor for all testing/synctest bubbles. A decoder of zstd has
// channels, so that it must not be made in one.
type shared struct{ kgo.Decompressor }

var zstdDecoder = func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0))
	if err != nil {
		panic(err)
	}
	return d
}()

// Decompress is kgo.Decompressor's.
func (s shared) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec == kgo.CodecZstd {
		return zstdDecoder.DecodeAll(src, nil)
	}
	return s.Decompressor.Decompress(src, codec)
}

// parse decompresses a batch. The Refusal is nil for a valid batch.
func parse(batch []byte) (*parsedBatch, *Refusal) {
	p := &parsedBatch{}
	var b kmsg.RecordBatch
	if b.ReadFrom(batch) != nil {
		return p, &Refusal{Code: kerr.InvalidRecord}
	}
	p.first, p.codec, p.body = b.FirstTimestamp, kgo.CompressionCodecType(b.Attributes&7), b.Records
	if p.codec != kgo.CodecNone {
		body, err := decompressor().Decompress(b.Records, p.codec)
		if err != nil {
			return p, &Refusal{Code: kerr.UnknownServerError}
		}
		p.body = body
	}
	for rest := p.body; len(rest) > 0; {
		length, n := binary.Varint(rest)
		if n <= 0 || length < 0 || int(length) > len(rest)-n {
			return p, &Refusal{Code: kerr.InvalidRecord}
		}
		var r kmsg.Record
		if r.ReadFrom(rest[:n+int(length)]) != nil {
			return p, &Refusal{Code: kerr.InvalidRecord}
		}
		p.records, rest = append(p.records, r), rest[n+int(length):]
	}
	if len(p.records) != int(b.NumRecords) {
		return p, &Refusal{Code: kerr.InvalidRecord}
	}
	return p, nil
}

var codecNames = map[kgo.CompressionCodecType]string{
	kgo.CodecNone: "uncompressed", kgo.CodecGzip: "gzip", kgo.CodecSnappy: "snappy", kgo.CodecLz4: "lz4", kgo.CodecZstd: "zstd",
}

// batchHead is the size of a batch without its records.
const batchHead = 61

// recompressed returns the size of a batch in the topic's codec.
func recompressed(b *parsedBatch, target string) int {
	if target == "uncompressed" {
		return batchHead + len(b.body)
	}
	c := compressorOf(target)
	if c == nil {
		return batchHead + len(b.body)
	}
	out, _ := c.Compress(new(bytes.Buffer), b.body)
	return batchHead + len(out)
}

// compressors are made once, since the coders of some take a megabyte.
var compressors sync.Map

func compressorOf(codec string) kgo.Compressor {
	if c, ok := compressors.Load(codec); ok {
		return c.(kgo.Compressor)
	}
	of := map[string]kgo.CompressionCodec{
		"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[codec]
	c, err := kgo.DefaultCompressor(of)
	if err != nil || c == nil {
		return nil
	}
	made, _ := compressors.LoadOrStore(codec, c)
	return made.(kgo.Compressor)
}

func (t Topic) text(name, otherwise string) string {
	if v, ok := t.Configs[name]; ok {
		return v
	}
	return otherwise
}

func (t Topic) number(name string, otherwise int64) int64 {
	if v, err := strconv.ParseInt(t.text(name, ""), 10, 64); err == nil {
		return v
	}
	return otherwise
}

func contains[T comparable](all []T, one T) bool {
	for _, a := range all {
		if a == one {
			return true
		}
	}
	return false
}
