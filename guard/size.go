package guard

import (
	"bytes"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// batchOverhead is the size of a v2 record batch's header: from the base
// offset to the record count.
const batchOverhead = 61

// rawSize returns the size of an uncompressed batch that holds r alone,
// exactly as Kafka compares it with max.message.bytes.
func rawSize(r *kgo.Record) int {
	body := 1 + 1 + 1 + // attributes, timestamp delta 0, offset delta 0
		bytesSize(len(r.Key)) +
		bytesSize(len(r.Value)) +
		varintSize(len(r.Headers))
	for i := range r.Headers {
		h := &r.Headers[i]
		body += bytesSize(len(h.Key)) + bytesSize(len(h.Value))
	}
	return batchOverhead + varintSize(body) + body
}

// bytesSize returns the size of n bytes behind their length. Null is one byte
// for the length -1, and so is empty for the length 0.
func bytesSize(n int) int { return varintSize(n) + n }

// varintSize returns the size of n, which is not negative, as a zig-zag
// encoded varint.
func varintSize(n int) int {
	size := 1
	for n >>= 6; n > 0; n >>= 7 {
		size++
	}
	return size
}

// bufferedSize returns what r counts against max_buffered_bytes: keys, values
// and headers, as kgo counts them.
func bufferedSize(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// sentSize returns the size of a batch that holds r alone as it is sent:
// compressed as the client does, if that is smaller. raw is its raw size.
//
// The first codec of a list that the client prefers is taken: a broker that does
// not know it gets another.
func (s *settings) sentSize(r *kgo.Record, raw int) int {
	if s.compressor == nil {
		return raw
	}
	record := kmsg.Record{Key: r.Key, Value: r.Value, Headers: make([]kmsg.Header, len(r.Headers))}
	for i, h := range r.Headers {
		record.Headers[i] = kmsg.Header{Key: h.Key, Value: h.Value}
	}
	records := record.AppendTo(make([]byte, 0, raw))
	// The length before the record counts what is behind it.
	record.Length = int32(len(records) - varintSize(0))
	records = record.AppendTo(records[:0])
	var dst bytes.Buffer
	if compressed, _ := s.compressor.Compress(&dst, records); compressed != nil && len(compressed) < len(records) {
		return batchOverhead + len(compressed)
	}
	return raw
}
