package output

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// lines is a logger, and what it wrote.
func lines() (*service.Logger, *streamtest.Log) {
	log := &streamtest.Log{}
	return service.NewLoggerFromSlog(slog.New(slog.NewTextHandler(log, nil))), log
}

func TestDeadLettersAreSaidAtABoundedRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, text := lines()
		n := newNotices(log, endpoint{})
		large := &guard.Failure{Class: guard.SizeExceeded, Topic: "t", Partition: -1, Bytes: 2, Limit: 1, LimitName: "the limit"}
		for range 1000 {
			n.deadLettered(large)
		}
		n.deadLettered(&guard.Failure{Class: guard.Unroutable, Topic: "a secret", Partition: -1})
		require.Equal(t, 2, text.Count("failed for good"))
		require.Equal(t, 1, text.Count("1 messages for topic t failed for good, and are in the output of dead_letter: size_exceeded: topic t: 2 bytes exceed the limit (1)"))
		require.Equal(t, 1, text.Count("1 messages without a legal topic failed for good, and are in the output of dead_letter: unroutable"))
		require.NotContains(t, text.String(), "a secret")
		time.Sleep(noticeInterval)
		synctest.Wait()
		require.Equal(t, 1, text.Count("999 messages for topic t failed for good"))
		time.Sleep(2 * noticeInterval)
		synctest.Wait()
		require.Equal(t, 3, text.Count("failed for good"), "nothing came any more")
		n.deadLettered(large)
		n.deadLettered(large)
		n.close()
		require.Equal(t, 3, text.Count("1 messages for topic t failed for good"), "what is left is said at the end")
	})
}

func TestTheClientsLinesAreGathered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, text := lines()
		l := newClientLog(log)
		defer l.close()
		for range 20 {
			for p := range 100 {
				l.Log(kgo.LogLevelError, "produce partition load error", "broker", fmt.Sprint(p%3), "topic", "t", "partition", p, "err", "no leader")
			}
			l.Log(kgo.LogLevelWarn, "unable to open connection to broker", "broker", "1", "err", "refused")
			time.Sleep(noticeInterval / 20)
		}
		synctest.Wait()
		said := strings.Split(strings.TrimSpace(text.String()), "\n")
		require.Len(t, said, 4)
		for n, fields := range [][]string{
			{`msg="produce partition load error"`, "broker=0", "topic=t", "partition=0", `err="no leader"`},
			{`msg="unable to open connection to broker"`, "broker=1", "err=refused"},
		} {
			for _, field := range fields {
				require.Contains(t, said[n], field)
			}
		}
		for _, field := range []string{"times=1999", "partitions=100", "brokers=3", "times=19", "brokers=1"} {
			require.Contains(t, said[2]+said[3], field)
		}
	})
}

func TestAClusterWithoutProducerIDsIsSaid(t *testing.T) {
	t.Parallel()
	versions := kversion.V2_8_0()
	versions.SetMaxKeyVersion(int16(kmsg.InitProducerID), -1)
	c := newCluster(t, kfake.MaxVersions(versions))
	c.Topic("t", 1)
	log, text := lines()
	l := newClientLog(log)
	defer l.close()
	client, err := kgo.NewClient(append(c.Opts(), kgo.WithLogger(l))...)
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "t"}).FirstErr())
	require.Equal(t, 1, text.Count("level=WARN", "The cluster has no producer IDs, so that idempotent_write has no effect"))
}
