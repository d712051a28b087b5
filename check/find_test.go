package check

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

func TestCheckLooksAtTheTopicsThatItIsGiven(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("here", 1)
	out, err := runWith(t, Options{Configs: []File{{"a.yaml", configYAML(c, "topic: '${! @topic }'", "allow_auto_topic_creation: false")}}, Topics: []string{"here", "gone"}})
	require.ErrorIs(t, err, errFailing)
	require.Contains(t, out, "  ok    topic here: it exists")
	require.Contains(t, out, "  fail  topic gone: it does not exist")
}

func TestCheckNamesTheFileOfEachFinding(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	out, err := runWith(t, Options{Configs: []File{{"a.yaml", configYAML(c, "topic: t")}, {"b.yaml", configYAML(c, "topic: t")}}})
	require.NoError(t, err)
	require.Contains(t, out, "a.yaml: output\n")
	require.Contains(t, out, "b.yaml: output\n")
}

func TestQuickCheckAsksForNoMoreThanAnAnswer(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	config := configYAML(c, "topic: gone", "allow_auto_topic_creation: false")
	out, err := runWith(t, Options{Configs: []File{{"a.yaml", config}}, Quick: true})
	require.NoError(t, err)
	require.Equal(t, "a.yaml: output\n  ok    seed broker "+c.ListenAddrs()[0]+": it answers\n  ok    credentials: none are configured, and the brokers ask for none\n1 output: 2 ok, 0 fail\n", out)
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = deaf.Close() })
	out, err = runWith(t, Options{Configs: []File{{"a.yaml", strings.ReplaceAll(config, c.ListenAddrs()[0], deaf.Addr().String())}}, Quick: true})
	require.ErrorIs(t, err, errFailing)
	require.Contains(t, out, "it does not answer within 2.5s")
}

func TestCheckSetsFields(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("there", 1)
	config := File{"a.yaml", "output: { kafka_guarded: { seed_brokers: [ 'a:1' ], dead_letter: { drop: {} } } }"}
	set := []string{"output.kafka_guarded.topic=there", "output.kafka_guarded.seed_brokers.0=" + c.ListenAddrs()[0], "output.kafka_guarded.max_in_flight=3", "input.generate.count=5"}
	out, err := runWith(t, Options{Configs: []File{config}, Set: set})
	require.NoError(t, err)
	require.Contains(t, out, "  ok    topic there: it exists")
	for wrong, want := range map[string]string{
		"output.kafka_guarded.acks=leader":     "idempotent_write requires acks",
		"output.kafka_guarded.topik=t":         "topik",
		"output.kafka_guarded":                 "it takes the form path=value",
		"output.kafka_guarded.seed_brokers.7=": "the list has no item 7",
	} {
		_, err := runWith(t, Options{Configs: []File{config}, Set: append(set, wrong)})
		require.ErrorContains(t, err, want, wrong)
	}
}

func TestCheckSaysWhatBecomesOfFailures(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("orders", 1, "max.message.bytes=5000")
	c.Topic("letters", 1, "max.message.bytes=5000")
	guarded := func(fields ...string) string { return outputYAML(c, fields...) }
	const sameSize = "size: the dead-letter topic letters takes no larger messages (5000 bytes) than topic orders (5000)"
	for _, test := range []struct{ name, config, want string }{
		{"nothing takes them", configYAML(c, "topic: orders"), "warn  config: Nothing takes the messages that fail for good"},
		{"a fallback to another topic", "output: { fallback: [ { " + guarded("topic: orders") + " }, { " + guarded("topic: letters") + " } ] }", "warn  " + sameSize},
		{"a fallback to a resource", "output: { fallback: [ { " + guarded("topic: orders") + " }, { resource: dlq } ] }\noutput_resources: [ { label: dlq, " + guarded("topic: letters") + " } ]", "warn  " + sameSize},
		{"a fallback of resources", "output: { fallback: [ { resource: main }, { resource: dlq } ] }\noutput_resources: [ { label: main, " + guarded("topic: orders") + " }, { label: dlq, " + guarded("topic: letters") + " } ]", "warn  " + sameSize},
		{"a dead_letter that is a resource", configYAML(c, "topic: orders", "dead_letter: { resource: dlq }") + "\noutput_resources: [ { label: dlq, " + guarded("topic: letters") + " } ]", "warn  " + sameSize},
		{"processors in a fallback", "output: { fallback: [ { " + guarded("topic: orders") + ", processors: [ { mapping: 'root = if this.a { deleted() }' } ] }, { drop: {} } ] }", "warn  config: When a message fails, the fallback around this output may get its whole batch, also the delivered messages: the processor mapping on an output may drop or multiply messages"},
		{"the same partition", configYAML(c, "topic: orders", "partitioner: manual", "partition: '${! @p }'", "dead_letter: { "+guarded("topic: letters", "partitioner: manual", "partition: '${! @p }'", "max_message_bytes: 1MiB")+" }"), "fail  partition: it is ${! @p } here as in the output whose dead letters these are: a message that is unroutable there for it is so here"},
		{"the same timestamp", configYAML(c, "topic: orders", "timestamp_ms: '${! @ts }'", "dead_letter: { "+guarded("topic: letters", "timestamp_ms: '${! @ts }'")+" }"), "fail  timestamp_ms: it is ${! @ts } here"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, _ := run(t, test.config)
			require.Contains(t, out, test.want)
		})
	}
}

// The environment is that of the process, so that this is not parallel.
func TestCommandTakesWhatRunTakes(t *testing.T) {
	c := kafkafake.New(t)
	c.Topic("orders", 1)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for _, name := range []string{"CHECK_TEST_BROKERS", "CHECK_TEST_TOPIC", "CHECK_TEST_EMPTY"} {
		t.Setenv(name, "")
	}
	env := write("a.env", "# brokers\nCHECK_TEST_BROKERS = "+c.ListenAddrs()[0]+" # where\n\nCHECK_TEST_TOPIC=\"orders\"\n")
	config := write("config.yaml", "output: { kafka_guarded: { seed_brokers: [ '${CHECK_TEST_BROKERS}' ], topic: '${CHECK_TEST_TOPIC}', client_id: 'x${CHECK_TEST_EMPTY}', dead_letter: { my_drop: {} } } }")
	template := write("template.yaml", "name: my_drop\ntype: output\nfields: []\nmapping: 'root.drop = {}'\n")
	var out strings.Builder
	command := func(args ...string) error {
		app := &cli.App{Writer: &out, ErrWriter: io.Discard, Commands: []*cli.Command{Command()}, ExitErrHandler: func(*cli.Context, error) {}}
		return app.RunContext(t.Context(), append([]string{"kafka-guarded", "check"}, args...))
	}
	require.ErrorContains(t, command(config), "my_drop", "the template is not there")
	require.NoError(t, command("-e", env, "-t", template, config), out.String())
	require.Contains(t, out.String(), "  ok    topic orders: it exists")
	require.Contains(t, out.String(), "warn  "+config+": the environment variable CHECK_TEST_EMPTY is empty")
	require.NotContains(t, out.String(), "templates are not expanded")
	kafka := write("kafka.yaml", "name: my_kafka\ntype: output\nfields: []\nmapping: 'root.kafka_guarded = {\"seed_brokers\": [], \"topic\": \"a b\"}'\n")
	require.NoError(t, command("-e", env, "-t", kafka, config))
	require.Contains(t, out.String(), "warn  "+kafka+": its kafka_guarded outputs are not looked at, since templates are not expanded here")
	require.ErrorContains(t, command("-e", write("b.env", "SECRET"), config), "reading line 1 of")
}
