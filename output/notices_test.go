package output

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// lines is a logger, and its lines.
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

// If topics are made of messages, their number has no bound.
func TestFailuresOfManyTopicsAreSaidTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, text := lines()
		n := newNotices(log, endpoint{})
		for topic := range 1000 {
			f := &guard.Failure{Class: guard.UnknownTopic, Topic: fmt.Sprint("t-", topic), Partition: -1}
			n.deadLettered(f)
			n.unreportable(f)
			n.notPermanent(f)
		}
		require.Equal(t, 3*(mostKinds+1), text.Count("\n"))
		require.Equal(t, 1, text.Count("1 messages for further topics failed for good, and are in the output of dead_letter: unknown_topic"))
		n.close()
		require.Equal(t, 1, text.Count(fmt.Sprint(1000-mostKinds-1, " messages for further topics failed for good")))
		require.NotContains(t, text.String(), "t-999")
	})
}

// Lines name twenty topics that wait or change. The others share a line once a minute.
// A named topic keeps its place until its state ends.
func TestNoticesOfManyTopicsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, text := lines()
		n := newNotices(log, endpoint{})
		const topics = 10_000
		wait := func(from int, over bool) {
			for topic := range topics {
				n.waiting(guard.Waiting{Topic: fmt.Sprint("t-", from+topic), Why: "unknown_topic", Class: guard.UnknownTopic, Records: 2, Since: time.Now(), Over: over})
			}
			synctest.Wait()
		}
		before := 0
		since := func() int {
			lines := text.Count("msg=")
			defer func() { before = lines }()
			return lines - before
		}
		wait(0, false)
		require.Equal(t, mostKinds+1, since())
		time.Sleep(noticeInterval)
		synctest.Wait()
		require.Equal(t, 1, text.Count(fmt.Sprint(2*(topics-mostKinds-1), " messages for further topics wait, or are held and tried again until it passes: unknown_topic")), text.String())
		since()
		wait(0, false)
		require.LessOrEqual(t, since(), mostKinds+1)
		wait(0, true)
		require.Equal(t, mostKinds, since())
		wait(topics, false)
		require.Zero(t, since(), "twenty a minute")
		time.Sleep(noticeInterval)
		synctest.Wait()
		since()
		wait(2*topics, false)
		require.Equal(t, mostKinds, text.Count("messages for topic t-200"))
		wait(2*topics, true)
		since()

		for topic := range topics {
			name := fmt.Sprint("t-", topic)
			n.rules(nil, &guard.Rules{Topic: name, Unknown: kerr.TopicAuthorizationFailed}, 0)
			n.rules(&guard.Rules{Topic: name, Known: true}, &guard.Rules{Topic: name, Known: true, MaxMessageBytes: 1}, 1000)
			n.learned(name, 100)
			n.difference(guard.Difference{Topic: name})
			n.breakerHolds(name, 1, 2, &guard.Failure{})
			n.breakerCloses(name)
		}
		n.close()
		require.Less(t, since(), 8*mostKinds)
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

// The text names a missing right only if a right is missing.
func TestWhyLimitsAreNotKnown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		why    error
		advice bool
	}{
		{kerr.TopicAuthorizationFailed, true},
		{errors.New("the broker does not report max.message.bytes"), false},
		{kerr.UnsupportedVersion, false},
	} {
		log, text := lines()
		newNotices(log, endpoint{}).rules(nil, &guard.Rules{Topic: "t", Unknown: test.why}, 0)
		require.Equal(t, 1, text.Count("What topic t accepts is not known"))
		require.Equal(t, test.advice, text.Count("DESCRIBE_CONFIGS") == 1, "%v", test.why)
	}
}

// A shutdown may end the client while it reads limits. That is not logged.
func TestALimitThatIsNotReadAtAShutdownIsNotSaid(t *testing.T) {
	t.Parallel()
	log, text := lines()
	newNotices(log, endpoint{}).rules(nil, &guard.Rules{Topic: "t", Unknown: fmt.Errorf("reading metadata: %w", kgo.ErrClientClosed)}, 0)
	require.Empty(t, text.String())
}

func TestALimitThatDoesNotHoldIsSaid(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		difference guard.Difference
		says       string
	}{
		{guard.Difference{Topic: "t", Name: "max.message.bytes", Reported: 600, Taken: 1000}, "The cluster reports max.message.bytes for topic t (600), but the broker took 1000 bytes: "},
		{guard.Difference{Topic: "t", Name: "cleanup.policy", Reported: 1}, "The cluster reports cleanup.policy for topic t, but the broker took a message that breaks it: "},
		{guard.Difference{Topic: "t", Name: "message.timestamp.before.max.ms", Reported: 5, Taken: 600_000}, "(5), but the broker took a timestamp that is off by 600000 ms: "},
	} {
		log, text := lines()
		newNotices(log, endpoint{}).difference(test.difference)
		require.Equal(t, 1, text.Count(test.says), text.String())
	}
}
