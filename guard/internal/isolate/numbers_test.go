package isolate

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// A code that a sick broker may answer to any record counts only once the partition acked
// another batch between two rejections, three seconds apart, or ten seconds after the first.
func TestWhenAnAmbiguousCodeCounts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		noRetry   bool
		code      *kerr.Error
		acks      uint64 // when it was rejected for the first time, one batch before
		aloneAcks uint64 // when it was rejected alone for the first time, and the last time
		lastAcks  uint64
		since     time.Duration // the first time alone
		answered  time.Duration // after the request was written
		counts    bool
	}{
		{"an ack in between", false, kerr.UnknownServerError, 0, 5, 6, ambiguousWindow, 0, true},
		{"too soon", false, kerr.UnknownServerError, 0, 5, 6, ambiguousWindow - 1, 0, false},
		{"no ack in between", false, kerr.UnknownServerError, 0, 5, 5, ambiguousWindow, 0, false},
		{"no ack in between, for long", false, kerr.UnknownServerError, 0, 5, 5, AmbiguousFor, 0, true},
		{"no ack in between, not as long", false, kerr.UnknownServerError, 0, 5, 5, AmbiguousFor - 1, 0, false},
		{"no ack at all, for long", false, kerr.UnknownServerError, 5, 5, 5, AmbiguousFor, 0, false},
		{"an answer that comes late", false, kerr.UnknownServerError, 0, 5, 6, ambiguousWindow, time.Minute, true},
		{"of a time, an answer within a second", false, kerr.InvalidTimestamp, 0, 5, 6, ambiguousWindow, time.Second, true},
		{"of a time, an answer that comes late", false, kerr.InvalidTimestamp, 0, 5, 6, ambiguousWindow, time.Second + 1, false},
		{"without retries, acks since its batch was rejected", true, kerr.UnknownServerError, 4, 5, 5, 0, 0, true},
		{"without retries, no ack since", true, kerr.UnknownServerError, 5, 5, 5, 0, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &batch{Isolation: &Isolation{Config: Config{NoRetry: test.noRetry}}, Batch: &partition.Batch{Started: time.Now(), Acks: test.aloneAcks}, Answer: broker.Answer{Code: test.code.Code}}
			s := &State{rejected: rejectedAt{time.Now(), test.acks}}
			require.Equal(t, test.noRetry && test.counts, b.counts(s), "%s: the first time", test.name)
			time.Sleep(test.since)
			b.Batch = &partition.Batch{Started: time.Now(), Acks: test.lastAcks}
			time.Sleep(test.answered)
			require.Equal(t, test.counts, b.counts(s), test.name)
		})
	}
}

// A record that may not be at fault is sent again when its next rejection can count.
func TestWhenARecordIsSentAgain(t *testing.T) {
	t.Parallel()
	i := &Isolation{Config: Config{RetryAfter: func(attempts int) time.Duration { return time.Duration(attempts) * time.Second }}}
	b := &batch{Isolation: i, Batch: &partition.Batch{Attempts: 1}}
	require.Equal(t, ambiguousWindow+100*time.Millisecond, b.ambiguousAfter())
	b.Attempts = 4
	require.Equal(t, 4*time.Second, b.ambiguousAfter())
	i.NoRetry = true
	require.Equal(t, secondTry, b.ambiguousAfter())
}

// Once a record was taken that was listed, lists are not looked at for a minute.
func TestListsAreNotLookedAtForAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newLeader(t, 1<<20)
		b := &batch{Isolation: p.isolation, Batch: &partition.Batch{Records: []*partition.Record{newRecord(nil, "", false), newRecord(nil, "", true)}}}
		b.Answer = broker.Answer{Code: kerr.InvalidRecord.Code, RecordErrors: []broker.RecordError{{Index: 1}}}
		require.True(t, b.list())
		b.Records[0].Owner.(*owner).state.listed = true
		p.isolation.Acked(&partition.Batch{Topic: "t", Records: b.Records[:1]})
		time.Sleep(listsAge - 1)
		require.False(t, b.list())
		time.Sleep(time.Nanosecond)
		require.True(t, b.list())
	})
}

// A list that makes no sense is none.
func TestListsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	two := []*partition.Record{newRecord(nil, "", false), newRecord(nil, "", true)}
	for _, test := range []struct {
		name    string
		code    *kerr.Error
		indexes []int
		list    bool
	}{
		{"one", kerr.InvalidRecord, []int{0}, true},
		{"all", kerr.InvalidTimestamp, []int{0, 1}, true},
		{"none", kerr.InvalidRecord, nil, false},
		{"one that is not there", kerr.InvalidRecord, []int{2}, false},
		{"a negative one", kerr.InvalidRecord, []int{-1}, false},
		{"one twice", kerr.InvalidRecord, []int{1, 1}, false},
		{"in no order", kerr.InvalidRecord, []int{1, 0}, false},
		{"with another code", kerr.MessageTooLarge, []int{0}, false},
	} {
		b := &batch{Isolation: &Isolation{}, Batch: &partition.Batch{Records: two}, Answer: broker.Answer{Code: test.code.Code}}
		for _, n := range test.indexes {
			b.RecordErrors = append(b.RecordErrors, broker.RecordError{Index: n})
		}
		require.Equal(t, test.list, b.list(), test.name)
	}
}

// The gap behind which records go alone is four times as wide as the next smaller one.
func TestTheGapBetweenSizes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sizes []int32
		from  int32
	}{
		{nil, 0},
		{[]int32{5}, 0},
		{[]int32{10, 39}, 0},
		{[]int32{10, 40}, 40},
		{[]int32{10, 40, 160}, 160},
		{[]int32{10, 50, 200}, 50},
		{[]int32{10, 10, 10, 45}, 45},
	} {
		require.Equal(t, test.from, gap(test.sizes), "%v", test.sizes)
	}
}

// A broker's words are repeated only where they are known to have no content in them.
func TestWordsOfTheBroker(t *testing.T) {
	t.Parallel()
	const key, at = "Compacted topic cannot accept message without key in topic partition t-0.", "Timestamp 5 of message with offset 3 is out of range. The timestamp should be within [1, 2]"
	require.Equal(t, "the broker says: "+key, words(key))
	require.Equal(t, "the broker says: "+at, words(at))
	require.Equal(t, "the broker lists this record", words("the value secret is bad"))
	require.Equal(t, "the broker lists this record", words(key+" secret"))
	require.Equal(t, 77, limitIn("batch size 80 exceeds max 77"))
	require.Zero(t, limitIn("exceeds max 77"))
}

// Only a record that the client stamps, or an ambiguous code, leaves it open what is at fault.
func TestWhatMayNotBeTheRecordsFault(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		code      *kerr.Error
		unstamped bool
		open      bool
	}{
		{kerr.UnknownServerError, false, true},
		{kerr.CorruptMessage, false, true},
		{kerr.InvalidTimestamp, true, true},
		{kerr.InvalidTimestamp, false, false},
		{kerr.InvalidRecord, true, false},
	} {
		b := &batch{Answer: broker.Answer{Code: test.code.Code}}
		r := newRecord(nil, "", false)
		r.Unstamped = test.unstamped
		require.Equal(t, test.open, b.maybeNotItsFault(r), "%v", test)
	}
	require.Equal(t, code.InvalidRecord, code.Of(kerr.InvalidTimestamp.Code).Class)
}
