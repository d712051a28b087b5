package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// reasonsFile has the mutants that may survive: a line with the reason that begins with #,
// then the names.
const reasonsFile = "tools/mutants/survivors.txt"

func readReasons() (map[string]string, error) {
	text, err := os.ReadFile(reasonsFile)
	if err != nil {
		return nil, err
	}
	reasons, reason := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "# "):
			reason = line[2:]
		default:
			reasons[line] = reason
		}
	}
	return reasons, nil
}

// report prints what was found. It fails if a mutant survives that has no reason to.
func report(found []result, reasons map[string]string, all int, took time.Duration) error {
	noticed, known, hangs := 0, 0, 0
	var unknown []result
	byReason := map[string][]string{}
	for _, r := range found {
		switch {
		case r.noticed:
			noticed++
			if r.by == "hangs" {
				hangs++
			}
		case reasons[r.name] != "":
			known++
			byReason[reasons[r.name]] = append(byReason[reasons[r.name]], r.name)
		default:
			unknown = append(unknown, r)
		}
	}
	fmt.Printf("%d of %d mutants in %s: %d noticed (%d by a hang), %d survive for a known reason, %d for none\n", len(found), all, took.Round(time.Second), noticed, hangs, known, len(unknown))
	if *write {
		if err := writeSection(len(found), noticed, byReason); err != nil {
			return err
		}
	}
	if 100*noticed >= *least*(len(found)-known) {
		return nil
	}
	var text strings.Builder
	for _, r := range unknown {
		reached := ""
		if !r.reached {
			reached = " (no test gets there)"
		}
		fmt.Fprintf(&text, "%s%s\n", r.name, reached)
	}
	return fmt.Errorf("no test notices:\n%swrite a test, or add the line to %s with the reason", text.String(), reasonsFile)
}

const (
	docsFile     = "docs/testing.md"
	sectionBegin = "<!-- mutants: written by go run ./tools/mutants -write -->\n"
	sectionEnd   = "<!-- end of mutants -->\n"
)

// writeSection replaces the section of the docs.
func writeSection(all, noticed int, byReason map[string][]string) error {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), sectionBegin)
	_, after, ok2 := strings.Cut(rest, sectionEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no section between %s and %s", docsFile, strings.TrimSpace(sectionBegin), strings.TrimSpace(sectionEnd))
	}
	var section strings.Builder
	fmt.Fprintf(&section, "\nOf %d mutants, the tests notice %d (%d %%). The others survive for these reasons:\n\n", all, noticed, 100*noticed/max(all, 1))
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		fmt.Fprintf(&section, "- **%s:** %d, for example %s\n", reason, len(byReason[reason]), strings.ReplaceAll(byReason[reason][0], "|", "\\|"))
	}
	section.WriteString("\n")
	return os.WriteFile(docsFile, []byte(before+sectionBegin+section.String()+sectionEnd+after), 0o600)
}
