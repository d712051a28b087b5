package code

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

func TestOf(t *testing.T) {
	t.Parallel()
	const doubt = true
	for _, row := range []struct {
		err   *kerr.Error
		class Class
		scope Scope
		doubt bool
	}{
		{kerr.MessageTooLarge, SizeExceeded, OfBatch, !doubt},
		{kerr.RecordListTooLarge, SizeExceeded, OfBatch, !doubt},
		{kerr.UnknownServerError, InvalidRecord, OfBatch, doubt},
		{kerr.CorruptMessage, InvalidRecord, OfBatch, doubt},
		{kerr.InvalidTimestamp, InvalidRecord, OfBatch, !doubt},
		{kerr.InvalidRecord, InvalidRecord, OfBatch, !doubt},
		{kerr.InvalidTopicException, Unroutable, OfPartition, !doubt},
		{kerr.UnknownTopicOrPartition, UnknownTopic, OfPartition, !doubt},
		{kerr.UnknownTopicID, UnknownTopic, OfPartition, !doubt},
		{kerr.InconsistentTopicID, UnknownTopic, OfPartition, !doubt},
		{kerr.TopicAuthorizationFailed, Unauthorized, OfPartition, !doubt},
		{kerr.ClusterAuthorizationFailed, Unauthorized, OfPartition, !doubt},
		{kerr.TransactionalIDAuthorizationFailed, Unauthorized, OfPartition, !doubt},
		{kerr.SaslAuthenticationFailed, Unauthorized, OfPartition, !doubt},
		{kerr.InvalidRequiredAcks, Refused, OfPartition, !doubt},
		{kerr.UnsupportedVersion, Refused, OfPartition, !doubt},
		{kerr.InvalidRequest, Refused, OfPartition, !doubt},
		{kerr.UnsupportedForMessageFormat, Refused, OfPartition, !doubt},
		{kerr.PolicyViolation, Refused, OfPartition, !doubt},
		{kerr.UnsupportedCompressionType, Refused, OfPartition, !doubt},
		{kerr.InvalidTxnState, Refused, OfPartition, !doubt},
		{kerr.ProducerFenced, Transient, OfProducer, !doubt},
		{kerr.TransactionalIDNotFound, Refused, OfPartition, !doubt},
		{kerr.TransactionAbortable, Refused, OfPartition, !doubt},
		{kerr.LeaderNotAvailable, Transient, OfPartition, !doubt},
		{kerr.NotLeaderForPartition, Transient, OfPartition, !doubt},
		{kerr.BrokerNotAvailable, Transient, OfPartition, !doubt},
		{kerr.ReplicaNotAvailable, Transient, OfPartition, !doubt},
		{kerr.CoordinatorLoadInProgress, Transient, OfPartition, !doubt},
		{kerr.CoordinatorNotAvailable, Transient, OfPartition, !doubt},
		{kerr.NotCoordinator, Transient, OfPartition, !doubt},
		{kerr.NotEnoughReplicas, Transient, OfPartition, !doubt},
		{kerr.ConcurrentTransactions, Transient, OfPartition, !doubt},
		{kerr.FencedLeaderEpoch, Transient, OfPartition, !doubt},
		{kerr.UnknownLeaderEpoch, Transient, OfPartition, !doubt},
		{kerr.ThrottlingQuotaExceeded, Transient, OfPartition, !doubt},
		{kerr.RequestTimedOut, Transient, OfPartition, doubt},
		{kerr.NotEnoughReplicasAfterAppend, Transient, OfPartition, doubt},
		{kerr.NetworkException, Transient, OfPartition, doubt},
		{kerr.KafkaStorageError, Transient, OfPartition, doubt},
		{kerr.OutOfOrderSequenceNumber, Transient, OfProducer, !doubt},
		{kerr.DuplicateSequenceNumber, Transient, OfProducer, !doubt},
		{kerr.InvalidProducerEpoch, Transient, OfProducer, !doubt},
		{kerr.InvalidProducerIDMapping, Transient, OfProducer, !doubt},
		{kerr.UnknownProducerID, Transient, OfProducer, !doubt},
		{kerr.OffsetNotAvailable, Transient, OfPartition, doubt},
		{kerr.InvalidConfig, Refused, OfPartition, doubt},
		{kerr.RebootstrapRequired, Transient, OfPartition, !doubt},
	} {
		t.Run(row.err.Message, func(t *testing.T) {
			t.Parallel()
			m := Of(row.err.Code)
			require.Equal(t, row.class, m.Class)
			require.Equal(t, row.scope, m.Scope)
			require.Equal(t, row.doubt, m.Doubt)
			require.Equal(t, row.class == Transient, m.Retry)
			require.Equal(t, m, OfError(fmt.Errorf("wrapped: %w", row.err)))
		})
	}
	for c := range meanings {
		require.Error(t, kerr.ErrorForCode(c), "a listed code is an error")
	}
}

func TestOfWhatIsNoCode(t *testing.T) {
	t.Parallel()
	for _, err := range []error{kgo.ErrClientClosed, context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, errors.New("unheard of")} {
		require.Equal(t, Meaning{Class: Transient, Retry: true}, OfError(err), "%v", err)
	}
	require.Equal(t, Meaning{Class: Refused, Doubt: true}, Of(999))
}

// What a code is about, besides its meaning: of all codes, only these.
func TestWhatACodeIsAbout(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		is    func(int16) bool
		codes []*kerr.Error
	}{
		{"ambiguous", Ambiguous, []*kerr.Error{kerr.UnknownServerError, kerr.CorruptMessage}},
		{"lists records", HasRecordErrors, []*kerr.Error{kerr.InvalidRecord, kerr.InvalidTimestamp}},
		{"time", AboutTime, []*kerr.Error{kerr.InvalidTimestamp}},
		{"segment", AboutSegment, []*kerr.Error{kerr.RecordListTooLarge}},
		{"the topic is gone", TopicGone, []*kerr.Error{kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InconsistentTopicID}},
		{"the leader moved", LeaderMoved, []*kerr.Error{
			kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InconsistentTopicID, kerr.LeaderNotAvailable, kerr.NotLeaderForPartition,
			kerr.BrokerNotAvailable, kerr.ReplicaNotAvailable, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.KafkaStorageError, kerr.NetworkException,
		}},
	} {
		var want, got []int16
		for _, e := range test.codes {
			want = append(want, e.Code)
		}
		for c := int16(-1); c < 200; c++ {
			if test.is(c) {
				got = append(got, c)
			}
		}
		require.ElementsMatch(t, want, got, test.name)
	}
}

func TestTheTextOfAReason(t *testing.T) {
	t.Parallel()
	require.Equal(t, "problem", (&Reason{Problem: "problem"}).Error())
	require.Equal(t, "7 bytes exceed max (1)", (&Reason{Bytes: 7, LimitName: "max", Limit: 1}).Error())
	require.Equal(t, "7 bytes exceed max", (&Reason{Bytes: 7, LimitName: "max"}).Error())
	all := &Reason{Problem: "problem", Bytes: 7, LimitName: "max", Limit: 5, Cause: io.EOF}
	require.Equal(t, "problem: 7 bytes exceed max (5): remark: EOF", all.Text("remark"))
	require.ErrorIs(t, all, io.EOF)
}

func FuzzOf(f *testing.F) {
	for c := range meanings {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, c int16) {
		if c == 0 {
			return
		}
		m := Of(c)
		require.NotEqual(t, None, m.Class)
		require.LessOrEqual(t, m.Class, Transient)
		if m.Scope == OfProducer {
			require.True(t, m.Retry, "a new producer ID may help")
		}
		if TopicGone(c) || LeaderMoved(c) {
			require.NotEqual(t, OfBatch, m.Scope)
		}
	})
}
