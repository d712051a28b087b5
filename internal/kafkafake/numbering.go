package kafkafake

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Numbering says how a broker looks at the sequence numbers of batches.
type Numbering uint8

const (
	// NumbersAppended is Apache Kafka: only a batch that is appended counts.
	NumbersAppended Numbering = iota
	// NumbersSeen counts a batch before it is checked, whether it is rejected
	// then or not. A number that was seen gets DUPLICATE_SEQUENCE_NUMBER, also
	// where its batch was appended; a gap gets OUT_OF_ORDER_SEQUENCE_NUMBER,
	// a producer ID that InitProducerID did not give UNKNOWN_PRODUCER_ID.
	NumbersSeen
	// NumbersIgnored looks at no number.
	NumbersIgnored
)

// numbers is what the dialects that number otherwise than kfake know of
// producers. These are never forgotten.
type numbers struct {
	mu    sync.Mutex
	given map[int64]int16         // the epochs, by producer ID
	next  map[producerOf]position // that follows what was seen
}

type position struct {
	epoch    int16
	sequence int32
}

// give notes what InitProducerID has answered.
func (n *numbers) give(resp *kmsg.InitProducerIDResponse) {
	if resp.ErrorCode != 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.given == nil {
		n.given, n.next = map[int64]int16{}, map[producerOf]position{}
	}
	n.given[resp.ProducerID] = resp.ProducerEpoch
}

// check returns what the dialect has against the producer of a batch and its
// sequence number, nil for nothing, and counts the batch.
func (n *numbers) check(d *Dialect, topic [16]byte, partition int32, batch []byte) *Refusal {
	if len(batch) < batchHead {
		return nil
	}
	id := int64(binary.BigEndian.Uint64(batch[producerIDAt:]))
	if id < 0 {
		return nil
	}
	epoch := epochOf(batch)
	n.mu.Lock()
	defer n.mu.Unlock()
	given, known := n.given[id]
	if d.RaisedEpochs != nil && known && epoch > given {
		return &Refusal{Code: d.RaisedEpochs}
	}
	if d.Numbering != NumbersSeen {
		return nil
	}
	first := int32(binary.BigEndian.Uint32(batch[sequenceAt:]))
	of := producerOf{id, topic, partition}
	at, seen := n.next[of]
	switch {
	case !known:
		return &Refusal{Code: kerr.UnknownProducerID}
	case epoch < at.epoch:
		return &Refusal{Code: kerr.InvalidProducerEpoch}
	case !seen || epoch > at.epoch:
		at = position{epoch: epoch}
	}
	switch {
	case first < at.sequence:
		return &Refusal{Code: kerr.DuplicateSequenceNumber}
	case first > at.sequence:
		return &Refusal{Code: kerr.OutOfOrderSequenceNumber}
	}
	at.sequence += int32(binary.BigEndian.Uint32(batch[countAt:]))
	n.next[of] = at
	return nil
}

// noProducer is the producer ID, epoch and sequence number of a batch without.
var noProducer = bytes.Repeat([]byte{0xff}, 8+2+4)

// unnumber takes the producer out of a batch, for kfake not to look at it.
func unnumber(batch []byte) {
	if len(batch) < batchHead {
		return
	}
	copy(batch[producerIDAt:], noProducer)
	seal(batch)
}
