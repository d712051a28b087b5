package guard

import "github.com/twmb/franz-go/pkg/kgo"

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
