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
	"github.com/kafka-guarded/kafka-guarded/guard/internal/producertest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// What waits behind a record is sent when that is given up while it is in flight.
func TestWhatWaitsBehindARecordThatIsGivenUpIsSent(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := producertest.New(t, c, producertest.PolicyFunc(func(b *partition.Batch, _ broker.Answer) partition.Plan {
		return partition.Plan{Later: []partition.Later{{Record: b.Records[0], After: time.Hour}}}
	}))
	first := producertest.Send(p, kgo.Record{Value: []byte("first")})
	producertest.Wait(t, first)
	part := first.Place()
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord})
	holder := producertest.Send(p, kgo.Record{Key: []byte("k"), Value: []byte("holder")})
	require.Eventually(t, func() bool { return part.WaitsAlone(holder) }, 5*time.Minute, time.Millisecond)
	behind := producertest.Send(p, kgo.Record{Key: []byte("k"), Value: []byte("behind")})
	producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("other")}))
	rejection := producertest.StopNext(c, producertest.Rejected)
	part.Again(holder)
	<-rejection.Came
	p.Withdraw([]*partition.Record{holder}, partition.Queued, producertest.GivenUp)
	close(rejection.LetGo)
	producertest.Wait(t, holder, behind)
	require.Equal(t, partition.NotWritten, holder.Outcome())
	require.Equal(t, partition.Acked, behind.Outcome())
}

// What waits behind a record in doubt is sent when that ends since nothing can tell any more.
func TestWhatWaitsBehindARecordInDoubtIsSent(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := producertest.New(t, c, producertest.PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
		if a.Code == 0 {
			return partition.Plan{Same: true}
		}
		return partition.Plan{
			Failed: []partition.Failed{{Record: b.Records[0], Reason: errors.New("rejected")}},
			Later:  []partition.Later{{Record: b.Records[1], After: time.Hour}},
		}
	}))
	producertest.Wait(t, producertest.Send(p, kgo.Record{Value: []byte("first")}))
	rejection := producertest.Lost(c, producertest.Rejected)
	w := partition.NewWrite()
	w.Expect(2)
	var two []*partition.Record
	for _, key := range []string{"other", "k"} {
		r := &partition.Record{Record: &kgo.Record{Topic: "t", Key: []byte(key), Value: []byte("in doubt")}, Write: w}
		r.Prepare()
		two = append(two, r)
	}
	p.Send(two)
	<-rejection.Came
	behind := producertest.Send(p, kgo.Record{Key: []byte("k"), Value: []byte("behind")})
	close(rejection.LetGo)
	producertest.Wait(t, two[0], behind)
	require.Equal(t, []partition.Outcome{partition.Unknown, partition.Unknown, partition.Acked}, []partition.Outcome{two[0].Outcome(), two[1].Outcome(), behind.Outcome()})
}
