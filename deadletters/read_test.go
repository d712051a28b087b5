package deadletters

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

func TestFoldLeavesWhatLettersHaveInCommon(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, class, topic, want string }{
		{"size_exceeded: topic orders-2: 3145796 bytes exceed the topic's max.message.bytes (1048588)", "size_exceeded", "orders-2", "N bytes exceed the topic's max.message.bytes (M)"},
		{"unroutable: topic orders partition 99: no such partition: the topic has 6", "unroutable", "orders", "no such partition: the topic has N"},
		{"invalid_record: topic o: no key", "invalid_record", "o", "no key"},
		{"invalid_record: topic o: timestamp 2026-11-30T06:20:13Z is older than the topic's message.timestamp.before.max.ms (3600000) allows", "invalid_record", "o", "timestamp T is older than the topic's message.timestamp.before.max.ms (N) allows"},
		{"a codec of v2 took 15ms", "", "", "a codec of v2 took 15ms"},
		{"", "none", "", "no reason is given"},
	} {
		require.Equal(t, test.want, fold(test.text, test.class, test.topic))
	}
}

// topicWithLetters has 30 letters of two kinds, and one record that is none.
func topicWithLetters(t *testing.T) *kafkafake.Cluster {
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("dead", 3)
	var all []*kgo.Record
	for i := range 20 {
		all = append(all, tooLarge("orders", i))
	}
	for i := range 10 {
		all = append(all, noKey("customers", 20+i))
	}
	all = append(all, &kgo.Record{Key: []byte("who"), Value: []byte("am I"), Timestamp: failedAt.Add(time.Hour)})
	produce(t, c, "dead", all...)
	return c
}

func brokers(c *kafkafake.Cluster) string { return "--brokers=" + strings.Join(c.ListenAddrs(), ",") }

func TestSummaryOfATopic(t *testing.T) {
	t.Parallel()
	c := topicWithLetters(t)
	out := runCommand(t, brokers(c), "dead").fine(t).out
	require.Contains(t, out, "topic dead: 31 dead letters, ")
	require.Regexp(t, `(?m)^20 +\S+ \S+ +size_exceeded +orders +.*02:00:00 .*02:00:19 +N bytes exceed the topic's max.message.bytes \(M\)$`, strings.ReplaceAll(out, "2026-11-30 ", ""))
	require.Regexp(t, `(?m)^10 .*invalid_record +customers .*no key, and the topic is compacted \(cleanup.policy\)$`, out)
	require.Regexp(t, `(?m)^1 .*none +- .*no reason is given$`, out)
	require.Contains(t, out, "limit 1,048,588 bytes: 20 letters have from 2,000,000 to 2,000,019 bytes: 20 up to 2 times the limit")
}

func TestSummaryAsJSON(t *testing.T) {
	t.Parallel()
	c := topicWithLetters(t)
	var s struct {
		Letters, Read int64
		Groups        []struct {
			Class, Topic, Reason string
			Count                int64
		}
		Timeline []struct{ Count int64 }
	}
	require.NoError(t, json.Unmarshal([]byte(runCommand(t, "summary", "--json", brokers(c), "--class", "size_exceeded", "--class", "invalid_record", "dead").fine(t).out), &s))
	require.EqualValues(t, 30, s.Letters)
	require.EqualValues(t, 31, s.Read)
	require.Len(t, s.Groups, 2)
	require.EqualValues(t, 20, s.Groups[0].Count)
	columns := int64(0)
	for _, c := range s.Timeline {
		columns += c.Count
	}
	require.EqualValues(t, 30, columns)
}

func TestFiltersChoose(t *testing.T) {
	t.Parallel()
	c := topicWithLetters(t)
	for _, test := range []struct {
		name string
		args []string
		want int
	}{
		{"all", nil, 31},
		{"class", []string{"--class=size_exceeded"}, 20},
		{"no dead letter", []string{"--class=none"}, 1},
		{"topic", []string{"--topic=customers"}, 10},
		{"reason as folded", []string{"--reason=N bytes exceed"}, 20},
		{"reason as it is", []string{"--reason=2000007 bytes"}, 1},
		{"since", []string{"--since=2026-11-30T02:00:15Z", "--class=size_exceeded"}, 5},
		{"until", []string{"--until=2026-11-30T02:00:15Z", "--class=size_exceeded"}, 15},
		{"where on content", []string{"--where=this.id == 7"}, 1},
		{"where on metadata", []string{"--where=@kafka_guarded_topic == \"orders\" && @trace == \"t-3\""}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, append(append([]string{"show", "--offsets", "--limit=0", brokers(c)}, test.args...), "dead")...).fine(t)
			require.Equal(t, test.want, strings.Count(r.out, "\n"), r.out)
			require.Regexp(t, `^dead/\d:\d+\n`, r.out)
		})
	}
}

func TestWhereThatFailsForALetterIsSaid(t *testing.T) {
	t.Parallel()
	c := topicWithLetters(t)
	r := runCommand(t, "summary", brokers(c), "--where", "this.id < 5", "dead").fine(t)
	require.Contains(t, r.err, "gives no boolean, for 1 letters") // "am I" is no JSON
	require.Contains(t, r.out, "5 dead letters of 31 (--where 'this.id < 5')")
}

func TestShowHasHeadersAndPayload(t *testing.T) {
	t.Parallel()
	c := topicWithLetters(t)
	r := runCommand(t, "show", brokers(c), "--where", "this.id == 7", "dead").fine(t)
	for _, want := range []string{"size_exceeded", "topic      orders", "key        customer-7", "headers    trace: t-7", `"customer": "secret-7"`, "2000007 bytes exceed"} {
		require.Contains(t, r.out, want)
	}
	r = runCommand(t, "show", brokers(c), "--limit", "3", "dead").fine(t)
	require.Equal(t, 3, strings.Count(r.out, "== "))
	require.Contains(t, r.err, "there are more (--limit 3)")
}

// The JSON of show is a file of the same letters.
// What a message has in it must not move the cursor of a terminal, or look like another
// letter.
func TestControlCharactersAreShown(t *testing.T) {
	t.Parallel()
	meta := []kgo.RecordHeader{
		header(metaClass, "size_exceeded"), header(metaTopic, "t\x1b[2J"), header(metaKey, "k\n== other:1"), header(metaError, "a\tb\x1b[31m\u009b31m"),
		header("h\x07", "v\r\nw"),
	}
	path := filepath.Join(t.TempDir(), "l.jsonl")
	var lines []byte
	for _, body := range []string{"one\r\ntwo\tthree\x1b[1A\rfour\n", "{\"a\":\"é\x7f\"}"} {
		line, err := pack(meta, []byte(body))
		require.NoError(t, err)
		lines = append(append(lines, line...), '\n')
	}
	require.NoError(t, os.WriteFile(path, lines, 0o600))
	shown := runCommand(t, "show", path).fine(t).out
	for _, want := range []string{`t\x1b[2J`, `k\n== other:1`, "a\tb" + `\x1b[31m\x9b31m`, `h\x07: v\r\nw`, "one\r\ntwo\tthree" + `\x1b[1A\x0dfour` + "\n", `"a": "é\x7f"`} {
		require.Contains(t, shown, want)
	}
	summed := runCommand(t, path).fine(t).out
	require.Contains(t, summed, `t\x1b[2J`)
	require.Contains(t, summed, `a\tb\x1b[`)
	for _, out := range []string{shown, summed} {
		require.NotContains(t, out, "\x1b")
		require.NotContains(t, out, "\n== other")
	}
	require.Contains(t, runCommand(t, "show", "--json", path).fine(t).out, `\u001b[1A`, "JSON is exact")
}

func TestShownAsJSONCanBeRead(t *testing.T) {
	t.Parallel()
	c := topicWithLetters(t)
	path := file(t, "letters.jsonl", strings.TrimSuffix(runCommand(t, "show", "--json", "--limit=0", brokers(c), "dead").fine(t).out, "\n"))
	summary := func(args ...string) string {
		_, table, _ := strings.Cut(runCommand(t, args...).fine(t).out, "COUNT")
		return table
	}
	require.Equal(t, summary(brokers(c), "--class=size_exceeded", "dead"), summary("--class=size_exceeded", path))
}

func TestFilesOfEveryKindAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	line := func(i int) string { return packedLine(t, tooLarge("orders", i)) }
	write("a.jsonl", line(1)+"\n"+line(2)) // without an end of line
	write("array.json", "["+line(3)+",\n "+line(4)+"]\n["+line(5)+"]")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	fmt.Fprintln(z, line(6))
	require.NoError(t, z.Close())
	write("b.jsonl.gz", zipped.String())
	write("marked.jsonl", bom+line(11)+"\r\n"+line(12)+"\r\n")
	write("marked.json", bom+"["+line(13)+"]")
	write("plain.txt", "just a line\r\n\n{\"of\":\"JSON\"}\n")
	write("recipe.jsonl", `{"error":"size_exceeded: topic orders: 7 bytes exceed the topic's max.message.bytes (5)","failed_at":"2026-11-30T02:00:07Z","key":"k","message":"{}","topic":"orders"}`+"\n")
	write("torn.jsonl", line(8)+"\n"+line(9)[:40])
	write(".hidden", line(10))
	write("a.jsonl"+sidecar, "{}")
	out := runCommand(t, dir).fine(t).out
	require.Contains(t, out, ": 13 dead letters, ")
	require.Regexp(t, `(?m)^11 .*size_exceeded +orders`, out)
	require.Regexp(t, `(?m)^2 .*none +- `, out)
	r := runCommand(t, "show", "--class=none", "--offsets", dir).fine(t)
	require.Equal(t, filepath.Join(dir, "plain.txt")+":1\n"+filepath.Join(dir, "plain.txt")+":2\n", r.out)
}

// A summary that can't be written is an error: its reader may be a script.
func TestASummaryThatIsNotWritten(t *testing.T) {
	t.Parallel()
	path := file(t, "a.jsonl", packedLine(t, tooLarge("orders", 1)))
	for _, args := range [][]string{{path}, {"--json", path}, {"show", path}} {
		command := Command()
		withoutHelp(command)
		app := &cli.App{Name: "kafka-guarded", HideHelp: true, HideVersion: true, Writer: full{}, ErrWriter: io.Discard, Commands: []*cli.Command{command}, ExitErrHandler: func(*cli.Context, error) {}}
		require.ErrorIs(t, app.RunContext(t.Context(), append([]string{"kafka-guarded", "dead-letters"}, args...)), errFull, args)
	}
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// A line may have any length, and content that is no text is unchanged.
func TestLettersOfAFileAreExact(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte("0123456789"), 200_000)
	binary := []byte{0, 0xff, 0xfe, '\n', '"'}
	for name, body := range map[string][]byte{"large": large, "binary": binary, "empty": {}, "null": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			meta := []kgo.RecordHeader{{Key: metaTopic, Value: []byte("t")}, {Key: metaKey, Value: binary}, {Key: "h", Value: []byte("<é>")}}
			line, err := pack(meta, body)
			require.NoError(t, err)
			path := file(t, "l.jsonl", string(line))
			s, err := openFiles(path)
			require.NoError(t, err)
			n := 0
			require.NoError(t, s.read(t.Context(), nil, func(l *Letter) error {
				n++
				require.Equal(t, body, l.body)
				require.Equal(t, binary, l.key)
				require.ElementsMatch(t, meta, l.meta)
				return nil
			}, func(int64) {}))
			require.Equal(t, 1, n)
		})
	}
}

func TestMistakesAreSaid(t *testing.T) {
	t.Parallel()
	c := topicWithLetters(t)
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "dead-letters takes a topic, a file or a folder"},
		{"no brokers", []string{"dead"}, "dead is no file here, so it is taken for a topic: where is Kafka?"},
		{"no such topic", []string{brokers(c), "deda"}, "opening topic deda: UNKNOWN_TOPIC_OR_PARTITION"},
		{"no such file", []string{"letters.jsonl"}, "no such file"},
		{"no such class", []string{"--class=large", brokers(c), "dead"}, "--class large: there is no such class"},
		{"no time", []string{"--since=yesterday", brokers(c), "dead"}, "--since: it is \"yesterday\", it must be a time such as"},
		{"no mapping", []string{"--where=this.", brokers(c), "dead"}, "--where: it is no Bloblang mapping"},
		{"flags last", []string{"show", "dead", "--json"}, "--json: flags come before the topic or file"},
		{"no such field", []string{brokers(c), "--field=colour=red", "dead"}, "colour"},
		{"no such config", []string{"--config=missing.yaml"}, "missing.yaml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, test.args...)
			require.Error(t, r.failed)
			require.Contains(t, r.failed.Error(), test.want)
		})
	}
}

func TestTheConfigSaysWhereLettersAre(t *testing.T) {
	t.Parallel()
	c := topicWithLetters(t)
	path := file(t, "stream.yaml", `
input: { stdin: {} }
output:
  kafka_guarded:
    seed_brokers: [ "`+strings.Join(c.ListenAddrs(), ",")+`" ]
    topic: orders
    dead_letter:
      kafka_guarded:
        seed_brokers: [ "`+strings.Join(c.ListenAddrs(), ",")+`" ]
        topic: dead
        metadata: { include_prefixes: [ kafka_guarded_ ] }`)
	require.Contains(t, runCommand(t, "--config", path).fine(t).out, "topic dead: 31 dead letters")
}

func TestReportIsOnePageWithoutContent(t *testing.T) {
	t.Parallel()
	c := topicWithLetters(t)
	path := filepath.Join(t.TempDir(), "report.html")
	runCommand(t, "summary", "--html", path, brokers(c), "dead").fine(t)
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(page), "<b>31</b>messages failed for good")
	require.NotContains(t, string(page), "secret-")
	require.NotContains(t, string(page), "customer-1")
	require.NotRegexp(t, `(src|href)=|url\(|@import`, string(page), "it needs no other file")
	runCommand(t, "summary", "--unredacted", "--html", path, brokers(c), "dead").fine(t)
	page, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(page), "secret-")
}
