package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// The bundle links files that are not open source: no release has it, and what
// speaks of it says so.
func TestBundleIsNotReleased(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"../.goreleaser.yaml", "../.github/workflows/release.yaml"} {
		require.NotContains(t, read(t, path), "kafka-guarded-connect", path)
	}
	require.Contains(t, read(t, "../deploy/Dockerfile"), "ARG BINARY=kafka-guarded ")
	for _, path := range []string{"../README.md", "install.md", "../connect/main.go", "../deploy/Dockerfile"} {
		text := strings.Join(strings.Fields(strings.ReplaceAll(read(t, path), "//", "")), " ")
		require.Contains(t, text, "Redpanda Community License", path)
	}
	require.NotContains(t, read(t, "../deploy/kubernetes/deployment.yaml"), "ghcr.io/kafka-guarded/kafka-guarded-connect")
}

// Benthos listens on all interfaces unless it is told not to, and its API has no
// password.
func TestRecipesListenOnLoopback(t *testing.T) {
	t.Parallel()
	recipes := 0
	for _, pattern := range []string{"../config/*.yaml", "../connect/config/*.yaml", "../examples/*/config/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.yaml") {
				continue
			}
			recipes++
			var config struct{ HTTP struct{ Address string } }
			require.NoError(t, yaml.Unmarshal([]byte(read(t, path)), &config), path)
			require.True(t, strings.HasPrefix(config.HTTP.Address, "127.0.0.1:"), "%s: http.address is %q", path, config.HTTP.Address)
		}
	}
	require.GreaterOrEqual(t, recipes, 7)
}

// Nothing that the compose file starts asks for a password.
func TestComposePublishesOnLoopback(t *testing.T) {
	t.Parallel()
	var compose struct {
		Services map[string]struct{ Ports []string }
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "../deploy/compose.yaml")), &compose))
	published := 0
	for name, service := range compose.Services {
		for _, port := range service.Ports {
			published++
			require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s publishes %s", name, port)
		}
	}
	require.Equal(t, 4, published)
}

// A pre-release is not the latest, and an image is attested as archives are.
func TestReleaseWorkflow(t *testing.T) {
	t.Parallel()
	text := read(t, "../.github/workflows/release.yaml")
	for line := range strings.Lines(text) {
		if strings.Contains(line, ":latest") {
			require.Contains(t, line, "!contains(github.ref_name, '-')")
		}
	}
	_, images, ok := strings.Cut(text, "\n  images:")
	require.True(t, ok)
	images, _, _ = strings.Cut(images, "\n  nested-module:")
	require.Contains(t, images, "actions/attest-build-provenance")
	require.Contains(t, images, "subject-digest: ${{ steps.push.outputs.digest }}")
}

// A tag can be moved to other code, a commit can't.
func TestActionsArePinned(t *testing.T) {
	t.Parallel()
	pinned := regexp.MustCompile(`^ *(?:- )?uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	used := 0
	for _, path := range []string{"../.github/workflows/ci.yaml", "../.github/workflows/release.yaml"} {
		for line := range strings.Lines(read(t, path)) {
			if strings.Contains(line, "uses:") {
				used++
				require.Regexp(t, pinned, strings.TrimRight(line, "\n"), path)
			}
		}
	}
	require.Greater(t, used, 5)
	require.Contains(t, read(t, "../.github/workflows/release.yaml"), "subject-path: dist/checksums.txt")
}

// The NetworkPolicy lets through what the stream does, selects its pods, and is applied with the rest.
func TestNetworkPolicyFitsTheStream(t *testing.T) {
	t.Parallel()
	policy, stream := read(t, "../deploy/kubernetes/network.yaml"), read(t, "../deploy/kubernetes/stream.yaml")
	ports := regexp.MustCompile(`port: (\d+)`).FindAllStringSubmatch(policy, -1)
	require.Len(t, ports, 4)
	require.Contains(t, stream, "address: 0.0.0.0:"+ports[0][1], "ingress: metrics")
	require.Equal(t, []string{"53", "53"}, []string{ports[1][1], ports[2][1]}, "egress: names")
	require.Contains(t, read(t, "../deploy/kubernetes/deployment.yaml"), `KAFKA_BROKERS, value: "kafka:`+ports[3][1]+`"`, "egress: Kafka")
	const label = "{ app.kubernetes.io/name: kafka-guarded }"
	require.Contains(t, policy, "podSelector:\n    matchLabels: "+label)
	require.Contains(t, read(t, "../deploy/kubernetes/deployment.yaml"), "labels: "+label)
	require.Contains(t, read(t, "../deploy/kubernetes/kustomization.yaml"), "  - network.yaml\n")
}

// What is in the environment of a container is in the pod's manifest, and in dumps.
func TestKubernetesCredentialsAreFiles(t *testing.T) {
	t.Parallel()
	text := read(t, "../deploy/kubernetes/deployment.yaml")
	for _, word := range []string{"envFrom", "secretKeyRef", "KAFKA_PASSWORD"} {
		require.NotContains(t, text, word)
	}
	require.Equal(t, 2, strings.Count(text, "--env-file, /run/secrets/kafka-guarded/credentials.env"))
	require.Contains(t, text, "secretName: kafka-guarded")
	require.Contains(t, read(t, "../deploy/kubernetes/secret.yaml"), "credentials.env: |\n    KAFKA_USER=")
}

// The table of alerts.md has each alert with its severity.
func TestTableOfAlerts(t *testing.T) {
	t.Parallel()
	rule := regexp.MustCompile(`- alert: KafkaGuarded(\w+)\n(?:  .*\n)*?        labels: \{ severity: (\w+) \}`)
	var want, got []string
	for _, m := range rule.FindAllStringSubmatch(read(t, "../deploy/prometheus/alerts.yaml"), -1) {
		want = append(want, m[1]+" "+m[2])
	}
	for _, m := range regexp.MustCompile(`(?m)^\| \[(\w+)\]\(#\w+\) \| (\w+) \|`).FindAllStringSubmatch(read(t, "alerts.md"), -1) {
		got = append(got, m[1]+" "+m[2])
	}
	require.Greater(t, len(want), 10)
	require.Equal(t, want, got)
}
