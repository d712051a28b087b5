//go:build linux || darwin

package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// machine describes the machine of the bench, as far as it is known.
func machine() string {
	all := []string{cpuModel(), fmt.Sprintf("%d cores", runtime.NumCPU()), memorySize(), runtime.GOOS + "/" + runtime.GOARCH}
	var known []string
	for _, s := range all {
		if s != "" {
			known = append(known, s)
		}
	}
	return strings.Join(known, ", ")
}

func cpuModel() string {
	if runtime.GOOS == "darwin" {
		return sysctl("machdep.cpu.brand_string")
	}
	return find("/proc/cpuinfo", `model name\s*: (.+)`)
}

func memorySize() string {
	size, unit := memory()
	n, err := strconv.ParseFloat(size, 64)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%.0f GiB", n*unit/(1<<30))
}

func memory() (size string, unit float64) {
	if runtime.GOOS == "darwin" {
		return sysctl("hw.memsize"), 1
	}
	return find("/proc/meminfo", `MemTotal:\s*(\d+) kB`), 1024
}

func sysctl(name string) string {
	out, _ := exec.Command("sysctl", "-n", name).Output()
	return strings.TrimSpace(string(out))
}

// find returns what the first group of the expression matches in a file.
func find(file, expression string) string {
	b, _ := os.ReadFile(file)
	if m := regexp.MustCompile(expression).FindSubmatch(b); m != nil {
		return string(m[1])
	}
	return ""
}
