package partition

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A record that is used again is as one that is new.
func TestPrepareMakesARecordNew(t *testing.T) {
	t.Parallel()
	fresh := &Record{Record: &kgo.Record{Value: []byte("v")}}
	fresh.Prepare()
	used := &Record{
		Record: &kgo.Record{Value: []byte("v")}, Unstamped: false, Single: true, Alone: true, Apart: true, Questioned: true,
		Offset: 7, Appended: 7, Reason: errors.New("given up"), doubt: true, leaving: func() error { return nil },
	}
	used.outcome.Store(uint32(Unknown))
	used.part.Store(&Partition{})
	used.Prepare()
	require.Equal(t, fresh, used)
	require.True(t, used.Unstamped)
	require.False(t, used.Ended())
	require.False(t, used.Partitioned())
	require.Equal(t, []int64{-1, -1}, []int64{used.Offset, used.Appended}, "none is told")

	used.Timestamp = time.UnixMicro(1234)
	used.Prepare()
	require.False(t, used.Unstamped)
	require.Equal(t, time.UnixMilli(1), used.Timestamp)
}

// What keeps a batch is what keeps its partition. A batch without one has nothing to tell.
func TestWhatKeepsABatch(t *testing.T) {
	t.Parallel()
	p, why := &Partition{}, errors.New("the broker is away")
	(&Batch{of: p}).Trouble(why)
	r := &Record{}
	r.part.Store(p)
	require.Equal(t, why, r.Trouble())
	(&Batch{Partition: -1}).Trouble(why)
}
