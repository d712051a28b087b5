//go:build linux || darwin

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

const (
	scaleSource = "scale-source"
	scaleTarget = "scale-target"
	scaleDead   = "scale-dead"
	scaleGroup  = "scale"

	scalePartitions = 12
	scaleSize       = 500     // bytes of a message
	scaleLarge      = 60_000  // bytes of a message that the target rejects
	scaleLag        = 100_000 // how far the source may be ahead of the replicas, in messages
)

// scaling is a group of replicas of the program that copy a topic. The topic is filled
// as fast as they copy it.
type scaling struct {
	t        *testing.T
	c        *kafkatest.Cluster
	replicas map[string]*exec.Cmd
	members  map[string]string // the member IDs of the replicas
	events   []scaleEvent
	cpu      time.Duration // CPU time of replicas that have ended

	filling sync.WaitGroup

	mu   sync.Mutex
	sent []place // by the number of the message
	lost error   // error of a write to the source
}

// place is the place of a message in the source.
type place struct {
	partition int32
	offset    int64
}

// scaleEvent is a change of the group. Afterwards a partition is read from the offset
// that was committed at the time, or from a later one.
type scaleEvent struct {
	what      string
	at        time.Time
	committed kadm.OffsetResponses
	again     int // messages written again between this event and the next one
}

func isLarge(n int) bool { return n%1000 == 777 }

// fill keeps the source filled until the context ends.
func (s *scaling) fill(ctx context.Context, client *kgo.Client) {
	noise := make([]byte, 2*scaleLarge) // bytes that don't compress
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(noise)
	for n := 0; ctx.Err() == nil; {
		if n-s.length(ctx, scaleTarget) > scaleLag {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		const some = 5000
		records := make([]*kgo.Record, some)
		for i := range records {
			size := scaleSize
			if isLarge(n) {
				size = scaleLarge
			}
			records[i] = &kgo.Record{
				Topic:   scaleSource,
				Key:     fmt.Appendf(nil, "customer-%d", n%10_007),
				Value:   noise[n%scaleLarge:][:size],
				Headers: []kgo.RecordHeader{{Key: "id", Value: []byte(strconv.Itoa(n))}},
			}
			n++
		}
		results := client.ProduceSync(context.Background(), records...)
		s.mu.Lock()
		for _, r := range records { // the results come in another order
			s.sent = append(s.sent, place{r.Partition, r.Offset})
		}
		if s.lost == nil {
			s.lost = results.FirstErr()
		}
		s.mu.Unlock()
	}
}

// length is the number of records in a topic, 0 if it can't be read now.
func (s *scaling) length(ctx context.Context, topic string) (n int) {
	ends, err := s.c.Admin().ListEndOffsets(ctx, topic)
	if err != nil {
		return 0
	}
	for _, o := range ends[topic] {
		n += int(o.Offset)
	}
	return n
}

// add starts a replica, and waits until all running replicas have partitions.
func (s *scaling) add(name string) {
	s.t.Helper()
	log, err := os.Create(filepath.Join(s.t.TempDir(), name))
	require.NoError(s.t, err)
	s.note("replica " + name + " added")
	cmd := program([]string{
		"KAFKA_BROKERS=" + strings.Join(s.c.Brokers(), ","),
		"SOURCE_TOPIC=" + scaleSource, "TARGET_TOPIC=" + scaleTarget, "DEAD_LETTER_TOPIC=" + scaleDead,
		"CONSUMER_GROUP=" + scaleGroup, "INSTANCE_ID=" + name,
	}, "run", "--set", "http.address=127.0.0.1:0",
		"--set", "input.redpanda.session_timeout=6s", "--set", "input.redpanda.heartbeat_interval=1s", "config/kafka_to_kafka.yaml")
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(s.t, cmd.Start())
	s.replicas[name] = cmd
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = log.Close()
		if s.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			s.t.Logf("the end of the log of replica %s:\n%s", name, text[max(0, len(text)-3000):])
		}
	})
	want := slices.Sorted(maps.Keys(s.replicas))
	require.Eventually(s.t, func() bool {
		groups, err := s.c.Admin().DescribeGroups(s.t.Context(), scaleGroup)
		if err != nil || groups[scaleGroup].State != "Stable" {
			return false
		}
		now := map[string]string{}
		for _, m := range groups[scaleGroup].Members {
			now[*m.InstanceID] = m.MemberID
		}
		if !slices.Equal(slices.Sorted(maps.Keys(now)), want) || now[name] == s.members[name] {
			return false // a killed replica stays a member until its session times out, or until it comes back
		}
		s.members = now
		return true
	}, patience, 50*time.Millisecond, "the group has not the members %v", want)
	s.note("shared by " + strings.Join(want, ", "))
}

// note enters a change of the group, with the committed offsets of the time.
func (s *scaling) note(what string) {
	s.t.Helper()
	var committed kadm.OffsetResponses
	require.Eventually(s.t, func() (ok bool) { // the first consumer group makes Kafka create __consumer_offsets
		var err error
		committed, err = s.c.Admin().FetchOffsets(s.t.Context(), scaleGroup)
		return err == nil
	}, patience, 50*time.Millisecond)
	s.events = append(s.events, scaleEvent{what: what, at: time.Now(), committed: committed})
}

// kill kills a replica.
func (s *scaling) kill(name string) {
	s.t.Helper()
	require.NoError(s.t, s.replicas[name].Process.Kill())
	s.gone(name)
	s.note("replica " + name + " killed")
}

// gone waits for the end of a replica.
func (s *scaling) gone(name string) {
	cmd := s.replicas[name]
	_ = cmd.Wait() // a killed program ends with an error
	s.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	delete(s.replicas, name)
}

// rate returns the messages per second that arrive in the target.
func (s *scaling) rate(within time.Duration) float64 {
	from, began := s.length(s.t.Context(), scaleTarget), time.Now()
	time.Sleep(within)
	return float64(s.length(s.t.Context(), scaleTarget)-from) / time.Since(began).Seconds()
}

// read counts the messages of a topic. A message that was written again belongs to the
// last event before its second write.
func (s *scaling) read(topic string) map[int]int {
	counts := map[int]int{}
	for _, r := range s.c.ReadAll(topic) {
		n, err := strconv.Atoi(header(r, "id"))
		require.NoError(s.t, err)
		require.Less(s.t, n, len(s.sent))
		if counts[n]++; counts[n] == 1 {
			continue
		}
		latest := 0
		for i, e := range s.events {
			if e.at.UnixMilli() <= r.Timestamp.UnixMilli() {
				latest = i
			}
		}
		e := &s.events[latest]
		e.again++
		at := s.sent[n]
		if o, ok := e.committed.Lookup(scaleSource, at.partition); ok {
			require.GreaterOrEqual(s.t, at.offset, o.At, "message %d was written again, and was committed before %q", n, e.what)
		}
	}
	return counts
}

// Replicas of the program are members of one consumer group. One is killed and comes
// back under its name. Another is killed for good, and a new name takes its place.
func TestReplicasLoseNothingWhenKilledAndAdded(t *testing.T) {
	s := &scaling{t: t, c: kafka(t), replicas: map[string]*exec.Cmd{}}
	s.c.CreateTopic(scaleSource, scalePartitions, 1, nil)
	stamped := map[string]string{"message.timestamp.type": "LogAppendTime", "max.message.bytes": "50000"}
	s.c.CreateTopic(scaleTarget, scalePartitions, 1, stamped)
	s.c.CreateTopic(scaleDead, 1, 1, map[string]string{"message.timestamp.type": "LogAppendTime"})
	client, err := kgo.NewClient(append(s.c.ClientOpts(""), kgo.ProducerLinger(5*time.Millisecond))...)
	require.NoError(t, err)
	defer client.Close()
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	s.filling.Go(func() { s.fill(ctx, client) })

	const measured = 3 * time.Second
	var rates []float64
	for _, name := range []string{"a", "b", "c"} {
		s.add(name)
		rates = append(rates, s.rate(measured))
	}
	s.kill("b")
	s.add("b")
	s.rate(time.Second) // a warm-up
	s.kill("c")
	s.add("d")
	enough()
	s.filling.Wait()
	require.NoError(t, s.lost)

	deadline := time.Now().Add(patience)
	for s.length(t.Context(), scaleTarget)+s.length(t.Context(), scaleDead) < len(s.sent) || s.lag() > 0 {
		require.True(t, time.Now().Before(deadline), "%d messages are not copied", s.lag())
		time.Sleep(50 * time.Millisecond)
	}
	for name, cmd := range s.replicas {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		s.gone(name)
	}
	s.check(rates)
}

// lag returns how many messages are not committed.
func (s *scaling) lag() (lag int64) {
	lags, err := s.c.Admin().Lag(s.t.Context(), scaleGroup)
	require.NoError(s.t, err)
	for _, l := range lags {
		lag += l.Lag.Total()
	}
	return lag
}

func (s *scaling) check(rates []float64) {
	s.t.Helper()
	target, dead := s.read(scaleTarget), s.read(scaleDead)
	lost, again := 0, 0
	for n := range s.sent {
		to, other := target, dead
		if isLarge(n) {
			to, other = dead, target
		}
		require.Zero(s.t, other[n], "message %d is where it should not be", n)
		if to[n] == 0 {
			lost++
		}
		again += max(0, to[n]-1)
	}
	var events []string
	for _, e := range s.events {
		events = append(events, fmt.Sprintf("%s: %d", e.what, e.again))
	}
	s.t.Logf("RESULT scale-out sent=%d dead_lettered=%d lost=%d again=%d (%s) rates_by_replicas=%.0f/%.0f/%.0f cpu_seconds_per_million=%.1f",
		len(s.sent), len(dead), lost, again, strings.Join(events, ", "), rates[0], rates[1], rates[2], s.cpu.Seconds()/float64(len(s.sent)+again)*1e6)
	require.Zero(s.t, lost)
	require.NotEmpty(s.t, dead)
}
