package producer

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// inOrder is a Policy of one function for each batch that is not acked.
func inOrder(do ...func(*Batch) Plan) policyFunc {
	var n atomic.Int64
	return func(b *Batch, _ Answer) Plan {
		if at := int(n.Add(1)) - 1; at < len(do) {
			return do[at](b)
		}
		return Plan{Same: true}
	}
}

func same(*Batch) Plan { return Plan{Same: true} }

func later(b *Batch) Plan {
	return Plan{Later: []Later{{Record: b.Records[0], After: time.Hour}}}
}

func sendTogether(p *Producer, values ...string) (records []*Record) {
	w := NewWrite()
	w.Expect(len(values))
	for _, v := range values {
		r := &Record{Record: &kgo.Record{Topic: "t", Value: []byte(v)}, Write: w}
		r.Prepare()
		records = append(records, r)
	}
	p.Send(records)
	return records
}

func heldBack(t *testing.T, p *partition, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.later) == n
	}, 5*time.Minute, time.Millisecond)
}

// requireSettled sends a record whose first answer is lost, and requires that it is acked, and
// in the log once.
func requireSettled(t *testing.T, c *kafkafake.Cluster, p *Producer) {
	t.Helper()
	c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
	r := send(p, kgo.Record{Value: []byte("in doubt")})
	wait(t, r)
	require.Equal(t, Acked, r.Outcome(), "%v", r.Reason)
	requireExact(t, c, []*Record{r})
}

// Of two records in doubt, one is not taken for the other: brokers know a batch by its
// numbers alone.
func TestARecordInDoubtIsNotTakenForAnother(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	parts := func(b *Batch) Plan {
		return Plan{Parts: []Part{{Records: b.Records[:1]}, {Records: b.Records[1:]}}}
	}
	p := newProducer(t, c, inOrder(parts, later, later))
	wait(t, send(p, kgo.Record{Value: []byte("first")}))
	part := p.topic("t").partitions[0]
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownServerError})
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
	appended := c.AddFault(kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.UnknownServerError, Skip: 2})
	records := sendTogether(p, "one", "two")
	heldBack(t, part, 2)
	require.Equal(t, 1, appended.Hits())
	part.again(records[0])
	require.Eventually(t, records[0].Ended, 5*time.Minute, time.Millisecond)
	part.again(records[1])
	wait(t, records[0])
	requireExact(t, c, records)
}

// A single record in doubt that is to be sent alone is the same batch under the same number.
func TestARecordInDoubtThatIsSentAloneIsTheSameBatch(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	alone := func(b *Batch) Plan { return Plan{Parts: []Part{{Records: b.Records, Alone: true}}} }
	p := newProducer(t, c, inOrder(alone))
	wait(t, send(p, kgo.Record{Value: []byte("first")}))
	c.AddFault(kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.UnknownServerError})
	r := send(p, kgo.Record{Value: []byte("in doubt")})
	wait(t, r)
	require.Equal(t, Acked, r.Outcome(), "%v", r.Reason)
	requireExact(t, c, []*Record{r})
}

// What was written by name may be in the topic that is there now: a record that may be is
// Unknown, though another one is acked in it.
func TestWhatWasWrittenByNameMayBeInTheNextTopic(t *testing.T) {
	t.Parallel()
	d := kafkafake.Kafka()
	d.Versions = kversion.V3_6_0()
	c := kafkafake.StartDialect(t, d, nil)
	c.Topic("t", 1)
	var p *Producer
	failed := func(b *Batch) Plan {
		p.learn(another(1))
		return Plan{Failed: []Failed{{Record: b.Records[0], Reason: errors.New("rejected")}}}
	}
	p = newProducer(t, c, inOrder(same, failed), func(cfg *Config) { cfg.MetadataMinAge = time.Hour })
	wait(t, send(p, kgo.Record{Value: []byte("first")}))
	rejection := lost(c, rejected)
	inDoubt := send(p, kgo.Record{Value: []byte("in doubt")})
	<-rejection.came
	next := sendTogether(p, "next", "and the one after it") // not as many
	close(rejection.letGo)
	wait(t, inDoubt, next[0])
	require.Equal(t, Unknown, inDoubt.Outcome())
	requireExact(t, c, append(next, inDoubt))
}

// Not every broker tells the ID of a topic. One that does not leaves the topic the same.
func TestATopicWithoutAnIDIsNoOther(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	var p *Producer
	noID := func(*Batch) Plan {
		m := another(1)
		m.TopicID = [16]byte{}
		p.learn(m)
		return Plan{Same: true}
	}
	p = newProducer(t, c, inOrder(noID), func(cfg *Config) { cfg.MetadataMinAge = time.Hour })
	wait(t, send(p, kgo.Record{Value: []byte("first")}))
	requireSettled(t, c, p)
}

// An ack is one for the topic that the batch was written to, whatever metadata says meanwhile.
func TestAnAckIsForTheTopicThatWasWrittenTo(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := newProducer(t, c, &plain{})
	wait(t, send(p, kgo.Record{Value: []byte("first")}))
	stop := stopNext(c, kafkafake.Fault{Do: kafkafake.Delay})
	r := send(p, kgo.Record{Value: []byte("in flight")})
	<-stop.came
	p.learn(another(1)) // of a broker that lags behind
	close(stop.letGo)
	wait(t, r)
	require.Equal(t, Acked, r.Outcome(), "%v", r.Reason)
	requireExact(t, c, []*Record{r})
}

// A record in doubt whose topic is deleted and created again is written to that.
func TestARecordInDoubtGoesToTheNextTopic(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	var p *Producer
	recreated := func(*Batch) Plan {
		_, err := c.Admin.DeleteTopic(t.Context(), "t")
		if err == nil {
			c.Topic("t", 1)
			old := p.topic("t").id.Load()
			for p.topic("t").id.Load() == old && t.Context().Err() == nil {
				_, _ = p.Refresh(t.Context(), "t")
			}
		}
		return Plan{Same: true}
	}
	p = newProducer(t, c, inOrder(recreated))
	wait(t, send(p, kgo.Record{Value: []byte("first")}))
	requireSettled(t, c, p)
}

// What was given up is forgotten with the next ack: a later batch without an answer is sent
// again under its number.
func TestAnAckSettlesWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	p := newProducer(t, c, &plain{})
	wait(t, send(p, kgo.Record{Value: []byte("first")}))
	stop := lost(c, kafkafake.Fault{Do: kafkafake.Delay})
	gone := send(p, kgo.Record{Value: []byte("given up")})
	<-stop.came
	p.Withdraw([]*Record{gone}, All, givenUp)
	close(stop.letGo)
	wait(t, gone, send(p, kgo.Record{Value: []byte("acked")}))
	requireSettled(t, c, p)
	requireExact(t, c, []*Record{gone})
}

// A write may give up at the moment of Close: each of its records ends once.
func TestCloseAndWithdrawEndARecordOnce(t *testing.T) {
	t.Parallel()
	for range 200 {
		hook := &Hook{}
		cl, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"), kgo.WithHooks(hook))
		require.NoError(t, err)
		backoff := func(int) time.Duration { return time.Hour }
		p := New(Config{Client: cl, Acks: -1, Partitioner: kgo.ManualPartitioner(), InFlight: 5, Backoff: backoff, MetadataMinAge: time.Hour, Policy: &plain{}}, hook)
		records := sendTogether(p, values("v", 2000)...)
		go p.Withdraw(records, All, givenUp)
		p.Close()
		wait(t, records[0])
		require.Zero(t, records[0].Write.left.Load())
		cl.Close()
	}
}

// A batch in doubt that is rejected with others is sent again in a request of its own, as it
// is: it was appended, and the broker says so.
func TestABatchInDoubtThatIsSentAloneIsTheSameBatch(t *testing.T) {
	policy := policyFunc(func(b *Batch, a Answer) Plan {
		if errors.Is(a.Err, kerr.InvalidRecord) {
			return Plan{Parts: []Part{{Records: b.Records, Alone: true}}}
		}
		return Plan{Same: true, Pause: time.Second}
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		records := w.send(3, nil)
		wait(w.T, records[0])
		require.Equal(w, []string{"a b c", "a b c", "a b c"}, w.valuesSeen())
		require.Equal(w, []Outcome{Acked, Acked, Acked}, outcomes(records))
		requireExact(w.T, w.c, records)
	})
}
