// Package docs has tests of what the documents say: what can run is run, what is
// code is code that runs, and what is linked to is there.
package docs

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// documents returns all that users read, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	var paths []string
	for _, pattern := range []string{"../*.md", "*.md", "upstream/*.md", "../examples/*/*.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		paths = append(paths, found...)
	}
	texts := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		texts[path] = string(text)
	}
	require.Contains(t, texts, "../README.md")
	return texts
}

// block is what is between two fences.
type block struct {
	language, text string
	under          string // the heading before it
}

func blocks(text string) (all []block) {
	var now *block
	heading := ""
	for line := range strings.Lines(text) {
		fence, is := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case is && now == nil:
			now = &block{language: fence, under: heading}
		case is:
			all, now = append(all, *now), nil
		case now != nil:
			now.text += line
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	return all
}

var whole = regexp.MustCompile(`(?m)^(input|output|pipeline|output_resources):`)

func TestConfigsPassTheLinter(t *testing.T) {
	t.Parallel()
	linter := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter()
	for path, text := range documents(t) {
		if strings.HasPrefix(path, "upstream/") {
			continue // they are about other components
		}
		for _, b := range blocks(text) {
			if b.language != "yaml" || !whole.MatchString(b.text) {
				continue
			}
			lints, err := linter.LintYAML([]byte(given.Replace(filled(b.text, "localhost:9092"))))
			require.NoError(t, err, path+"\n"+b.text)
			require.Empty(t, lints, path+"\n"+b.text)
		}
	}
}

// given stands in for what an example expects of its machine.
var given = strings.NewReplacer("root_cas_file: ./ca.pem", `root_cas: ""`, "${KAFKA_USER}", "user", "${KAFKA_PASSWORD}", "secret")

// filled is a config of a document with what it leaves to the user.
func filled(yaml, broker string) string {
	return strings.NewReplacer("localhost:9092", broker, "seed_brokers: []", "seed_brokers: [ '"+broker+"' ]", `topic: ""`, "topic: orders").Replace(yaml)
}

// The reference has an example for many fields: each is one of that field.
func TestExamplesOfFieldsAreOnesOfThatField(t *testing.T) {
	t.Parallel()
	linter := service.GlobalEnvironment().FullConfigSchema("", "").NewStreamConfigLinter()
	examples := 0
	for _, b := range blocks(documents(t)["reference.md"]) {
		if b.language != "yaml" || whole.MatchString(b.text) {
			continue
		}
		field := strings.Trim(b.under, "`")
		for example := range strings.SplitSeq(b.text, "# or\n") {
			examples++
			yaml, indent := "output:\n  kafka_guarded:\n", "    "
			segments := strings.Split(field, ".")
			for _, segment := range segments[:len(segments)-1] {
				name, list := strings.CutSuffix(segment, "[]")
				yaml += indent + name + ":\n"
				indent += "  "
				if list {
					yaml += indent + "-\n"
					indent += "  "
				}
			}
			for line := range strings.Lines(example) {
				yaml += indent + line
			}
			lints, err := linter.LintYAML([]byte(yaml))
			require.NoError(t, err, yaml)
			for _, l := range lints {
				require.NotContains(t, l.What, "not recognised", yaml)
				require.NotContains(t, l.What, "expected", yaml)
			}
		}
	}
	require.Greater(t, examples, 10)
}

// The configs of the documents do what is said of them: of three messages with one
// that is too large, two are in the topic, and one where the config has it go. It
// changes the directory, and so is not parallel.
func TestConfigsRun(t *testing.T) {
	for path, text := range documents(t) {
		if strings.HasPrefix(path, "upstream/") {
			continue
		}
		for _, b := range blocks(text) {
			if b.language != "yaml" || !strings.HasPrefix(b.text, "output:") || filled(b.text, "") == b.text {
				continue // the last are for another broker than ours
			}
			t.Run(path+"/"+b.under, func(t *testing.T) {
				c := kafkafake.New(t)
				c.Topic("orders", 1)
				t.Chdir(t.TempDir())
				builder := service.NewStreamBuilder()
				const input = `input: { generate: { count: 3, batch_size: 3, interval: "", mapping: 'root.note = if counter() == 2 { nanoid(2000000) } else { "ok" }' } }`
				require.NoError(t, builder.SetYAML(input+"\nlogger: { level: OFF }\n"+filled(b.text, c.ListenAddrs()[0])))
				stream, err := builder.Build()
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
				defer cancel()
				takes := strings.Contains(b.text, "fallback:") || strings.Contains(b.text, "dead_letter:\n")
				if !takes {
					// Nothing takes the one, so that it comes again and again.
					go func() {
						for ctx.Err() == nil {
							if log, err := c.Read(ctx, "orders"); err == nil && len(log) >= 2 {
								break
							}
						}
						_ = stream.StopWithin(time.Second)
					}()
				}
				err = stream.Run(ctx)
				if !takes {
					require.GreaterOrEqual(t, c.Values("orders")[`{"note":"ok"}`], 2)
					return
				}
				require.NoError(t, err)
				require.Equal(t, map[string]int{`{"note":"ok"}`: 2}, c.Values("orders"))
				dead, err := filepath.Glob("*.jsonl")
				require.NoError(t, err)
				require.Len(t, dead, 1)
				letter, err := os.ReadFile(dead[0])
				require.NoError(t, err)
				require.Equal(t, 1, bytes.Count(letter, []byte("\n")))
			})
		}
	}
}

// notHere are commands that are run elsewhere, and where.
var notHere = map[string]string{
	"go test":        "it is what runs this",
	"make":           "TestTargetsAreThere",
	"docker":         ".ci/run, where there is Docker",
	"kubectl":        ".ci/run checks the manifests",
	"go install":     ".ci/run, out of a release",
	"sha256sum":      ".ci/run, out of a release",
	"gh attestation": "the release workflow makes it",
	"jq":             ".ci/run, out of a release",
	"cd":             "go test in that module",
	"cp":             "go test in that module",
	"go build":       ".ci/run",
	"go mod":         ".ci/run, with examples/custom-binary",
	"go get":         ".ci/run, with examples/custom-binary",
	"go version":     "it is Go's own",
	"kafka-acls.sh":  "TestCommandsOfTheDocsGrantTheRights in integration/access",
	"confluent":      "it takes an account there",
	"az":             "it takes an account there",
	"rpk":            "it takes a Redpanda cluster",
	"./":             "go test in that module",
}

// The commands of the documents run, with a broker at hand.
func TestCommandsRun(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds the program: run it without -short")
	}
	program := filepath.Join(t.TempDir(), "kafka-guarded")
	out, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput()
	require.NoError(t, err, string(out))
	c := kafkafake.New(t)
	for _, topic := range []string{"orders-eu", "orders-us"} {
		c.Topic(topic, 6)
	}
	c.Topic("orders", 1)
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	ran := 0
	for path, text := range documents(t) {
		if strings.HasPrefix(path, "upstream/") {
			continue // each has a test of its own in upstream/
		}
		if path == "dead-letters.md" || path == "redrive.md" {
			continue // TestNightOfDeadLetters
		}
		for _, b := range blocks(text) {
			if b.language != "sh" {
				continue
			}
			for line := range strings.Lines(b.text) {
				command, _, _ := strings.Cut(line, " #")
				command = strings.TrimSpace(command)
				if command == "" || strings.HasPrefix(command, "#") {
					continue
				}
				args, ours := strings.CutPrefix(command, "go run . ")
				if !ours {
					args, ours = strings.CutPrefix(command, "kafka-guarded ")
				}
				if !ours {
					known := false
					for prefix := range notHere {
						known = known || strings.HasPrefix(command, prefix)
					}
					require.True(t, known, "%s has a command that no test runs: %s", path, command)
					continue
				}
				ran++
				args = strings.ReplaceAll(args, "YOUR.yaml", "config/example.yaml")
				cmd := exec.Command(program, strings.Fields(args)...)
				cmd.Dir = root
				cmd.Env = append(os.Environ(), "KAFKA_BROKERS="+c.ListenAddrs()[0], "DEAD_LETTERS="+t.TempDir(), "MESSAGES=500")
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s: %s\n%s", path, command, out)
			}
		}
	}
	require.GreaterOrEqual(t, ran, 6)
	requireInlineCommands(t, program)
}

// requireInlineCommands requires that the program has the commands and flags that the
// documents name in their text.
func requireInlineCommands(t *testing.T, program string) {
	t.Helper()
	helps, all := map[string]string{}, ""
	help := func(command string) string {
		if helps[command] == "" {
			out, err := exec.Command(program, append(strings.Fields(command), "--help")...).CombinedOutput()
			require.NoError(t, err, "%s: %s", command, out)
			helps[command] = string(out)
			all += string(out)
		}
		return helps[command]
	}
	for _, command := range []string{"run", "streams", "lint", "test", "check", "dead-letters", "dead-letters show", "dead-letters redrive", "demo"} {
		help(command)
	}
	flags := regexp.MustCompile(`(?:^| )--[a-z][a-z-]+`)
	inline := 0
	for path, text := range documents(t) {
		for _, match := range regexp.MustCompile("`(kafka-guarded |go run \\. |)((?:[a-z-]+ ?)*)[^`\n]*`").FindAllStringSubmatch(text, -1) {
			called, command := match[1], strings.TrimSpace(match[2])
			if strings.Contains(match[0], "--resource-pattern-type") || called == "" && !strings.HasPrefix(command, "--") {
				continue // kafka-acls.sh, or no command
			}
			within := all
			if called != "" {
				words := strings.Fields(command)
				command = words[0]
				if command == "dead-letters" && len(words) > 1 && words[1] != "--config" {
					command += " " + words[1]
				}
				within = help(command)
			}
			for _, flag := range flags.FindAllString(" "+match[0][1:len(match[0])-1], -1) {
				inline++
				if !strings.Contains(within, strings.TrimSpace(flag)) {
					t.Errorf("%s: there is no flag%s: %s", path, flag, match[0])
				}
			}
		}
	}
	require.Greater(t, inline, 15)
}

// Each page of docs/ is linked from another page, so that a reader finds it.
func TestEachPageIsLinked(t *testing.T) {
	t.Parallel()
	texts := documents(t)
	linked := map[string]bool{}
	for path, text := range texts {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			if to := filepath.Join(filepath.Dir(path), match[1]); match[1] != "" && to != path {
				linked[strings.TrimPrefix(to, "../docs/")] = true
			}
		}
	}
	for path := range texts {
		if !strings.HasPrefix(path, "../") {
			require.True(t, linked[path], "no page links to %s", path)
		}
	}
}

func TestTargetsAreThere(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("there is no make here")
	}
	for path, text := range documents(t) {
		for _, match := range regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
			out, err := exec.Command("make", "-n", "-C", "..", match[1]).CombinedOutput()
			require.NoError(t, err, "%s: make %s\n%s", path, match[1], out)
		}
	}
}

// Go code in the documents is part of an example, which go test runs.
func TestCodeIsThatOfTheExamples(t *testing.T) {
	t.Parallel()
	var examples string
	for _, path := range []string{"../guard/example_test.go", "../output/example_test.go", "../examples/custom-binary/main.go"} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		examples += string(text)
		for line := range strings.Lines(string(text)) {
			examples += strings.TrimPrefix(line, "\t")
		}
	}
	for _, path := range []string{"embedding.md", "migration-callbacks.md"} {
		for _, b := range blocks(documents(t)[path]) {
			if b.language == "go" {
				require.Contains(t, examples, strings.TrimPrefix(b.text, "import "), path)
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	texts := documents(t)
	for path, text := range texts {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, anchor := match[1], strings.TrimPrefix(match[2], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
				_, err := os.Stat(to)
				require.NoError(t, err, path)
			}
			if anchor != "" && strings.HasSuffix(to, ".md") {
				require.True(t, slices.Contains(anchors(texts[strings.TrimPrefix(to, "../docs/")]), anchor), "%s: %s has no heading %s", path, to, anchor)
			}
		}
	}
}

// anchors are those that GitHub gives to headings.
func anchors(text string) (all []string) {
	drop := regexp.MustCompile(`[^a-z0-9 _-]`)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			heading := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
			all = append(all, strings.ReplaceAll(drop.ReplaceAllString(heading, ""), " ", "-"))
		}
	}
	return all
}

// code.md names every file of guard and output, and every package in them, and none
// that is not there.
func TestEveryFileIsNamed(t *testing.T) {
	t.Parallel()
	page := documents(t)["code.md"]
	for _, folder := range []string{"guard", "output"} {
		_, list, ok := strings.Cut(page, "## Files of "+folder+"\n\n")
		require.True(t, ok, folder)
		list, _, _ = strings.Cut(list, "\n\n")
		var named []string
		for line := range strings.Lines(list) {
			item, is := strings.CutPrefix(line, "- ")
			if !is {
				continue // it goes on with the item before
			}
			names, _, _ := strings.Cut(item, ": ")
			for _, match := range regexp.MustCompile("`([a-z0-9_]+\\.go|internal/[a-z]+)`").FindAllStringSubmatch(names, -1) {
				named = append(named, match[1])
			}
		}
		paths, err := filepath.Glob("../" + folder + "/*.go")
		require.NoError(t, err)
		var there []string
		for _, path := range paths {
			if !strings.HasSuffix(path, "_test.go") {
				there = append(there, filepath.Base(path))
			}
		}
		packages, err := filepath.Glob("../" + folder + "/internal/*")
		require.NoError(t, err)
		for _, path := range packages {
			there = append(there, "internal/"+filepath.Base(path))
		}
		require.ElementsMatch(t, there, named)
	}
}

// code.md names every folder that has code, with the folders above it or by itself.
func TestEveryFolderIsNamed(t *testing.T) {
	t.Parallel()
	page := documents(t)["code.md"]
	for _, pattern := range []string{"../*/*.go", "../internal/*/*.go", "../tools/*/*.go"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, path := range paths {
			folder := strings.TrimPrefix(filepath.Dir(path), "../")
			if folder != "docs" && folder != "integration" {
				require.Contains(t, page, "`"+folder, path)
			}
		}
	}
	for _, match := range regexp.MustCompile("`([a-z./_-]+)/`").FindAllStringSubmatch(page, -1) {
		_, err := os.Stat("../" + match[1])
		_, inIntegration := os.Stat("../integration/" + match[1])
		require.True(t, err == nil || inIntegration == nil, "there is no folder %s", match[1])
	}
}

// The files and functions of trace.md are there, and its reader changes the file 15 times
// at most.
func TestTheTraceThroughTheCode(t *testing.T) {
	t.Parallel()
	section := documents(t)["trace.md"]
	steps := regexp.MustCompile("(?m)^\\d+\\. `([a-z_/]+\\.go)`: ((?:.|\n    )*)").FindAllStringSubmatch(section, -1)
	require.NotEmpty(t, steps)
	require.LessOrEqual(t, len(steps)-1, 15, "changes of file")
	last := ""
	for _, step := range steps {
		require.NotEqual(t, last, step[1], "a step opens another file than the one before")
		last = step[1]
		code := read(t, "../"+last)
		functions := 0
		for _, name := range regexp.MustCompile("`([A-Za-z]+)`").FindAllStringSubmatch(step[2], -1) {
			if regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + name[1] + `\(`).MatchString(code) {
				functions++
			} else if name[1] != "checkLimits" && name[1] != "Write" && name[1] != "BatchError" {
				t.Errorf("%s has no function %s", last, name[1])
			}
		}
		require.NotZero(t, functions, "%s: the step names no function of it", last)
	}
}
