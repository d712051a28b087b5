package broker

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A request that did not leave to its last byte is not in doubt, unless it can't be told which
// one it was.
func TestWhichRequestDidNotLeave(t *testing.T) {
	t.Parallel()
	failed := errors.New("cut")
	for _, test := range []struct {
		name    string
		ends    []int // of the requests
		written int
		err     error
		unsent  []bool
		left    []int // which of them
	}{
		{"it left", []int{100}, 100, nil, []bool{false}, nil},
		{"cut", []int{100}, 99, failed, []bool{true}, nil},
		{"cut behind it", []int{100}, 100, failed, []bool{false}, nil},
		{"the first of two left", []int{100, 200}, 100, nil, []bool{false, false}, []int{1}},
		{"the second of two left", []int{100, 200}, 200, nil, []bool{false, false}, []int{0}},
		{"none of two", []int{100, 200}, 300, nil, []bool{false, false}, []int{0, 1}},
		{"one of two was cut", []int{100, 200}, 50, failed, []bool{false, false}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := &Node{}
			var requests []*request
			for _, end := range test.ends {
				requests = append(requests, &request{end: end})
			}
			n.writing.requests = slices.Clone(requests)
			n.Wrote(test.written, test.err)
			var unsent []bool
			for _, r := range requests {
				unsent = append(unsent, r.unsent.Load())
			}
			require.Equal(t, test.unsent, unsent)
			require.Len(t, n.writing.requests, len(test.left))
			for i, at := range test.left {
				require.Same(t, requests[at], n.writing.requests[i])
			}
		})
	}
}

// The shortest of some round trips counts: the others waited for a CPU. It is taken anew now
// and then.
func TestTheShortestRoundTripCounts(t *testing.T) {
	t.Parallel()
	n := &Node{}
	heard := func(took time.Duration) time.Duration {
		n.heard(took)
		return n.RoundTrip()
	}
	require.Equal(t, 5*time.Millisecond, heard(5*time.Millisecond))
	require.Equal(t, 3*time.Millisecond, heard(3*time.Millisecond))
	for range roundTrips - 2 {
		require.Equal(t, 3*time.Millisecond, heard(9*time.Millisecond))
	}
	require.Equal(t, 9*time.Millisecond, heard(9*time.Millisecond))
}

// What an answer says besides its code.
func TestWhatAnAnswerSays(t *testing.T) {
	t.Parallel()
	text, ofRecord := "no", "bad"
	for _, alone := range []bool{false, true} {
		r := &request{alone: alone}
		answer := kmsg.NewProduceResponseTopicPartition()
		answer.ErrorCode, answer.BaseOffset, answer.LogStartOffset = 87, -1, 0
		require.Equal(t, Answer{Code: 87, Alone: alone}, r.answerOf(&answer))
		answer.BaseOffset, answer.LogStartOffset = 0, -1
		require.Equal(t, Answer{Code: 87, Alone: alone}, r.answerOf(&answer), "brokers leave 0 where there is no offset")
		answer.BaseOffset, answer.LogStartOffset, answer.ErrorMessage = 0, 0, &text
		answer.ErrorRecords = []kmsg.ProduceResponseTopicPartitionErrorRecord{{RelativeOffset: 3, ErrorMessage: &ofRecord}, {RelativeOffset: 5}}
		require.Equal(t, Answer{Code: 87, Alone: alone, Offset: true, Message: "no", RecordErrors: []RecordError{{3, "bad"}, {5, ""}}}, r.answerOf(&answer))
	}
}

// A request ends once: what kgo tells of it afterwards changes nothing.
func TestARequestEndsOnce(t *testing.T) {
	t.Parallel()
	n := &Node{shared: &Shared{Lost: func() { t.Error("it was told that the request has no answer") }}, inFlight: 3}
	r := &request{node: n, bound: true, end: 2_000_000}
	r.answered(&kmsg.ProduceResponse{})
	require.Equal(t, 2, n.inFlight)
	require.Equal(t, 1, n.answers)
	r.lost(errors.New("given up"))
	r.answered(&kmsg.ProduceResponse{})
	require.Equal(t, 2, n.inFlight)
	require.Equal(t, 1, n.answers)
}
