package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

const ruler = "================================================================================\n"

// licensesOf returns the licences that packages are under, in order.
func licensesOf(packages []linkedPackage) []string {
	var all []string
	for _, p := range packages {
		all = append(all, licensesOfPackage(p)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func licensesOfPackage(p linkedPackage) []string {
	var all []string
	for _, file := range p.licenses {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // check has said so
		}
		for _, m := range licensecheck.Scan(text).Match {
			all = append(all, m.ID)
		}
	}
	for _, file := range p.files {
		if text, err := os.ReadFile(file); err == nil {
			ids, _ := header(string(text))
			all = append(all, ids...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// write writes THIRD_PARTY_LICENSES.txt, with the licence of each module but the
// program's own, and NOTICE, with what these modules ask to be repeated.
func write(out string, packages []linkedPackage) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var licenses, notices strings.Builder
	licenses.WriteString("What this program links besides its own code, and under which licence. The\nsource of each module is at the address beside it.\n\n")
	notices.WriteString("kafka_guarded\nCopyright 2026 The authors of kafka_guarded\n\nLicensed under the Apache License, Version 2.0. The program links the modules in\nTHIRD_PARTY_LICENSES.txt, each under its own licence.\n")
	var texts strings.Builder
	for _, m := range modulesOf(packages) {
		if m.own() {
			continue // it has LICENSE beside it
		}
		var own []linkedPackage
		var licenseFiles, noticeFiles []string
		for _, p := range packages {
			if p.module == m {
				own = append(own, p)
				licenseFiles = append(licenseFiles, p.licenses...)
				noticeFiles = append(noticeFiles, p.notices...)
			}
		}
		fmt.Fprintf(&licenses, "%s: %s\n    %s\n", m, strings.Join(licensesOf(own), ", "), sourceOf(m))
		for _, text := range []struct {
			into  *strings.Builder
			files []string
		}{{&texts, licenseFiles}, {&notices, noticeFiles}} {
			if err := appendFiles(text.into, m, text.files); err != nil {
				return err
			}
		}
	}
	licenses.WriteString("\n")
	licenses.WriteString(texts.String())
	if err := os.WriteFile(filepath.Join(out, "THIRD_PARTY_LICENSES.txt"), []byte(licenses.String()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "NOTICE"), []byte(notices.String()), 0o644)
}

func appendFiles(b *strings.Builder, m module, files []string) error {
	slices.Sort(files)
	for _, file := range slices.Compact(files) {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "\n%s%s: %s\n%s\n%s\n", ruler, m, m.name(file), ruler, strings.TrimSpace(string(text)))
	}
	return nil
}

func sourceOf(m module) string {
	if m.path == "std" {
		return "https://go.dev/dl/"
	}
	return "https://proxy.golang.org/" + escaped(m.path) + "/@v/" + escaped(m.version) + ".zip"
}

// escaped is a path or version as the module proxy takes it: an upper-case letter is
// an exclamation mark and the lower-case one.
func escaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('!')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
