// Command mutants breaks guard in one small way after the other, and runs the tests: a
// mutant that no test notices is a test that is missing.
//
//	go run ./tools/mutants                       # all: prints the survivors. Takes hours
//	go run ./tools/mutants -sample 30 -seed 7    # some of them: the same ones as long as the code is
//	go run ./tools/mutants -match 'learned.go'   # those whose name matches
//	go run ./tools/mutants -tests 'TestHeld'     # against some of the tests alone: fast, while one writes them
//	go run ./tools/mutants -write                # writes the figures into docs/testing.md
//
// Of a mutant, a condition is turned round, a comparison has another bound, a constant
// another value, or a statement is missing. All are compiled into one test binary, and an
// environment variable says which is on. So a mutant takes the time of its tests alone:
// of those that reach it, first of its own packages, then of guard, then of the simulation.
// Tests that are fast and have noticed many mutants come first.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	gobuild "go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// target is what is mutated: a package, or some that are tested together.
type target struct {
	dirs  []string
	files []string // nil: all
	more  []string // the packages whose tests run after its own
	own   string   // matches those of its own tests that -own runs; "" for all
}

// name is the path of the first package: the others are below it.
func (t target) name() string { return t.dirs[0] }

// tests returns the packages whose tests run.
func (t target) tests() []string {
	if *own {
		return t.dirs
	}
	return append(slices.Clone(t.dirs), t.more...)
}

var targets = []target{
	{dirs: []string{"guard/internal/code"}, more: []string{"guard", "sim"}},
	{dirs: []string{"guard/internal/limits"}, more: []string{"guard", "sim"}},
	{dirs: []string{"guard/internal/isolate"}, more: []string{"guard", "sim"}},
	{dirs: []string{"guard"}, more: []string{"sim"}},
	{dirs: []string{"guard/internal/producer", "guard/internal/partition", "guard/internal/broker", "guard/internal/recordbatch"}, more: []string{"guard", "sim"}},
	{dirs: []string{"output"}, files: []string{"report.go", "dead_letter.go", "hold.go"}, own: "^Test(HowFailuresAreReported|TheErrorOfABatch|UnroutedFailuresArePaced|WhatIsHeldIs.*|WhatADeadLetterSays|WhatIsDeadLettered|DeadLettersAreNotGivenUp|AFileOfDeadLettersKeepsTheReason)$"},
}

// without are tests that do not run: they take long for what they notice.
const without = "^(FuzzBrokerAnswers|TestMutationsFitTheCode)$"

var (
	sample = flag.Int("sample", 0, "run so many mutants, drawn by -seed; 0 is all")
	seed   = flag.Uint64("seed", 1, "draws the sample")
	match  = flag.String("match", "", "run the mutants whose name matches this regular expression")
	tests  = flag.String("tests", "", "run the tests alone whose name matches this regular expression")
	own    = flag.Bool("own", false, "run the tests of the mutated packages alone, of output the fast ones")
	least  = flag.Int("least", 100, "fail if fewer percent are noticed, of those without a reason to survive")
	write  = flag.Bool("write", false, "write the figures of the packages that were run into docs/testing.md")
)

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	reasons, err := readReasons()
	if err != nil {
		return err
	}
	mutants, err := prepare(ctx, dir)
	if err != nil {
		return err
	}
	reportStale(reasons, mutants)
	chosen, err := choose(mutants)
	if err != nil {
		return err
	}
	began := time.Now()
	suites := map[string]*suite{}
	var found []result
	for _, t := range targets {
		of := t.in(chosen)
		if len(of) == 0 {
			continue
		}
		results := make([]*result, len(of))
		for i, m := range of {
			results[i] = &result{mutant: m}
		}
		for _, d := range t.tests() {
			left := slices.DeleteFunc(slices.Clone(results), func(r *result) bool { return r.noticed })
			if len(left) == 0 {
				break
			}
			if suites[d] == nil {
				some := *tests
				if *own && some == "" {
					some = t.own
				}
				if suites[d], err = build(ctx, dir, d, some); err != nil {
					return err
				}
			}
			try(ctx, left, suites[d])
		}
		for _, r := range results {
			found = append(found, *r)
			if !r.noticed {
				fmt.Printf("%s:%d: %s\n", r.file, r.line, r.what)
			}
		}
	}
	return report(found, reasons, mutants, time.Since(began))
}

// in returns the mutants of the target.
func (t target) in(mutants []mutant) (of []mutant) {
	for _, m := range mutants {
		if slices.Contains(t.dirs, filepath.Dir(m.file)) {
			of = append(of, m)
		}
	}
	return of
}

// choose returns the mutants to run. A sample is drawn by name, so a change of the code
// changes the sample only where names change.
func choose(mutants []mutant) ([]mutant, error) {
	expr, err := regexp.Compile(*match)
	if err != nil {
		return nil, err
	}
	mutants = slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !expr.MatchString(m.name) })
	if *sample == 0 || *sample >= len(mutants) {
		return mutants, nil
	}
	fmt.Printf("a sample of %d of %d mutants, -seed %d\n", *sample, len(mutants), *seed)
	drawn := func(m mutant) string {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", *seed, m.name))
		return string(sum[:])
	}
	slices.SortFunc(mutants, func(a, b mutant) int { return strings.Compare(drawn(a), drawn(b)) })
	return mutants[:*sample], nil
}

// prepare finds all mutants, and writes an overlay that has them.
func prepare(ctx context.Context, dir string) (mutants []mutant, err error) {
	exports, err := exportData(ctx)
	if err != nil {
		return nil, err
	}
	id, overlay := 0, map[string]string{}
	add := func(path string, text []byte) error {
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		overlay[abs] = filepath.Join(dir, fmt.Sprintf("%d.go", len(overlay)))
		return os.WriteFile(overlay[abs], text, 0o600)
	}
	for _, t := range targets {
		for _, of := range t.dirs {
			p, err := parse(of, exports)
			if err != nil {
				return nil, err
			}
			for i, path := range p.paths {
				if t.files != nil && !slices.Contains(t.files, filepath.Base(path)) {
					continue
				}
				source, err := os.ReadFile(filepath.Clean(path))
				if err != nil {
					return nil, err
				}
				m := &mutator{fset: p.fset, info: p.info, pkg: p.pkg, file: p.files[i], path: path, source: source, next: func() int { id++; return id }}
				m.run()
				mutants = append(mutants, m.mutants...)
				if err := add(path, m.mutated()); err != nil {
					return nil, err
				}
			}
			if err := add(filepath.Join(of, "mutants_of_this_package.go"), fmt.Appendf(nil, runtime, p.pkg.Name())); err != nil {
				return nil, err
			}
		}
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": overlay})
	if err != nil {
		return nil, err
	}
	return mutants, os.WriteFile(filepath.Join(dir, "overlay.json"), text, 0o600)
}

// parsed is a package with its types, without its tests.
type parsed struct {
	fset  *token.FileSet
	info  *types.Info
	pkg   *types.Package
	paths []string
	files []*ast.File
}

// parse parses the package in a folder.
func parse(dir string, exports map[string]string) (*parsed, error) {
	p := &parsed{fset: token.NewFileSet(), info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}}
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	p.paths = slices.DeleteFunc(paths, func(path string) bool {
		here, err := gobuild.Default.MatchFile(filepath.Split(path))
		return err != nil || !here || strings.HasSuffix(path, "_test.go")
	})
	for _, path := range p.paths {
		f, err := parser.ParseFile(p.fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, f)
	}
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	config := types.Config{Importer: importer.ForCompiler(p.fset, "gc", lookup)}
	p.pkg, err = config.Check(dir, p.fset, p.files, p.info)
	return p, err
}

// exportData returns the files with the types of all packages that are imported.
func exportData(ctx context.Context) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "./guard/...", "./output").Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	return exports, nil
}

// suite is the tests of a package.
type suite struct {
	dir, binary string
	reach       map[int][]string // the tests that reach a mutant
	took        map[string]time.Duration

	mu    sync.Mutex
	notes map[string]int // how many mutants a test has noticed
}

// build compiles the tests of a package, and finds out which of some reach which mutant.
func build(ctx context.Context, dir, of, tests string) (*suite, error) {
	start := time.Now()
	s := &suite{dir: of, binary: filepath.Join(dir, strings.ReplaceAll(of, "/", "_")+".test"), reach: map[int][]string{}, took: map[string]time.Duration{}, notes: map[string]int{}}
	out, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", s.binary, "./"+of).CombinedOutput() //nolint:gosec // our own paths
	if err != nil {
		return nil, fmt.Errorf("building the tests of %s: %w\n%s", of, err, out)
	}
	some, err := regexp.Compile(tests)
	if err != nil {
		return nil, err
	}
	list := exec.CommandContext(ctx, s.binary, "-test.list", "^(Test|Fuzz|Example)") //nolint:gosec // our own path
	list.Dir = of
	names, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests of %s: %w", of, err)
	}
	var broken []string
	atOnce(strings.Fields(string(names)), func(name string) {
		if skipped.MatchString(name) || !some.MatchString(name) {
			return
		}
		trace := filepath.Join(dir, strings.ReplaceAll(of, "/", "_")+name)
		began := time.Now()
		_, failed := s.run(ctx, []string{name}, 5*time.Minute, "MUTANT_TRACE="+trace)
		seen, _ := os.ReadFile(filepath.Clean(trace))
		s.mu.Lock()
		defer s.mu.Unlock()
		if failed {
			broken = append(broken, name)
			return
		}
		s.took[name] = time.Since(began)
		for _, n := range strings.Fields(string(seen)) {
			id, _ := strconv.Atoi(n)
			s.reach[id] = append(s.reach[id], name)
		}
	})
	fmt.Printf("%s: tests built and run once in %s\n", of, time.Since(start).Round(time.Second))
	if len(broken) > 0 {
		return nil, fmt.Errorf("without any mutant, tests of %s fail: %s", of, strings.Join(broken, ", "))
	}
	return s, nil
}

var skipped = regexp.MustCompile(without)

// mutantBytes bounds the memory of a test, since a mutant may allocate without end.
const mutantBytes = 4 << 30

// run runs tests. It returns which test failed, and whether one did.
func (s *suite) run(ctx context.Context, tests []string, most time.Duration, env ...string) (by string, failed bool) {
	cmd := exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf(`ulimit -d %d; exec "$0" "$@"`, mutantBytes/1024), //nolint:gosec // our own path
		s.binary, "-test.short", "-test.failfast", "-test.timeout", most.String(), "-test.run", "^("+strings.Join(tests, "|")+")$")
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "", false
	}
	if bytes.Contains(out, []byte("panic: test timed out")) {
		return hangs, true
	}
	if name := failedLine.FindSubmatch(out); name != nil {
		return string(name[1]), true
	}
	return "panics", true
}

const hangs = "hangs"

var failedLine = regexp.MustCompile(`--- FAIL: (\w+)`)

// try runs a mutant. A time-out counts as a hang only if it happens again with more
// time.
func (s *suite) try(ctx context.Context, id int) (by string, noticed bool) {
	env := fmt.Sprintf("MUTANT=%d", id)
	for _, tests := range s.inTurn(id) {
		most := 10 * time.Second
		for _, t := range tests {
			most += 3 * s.took[t]
		}
		by, noticed := s.run(ctx, tests, most, env)
		if by == hangs {
			by, noticed = s.run(ctx, tests, 2*most, env)
		}
		if noticed {
			s.mu.Lock()
			s.notes[by]++
			s.mu.Unlock()
			return by, true
		}
	}
	return "", false
}

// inTurn returns the tests that reach a mutant, in three parts: the first is done in a moment.
func (s *suite) inTurn(id int) (parts [][]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	worth := func(t string) float64 { return (float64(s.notes[t]) + 0.2) / (s.took[t].Seconds() + 0.05) }
	tests := slices.Clone(s.reach[id])
	slices.SortFunc(tests, func(a, b string) int { return cmp.Compare(worth(b), worth(a)) })
	for _, most := range []time.Duration{time.Second, 6 * time.Second, time.Hour} {
		var part []string
		var took time.Duration
		for len(tests) > 0 && (len(part) == 0 || took+s.took[tests[0]] < most) {
			took += s.took[tests[0]]
			part, tests = append(part, tests[0]), tests[1:]
		}
		if len(part) > 0 {
			parts = append(parts, part)
		}
	}
	return parts
}

// result is the result of a mutant.
type result struct {
	mutant
	noticed bool
	by      string
	reached bool
}

// try runs mutants against the tests of a package.
func try(ctx context.Context, mutants []*result, s *suite) {
	atOnce(mutants, func(r *result) {
		r.reached = r.reached || len(s.reach[r.id]) > 0
		r.by, r.noticed = s.try(ctx, r.id)
	})
}

// atOnce calls do for each of the items, two at a time.
func atOnce[T any](items []T, do func(T)) {
	slots := make(chan struct{}, 2)
	var wg sync.WaitGroup
	for _, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(item)
		})
	}
	wg.Wait()
}
