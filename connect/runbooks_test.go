package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachAlertHasARunbook(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(content)
	}
	first := func(matches [][]string) []string {
		var all []string
		for _, m := range matches {
			all = append(all, m[1])
		}
		return all
	}
	rules := read("../deploy/prometheus/alerts.yaml")
	alerts := first(regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1))
	require.NotEmpty(t, alerts)
	require.Equal(t, alerts, first(regexp.MustCompile(`(?m)^## (KafkaGuarded\w+)$`).FindAllStringSubmatch(read("../docs/alerts.md"), -1)))
	links := first(regexp.MustCompile(`alerts\.md#(\w+)`).FindAllStringSubmatch(rules, -1))
	require.Len(t, links, len(alerts))
	for i, link := range links {
		require.Regexp(t, "(?i)^"+link+"$", alerts[i])
	}
}
