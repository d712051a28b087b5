//go:build linux || darwin

package access

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

//go:embed tools.xml
var toolsPOM []byte

// The kafka-acls.sh commands of docs/rights.md give alice the rights that she needs.
// Before them her messages wait for the right to write. After them a record over the
// topic's limit fails by the limit that she may read.
func TestCommandsOfTheDocsGrantTheRights(t *testing.T) {
	c := onkafka.Secured(t)
	jars := kafkatest.Jars(t, "tools", toolsPOM)
	text, err := os.ReadFile("../../docs/rights.md")
	require.NoError(t, err)
	c.CreateTopic("orders", 1, 1, map[string]string{"max.message.bytes": "20000"})
	l := onkafka.NewChecker(t, "access/commands of docs/rights.md")
	l.Ordered = true
	s := onkafka.Start(l, onkafka.As(t, c, kafkatest.Plain, onkafka.Alice, onkafka.AlicePassword), onkafka.Batches(
		onkafka.Around("orders", "a", 10, onkafka.Good("orders", "large").Padded(30_000, onkafka.Noise).Bad(onkafka.SizeExceeded))))
	s.Held(onkafka.Unauthorized, 1)
	ran := 0
	for line := range strings.Lines(string(text)) {
		args, ok := strings.CutPrefix(line, "kafka-acls.sh ")
		if !ok {
			continue
		}
		args, _, _ = strings.Cut(args, " #")
		args = strings.NewReplacer("localhost:9092", c.SuperUserAddr(1), "User:orders-writer", "User:"+onkafka.Alice).Replace(args)
		out, err := exec.Command("java", append([]string{"-cp", filepath.Join(jars, "*"), "org.apache.kafka.tools.AclCommand"}, strings.Fields(args)...)...).CombinedOutput()
		require.NoError(t, err, "%s\n%s", line, out)
		ran++
	}
	require.Equal(t, 3, ran)
	s.Wait()
	l.CheckTopics(c, "orders")
}
