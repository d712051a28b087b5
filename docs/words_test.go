package docs

import (
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// oldWords are pronouns for people, which our things are not, words of the
// courtroom, and pictures of our own: Kafka has a word for each of them.
var oldWords = regexp.MustCompile(`(?i)\b(who|whom|whoever|nobody|everybody|anybody|` +
	`convict\w*|culprits?|suspects?|suspected|blam(e|es|ed|ing)|innocents?|witness\w*|testifies|testified|condemn\w*|` +
	`adversar\w+|rulebook|in the air|inTheAir|crowd|surroundings|deeds?)\b`)

// text is a piece of a file that a person reads.
type text struct {
	line int
	text string
}

// The words of comments, documents, log lines and error texts are plain: see "How
// we write" in CONTRIBUTING.md.
func TestWordsArePlain(t *testing.T) {
	t.Parallel()
	found := map[string][]string{} // by folder
	require.NoError(t, filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != ".." && strings.HasPrefix(name, ".") && name != ".ci" && name != ".github" || name == "testdata" || name == "dist" {
				return filepath.SkipDir
			}
			return nil
		}
		folder, err := filepath.Rel("..", filepath.Dir(path))
		if err != nil {
			return err
		}
		texts, err := textsOf(path)
		if err != nil {
			return err
		}
		for _, piece := range texts {
			for _, word := range oldWords.FindAllString(piece.text, -1) {
				found[folder] = append(found[folder], fmt.Sprintf("%s:%d: %q", path, piece.line, word))
			}
		}
		return nil
	}))
	for folder, words := range found {
		t.Errorf("words that are not plain in %s, see the glossary in docs/words_test.go:\n%s", folder, strings.Join(words, "\n"))
	}
}

// words are those of an identifier in mixed caps, as a text.
func words(identifier string) string {
	return regexp.MustCompile(`([a-z0-9])([A-Z])`).ReplaceAllString(identifier, "$1 $2")
}

// textsOf returns what a person reads of a file: all lines of documents, manifests
// and scripts, and of Go the comments, the names, and the strings if it is no test.
func textsOf(path string) (all []text, err error) {
	base := filepath.Base(path)
	switch filepath.Ext(path) {
	case ".go":
	case ".md", ".yaml", ".yml", ".sh":
	default:
		if base != "Makefile" && filepath.Base(filepath.Dir(path)) != ".ci" {
			return nil, nil
		}
	}
	if base == "CHANGELOG.md" || base == "words_test.go" || base == "performance.md" {
		return nil, nil // the words of each release; the list itself; generated
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if filepath.Ext(path) != ".go" {
		n := 0
		for line := range strings.Lines(string(content)) {
			n++
			all = append(all, text{n, line})
		}
		return all, nil
	}
	files := token.NewFileSet()
	file := files.AddFile(path, -1, len(content))
	var s scanner.Scanner
	s.Init(file, content, nil, scanner.ScanComments)
	for {
		at, tok, literal := s.Scan()
		switch {
		case tok == token.EOF:
			return all, nil
		case tok == token.COMMENT, tok == token.STRING && !strings.HasSuffix(path, "_test.go"):
			all = append(all, text{files.Position(at).Line, literal})
		case tok == token.IDENT:
			all = append(all, text{files.Position(at).Line, words(literal)})
		}
	}
}

// ruledSince is when the rule for commit subjects began. A date, and no commit, so
// that it is known in a shallow clone, too.
const ruledSince = "2026-11-30T10:35:00Z"

var subject = regexp.MustCompile(`^[a-z0-9_./-]+(, [a-z0-9_./-]+)*: \S`)

// The subject of a commit is "package: verb object", of 72 characters at most.
func TestCommitSubjects(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("git", "log", "--no-merges", "--since="+ruledSince, "--format=%h %s").Output()
	if err != nil {
		t.Skip("this is no git repository")
	}
	for line := range strings.Lines(string(out)) {
		hash, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if len(text) > 72 || !subject.MatchString(text) {
			t.Errorf("%s: %q is not \"package: verb object\" of 72 characters at most", hash, text)
		}
	}
}
