package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err     error
		class   Class
		outcome Outcome
		reach   reach
	}{
		{kerr.MessageTooLarge, SizeExceeded, NotWritten, ofBatch},
		{kerr.RecordListTooLarge, SizeExceeded, NotWritten, ofBatch},
		{fmt.Errorf("%w (uncompressed_bytes=12)", kerr.MessageTooLarge), SizeExceeded, NotWritten, ofBatch},

		{kerr.UnknownServerError, InvalidRecord, NotWritten, ofBatch},
		{kerr.CorruptMessage, InvalidRecord, NotWritten, ofBatch},
		{kerr.InvalidTimestamp, InvalidRecord, NotWritten, ofBatch},
		{kerr.InvalidRecord, InvalidRecord, NotWritten, ofBatch},

		{kerr.InvalidTopicException, Unroutable, NotWritten, ofPartition},

		{kerr.UnknownTopicOrPartition, UnknownTopic, NotWritten, ofPartition},
		{kerr.UnknownTopicID, UnknownTopic, NotWritten, ofPartition},
		{kerr.InconsistentTopicID, UnknownTopic, NotWritten, ofPartition},
		{fmt.Errorf("no partitions available after attempting to refresh metadata 5 times, last err: %w", kerr.UnknownTopicOrPartition), UnknownTopic, NotWritten, ofPartition},
		{fmt.Errorf("%w, last err: %w", kgo.ErrRecordTimeout, kerr.UnknownTopicOrPartition), UnknownTopic, NotWritten, ofPartition},

		{kerr.TopicAuthorizationFailed, Unauthorized, NotWritten, ofPartition},
		{kerr.ClusterAuthorizationFailed, Unauthorized, NotWritten, ofClient},
		{kerr.TransactionalIDAuthorizationFailed, Unauthorized, NotWritten, ofClient},
		{kerr.SaslAuthenticationFailed, Unauthorized, NotWritten, ofClient},

		{kerr.InvalidRequiredAcks, Refused, NotWritten, ofPartition},
		{kerr.UnsupportedVersion, Refused, NotWritten, ofClient},
		{kerr.InvalidRequest, Refused, NotWritten, ofPartition},
		{kerr.UnsupportedForMessageFormat, Refused, NotWritten, ofPartition},
		{kerr.PolicyViolation, Refused, NotWritten, ofPartition},
		{kerr.UnsupportedCompressionType, Refused, NotWritten, ofPartition},
		{kerr.InvalidTxnState, Refused, NotWritten, ofPartition},
		{kerr.ProducerFenced, Refused, NotWritten, ofClient},
		{kerr.TransactionalIDNotFound, Refused, NotWritten, ofClient},
		{kerr.TransactionAbortable, Refused, NotWritten, ofClient},

		{kerr.LeaderNotAvailable, Transient, NotWritten, ofPartition},
		{kerr.NotLeaderForPartition, Transient, NotWritten, ofPartition},
		{kerr.BrokerNotAvailable, Transient, NotWritten, ofPartition},
		{kerr.ReplicaNotAvailable, Transient, NotWritten, ofPartition},
		{kerr.CoordinatorLoadInProgress, Transient, NotWritten, ofClient},
		{kerr.CoordinatorNotAvailable, Transient, NotWritten, ofClient},
		{kerr.NotCoordinator, Transient, NotWritten, ofClient},
		{kerr.NotEnoughReplicas, Transient, NotWritten, ofPartition},
		{kerr.ConcurrentTransactions, Transient, NotWritten, ofPartition},
		{kerr.FencedLeaderEpoch, Transient, NotWritten, ofPartition},
		{kerr.UnknownLeaderEpoch, Transient, NotWritten, ofPartition},
		{kerr.ThrottlingQuotaExceeded, Transient, NotWritten, ofPartition},

		{kerr.RequestTimedOut, Transient, Unknown, ofPartition},
		{kerr.NotEnoughReplicasAfterAppend, Transient, Unknown, ofPartition},
		{kerr.NetworkException, Transient, Unknown, ofPartition},
		{kerr.KafkaStorageError, Transient, Unknown, ofPartition},
		{kerr.OutOfOrderSequenceNumber, Transient, Unknown, ofPartition},
		{kerr.DuplicateSequenceNumber, Transient, Unknown, ofPartition},
		{kerr.InvalidProducerEpoch, Transient, Unknown, ofPartition},
		{kerr.InvalidProducerIDMapping, Transient, Unknown, ofPartition},
		{kerr.UnknownProducerID, Transient, Unknown, ofPartition},

		{kerr.OffsetNotAvailable, Transient, Unknown, ofPartition}, // not listed, retriable
		{kerr.InvalidConfig, Refused, Unknown, ofPartition},        // not listed, not retriable
		{&kerr.Error{Message: "NEW", Code: 999, Retriable: true}, Transient, Unknown, ofPartition},
		{&kerr.Error{Message: "NEW", Code: 999}, Refused, Unknown, ofPartition},

		{kgo.ErrMaxBuffered, Transient, Unknown, ofClient},
		{kgo.ErrClientClosed, Transient, Unknown, ofClient},
		{context.Canceled, Transient, Unknown, ofClient},
		{kgo.ErrRecordTimeout, Transient, Unknown, ofClient},
		{kgo.ErrRecordRetries, Transient, Unknown, ofClient},
		{kgo.ErrAborting, Transient, Unknown, ofClient},
		{context.DeadlineExceeded, Transient, Unknown, ofClient},
		{io.ErrUnexpectedEOF, Transient, Unknown, ofClient},
		{errors.New("unheard of"), Transient, Unknown, ofClient},
	} {
		t.Run(row.err.Error(), func(t *testing.T) {
			t.Parallel()
			require.Equal(t, reading{row.class, row.outcome, row.reach}, classify(row.err))
		})
	}
	for code := range codes {
		require.Error(t, kerr.ErrorForCode(code), "a listed code is an error")
	}
}

func FuzzClassify(f *testing.F) {
	for _, code := range []int16{-1, 1, 2, 7, 10, 20, 46, 87, 999} {
		f.Add(code, "text", uint8(0))
	}
	f.Fuzz(func(t *testing.T, code int16, text string, wrap uint8) {
		var err error = &kerr.Error{Message: text, Code: code, Retriable: wrap&1 > 0}
		if known := kerr.ErrorForCode(code); known != nil && wrap&2 > 0 {
			err = known
		}
		if wrap&4 > 0 {
			err = errors.New(text)
		}
		if wrap&8 > 0 {
			err = fmt.Errorf("%w: %w", kgo.ErrRecordTimeout, err)
		}
		r := classify(err)
		require.NotEqual(t, Delivered, r.outcome)
		require.NotEqual(t, None, r.class)
		require.Less(t, int(r.class), len(classNames))
	})
}
