package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASizeIsProvenUpToTheNextLimitThatThereMayBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ answered, most int }{
		{0, 0},
		{65_600, 70_000},
		{101_000, 102_400}, // 100 KiB
		{180_000, 180_000},
		{190_001, 194_560}, // 190 KiB
		{260_001, 262_144}, // 256 KiB
		{509_088, 512_000}, // 500 KiB
		{999_500, 1_000_000},
		{1_000_000, 1_000_000},
		{1_000_001, 1_024_000},
		{1<<20 - 1, 1 << 20},
		{1 << 20, 1 << 20},
	} {
		l := New(Options{})
		l.cuts.answer(c.answered)
		require.True(t, l.proven(c.most), "%d after %d", c.most, c.answered)
		require.False(t, l.proven(c.most+1), "%d after %d", c.most+1, c.answered)
	}
}
