package output

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
	"github.com/kafka-guarded/kafka-guarded/internal/wrongconfigs"
)

// letterFile returns the envelopes in a file, one a line.
func letterFile(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var e map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		all = append(all, e)
	}
	return all
}

func TestAFileOfDeadLettersKeepsTheReason(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	path := filepath.Join(t.TempDir(), "letters", "letters.jsonl")
	o := c.output("topic: t", `key: '${! @k }'`, "null_key: '@k == null'", "tombstone: content() == \"null\"", "timestamp_ms: '${! @ts }'",
		"metadata: { include_patterns: [ '^h' ] }", "dead_letter: { file: { path: '"+path+"' } }")
	message := func(content, key string, meta ...string) *service.Message {
		m := service.NewMessage([]byte(content))
		m.MetaSetMut("ts", "1700000000000")
		if key != "" {
			m.MetaSetMut("k", key)
		}
		for i := 0; i < len(meta); i += 2 {
			m.MetaSetMut(meta[i], meta[i+1])
		}
		return m
	}
	huge := strings.Repeat("k", 30000)
	failed, err := failures(t, o, service.MessageBatch{
		message("fine", "k0"),
		message(big+"<1>\n", "k1", "h1", "é", "h2", "\xff", "other", "x", metaPartition, "77"),
		message("\xfe"+big, "k\xff"),
		message("null", huge),
		message(big, ""),
	})
	require.NoError(t, err)
	require.Empty(t, failed)
	require.Equal(t, once("fine"), c.Values("t"))

	letters := letterFile(t, path)
	require.Len(t, letters, 4)
	meta := func(i int) map[string]any { return letters[i]["metadata"].(map[string]any) }
	require.Equal(t, big+"<1>\n", letters[0]["body"])
	require.Equal(t, map[string]any{"h2": "/w=="}, letters[0]["metadata_base64"])
	require.Equal(t, "size_exceeded", meta(0)[metaClass])
	require.Contains(t, meta(0)[metaError], "size_exceeded: topic t partition 0: ")
	require.Equal(t, "t", meta(0)[metaTopic])
	require.Equal(t, "k1", meta(0)[metaKey])
	require.Equal(t, "1700000000000", meta(0)[metaTimestamp])
	require.Contains(t, []string{`["h1","h2"]`, `["h2","h1"]`}, meta(0)[metaHeaders], "metadata has no order")
	require.Equal(t, "é", meta(0)["h1"])
	require.Equal(t, "x", meta(0)["other"])
	require.Equal(t, "0", meta(0)[metaPartition], "not that of an earlier failure")
	require.NotContains(t, meta(0), metaNull)

	require.NotContains(t, letters[1], "body")
	body, err := json.Marshal([]byte("\xfe" + big))
	require.NoError(t, err)
	require.Equal(t, strings.Trim(string(body), `"`), letters[1]["body_base64"])
	require.Equal(t, map[string]any{metaKey: "a/8=", "k": "a/8="}, letters[1]["metadata_base64"])
	require.Equal(t, "[]", meta(1)[metaHeaders])

	require.Contains(t, letters[2], "body")
	require.Nil(t, letters[2]["body"])
	require.Equal(t, "true", meta(2)[metaNull])
	require.NotContains(t, meta(3), metaKey)
}

func TestTheFormatOfDeadLetters(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, format, child string
		want                letterFormat
	}{
		{"a file", "auto", "file: { path: letters.jsonl }", formatEnvelope},
		{"a file by the topic", "auto", "file: { path: '${! @kafka_guarded_topic }.jsonl' }", formatEnvelope},
		{"a file of lines", "auto", "file: { path: letters.jsonl, codec: lines }", formatEnvelope},
		{"a file by the content", "auto", "file: { path: '${! json(\"id\") }.jsonl' }", formatMessage},
		{"a file for each message", "auto", "file: { path: '${! uuid_v4() }', codec: all-bytes }", formatMessage},
		{"a file with processors", "auto", "{ file: { path: letters.jsonl }, processors: [ { mapping: root = this } ] }", formatMessage},
		{"another output", "auto", "capture: {}", formatMessage},
		{"another output, by choice", "envelope", "capture: {}", formatEnvelope},
		{"a file, by choice", "message", "file: { path: letters.jsonl }", formatMessage},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			child := strings.TrimPrefix(streamtest.Indent(test.child, 2), "\n")
			conf, err := Spec().ParseYAML(wrongconfigs.Whole("dead_letter_format: "+test.format+"\ndead_letter:\n"+child), nil)
			require.NoError(t, err)
			letters, err := conf.FieldAny(fieldDeadLetter)
			require.NoError(t, err)
			format := pick(newParser(conf), fieldDeadLetterFormat, formats)
			require.Equal(t, test.want, formatOf(format, letters))
		})
	}
}
