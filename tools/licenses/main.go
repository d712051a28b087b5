// Command licenses checks the licence of every package that a program links, and
// writes the texts that have to go with the program.
//
//	licenses -dir ../..                 # exits with 1 if a licence is not allowed
//	licenses -dir ../.. -out ../../dist # writes NOTICE and THIRD_PARTY_LICENSES.txt, too
//
// It looks at packages and at the headers of their files, not at modules alone: a
// module may have files under several licences.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

// released are the platforms of .goreleaser.yaml: each links packages of its own.
const released = "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64"

func main() {
	dir := flag.String("dir", ".", "folder of the program's main package")
	out := flag.String("out", "", "folder for NOTICE and THIRD_PARTY_LICENSES.txt; none are written without it")
	platforms := flag.String("platforms", released, "the platforms that the program is built for")
	sbom := flag.String("sbom", "", "CycloneDX document of the program's binary, to which the licences are added")
	flag.Parse()
	if err := run(*dir, *out, *sbom, strings.Split(*platforms, ",")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir, out, sbom string, platforms []string) error {
	packages, err := linked(dir, platforms)
	if err != nil {
		return err
	}
	if problems := check(packages); len(problems) > 0 {
		return fmt.Errorf("%s links packages that may not be released:\n  %s", dir, strings.Join(problems, "\n  "))
	}
	fmt.Printf("%s: %d packages of %d modules, all under %s\n", dir, len(packages), len(modulesOf(packages)), strings.Join(licensesOf(packages), ", "))
	if out != "" {
		if err := write(out, packages); err != nil {
			return err
		}
	}
	if sbom != "" {
		return addToSBOM(sbom, packages)
	}
	return nil
}
