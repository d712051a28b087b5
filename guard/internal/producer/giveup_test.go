package producer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A record that is given up while it is in flight keeps its place in the batch, and the others
// are acked. The batch may be the first of its producer, with the number 0.
func TestARecordThatIsGivenUpInFlightKeepsItsPlace(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		which Withdrawal
		after time.Duration
	}{
		"when its answer is lost": {Queued, 0},
		"at once":                 {All, 0},
		"after that":              {All, 30 * time.Second},
		"after that, if in doubt": {Doubtful, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, 1, sameAfter(time.Minute), func(w *world) {
				w.c.Topic("u", 1)
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Topic: "u"})
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.Delay, Pause: 100 * time.Millisecond, Topic: "u"})
				_, err := w.p.Refresh(w.Context(), "u")
				require.NoError(w, err)
				records := w.send(2, func(_ int, r *Record) {
					r.Topic, r.Write, r.Headers = "u", NewWrite(), []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}
					r.Write.Expect(1)
				})
				time.Sleep(10*time.Millisecond + test.after)
				w.p.Withdraw(records[:1], test.which, givenUp)
				time.Sleep(time.Second)
				require.Equal(w, []Outcome{Unknown, Pending}, outcomes(records))
				require.Equal(w, errGivenUp, records[0].Reason)
				wait(w.T, records[0])
				records[0].Value[0], records[0].Key = 'x', []byte("x") // it is its owner's again
				records[0].Headers[0].Value[0] = 'x'
				wait(w.T, records[1])
				require.Equal(w, Acked, records[1].Outcome())
				came := w.seen()
				require.Equal(w, []string{"a b", "a b"}, []string{came[0].values, came[1].values})
				require.Equal(w, came[0].number, came[1].number)
				require.Equal(w, map[string]int{"a": 1, "b": 1}, w.c.Values("u"))
				for _, r := range w.c.Log("u") {
					require.Equal(w, []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}, r.Headers)
				}
			})
		})
	}
}

// A record that was given up, and is used again, is none of those in doubt before.
func TestARecordThatIsUsedAgainIsInNoDoubt(t *testing.T) {
	inVirtualTime(t, 2, sameAfter(time.Minute), func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		records := w.send(2, func(_ int, r *Record) {
			r.Write = NewWrite()
			r.Write.Expect(1)
		})
		time.Sleep(time.Second)
		w.p.Withdraw(records[:1], All, givenUp)
		wait(w.T, records[0])
		require.Equal(w, Unknown, records[0].Outcome())
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.OutOfOrderSequenceNumber, Partitions: []int32{0}})
		again := records[0]
		again.Write, again.Partition, again.Value = NewWrite(), 1, []byte("z")
		again.Prepare()
		again.Write.Expect(1)
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas, Partitions: []int32{1}})
		time.Sleep(30 * time.Second)
		w.p.Send([]*Record{again})
		wait(w.T, records[1])
		require.Equal(w, Unknown, records[1].Outcome(), "the broker has forgotten what became of it")
		require.False(w, again.Ended())
		wait(w.T, again)
		require.Equal(w, Acked, again.Outcome())
		requireExact(w.T, w.c, []*Record{again})
	})
}

// Once nothing of a batch in doubt is waited for any more, it is not sent again. The next batch
// has another producer ID.
func TestABatchInDoubtThatIsGivenUpIsNotSentAgain(t *testing.T) {
	t.Parallel()
	for _, which := range []Withdrawal{Queued, Doubtful, All} {
		t.Run([]string{"queued", "doubtful", "all"}[which], func(t *testing.T) {
			inVirtualTime(t, 1, sameAfter(time.Minute), func(w *world) {
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
				records := w.send(2, nil)
				time.Sleep(time.Second)
				in(w, "x", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
				next := w.send(2, func(i int, r *Record) { r.Value = []byte{byte('x' + i)} })
				w.p.Withdraw(records, which, givenUp)
				wait(w.T, records[0], next[0])
				require.Equal(w, []Outcome{Unknown, Unknown, Acked, Acked}, outcomes(append(records, next...)))
				came := w.seen()
				require.Len(w, came, 3)
				require.Equal(w, []string{"a b", "x y", "x y"}, []string{came[0].values, came[1].values, came[2].values})
				require.NotEqual(w, came[0].number, came[1].number)
				require.Equal(w, came[1].number, came[2].number, "one is enough")
				require.Zero(w, came[1].first)
				requireExact(w.T, w.c, append(records, next...))
			})
		})
	}
}

// A record in doubt is not in doubt any more once another batch was acked with its number. So
// a rejection of it is told as one.
func TestADoubtThatIsSettledIsNone(t *testing.T) {
	var doubts []bool
	policy := policyFunc(func(b *Batch, a Answer) (plan Plan) {
		doubts = append(doubts, b.Doubt())
		if a.Code == 0 {
			return Plan{Later: []Later{{Record: b.Records[0], After: time.Minute}}}
		}
		return Plan{Failed: []Failed{{Record: b.Records[0], Reason: a.Err}}}
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectBefore})
		first := w.send(1, nil)
		time.Sleep(time.Second)
		next := w.send(2, func(i int, r *Record) { r.Value = []byte{byte('x' + i)} })
		wait(w.T, next[0])
		w.refuse(kerr.InvalidRecord, "a")
		wait(w.T, first[0])
		require.Equal(w, []bool{true, false}, doubts)
		require.Equal(w, []string{"a", "x y", "a"}, w.valuesSeen())
		require.Equal(w, NotWritten, first[0].Outcome())
		requireExact(w.T, w.c, append(first, next...))
	})
}

// What was in doubt under one producer ID is none under the next: a batch with as many records
// is sent as a whole.
func TestADoubtEndsWithTheProducerID(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(time.Second), func(w *world) {
		w.c.Topic("u", 1)
		toU := func(i int, r *Record) { r.Topic, r.Value = "u", []byte{byte('x' + i)} }
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter, Topic: "u"})
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownProducerID, Topic: "u", Skip: 1})
		records := w.send(2, func(_ int, r *Record) { r.Topic = "u" })
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Unknown, Unknown}, outcomes(records))
		p := w.p.topic("u").partitions[0]
		p.mu.Lock()
		require.Empty(w, p.doubts)
		require.Empty(w, p.deferred)
		p.mu.Unlock()
		next := w.send(2, toU)
		wait(w.T, next[0])
		require.Equal(w, []string{"a b", "a b", "x y"}, w.valuesSeen())
		require.Equal(w, []Outcome{Acked, Acked}, outcomes(next))
	})
}

// Records that failed in doubt are Unknown, with the reason why they failed, when the broker has
// forgotten the producer.
func TestWhatFailedInDoubtEndsWithTheProducerID(t *testing.T) {
	inVirtualTime(t, 1, sameAfter(10*time.Second), func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		in(w, "a", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
		in(w, "x", kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.UnknownProducerID})
		records := w.send(2, nil)
		time.Sleep(time.Second)
		next := w.send(1, func(_ int, r *Record) { r.Value = []byte("x") })
		wait(w.T, records[0], next[0])
		for _, r := range records {
			require.Equal(w, Unknown, r.Outcome())
			require.ErrorIs(w, r.Reason, kerr.InvalidRecord)
		}
		require.Equal(w, Acked, next[0].Outcome())
		requireExact(w.T, w.c, append(records, next...))
	})
}

// A record that waited to be sent again is forgotten when it was acked.
func TestARecordThatWasSentLaterIsForgotten(t *testing.T) {
	policy := policyFunc(func(b *Batch, _ Answer) Plan {
		return Plan{Later: []Later{{Record: b.Records[0], After: time.Minute}}}
	})
	inVirtualTime(t, 1, policy, func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord})
		r := w.send(1, func(_ int, r *Record) { r.Key = []byte("k") })
		wait(w.T, r[0])
		require.Equal(w, Acked, r[0].Outcome())
		p := w.p.topic("t").partitions[0]
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Empty(w, p.later)
		require.Empty(w, p.blocked)
		require.Zero(w, p.queued.Load())
	})
}

// A batch all records of which fail before it is sent again is not sent.
func TestABatchThatFailsBeforeItIsSentAgain(t *testing.T) {
	policy := &checksAll{policyFunc: sameAfter(time.Minute)}
	single := 1 << 30
	inVirtualTime(t, 1, policy, func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotEnoughReplicas})
		records := w.send(2, nil)
		time.Sleep(time.Second)
		p := w.p.topic("t").partitions[0]
		p.mu.Lock()
		single = 1
		p.mu.Unlock()
		wait(w.T, records[0])
		require.Equal(w, []Outcome{NotWritten, NotWritten}, outcomes(records))
		require.Equal(w, []string{"a b"}, w.valuesSeen())
		p.mu.Lock()
		single = 1 << 30
		p.mu.Unlock()
		next := w.send(1, func(_ int, r *Record) { r.Value = []byte("x") })
		wait(w.T, next[0])
		require.Equal(w, []string{"x"}, w.valuesSeen())
		require.Equal(w, 2, policy.batches, "the first record, and this one")
		requireExact(w.T, w.c, append(records, next...))
	}, func(cfg *Config) {
		cfg.MaxBatch = func(string, int32) (int, int) { return 100_000, single }
	})
}

// checksAll is a Policy that has something against every questioned record, and counts the
// batches that were acked.
type checksAll struct {
	policyFunc
	batches int
}

func (c *checksAll) Acked(*Batch)             { c.batches++ }
func (*checksAll) Check(*Record, int32) error { return errGivenUp }

// failsOnceAnswered fails a batch for the first answer to it, and nothing else is sent then.
var failsOnceAnswered = policyFunc(func(b *Batch, a Answer) Plan {
	if a.Code == 0 {
		return Plan{Same: true}
	}
	plan := failAll(b, a)
	plan.Pause = time.Hour
	return plan
})

// A record that failed in doubt waits for an answer that tells. If that does not come before it
// is given up, it is Unknown, for the reason of that; after Close, for the reason why it failed.
func TestWhatFailedInDoubtIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, closes := range map[string]bool{"withdrawn": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, 1, failsOnceAnswered, func(w *world) {
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
				w.c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
				records := w.send(2, nil)
				time.Sleep(time.Second)
				require.Equal(w, []Outcome{Pending, Pending}, outcomes(records))
				if closes {
					w.p.Close()
				} else {
					w.p.Withdraw(records, Doubtful, givenUp)
				}
				wait(w.T, records[0])
				for _, r := range records {
					require.Equal(w, Unknown, r.Outcome())
					require.ErrorIs(w, r.Reason, map[bool]error{false: errGivenUp, true: kerr.InvalidRecord}[closes])
				}
				requireExact(w.T, w.c, records)
			})
		})
	}
}

// A record may get a partition, or go back to its topic, while it is given up: it is looked for
// again.
func TestARecordThatIsGivenUpIsElsewhere(t *testing.T) {
	inVirtualTime(t, 1, &plain{}, func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DelayAnswer, Pause: time.Second})
		records := w.send(2, nil)
		p := w.p.topic("t").partitions[0]
		require.Equal(w, records, w.p.withdrawPending(records, All, givenUp))
		pending := w.records(2, nil)
		require.Equal(w, pending, p.withdraw(pending, All, givenUp))
		require.Empty(w, p.withdraw(records, Queued, givenUp))
		wait(w.T, records[0])
	})
}

// A record ends once, also if its batch is acked after it was given up.
func TestARecordThatIsGivenUpEndsOnce(t *testing.T) {
	h := &heard{}
	inVirtualTime(t, 1, sameAfter(time.Minute), func(w *world) {
		w.c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
		records := w.send(3, nil)
		time.Sleep(time.Second)
		w.p.Withdraw(records[1:2], All, givenUp)
		p := w.p.topic("t").partitions[0]
		require.EqualValues(w, 2, p.queued.Load())
		wait(w.T, records[0])
		require.Equal(w, []Outcome{Acked, Unknown, Acked}, outcomes(records))
		require.Equal(w, heard{buffered: 4, unbuffered: 4, failed: 1}, *h) // the first, and three
		require.Zero(w, p.queued.Load())
		requireExact(w.T, w.c, records)
	}, func(cfg *Config) { cfg.Hooks = []kgo.Hook{h} })
}
