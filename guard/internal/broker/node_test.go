package broker

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
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

// heldUp is a Partition that notes why nothing was sent for it.
type heldUp struct{ refused, unreached []error }

func (*heldUp) Take(*Node, int, bool) (Entry, Taking) { return Entry{}, Nothing }
func (p *heldUp) Trouble(err error)                   { p.unreached = append(p.unreached, err) }
func (p *heldUp) Refused(err error)                   { p.refused = append(p.refused, err) }
func (*heldUp) Unlisted()                             {}

// A partition hears why its request could not be written. It is listed for another try, unless
// the broker refuses the login: that is for the Policy.
func TestWhatCouldNotBeWritten(t *testing.T) {
	t.Parallel()
	for err, refuses := range map[error]bool{kerr.SaslAuthenticationFailed: true, io.EOF: false} {
		lost := 0
		n := &Node{shared: &Shared{Lost: func() { lost++ }, Backoff: func(int) time.Duration { return time.Hour }}, inFlight: 1, unbound: true}
		p := &heldUp{}
		(&request{node: n, ready: p}).lost(err)
		require.Equal(t, 1, lost)
		require.Zero(t, n.inFlight)
		require.False(t, n.unbound)
		require.True(t, n.pausing)
		if refuses {
			require.Equal(t, heldUp{refused: []error{err}}, *p)
			require.Empty(t, n.ready)
			continue
		}
		require.Equal(t, heldUp{unreached: []error{err}}, *p)
		require.Equal(t, []Partition{p}, n.ready)
	}
}

// Topics are named by ID from version 13 on, so that is not for a cluster of which one has none.
func TestWhichVersionNamesTopics(t *testing.T) {
	t.Parallel()
	shared := &Shared{}
	r := &request{node: &Node{shared: shared}}
	require.EqualValues(t, 13, r.MaxVersion())
	shared.NameOnly()
	require.EqualValues(t, 12, r.MaxVersion())
}
