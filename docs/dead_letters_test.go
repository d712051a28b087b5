package docs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// The commands of dead-letters.md and redrive.md run in their order, and what they
// print is what the pages show.
func TestNightOfDeadLetters(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds the program: run it without -short")
	}
	texts := documents(t)
	page := blocks(texts["dead-letters.md"] + texts["redrive.md"])
	dir := t.TempDir()
	program := filepath.Join(dir, "kafka-guarded")
	out, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput()
	require.NoError(t, err, string(out))
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("orders-eu", 3, "max.message.bytes=2000")
	c.Topic("customers", 3, "cleanup.policy=compact")
	c.Topic("dead-letters", 3)

	config := read(t, "dead-letters.yaml")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dead-letters.yaml"), []byte(config), 0o600))
	require.Contains(t, regexp.MustCompile(`(?m)^    `).ReplaceAllString(config, ""), page[0].text, "the page shows a part of the config")

	last, commands := "", 0
	for _, b := range page {
		switch b.language {
		case "bloblang":
			require.NoError(t, os.WriteFile(filepath.Join(dir, "repair.blobl"), []byte(b.text), 0o600))
		case "sh":
			last = ""
			for line := range strings.Lines(b.text) {
				command, comment, _ := strings.Cut(strings.TrimSpace(line), " #")
				if strings.HasPrefix(command, "kafka-configs.sh") {
					c.Set("orders-eu", "max.message.bytes", "10000")
					continue
				}
				// The shell takes the quotes away.
				cmd := exec.Command("sh", "-c", strings.Replace(command, "kafka-guarded", `"$PROGRAM"`, 1))
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "PROGRAM="+program, "KAFKA_BROKERS="+c.ListenAddrs()[0])
				out, err := cmd.CombinedOutput()
				if strings.Contains(comment, "exits with 2") {
					var exit *exec.ExitError
					require.True(t, errors.As(err, &exit) && exit.ExitCode() == 2, "%s: %v\n%s", command, err, out)
				} else {
					require.NoError(t, err, "%s\n%s", command, out)
				}
				commands++
				last += string(out)
			}
		case "text":
			for line := range strings.Lines(b.text) {
				line = steady(strings.TrimSuffix(strings.TrimSpace(line), "..."))
				require.Contains(t, steady(last), line, "the page shows what the command does not print: %s\n%s", line, last[:min(len(last), 3000)])
			}
		}
	}
	require.Equal(t, 11, commands)
	require.FileExists(t, filepath.Join(dir, "report.html"))
	log, err := c.Read(t.Context(), "orders-eu")
	require.NoError(t, err)
	customers, err := c.Read(t.Context(), "customers")
	require.NoError(t, err)
	require.Equal(t, 20_000, len(log)+len(customers), "each message is there once")
}

// steady is a text without what differs from run to run.
func steady(text string) string {
	text = regexp.MustCompile(`\d\d:\d\d:\d\d`).ReplaceAllString(text, "TIME")
	text = regexp.MustCompile(`[\d.]+ [KM]iB`).ReplaceAllString(text, "SIZE")
	text = regexp.MustCompile(`[\d,]+ to [\d,]+ bytes`).ReplaceAllString(text, "SIZES")
	return regexp.MustCompile(`[ \t]+`).ReplaceAllString(text, " ")
}
