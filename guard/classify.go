package guard

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
)

// reading is what an error says of a record, before its history is looked at.
type reading struct {
	class Class
	// outcome is what the error proves of the attempt that it ended, given
	// that it is a broker's answer to it: see write.outcome for the others.
	outcome Outcome
	// reach says of whom the error speaks.
	reach reach
}

type reach uint8

const (
	// ofPartition errors are a broker's answer and true of every record of
	// the partition: they need no proof of who is to blame.
	ofPartition reach = iota
	// ofBatch errors are a broker's answer to a batch for what is in it. kgo
	// hands them to everything buffered for the partition, so that each
	// record which bears one is no more than a suspect.
	ofBatch
	// ofClient errors are no broker's answer to a produce request. Requests
	// may be under way, and unanswered, when they strike.
	ofClient
)

// codes holds what the broker's error codes mean on a produce request. A code
// that is not listed is read by unlisted.
//
// The outcome of REQUEST_TIMED_OUT and NOT_ENOUGH_REPLICAS_AFTER_APPEND is
// Unknown because the leader has appended when it answers so. The same goes for
// the codes that a broker may answer after it began to write, and for lost
// sequences: a number out of order says that something else got there first.
var codes = map[int16]reading{
	kerr.UnknownServerError.Code:    {InvalidRecord, NotWritten, ofBatch}, // but see vague
	kerr.CorruptMessage.Code:        {InvalidRecord, NotWritten, ofBatch},
	kerr.MessageTooLarge.Code:       {SizeExceeded, NotWritten, ofBatch},
	kerr.RecordListTooLarge.Code:    {SizeExceeded, NotWritten, ofBatch},
	kerr.InvalidTimestamp.Code:      {InvalidRecord, NotWritten, ofBatch},
	kerr.InvalidRecord.Code:         {InvalidRecord, NotWritten, ofBatch},
	kerr.InvalidTopicException.Code: {Unroutable, NotWritten, ofPartition},

	kerr.UnknownTopicOrPartition.Code: {UnknownTopic, NotWritten, ofPartition},
	kerr.UnknownTopicID.Code:          {UnknownTopic, NotWritten, ofPartition},
	kerr.InconsistentTopicID.Code:     {UnknownTopic, NotWritten, ofPartition},

	kerr.TopicAuthorizationFailed.Code:           {Unauthorized, NotWritten, ofPartition},
	kerr.ClusterAuthorizationFailed.Code:         {Unauthorized, NotWritten, ofClient},
	kerr.TransactionalIDAuthorizationFailed.Code: {Unauthorized, NotWritten, ofClient},
	kerr.SaslAuthenticationFailed.Code:           {Unauthorized, NotWritten, ofClient},

	kerr.InvalidRequiredAcks.Code:         {Refused, NotWritten, ofPartition},
	kerr.UnsupportedVersion.Code:          {Refused, NotWritten, ofClient},
	kerr.InvalidRequest.Code:              {Refused, NotWritten, ofPartition},
	kerr.UnsupportedForMessageFormat.Code: {Refused, NotWritten, ofPartition},
	kerr.PolicyViolation.Code:             {Refused, NotWritten, ofPartition},
	kerr.UnsupportedCompressionType.Code:  {Refused, NotWritten, ofPartition},
	kerr.InvalidTxnState.Code:             {Refused, NotWritten, ofPartition},
	kerr.ProducerFenced.Code:              {Refused, NotWritten, ofClient},
	kerr.TransactionalIDNotFound.Code:     {Refused, NotWritten, ofClient},
	kerr.TransactionAbortable.Code:        {Refused, NotWritten, ofClient},

	kerr.LeaderNotAvailable.Code:           {Transient, NotWritten, ofPartition},
	kerr.NotLeaderForPartition.Code:        {Transient, NotWritten, ofPartition},
	kerr.BrokerNotAvailable.Code:           {Transient, NotWritten, ofPartition},
	kerr.ReplicaNotAvailable.Code:          {Transient, NotWritten, ofPartition},
	kerr.CoordinatorLoadInProgress.Code:    {Transient, NotWritten, ofClient},
	kerr.CoordinatorNotAvailable.Code:      {Transient, NotWritten, ofClient},
	kerr.NotCoordinator.Code:               {Transient, NotWritten, ofClient},
	kerr.NotEnoughReplicas.Code:            {Transient, NotWritten, ofPartition},
	kerr.ConcurrentTransactions.Code:       {Transient, NotWritten, ofPartition},
	kerr.FencedLeaderEpoch.Code:            {Transient, NotWritten, ofPartition},
	kerr.UnknownLeaderEpoch.Code:           {Transient, NotWritten, ofPartition},
	kerr.ThrottlingQuotaExceeded.Code:      {Transient, NotWritten, ofPartition},
	kerr.RequestTimedOut.Code:              {Transient, Unknown, ofPartition},
	kerr.NotEnoughReplicasAfterAppend.Code: {Transient, Unknown, ofPartition},
	kerr.NetworkException.Code:             {Transient, Unknown, ofPartition},
	kerr.KafkaStorageError.Code:            {Transient, Unknown, ofPartition},
	kerr.OutOfOrderSequenceNumber.Code:     {Transient, Unknown, ofPartition},
	kerr.InvalidProducerEpoch.Code:         {Transient, Unknown, ofPartition},
	kerr.InvalidProducerIDMapping.Code:     {Transient, Unknown, ofPartition},
	kerr.UnknownProducerID.Code:            {Transient, Unknown, ofPartition},
	kerr.DuplicateSequenceNumber.Code:      {Transient, Unknown, ofPartition},
}

// classify reads an error that a produced record ended with. It is never
// called with nil, and never reads an error as delivered.
func classify(err error) reading {
	var code *kerr.Error
	if errors.As(err, &code) {
		if r, ok := codes[code.Code]; ok {
			return r
		}
		return unlisted(code)
	}
	return reading{Transient, Unknown, ofClient}
}

// vague reports whether a code says so little that a sick broker may give it to
// anybody, and that it proves neither blame nor that nothing was written. The
// very same batch is sent again then: had it been written, the broker would know
// its sequence number.
func vague(code int16) bool {
	return code == kerr.UnknownServerError.Code || code == kerr.CorruptMessage.Code
}

// sameBatchAgain is a code on which kgo sends the very same batch again, after a
// pause, and does not give it up.
const sameBatchAgain = 7 // REQUEST_TIMED_OUT

// namesRecords reports whether a broker names records with a code.
func namesRecords(code int16) bool {
	return code == kerr.InvalidRecord.Code || code == kerr.InvalidTimestamp.Code
}

// aboutTime reports whether a code is about timestamps.
func aboutTime(code int16) bool { return code == kerr.InvalidTimestamp.Code }

// limitOf returns the name of the limit that a code is about.
func limitOf(code int16) string {
	if code == kerr.RecordListTooLarge.Code {
		return limitSegmentBytes
	}
	return limitTopic
}

// spoils reports whether a client stays of no use after a failure: kgo keeps to
// the refusal of a producer ID, and to the ID of a topic that is deleted.
func spoils(err error) bool {
	return errors.Is(err, kerr.ClusterAuthorizationFailed) ||
		errors.Is(err, kerr.TransactionalIDAuthorizationFailed) ||
		errors.Is(err, kerr.ProducerFenced) ||
		errors.Is(err, kerr.UnknownTopicID) ||
		errors.Is(err, errNewPartition)
}

// doubtful reports whether a batch with this answer may have been appended.
// Sequence numbers are looked at before the append.
func doubtful(code int16) bool {
	switch code {
	case 0, kerr.OutOfOrderSequenceNumber.Code, kerr.InvalidProducerEpoch.Code, kerr.InvalidProducerIDMapping.Code, kerr.UnknownProducerID.Code:
		return false
	}
	if vague(code) {
		return true
	}
	r, ok := codes[code]
	return !ok || r.outcome == Unknown
}

// gone reports whether a code says that the topic is no more. What was appended to
// it is gone with it.
func gone(code int16) bool { return codes[code].class == UnknownTopic }

// unlisted reads a code that this version does not know: in doubt about the
// record's fate, and guided by kerr about the point of sending it again.
func unlisted(code *kerr.Error) reading {
	if code.Retriable {
		return reading{Transient, Unknown, ofPartition}
	}
	return reading{Refused, Unknown, ofPartition}
}
