package sim

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// nearTheEnd has each partition's sequence numbers begin 30 before 2^31-1, behind which
// comes 0. To get there takes 2^31 records otherwise. Kafka takes any first number of a
// producer that it does not know.
var nearTheEnd = mutation{"sequence numbers begin near their end", "internal/partition/sequence.go", []string{
	"p.ackedAt = id, 0, true,", "p.ackedAt = id, math.MaxInt32-30, true,",
}}

// TestSequenceNumbersWrap has nothing broken when sequence numbers go over their end.
func TestSequenceNumbersWrap(t *testing.T) {
	if testing.Short() {
		t.Skip("builds guard anew")
	}
	out := nearTheEnd.run(t, ".", "-run", "^TestRandom$", "-messages", "10000", "-dialect", "kafka")
	require.Contains(t, out, "--- PASS: TestRandom", out)
}

// TestWrongWrapsAreNoticed sees that the scenarios do get there: 0 comes too early.
func TestWrongWrapsAreNoticed(t *testing.T) {
	if *flagMutations == "" {
		t.Skip("for -mutations")
	}
	m := nearTheEnd
	m.edits = append(slices.Clone(m.edits), "(int64(sequence) + int64(n)) & math.MaxInt32", "(int64(sequence) + int64(n)) % math.MaxInt32")
	out := m.run(t, ".", "-run", "^TestRandom$", "-plan", "testdata/sequence_numbers_that_wrap.json")
	require.Contains(t, out, "out of order", out)
}
