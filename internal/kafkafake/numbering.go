package kafkafake

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Numbering says how a broker checks the sequence numbers of batches.
type Numbering uint8

const (
	// NumbersAppended counts batches that were appended, as Apache Kafka does.
	NumbersAppended Numbering = iota
	// NumbersSeen counts a batch before it is checked, even if it is rejected then. It
	// answers DUPLICATE_SEQUENCE_NUMBER to a number that it has seen, even if that
	// batch was appended. It answers OUT_OF_ORDER_SEQUENCE_NUMBER to a gap, and
	// UNKNOWN_PRODUCER_ID to a producer ID that InitProducerID did not give.
	NumbersSeen
	// NumbersIgnored checks no numbers.
	NumbersIgnored
)

// numbers is the state of producers for the dialects that do not number as kfake does.
// It is never forgotten.
type numbers struct {
	mu    sync.Mutex
	given map[int64]int16         // epochs by producer ID
	next  map[producerOf]position // the next number after those that were seen
}

type position struct {
	epoch    int16
	sequence int32
}

// give enters an answer of InitProducerID.
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

// check returns why the dialect rejects the producer of a batch or its sequence number,
// and nil if it does not. It counts the batch.
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

// noProducer is the producer ID, epoch and sequence number of a batch without a
// producer.
var noProducer = bytes.Repeat([]byte{0xff}, 8+2+4)

// unnumber removes the producer from a batch, so that kfake does not check it.
func unnumber(batch []byte) {
	if len(batch) < batchHead {
		return
	}
	copy(batch[producerIDAt:], noProducer)
	seal(batch)
}
