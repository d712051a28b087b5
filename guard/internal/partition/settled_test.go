package partition_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

func heldBack(t *testing.T, p *partition.Partition, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return p.LaterCount() == n }, 5*time.Minute, time.Millisecond)
}

// Of two records in doubt, one is not taken for the other: brokers know a batch by its
// numbers alone.
func TestARecordInDoubtIsNotTakenForAnother(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	parts := func(b *partition.Batch) partition.Plan {
		return partition.Plan{Parts: []partition.Part{{Records: b.Records[:1]}, {Records: b.Records[1:]}}}
	}
	p := producertest.New(t, c, producertest.InOrder(parts, producertest.Later, producertest.Later))
	first := producertest.Send(p, kgo.Record{Value: []byte("first")})
	producertest.Wait(t, first)
	part := first.Place()
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownServerError})
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
	appended := c.AddFault(kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.UnknownServerError, Skip: 2})
	records := producertest.SendTogether(p, "one", "two")
	heldBack(t, part, 2)
	require.Equal(t, 1, appended.Hits())
	part.Again(records[0])
	require.Eventually(t, records[0].Ended, 5*time.Minute, time.Millisecond)
	part.Again(records[1])
	producertest.Wait(t, records[0])
	producertest.RequireExact(t, c, records)
}

// A single record in doubt that is to be sent alone is the same batch under the same number.
func TestARecordInDoubtThatIsSentAloneIsTheSameBatch(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	alone := func(b *partition.Batch) partition.Plan {
		return partition.Plan{Parts: []partition.Part{{Records: b.Records, Alone: true}}}
	}
	p := producertest.New(t, c, producertest.InOrder(alone))
	producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("first")}))
	c.AddFault(kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.UnknownServerError})
	r := producertest.Send(p, kgo.Record{Value: []byte("in doubt")})
	producertest.Wait(t, r)
	require.Equal(t, partition.Acked, r.Outcome(), "%v", r.Reason)
	producertest.RequireExact(t, c, []*partition.Record{r})
}

// What was given up is forgotten with the next ack: a later batch without an answer is sent
// again under its number.
func TestAnAckSettlesWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := producertest.New(t, c, &producertest.Plain{})
	producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("first")}))
	stop := producertest.Lost(c, kafkafake.Fault{Do: kafkafake.Delay})
	gone := producertest.Send(p, kgo.Record{Value: []byte("given up")})
	<-stop.Came
	p.Withdraw([]*partition.Record{gone}, partition.All, producertest.GivenUp)
	close(stop.LetGo)
	producertest.Wait(t, gone, producertest.Send(p, kgo.Record{Value: []byte("acked")}))
	producertest.RequireSettled(t, c, p)
	producertest.RequireExact(t, c, []*partition.Record{gone})
}

// A write may give up at the moment of Close: each of its records ends once.
func TestCloseAndWithdrawEndARecordOnce(t *testing.T) {
	t.Parallel()
	for range 200 {
		hook := &producer.Hook{}
		cl, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"), kgo.WithHooks(hook))
		require.NoError(t, err)
		backoff := func(int) time.Duration { return time.Hour }
		p := producer.New(producer.Config{Client: cl, Acks: -1, Partitioner: kgo.ManualPartitioner(), InFlight: 5, Backoff: backoff, MetadataMinAge: time.Hour, Policy: &producertest.Plain{}}, hook)
		records := producertest.SendTogether(p, producertest.Values("v", 2000)...)
		go p.Withdraw(records, partition.All, producertest.GivenUp)
		p.Close()
		producertest.Wait(t, records[0])
		require.Zero(t, records[0].Write.Expects())
		cl.Close()
	}
}

// A batch in doubt that is rejected with others is sent again in a request of its own, as it
// is: it was appended, and the broker says so.
func TestABatchInDoubtThatIsSentAloneIsTheSameBatch(t *testing.T) {
	policy := producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
		if errors.Is(a.Err, kerr.InvalidRecord) {
			return partition.Plan{Parts: []partition.Part{{Records: b.Records, Alone: true}}}
		}
		return partition.Plan{Same: true, Pause: time.Second}
	})
	producertest.InVirtualTime(t, 1, policy, func(w *producertest.World) {
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		w.Cluster.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		records := w.Send(3, nil)
		producertest.Wait(w.T, records[0])
		require.Equal(w, []string{"a b c", "a b c", "a b c"}, w.ValuesSeen())
		require.Equal(w, []partition.Outcome{partition.Acked, partition.Acked, partition.Acked}, producertest.Outcomes(records))
		producertest.RequireExact(w.T, w.Cluster, records)
	})
}
