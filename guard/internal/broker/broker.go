// Package broker sends Produce requests to one broker, through a kgo client. The client
// stays responsible for connections, versions, authentication and throttling.
//
// What goes into a request is decided when kgo writes it: a Node then asks each Partition
// on its list for a batch. The answer of each batch goes back to that batch.
package broker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Shared is what the nodes of a cluster have in common.
type Shared struct {
	// Life ends with the producer.
	Life context.Context
	// Acks is -1 for all in-sync replicas, 1 for the leader, 0 for none.
	Acks int16
	// Timeout is how long the leader may wait for its followers.
	Timeout time.Duration
	// MaxRequest is the size in bytes of the largest request.
	MaxRequest int
	// InFlight is how many requests to a broker may be unanswered.
	InFlight int
	// Backoff is how long to wait after so many failures in a row.
	Backoff func(failures int) time.Duration
	// Lost is called when a request has no answer: others may be led by a broker that is
	// away, too.
	Lost func()

	nameOnly atomic.Bool // see NameOnly
}

// NameOnly has topics named in requests, since one has no ID.
func (s *Shared) NameOnly() { s.nameOnly.Store(true) }

// Topic is how a topic is named in requests.
type Topic struct {
	Name string
	id   atomic.Pointer[[16]byte]
}

// ID returns the topic's ID, zero if it is not known.
func (t *Topic) ID() [16]byte {
	if id := t.id.Load(); id != nil {
		return *id
	}
	return [16]byte{}
}

// SetID notes the topic's ID.
func (t *Topic) SetID(id [16]byte) { t.id.Store(&id) }

// Partition has batches for a Node.
type Partition interface {
	// Take returns the next batch for a request that has room for it. The first of a
	// request always has.
	Take(n *Node, room int, first bool) (Entry, Taking)
	// Trouble says why nothing could be sent to the broker. It is tried again.
	Trouble(err error)
	// Refused says why the broker lets nothing be sent.
	Refused(err error)
	// Unlisted says that the Node has taken the partition off its list. It may be led by
	// another by now.
	Unlisted()
}

// Taking is what came of asking a partition for a batch.
type Taking uint8

// There is no batch to be sent, there is one, or there is no room for it.
const (
	Nothing Taking = iota
	Taken
	NoRoom
)

// Entry is a batch in a request.
type Entry struct {
	Batch
	Topic     *Topic
	Partition int32
	// Size is what the batch takes in a request at most.
	Size int
	// Alone asks for a request that holds nothing else.
	Alone bool

	topicID [16]byte // that it was written to, zero where that was by name
}

// Batch is a batch that is written, and hears of its answer once.
type Batch interface {
	// AppendTo appends the batch behind its length, as it is in a version of the request.
	// ID is that of the topic, zero where it goes by name.
	AppendTo(dst []byte, version int16, id [16]byte) []byte
	// Acked says that it is in the log: at an offset, and with the log's time in
	// milliseconds. Each is -1 where the broker tells none.
	Acked(offset, appended int64)
	// Answered says that it was not acked.
	Answered(a Answer)
	// Lost says that it has no answer. Sent is set if its request left to the last byte.
	Lost(sent bool, a Answer)
}

// Answer is what came in place of an ack.
type Answer struct {
	// Code, Message and RecordErrors are the broker's (KIP-467). Code is 0
	// without an answer.
	Code         int16
	Message      string
	RecordErrors []RecordError
	// Alone is set if the request held nothing but this batch.
	Alone bool
	// Offset is set if the answer tells besides its code where the batch is in the log.
	Offset bool
	// Err says why there is no answer.
	Err error
	// Cut is the size of the request if the connection ended on it and no
	// request as large was ever answered by that broker, else 0.
	Cut int
	// NoPartition is set if the partitioner chose a partition that the topic
	// does not have. Partitions is how many it has.
	NoPartition bool
	Partitions  int
	// Metadata is set if the code is that of a metadata answer, and Producer if
	// it is that of a request for a producer ID.
	Metadata, Producer bool
}

// RecordError is what a broker says of one record of a batch.
type RecordError struct {
	Index int
	Text  string
}

// NewNode returns a Node for a broker.
func NewNode(shared *Shared, id int32, broker *kgo.Broker) *Node {
	return &Node{shared: shared, ID: id, broker: broker}
}
