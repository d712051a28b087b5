package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// allowed are the licences that a released program may have in it: all are approved
// by the Open Source Initiative, and none asks for the source of the whole program.
// MPL-2.0 asks to say where the source of its files is, which the texts do.
// BSD-2-Clause-Views is BSD-2-Clause and a sentence that is no condition.
var allowed = []string{"Apache-2.0", "MIT", "MIT-0", "BSD-2-Clause", "BSD-2-Clause-Views", "BSD-3-Clause", "ISC", "0BSD", "Unlicense", "Zlib", "MPL-2.0"}

// notLinked are licence files of something beside a package that no release links:
// module and file, and why.
var notLinked = map[string]string{
	"std src/crypto/internal/boring/LICENSE": "it is that of BoringSSL, which only GOEXPERIMENT=boringcrypto links",
}

// minCoverage is the share of a licence file that a known licence has to cover, in
// percent. The rest is copyright lines.
const minCoverage = 75

// check returns what is wrong with packages, a line for each file.
func check(packages []linkedPackage) []string {
	var problems []string
	seen := map[string]bool{} // licence files that were looked at
	for _, p := range packages {
		if p.module.own() {
			continue
		}
		add := func(file, format string, args ...any) {
			problems = append(problems, fmt.Sprintf("%s (%s): %s: %s", p.path, p.module, p.module.name(file), fmt.Sprintf(format, args...)))
		}
		for _, file := range p.licenses {
			if seen[file] {
				continue
			}
			seen[file] = true
			if problem := licenseFile(file); problem != "" {
				add(file, "%s", problem)
			}
		}
		for _, file := range p.files {
			text, err := os.ReadFile(file)
			if err != nil {
				add(file, "%v", err)
				continue
			}
			ids, problem := header(string(text))
			switch {
			case problem != "":
				add(file, "%s", problem)
			case len(ids) == 0 && len(p.licenses) == 0:
				add(file, "neither a header nor a LICENSE file names its licence")
			}
		}
	}
	return problems
}

func licenseFile(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	cover := licensecheck.Scan(text)
	if cover.Percent < minCoverage {
		return fmt.Sprintf("only %.0f%% of it are a licence that is known", cover.Percent)
	}
	for _, m := range cover.Match {
		if !slices.Contains(allowed, m.ID) {
			return m.ID + " is not allowed"
		}
	}
	return ""
}

var (
	packageClause = regexp.MustCompile(`(?m)^package `)
	comment       = regexp.MustCompile(`(?m)^[ \t]*(//|/\*|\*/?|#)?[ \t]*`)
	spdx          = regexp.MustCompile(`SPDX-License-Identifier:[ \t]*([^\n]*)`)
	spdxWord      = regexp.MustCompile(`[A-Za-z0-9.+-]+`)
	// reference is a header's sentence that leads to the LICENSE file, which is
	// looked at, too.
	reference = regexp.MustCompile(`(?i)(governed by an? ([a-z0-9-]+[- ]style )?licen[sc]e that can be found (in|src) the LICENSE(_list)? file( or at https://developers.google.com/open-source/licenses/bsd)?|` +
		`License information can be found in the LICENSE file|` +
		`(released|distributed) under (the )?(Simplified )?BSD License( \(see LICENSE\))?)`)
	mention = regexp.MustCompile(`(?i)\blicen[sc]|\bproprietary\b|\bconfidential\b`)
)

// header returns the licences that a file's header names, and what is wrong with
// them. A header that speaks of a licence has to be understood: one that is not
// known is as bad as one that is not allowed.
func header(text string) (ids []string, problem string) {
	for _, m := range spdx.FindAllStringSubmatch(text, -1) {
		id, ok := spdxAllows(m[1])
		if !ok {
			return nil, "SPDX-License-Identifier: " + strings.TrimSpace(m[1]) + " is not allowed"
		}
		ids = append(ids, id)
	}
	head := comment.ReplaceAllString(spdx.ReplaceAllString(headOf(text), ""), "")
	cover := licensecheck.Scan([]byte(head))
	var rest strings.Builder
	at := 0
	for _, m := range cover.Match {
		if !slices.Contains(allowed, m.ID) {
			return nil, m.ID + " is not allowed"
		}
		ids = append(ids, m.ID)
		rest.WriteString(head[at:m.Start])
		at = m.End
	}
	rest.WriteString(head[at:])
	left := reference.ReplaceAllString(strings.Join(strings.Fields(rest.String()), " "), "")
	if i := mention.FindStringIndex(left); i != nil {
		return nil, fmt.Sprintf("its licence is not known: %q", strings.TrimSpace(left[max(0, i[0]-80):min(len(left), i[1]+80)]))
	}
	return ids, ""
}

// headOf returns the part of a source file that is before its code.
func headOf(text string) string {
	if i := packageClause.FindStringIndex(text); i != nil {
		return text[:i[0]]
	}
	var head []string
	inBlock := false
	for line := range strings.Lines(text) { // assembly
		trimmed := strings.TrimSpace(line)
		inBlock = inBlock || strings.HasPrefix(trimmed, "/*")
		if !inBlock && trimmed != "" && !strings.HasPrefix(trimmed, "//") && !strings.HasPrefix(trimmed, "#") {
			break
		}
		inBlock = inBlock && !strings.Contains(trimmed, "*/")
		head = append(head, line)
	}
	return strings.Join(head, "")
}

// spdxAllows reports whether an SPDX expression leaves an allowed licence, and which:
// of alternatives one is enough, of a conjunction all have to be allowed.
func spdxAllows(expression string) (string, bool) {
	alternatives := strings.Split(strings.Trim(expression, " \t*/()"), " OR ")
	for _, alternative := range alternatives {
		words := spdxWord.FindAllString(strings.ReplaceAll(alternative, " AND ", " "), -1)
		if len(words) > 0 && !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(allowed, w) }) {
			return strings.Join(words, " AND "), true
		}
	}
	return "", false
}
