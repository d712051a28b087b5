package sim

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// kinds are mutations that tests of guard notice, and not the simulation: they change what a
// number of guard is, or what guard tells. Each kind once survived all tests.
var kinds = []struct {
	mutation
	folder string // in guard/, of the tests that notice
	tests  string
}{
	{mutation{"learned limits never age", "internal/limits/learned.go", []string{"return time.Since(learned) > learnedAge }", "return false }"}}, "internal/limits", "."},
	{mutation{"a missing topic is looked up again after minutes", "internal/limits/cache.go", []string{"return min(Fresh, c.maxAge)", "return c.maxAge"}}, "internal/limits", "."},
	{mutation{"bytes of the buffer are not given back", "room.go", []string{"\t\tr.bytes.Release(bytes)\n", ""}}, "", "Buffer"},
	{mutation{"what is given up is not told", "slot.go", []string{"s.Outcome() != partition.Acked && !rejected)", "false && !rejected)"}}, "", "TestAWriteEndsWhenItsTimeIsUp"},
	{mutation{"the strictest leader rejects", "internal/limits/rules.go", []string{"\treturn r.mildest()\n}\n\n// join", "\treturn r\n}\n\n// join"}}, "internal/limits", "."},
	{mutation{"earlier records of a key are held, too", "internal/partition/blocked.go", []string{"behind := o.order > r.order && o.Key", "behind := o.Key"}}, "", "Held"},
	{mutation{"a proof of size is not for smaller ones", "internal/limits/learned.go", []string{"p != nil && raw >= p.raw &&", "p != nil && raw > p.raw &&"}}, "internal/limits", "."},
	{mutation{"a write waits an hour for its grace", "write.go", []string{"giveUpGrace = time.Second", "giveUpGrace = time.Hour"}}, "", "Give|Elapsed|Shutdown|Ends"},
	{mutation{"an ambiguous code is looked at at once", "retry.go", []string{"return b.Attempts >= ambiguousTries && ", "return b.Attempts >= 1 || "}}, "", "Ambiguous|Sick|Server"},
	{mutation{"a batch follows the first of its producer", "internal/partition/inflight.go", []string{"p.ackedAt.IsZero() || first.Started.Sub(p.ackedAt) > knownFor,", "first == nil,"}}, "internal/partition", "Follow|InDoubt|InFlight"},
	{mutation{"what follows a batch in doubt is not in doubt", "internal/partition/inflight.go", []string{"case appended:\n\t\t\tp.inDoubt(b)", "case appended && b == first:\n\t\t\tp.inDoubt(b)"}}, "internal/partition", "Follow|InDoubt|InFlight"},
	{mutation{"what follows a batch goes before it", "internal/partition/inflight.go", []string{"p.resend = slices.Concat(followers, p.resend)", "slices.Reverse(followers)\n\tp.resend = slices.Concat(p.resend, followers)"}}, "internal/partition", "Follow|InDoubt|InFlight"},
	{mutation{"an ack settles what follows, too", "internal/partition/sequence.go", []string{"return by != nil && by.unanswered && number != by.sequence }", "return false }"}}, "internal/partition", "Follow|InDoubt|InFlight"},
	{mutation{"a batch in doubt keeps its number behind one that was not acked", "internal/partition/take.go", []string{"if b.unanswered && p.hasID && b.producer == p.producer && b.sequence != p.sequence {", "if false {"}}, "internal/partition", "Follow|InDoubt|InFlight"},
	{mutation{"a batch in doubt that others follow is given up", "internal/partition/sequence.go", []string{"return !b.abandoned() || p.waitedFor(b.sequence)", "return !b.abandoned()"}}, "internal/partition", "Follow|InDoubt|InFlight"},
}

// TestKindsAreNoticed breaks guard in each of these ways, and runs the tests that notice.
//
//	go test ./sim -run TestKindsAreNoticed -mutations all -timeout 0 -v
func TestKindsAreNoticed(t *testing.T) {
	if *flagMutations == "" {
		t.Skip("for -mutations")
	}
	for _, k := range kinds {
		if *flagMutations != "all" && !strings.Contains(k.name, *flagMutations) {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			out := k.run(t, "-short", "-run", k.tests, "../guard/"+k.folder)
			require.Contains(t, out, "--- FAIL: ", out)
		})
	}
}
