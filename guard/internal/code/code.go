// Package code is the only place that names Kafka's error codes. For each code of a
// Produce response it has the failure class and the scope: batch, partition or
// producer. It also has whether the broker may have appended the batch.
package code

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Class is why a record was not delivered. The values are those of guard.Class.
type Class uint8

// The classes, see guard.Class.
const (
	None Class = iota
	SizeExceeded
	InvalidRecord
	Unroutable
	UnknownTopic
	Unauthorized
	Refused
	Transient
)

// Scope is what a code is about.
type Scope uint8

const (
	// OfPartition codes are about any batch of the partition, whatever it contains.
	OfPartition Scope = iota
	// OfBatch codes are about the content of the batch: one of its records, or its
	// size.
	OfBatch
	// OfProducer codes are about the producer ID, its epoch or its sequence numbers.
	OfProducer
)

// Meaning is what a code means in the answer to a produce request.
type Meaning struct {
	Class Class
	Scope Scope
	// Doubt is set if the broker may have appended the batch.
	Doubt bool
	// Retry is set if the same batch may be accepted in a moment. A client
	// retries it by itself.
	Retry bool
}

var meanings = map[int16]Meaning{
	kerr.MessageTooLarge.Code:    {Class: SizeExceeded, Scope: OfBatch},
	kerr.RecordListTooLarge.Code: {Class: SizeExceeded, Scope: OfBatch},
	kerr.InvalidTimestamp.Code:   {Class: InvalidRecord, Scope: OfBatch},
	kerr.InvalidRecord.Code:      {Class: InvalidRecord, Scope: OfBatch},
	// Ambiguous codes, see Ambiguous.
	kerr.UnknownServerError.Code: {Class: InvalidRecord, Scope: OfBatch, Doubt: true},
	kerr.CorruptMessage.Code:     {Class: InvalidRecord, Scope: OfBatch, Doubt: true},

	kerr.InvalidTopicException.Code:   {Class: Unroutable},
	kerr.UnknownTopicOrPartition.Code: {Class: UnknownTopic},
	kerr.UnknownTopicID.Code:          {Class: UnknownTopic},
	kerr.InconsistentTopicID.Code:     {Class: UnknownTopic},

	kerr.TopicAuthorizationFailed.Code:           {Class: Unauthorized},
	kerr.ClusterAuthorizationFailed.Code:         {Class: Unauthorized},
	kerr.TransactionalIDAuthorizationFailed.Code: {Class: Unauthorized},
	kerr.SaslAuthenticationFailed.Code:           {Class: Unauthorized},

	kerr.InvalidRequiredAcks.Code:         {Class: Refused},
	kerr.UnsupportedVersion.Code:          {Class: Refused},
	kerr.InvalidRequest.Code:              {Class: Refused},
	kerr.UnsupportedForMessageFormat.Code: {Class: Refused},
	kerr.PolicyViolation.Code:             {Class: Refused},
	kerr.UnsupportedCompressionType.Code:  {Class: Refused},
	kerr.InvalidTxnState.Code:             {Class: Refused},
	kerr.TransactionalIDNotFound.Code:     {Class: Refused},
	kerr.TransactionAbortable.Code:        {Class: Refused},

	kerr.LeaderNotAvailable.Code:        {Class: Transient, Retry: true},
	kerr.NotLeaderForPartition.Code:     {Class: Transient, Retry: true},
	kerr.BrokerNotAvailable.Code:        {Class: Transient, Retry: true},
	kerr.ReplicaNotAvailable.Code:       {Class: Transient, Retry: true},
	kerr.CoordinatorLoadInProgress.Code: {Class: Transient, Retry: true},
	kerr.CoordinatorNotAvailable.Code:   {Class: Transient, Retry: true},
	kerr.NotCoordinator.Code:            {Class: Transient, Retry: true},
	kerr.NotEnoughReplicas.Code:         {Class: Transient, Retry: true},
	kerr.ConcurrentTransactions.Code:    {Class: Transient, Retry: true},
	kerr.FencedLeaderEpoch.Code:         {Class: Transient, Retry: true},
	kerr.UnknownLeaderEpoch.Code:        {Class: Transient, Retry: true},
	kerr.ThrottlingQuotaExceeded.Code:   {Class: Transient, Retry: true},
	kerr.RebootstrapRequired.Code:       {Class: Transient, Retry: true},
	// The leader has appended the batch when it answers with one of these two.
	kerr.RequestTimedOut.Code:              {Class: Transient, Retry: true, Doubt: true},
	kerr.NotEnoughReplicasAfterAppend.Code: {Class: Transient, Retry: true, Doubt: true},
	// A broker may answer these after it began to write.
	kerr.NetworkException.Code:  {Class: Transient, Retry: true, Doubt: true},
	kerr.KafkaStorageError.Code: {Class: Transient, Retry: true, Doubt: true},

	kerr.OutOfOrderSequenceNumber.Code: {Class: Transient, Scope: OfProducer, Retry: true},
	kerr.DuplicateSequenceNumber.Code:  {Class: Transient, Scope: OfProducer, Retry: true},
	kerr.UnknownProducerID.Code:        {Class: Transient, Scope: OfProducer, Retry: true},
	kerr.InvalidProducerEpoch.Code:     {Class: Transient, Scope: OfProducer, Retry: true},
	kerr.InvalidProducerIDMapping.Code: {Class: Transient, Scope: OfProducer, Retry: true},
	kerr.ProducerFenced.Code:           {Class: Transient, Scope: OfProducer, Retry: true},
}

// Of returns the meaning of a code. A code that this version does not know
// leaves the batch in doubt, and kerr decides whether a retry may help.
func Of(code int16) Meaning {
	if m, ok := meanings[code]; ok {
		return m
	}
	var e *kerr.Error
	if errors.As(kerr.ErrorForCode(code), &e) && e.Retriable {
		return Meaning{Class: Transient, Retry: true, Doubt: true}
	}
	return Meaning{Class: Refused, Doubt: true}
}

// Appended reports whether a code says that the leader has appended the batch.
func Appended(code int16) bool {
	return code == kerr.RequestTimedOut.Code || code == kerr.NotEnoughReplicasAfterAppend.Code
}

// OutOfOrder reports whether a code says that a batch's predecessor is missing.
func OutOfOrder(code int16) bool { return code == kerr.OutOfOrderSequenceNumber.Code }

// OfError returns the meaning of the code in an error. Without a code, it is that of a
// failure which does not concern the record.
func OfError(err error) Meaning {
	var e *kerr.Error
	if errors.As(err, &e) {
		return Of(e.Code)
	}
	return Meaning{Class: Transient, Retry: true}
}

// Error returns the error of a code, nil for 0.
func Error(code int16) error { return kerr.ErrorForCode(code) }

// Ambiguous reports whether a sick broker may answer with the code to any batch. The
// code proves neither that a record is at fault nor that the batch was not appended.
func Ambiguous(code int16) bool {
	return code == kerr.UnknownServerError.Code || code == kerr.CorruptMessage.Code
}

// HasRecordErrors reports whether a broker lists the rejected records with a
// code (KIP-467).
func HasRecordErrors(code int16) bool {
	return code == kerr.InvalidRecord.Code || code == kerr.InvalidTimestamp.Code
}

// AboutTime reports whether a code is about timestamps.
func AboutTime(code int16) bool { return code == kerr.InvalidTimestamp.Code }

// AboutSegment reports whether a size code is about segment.bytes.
func AboutSegment(code int16) bool { return code == kerr.RecordListTooLarge.Code }

// TopicGone reports whether a code says that the topic, or its ID, does not exist any
// more. Records that were appended to it are deleted.
func TopicGone(code int16) bool { return Of(code).Class == UnknownTopic }

// LeaderMoved reports whether a code calls for new metadata.
func LeaderMoved(code int16) bool {
	switch code {
	case kerr.LeaderNotAvailable.Code, kerr.NotLeaderForPartition.Code, kerr.BrokerNotAvailable.Code, kerr.ReplicaNotAvailable.Code,
		kerr.FencedLeaderEpoch.Code, kerr.UnknownLeaderEpoch.Code, kerr.KafkaStorageError.Code, kerr.NetworkException.Code:
		return true
	}
	return TopicGone(code)
}
