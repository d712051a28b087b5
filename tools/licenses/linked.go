package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A linkedPackage is one that a program links on at least one of its platforms.
type linkedPackage struct {
	path     string
	module   module
	files    []string // all source files that are compiled on any platform, absolute
	licenses []string // licence files of its folder and of those above it in the module, absolute
	notices  []string // NOTICE files, likewise
}

// A module is one, or the standard library.
type module struct{ path, version, dir string }

func (m module) String() string { return strings.TrimSpace(m.path + " " + m.version) }

// own reports whether it is the program's own module, or one of this repository.
func (m module) own() bool {
	return m.path == plugin || strings.HasPrefix(m.path, plugin+"/")
}

// name is that of a file in the module.
func (m module) name(file string) string {
	if name, err := filepath.Rel(m.dir, file); err == nil {
		return filepath.ToSlash(name)
	}
	return file
}

const plugin = "github.com/kafka-guarded/kafka-guarded"

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath, Dir, Root                                                  string
	Standard                                                               bool
	Module                                                                 *struct{ Path, Version, Dir string }
	GoFiles, CgoFiles, CFiles, CXXFiles, HFiles, SFiles, SysoFiles, FFiles []string
}

// linked lists the packages that the program in dir links, over all platforms.
func linked(dir string, platforms []string) ([]linkedPackage, error) {
	byPath := map[string]*linkedPackage{}
	for _, platform := range platforms {
		goos, goarch, ok := strings.Cut(platform, "/")
		if !ok {
			return nil, fmt.Errorf("platform %q is not of the form linux/amd64", platform)
		}
		packages, err := list(dir, goos, goarch)
		if err != nil {
			return nil, err
		}
		for _, l := range packages {
			p := byPath[l.ImportPath]
			if p == nil {
				p = &linkedPackage{path: l.ImportPath, module: moduleOf(l)}
				if err := p.findTexts(l.Dir); err != nil {
					return nil, err
				}
				byPath[l.ImportPath] = p
			}
			for _, name := range slices.Concat(l.GoFiles, l.CgoFiles, l.CFiles, l.CXXFiles, l.HFiles, l.SFiles, l.SysoFiles, l.FFiles) {
				if file := filepath.Join(l.Dir, name); !slices.Contains(p.files, file) {
					p.files = append(p.files, file)
				}
			}
		}
	}
	var all []linkedPackage
	for _, p := range byPath {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b linkedPackage) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

func list(dir, goos, goarch string) ([]listed, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Root,Standard,Module,GoFiles,CgoFiles,CFiles,CXXFiles,HFiles,SFiles,SysoFiles,FFiles", ".")
	cmd.Dir = dir
	// A workspace, or the flags of the tool's own build, would list another build.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch, "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing what %s links on %s/%s: %w: %s", dir, goos, goarch, err, stderr.String())
	}
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading what go list says: %w", err)
		}
		if l.ImportPath != "unsafe" {
			packages = append(packages, l)
		}
	}
}

func moduleOf(l listed) module {
	if l.Standard {
		return module{path: "std", dir: l.Root}
	}
	return module{l.Module.Path, l.Module.Version, l.Module.Dir}
}

var (
	licenseName = regexp.MustCompile(`(?i)^(go_)?(un)?(licen[sc]e|copying)`)
	noticeName  = regexp.MustCompile(`(?i)^notice(\.(txt|md))?$`)
	sourceName  = regexp.MustCompile(`\.(go|s|c|h|yaml|json)$`)
)

// findTexts looks for licence files from the package's folder up to its module's.
func (p *linkedPackage) findTexts(dir string) error {
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			file := filepath.Join(dir, e.Name())
			switch {
			case e.IsDir() || sourceName.MatchString(e.Name()):
			case notLinked[p.module.path+" "+p.module.name(file)] != "":
			case licenseName.MatchString(e.Name()):
				p.licenses = append(p.licenses, file)
			case noticeName.MatchString(e.Name()):
				p.notices = append(p.notices, file)
			}
		}
		if dir == p.module.dir || len(dir) <= len(p.module.dir) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

func modulesOf(packages []linkedPackage) []module {
	var all []module
	for _, p := range packages {
		if !slices.Contains(all, p.module) {
			all = append(all, p.module)
		}
	}
	slices.SortFunc(all, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return all
}
