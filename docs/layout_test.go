package docs

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	pageLines     = 120
	tableColumns  = 100
	sentenceWords = 30
)

// exceptions are the pages that need not keep to a bound, and why.
var exceptions = map[string]map[string]string{
	"lines": {
		"../CHANGELOG.md": "it has a line for each change",
		"reference.md":    "it has each field, under a table of contents",
	},
	"columns": {
		"reference.md": "the texts of its tables are those of the config's fields",
	},
	"words": {
		"../CHANGELOG.md": "released sections stay as they are",
		"reference.md":    "its texts are those of the config's fields",
	},
}

// Each page fits a screen or two, its tables fit into the width of one, and its
// sentences are short.
func TestPagesFitAScreen(t *testing.T) {
	t.Parallel()
	for path, page := range documents(t) {
		lines := strings.Split(strings.TrimRight(page, "\n"), "\n")
		if exceptions["lines"][path] == "" {
			assert.LessOrEqual(t, len(lines), pageLines, path)
		}
		if exceptions["columns"][path] == "" {
			for n, line := range lines {
				if strings.HasPrefix(line, "|") {
					assert.LessOrEqual(t, len([]rune(line)), tableColumns, "%s:%d", path, n+1)
				}
			}
		}
		if exceptions["words"][path] == "" {
			for _, s := range sentences(page) {
				assert.LessOrEqual(t, len(strings.Fields(s)), sentenceWords, "%s: %s", path, s)
			}
		}
	}
}

var (
	inlineCode   = regexp.MustCompile("`[^`]*`")
	linkTarget   = regexp.MustCompile(`\]\([^)]*\)`)
	endsSentence = regexp.MustCompile(`[.!?](\*\*)?( |$)`)
)

// sentences returns those of a page: of its paragraphs, of the items of its lists,
// and of the cells of its tables.
func sentences(page string) (all []string) {
	var paragraph []string
	end := func() {
		text := linkTarget.ReplaceAllString(inlineCode.ReplaceAllString(strings.Join(paragraph, " "), "code"), "]")
		for s := range strings.SplitSeq(endsSentence.ReplaceAllString(text, ".\n"), "\n") {
			if s = strings.TrimSpace(s); s != "" {
				all = append(all, s)
			}
		}
		paragraph = nil
	}
	fenced := false
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
			end()
		case fenced:
		case line == "", strings.HasPrefix(line, "#"):
			end()
		case strings.HasPrefix(line, "|"):
			end()
			for cell := range strings.SplitSeq(line, "|") {
				paragraph = []string{cell}
				end()
			}
		case strings.HasPrefix(line, "- "), regexp.MustCompile(`^\d+\. `).MatchString(line):
			end()
			paragraph = []string{line}
		default:
			paragraph = append(paragraph, line)
		}
	}
	end()
	return all
}

// Each test that the documents name is there.
func TestNamedTestsAreThere(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("grep", "-rhoE", "--include=*_test.go", `^func (Test|Fuzz|Benchmark)[A-Za-z0-9]+`, "..").Output()
	require.NoError(t, err)
	there := map[string]bool{}
	for name := range strings.FieldsSeq(string(out)) {
		there[name] = true
	}
	named := 0
	for path, text := range documents(t) {
		if filepath.Base(path) == "CHANGELOG.md" {
			continue // of the time of each release
		}
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z][A-Za-z0-9]+\b`).FindAllString(text, -1) {
			named++
			if !there[name] && !prefix(there, name) {
				t.Errorf("%s names %s, which is not there", path, name)
			}
		}
	}
	require.Greater(t, named, 20)
}

// prefix reports whether there is a test that begins with the name, as a pattern of
// -run does.
func prefix(there map[string]bool, name string) bool {
	for test := range there {
		if strings.HasPrefix(test, name) {
			return true
		}
	}
	return false
}
