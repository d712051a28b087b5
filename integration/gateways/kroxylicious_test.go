//go:build linux || darwin

package gateways

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

//go:embed pom.xml
var pom []byte

//go:embed kroxylicious.groovy
var script []byte

// Filters of Kroxylicious, as in its config.
const (
	// validation accepts a record whose value is JSON.
	validation = `
  - name: filter
    type: RecordValidation
    config:
      rules: []
      defaultRule:
        valueRule:
          allowNulls: true
          syntacticallyCorrectJson: {validateObjectKeysUnique: false}
`
	// encryption encrypts the value of each record, with a key that it keeps in memory.
	encryption = `
  - name: filter
    type: RecordEncryption
    config:
      kms: UnitTestingKmsService
      kmsConfig:
        numIvBytes: 12
        numAuthBits: 128
        existingKeks:
          - {uuid: 6d1b2f1c-9a0e-4a55-8f6f-0d6c5f0c1a2b, key: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=, algorithm: AES, alias: key-t}
      selector: TemplateKekSelector
      selectorConfig: {template: "key-$(topicName)"}
`
	// multitenancy puts a prefix before the name of each topic.
	multitenancy = `
  - name: filter
    type: MultiTenant
    config: {}
`
)

// gateway is a Kroxylicious in front of a cluster of one node.
type gateway struct {
	*kafkatest.Program
	t     *testing.T
	cmd   func() *exec.Cmd
	port  int
	seeds []string
}

// kroxylicious starts a gateway with a filter.
func kroxylicious(t *testing.T, c *kafkatest.Cluster, filter string) *gateway {
	t.Helper()
	jars, dir := kafkatest.Jars(t, "kroxylicious", pom), t.TempDir()
	port, err := freeport.Row(2)
	require.NoError(t, err)
	g := &gateway{t: t, port: port}
	g.seeds = []string{fmt.Sprintf("127.0.0.1:%d", g.port)}
	config := fmt.Sprintf(`
virtualClusters:
  - name: gateway
    targetCluster: {bootstrapServers: %q}
    gateways:
      - name: all
        portIdentifiesNode:
          bootstrapAddress: 127.0.0.1:%d
          nodeStartPort: %d
          nodeIdRanges: [{name: all, start: 1, end: 1}]
filterDefinitions:%sdefaultFilters: [filter]
`, c.Brokers()[0], g.port, g.port+1, filter)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kroxylicious.groovy"), script, 0o600))
	g.cmd = func() *exec.Cmd {
		return exec.Command("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
			"-cp", filepath.Join(jars, "*"), "groovy.ui.GroovyMain", filepath.Join(dir, "kroxylicious.groovy"), filepath.Join(dir, "config.yaml"))
	}
	g.start()
	return g
}

func (g *gateway) start() {
	g.t.Helper()
	g.Program = kafkatest.Run(g.t, g.cmd())
	g.WaitPort(g.port)
}

func (g *gateway) opts() []kgo.Opt { return []kgo.Opt{kgo.SeedBrokers(g.seeds...)} }
