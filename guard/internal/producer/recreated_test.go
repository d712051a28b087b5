package producer_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// What was written by name may be in the topic that is there now: a record that may be is
// Unknown, though another one is acked in it.
func TestWhatWasWrittenByNameMayBeInTheNextTopic(t *testing.T) {
	t.Parallel()
	d := kafkafake.Kafka()
	d.Versions = kversion.V3_6_0()
	c := kafkafake.StartDialect(t, d, nil)
	c.Topic("t", 1)
	var p *producer.Producer
	failed := func(b *partition.Batch) partition.Plan {
		p.Learn(producertest.Another(1))
		return partition.Plan{Failed: []partition.Failed{{Record: b.Records[0], Reason: errors.New("rejected")}}}
	}
	p = producertest.New(t, c, producertest.InOrder(producertest.Same, failed), func(cfg *producer.Config) { cfg.MetadataMinAge = time.Hour })
	producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("first")}))
	rejection := producertest.Lost(c, producertest.Rejected)
	inDoubt := producertest.Send(p, kgo.Record{Value: []byte("in doubt")})
	<-rejection.Came
	next := producertest.SendTogether(p, "next", "and the one after it") // not as many
	close(rejection.LetGo)
	producertest.Wait(t, inDoubt, next[0])
	require.Equal(t, partition.Unknown, inDoubt.Outcome())
	producertest.RequireExact(t, c, append(next, inDoubt))
}

// Not every broker tells the ID of a topic. One that does not leaves the topic the same.
func TestATopicWithoutAnIDIsNoOther(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	var p *producer.Producer
	noID := func(*partition.Batch) partition.Plan {
		m := producertest.Another(1)
		m.TopicID = [16]byte{}
		p.Learn(m)
		return partition.Plan{Same: true}
	}
	p = producertest.New(t, c, producertest.InOrder(noID), func(cfg *producer.Config) { cfg.MetadataMinAge = time.Hour })
	producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("first")}))
	producertest.RequireSettled(t, c, p)
}

// An ack is one for the topic that the batch was written to, whatever metadata says meanwhile.
func TestAnAckIsForTheTopicThatWasWrittenTo(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := producertest.New(t, c, &producertest.Plain{})
	producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("first")}))
	stop := producertest.StopNext(c, kafkafake.Fault{Do: kafkafake.Delay})
	r := producertest.Send(p, kgo.Record{Value: []byte("in flight")})
	<-stop.Came
	p.Learn(producertest.Another(1)) // of a broker that lags behind
	close(stop.LetGo)
	producertest.Wait(t, r)
	require.Equal(t, partition.Acked, r.Outcome(), "%v", r.Reason)
	producertest.RequireExact(t, c, []*partition.Record{r})
}

// A record in doubt whose topic is deleted and created again is written to that.
func TestARecordInDoubtGoesToTheNextTopic(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	var p *producer.Producer
	recreated := func(*partition.Batch) partition.Plan {
		_, err := c.Admin.DeleteTopic(t.Context(), "t")
		if err == nil {
			c.Topic("t", 1)
			old := p.IDOf("t")
			for p.IDOf("t") == old && t.Context().Err() == nil {
				_, _ = p.Refresh(t.Context(), "t")
			}
		}
		return partition.Plan{Same: true}
	}
	p = producertest.New(t, c, producertest.InOrder(recreated))
	producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("first")}))
	producertest.RequireSettled(t, c, p)
}

// What is queued in a partition that is no more goes on when what was in flight was given up.
func TestAPartitionThatIsNoMoreGivesBackItsRecords(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 2)
	p := producertest.New(t, c, &producertest.Plain{})
	producertest.Wait(t, producertest.Send(p, kgo.Record{Partition: 1, Value: []byte("first")}))
	rejection := producertest.StopNext(c, producertest.Rejected)
	inFlight := producertest.Send(p, kgo.Record{Partition: 1, Value: []byte("in flight")})
	<-rejection.Came
	queued := producertest.Send(p, kgo.Record{Partition: 1, Value: []byte("queued")})
	p.Learn(producertest.Another(1))
	p.Withdraw([]*partition.Record{inFlight}, partition.All, producertest.GivenUp)
	close(rejection.LetGo)
	producertest.Wait(t, inFlight, queued)
	require.Equal(t, []partition.Outcome{partition.Unknown, partition.Acked}, []partition.Outcome{inFlight.Outcome(), queued.Outcome()})
}

// Close ends what is in flight to a partition that is no more.
func TestCloseEndsWhatAPartitionHasThatIsNoMore(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 2)
	p := producertest.New(t, c, producertest.PolicyFunc(func(*partition.Batch, broker.Answer) partition.Plan { return partition.Plan{Same: true} }))
	producertest.Wait(t, producertest.Send(p, kgo.Record{Partition: 1, Value: []byte("first")}))
	rejection := producertest.StopNext(c, producertest.Rejected)
	inFlight := producertest.Send(p, kgo.Record{Partition: 1, Value: []byte("in flight")})
	<-rejection.Came
	queued := producertest.Send(p, kgo.Record{Partition: 1, Value: []byte("queued")})
	p.Learn(producertest.Another(1))
	p.Close()
	close(rejection.LetGo)
	producertest.Wait(t, inFlight, queued)
	require.Equal(t, partition.NotWritten, queued.Outcome())
}
