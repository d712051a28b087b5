package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASizeIsProvenUpToTheNextLimitThatThereMayBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ answered, most int }{
		{0, 0},
		{509_088, 509_952}, // 498 KiB
		{999_500, 1_000_000},
		{1_000_000, 1_000_000},
		{1_000_001, 1_000_448},
		{1<<20 - 1, 1 << 20},
		{1 << 20, 1 << 20},
	} {
		l := New(Options{})
		l.cuts.answer(c.answered)
		require.True(t, l.proven(c.most), "%d after %d", c.most, c.answered)
		require.False(t, l.proven(c.most+1), "%d after %d", c.most+1, c.answered)
	}
}
