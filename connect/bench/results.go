//go:build linux || darwin

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// results are the runs of the bench, of one call or of several.
type results struct {
	Runs    []runInfo
	Samples samples
}

// runInfo says what a run was measured with.
type runInfo struct {
	Command, Code, Machine, Versions, Date string

	Rounds  int
	Seconds float64
	Cut     bool // the bench ended before all rounds were done
}

func readResults(file string) (r results, err error) {
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("reading the runs of %s: %w", file, err)
	}
	return r, nil
}

func (r results) write(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = os.WriteFile(file, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the runs: %w", err)
	}
	return nil
}

// code is the latest commit that changed the measured code.
func code() string {
	out, err := exec.Command("git", "log", "-1", "--format=%h", "--", ":/guard", ":/output", ":/go.mod").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// and joins results with newer ones, whose rounds are numbered after the older. If both
// have a table, the older rounds count only if the code is the same.
func (r results) and(newer results) results {
	if len(r.Runs) == 0 {
		return newer
	}
	same := r.Runs[len(r.Runs)-1].Code == newer.Runs[0].Code
	again := map[[2]string]bool{}
	for _, s := range newer.Samples {
		again[[2]string{s.Scenario, s.Target}] = true
	}
	joined := results{Runs: append(append([]runInfo(nil), r.Runs...), newer.Runs...)}
	for _, s := range r.Samples {
		if same || !again[[2]string{s.Scenario, s.Target}] {
			joined.Samples = append(joined.Samples, s)
		}
	}
	shift := r.Samples.rounds()
	for _, s := range newer.Samples {
		s.Round += shift
		joined.Samples = append(joined.Samples, s)
	}
	return joined
}
