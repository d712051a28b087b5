package guard

import (
	"fmt"
	"time"
)

// Outcome says whether a record is in the log.
//
// Its numbers and strings never change. The zero value is Unknown, so that a
// verdict that was never set does not read as delivered.
type Outcome uint8

const (
	// Unknown means that the record may or may not be in the log: sending it
	// again may duplicate it, dropping it may lose it.
	Unknown Outcome = 0
	// Delivered means that Kafka acknowledged the record, as far as the
	// configured acks go: with acks none, that it was handed to the network.
	Delivered Outcome = 1
	// NotWritten means that the record is provably not in the log. Sending it
	// again can't duplicate it.
	NotWritten Outcome = 2
)

// String returns "unknown", "delivered" or "not_written".
func (o Outcome) String() string {
	switch o {
	case Delivered:
		return "delivered"
	case NotWritten:
		return "not_written"
	default:
		return "unknown"
	}
}

// Class says why a record was not delivered.
//
// Its numbers and strings never change: the strings begin failure texts, name
// metrics and appear in configs.
type Class uint8

const (
	// None is the class of a delivered record.
	None Class = 0
	// SizeExceeded means that the record, alone in a batch, is larger than
	// the topic or the client allows (Kafka's max.message.bytes,
	// segment.bytes, max.request.size).
	SizeExceeded Class = 1
	// InvalidRecord means that the broker rejects the record's content: no
	// key on a compacted topic, a timestamp out of bounds, a corrupt batch.
	InvalidRecord Class = 2
	// Unroutable means that the record has no destination: an illegal topic
	// name, a partition that the topic does not have.
	Unroutable Class = 3
	// UnknownTopic means that the topic does not exist, or not yet.
	UnknownTopic Class = 4
	// Unauthorized means that an ACL forbids the write.
	Unauthorized Class = 5
	// Refused means that the cluster rejects the request, whatever records
	// are in it: its version, codec, acks or producer, or by a policy.
	Refused Class = 6
	// Transient means that the same record may be accepted later: a leader
	// moves, replicas are missing, a connection was lost, time is up.
	Transient Class = 7
)

var classNames = [...]string{
	None:          "none",
	SizeExceeded:  "size_exceeded",
	InvalidRecord: "invalid_record",
	Unroutable:    "unroutable",
	UnknownTopic:  "unknown_topic",
	Unauthorized:  "unauthorized",
	Refused:       "refused",
	Transient:     "transient",
}

// String returns the class as it appears in failure texts, such as
// "size_exceeded".
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class_%d", uint8(c))
}

// Permanent reports whether the record itself is at fault, and not the state of
// the cluster. Then it is pointless to send the same record again.
func (c Class) Permanent() bool {
	return c == SizeExceeded || c == InvalidRecord || c == Unroutable
}

// Verdict is the outcome of one record, and why.
type Verdict struct {
	Outcome Outcome
	// Class is None if and only if the outcome is Delivered.
	Class Class
	// BatchRejected is set if the broker rejected a batch with the record.
	BatchRejected bool
	// Partition is the partition that the record was sent to, or -1.
	Partition int32
	// Offset is the offset of a delivered record, or -1 if the broker does
	// not report it (acks none).
	Offset int64
	// Timestamp is the record's own timestamp (Kafka's CreateTime), set when
	// delivered. On a topic with message.timestamp.type LogAppendTime it is
	// the broker's, as in the log.
	Timestamp time.Time
	// Failure is nil if and only if the outcome is Delivered.
	Failure *Failure
}

// Err returns the failure as an error, nil for a delivered record.
func (v Verdict) Err() error {
	if v.Failure == nil {
		return nil
	}
	return v.Failure
}

// ParseClass returns the class with the given name, such as "size_exceeded".
func ParseClass(name string) (Class, error) {
	for c, n := range classNames {
		if n == name && Class(c) != None {
			return Class(c), nil
		}
	}
	return None, fmt.Errorf("no class is named %q", name)
}
