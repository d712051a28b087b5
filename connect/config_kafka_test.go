//go:build linux || darwin

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

const patience = 4 * time.Minute

// copying is a run of a config that copies the topic "source" to "target".
type copying struct {
	t    *testing.T
	c    *kafkatest.Cluster
	name string // of the test; the names of all topics contain it
	dir  string
	sent map[string]*kgo.Record // by their header "id"
}

func newCopying(t *testing.T, name string) *copying {
	c := &copying{t: t, c: kafka(t), name: name, dir: t.TempDir(), sent: map[string]*kgo.Record{}}
	const mebibyte = "1048576"
	c.c.CreateTopic(c.topic("source"), 3, 1, map[string]string{"max.message.bytes": mebibyte})
	// The target takes no record over 50 kB, and none without a key.
	c.c.CreateTopic(c.topic("target"), 3, 1, map[string]string{"max.message.bytes": "50000", "cleanup.policy": "compact"})
	// Dead letters are larger than their records, since they have more headers.
	c.c.CreateTopic(c.topic("dead"), 3, 1, map[string]string{"max.message.bytes": "1100000"})
	c.c.CreateTopic(c.topic("parked"), 1, 1, map[string]string{"max.message.bytes": "1100000"})
	return c
}

func (c *copying) topic(which string) string { return c.name + "-" + which }

func (c *copying) env(config string) []string {
	return []string{
		"KAFKA_BROKERS=" + strings.Join(c.c.Brokers(), ","),
		"SOURCE_TOPIC=" + c.topic("source"),
		"TARGET_TOPIC=" + c.topic("target"),
		"DEAD_LETTER_TOPIC=" + c.topic("dead"),
		"PARKING_TOPIC=" + c.topic("parked"),
		"CLAIM_CHECKS=" + filepath.Join(c.dir, "claims"),
		"IDLE_TIMEOUT=15s",
		"CONSUMER_GROUP=" + c.name + "-" + filepath.Base(config),
		"INSTANCE_ID=" + c.name,
	}
}

func tooLarge(i int) bool { return i%50 == 7 }
func noKey(i int) bool    { return i%50 == 23 }

// fill writes n records to the source. One in 50 is too large for the target, and
// another one has no key.
func (c *copying) fill(n int) {
	random := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", c.name))))
	start := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	records := make([]*kgo.Record, n)
	for i := range records {
		size := 100 + i%1000
		if tooLarge(i) {
			size = 60_000
		}
		value := make([]byte, size) // random bytes: no text, and they don't compress
		_, _ = random.Read(value)
		id := strconv.Itoa(i)
		records[i] = &kgo.Record{
			Topic:     c.topic("source"),
			Key:       []byte(fmt.Sprintf("customer\x00\xff%d", i%101)),
			Value:     value,
			Timestamp: start.Add(time.Duration(i) * 3 * time.Millisecond),
			Headers: []kgo.RecordHeader{
				{Key: "bytes", Value: value[:10]},
				{Key: "empty", Value: []byte{}},
				{Key: "id", Value: []byte(id)},
				{Key: "null", Value: nil},
			},
		}
		if noKey(i) {
			records[i].Key = nil
		}
		if i%50 == 31 {
			records[i].Value = nil
		}
		c.sent[id] = records[i]
	}
	c.produce(records...)
}

func (c *copying) produce(records ...*kgo.Record) {
	client, err := kgo.NewClient(append(c.c.ClientOpts(""), kgo.ProducerBatchMaxBytes(1<<20))...)
	require.NoError(c.t, err)
	defer client.Close()
	require.NoError(c.t, client.ProduceSync(c.t.Context(), records...).FirstErr())
}

// start starts the program with a config.
func (c *copying) start(config string) *exec.Cmd {
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(c.t, err)
	cmd := program(c.env(config), "run", "--set", "http.address=127.0.0.1:0", config)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(c.t, cmd.Start())
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = log.Close()
		if c.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			c.t.Logf("the end of its log:\n%s", text[max(0, len(text)-5000):])
		}
	})
	return cmd
}

// kill kills the program once the topic has so many records.
func (c *copying) kill(cmd *exec.Cmd, topic string, records int) {
	c.wait(topic, records)
	require.NoError(c.t, cmd.Process.Kill())
	_ = cmd.Wait()
	c.t.Logf("killed with %d records in %s", c.length(topic), topic)
}

// stop ends the program as an operator would.
func (c *copying) stop(cmd *exec.Cmd) {
	require.NoError(c.t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(c.t, cmd.Wait())
}

func (c *copying) wait(topic string, records int) {
	deadline := time.Now().Add(patience)
	for c.length(topic) < records {
		require.True(c.t, time.Now().Before(deadline), "%s has %d of %d records", topic, c.length(topic), records)
		time.Sleep(10 * time.Millisecond)
	}
}

// length is the number of records in a topic.
func (c *copying) length(topic string) (n int) {
	ends, err := c.c.Admin().ListEndOffsets(context.Background(), c.topic(topic))
	require.NoError(c.t, err)
	for _, o := range ends[c.topic(topic)] {
		n += int(o.Offset)
	}
	return n
}

// complete waits until the topics together have each of the ids.
func (c *copying) complete(topics []string, ids []string) {
	deadline := time.Now().Add(patience)
	for {
		there := map[string]bool{}
		for _, topic := range topics {
			for id := range c.read(topic) {
				there[id] = true
			}
		}
		missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return there[id] })
		if len(missing) == 0 {
			return
		}
		require.True(c.t, time.Now().Before(deadline), "%d of %d records are lost, such as %s", len(missing), len(ids), missing[0])
		time.Sleep(500 * time.Millisecond)
	}
}

// read returns the records of a topic by their header "id", duplicates in their order.
func (c *copying) read(topic string) map[string][]*kgo.Record {
	byID := map[string][]*kgo.Record{}
	for _, r := range c.c.ReadAll(c.topic(topic)) {
		id := header(r, "id")
		byID[id] = append(byID[id], r)
	}
	return byID
}

func (c *copying) ids(which func(i int) bool) (ids []string) {
	for id := range c.sent {
		if i, err := strconv.Atoi(id); err == nil && which(i) {
			ids = append(ids, id)
		}
	}
	return ids
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// requireSame compares a record with its copy. The copy may have further headers, with
// these prefixes.
func requireSame(t *testing.T, sent, got *kgo.Record, prefixes ...string) {
	t.Helper()
	id := header(sent, "id")
	require.Equal(t, sent.Key, got.Key, "the key of record %s", id)
	require.True(t, bytes.Equal(sent.Value, got.Value), "the value of record %s", id)
	require.Equal(t, sent.Value == nil, got.Value == nil, "whether record %s is a tombstone", id)
	requireSameHeaders(t, sent, got, prefixes...)
	at := strconv.FormatInt(got.Timestamp.UnixMilli(), 10)
	if failed := header(got, "kafka_guarded_timestamp_ms"); failed != "" {
		at = failed // a dead letter has the time at which its record failed
	}
	require.Equal(t, strconv.FormatInt(sent.Timestamp.UnixMilli(), 10), at, "the timestamp of record %s", id)
}

func requireSameHeaders(t *testing.T, sent, got *kgo.Record, prefixes ...string) {
	t.Helper()
	headers := slices.DeleteFunc(slices.Clone(got.Headers), func(h kgo.RecordHeader) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(h.Key, p) })
	})
	slices.SortFunc(headers, func(a, b kgo.RecordHeader) int { return cmp.Compare(a.Key, b.Key) })
	for i := range headers {
		if i < len(sent.Headers) && sent.Headers[i].Value == nil {
			require.Empty(t, headers[i].Value, "Benthos has no null metadata")
			headers[i].Value = nil
		}
	}
	require.Equal(t, sent.Headers, headers)
}

// requireDead checks that the dead letters are the records that were sent, and have the
// class.
func (c *copying) requireDead(topic, class string, ids []string, prefixes ...string) (duplicates int) {
	dead := c.read(topic)
	for _, id := range ids {
		require.NotEmpty(c.t, dead[id])
		duplicates += len(dead[id]) - 1
		for _, r := range dead[id] {
			requireSame(c.t, c.sent[id], r, append(prefixes, "kafka_guarded_")...)
			require.Equal(c.t, class, header(r, "kafka_guarded_class"))
			require.True(c.t, strings.HasPrefix(header(r, "kafka_guarded_error"), class+": "))
			require.Equal(c.t, c.topic("target"), header(r, "kafka_guarded_topic"))
			require.Equal(c.t, string(c.sent[id].Key), header(r, "kafka_guarded_key"))
		}
	}
	return duplicates
}

func TestKafkaToKafkaLosesNothingWhenKilled(t *testing.T) {
	const n = 20_000
	c := newCopying(t, "copy")
	c.fill(n)
	c.kill(c.start("config/kafka_to_kafka.yaml"), "target", n/10)
	c.kill(c.start("config/kafka_to_kafka.yaml"), "target", n/2)
	last := c.start("config/kafka_to_kafka.yaml")
	all := c.ids(func(int) bool { return true })
	c.complete([]string{"target", "dead"}, all)
	c.stop(last)

	target := c.read("target")
	duplicates := 0
	for _, id := range c.ids(func(i int) bool { return !tooLarge(i) && !noKey(i) }) {
		require.NotEmpty(t, target[id])
		duplicates += len(target[id]) - 1
		for _, r := range target[id] {
			requireSame(t, c.sent[id], r)
		}
		delete(target, id)
	}
	require.Empty(t, target, "records that the target was to refuse")
	twice := c.requireDead("dead", "size_exceeded", c.ids(tooLarge))
	twice += c.requireDead("dead", "invalid_record", c.ids(noKey))
	require.Len(t, c.read("dead"), n/25)
	t.Logf("of %d records 0 were lost and %d were written again, and of %d dead letters %d", n, duplicates, n/25, twice)
	c.requireOrder("target")
}

// requireOrder checks that the records of each key are in the order in which they were
// sent, apart from those that were written again.
func (c *copying) requireOrder(topic string) {
	last := map[string]int{}
	seen := map[string]bool{}
	for _, r := range c.c.ReadAll(c.topic(topic)) {
		id := header(r, "id")
		if seen[id] {
			continue
		}
		seen[id] = true
		i, err := strconv.Atoi(id)
		require.NoError(c.t, err)
		before, ok := last[string(r.Key)]
		require.True(c.t, !ok || before < i, "record %d came after %d", i, before)
		last[string(r.Key)] = i
	}
}

func TestRedriveRestoresWhatWasSentAndParksWhatFailsAgain(t *testing.T) {
	const n = 5000
	c := newCopying(t, "redrive")
	c.fill(n)
	first := c.start("config/kafka_to_kafka.yaml")
	c.complete([]string{"target", "dead"}, c.ids(func(int) bool { return true }))
	c.stop(first)
	delivered := c.length("target")

	// A record that is no dead letter is in the topic of dead letters, too.
	stranger := &kgo.Record{
		Topic:     c.topic("dead"),
		Key:       []byte("who"),
		Value:     []byte("am I"),
		Timestamp: time.Now(),
		Headers:   []kgo.RecordHeader{{Key: "id", Value: []byte("stranger")}},
	}
	c.produce(stranger)

	// The operator raises the limit. Records without a key are still rejected.
	c.c.SetTopicConfig(c.topic("target"), "max.message.bytes", "1048576")
	c.kill(c.start("config/redrive.yaml"), "target", delivered+20)
	last := c.start("config/redrive.yaml")
	require.NoError(t, last.Wait(), "it ends by itself")

	target := c.read("target")
	duplicates := 0
	for _, id := range c.ids(tooLarge) {
		require.NotEmpty(t, target[id], "record %s is lost", id)
		duplicates += len(target[id]) - 1
		for _, r := range target[id] {
			requireSame(t, c.sent[id], r)
		}
	}
	parked := c.requireDead("parked", "invalid_record", c.ids(noKey))
	inParking := c.read("parked")
	require.NotEmpty(t, inParking["stranger"])
	for _, r := range inParking["stranger"] {
		requireSame(t, stranger, r)
	}
	delete(inParking, "stranger")
	for id, records := range inParking {
		require.Contains(t, c.ids(noKey), id)
		for _, r := range records {
			require.Empty(t, header(r, "_redrive_attempts"), "a parked message starts anew")
		}
	}
	t.Logf("of %d dead letters 0 were lost; %d were written again, and %d parked again", n/25, duplicates, parked)
}

// The dead letter of a null value may have an empty value: the topic of letters is
// written without the mapping tombstone. Redrive writes the null value nevertheless.
func TestRedriveKeepsADelete(t *testing.T) {
	const n = 200
	c := newCopying(t, "deletes")
	c.c.CreateTopic(c.topic("late"), 1, 1, map[string]string{"message.timestamp.before.max.ms": "3600000"})
	config := filepath.Join(c.dir, "stream.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
input:
  generate:
    count: %d
    interval: ""
    batch_size: 20
    mapping: |
      let i = counter()
      meta k = "k%%d".format($i)
      meta del = if $i %% 10 == 3 { "yes" }
      meta ts = if $i %% 20 == 3 || $i %% 20 == 4 { "1000" } else { timestamp_unix_milli() }
      root = if $i %% 10 == 3 { "" } else { {"id": $i} }
output:
  kafka_guarded:
    seed_brokers: [ "${KAFKA_BROKERS}" ]
    topic: %s
    key: ${! @k }
    timestamp_ms: ${! @ts }
    tombstone: '@del == "yes"'
    metadata: { include_patterns: [ .* ] }
    dead_letter:
      kafka_guarded:
        seed_brokers: [ "${KAFKA_BROKERS}" ]
        topic: ${DEAD_LETTER_TOPIC}
        key: ${! @kafka_guarded_key }
        metadata: { include_patterns: [ .* ] }
`, n, c.topic("late")), 0o600))
	require.NoError(t, c.start(config).Wait())
	require.Equal(t, n/10, c.length("dead"))
	c.c.SetTopicConfig(c.topic("late"), "message.timestamp.before.max.ms", "9223372036854775807")
	require.NoError(t, c.start("config/redrive.yaml").Wait())
	seen := map[string]bool{}
	for _, r := range c.c.ReadAll(c.topic("late")) {
		i, err := strconv.Atoi(strings.TrimPrefix(string(r.Key), "k"))
		require.NoError(t, err)
		require.Equal(t, i%10 == 3, r.Value == nil, "%s: %q", r.Key, r.Value)
		require.Equal(t, i%20 == 3 || i%20 == 4, r.Timestamp.UnixMilli() == 1000)
		seen[string(r.Key)] = true
	}
	require.Len(t, seen, n)
	require.Zero(t, c.length("parked"))
}

func TestClaimCheckLosesNothingWhenKilled(t *testing.T) {
	const n = 5000
	c := newCopying(t, "claims")
	c.fill(n)
	c.kill(c.start("config/claim_check.yaml"), "target", n/4)
	last := c.start("config/claim_check.yaml")
	c.complete([]string{"target", "dead"}, c.ids(func(int) bool { return true }))
	c.stop(last)

	target := c.read("target")
	duplicates := 0
	for id, sent := range c.sent {
		i, err := strconv.Atoi(id)
		require.NoError(t, err)
		if noKey(i) {
			continue
		}
		require.NotEmpty(t, target[id])
		duplicates += len(target[id]) - 1
		for _, r := range target[id] {
			if !tooLarge(i) {
				requireSame(t, sent, r)
				continue
			}
			require.Equal(t, sent.Key, r.Key)
			require.Equal(t, sent.Timestamp.UnixMilli(), r.Timestamp.UnixMilli())
			requireSameHeaders(t, sent, r, "claim_check")
			var pointer struct {
				Path  string `json:"claim_check"`
				Bytes int    `json:"bytes"`
			}
			require.NoError(t, json.Unmarshal(r.Value, &pointer))
			require.Equal(t, header(r, "claim_check"), pointer.Path)
			require.Equal(t, len(sent.Value), pointer.Bytes)
			body, err := os.ReadFile(pointer.Path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(sent.Value, body), "the body of record %s", id)
		}
	}
	c.requireDead("dead", "invalid_record", c.ids(noKey))
	t.Logf("of %d records 0 were lost and %d were written again", n, duplicates)
}
