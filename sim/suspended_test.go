//go:build unix

package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// suspendedBrokers is the variable with the brokers of the process that is suspended.
const suspendedBrokers = "KAFKA_GUARDED_SIM_BROKERS"

// outcomeOf is what the suspended process says of a record.
type outcomeOf struct {
	Value   string
	Outcome guard.Outcome
}

// TestASuspendedProcess stops a process that writes, as a machine that sleeps or a frozen
// container does. When it goes on, all of its timers fire at once, and answers wait for
// it, or its connections are closed. Nothing is lost or duplicated, and nothing stays in
// doubt. Virtual time can't jump, so it takes real seconds.
func TestASuspendedProcess(t *testing.T) {
	if os.Getenv(suspendedBrokers) != "" {
		t.Skip("this is the process")
	}
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	for name, closes := range map[string]bool{"with its connections": false, "and its connections are closed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
			c.Topic("t", 4, "max.message.bytes=20000")
			// Each answer takes its time, so that requests are in flight when the process stops.
			c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: 20 * time.Millisecond, Count: -1})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestTheProcessThatIsSuspended$", "-test.v") //nolint:gosec // this very test
			cmd.Env = append(os.Environ(), suspendedBrokers+"="+strings.Join(c.ListenAddrs(), ","))
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			cmd.Stderr = os.Stderr
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(out)
			lines.Buffer(nil, 1<<20)
			outcomes := map[string]guard.Outcome{}
			stops, over := 0, false
			for lines.Scan() {
				text, isOutcome := strings.CutPrefix(lines.Text(), "outcomes ")
				over = over || lines.Text() == "all written"
				if !isOutcome {
					continue
				}
				var of []outcomeOf
				require.NoError(t, json.Unmarshal([]byte(text), &of))
				for _, o := range of {
					outcomes[o.Value] = o.Outcome
				}
				if len(outcomes)%2000 == 0 && stops < 2 {
					stops++
					require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
					time.Sleep(200 * time.Millisecond) // for answers to what is in flight
					if closes {
						c.Disconnect(0)
					}
					time.Sleep(4 * time.Second) // longer than each time-out of the process
					require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
				}
			}
			require.NoError(t, lines.Err())
			require.NoError(t, cmd.Wait())
			require.True(t, over)
			require.Equal(t, 2, stops)
			log := c.Values("t")
			wrong := map[string]int{}
			for value, outcome := range outcomes {
				bad := strings.HasPrefix(value, "large")
				if want := map[bool]guard.Outcome{true: guard.NotWritten, false: guard.Delivered}[bad]; outcome != want {
					wrong[fmt.Sprintf("%s is %s", value[:12], outcome)]++
				}
				if n := log[value]; n > 1 || (outcome == guard.Delivered) != (n == 1) {
					wrong[fmt.Sprintf("%s is %s, and %d times in the log", value[:12], outcome, n)]++
				}
			}
			require.Empty(t, wrong)
			require.Len(t, outcomes, suspendedWriters*suspendedWrites*(suspendedBatch+1))
		})
	}
}

const suspendedWriters, suspendedWrites, suspendedBatch = 4, 50, 49

// TestTheProcessThatIsSuspended is the other process.
func TestTheProcessThatIsSuspended(t *testing.T) {
	brokers := os.Getenv(suspendedBrokers)
	if brokers == "" {
		t.Skip("for TestASuspendedProcess")
	}
	g, err := guard.New(guard.Config{Retry: guard.Retry{InitialInterval: 50 * time.Millisecond, MaxInterval: time.Second}},
		kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.ProduceRequestTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second), kgo.ProducerBatchCompression(kgo.NoCompression()))
	require.NoError(t, err)
	defer g.Close()
	said := make(chan []outcomeOf)
	for w := range suspendedWriters {
		go func() {
			for n := range suspendedWrites {
				var rs []*kgo.Record
				for i := range suspendedBatch {
					rs = append(rs, &kgo.Record{Topic: "t", Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "small-%03d-%03d-%03d", w, n, i)})
				}
				large := append(fmt.Appendf(nil, "large-%03d-%03d-", w, n), slices.Repeat([]byte{'x'}, 20_000)...)
				rs = slices.Insert(rs, suspendedBatch/2, &kgo.Record{Topic: "t", Key: []byte("k1"), Value: large})
				var of []outcomeOf
				for i, v := range g.Write(context.Background(), rs) {
					of = append(of, outcomeOf{string(rs[i].Value), v.Outcome})
				}
				said <- of
			}
		}()
	}
	for range suspendedWriters * suspendedWrites {
		b, err := json.Marshal(<-said)
		require.NoError(t, err)
		fmt.Printf("outcomes %s\n", b)
	}
	fmt.Println("all written")
}
