package deadletters

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A stream archives its dead letters, and redrive sends those that are repaired.
func TestArchivesOfAStreamAreSentAgain(t *testing.T) {
	t.Parallel()
	for name, processors := range map[string]string{
		"lines":        "[ archive: { format: lines } ]",
		"lines.gz":     "[ archive: { format: lines }, compress: { algorithm: gzip } ]",
		"tar":          "[ archive: { format: tar, path: '${! uuid_v4() }.json' } ]",
		"tar.gz":       "[ archive: { format: tar, path: '${! uuid_v4() }.json' }, compress: { algorithm: gzip } ]",
		"zip":          "[ archive: { format: zip, path: '${! uuid_v4() }.json' } ]",
		"array":        "[ archive: { format: json_array } ]",
		"lines in tar": "[ archive: { format: lines }, archive: { format: tar, path: letters } ]",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("orders", 1, "max.message.bytes=1000")
			dir := t.TempDir()
			builder := service.NewStreamBuilder()
			require.NoError(t, builder.SetYAML(fmt.Sprintf(`
input:
  generate:
    count: 60
    batch_size: 20
    interval: ""
    mapping: |
      meta id = counter()
      meta null = @id %% 10 == 3
      root = if @null { "" } else if @id %% 2 == 1 { "\n\u0000 \"" + "x".repeat(2000) } else { "small" }
      root = if @id %% 20 == 7 { content() + "\xff\xfe".bytes() } else { root }
output:
  kafka_guarded:
    seed_brokers: [ %s ]
    topic: ${! if @null { "a topic" } else { "orders" } }
    key: ${! @id }
    tombstone: '@null'
    compression: none
    dead_letter:
      file:
        path: %s/${! uuid_v4() }
        codec: all-bytes
      processors: %s
    dead_letter_format: envelope
logger: { level: OFF }
`, c.ListenAddrs()[0], dir, strings.ReplaceAll(processors, "\n", " "))))
			stream, err := builder.Build()
			require.NoError(t, err)
			require.NoError(t, stream.Run(t.Context()))
			files, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, files, 3, "an archive for each batch")

			out := runCommand(t, dir).fine(t).out
			require.Contains(t, out, ": 30 dead letters, ")
			require.Regexp(t, `(?m)^24 .*size_exceeded +orders `, out)
			require.Regexp(t, `(?m)^6 .*unroutable +a topic `, out)
			require.Equal(t, 30, strings.Count(runCommand(t, "show", "--offsets", "--limit=0", dir).fine(t).out, "\n"))

			c.Set("orders", "max.message.bytes", "10000")
			fix := file(t, "fix.blobl", `meta kafka_guarded_topic = "orders"`)
			requireAccount(t, runCommand(t, "redrive", brokers(c), "--class=size_exceeded", dir).fine(t), 24, 24, 0, 0)
			requireAccount(t, runCommand(t, "redrive", brokers(c), "--mapping", fix, dir).fine(t), 6, 6, 0, 0)
			requireAccount(t, runCommand(t, "redrive", brokers(c), dir).fine(t), 0, 0, 0, 0)
			values := map[string][]byte{}
			for _, r := range records(t, c, "orders") {
				values[string(r.Key)] = r.Value
			}
			require.Len(t, values, 60)
			for i := range 60 {
				key := fmt.Sprint(i + 1)
				switch {
				case (i+1)%10 == 3:
					require.Nil(t, values[key])
				case (i+1)%2 == 1:
					require.True(t, bytes.HasPrefix(values[key], []byte("\n\x00 \"xxx")), "the value of %s", key)
					require.GreaterOrEqual(t, len(values[key]), 2004)
				default:
					require.Equal(t, "small", string(values[key]))
				}
			}
		})
	}
}

func tarOf(t *testing.T, entries ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, content := range entries {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Mode: 0o600, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.String()
}

func zipOf(t *testing.T, entries ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, content := range entries {
		entry, err := w.Create(fmt.Sprint(i))
		require.NoError(t, err)
		_, err = entry.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.String()
}

func gzipOf(t *testing.T, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(content))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

func TestArchivesAreReadAsAWhole(t *testing.T) {
	t.Parallel()
	line := func(i int) string { return packedLine(t, tooLarge("orders", i)) }
	large, err := pack([]kgo.RecordHeader{header(metaTopic, "orders")}, bytes.Repeat([]byte("0123456789"), 200_000))
	require.NoError(t, err)
	for _, test := range []struct {
		name, content string
		want          []string // the topics of the letters
	}{
		{"several tars in a file", tarOf(t, line(1), line(2)) + tarOf(t, line(3)) + "\n" + tarOf(t, line(4)) + "\n", []string{"orders", "orders", "orders", "orders"}},
		{"a long letter", tarOf(t, string(large), line(1)), []string{"orders", "orders"}},
		{"a long letter in a zip", zipOf(t, line(1)+"\n"+string(large)+"\r\n"), []string{"orders", "orders"}},
		{"messages without metadata", zipOf(t, "two\nlines\n", "", line(1)), []string{"", "", "orders"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "archive")
			require.NoError(t, os.WriteFile(path, []byte(test.content), 0o600))
			s, err := openFiles(path)
			require.NoError(t, err)
			var topics []string
			require.NoError(t, s.read(t.Context(), nil, func(l *Letter) error {
				topics = append(topics, string(l.topic))
				require.EqualValues(t, len(topics), l.at.offset)
				return nil
			}, func(int64) {}))
			require.Equal(t, test.want, topics)
			// From a place on.
			n := 0
			require.NoError(t, s.read(t.Context(), map[string]int64{path: 2}, func(*Letter) error { n++; return nil }, func(int64) {}))
			require.Equal(t, max(0, len(test.want)-1), n)
		})
	}
}

func TestArchivesThatAreNotWholeAreErrors(t *testing.T) {
	t.Parallel()
	letter := packedLine(t, tooLarge("orders", 1))
	for _, test := range []struct{ name, content, want string }{
		{"a part of a tar", tarOf(t, letter, letter)[:1600], "its entry 1: unexpected EOF: it is still being written"},
		{"a part of a zip", zipOf(t, letter)[:200], "reading its directory: zip: not a valid zip file"},
		{"two zips", zipOf(t, letter) + zipOf(t, letter, letter), "it is more than one zip"},
		{"a zip in gzip", gzipOf(t, zipOf(t, letter)), "gunzip it first"},
		{"a part of a tar in gzip", gzipOf(t, tarOf(t, letter, letter))[:200], "this copy of it is not whole"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "letters")
			require.NoError(t, os.WriteFile(path, []byte(test.content), 0o600))
			r := runCommand(t, path)
			require.ErrorContains(t, r.failed, "reading "+path+": ")
			require.ErrorContains(t, r.failed, test.want)
		})
	}
}
