//go:build linux || darwin

package access

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kafka-guarded/kafka-guarded/check"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// Each finding of check is a thing that Kafka then does.
func TestCheckOnApacheKafka(t *testing.T) {
	c := onkafka.Secured(t)
	c.CreateTopic("checked", 3, 1, map[string]string{"max.message.bytes": "100000", "cleanup.policy": "compact"})
	said := func(t *testing.T, f onkafka.Fields, topics ...string) string {
		t.Helper()
		config, err := json.Marshal(onkafka.Fields{"output": onkafka.Fields{"kafka_guarded": f}})
		require.NoError(t, err)
		var out strings.Builder
		_ = check.Run(t.Context(), &out, check.Options{Configs: []check.File{{Name: "config", YAML: string(config)}}, Topics: topics})
		require.NotContains(t, out.String(), onkafka.AlicePassword)
		return out.String()
	}
	f := onkafka.As(t, c, kafkatest.ScramSHA512, onkafka.Alice, onkafka.AlicePassword).With(onkafka.Fields{"seed_brokers": append([]string{"127.0.0.1:1"}, c.Brokers()...)})

	out := said(t, f, "checked")
	require.Contains(t, out, "warn  seed broker 127.0.0.1:1: it does not answer")
	require.Contains(t, out, "ok    seed broker "+c.Brokers()[0]+": it answers")
	require.Contains(t, out, "ok    credentials: accepted (SCRAM-SHA-512)")
	require.Contains(t, out, "fail  topic checked: no right to see it, and so none to write to it: grant WRITE on the topic")

	onkafka.MayWrite(c, onkafka.Alice, "checked")
	out = said(t, f, "checked")
	require.Contains(t, out, "ok    right to write to topic checked: there")
	require.Contains(t, out, "ok    right to idempotent_write: there")
	require.Contains(t, out, "warn  right to DESCRIBE_CONFIGS of topic checked: missing")

	c.Grant("User:"+onkafka.Alice, kadm.OpDescribeConfigs, kafkatest.TopicResource("checked"))
	out = said(t, f, "checked")
	require.Contains(t, out, "ok    size: topic checked takes batches, and so messages, of up to 100000 bytes as sent (max.message.bytes)")
	require.NotContains(t, out, "  fail  ")
	without := onkafka.As(t, c, kafkatest.ScramSHA512, onkafka.Alice, onkafka.AlicePassword)
	delete(without, "key")
	delete(without, "null_key")
	require.Contains(t, said(t, without, "checked"), "fail  topic checked: it is compacted and takes no message without a key")

	require.Contains(t, said(t, onkafka.As(t, c, kafkatest.ScramSHA512, onkafka.Alice, "wrong")), "credentials: refused: authenticating with SASL mechanism SCRAM-SHA-512: check the credentials")
}
