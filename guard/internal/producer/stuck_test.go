package producer

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// send sends a record of the topic "t" as a write of its own.
func send(p *Producer, r kgo.Record) *Record {
	r.Topic = "t"
	to := &Record{Record: &r, Write: NewWrite()}
	to.Prepare()
	to.Write.Expect(1)
	p.Send([]*Record{to})
	return to
}

func wait(t *testing.T, records ...*Record) {
	t.Helper()
	for _, r := range records {
		select {
		case <-r.Write.Done:
		case <-time.After(5 * time.Minute):
			t.Fatalf("%s has not ended", r.Value)
		}
	}
}

// stop is where a request stops until it is let go.
type stop struct{ came, letGo chan struct{} }

// stopNext stops the next produce request, which then meets a fault.
func stopNext(c *kafkafake.Cluster, f kafkafake.Fault) stop {
	return stopAfter(c, f, func() bool { return true })
}

// lost has the answer to the next produce request lost. The one after it stops.
func lost(c *kafkafake.Cluster, f kafkafake.Fault) stop {
	var first *kafkafake.FaultHandle
	s := stopAfter(c, f, func() bool { return first.Hits() > 0 }) // it is asked before the first
	first = c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
	return s
}

func stopAfter(c *kafkafake.Cluster, f kafkafake.Fault, begun func() bool) stop {
	s := stop{make(chan struct{}), make(chan struct{})}
	var once atomic.Bool
	f.When = func(kmsg.Request) bool {
		if !begun() || once.Swap(true) {
			return false
		}
		close(s.came)
		<-s.letGo
		return true
	}
	c.AddFault(f)
	return s
}

var rejected = kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord}

var errGivenUp = errors.New("given up")

func givenUp(*Record) error { return errGivenUp }

// What waits behind a record is sent when that is given up while it is in flight.
func TestWhatWaitsBehindARecordThatIsGivenUpIsSent(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := newProducer(t, c, policyFunc(func(b *Batch, _ Answer) Plan {
		return Plan{Later: []Later{{Record: b.Records[0], After: time.Hour}}}
	}))
	wait(t, send(p, kgo.Record{Value: []byte("first")}))
	part := p.topic("t").partitions[0]
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord})
	holder := send(p, kgo.Record{Key: []byte("k"), Value: []byte("holder")})
	require.Eventually(t, func() bool {
		part.mu.Lock()
		defer part.mu.Unlock()
		return part.later[holder] != nil
	}, 5*time.Minute, time.Millisecond)
	behind := send(p, kgo.Record{Key: []byte("k"), Value: []byte("behind")})
	wait(t, send(p, kgo.Record{Value: []byte("other")}))
	rejection := stopNext(c, rejected)
	part.again(holder)
	<-rejection.came
	p.Withdraw([]*Record{holder}, Queued, givenUp)
	close(rejection.letGo)
	wait(t, holder, behind)
	require.Equal(t, NotWritten, holder.Outcome())
	require.Equal(t, Acked, behind.Outcome())
}

// What waits behind a record in doubt is sent when that ends since nothing can tell any more.
func TestWhatWaitsBehindARecordInDoubtIsSent(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := newProducer(t, c, policyFunc(func(b *Batch, a Answer) Plan {
		if a.Code == 0 {
			return Plan{Same: true}
		}
		return Plan{
			Failed: []Failed{{Record: b.Records[0], Reason: errors.New("rejected")}},
			Later:  []Later{{Record: b.Records[1], After: time.Hour}},
		}
	}))
	wait(t, send(p, kgo.Record{Value: []byte("first")}))
	rejection := lost(c, rejected)
	w := NewWrite()
	w.Expect(2)
	var two []*Record
	for _, key := range []string{"other", "k"} {
		r := &Record{Record: &kgo.Record{Topic: "t", Key: []byte(key), Value: []byte("in doubt")}, Write: w}
		r.Prepare()
		two = append(two, r)
	}
	p.Send(two)
	<-rejection.came
	behind := send(p, kgo.Record{Key: []byte("k"), Value: []byte("behind")})
	close(rejection.letGo)
	wait(t, two[0], behind)
	require.Equal(t, []Outcome{Unknown, Unknown, Acked}, []Outcome{two[0].Outcome(), two[1].Outcome(), behind.Outcome()})
}

// another returns metadata of another topic "t" with so many partitions.
func another(partitions int) *kmsg.MetadataResponseTopic {
	name := "t"
	m := &kmsg.MetadataResponseTopic{Topic: &name, TopicID: [16]byte{1}}
	for n := range partitions {
		m.Partitions = append(m.Partitions, kmsg.MetadataResponseTopicPartition{Partition: int32(n)})
	}
	return m
}

// What is queued in a partition that is no more goes on when what was in flight was given up.
func TestAPartitionThatIsNoMoreGivesBackItsRecords(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 2)
	p := newProducer(t, c, &plain{})
	wait(t, send(p, kgo.Record{Partition: 1, Value: []byte("first")}))
	rejection := stopNext(c, rejected)
	inFlight := send(p, kgo.Record{Partition: 1, Value: []byte("in flight")})
	<-rejection.came
	queued := send(p, kgo.Record{Partition: 1, Value: []byte("queued")})
	p.learn(another(1))
	p.Withdraw([]*Record{inFlight}, All, givenUp)
	close(rejection.letGo)
	wait(t, inFlight, queued)
	require.Equal(t, []Outcome{Unknown, Acked}, []Outcome{inFlight.Outcome(), queued.Outcome()})
}

// Close ends what is in flight to a partition that is no more.
func TestCloseEndsWhatAPartitionHasThatIsNoMore(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 2)
	p := newProducer(t, c, policyFunc(func(*Batch, Answer) Plan { return Plan{Same: true} }))
	wait(t, send(p, kgo.Record{Partition: 1, Value: []byte("first")}))
	rejection := stopNext(c, rejected)
	inFlight := send(p, kgo.Record{Partition: 1, Value: []byte("in flight")})
	<-rejection.came
	queued := send(p, kgo.Record{Partition: 1, Value: []byte("queued")})
	p.learn(another(1))
	p.Close()
	close(rejection.letGo)
	wait(t, inFlight, queued)
	require.Equal(t, NotWritten, queued.Outcome())
}
