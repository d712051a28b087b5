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

// mutation is a change of guard's code that breaks a promise. The adversary has to
// notice it.
type mutation struct {
	name string
	file string // in guard/
	// What is replaced by what, in pairs. Each is in the file once.
	edits []string
}

var mutations = []mutation{
	{"whoever is refused alone is to blame, whatever the code", "evidence.go", []string{"\t\treturn g.controlled(s, sent)\n", "\t\treturn true\n"}},
	{"alone in the batch will do", "isolate.go", []string{"case !e.Alone && !exclusively:", "case false && !exclusively:", "if !g.proof(s, e, i.sent) {", "if e.Alone && !g.proof(s, e, i.sent) {"}},
	{"an answer that was lost leaves no doubt", "evidence.go", []string{"if e.Lost || e.Orphan ||", "if e.Orphan ||"}},
	{"no code leaves a doubt", "evidence.go", []string{"|| doubtful(e.Code) && !e.Repeated {", "{"}},
	{"what is under way leaves no doubt", "evidence.go", []string{"\tif !gen.log.Quiet(tp, w.ctx.Done()) {\n\t\treturn Unknown\n\t}\n", ""}},
	{"a lane is free when its write is over", "isolate.go", []string{"\t\t\ti.busy.Wait()\n\t\t\tunlock()", "\t\t\tunlock()"}},
	{"the broker counts from the end", "culprits.go", []string{"s := group[named.Index]", "s := group[len(group)-1-named.Index]"}},
	{"the broker is believed without a test", "culprits.go", []string{"if !g.namesRightly.Load() {\n\t\tfirst", "if false {\n\t\tfirst"}},
	{"the larger one is too large, too, whatever is sent of it", "culprits.go", []string{"return sent, sent >= i.witness.sent", "return sent, true", "return sent, sent >= i.witness.raw+i.witness.raw/6+64", "return sent, true"}},
	{"what follows the held is sent", "held.go", []string{"case i.held != nil:\n\t\tw.leave(group, i.held)\n\t\treturn nil\n", ""}},
	{"requests with null records leave", "internal/wire/launch.go", []string{"case p.Records == nil, gone", "case gone"}},
	{"nothing waits for what may be refused", "internal/wire/launch.go", []string{"gone := c.hold(flights, c.waiter())", "gone := map[Partition]bool(nil)"}},
	{"only the current clients are closed", "guard.go", []string{"\tfor gen := range open {\n\t\tgen.Close()\n\t}\n", "\t_ = open\n\tg.bulkClient.Close()\n"}},
	{"a failure is an acknowledgement", "flight.go", []string{"s.err = err\n\t\ts.to(failed)", "s.err = err\n\t\ts.to(acknowledged)"}},
	{"an empty key is none", "preflight.go", []string{"rules.Compacted && r.Key == nil", "rules.Compacted && len(r.Key) == 0"}},
	{"rules that condemn may be old", "write.go", []string{"\tg.rules.refresh(w.ctx, topics.names)\n", "", "asked.Add(-rulesFresh)", "asked.Add(-time.Hour)"}},
	{"old rules condemn when the cluster does not answer", "write.go", []string{"asked.Add(-rulesFresh)", "asked.Add(-time.Hour)"}},
	{"the time of the first attempt is kept", "flight.go", []string{"if s.unstamped {", "if false {"}},
	{"time is never up", "write.go", []string{"cancel = w.endAfter(most)", "_ = w.endAfter"}},
	{"a client that is of no use is kept", "classify.go", []string{"func spoils(err error) bool {\n", "func spoils(err error) bool {\n\tif err != nil {\n\t\treturn false\n\t}\n"}},
	{"requests that are cut stay as large", "clients.go", []string{"if times < shrinkAfter ||", "if times >= 0 ||"}},
	{"the verdicts of two neighbours are swapped", "write.go", []string{"func (s *slot) verdict() *Verdict   { return &s.write.verdicts[s.index] }", "func (s *slot) verdict() *Verdict {\n\ti := int(s.index) ^ 1\n\tif i >= len(s.write.verdicts) {\n\t\ti = int(s.index)\n\t}\n\treturn &s.write.verdicts[i]\n}"}},
	{"what is in doubt is sent again", "retry.go", []string{"return v.Outcome == NotWritten && ", "return v.Outcome != Delivered && "}},
	{"what was given up and written leaves no doubt", "evidence.go", []string{"e.Lost || e.Orphan ||", "e.Lost ||"}},
	{"what tells of an append leaves no doubt", "evidence.go", []string{"|| e.Appended && !gone(e.Code) ||", "||"}},
	{"a limit is too low by a byte", "preflight.go", []string{"limit, name := g.limit(rules); raw > limit", "limit, name := g.limit(rules); raw >= limit", "if sent > limit {", "if sent >= limit {", "return raw <= limit && (anyKey", "return raw < limit && (anyKey"}},
	{"a hand-over is not waited for", "internal/wire/launch.go", []string{"for c.log.opts.Sequential() {", "for false && c.log.opts.Sequential() {"}},
	{"a witness speaks in every partition", "culprits.go", []string{"to == int(i.tp.Partition) || to < 0 && rules.Partitions == 1 {", "to >= -1 {"}},
	{"the buffer is not given back", "guard.go", []string{"\tdefer release()\n", "\t_ = release\n"}},
	{"nobody is told who waits", "waiting.go", []string{"\tws.tell(n)\n", ""}},
	{"clients that were replaced are kept", "clients.go", []string{"if gen.retired && gen.users == 0 {", "if false {"}},
	{"what gets no request of its own is overtaken", "isolate.go", []string{"\t\tfor _, s := range group {\n\t\t\ti.hold(s)\n\t\t}\n", ""}},
	{"a limit of requests that was just learned is not looked at", "guard.go", []string{"slices.ContainsFunc(p.together, w.guard.overRequest)", "false", "own := s.refusal.alone || g.overRequest(s)", "own := s.refusal.alone"}},
	{"whoever is named once has every index believed", "isolate.go", []string{"len(e.Named) == 1 && e.Named[0].Index == 0:", "len(e.Named) == 1:"}},
	{"a search does not wait for the one before", "lanes.go", []string{"if _, busy := l.taken[tp]; busy {", "if _, busy := l.taken[tp]; busy && false {", "\t\tclose(free)\n", ""}},
	{"what the client drops while it is under way leaves no doubt", "evidence.go", []string{"case h.Accepted && !atRest && (closed || !g.settings.idempotent):", "case false:"}},
	{"what is given up is cut off the wire, numbered or not", "flight.go", []string{"if !c.numbered && c.Err() == nil {", "if false {"}},
	{"what goes alone closes no partition", "plan.go", []string{"t.closed[partition] = true", ""}},
}

// TestMutationsAreNoticed breaks guard in each of these ways and hunts for it.
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
			require.NotNil(t, found, "nobody notices:\n%s", out)
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

// TestMutationsFitTheCode has the table keep up with guard. To hunt takes long.
func TestMutationsFitTheCode(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) { m.apply(t) })
	}
}

// hunt runs TestHunt on a guard that is mutated.
func (m mutation) hunt(t *testing.T) string {
	t.Helper()
	file, text := m.apply(t)
	dir := t.TempDir()
	mutated, overlay := filepath.Join(dir, "mutated.go"), filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(mutated, []byte(text), 0o600))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {file: mutated}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, list, 0o600))
	out, err := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-run", "^TestHunt$", "-v", "-count=1", "-timeout", "10m", ".", "-hunt", "300000").CombinedOutput() //nolint:gosec // our own paths
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

// TestHunt lives through the plans that once broke, small worlds, and random ones,
// until the first break.
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
	for word := range words(2) {
		for _, d := range []kafkafake.Dialect{kafkafake.Kafka(), kafkafake.Registry(), kafkafake.Gateway(), kafkafake.Unreadable()} {
			p := small(d, d.Name == "registry", "")
			p.Writers = []writer{{Writes: []write{{Records: word}}}}
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
