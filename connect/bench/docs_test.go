//go:build linux || darwin

package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The commands of docs/tuning.md have flags that exist, and name a row of a scenario.
func TestCommandsOfTheDocsMeasureSomething(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/tuning.md")
	require.NoError(t, err)
	commands := regexp.MustCompile(`(?m)^cd connect && go run \./bench (.*)$`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, commands, 4)
	for _, command := range commands {
		var args []string
		for _, arg := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(command[1], -1) {
			args = append(args, strings.Trim(arg, "'"))
		}
		o, err := parse(args)
		require.NoError(t, err, command[0])
		require.True(t, slices.ContainsFunc(scenarios, func(s scenario) bool {
			return o.only.MatchString(s.name) &&
				slices.ContainsFunc(s.on(), func(target string) bool { return slices.Contains(o.targets, target) }) &&
				slices.ContainsFunc(s.rows, func(r row) bool { return o.runners.MatchString(r.title()) })
		}), "%s measures nothing", command[0])
	}
}
