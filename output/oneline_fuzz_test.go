package output

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// FuzzDeadLetterIsOneLine writes messages with any topic, key and headers. Each dead
// letter in a file is one line of JSON. Each error is one line of printable characters.
func FuzzDeadLetterIsOneLine(f *testing.F) {
	for _, text := range []string{"", "t", "a\nb", "a\r\n{}", "\x1b[31m", "\u2028", "\xff\xfe", "\x00", `"`, "${! content() }", strings.Repeat("t", 300)} {
		f.Add(text, text, text)
	}
	c := newCluster(f)
	c.Topic("t", 1, limited)
	f.Fuzz(func(t *testing.T, topic, key, header string) {
		path := filepath.Join(t.TempDir(), "letters.jsonl")
		o := (&cluster{c.Cluster, t}).output("topic: '${! @topic }'", "key: '${! @key }'", "null_key: '@key == null'",
			"metadata: { include_patterns: [ '^h' ] }", "permanent: [ size_exceeded, invalid_record, unroutable, unknown_topic ]", "dead_letter: { file: { path: '"+path+"' } }")
		m := service.NewMessage([]byte(big))
		m.MetaSetMut("topic", topic)
		m.MetaSetMut("key", key)
		m.MetaSetMut("h"+header, header)
		failed, err := failures(t, o, service.MessageBatch{m})
		require.NoError(t, err)
		require.Empty(t, failed)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(text), "\n"), "%q", text)
		letters := letterFile(t, path)
		require.Len(t, letters, 1)
		reason := letters[0]["metadata"].(map[string]any)["kafka_guarded_error"].(string)
		require.NotContains(t, reason, "\n")
		require.NotContains(t, reason, "\r")
		require.NotContains(t, reason, "\x1b")
	})
}
