package partition_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// What may be in the log is Unknown, whatever the broker answers to it later.
func TestWhatMayBeWrittenIsUnknown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		first, second kafkafake.Fault
	}{
		{"an answer that tells an offset besides its error", kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.NotLeaderForPartition}, kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed}},
		{"a lost answer, and then a rejection", kafkafake.Fault{Do: kafkafake.DisconnectAfter}, kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed}},
		{"a lost answer, and then the partition's history is forgotten", kafkafake.Fault{Do: kafkafake.DisconnectAfter}, kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.OutOfOrderSequenceNumber}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
			c.Topic("t", 1)
			p := producertest.New(t, c, &producertest.Plain{})
			producertest.RequireExact(t, c, producertest.Write(t, p, 1, producertest.Values("first", 3)...))
			var first *kafkafake.FaultHandle
			test.second.When = func(kmsg.Request) bool { return first.Hits() > 0 } // it is asked before the first
			second := c.AddFault(test.second)
			first = c.AddFault(test.first)
			records := producertest.Write(t, p, 1, producertest.Values("open", 3)...)
			require.Equal(t, 1, second.Hits())
			producertest.RequireExact(t, c, records)
			for _, r := range records {
				require.Equal(t, partition.Unknown, r.Outcome(), "%s", r.Value)
			}
			producertest.RequireExact(t, c, producertest.Write(t, p, 1, producertest.Values("last", 3)...))
		})
	}
}
