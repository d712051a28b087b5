package isolate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// rejection is a batch that a broker rejects, in a test of its plan.
type rejection struct {
	*leader
	batch  *partition.Batch
	answer broker.Answer
	held   []int // the records that were told of as held
	sizes  []int // that were learned
}

// newRejection returns the rejection of a batch with records of these sizes.
func newRejection(t *testing.T, e *kerr.Error, sizes ...int) *rejection {
	t.Helper()
	r := &rejection{leader: newLeader(t, 0), batch: &partition.Batch{Topic: "t", Leader: 1, Attempts: 1, Started: time.Now()}}
	r.answer = broker.Answer{Code: e.Code, Err: e, Alone: true}
	for _, size := range sizes {
		r.batch.Records = append(r.batch.Records, newRecord(make([]byte, size), "", false))
	}
	r.batch.Sent = partition.RawSize(r.batch.Records)
	r.isolation.Held = func(_ *partition.Batch, held *partition.Record, _ *code.Reason) {
		r.held = append(r.held, r.index(held))
	}
	r.isolation.Learned = func(_ string, bytes int) { r.sizes = append(r.sizes, bytes) }
	return r
}

func (r *rejection) lists(indexes ...int) *rejection {
	for _, n := range indexes {
		r.answer.RecordErrors = append(r.answer.RecordErrors, broker.RecordError{Index: n})
	}
	return r
}

func (r *rejection) believed() *rejection { r.isolation.listsHold.Store(true); return r }

func (r *rejection) text(n int, text string) *rejection {
	r.answer.RecordErrors[n].Text = text
	return r
}

// sharing says that the request held other batches, too.
func (r *rejection) sharing() *rejection { r.answer.Alone = false; return r }

func (r *rejection) keys(keys ...string) *rejection {
	for n, k := range keys {
		if k != "" {
			r.batch.Records[n].Key = []byte(k)
		}
	}
	return r
}

// ended says that nothing waits for a record any more.
func (r *rejection) ended(n int) *rejection { r.batch.Records[n].Owner = nil; return r }

// unstamped says that guard sets the timestamps.
func (r *rejection) unstamped() *rejection {
	for _, x := range r.batch.Records {
		x.Unstamped = true
	}
	return r
}

func (r *rejection) with(change func(r *rejection)) *rejection { change(r); return r }

func (r *rejection) index(of *partition.Record) int {
	for n, x := range r.batch.Records {
		if x == of {
			return n
		}
	}
	return -1
}

func (r *rejection) state(n int) *State { return stateOf(r.batch.Records[n]) }

// plan isolates the batch, and says what is sent instead.
func (r *rejection) plan() string {
	p := r.isolation.Isolate(context.Background(), r.batch, r.answer)
	var text []string
	for _, part := range p.Parts {
		var indexes []string
		for _, x := range part.Records {
			indexes = append(indexes, fmt.Sprint(r.index(x)))
		}
		s := "send " + strings.Join(indexes, " ")
		if part.Alone {
			s += " alone"
		}
		if part.Half {
			s += ", half"
		}
		text = append(text, s)
	}
	for _, f := range p.Failed {
		var why *code.Reason
		s := fmt.Sprintf("fail %d", r.index(f.Record))
		if why, _ = f.Reason.(*code.Reason); why != nil { //nolint:errorlint // the very value
			s += fmt.Sprintf(" as %d: %s", why.Class, why.Error())
		}
		text = append(text, s)
	}
	for _, l := range p.Later {
		text = append(text, fmt.Sprintf("later %d after %s", r.index(l.Record), l.After))
	}
	if p.Same {
		text = append(text, "same")
	}
	if p.Pause != 0 {
		text = append(text, "pause "+p.Pause.String())
	}
	return strings.Join(text, "; ")
}

// What is sent in the place of a rejected batch.
// Where nearly all records are much larger than one small one, the batch is too large as a
// whole: it is cut, and no record is sent alone.
func TestManyRecordsAreNotSentAlone(t *testing.T) {
	t.Parallel()
	for large, want := range map[int]int{mostLarge: mostLarge, mostLarge + 1: 0} {
		r := newRejection(t, kerr.MessageTooLarge, append(slices.Repeat([]int{1000}, large), 1)...)
		r.plan()
		alone := 0
		for _, record := range r.batch.Records {
			if record.Single {
				alone++
			}
		}
		require.Equal(t, want, alone)
	}
}

func TestPlans(t *testing.T) {
	t.Parallel()
	const (
		needsKey = "Compacted topic cannot accept message without key in topic partition t-0."
		tooOld   = "Timestamp 5 of message with offset 3 is out of range. The timestamp should be within [1, 2]"
	)
	content := kerr.InvalidRecord.Error()
	for _, test := range []struct {
		name string
		of   func(t *testing.T) *rejection
		want string
	}{
		{"content, the request held others", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1, 1).sharing()
		}, "send 0 1 2 3 alone"},
		{"content, no list", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1, 1)
		}, "send 0 1 alone, half; send 2 3 alone"},
		{"content, no list, an odd number", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1)
		}, "send 0 alone, half; send 1 2 alone"},
		{"content, no list, one is not waited for: the halves are not those of the batch", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1).ended(2)
		}, "send 0 alone; send 1 alone"},
		{"content, no list, one is left", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1).ended(1)
		}, "send 0 alone"},
		{"nothing is waited for", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1).ended(0)
		}, ""},
		{"one record, the request held others", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1).sharing()
		}, "send 0 alone"},
		{"one record alone", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1)
		}, "fail 0 as 2: " + content},
		{"one record alone, and listed", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1).lists(0)
		}, "fail 0 as 2: the broker lists this record: " + content},
		{"one record alone, whose class is not permanent", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1).with(func(r *rejection) { r.isolation.Final = func(code.Class) bool { return false } })
		}, "later 0 after 1s"},

		{"lists are not known to be right: one of them first", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1, 1).lists(1, 3)
		}, "send 1 alone; send 0 2 3"},
		{"the first record is listed", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1).lists(0)
		}, "send 0 alone; send 1 2"},
		{"a record with its key is before the one that is listed", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1, 1).keys("k", "", "k").lists(2, 3)
		}, "send 3 alone; send 0 1 2"},
		{"another key is before it", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1, 1).keys("a", "", "k").lists(2, 3)
		}, "send 2 alone; send 0 1 3"},
		{"all that are listed have one with their key before", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1, 1).keys("k", "", "k").lists(2)
		}, "send 0 1 alone, half; send 2 3 alone"},
		{"the one that is listed is not waited for", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1, 1).lists(2).ended(2)
		}, "send 0 alone; send 1 3 alone"},
		{"lists were wrong a moment ago", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1).lists(1).with(func(r *rejection) { r.isolation.listsFailed.Store(time.Now().UnixNano()) })
		}, "send 0 alone, half; send 1 alone"},

		{"a list that is believed", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1, 1).lists(1, 2).believed()
		}, "send 0 3; fail 1 as 2: the broker lists this record: " + content + "; fail 2 as 2: the broker lists this record: " + content},
		{"all are listed", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1).lists(0, 1).believed()
		}, "fail 0 as 2: the broker lists this record: " + content + "; fail 1 as 2: the broker lists this record: " + content},
		{"a list that is believed, of one that is not waited for", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1, 1).lists(1).believed().ended(1)
		}, "send 0 2"},
		{"a list that is believed, for a timestamp of the client", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidTimestamp, 1, 1, 1).lists(1).text(0, tooOld).believed().unstamped()
		}, "send 0 2; later 1 after 3.1s"},
		{"without a text", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidTimestamp, 1, 1, 1).lists(1).believed().unstamped()
		}, "send 0 2; later 1 after 3.1s"},
		{"a list that is believed, for a timestamp of the client, but the text is about something else", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidTimestamp, 1, 1, 1, 1).lists(1, 3).text(0, "no").text(1, tooOld).believed().unstamped()
		}, "send 0; send 1 alone; send 2; later 3 after 3.1s"},
		{"a list that is believed, for a timestamp of the message", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidTimestamp, 1, 1, 1).lists(1).text(0, tooOld).believed()
		}, "send 0 2; fail 1 as 2: the broker says: " + tooOld + ": " + kerr.InvalidTimestamp.Error()},
		{"a key is missing, whose timestamp is the client's", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidTimestamp, 1, 1, 1).lists(1).text(0, needsKey).believed().unstamped()
		}, "send 0 2; fail 1 as 2: the broker says: " + needsKey + ": " + kerr.InvalidTimestamp.Error()},
		{"a list that is believed, after an ack since the record was rejected alone", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidTimestamp, 1, 1).lists(1).believed().unstamped().with(func(r *rejection) {
				r.state(1).alone = rejectedAt{time.Now().Add(-ambiguousWindow), 3}
				r.batch.Acks = 4
			})
		}, "send 0; fail 1 as 2: the broker lists this record: " + kerr.InvalidTimestamp.Error()},
		{"a list says nothing of sizes", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1, 1).lists(1).believed()
		}, "send 0; send 1"},

		{"an ambiguous code, alone", func(t *testing.T) *rejection {
			return newRejection(t, kerr.UnknownServerError, 1)
		}, "later 0 after 3.1s"},
		{"an ambiguous code, alone, after many attempts", func(t *testing.T) *rejection {
			return newRejection(t, kerr.UnknownServerError, 1).with(func(r *rejection) {
				r.batch.Attempts = 7
				r.isolation.RetryAfter = func(attempts int) time.Duration { return time.Duration(attempts) * time.Second }
			})
		}, "later 0 after 7s"},
		{"a timestamp of the client, alone", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidTimestamp, 1).unstamped()
		}, "later 0 after 3.1s"},
		{"a timestamp of the message, alone", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidTimestamp, 1)
		}, "fail 0 as 2: " + kerr.InvalidTimestamp.Error()},

		{"one record is too large, the request held others", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000).sharing()
		}, "send 0 alone"},
		{"one record is too large, alone", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000)
		}, "fail 0 as 1: 1070 bytes exceed the topic's max.message.bytes: " + kerr.MessageTooLarge.Error()},
		{"one record is too large, and Redpanda says for what", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000).with(func(r *rejection) { r.answer.Message = "batch size 1070 exceeds max 900" })
		}, "fail 0 as 1: 1070 bytes exceed the topic's max.message.bytes (900): " + kerr.MessageTooLarge.Error()},
		{"too large for a segment", func(t *testing.T) *rejection {
			return newRejection(t, kerr.RecordListTooLarge, 1000)
		}, "fail 0 as 1: 1070 bytes exceed the topic's segment.bytes: " + kerr.RecordListTooLarge.Error()},
		{"the batch is too large, but batches are smaller by now", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000, 1000, 1000)
		}, "send 0 1 2"},
		{"the batch is too large as it was compressed, and not by raw size", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000, 1000, 1000).with(func(r *rejection) { r.batch.Sent = 10_000 })
		}, "send 0; send 1 2"},
		{"as large as batches are", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000, 1000).with(func(r *rejection) { r.batch.Sent = 2 * partition.RawSize(r.batch.Records) })
		}, "send 0; send 1"},
		{"one is much larger than the others", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000, 10_000, 1000)
		}, "send 0 2; send 1"},
		{"one is much larger, and one of its key comes behind", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000, 10_000, 1000, 1000, 1000).keys("k", "k", "k", "l")
		}, "send 0 3 4; send 1 2"},
		{"one is much larger, but no larger than what was taken", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000, 10_000, 1000).with(func(r *rejection) {
				r.isolation.Limits.Acked("t", 1, int(r.batch.Records[1].Size), 0)
			})
		}, "send 0 1 2"},
		{"one is much larger, and a byte larger than what was taken", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000, 10_000, 1000).with(func(r *rejection) {
				r.isolation.Limits.Acked("t", 1, int(r.batch.Records[1].Size)-1, 0)
			})
		}, "send 0 2; send 1"},
		{"the gap is below the average", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1, 1000, 1900, 1900, 1900)
		}, "send 0 1 2 3 4"},
		{"one is too large, and the other is not waited for", func(t *testing.T) *rejection {
			return newRejection(t, kerr.MessageTooLarge, 1000).with(func(r *rejection) {
				r.batch.Records = append(r.batch.Records, newRecord(nil, "", false))
			}).ended(1)
		}, "send 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { require.Equal(t, test.want, test.of(t).plan()) })
		})
	}
}

// Without retries a record that may not be at fault is sent alone once more.
func TestWithoutRetriesARecordIsSentAloneOnceMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRejection(t, kerr.UnknownServerError, 1)
		r.isolation.NoRetry, r.isolation.Final = true, func(code.Class) bool { return true }
		require.Equal(t, "later 0 after 50ms", r.plan())
		require.Equal(t, "fail 0 as 7: the broker rejected this record alone, which may be the broker's own fault: "+kerr.UnknownServerError.Error(), r.plan())
	})
}

// An ambiguous code counts by what was acked since the first rejection, not since the last.
func TestTheFirstRejectionIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRejection(t, kerr.UnknownServerError, 1)
		require.Equal(t, "later 0 after 3.1s", r.plan())
		time.Sleep(AmbiguousFor)
		r.batch.Started, r.batch.Acks = time.Now(), 1
		require.Equal(t, "fail 0 as 2: "+kerr.UnknownServerError.Error(), r.plan())
		// A batch that was rejected before says since when.
		r = newRejection(t, kerr.UnknownServerError, 1, 1)
		require.Equal(t, "send 0 alone, half; send 1 alone", r.plan())
		require.Equal(t, rejectedAt{time.Now(), 0}, r.state(0).rejected)
		r = newRejection(t, kerr.InvalidRecord, 1, 1)
		r.plan()
		require.Zero(t, r.state(0).rejected, "a code that is not ambiguous")
	})
}

// What isolation notes of a record, besides its plan.
func TestWhatIsNotedOfARecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRejection(t, kerr.InvalidRecord, 1, 1, 1).lists(1)
		r.plan()
		for n, listed := range []bool{false, true, false} {
			require.True(t, r.state(n).BatchRejected)
			require.Equal(t, listed, r.state(n).listed)
			require.False(t, r.batch.Records[n].Questioned)
		}
		require.Empty(t, r.held)
		r.answer.RecordErrors = nil
		r.plan()
		require.False(t, r.state(1).listed, "the last rejection did not list it")

		r = newRejection(t, kerr.MessageTooLarge, 1000, 10_000, 1000)
		r.plan()
		for n, single := range []bool{false, true, false} {
			require.True(t, r.batch.Records[n].Questioned, "what is learned meanwhile may reject it")
			require.Equal(t, single, r.batch.Records[n].Single)
		}

		r = newRejection(t, kerr.InvalidTimestamp, 1, 1, 1).lists(1).believed().unstamped()
		r.plan()
		require.Equal(t, []int{1}, r.held)
	})
}

// The size of a record that was rejected alone is told once.
func TestASizeThatIsLearnedIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRejection(t, kerr.MessageTooLarge, 1000)
		r.plan()
		require.Equal(t, []int{1070}, r.sizes)
		r.plan()
		require.Equal(t, []int{1070}, r.sizes)
		_, single := r.isolation.Limits.MaxBatch("t", 1)
		require.Equal(t, 1070, single)
		batch, _ := r.isolation.Limits.MaxBatch("t", 1)
		require.Equal(t, 535, batch)
		gateway := newRejection(t, kerr.MessageTooLarge, 1000).sharing()
		gateway.plan()
		require.Empty(t, gateway.sizes, "it may have been rejected for another batch")
		_, single = gateway.isolation.Limits.MaxBatch("t", 1)
		require.Greater(t, single, 1070)
	})
}

// A list with a record that is rejected alone, too, shows that lists are right.
func TestWhenListsAreBelieved(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		of       func(t *testing.T) *rejection
		believed bool
	}{
		{"alone, and listed", func(t *testing.T) *rejection { return newRejection(t, kerr.InvalidRecord, 1).lists(0) }, true},
		{"not listed", func(t *testing.T) *rejection { return newRejection(t, kerr.InvalidRecord, 1) }, false},
		{"another one is listed", func(t *testing.T) *rejection { return newRejection(t, kerr.InvalidRecord, 1).lists(1) }, false},
		{"two are listed", func(t *testing.T) *rejection { return newRejection(t, kerr.InvalidRecord, 1).lists(0, 1) }, false},
		{"the request held others", func(t *testing.T) *rejection { return newRejection(t, kerr.InvalidRecord, 1).lists(0).sharing() }, false},
		{"a code that lists nothing", func(t *testing.T) *rejection { return newRejection(t, kerr.MessageTooLarge, 1).lists(0) }, false},
		{"two in the batch", func(t *testing.T) *rejection { return newRejection(t, kerr.InvalidRecord, 1, 1).lists(0) }, false},
	} {
		r := test.of(t)
		r.plan()
		require.Equal(t, test.believed, r.isolation.listsHold.Load(), test.name)
	}
}

// That a topic needs keys is learned from a broker's list, alone or believed, by its words.
func TestWhenKeysAreNeeded(t *testing.T) {
	t.Parallel()
	const needsKey = "Compacted topic cannot accept message without key in topic partition t-0."
	for _, test := range []struct {
		name  string
		of    func(t *testing.T) *rejection
		needs bool
	}{
		{"alone", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1).lists(0).text(0, needsKey)
		}, true},
		{"in a list that is believed", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1).lists(1).text(0, needsKey).believed()
		}, true},
		{"in a list that is not", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1, 1).lists(1).text(0, needsKey)
		}, false},
		{"other words", func(t *testing.T) *rejection {
			return newRejection(t, kerr.InvalidRecord, 1).lists(0).text(0, "no")
		}, false},
	} {
		r := test.of(t)
		r.plan()
		r.isolation.Limits.RejectedAlone(limits.Record{Record: &kgo.Record{Topic: "u"}, Size: 1 << 30}, 1, limits.Rejection{Started: time.Now()}) // something is learned
		_, apart := r.isolation.Limits.Special(limits.Record{Record: &kgo.Record{Topic: "t"}, Size: 1})
		require.Equal(t, test.needs, apart, test.name)
	}
}

// An ack teaches the size of its batch. That of a record which was listed shows that lists
// are wrong.
func TestWhatAnAckTeaches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRejection(t, kerr.MessageTooLarge, 1000)
		r.plan()
		_, single := r.isolation.Limits.MaxBatch("t", 1)
		require.Equal(t, 1070, single)
		r.isolation.Acked(&partition.Batch{Topic: "t", Leader: 1, Sent: 500, Records: append(r.batch.Records, r.batch.Records...)})
		require.Equal(t, 500, r.isolation.Limits.Taken("t", 1))
		_, single = r.isolation.Limits.MaxBatch("t", 1)
		require.Equal(t, 1070, single, "a batch of two says nothing of one record")
		r.isolation.Acked(&partition.Batch{Topic: "t", Leader: 1, Sent: 900, Records: r.batch.Records})
		_, single = r.isolation.Limits.MaxBatch("t", 1)
		require.Greater(t, single, 1070, "a record as large was taken")
		require.Zero(t, r.isolation.listsFailed.Load())
		r.state(0).listed = true
		r.isolation.Acked(&partition.Batch{Topic: "t", Leader: 1, Records: append(r.batch.Records, r.batch.Records...)})
		require.Zero(t, r.isolation.listsFailed.Load(), "it was not alone")
		r.isolation.Acked(&partition.Batch{Topic: "t", Leader: 1, Records: r.batch.Records})
		require.Equal(t, time.Now().UnixNano(), r.isolation.listsFailed.Load())
		r.isolation.Acked(&partition.Batch{Topic: "t", Leader: 1, Records: []*partition.Record{{Record: &kgo.Record{}}}})
	})
}

// reporting gives the rejection a cluster that reports these limits.
func (r *rejection) reporting(t *testing.T, configs ...string) *kafkafake.Cluster {
	t.Helper()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), &kafkafake.Network{Latency: time.Millisecond})
	c.Topic("t", 1, configs...)
	client, err := kgo.NewClient(append(c.Opts(), kgo.SeedBrokers(c.ListenAddrs()...))...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	r.isolation.Limits = limits.New(limits.Config{
		Own: limits.Own{MaxRequestBytes: 100 << 20, Codec: "uncompressed"}, Client: client, Life: t.Context(), MaxAge: time.Hour,
		Changed: func(_, _ *limits.Rules) {}, Differs: func(limits.Difference) {}, Metadata: func(*kmsg.MetadataResponseTopic) {}, Forget: func(string) bool { return true },
	})
	r.isolation.Limits.Learn(t.Context(), []string{"t"})
	require.True(t, r.isolation.Limits.Of("t").Known)
	return c
}

// A record that a reported limit rejects is sent alone, until that is confirmed. Then others
// fail with it, by the text of the limit.
func TestAReportedLimitIsConfirmedByARejection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRejection(t, kerr.MessageTooLarge, 10, 1000, 10, 2000, 10).keys("a", "k", "b", "l", "k")
		r.reporting(t, "max.message.bytes=500")
		require.Equal(t, "send 0 2; send 1 3 4", r.plan())
		for n, over := range []bool{false, true, false, true, false} {
			x := r.batch.Records[n]
			require.Equal(t, []bool{over, over, over, over}, []bool{x.Single, x.Alone, x.Questioned, r.state(n).Limit != nil}, "%d", n)
		}
		alone := &rejection{leader: r.leader, batch: &partition.Batch{Topic: "t", Leader: 1, Records: r.batch.Records[1:2], Sent: 1070, Started: time.Now()}, answer: r.answer}
		require.Nil(t, r.isolation.Check(r.batch.Records[1], 1), "it is not confirmed")
		require.Equal(t, "fail 0 as 1: 1070 bytes exceed the topic's max.message.bytes (500)", alone.plan())
		require.NotNil(t, r.isolation.Check(r.batch.Records[1], 1))
		require.NotNil(t, r.isolation.Check(r.batch.Records[3], 1))
		require.Nil(t, r.isolation.Check(r.batch.Records[0], 1))
		r.batch.Records = r.batch.Records[2:]
		require.Equal(t, "send 0 2; fail 1 as 1: 2070 bytes exceed the topic's max.message.bytes (500)", r.plan())

		r.isolation.Final = func(code.Class) bool { return false }
		require.Nil(t, r.isolation.Check(r.batch.Records[1], 1), "its class is not permanent")
	})
}

// A limit is confirmed by an answer that fits, and by no other.
func TestWhichAnswerFitsALimit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind  limits.Kind
		codes []*kerr.Error
	}{
		{limits.Size, []*kerr.Error{kerr.MessageTooLarge, kerr.RecordListTooLarge}},
		{limits.Decompressed, []*kerr.Error{kerr.InvalidRecord}},
		{limits.Older, []*kerr.Error{kerr.InvalidTimestamp}},
		{limits.Newer, []*kerr.Error{kerr.InvalidTimestamp}},
		{limits.Key, []*kerr.Error{kerr.InvalidRecord, kerr.UnknownServerError, kerr.CorruptMessage}},
		{limits.Negative, []*kerr.Error{kerr.InvalidRecord, kerr.UnknownServerError, kerr.CorruptMessage}},
	} {
		var fit []*kerr.Error
		for _, e := range []*kerr.Error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.UnknownServerError, kerr.CorruptMessage, kerr.TopicAuthorizationFailed} {
			b := &batch{Answer: broker.Answer{Code: e.Code}}
			s := &State{Limit: &limits.Violation{Kind: test.kind}}
			if v := b.predicted(s); v != nil {
				require.Same(t, s.Limit, v)
				fit = append(fit, e)
			}
			require.Nil(t, b.predicted(&State{}))
			require.Nil(t, b.predicted(nil))
		}
		require.ElementsMatch(t, test.codes, fit, "kind %d", test.kind)
	}
	listed := &batch{Answer: broker.Answer{Code: kerr.InvalidRecord.Code, RecordErrors: []broker.RecordError{{}}}}
	require.Nil(t, listed.predicted(&State{Limit: &limits.Violation{Kind: limits.Decompressed}}), "Kafka lists no record that is too large when decompressed")
}

// An endpoint that closes the connection on a record, for three seconds, has rejected it, if a
// reported limit of sizes does.
func TestARecordThatEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		sizes   []int
		since   time.Duration
		ended   bool
		final   bool
		keyless bool
		want    bool
	}{
		{name: "it is too large", sizes: []int{1000}, since: ambiguousWindow, final: true, want: true},
		{name: "not for long", sizes: []int{1000}, since: ambiguousWindow - 1, final: true},
		{name: "two records", sizes: []int{1000, 1000}, since: ambiguousWindow, final: true},
		{name: "nothing waits for it", sizes: []int{1000}, since: ambiguousWindow, final: true, ended: true},
		{name: "its class is not permanent", sizes: []int{1000}, since: ambiguousWindow},
		{name: "it is as large as the limit", sizes: []int{430}, since: ambiguousWindow, final: true},
		{name: "it has no key", sizes: []int{10}, since: ambiguousWindow, final: true, keyless: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRejection(t, kerr.MessageTooLarge, test.sizes...)
			configs := []string{"max.message.bytes=500"}
			if test.keyless {
				configs = append(configs, "cleanup.policy=compact")
			}
			r.reporting(t, configs...)
			r.isolation.Final = func(code.Class) bool { return test.final }
			if test.ended {
				r.ended(0)
			}
			r.batch.First = time.Now().Add(-test.since)
			plan, ok := r.isolation.Cut(context.Background(), r.batch)
			require.Equal(t, test.want, ok, test.name)
			if !ok {
				require.Zero(t, plan, test.name)
				return
			}
			require.Len(t, plan.Failed, 1)
			require.Same(t, r.batch.Records[0], plan.Failed[0].Record)
			require.EqualError(t, plan.Failed[0].Reason, "1070 bytes exceed the topic's max.message.bytes (500)")
			require.NotNil(t, r.isolation.Limits.Rejects(r.isolation.ToCheck(r.batch.Records[0])), "it is confirmed by that")
		})
	}
}
