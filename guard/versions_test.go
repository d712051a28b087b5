package guard

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// versions are those of Kafka between which something differs that guard goes by:
// the versions of produce, of DescribeConfigs and of Metadata, which records a broker lists,
// and topic IDs.
var versions = []struct {
	name     string
	versions *kversion.Versions
	listing  kafkafake.Listing
}{
	{"0.11", kversion.V0_11_0(), kafkafake.ListsNone},
	{"1.1", kversion.V1_1_0(), kafkafake.ListsNone},
	{"2.3", kversion.V2_3_0(), kafkafake.ListsNone},
	{"2.4", kversion.V2_4_0(), kafkafake.ListsFirst},
	{"2.8", kversion.V2_8_0(), kafkafake.ListsAll},
	{"3.3", kversion.V3_3_0(), kafkafake.ListsAll},
	{"3.9", kversion.V3_9_0(), kafkafake.ListsAll},
	{"4.0", kversion.V4_0_0(), kafkafake.ListsAll},
	{"4.2", kversion.V4_2_0(), kafkafake.ListsAll},
}

// onVersions runs a test on each version, with rules that are read, and that are
// not.
func onVersions(t *testing.T, test func(t *testing.T, c *kafkafake.Cluster, config Config)) {
	t.Helper()
	for _, v := range versions {
		for _, ignore := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ignoring rules %t", v.name, ignore), func(t *testing.T) {
				t.Parallel()
				config := retrying(newTold())
				config.IgnoreRules = ignore
				test(t, kafkafake.StartDialect(t, kafkafake.Dialect{Name: v.name, Versions: v.versions, Listing: v.listing}, nil), config)
			})
		}
	}
}

// Records of all kinds, to three partitions: each bad record is found, and all others
// are delivered.
func TestEachVersionsFailedRecordsAreFound(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, c *kafkafake.Cluster, config Config) {
		c.Topic("t", 3, "cleanup.policy=compact", "max.message.bytes=20000", "message.timestamp.difference.max.ms=3600000", "message.timestamp.before.max.ms=3600000")
		g := newGuard(t, c, config, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		for round := range 2 {
			rs := records("t", fmt.Sprint("r", round), 300, 10)
			want := map[int]Class{}
			for i, r := range rs {
				r.Key, r.Partition, r.Timestamp = fmt.Append(nil, i), int32(i%3), time.Now().Truncate(time.Millisecond)
				switch i % 50 {
				case 11:
					r.Key, want[i] = nil, InvalidRecord
				case 23:
					r.Timestamp, want[i] = r.Timestamp.Add(-2*time.Hour), InvalidRecord
				case 37:
					r.Value, want[i] = append(r.Value, make([]byte, 21_000)...), SizeExceeded
				}
			}
			vs := g.Write(t.Context(), rs)
			require.Equal(t, want, classes(vs))
			account(t, c, rs, vs)
		}
	})
}

// A connection that is cut once the broker has appended, and a topic that is
// deleted and created again.
func TestEachVersionsFaultsAreRiddenOut(t *testing.T) {
	t.Parallel()
	onVersions(t, func(t *testing.T, c *kafkafake.Cluster, config Config) {
		c.Topic("t", 1)
		g := newGuard(t, c, config, kgo.UnknownTopicRetries(0))
		write := func(name string) {
			rs := records("t", name, 50, 10)
			vs := g.Write(t.Context(), rs)
			require.Empty(t, classes(vs))
			account(t, c, rs, vs)
		}
		write("before")
		cut := c.AddFault(kafkafake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Do: kafkafake.DisconnectAfter})
		write("cut")
		require.Equal(t, 1, cut.Hits())
		_, err := c.Admin.DeleteTopic(t.Context(), "t")
		require.NoError(t, err)
		c.Topic("t", 1)
		write("after")
	})
}
