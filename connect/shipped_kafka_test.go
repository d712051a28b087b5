//go:build linux || darwin

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// shippedTopics are the default topics of the shipped configs, with the configs that
// these topics need. A dead-letter topic needs a larger limit than the topic whose dead
// letters it gets.
var shippedTopics = map[string]map[string]string{
	"orders": nil, "orders-eu": nil, "orders-us": nil, "orders-copy": nil,
	"orders-dead-letters": {"max.message.bytes": "8388608"},
	"orders-parked":       {"max.message.bytes": "8388608"},
}

// shippedConfigs returns the paths of all configs that we ship with a kafka_guarded output.
func shippedConfigs(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"config/*.yaml", "../config/*.yaml", "../deploy/*.yaml", "../deploy/*/*.yaml", "../examples/*/config/*.yaml"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, path := range found {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			if strings.Contains(string(text), "kafka_guarded:\n") && strings.Contains(string(text), "\noutput:\n") {
				paths = append(paths, path)
			}
		}
	}
	require.Len(t, paths, 9, "%v", paths)
	return paths
}

var (
	seedLine = regexp.MustCompile(`(?m)^( *)seed_brokers: .*$`)
	tlsLine  = regexp.MustCompile(`(?m)^( *)tls: .*$`)
)

// withSASL adds credentials to each list of brokers in a config, and the certificate of
// the authority.
func withSASL(config, caFile string) string {
	tls := "${1}tls: { enabled: true, root_cas_file: '" + caFile + "' }"
	if strings.Contains(config, "sasl:") {
		return tlsLine.ReplaceAllString(config, tls)
	}
	return seedLine.ReplaceAllString(config, "$0\n"+tls+"\n"+`${1}sasl: [ { mechanism: SCRAM-SHA-512, username: "$${KAFKA_USER}", password: "$${KAFKA_PASSWORD}" } ]`)
}

// Every shipped config passes the check on a real cluster, as it is and with only
// credentials added.
func TestEveryShippedConfigPassesTheCheck(t *testing.T) {
	plain := kafka(t)
	const user, password = "carol", "carol-81c3aa"
	secured := kafkatest.Shared(t, kafkatest.Options{
		SASL: []string{kafkatest.ScramSHA512}, Users: map[string]string{user: password}, TLS: true, ACLs: true,
	})
	for topic, properties := range shippedTopics {
		plain.CreateTopic(topic, 3, 1, properties)
		secured.CreateTopic(topic, 3, 1, properties)
		secured.Grant("User:"+user, kadm.OpWrite, kafkatest.TopicResource(topic))
		secured.Grant("User:"+user, kadm.OpDescribeConfigs, kafkatest.TopicResource(topic))
	}
	example := filepath.Join(t.TempDir(), "custom-binary")
	build := exec.Command("go", "build", "-o", example, ".")
	build.Dir = "../examples/custom-binary"
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, secured.Certs().CA, 0o600))

	for _, path := range shippedConfigs(t) {
		shipped, err := os.ReadFile(path)
		require.NoError(t, err)
		for name, on := range map[string]struct {
			c      *kafkatest.Cluster
			config string
		}{
			"plain": {plain, string(shipped)},
			"sasl":  {secured, withSASL(string(shipped), caFile)},
		} {
			if name == "plain" && strings.Contains(on.config, "sasl:") {
				continue // it is for clusters with credentials only
			}
			t.Run(path+" "+name, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "config.yaml")
				require.NoError(t, os.WriteFile(file, []byte(on.config), 0o600))
				env := []string{
					"KAFKA_BROKERS=" + strings.Join(on.c.Brokers(), ","), "KAFKA_USER=" + user, "KAFKA_PASSWORD=" + password,
					"SOURCE_TOPIC=orders", "TARGET_TOPIC=orders-copy", "DEAD_LETTER_TOPIC=orders-dead-letters", "CONSUMER_GROUP=copy",
				}
				cmd := program(env, "check", "--topic", "orders-eu", "--topic", "orders-us", file)
				if strings.Contains(path, "custom-binary") { // it sets its own mechanism
					cmd = exec.Command(example, cmd.Args[1:]...)
					cmd.Env = append(os.Environ(), env...)
				}
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, string(out))
				require.NotContains(t, string(out), "fail  ")
				require.Contains(t, string(out), "ok    topic ")
			})
		}
	}
}
