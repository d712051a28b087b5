package check

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/urfave/cli/v2"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

const secret = "open-sesame"

// secured is a cluster with a superuser, and a user with the given rights.
func secured(t *testing.T, rights ...kfake.ACL) *kafkafake.Cluster {
	t.Helper()
	return kafkafake.New(t, kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("SCRAM-SHA-256", "admin", secret),
		kfake.User("SCRAM-SHA-256", "writer", secret, rights...))
}

func right(resource kmsg.ACLResourceType, name string, op kmsg.ACLOperation) kfake.ACL {
	return kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
}

func topicRight(op kmsg.ACLOperation) kfake.ACL {
	return right(kmsg.ACLResourceTypeTopic, "orders", op)
}

func clusterRight(op kmsg.ACLOperation) kfake.ACL {
	return right(kmsg.ACLResourceTypeCluster, "kafka-cluster", op)
}

// tellRequestLimit makes the brokers report the largest request that they accept, which
// kfake does not do.
func tellRequestLimit(c *kafkafake.Cluster, limit string) {
	c.ControlKey(int16(kmsg.DescribeConfigs), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.DescribeConfigsRequest)
		if len(req.Resources) == 0 || req.Resources[0].ResourceType != kmsg.ConfigResourceTypeBroker {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, r := range req.Resources {
			config := kmsg.NewDescribeConfigsResponseResourceConfig()
			config.Name, config.Value = "socket.request.max.bytes", &limit
			resource := kmsg.NewDescribeConfigsResponseResource()
			resource.ResourceType, resource.ResourceName = r.ResourceType, r.ResourceName
			resource.Configs = append(resource.Configs, config)
			resp.Resources = append(resp.Resources, resource)
		}
		return resp, nil, true
	})
}

func outputYAML(c *kafkafake.Cluster, fields ...string) string {
	return "kafka_guarded: { seed_brokers: [ '" + strings.Join(c.ListenAddrs(), ",") + "' ], " + strings.Join(fields, ", ") + " }"
}

func configYAML(c *kafkafake.Cluster, fields ...string) string {
	return "output: { " + outputYAML(c, fields...) + " }"
}

func as(user, password string) string {
	return fmt.Sprintf("sasl: [ { mechanism: SCRAM-SHA-256, username: %s, password: %s } ]", user, password)
}

// run returns the output of check, without the secret.
func run(t *testing.T, config string, resources ...string) (string, error) {
	t.Helper()
	opts := Options{Configs: []File{{"config.yaml", config}}}
	for _, yaml := range resources {
		opts.Resources = append(opts.Resources, File{"resources.yaml", yaml})
	}
	return runWith(t, opts)
}

func runWith(t *testing.T, opts Options) (string, error) {
	t.Helper()
	var out strings.Builder
	err := Run(t.Context(), &out, opts)
	require.NotContains(t, out.String(), secret)
	if err != nil {
		require.NotContains(t, err.Error(), secret)
	}
	return out.String(), err
}

func TestCheckFindsNothingWrong(t *testing.T) {
	t.Parallel()
	c := secured(t, topicRight(kmsg.ACLOperationWrite), topicRight(kmsg.ACLOperationDescribeConfigs), clusterRight(kmsg.ACLOperationIdempotentWrite), clusterRight(kmsg.ACLOperationDescribeConfigs))
	require.NoError(t, c.CreateTopic("orders", 6, nil))
	tellRequestLimit(c, "104857600")
	out, err := run(t, configYAML(c, "topic: orders", as("writer", secret)))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf(`config.yaml: output
  ok    seed broker %s: it answers
  ok    credentials: accepted (SCRAM-SHA-256)
  ok    brokers: all answer, 1
  ok    topic orders: it exists, partitions: 6
  ok    right to write to topic orders: there
  ok    right to idempotent_write: there
  ok    right to DESCRIBE_CONFIGS of topic orders: there
  ok    size: topic orders takes batches, and so messages, of up to 1048588 bytes as sent (max.message.bytes)
  ok    size: the brokers take requests of broker_write_max_bytes (104857600)
  warn  config: Nothing takes the messages that fail for good: their whole batch comes again and again, so that its good messages are in the topic more than once. Set dead_letter, or put this output first in a fallback
1 output: 9 ok, 1 warn, 0 fail
`, c.ListenAddrs()[0]), out)
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	all := []kfake.ACL{topicRight(kmsg.ACLOperationWrite), topicRight(kmsg.ACLOperationDescribeConfigs), clusterRight(kmsg.ACLOperationIdempotentWrite)}
	for _, test := range []struct {
		name   string
		rights []kfake.ACL
		topic  map[string]string // nil for none
		fields []string
		want   string
		fails  bool
	}{
		{"no right to the topic", nil, map[string]string{}, nil, "fail  topic orders: no right to see it, and so none to write to it: grant WRITE", true},
		{"no right to write", []kfake.ACL{topicRight(kmsg.ACLOperationDescribe)}, map[string]string{}, nil, "fail  right to write to topic orders: missing: grant WRITE", true},
		{"no right to write idempotently", []kfake.ACL{topicRight(kmsg.ACLOperationDescribe)}, map[string]string{}, nil, "fail  right to idempotent_write: missing: grant IDEMPOTENT_WRITE", true},
		{"no right to describe configs", all[:1], map[string]string{}, nil, "warn  right to DESCRIBE_CONFIGS of topic orders: missing: grant DESCRIBE_CONFIGS", false},
		{"no right to the brokers' configs", all, map[string]string{}, nil, "?     size: broker_write_max_bytes (104857600) is not compared with the brokers' socket.request.max.bytes: to read that takes DESCRIBE_CONFIGS on the cluster\n", false},
		{"rules not wanted", all, map[string]string{}, []string{"topic_rules: { enabled: false }"}, "warn  right to DESCRIBE_CONFIGS of topic orders: there, but topic_rules.enabled is false", false},
		{"a missing topic", []kfake.ACL{topicRight(kmsg.ACLOperationWrite)}, nil, []string{"allow_auto_topic_creation: false"}, "fail  topic orders: it does not exist, and allow_auto_topic_creation is false: create it", true},
		{"a missing topic, perhaps created", []kfake.ACL{topicRight(kmsg.ACLOperationWrite)}, nil, nil, "warn  topic orders: it does not exist. Whether the brokers create it", false},
		{"a ceiling below the topic's", all, map[string]string{}, []string{"max_message_bytes: 1000"}, "warn  size: max_message_bytes (1000) is less than topic orders takes (max.message.bytes 1048588)", false},
		{"a ceiling above the topic's", all, map[string]string{"max.message.bytes": "5000"}, []string{"max_message_bytes: 1MiB"}, "warn  size: max_message_bytes (1048576) is more than topic orders takes (max.message.bytes 5000)", false},
		{"segments below the topic's limit", all, map[string]string{"max.message.bytes": "5000", "segment.bytes": "4000"}, nil, "ok    size: topic orders takes batches, and so messages, of up to 4000 bytes as sent (segment.bytes)", false},
		{"requests below the topic's limit", all, map[string]string{"max.message.bytes": "5000000"}, []string{"broker_write_max_bytes: 2MiB"}, "warn  size: broker_write_max_bytes (2097152) is less than topic orders takes", false},
		{"compacted, and no key", all, map[string]string{"cleanup.policy": "compact"}, nil, "fail  topic orders: it is compacted and takes no message without a key", true},
		{"compacted, with a key", all, map[string]string{"cleanup.policy": "compact"}, []string{"key: k"}, "ok    topic orders: it exists", false},
		{"no such partition", all, map[string]string{}, []string{"partitioner: manual", "partition: '6'"}, "fail  partition 6: the topic has 6, from 0 to 5", true},
		{"a partition that exists", all, map[string]string{}, []string{"partitioner: manual", "partition: '5'"}, "ok    topic orders: it exists", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := secured(t, test.rights...)
			if test.topic != nil {
				require.NoError(t, c.CreateTopic("orders", 6, test.topic))
			}
			fields := append([]string{"topic: orders"}, test.fields...)
			if !strings.Contains(strings.Join(fields, ""), "sasl:") {
				fields = append(fields, as("writer", secret))
			}
			out, err := run(t, configYAML(c, fields...))
			require.Contains(t, out, "\n  "+test.want)
			if test.fails {
				require.ErrorIs(t, err, errFailing)
			} else {
				require.NoError(t, err, out)
			}
		})
	}
}

func TestCheckFindsCredentialsThatAreRefused(t *testing.T) {
	t.Parallel()
	c := secured(t)
	// kfake itself closes the connection without an answer.
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	out, err := run(t, configYAML(c, "topic: orders", as("writer", secret)))
	require.ErrorIs(t, err, errFailing)
	require.Contains(t, out, "  fail  seed broker "+c.ListenAddrs()[0]+": credentials: refused: authenticating with SASL mechanism SCRAM-SHA-256")
	require.NotContains(t, out, "topic orders", "nothing more is to be found out")
}

func TestCheckFindsRequestsThatAreTooLarge(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	require.NoError(t, c.CreateTopic("orders", 1, nil))
	tellRequestLimit(c, "1000000")
	out, err := run(t, configYAML(c, "topic: orders"))
	require.ErrorIs(t, err, errFailing)
	require.Contains(t, out, "\n  fail  size: broker_write_max_bytes (104857600) is more than the brokers take (socket.request.max.bytes 1000000)")
	require.Contains(t, out, "\n  ok    credentials: none are configured, and the brokers ask for none\n")
}

func TestCheckCreatesNoTopicAndWritesNothing(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t, kfake.AllowAutoTopicCreation())
	for range 2 {
		out, err := run(t, configYAML(c, "topic: orders"))
		require.NoError(t, err)
		require.Contains(t, out, "warn  topic orders: it does not exist")
	}
	require.Nil(t, c.TopicInfo("orders"))
}

func TestCheckOfATopicThatDependsOnTheMessage(t *testing.T) {
	t.Parallel()
	out, err := run(t, configYAML(kafkafake.New(t), "topic: '${! @topic }'"))
	require.NoError(t, err)
	require.Contains(t, out, "?     topic: it depends on the message")
}

// Kafka before 2.3 does not report what a client may do.
func TestCheckOnOldBrokers(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t, kfake.MaxVersions(kversion.V2_2_0()))
	require.NoError(t, c.CreateTopic("orders", 1, nil))
	out, err := run(t, configYAML(c, "topic: orders"))
	require.NoError(t, err)
	require.Contains(t, out, "?     right to write to topic orders: the brokers do not tell")
}

// A gateway may know no producer IDs, and neither does the preview of Kafka 2.8
// without ZooKeeper.
func TestCheckWithoutProducerIDs(t *testing.T) {
	t.Parallel()
	versions := kversion.V2_8_0()
	versions.SetMaxKeyVersion(int16(kmsg.InitProducerID), -1)
	c := kafkafake.New(t, kfake.MaxVersions(versions))
	require.NoError(t, c.CreateTopic("orders", 1, nil))
	out, err := run(t, configYAML(c, "topic: orders"))
	require.NoError(t, err)
	require.Contains(t, out, "  warn  idempotent_write: the cluster has no producer IDs")
	require.NotContains(t, out, "right to idempotent_write")
}

func TestCheckWithoutABroker(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	config, addr := configYAML(c, "topic: orders"), c.ListenAddrs()[0]
	c.Close()
	out, err := run(t, config)
	require.ErrorIs(t, err, errFailing)
	require.Contains(t, out, "  fail  seed broker "+addr+": it does not answer: check address, network")
}

func TestCheckNamesTheSeedBrokersThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	c, gone := kafkafake.New(t), kafkafake.New(t)
	addr := gone.ListenAddrs()[0]
	gone.Close()
	require.NoError(t, c.CreateTopic("orders", 1, nil))
	out, err := run(t, "output: { kafka_guarded: { topic: orders, seed_brokers: [ '"+addr+"', '"+c.ListenAddrs()[0]+"' ] } }")
	require.NoError(t, err)
	require.Contains(t, out, "  warn  seed broker "+addr+": it does not answer")
	require.Contains(t, out, "  ok    seed broker "+c.ListenAddrs()[0]+": it answers")
}

func TestCheckFindsOutputsWhereverTheyAre(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	for _, topic := range []string{"orders", "letters", "cases", "resource", "other"} {
		require.NoError(t, c.CreateTopic(topic, 1, nil))
	}
	config := `
output:
  fallback:
    - label: main
      ` + outputYAML(c, "topic: orders", "dead_letter: { label: dlq, "+outputYAML(c, "topic: letters")+" }") + `
    - switch: { cases: [ { output: { broker: { outputs: [ { ` + outputYAML(c, "topic: cases") + ` } ] } } } ] }
output_resources:
  - label: mine
    ` + outputYAML(c, "topic: resource")
	out, _ := run(t, config, "output_resources: [ { label: other, "+outputYAML(c, "topic: other")+" } ]")
	for _, want := range []string{
		"config.yaml: output.fallback.0 (main)\n",
		"config.yaml: output.fallback.0.kafka_guarded.dead_letter (dlq)\n",
		"config.yaml: output.fallback.1.switch.cases.0.output.broker.outputs.0\n",
		"config.yaml: output_resources.0 (mine)\n",
		"resources.yaml: output_resources.0 (other)\n",
		"topic orders: it exists", "topic letters: it exists", "topic cases: it exists", "topic resource: it exists", "topic other: it exists",
	} {
		require.Contains(t, out, want)
	}
}

func TestCheckComparesTheDeadLetterTopic(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		letter string // with %s for the output on the dead-letter topic
		fields []string
		limit  string
		want   string
		fails  bool
	}{
		{"smaller", "{ %s }", nil, "1000", "fail  size: the dead-letter topic letters takes no larger messages (1000 bytes) than topic orders (5000)", true},
		{"of the same size", "{ %s }", nil, "5000", "fail  size: the dead-letter topic letters takes no larger messages (5000 bytes)", true},
		{"larger", "{ %s }", nil, "6000", "ok    size: as a dead-letter topic, letters takes larger messages (6000 bytes) than topic orders (5000)", false},
		{"smaller, with processors", "{ %s, processors: [ { mapping: 'root = content().slice(0, 100)' } ] }", nil, "1000", "warn  size: the dead-letter topic letters takes no larger messages (1000 bytes)", false},
		{"smaller, and not the only one", "{ fallback: [ { %s }, { drop: {} } ] }", nil, "1000", "warn  size: the dead-letter topic letters takes no larger messages (1000 bytes)", false},
		{"smaller, for other classes", "{ %s }", []string{"permanent: [ unroutable ]"}, "1000", "ok    topic letters: it exists", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			require.NoError(t, c.CreateTopic("orders", 1, map[string]string{"max.message.bytes": "5000"}))
			require.NoError(t, c.CreateTopic("letters", 1, map[string]string{"max.message.bytes": test.limit}))
			letter := fmt.Sprintf(test.letter, outputYAML(c, "topic: letters"))
			out, err := run(t, configYAML(c, append(test.fields, "topic: orders", "dead_letter: "+letter)...))
			require.Contains(t, out, "\n  "+test.want)
			if test.fails {
				require.ErrorIs(t, err, errFailing)
			} else {
				require.NoError(t, err, out)
			}
		})
	}
}

func TestCheckRefusesConfigs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, config, want string }{
		{"a typo", "output: { kafka_guarded: { seed_brokers: [ a:1 ], topik: t } }", "topik"},
		{"a lint", "output: { kafka_guarded: { seed_brokers: [ a:1 ], topic: t, acks: leader } }", "idempotent_write requires acks"},
		{"no such output", "output: { drop: {} }", "the config has no kafka_guarded output"},
		{"no YAML", "output: { ", "reading config.yaml"},
	} {
		out, err := run(t, test.config)
		require.ErrorContains(t, err, test.want, test.name)
		require.Empty(t, out, test.name)
	}
	_, err := run(t, "output: { drop: {} }", "output_resources: { ")
	require.ErrorContains(t, err, "reading resources of resources.yaml")
}

func TestCommand(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	require.NoError(t, c.CreateTopic("orders", 1, nil))
	dir := t.TempDir()
	config, resources := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "resources.yaml")
	require.NoError(t, os.WriteFile(config, []byte("output: { resource: out }"), 0o600))
	require.NoError(t, os.WriteFile(resources, []byte("output_resources: [ { label: out, "+outputYAML(c, "topic: orders")+" } ]"), 0o600))
	command := func(args ...string) error {
		app := &cli.App{Writer: io.Discard, Commands: []*cli.Command{Command()}, ExitErrHandler: func(*cli.Context, error) {}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		return app.RunContext(ctx, append([]string{"kafka-guarded", "check"}, args...))
	}
	require.NoError(t, command("-r", resources, config))
	require.NoError(t, command("-r", filepath.Join(dir, "res*.yaml"), config))
	require.ErrorContains(t, command(config), "no kafka_guarded output")
	require.ErrorContains(t, command(config, "--topic", "orders"), "--topic stands after the path of a config: flags come before all paths")
	require.ErrorContains(t, command(), "check takes the paths of one or more configs")
	require.ErrorIs(t, command(filepath.Join(dir, "missing.yaml")), os.ErrNotExist)
	require.ErrorContains(t, command("-r", filepath.Join(dir, "missing.yaml"), config), "file does not exist")
}
