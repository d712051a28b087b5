package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// One batch is written, and its answer lost. The next one is accepted, which
// proves that the former is in the log. When that is sent again and refused, the
// refusal proves nothing: brokers look at rights before they look whether they
// have a batch already.
func TestAnAcceptanceSettlesNoOtherBatch(t *testing.T) {
	t.Parallel()
	l := New(Options{Vague: func(int16) bool { return false }})
	p := Partition{Topic: "t"}
	h := l.of(p)
	first := &flight{Partition: p, position: position{producer: 1, sequence: 0}, records: 10}
	second := &flight{Partition: p, position: position{producer: 1, sequence: 10}, records: 1}

	h.open = []*flight{first}
	l.lost(&request{flights: []*flight{first}}, true)
	h.accept(l, second)
	const unauthorized = 29
	h.refuse(l, first, Event{Code: unauthorized})
	events := l.Since(p, 0).Events
	require.Len(t, events, 2)
	require.True(t, events[0].Lost)
	require.EqualValues(t, unauthorized, events[1].Code)

	h.accept(l, first)
	require.Empty(t, l.Since(p, 0).Events, "its own acceptance does")
}
