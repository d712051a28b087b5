package wire

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// One batch is written, and its answer lost. The next one is accepted, which
// proves that the former is in the log. When that is sent again and refused, the
// refusal proves nothing: brokers look at rights before they look whether they
// have a batch already.
func TestAnAcceptanceSettlesNoOtherBatch(t *testing.T) {
	t.Parallel()
	l := New(Options{Vague: func(int16) bool { return false }, Refused: nobody})
	p := Partition{Topic: "t"}
	h := l.of(p)
	first := &flight{Partition: p, of: h, position: position{producer: 1, sequence: 0}, records: 10}
	second := &flight{Partition: p, of: h, position: position{producer: 1, sequence: 10}, records: 1}

	h.open = []*flight{first}
	l.lost(&request{flights: []*flight{first}}, true)
	h.accept(l, second)
	const unauthorized = 29
	h.refuse(l, first, Event{Code: unauthorized})
	events := l.Since(p, 0).Events
	require.Len(t, events, 2)
	require.True(t, events[0].Lost)
	require.EqualValues(t, unauthorized, events[1].Code)
	require.True(t, events[1].Appended)

	// kgo has not looked at the answer to the second, and sends it again, too.
	h.accept(l, first)
	require.Empty(t, l.Since(p, 0).Events, "its own acceptance settles it")
	h.refuse(l, second, Event{Code: unauthorized})
	require.True(t, l.Since(p, 0).Events[0].Appended, "it was accepted")

	third := &flight{Partition: p, of: h, position: position{producer: 1, sequence: 11}}
	h.refuse(l, third, Event{Code: unauthorized})
	require.False(t, l.Since(p, 0).Events[1].Appended)
	anew := &flight{Partition: p, of: h, position: position{producer: 1, epoch: 1}}
	h.refuse(l, anew, Event{Code: unauthorized})
	require.False(t, l.Since(p, 0).Events[2].Appended)
}

// A broker that dies takes all that is under way on the connection with it. That
// says nothing of the size of so many requests.
func TestOneConnectionIsOneCut(t *testing.T) {
	t.Parallel()
	l := New(Options{Refused: nobody})
	for range cutsSuspicious {
		require.Zero(t, l.cuts.most())
		c := &conn{log: l, requests: map[int32]*request{}, closed: make(chan struct{})}
		for id := range int32(5) {
			p := Partition{Topic: "t", Partition: id}
			f := &flight{Partition: p, of: l.of(p), at: uint64(id)}
			f.of.open = []*flight{f}
			c.requests[id] = &request{size: 100_000 + int(id), flights: []*flight{f}}
		}
		c.lose(true)
		for id := range int32(5) {
			require.True(t, l.Since(Partition{Topic: "t", Partition: id}, 0).Events[0].Lost)
		}
	}
	size, times := l.Cut()
	require.Equal(t, 100_000, size, "of the first request without an answer")
	require.Equal(t, cutsSuspicious, times)
}

// A broker that answers a batch with the same code for minutes has said it each
// time: nothing is forgotten that could have been in doubt.
func TestTheSameAnswerAgainIsNotForgotten(t *testing.T) {
	t.Parallel()
	l := New(Options{Vague: func(int16) bool { return false }, Refused: nobody})
	p := Partition{Topic: "t"}
	h := l.of(p)
	h.refuse(l, &flight{Partition: p, of: h, position: position{producer: 1}}, Event{Code: 6})
	mark := l.Now()
	const tooFewReplicas, invalidRecord = 19, 87
	batch := &flight{Partition: p, of: h, position: position{producer: 1, sequence: 1}}
	for range 3 * eventsKept {
		h.refuse(l, batch, Event{Code: tooFewReplicas})
	}
	h.refuse(l, batch, Event{Code: invalidRecord})
	since := l.Since(p, mark)
	require.False(t, since.Forgotten)
	require.Len(t, since.Events, 2)
	require.EqualValues(t, tooFewReplicas, since.Events[0].Code)
	require.EqualValues(t, invalidRecord, since.Events[1].Code)
}

// A request that waits for its turn is still to be written, whatever kgo makes of its
// records meanwhile.
func TestWhatIsHeldIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Sequential: func() bool { return true }})
		p := Partition{Topic: "t"}
		r := &request{produce: &kmsg.ProduceRequest{Topics: []kmsg.ProduceRequestTopic{{
			Topic: "t", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: []byte{}}},
		}}}}
		c := &conn{log: l, requests: map[int32]*request{}, closed: make(chan struct{})}
		l.HandingOver()
		go c.launch(r)
		synctest.Wait()
		quiet := make(chan bool, 1)
		go func() { quiet <- l.Quiet(p, nil) }()
		synctest.Wait()
		require.Empty(t, quiet, "it is not even written")
		l.HandedOver()
		synctest.Wait()
		require.Empty(t, quiet, "it has no answer")
		l.mu.Lock()
		require.True(t, l.of(p).close(r.flights[0]))
		l.mu.Unlock()
		require.True(t, <-quiet)
	})
}

// A batch is sent again on a new connection before the one in front of it, is refused
// for that, and by then has been sent once more. What comes behind it is still to be sent.
func TestARefusalOfWhatWasSentAgainKeepsNothingBack(t *testing.T) {
	t.Parallel()
	const outOfOrder = 45
	for _, accepted := range []bool{true, false} {
		l := New(Options{Vague: func(int16) bool { return false }, Refused: nobody})
		p := Partition{Topic: "t"}
		h := l.of(p)
		at := func(sequence int32) *flight {
			return &flight{Partition: p, of: h, position: position{producer: 1, sequence: sequence}}
		}
		h.refuse(l, at(28), Event{Code: outOfOrder})
		require.False(t, at(26).keepBack())
		require.False(t, at(28).keepBack())
		if accepted {
			h.accept(l, at(26))
			h.accept(l, at(28))
		} else {
			require.True(t, at(80).keepBack(), "it may have been made before kgo knew")
		}
		require.False(t, at(80).keepBack())
	}
}

// An answer may have any order, and name partitions that were not asked for.
func TestAnswersInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int32{{0, 1, 2, 3}, {3, 2, 1, 0}, {0, 2, 9, 1, 2, 3}, {0, 1, 2, 3, 3}, {0, 1, 0, 2, 3}, {9}} {
		r := &request{}
		for id := range int32(4) {
			r.flights = append(r.flights, &flight{Partition: Partition{"t", id}})
		}
		open := slices.Clone(r.flights)
		for _, id := range order {
			f := r.flight(Partition{"t", id})
			if id >= int32(len(open)) || open[id] == nil {
				require.Nil(t, f, "%v: %d", order, id)
				continue
			}
			require.Same(t, open[id], f, "%v: %d", order, id)
			open[id] = nil
		}
		require.Equal(t, open, r.flights, "what had no answer")
	}
}

func nobody(Partition, int16, int, bool) {}
