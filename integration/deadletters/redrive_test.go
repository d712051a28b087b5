//go:build linux || darwin

package deadletters

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// Killed ten times, redrive loses nothing. After each kill it sends again at most the
// batch in flight, and counts it.
func TestRedriveLosesNothingWhenKilled(t *testing.T) {
	const kills, batch = 10, 2000
	c := onkafka.OneNode(t)
	n := max(*letters, 3*kills*batch)
	c.CreateTopic("killed", 3, 1, nil)
	c.CreateTopic("killed-dead", 3, 1, nil)
	fill(t, c, "killed-dead", "killed", n)

	random := rand.New(rand.NewPCG(1, uint64(n)))
	for range kills {
		began := length(t, c, "killed")
		cmd := command(t, c, "redrive", "killed-dead")
		cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
		require.NoError(t, cmd.Start())
		// The kill hits the first batch, the second one, or the time between.
		until := began + 1 + random.IntN(batch*3/2)
		deadline := time.Now().Add(2 * time.Minute)
		for length(t, c, "killed") < until {
			require.True(t, time.Now().Before(deadline), "it writes nothing")
		}
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	out, code := run(t, command(t, c, "redrive", "killed-dead"))
	require.Zero(t, code)
	require.Contains(t, out, "the account balances")

	seen := map[string]int{}
	log := c.ReadAll("killed")
	for _, r := range log {
		for _, h := range r.Headers {
			if h.Key == "id" {
				seen[string(h.Value)]++
			}
		}
	}
	require.Len(t, seen, n, "letters that were lost")
	twice := len(log) - n
	require.LessOrEqual(t, twice, kills*batch)
	m := pass(t, c, "killed-dead")
	require.EqualValues(t, n, m.Delivered)
	require.GreaterOrEqual(t, m.Perhaps, int64(twice), "each that is there twice is counted")
	require.LessOrEqual(t, m.Perhaps, int64(kills*batch))
	t.Logf("RESULT of %d letters, with %d kills: lost 0, written twice %d, counted as perhaps twice %d", n, kills, twice, m.Perhaps)
}

// An interrupt ends redrive in order: nothing is written twice.
func TestRedriveWritesNothingTwiceWhenInterrupted(t *testing.T) {
	const batch = 2000
	c := onkafka.OneNode(t)
	n := 10 * batch
	c.CreateTopic("interrupted", 3, 1, nil)
	c.CreateTopic("interrupted-dead", 3, 1, nil)
	fill(t, c, "interrupted-dead", "interrupted", n)
	cmd := command(t, c, "redrive", "interrupted-dead")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, io.Discard
	require.NoError(t, cmd.Start())
	deadline := time.Now().Add(2 * time.Minute)
	for length(t, c, "interrupted") < 2*batch {
		require.True(t, time.Now().Before(deadline), "it writes nothing")
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	t.Log(out.String())
	require.Contains(t, out.String(), "the account balances")
	first := said(t, out.String(), "delivered")
	rest, code := run(t, command(t, c, "redrive", "interrupted-dead"))
	require.Zero(t, code)
	require.Equal(t, n, first+said(t, rest, "delivered"))
	require.Equal(t, n, length(t, c, "interrupted"))
}

// A redriven record is byte for byte the original, whether its letter came from a topic
// or from a file.
func TestLettersAreByteEqualAfterRedrive(t *testing.T) {
	c := onkafka.OneNode(t)
	large := map[string]string{"max.message.bytes": "31457280"}
	random := rand.NewChaCha8([32]byte{1})
	binary := make([]byte, 20<<20) // random, so that it does not compress
	_, _ = random.Read(binary)
	var many []kgo.RecordHeader
	for i := range 100 {
		many = append(many, kgo.RecordHeader{Key: fmt.Sprintf("h%03d", i), Value: binary[i*10 : i*10+10]})
	}
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	kinds := []*kgo.Record{
		{Key: []byte("large"), Value: binary},
		{Key: binary[:20], Value: binary[20:200], Headers: many},
		{Value: []byte("without a key")},
		{Key: []byte{}, Value: []byte("with an empty one")},
		{Key: []byte("deleted"), Value: nil},
		{Key: []byte("empty"), Value: []byte{}},
	}
	for _, of := range []string{"topic", "file"} {
		t.Run("of a "+of, func(t *testing.T) {
			c := c.With(t)
			topic, dead := "equal-"+of, "equal-"+of+"-dead"
			c.CreateTopic(topic, 2, 1, large)
			c.CreateTopic(dead, 1, 1, large)
			var all []*kgo.Record
			for _, r := range kinds {
				r.Timestamp = at
				all = append(all, letterFor(topic, r))
			}
			produce(t, c, dead, all...)
			from := dead
			if of == "file" {
				from = t.TempDir() + "/letters.jsonl"
				shell := exec.Command("sh", "-c", `"$0" dead-letters show --json --limit 0 --brokers "$1" "$2" > "$3"`, onkafka.Program(t), strings.Join(c.Brokers(), ","), dead, from)
				require.NoError(t, shell.Run())
			}
			out, code := run(t, command(t, c, "redrive", from))
			require.Zero(t, code)
			require.Contains(t, out, "the account balances")
			got := c.ReadAll(topic)
			require.Len(t, got, len(kinds))
			for _, want := range kinds {
				found := false
				for _, r := range got {
					if !bytes.Equal(r.Key, want.Key) || (r.Key == nil) != (want.Key == nil) {
						continue
					}
					found = true
					require.True(t, bytes.Equal(want.Value, r.Value) && (want.Value == nil) == (r.Value == nil), "the value of %q", want.Key)
					require.ElementsMatch(t, want.Headers, r.Headers)
					require.Equal(t, at.UnixMilli(), r.Timestamp.UnixMilli())
				}
				require.True(t, found, "the record with the key %q", want.Key)
			}
		})
	}
}

// A dead letter of a null value may have an empty value: the topic of letters is
// written without the mapping tombstone. Redrive writes the null value nevertheless.
func TestTheLetterOfATombstoneIsADeleteAgain(t *testing.T) {
	c := onkafka.OneNode(t)
	const topic, dead, n = "deletes", "deletes-dead", 200
	c.CreateTopic(topic, 1, 1, map[string]string{"message.timestamp.before.max.ms": "3600000"})
	c.CreateTopic(dead, 1, 1, nil)
	config := filepath.Join(t.TempDir(), "stream.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
http: { enabled: false }
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
    seed_brokers: [ %q ]
    topic: %s
    key: ${! @k }
    timestamp_ms: ${! @ts }
    tombstone: '@del == "yes"'
    metadata: { include_patterns: [ .* ] }
    dead_letter:
      kafka_guarded:
        seed_brokers: [ %[2]q ]
        topic: %[4]s
        key: ${! @kafka_guarded_key }
        metadata: { include_patterns: [ .* ] }
`, n, c.Brokers()[0], topic, dead), 0o600))
	_, code := run(t, exec.Command(onkafka.Program(t), "run", config))
	require.Zero(t, code)
	letters := c.ReadAll(dead)
	require.Len(t, letters, n/10)
	for _, l := range letters {
		require.NotNil(t, l.Value)
	}
	c.SetTopicConfig(topic, "message.timestamp.before.max.ms", "9223372036854775807")
	out, code := run(t, command(t, c, "redrive", dead))
	require.Zero(t, code)
	require.Contains(t, out, "the account balances")
	seen := map[string]bool{}
	for _, r := range c.ReadAll(topic) {
		var i int
		_, err := fmt.Sscanf(string(r.Key), "k%d", &i)
		require.NoError(t, err)
		require.Equal(t, i%10 == 3, r.Value == nil, "%s: %q", r.Key, r.Value)
		require.Equal(t, i%20 == 3 || i%20 == 4, r.Timestamp.UnixMilli() == 1000)
		require.False(t, seen[string(r.Key)], "%s is there twice", r.Key)
		seen[string(r.Key)] = true
	}
	require.Len(t, seen, n)
}

// account is the account of the first pass in the mark of a topic.
type account struct {
	Delivered int64 `json:"delivered"`
	Perhaps   int64 `json:"perhaps_more"`
}
