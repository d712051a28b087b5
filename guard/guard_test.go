package guard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

func TestWriteReportsTheFailedRecords(t *testing.T) {
	t.Parallel()
	all := func(n int) []int {
		at := make([]int, n)
		for i := range at {
			at[i] = i
		}
		return at
	}
	for _, test := range []struct {
		name string
		n    int
		at   []int
	}{
		{"one in the middle of 100", 100, []int{50}},
		{"the first", 100, []int{0}},
		{"the last", 100, []int{99}},
		{"two neighbours", 50, []int{20, 21}},
		{"a batch of one", 1, []int{0}},
		{"two of three", 3, []int{0, 2}},
		{"half of a batch", 40, []int{1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39}},
		{"all of a batch", 20, all(20)},
		{"none", 100, nil},
	} {
		for _, cause := range []struct {
			name        string
			class       Class
			ignoreRules bool
		}{
			{"over the topic's limit, which is known", SizeExceeded, false},
			{"over the topic's limit, which is not known", SizeExceeded, true},
			{"content refused", InvalidRecord, false},
		} {
			class := cause.class
			t.Run(test.name+", "+cause.name, func(t *testing.T) {
				t.Parallel()
				c := kafkafake.New(t)
				c.Topic("t", 1, "max.message.bytes=20000")
				c.Refuse("t", 0, kafkafake.Mark, kerr.InvalidRecord)
				g := newGuard(t, c, Config{IgnoreRules: cause.ignoreRules})
				rs := records("t", "r", test.n, 100)
				want := map[int]Class{}
				for _, i := range test.at {
					want[i] = class
					if class == SizeExceeded {
						rs[i] = record("t", fmt.Sprintf("big-%d", i), 25_000)
					}
				}
				if class == InvalidRecord {
					poison(rs, test.at...)
				}
				vs := g.Write(t.Context(), rs)
				require.Equal(t, want, classes(vs))
				account(t, c, rs, vs)
				var order []string
				for _, r := range c.Log("t") {
					order = append(order, string(r.Value))
				}
				require.True(t, slices.IsSorted(order), "the unaffected records keep their order")
			})
		}
	}
}

func TestWriteFindsFailedRecordsInSeveralPartitions(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 3)
	for p := range int32(3) {
		c.Refuse("t", p, kafkafake.Mark, kerr.InvalidTimestamp)
	}
	g := newGuard(t, c, Config{}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	rs := records("t", "r", 300, 50)
	for i := range rs {
		rs[i].Partition = int32(i % 3)
	}
	poison(rs, 30, 100, 101, 299)
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{30: InvalidRecord, 100: InvalidRecord, 101: InvalidRecord, 299: InvalidRecord}, classes(vs))
	account(t, c, rs, vs)
	require.ErrorIs(t, vs[100].Err(), kerr.InvalidTimestamp)
	require.Contains(t, vs[100].Err().Error(), "invalid_record: topic t partition 1: INVALID_TIMESTAMP")
	require.True(t, vs[100].BatchRejected)
	require.True(t, vs[99].BatchRejected)
}

// kgo fails with the same error whatever is buffered for the partition, also
// what another Write has handed over.
func TestConcurrentWritesDoNotFailEachOthersRecords(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=100000")
	g := newGuard(t, c, Config{IgnoreRules: true})
	const writes, each = 10, 100
	var wg sync.WaitGroup
	rs, vs := make([][]*kgo.Record, writes), make([][]Verdict, writes)
	for w := range writes {
		rs[w] = records("t", fmt.Sprintf("w%d", w), each, 100)
		if w%2 == 0 {
			rs[w][w*7] = record("t", fmt.Sprintf("big-%d", w), 150_000)
		}
		wg.Go(func() { vs[w] = g.Write(t.Context(), rs[w]) })
	}
	wg.Wait()
	for w := range writes {
		want := map[int]Class{}
		if w%2 == 0 {
			want[w*7] = SizeExceeded
		}
		require.Equal(t, want, classes(vs[w]), "write %d", w)
	}
	account(t, c, slices.Concat(rs...), slices.Concat(vs...))
}

func TestBatchesOverTheTopicsLimitAreDeliveredWhenEachRecordFits(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=100000")
	requests := c.Count(kmsg.Produce)
	g := newGuard(t, c, Config{IgnoreRules: true})
	rs := records("t", "r", 1000, 1000)
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)
	// At least 11 are needed. What the search costs must not grow with the
	// number of records.
	require.LessOrEqual(t, requests.Hits(), 60)
}

func TestIsolationTakesFewRequests(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 5, 7, 16, 100, 600, 1000} {
		for _, at := range []int{0, n / 3, n / 2, n - 1} {
			for _, err := range []*kerr.Error{kerr.InvalidRecord, kerr.MessageTooLarge} {
				t.Run(fmt.Sprintf("%d of %d %s", at, n, err.Message), func(t *testing.T) {
					t.Parallel()
					c := kafkafake.New(t)
					c.Topic("t", 1, "max.message.bytes=200000")
					g := newGuard(t, c, Config{IgnoreRules: true})
					// The first write makes the topic known to both clients.
					c.Refuse("t", 0, kafkafake.Mark, kerr.InvalidRecord)
					g.Write(t.Context(), []*kgo.Record{record("t", "a POISON", 0)})
					rs := records("t", "r", n, 20)
					if err == kerr.MessageTooLarge {
						rs[at] = record("t", "big", 250_000)
					} else {
						poison(rs, at)
					}
					requests := c.Count(kmsg.Produce)
					vs := g.Write(t.Context(), rs)
					require.Len(t, classes(vs), 1)
					require.Contains(t, classes(vs), at)
					require.LessOrEqual(t, float64(requests.Hits()), 2*math.Log2(float64(n))+2)
				})
			}
		}
	}
}

func TestPreflightRefusesWithoutARequest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		opts   []kgo.Opt
		record *kgo.Record
		class  Class
		text   string
	}{
		{"larger than the client's limit", nil, record("t", "r", 2<<20), SizeExceeded, "size_exceeded: topic t: 2097226 bytes exceed max_message_bytes (1048576)"},
		{"larger than the buffer", []kgo.Opt{kgo.MaxBufferedBytes(50_000)}, record("t", "r", 60_000), SizeExceeded, "size_exceeded: topic t: 60000 bytes exceed max_buffered_bytes (50000)"},
		{"larger than both", []kgo.Opt{kgo.MaxBufferedBytes(50_000)}, record("t", "r", 2<<20), SizeExceeded, "size_exceeded: topic t: 2097152 bytes exceed max_buffered_bytes (50000)"},
		{"larger than both, the buffer being larger", []kgo.Opt{kgo.MaxBufferedBytes(1_500_000)}, record("t", "r", 2<<20), SizeExceeded, "size_exceeded: topic t: 2097226 bytes exceed max_message_bytes (1048576)"},
		{"larger than a request", []kgo.Opt{kgo.BrokerMaxWriteBytes(1 << 20)}, record("t", "r", 1<<20-100), SizeExceeded, "size_exceeded: topic t: 1048548 bytes exceed what broker_write_max_bytes leaves for a batch (1048064)"},
		{"no topic", nil, record("", "r", 0), Unroutable, "unroutable: the topic name is empty"},
		{"a topic with a space", nil, record("a b", "r", 0), Unroutable, "unroutable: illegal topic name: Kafka takes letters, digits, '.', '_' and '-', but not '.' or '..' alone: of its 3 characters, number 2 is none of these"},
		{"a topic of one dot", nil, record(".", "r", 0), Unroutable, "unroutable: illegal topic name: Kafka takes letters, digits, '.', '_' and '-', but not '.' or '..' alone"},
		{"a topic name too long", nil, record(strings.Repeat("a", 250), "r", 0), Unroutable, `illegal topic name: 250 characters, Kafka takes at most 249`},
		{"nil", nil, nil, InvalidRecord, "invalid_record: the record is nil"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("t", 1)
			g := newGuard(t, c, Config{MaxMessageBytes: 1 << 20}, test.opts...)
			rs := records("t", "r", 3, 10)
			rs[1] = test.record
			vs := g.Write(t.Context(), rs)
			require.Equal(t, map[int]Class{1: test.class}, classes(vs))
			require.Equal(t, NotWritten, vs[1].Outcome)
			require.Contains(t, vs[1].Err().Error(), test.text)
			account(t, c, rs, vs)
		})
	}
}

// A record over the limit of its topic, which is to be confirmed, is not sent for that if it
// is over a larger limit of the client, too: it would wait for ever until the buffer has room.
func TestALimitIsNotConfirmedByWhatTheClientCannotSend(t *testing.T) {
	for name, opt := range map[string]kgo.Opt{"the buffer": kgo.MaxBufferedBytes(1_500_000), "a request": kgo.BrokerMaxWriteBytes(1_500_000)} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T) {
				c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
				c.Topic("t", 1, "max.message.bytes=100000")
				g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Second, MaxElapsedTime: time.Hour}}, append(c.Opts(), opt)...)
				rs := records("t", "r", 3, 10)
				rs[1] = record("t", "big", 2<<20)
				vs := g.Write(t.Context(), rs)
				require.Equal(t, map[int]Class{1: SizeExceeded}, classes(vs))
				require.Equal(t, "size_exceeded: topic t: 2097226 bytes exceed the topic's max.message.bytes (100000)", vs[1].Err().Error())
				account(t, c, rs, vs)
			})
		})
	}
}

func TestARecordExactlyAtTheLimitPasses(t *testing.T) {
	t.Parallel()
	const limit = 4096
	c := kafkafake.New(t)
	c.Topic("t", 2, fmt.Sprintf("max.message.bytes=%d", limit))
	g := newGuard(t, c, Config{MaxMessageBytes: limit}, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	// kgo rounds by up to 4 bytes, and differently once it knows the broker.
	for range 2 {
		var rs []*kgo.Record
		want := map[int]Class{}
		for over := -6; over <= 1; over++ {
			r := record("t", fmt.Sprintf("r%d-%d-%d", over, len(rs), time.Now().UnixNano()), 3000)
			r.Key = []byte(fmt.Sprint("k", over))
			r.Value = append(r.Value, slices.Repeat([]byte("y"), limit+over-rawSize(r))...)
			require.Equal(t, limit+over, rawSize(r))
			if over > 0 {
				want[len(rs)] = SizeExceeded
			}
			rs = append(rs, r, record("t", fmt.Sprint("small", time.Now().UnixNano()), 0))
		}
		vs := g.Write(t.Context(), rs)
		require.Equal(t, want, classes(vs))
		account(t, c, rs, vs)
	}
}

func TestAPartitionThatIsNotThereIsUnroutable(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 2)
	g := newGuard(t, c, Config{}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	rs := records("t", "r", 4, 10)
	rs[1].Partition, rs[2].Partition, rs[3].Partition = 99, -1, 1
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{1: Unroutable, 2: Unroutable}, classes(vs))
	require.EqualError(t, vs[1].Err(), "unroutable: topic t partition 99: no such partition: the topic has 2")
	account(t, c, rs, vs)
}

func TestFaultsThatPassAreRiddenOut(t *testing.T) {
	t.Parallel()
	for _, err := range []*kerr.Error{kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut, kerr.NotLeaderForPartition, kerr.KafkaStorageError} {
		t.Run(err.Message, func(t *testing.T) {
			t.Parallel()
			c := kafkafake.New(t)
			c.Topic("t", 1)
			fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: 3})
			g := newGuard(t, c, Config{})
			rs := records("t", "r", 50, 10)
			vs := g.Write(t.Context(), rs)
			require.Empty(t, classes(vs))
			account(t, c, rs, vs)
			require.Equal(t, 3, fault.Hits())
		})
	}
}

func TestALeaderThatMovesIsFollowed(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t, kfake.NumBrokers(3))
	c.Topic("t", 1, "max.message.bytes=50000")
	g := newGuard(t, c, Config{IgnoreRules: true})
	for i := range 4 {
		require.NoError(t, c.MoveTopicPartition("t", 0, int32(i%3)))
		rs := records("t", fmt.Sprint("r", i), 20, 10)
		rs[7] = record("t", fmt.Sprint("big", i), 60_000)
		vs := g.Write(t.Context(), rs)
		require.Equal(t, map[int]Class{7: SizeExceeded}, classes(vs))
		account(t, c, rs, vs)
	}
}

func TestADeniedTopicDoesNotTouchAnother(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("open", 1)
	c.Topic("closed", 1)
	c.RefuseAll("closed", kerr.TopicAuthorizationFailed)
	g := newGuard(t, c, Config{})
	rs := slices.Concat(records("open", "a", 3, 10), records("closed", "b", 2, 10), records("open", "c", 3, 10))
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{3: Unauthorized, 4: Unauthorized}, classes(vs))
	require.Contains(t, vs[3].Err().Error(), "unauthorized: topic closed partition 0: TOPIC_AUTHORIZATION_FAILED")
	account(t, c, rs, vs)
}

func TestATopicThatIsNotThereIsUnknown(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	g := newGuard(t, c, Config{}, kgo.UnknownTopicRetries(1))
	rs := []*kgo.Record{record("t", "a", 0), record("nowhere", "b", 0), record("t", "c", 0)}
	vs := g.Write(t.Context(), rs)
	require.Equal(t, map[int]Class{1: UnknownTopic}, classes(vs))
	require.Equal(t, NotWritten, vs[1].Outcome)
	require.ErrorIs(t, vs[1].Err(), kerr.UnknownTopicOrPartition)
	require.EqualValues(t, -1, vs[1].Partition)
}

// An attempt is answered REQUEST_TIMED_OUT although the leader appended. kgo
// sends the batch again, and that one is refused. The records are in the log:
// they must not be called unwritten, nor be sent once more.
func TestARefusalAfterADoubtfulAttemptProvesNothing(t *testing.T) {
	t.Parallel()
	for _, first := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend} {
		for _, then := range []*kerr.Error{kerr.InvalidRecord, kerr.MessageTooLarge, kerr.TopicAuthorizationFailed} {
			t.Run(first.Message+" then "+then.Message, func(t *testing.T) {
				t.Parallel()
				c := kafkafake.New(t)
				c.Topic("t", 1)
				c.Fault(
					kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: first},
					kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: then},
				)
				g := newGuard(t, c, Config{})
				rs := records("t", "r", 5, 10)
				vs := g.Write(t.Context(), rs)
				for i, v := range vs {
					require.Equal(t, Unknown, v.Outcome, "record %d", i)
					require.Contains(t, v.Err().Error(), "may have been written")
				}
				account(t, c, rs, vs)
				require.Len(t, c.Log("t"), 5)

				after := records("t", "after", 5, 10)
				vs = g.Write(t.Context(), after)
				require.Empty(t, classes(vs), "what comes later is in no doubt")
				account(t, c, after, vs)
			})
		}
	}
}

// The connection breaks, and the batch that is sent again is rejected. What is sent in its
// place has the same sequence numbers: that it is acked proves that the first attempt was
// not appended.
func TestALostAnswerIsCleared(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	g := newGuard(t, c, Config{})
	rs := records("t", "r", 20, 10)
	vs := g.Write(t.Context(), rs[:10])
	require.Empty(t, classes(vs))

	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord})
		return nil, errors.New("cut"), true
	})
	vs = g.Write(t.Context(), rs[10:])
	require.Empty(t, classes(vs))
	account(t, c, rs[10:], vs)
}

// The first attempt was appended, and its answer is lost: the number tells that, too.
func TestALostAnswerToAnAppendIsInDoubt(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	g := newGuard(t, c, Config{})
	c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.InvalidRecord, Skip: 1})
	rs := records("t", "r", 10, 10)
	vs := g.Write(t.Context(), rs)
	for i, v := range vs {
		require.Equal(t, Unknown, v.Outcome, "record %d: %v", i, v.Err())
		require.Equal(t, Transient, v.Class)
	}
	account(t, c, rs, vs)
	require.Len(t, c.Log("t"), 10)
}

func TestACutConnectionLosesAndDuplicatesNothing(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1, "max.message.bytes=20000")
	g := newGuard(t, c, Config{})
	for i := range 3 {
		c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, errors.New("cut"), true })
		rs := records("t", fmt.Sprint("r", i), 50, 10)
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
	}
}

func TestWithoutAcksHandedOverIsDelivered(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	g := newGuard(t, c, Config{}, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	vs := g.Write(t.Context(), records("t", "r", 10, 10))
	require.Empty(t, classes(vs))
	require.EqualValues(t, -1, vs[5].Offset, "the broker tells no offset")
	require.Eventually(t, func() bool { return len(c.Log("t")) == 10 }, 5*time.Minute, 10*time.Millisecond)
}

func TestAnEndedContextLeavesNothingUnsaid(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	c.Topic("slow", 1)
	g := newGuard(t, c, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	stuck := c.RefuseAll("slow", kerr.NotEnoughReplicas)
	rs := slices.Concat(records("t", "a", 3, 10), records("slow", "b", 3, 10))
	go func() {
		_ = stuck.Wait(ctx, 2)
		cancel()
	}()
	vs := g.Write(ctx, rs)
	require.Equal(t, map[int]Class{3: Transient, 4: Transient, 5: Transient}, classes(vs))
	for _, v := range vs[3:] {
		require.Equal(t, NotWritten, v.Outcome, "the broker said so, and kgo has given it back")
	}

	vs = g.Write(ctx, records("t", "late", 3, 10))
	require.Equal(t, map[int]Class{0: Transient, 1: Transient, 2: Transient}, classes(vs))
	require.Equal(t, NotWritten, vs[0].Outcome, "it was never handed over")
	require.EqualError(t, vs[0].Err(), "transient: topic t: not sent: context canceled")

	stuck.Remove()
	rs = records("slow", "next", 3, 10)
	vs = g.Write(t.Context(), rs)
	require.Empty(t, classes(vs), "what another write gave up on holds up nobody")
	account(t, c, rs, vs)
}

func TestCloseEndsWrites(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	g := newGuard(t, c, Config{})
	stuck := c.RefuseAll("", kerr.RequestTimedOut)
	rs := records("t", "r", 3, 10)
	done := make(chan []Verdict)
	go func() { done <- g.Write(context.Background(), rs) }()
	require.NoError(t, stuck.Wait(t.Context(), 1))
	g.Close()
	vs := <-done
	require.Len(t, classes(vs), 3)
	for _, v := range vs {
		require.Equal(t, Unknown, v.Outcome, "%v", v.Err())
	}
	account(t, c, rs, vs)

	vs = g.Write(context.Background(), records("t", "late", 3, 10))
	require.Equal(t, NotWritten, vs[1].Outcome)
	require.ErrorIs(t, vs[1].Err(), kgo.ErrClientClosed)
}

func TestAFullBufferWaitsAndCanBeLeft(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	g := newGuard(t, c, Config{}, kgo.MaxBufferedRecords(10))
	rs := records("t", "many", 95, 10)
	vs := g.Write(t.Context(), rs)
	require.Empty(t, classes(vs))
	account(t, c, rs, vs)

	stuck := c.RefuseAll("", kerr.NotEnoughReplicas)
	first := records("t", "first", 10, 10)
	done := make(chan []Verdict)
	go func() { done <- g.Write(context.Background(), first) }()
	require.NoError(t, stuck.Wait(t.Context(), 1))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	second := records("t", "second", 10, 10)
	vs = g.Write(ctx, second)
	require.Len(t, classes(vs), 10)
	require.Equal(t, NotWritten, vs[0].Outcome)
	account(t, c, second, vs)
	stuck.Remove()
	require.Empty(t, classes(<-done))
}

// A sick broker may give such codes to any batch: the same batch is sent again.
func TestUnexplainedRejectionsThatPassFailNoRecord(t *testing.T) {
	t.Parallel()
	for _, code := range []*kerr.Error{kerr.UnknownServerError, kerr.CorruptMessage} {
		c := kafkafake.New(t)
		c.Topic("t", 1)
		g := newGuard(t, c, Config{})
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: code, Count: 20})
		rs := records("t", "r", 2, 10)
		vs := g.Write(t.Context(), rs)
		require.Empty(t, classes(vs))
		account(t, c, rs, vs)
	}
}

func TestNewRefusesWhatItCanNotKeep(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		config Config
		opt    kgo.Opt
		want   string
	}{
		{Config{MaxMessageBytes: 100}, nil, "max_message_bytes is 100, it must be between 512 and 1073741824"},
		{Config{}, kgo.TransactionalID("x"), "a transactional ID is set"},
		{Config{}, kgo.ManualFlushing(), "manual flushing is set"},
		{Config{}, kgo.MaxBufferedRecords(0), "max buffered records"},
	} {
		var opts []kgo.Opt
		if test.opt != nil {
			opts = append(opts, test.opt)
		}
		_, err := New(test.config, opts...)
		require.ErrorContains(t, err, test.want)
	}
}

// Without idempotence no ack of others tells whether a lost request was carried out.
func TestWithoutNumbersALostRequestStaysInDoubt(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	g := newGuard(t, c, Config{IgnoreRules: true}, kgo.DisableIdempotentWrite())
	c.AddFault(kafkafake.Fault{Do: kafkafake.DisconnectAfter})
	busy := c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.NotLeaderForPartition, Skip: 1, Count: -1})
	rs := append(records("t", "r", 9, 10), &kgo.Record{Topic: "t", Value: make([]byte, 50_000)})
	done := make(chan []Verdict)
	go func() { done <- g.Write(t.Context(), rs) }()
	require.Eventually(t, func() bool { return len(c.Log("t")) == len(rs) }, 5*time.Minute, 10*time.Millisecond)
	c.Set("t", "max.message.bytes", "20000") // what the broker had taken
	busy.Over()
	vs := <-done
	for i, v := range vs[:9] {
		require.Equal(t, Delivered, v.Outcome, "record %d: %v", i, v.Err())
	}
	require.Equal(t, Unknown, vs[9].Outcome, "%v", vs[9].Err())
	require.Equal(t, SizeExceeded, vs[9].Class)
}
