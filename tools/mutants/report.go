package main

import (
	"fmt"
	"os"
	"path/filepath"
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

// reportStale prints the reasons that no mutant has any more: the code is another.
func reportStale(reasons map[string]string, mutants []mutant) {
	for name := range reasons {
		if !slices.ContainsFunc(mutants, func(m mutant) bool { return m.name == name }) {
			fmt.Printf("%s: no mutant is called %s\n", reasonsFile, name)
		}
	}
}

// report prints the results. It fails if too many mutants survive without a reason.
func report(found []result, reasons map[string]string, mutants []mutant, took time.Duration) error {
	noticed, known, hang := 0, 0, 0
	var unknown []result
	for _, r := range found {
		switch {
		case r.noticed:
			noticed++
			if r.by == hangs {
				hang++
			}
		case reasons[r.name] != "":
			known++
		default:
			unknown = append(unknown, r)
		}
	}
	fmt.Printf("%d of %d mutants in %s: %d noticed (%d by a hang), %d survive for a known reason, %d for none\n", len(found), len(mutants), took.Round(time.Second), noticed, hang, known, len(unknown))
	if *write {
		if err := writeFigures(found, reasons, mutants); err != nil {
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

// writeFigures replaces the rows of the packages that were run in the docs, and keeps those
// of the others.
func writeFigures(found []result, reasons map[string]string, mutants []mutant) error {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), sectionBegin)
	section, after, ok2 := strings.Cut(rest, sectionEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no section between %s and %s", docsFile, strings.TrimSpace(sectionBegin), strings.TrimSpace(sectionEnd))
	}
	rows := map[string]string{}
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "`"); len(cells) > 2 && strings.HasPrefix(line, "| `") {
			rows[cells[1]] = line
		}
	}
	var out strings.Builder
	out.WriteString("\n| package | mutants | run | noticed | survive for a reason | for none | |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, t := range targets {
		of, noticed, known := 0, 0, 0
		for _, r := range found {
			if !slices.Contains(t.dirs, filepath.Dir(r.file)) {
				continue
			}
			of++
			switch {
			case r.noticed:
				noticed++
			case reasons[r.name] != "":
				known++
			}
		}
		if of > 0 {
			drawn := ""
			if *sample > 0 {
				drawn = fmt.Sprintf("-sample %d -seed %d", *sample, *seed)
			}
			if *tests != "" {
				drawn = strings.TrimSpace(drawn + " some of its tests")
			}
			if *own {
				drawn = strings.TrimSpace(drawn + " -own")
			}
			rows[t.name()] = fmt.Sprintf("| `%s` | %d | %d | %d (%.1f %%) | %d | %d | %s |\n", t.name(), len(t.in(mutants)), of, noticed, 100*float64(noticed)/float64(of), known, of-noticed-known, drawn)
		}
		out.WriteString(rows[t.name()])
	}
	out.WriteString("\n")
	return os.WriteFile(docsFile, []byte(before+sectionBegin+out.String()+sectionEnd+after), 0o600)
}
