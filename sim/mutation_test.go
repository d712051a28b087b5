package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

var (
	flagMutations = flag.String("mutations", "", "break guard on purpose, and see that it is noticed: \"all\", or a part of a mutation's name")
	flagHunt      = flag.Int("hunt", 0, "look for a break in as many messages at most, and stop at the first one")
)

// mutation is a change of guard's code that breaks a promise. The simulation has to
// notice it.
type mutation struct {
	name string
	file string // in guard/
	// Pairs of an old text and the new one. The file has each old text once.
	edits []string
}

var mutations = []mutation{
	{"any code counts against a record", "internal/isolate/alone.go", []string{"\tsince := b.Started.Sub(s.alone.at)\n", "\tsince := AmbiguousFor\n\tb.Acks = 1 << 60\n", "\tif code.AboutTime(b.Code) && time.Since(b.Started) > time.Second {", "\tif false {"}},
	{"alone in the batch will do", "internal/isolate/alone.go", []string{"\tif !b.Answer.Alone {\n", "\tif false {\n"}},
	{"a lost answer leaves no doubt", "internal/partition/batch.go", []string{"notAcked{Answer: a, doubt: sent}", "notAcked{Answer: a}"}},
	{"no code leaves a doubt", "internal/partition/answered.go", []string{"doubt := m.Doubt || a.Offset", "doubt := false"}},
	{"what failed in doubt is not written", "internal/partition/sequence.go", []string{"p.finish(d.records, Unknown, why)", "p.finish(d.records, NotWritten, why)"}},
	{"an ack does not move the sequence on", "internal/partition/inflight.go", []string{"p.sequence, p.ackedAt = b.then, b.Started", "p.sequence, p.ackedAt = p.sequence, b.Started"}},
	{"a rejection moves the sequence on", "internal/partition/inflight.go", []string{"\ta := first.result.Answer\n", "\ta := first.result.Answer\n\tp.sequence = first.then\n\tp.doubts, p.doubtful = nil, nil\n"}},
	{"the same number for other records", "internal/partition/sequence.go", []string{"for !b.unanswered && n > 0 && p.inDoubtWith(n) {", "for !b.unanswered && n < 0 && p.inDoubtWith(n) {"}},
	{"a producer ID that brokers fence is kept", "internal/partition/sequence.go", []string{"p.hasID, p.ownID = false, true\n\tp.dropEnded()", "_ = p.ownID\n\tp.dropEnded()"}},
	{"a batch in doubt is numbered anew", "internal/partition/take.go", []string{"case b.unanswered && b.producer != p.producer:", "case false:"}},
	{"a batch is sent again behind the others", "internal/partition/take.go", []string{"\tfor len(p.resend) > 0 {\n", "\tfor len(p.queue) == 0 && len(p.resend) > 0 {\n"}},
	{"a batch that follows has the number of the one before", "internal/partition/inflight.go", []string{"b.sequence = p.inFlight[n-1].then", "b.sequence = p.inFlight[n-1].sequence"}},
	{"an answer is for another batch of its request", "internal/broker/request.go", []string{"return e.Batch != nil && e.Partition == partition && (", "return e.Batch != nil && ("}},
	{"an error is an ack", "internal/broker/request.go", []string{"case p.ErrorCode == 0:", "case p.ErrorCode == 0 || p.ErrorCode == 87:"}},
	{"a duplicate is an ack", "internal/broker/request.go", []string{"case p.ErrorCode == 0:", "case p.ErrorCode == 0 || p.ErrorCode == 46:"}},
	{"what is given up is sent again", "internal/partition/withdraw.go", []string{"if r.leaving != nil && !r.Ended() {\n\t\t\tp.endAll", "if false {\n\t\t\tp.endAll"}},
	{"a record that has ended stays in the queue", "internal/partition/partition.go", []string{"\t\tp.drops = false\n\t\tp.dropEnded()\n", "\t\tp.drops = false\n"}},
	{"records overtake one with their key", "internal/partition/blocked.go", []string{"if r.Key != nil && !p.block(r) {", "if r.Key != nil && false {"}},
	{"the list counts from the end", "internal/isolate/listed.go", []string{"\t\tr := b.Records[e.Index]\n\t\trest =", "\t\tr := b.Records[len(b.Records)-1-e.Index]\n\t\trest ="}},
	{"a list is believed without a test", "internal/isolate/listed.go", []string{"if !b.listsHold.Load() {", "if false {"}},
	{"a list that was right once has every index right", "internal/isolate/alone.go", []string{"if len(b.RecordErrors) == 1 && b.RecordErrors[0].Index == 0 && code", "if len(b.RecordErrors) == 1 && code"}},
	{"a larger record is too large, whatever is sent of it", "internal/limits/limits.go", []string{"\tif sent < least {", "\tif false {"}},
	{"a rejection proves something for every leader", "internal/limits/learned.go", []string{"\tl := a.topics[topic][leader]\n\ta.mu.RUnlock()", "\tleader = 0\n\tl := a.topics[topic][leader]\n\ta.mu.RUnlock()"}},
	{"an empty key is none", "internal/limits/check.go", []string{"rules.Compacted && r.Key == nil", "rules.Compacted && len(r.Key) == 0"}},
	{"limits that reject may be old", "internal/limits/limits.go", []string{"\tl.Refresh(ctx, topics)\n", "", "at.Add(-Fresh)", "at.Add(-time.Hour)"}},
	{"old limits reject when the cluster does not answer", "internal/limits/limits.go", []string{"at.Add(-Fresh)", "at.Add(-time.Hour)"}},
	{"a reported limit rejects before it is confirmed", "internal/limits/confirmed.go", []string{"return k.from-slack <= v.measure && time.Since(k.at) < claimAge", "return true"}},
	{"a limit that was confirmed once rejects all that is over it", "internal/limits/confirmed.go", []string{"return k.from-slack <= v.measure && time.Since(k.at) < claimAge", "return !k.at.IsZero()"}},
	{"a limit is too low by a byte", "internal/limits/check.go", []string{"if r.Size <= limit && !tooLong {", "if r.Size < limit && !tooLong {", "case sent > limit &&", "case sent >= limit &&", "return size <= limit && (anyKey", "return size < limit && (anyKey"}},
	{"the first timestamp is kept", "internal/partition/take.go", []string{"\t\tif r.Unstamped {\n", "\t\tif r.Unstamped && r.Timestamp.IsZero() {\n"}},
	{"time is never up", "write.go", []string{"w.cancel = w.endAfter(most)", "w.cancel = func() {}"}},
	{"requests on which the connection ends stay as large", "internal/broker/sizes.go", []string{"\t\tlimit = min(limit, max(s.cutFrom/2, s.answeredTo, leastRequest))\n", ""}},
	{"the verdicts of two neighbours are swapped", "slot.go", []string{"func (s *slot) verdict() *Verdict   { return &s.write.verdicts[s.index] }", "func (s *slot) verdict() *Verdict {\n\ti := int(s.index) ^ 1\n\tif i >= len(s.write.verdicts) {\n\t\ti = int(s.index)\n\t}\n\treturn &s.write.verdicts[i]\n}"}},
	{"the buffer is not given back", "write.go", []string{"\tdefer release()\n", "\t_ = release\n"}},
	{"waiting is not told", "waiting.go", []string{"func (ws *waits) say(n Waiting) { ws.events = append(ws.events, func() { ws.tell(n) }) }", "func (ws *waits) say(Waiting) {}"}},
	{"Close leaves what is queued", "internal/producer/producer.go", []string{"\t\t\tpart.Close()\n", "\t\t\t_ = part\n"}},
	{"what is given up is always in doubt", "internal/partition/withdraw.go", []string{"if r.doubt || open[r] {", "if true {"}},
	{"what is given up in flight is not written", "internal/partition/withdraw.go", []string{"if r.doubt || open[r] {", "if r.doubt {"}},
	{"a batch is retried after a millisecond", "retry.go", []string{"kgo.ErrRecordRetries, a.Err)})\n\t}\n\treturn partition.Plan{Same: true, Pause: g.settings.backoff(b.Attempts)}", "kgo.ErrRecordRetries, a.Err)})\n\t}\n\treturn partition.Plan{Same: true, Pause: time.Millisecond}"}},
	{"what is held is retried after a millisecond", "retry.go", []string{"g.config.Observer.OnRetry(f.Class, n)\n\treturn partition.Plan{Same: true, Pause: g.retryAfter(b.Attempts)}", "g.config.Observer.OnRetry(f.Class, n)\n\treturn partition.Plan{Same: true, Pause: time.Millisecond}"}},
	{"an offset besides an error is not looked at", "internal/broker/request.go", []string{"Offset: p.BaseOffset >= 0 && p.LogStartOffset >= 0}", "Offset: false}"}},
	{"a size that was rejected once is too large for ever", "internal/limits/learned.go", []string{"raw >= p.raw && time.Since(p.Started) < proofAge", "raw >= p.raw"}},
}

// TestMutationsAreNoticed mutates guard in each of these ways, and runs TestHunt on the
// result, which must find a break.
//
//	go test ./sim -run TestMutationsAreNoticed -mutations all -timeout 0 -v
func TestMutationsAreNoticed(t *testing.T) {
	if *flagMutations == "" {
		t.Skip("for -mutations")
	}
	var rows []string
	for _, m := range mutations {
		if *flagMutations != "all" && !strings.Contains(m.name, *flagMutations) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			out := m.hunt(t)
			found := caughtLine.FindStringSubmatch(out)
			require.NotNil(t, found, "no test notices:\n%s", out)
			rows = append(rows, fmt.Sprintf("| %s | %s | %s |", m.name, found[1], found[2]))
			t.Log(rows[len(rows)-1])
		})
	}
	t.Log("\n| mutation | noticed as | after messages |\n| --- | --- | --- |\n" + strings.Join(rows, "\n"))
}

var caughtLine = regexp.MustCompile(`caught as (\w+) after (\d+) messages`)

// apply returns the mutated text of a file.
func (m mutation) apply(t *testing.T) (file, text string) {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("..", "guard", m.file))
	require.NoError(t, err)
	code, err := os.ReadFile(filepath.Clean(file))
	require.NoError(t, err)
	text = string(code)
	for from, to := range pairs(m.edits) {
		require.Equal(t, 1, strings.Count(text, from), "the table is behind the code: %q", from)
		text = strings.Replace(text, from, to, 1)
	}
	return file, text
}

// TestMutationsFitTheCode checks that each mutation can still be applied. To run them
// takes long.
func TestMutationsFitTheCode(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) { m.apply(t) })
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { k.apply(t) })
	}
	t.Run(nearTheEnd.name, func(t *testing.T) { nearTheEnd.apply(t) })
}

// hunt runs TestHunt with guard mutated.
func (m mutation) hunt(t *testing.T) string {
	t.Helper()
	return m.run(t, ".", "-run", "^TestHunt$", "-hunt", "300000")
}

// run runs tests on a guard that is mutated.
func (m mutation) run(t *testing.T, args ...string) string {
	t.Helper()
	file, text := m.apply(t)
	dir := t.TempDir()
	mutated, overlay := filepath.Join(dir, "mutated.go"), filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(mutated, []byte(text), 0o600))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {file: mutated}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, list, 0o600))
	args = append([]string{"test", "-overlay", overlay, "-v", "-count=1", "-timeout", "10m"}, args...)
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput() //nolint:gosec // our own paths
	if err != nil {
		t.Logf("%v", err)
	}
	return string(out)
}

func pairs(of []string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for p := range slices.Chunk(of, 2) {
			if !yield(p[0], p[1]) {
				return
			}
		}
	}
}

// TestHunt runs the plans that once broke, then small plans, then random ones, until
// one breaks.
func TestHunt(t *testing.T) {
	if *flagHunt == 0 {
		t.Skip("for -hunt")
	}
	seen := 0
	try := func(p plan) bool {
		seen += p.messages()
		r := live(t, p)
		if r.broken != "" && knownTo(p, r) == nil {
			t.Errorf("caught as %s after %d messages: %s\n%s", r.kind, seen, r.broken, p)
			return true
		}
		return false
	}
	plans := kept(t)
	large := slices.IndexFunc(plans, func(p plan) bool { return p.messages() > 500 })
	for _, p := range plans[:large] {
		for range 3 {
			if try(p) {
				return
			}
		}
	}
	for records := range sequences(2) {
		for _, d := range []kafkafake.Dialect{kafkafake.Kafka(), kafkafake.Registry(), kafkafake.Gateway(), kafkafake.Unreadable()} {
			p := small(d, d.Name == "registry", "")
			p.Writers = []writer{{Writes: []write{{Records: records}}}}
			if try(p) {
				return
			}
		}
	}
	for p := range (scope{}).faulty(1, []string{"kafka"}) {
		if try(p) {
			return
		}
	}
	for _, p := range plans[large:] {
		if try(p) {
			return
		}
	}
	for seed := uint64(1); seen < *flagHunt; seed++ {
		if try(random(seed)) {
			return
		}
	}
	t.Logf("nothing in %d messages", seen)
}

// kept returns the plans in testdata, the smallest first.
func kept(t *testing.T) (plans []plan) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	for _, file := range files {
		plans = append(plans, load(t, file))
	}
	slices.SortStableFunc(plans, func(a, b plan) int { return a.messages() - b.messages() })
	return plans
}
