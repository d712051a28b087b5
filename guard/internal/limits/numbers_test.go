package limits

import (
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// inVirtualTime runs a test whose time passes at once.
func inVirtualTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// newLimits returns Limits that know the rules, and ask no cluster.
func newLimits(own Own, rules ...*Rules) *Limits {
	if own.MaxRequestBytes == 0 {
		own.MaxRequestBytes = 100 << 20
	}
	l := New(Config{Own: own, Ignore: true, MaxAge: time.Hour, Forget: func(string) bool { return true }, Differs: func(Difference) {}})
	for _, r := range rules {
		r.claim(&claims{})
		l.reported.topics.Store(r.Topic, r)
	}
	return l
}

// known returns rules that limit nothing.
func known() *Rules {
	return &Rules{Topic: "t", Known: true, MaxMessageBytes: math.MaxInt32, SegmentBytes: math.MaxInt32, DecompressedBytes: math.MaxInt32, Before: math.MaxInt64, After: math.MaxInt64, Compression: "producer", read: time.Now(), used: &atomic.Int64{}}
}

func sized(bytes, sent int) Record {
	return Record{Record: &kgo.Record{Topic: "t"}, Size: bytes, Unstamped: true, Sent: func() int { return sent }}
}

func TestALearnedSizeIsKeptForAMinute(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		l := newLimits(Own{Codec: "gzip"})
		l.Rejected("t", 1, 10_000, 10_000, true)
		l.RejectedAlone(sized(9_000, 9_000), 1, Rejection{Sent: 9_000, Started: time.Now()})
		time.Sleep(learnedAge)
		batch, single := l.MaxBatch("t", 1)
		require.Equal(t, []int{5_000, 9_000}, []int{batch, single})
		one, _ := l.Special(sized(9_000, 0))
		require.True(t, one)
		time.Sleep(time.Nanosecond)
		batch, single = l.MaxBatch("t", 1)
		require.Equal(t, []int{friendlyBatch, math.MaxInt32}, []int{batch, single})
		one, _ = l.Special(sized(9_000, 0))
		require.False(t, one)
	})
}

// A topic's limit was raised, while records come that exceed the new one, too. Batches
// grow all the same.
func TestALargerRejectionDoesNotRenewALearnedSize(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		l := newLimits(Own{Codec: "gzip"})
		l.Rejected("t", 1, 10_000, 10_000, true)
		for range 3 {
			time.Sleep(learnedAge / 2)
			l.Rejected("t", 1, 3_000_000, 3_000_000, true)
			l.RejectedAlone(sized(3_000_000, 3_000_000), 1, Rejection{Sent: 3_000_000, Started: time.Now()})
		}
		batch, single := l.MaxBatch("t", 1)
		require.Equal(t, 3_000_000, single)
		require.Greater(t, batch, 10_000)
	})
}

// What is larger than the old size counts once that is old, and not before.
func TestANewSizeReplacesAnOldOne(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, old := range []bool{false, true} {
			l := newLimits(Own{Codec: "gzip"})
			l.Rejected("t", 1, 10_000, 10_000, true)
			require.True(t, l.RejectedAlone(sized(9_000, 0), 1, Rejection{Started: time.Now()}))
			time.Sleep(learnedAge)
			want := []int{5_000, 9_000}
			if old {
				time.Sleep(time.Nanosecond)
				want = []int{10_000, 18_000}
			}
			k := l.learned.of("t", 1)
			k.rejectedAlone(Rejection{raw: 18_000, Started: time.Now()})
			if old {
				k.rejectedAt = k.rejectedAt.Add(-learnedAge - 1)
			}
			k.tooLarge(20_000, 20_000, true)
			batch, single := l.MaxBatch("t", 1)
			require.Equal(t, want, []int{batch, single}, "old: %v", old)
		}
	})
}

func TestTheSizeThatIsLearned(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		k := &learned{}
		size := func() int { batch, _ := k.batch(); return batch }
		require.Zero(t, size())
		k.tooLarge(10_000, 10_000, true)
		require.Equal(t, 5_000, size(), "half of what was rejected, as nothing was taken")
		k.acked(7_000, 0)
		require.Equal(t, 7_000, size(), "what was taken")
		k.tooLarge(7_000, 7_000, false)
		require.Equal(t, 7_000, size(), "a gateway may have rejected it for another batch")
		k.tooLarge(7_001, 7_001, false)
		require.Equal(t, 7_000, size())
		k.tooLarge(7_000, 7_000, true)
		require.Equal(t, 3_500, size(), "the limit is lower than what was taken, and may be much lower")
		k.tooLarge(6_998, 6_998, true)
		require.Equal(t, 3_499, size())
		k.tooLarge(8_000, 8_000, true)
		require.Equal(t, 3_499, size(), "a larger one is no news")
		k.acked(6_999, 0)
		require.Zero(t, size(), "it takes what it rejected")
		k.tooLarge(1100, 1100, true)
		require.Equal(t, 550, size())
		k.tooLarge(400, 400, true)
		require.Equal(t, MinMaxMessageBytes, size())
	})
}

// The limit is of batches as sent. They are made by their raw size.
func TestASizeIsLearnedOfACompressedBatch(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		k := &learned{}
		size := func() int { batch, _ := k.batch(); return batch }
		k.tooLarge(10_000, 80_000, true)
		require.Equal(t, 40_000, size(), "half of the batch that was rejected")
		k.acked(7_500, 0)
		require.Equal(t, 60_000, size())
		k.tooLarge(6_000, 5_900, true) // compression made it larger
		require.Equal(t, 3_000, size())
	})
}

func TestARecordRejectedAloneIsLearned(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		k := &learned{}
		alone := func(raw int) bool { return k.rejectedAlone(Rejection{raw: raw, Started: time.Now()}) }
		single := func() int { _, single := k.batch(); return single }
		require.True(t, alone(10_000))
		require.False(t, alone(10_000), "the same")
		require.False(t, alone(9_000), "less than a tenth smaller")
		require.Equal(t, 9_000, single())
		require.True(t, alone(8_099))
		require.Equal(t, 8_099, single())
		k.acked(1, 8_098)
		require.Equal(t, 8_099, single())
		k.acked(1, 8_099)
		require.Equal(t, math.MaxInt32, single())
	})
}

func TestARejectionIsProofForASecond(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		k := &learned{}
		k.rejectedAlone(Rejection{raw: 1000, Started: time.Now()})
		time.Sleep(proofAge - 1)
		require.NotNil(t, k.proof(1000))
		require.Nil(t, k.proof(999))
		k.rejectedAlone(Rejection{raw: 1001, Started: time.Now()})
		require.Equal(t, 1000, k.proof(1001).raw, "the smaller one still counts")
		time.Sleep(time.Nanosecond)
		require.Nil(t, k.proof(1000))
		k.rejectedAlone(Rejection{raw: 1001, Started: time.Now()})
		require.Equal(t, 1000, k.smallest.raw)
		time.Sleep(time.Nanosecond)
		k.rejectedAlone(Rejection{raw: 1001, Started: time.Now()})
		require.Equal(t, 1001, k.proof(1001).raw, "the smaller one is old")
	})
}

// The broker may compress anew: then the larger record must be larger as sent than the smaller
// one can have become.
func TestWhatARejectionProves(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		const raw, anew = 6_000, 6_000 + 1_000 + 64
		for _, test := range []struct {
			name, codec, compression string
			known                    bool
			least                    int
		}{
			{"stored as it is sent", "gzip", "producer", true, 3_000},
			{"stored uncompressed", "gzip", "uncompressed", true, 3_000},
			{"stored with none", "gzip", "none", true, 3_000},
			{"compressed anew", "gzip", "lz4", true, anew},
			{"not known", "gzip", "", false, anew},
			{"not known, and it shrinks in any codec", "uncompressed", "", false, 3_000},
		} {
			rules := known()
			rules.Known, rules.Compression = test.known, test.compression
			l := newLimits(Own{Codec: test.codec}, rules)
			r := sized(raw, 3_000)
			r.Value = make([]byte, raw)
			l.RejectedAlone(r, 1, Rejection{Sent: 3_000, Started: time.Now(), Code: kerr.MessageTooLarge.Code})
			require.Nil(t, l.TooLarge(sized(raw, test.least-1), 1), test.name)
			require.NotNil(t, l.TooLarge(sized(raw, test.least), 1), test.name)
			require.Nil(t, l.TooLarge(sized(raw-1, test.least), 1), test.name)
			require.Nil(t, l.TooLarge(sized(raw, test.least), 2), "another leader")
		}
	})
}

func TestAKeyIsNeededForAMinute(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		l := newLimits(Own{})
		r := sized(100, 100)
		apart := func() bool { _, apart := l.Special(r); return apart }
		require.False(t, apart())
		l.NeedsKey("t")
		time.Sleep(learnedAge)
		require.True(t, apart())
		r.Key = []byte("k")
		require.False(t, apart())
		r.Key = nil
		time.Sleep(time.Nanosecond)
		require.False(t, apart())
		l.NeedsKey("t")
		require.True(t, apart())
		l.learned.forget("t")
		require.False(t, apart())
		l = newLimits(Own{}, known())
		l.NeedsKey("t")
		require.False(t, apart(), "the cluster reports whether a key is needed")
	})
}

// Within a margin for clocks the leader decides. No leader's bounds may be milder.
func TestTimestampsOverABoundAreRejected(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		rules := known()
		rules.Before, rules.After, rules.others = 1000, 2000, []int32{2}
		mild := *rules
		rules.mild = &mild
		rules.fixed = &Rules{Topic: "t"}
		other := known()
		other.Before, other.After, other.from = 60_000, 90_000, 2
		l := newLimits(Own{}, rules)
		old := func(ms int64) Record {
			r := sized(100, 100)
			r.Timestamp, r.Unstamped = time.Now().Add(-time.Duration(ms)*time.Millisecond), false
			return r
		}
		margin := clockMargin.Milliseconds()
		reject := func(r Record) *Violation { return l.Rejecting(t.Context(), []Record{r})[0] }
		require.Nil(t, reject(old(margin+60_001)), "a leader has not told its bounds")
		rules.join(other)
		require.Nil(t, reject(old(margin+1_001)), "one leader takes it")
		require.Nil(t, reject(old(margin+60_000)))
		require.Equal(t, Older, reject(old(margin+60_001)).Kind)
		require.Nil(t, reject(old(-margin-90_000)))
		require.Equal(t, Newer, reject(old(-margin-90_001)).Kind)
	})
}

// A limit rejects only while it is fresh, and only alone if it is the client's own.
func TestLimitsOlderThanASecondRejectNothing(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		rules := known()
		rules.MaxMessageBytes = 1000
		l := newLimits(Own{MaxMessageBytes: 5000}, rules)
		reject := func(size int) *Violation { return l.Rejecting(t.Context(), []Record{sized(size, size)})[0] }
		time.Sleep(Fresh)
		require.Nil(t, reject(1000))
		require.NotNil(t, reject(1001))
		time.Sleep(time.Nanosecond)
		require.Nil(t, reject(1001))
		rules.MaxMessageBytes = 9000
		require.Nil(t, reject(5000))
		require.True(t, reject(5001).Own)
	})
}

func TestHowLongReportedLimitsAreKept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		rules    Rules
		disabled bool
		keep     time.Duration
	}{
		{"known", Rules{Known: true}, false, time.Hour},
		{"no right to read them", Rules{Unknown: kerr.TopicAuthorizationFailed}, false, time.Hour},
		{"a missing topic", Rules{Unknown: kerr.UnknownTopicOrPartition}, false, Fresh},
		{"a missing topic, nothing is to be read", Rules{Unknown: kerr.UnknownTopicOrPartition}, true, Fresh},
		{"nothing is to be read", Rules{Unknown: errDisabled, Partitions: 1}, true, time.Hour},
		{"not to be read now", Rules{Unknown: errHangs, Partitions: 1}, false, rulesRetry},
	} {
		c := cache{maxAge: time.Hour, disabled: test.disabled}
		require.Equal(t, test.keep, c.keep(&test.rules), test.name)
		c.maxAge = time.Millisecond
		require.Equal(t, time.Millisecond, c.keep(&test.rules), test.name)
	}
}

func TestATopicIsForgottenAfterAnHourWithoutUse(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		rules := known()
		l := newLimits(Own{}, rules)
		var forgotten []string
		l.reported.disabled, l.reported.forget = false, func(topic string) bool {
			forgotten = append(forgotten, topic)
			return true
		}
		rules.used.Store(time.Now().UnixNano())
		time.Sleep(forgetAfter)
		require.Empty(t, l.reported.forgetUnused(time.Now()))
		require.True(t, l.Of("t").Known)
		time.Sleep(time.Nanosecond)
		require.Equal(t, [][2]*Rules{{rules, nil}}, l.reported.forgetUnused(time.Now()))
		require.Equal(t, []string{"t"}, forgotten)
		require.False(t, l.Of("t").Known)
		require.Empty(t, l.reported.forgetUnused(time.Now()))
	})
}

// A client may ask for any number of topics that do not exist. One that records wait for is kept.
func TestAMissingTopicIsForgottenAfterTenSeconds(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		rules, used := &Rules{Topic: "t", Unknown: kerr.UnknownTopicOrPartition, used: &atomic.Int64{}}, true
		l := newLimits(Own{}, rules)
		l.reported.forget = func(string) bool { return !used }
		rules.used.Store(time.Now().UnixNano())
		for _, test := range []struct {
			after   time.Duration
			used    bool
			missing bool
		}{
			{rulesRetry, false, true},
			{time.Nanosecond, true, true},
			{0, false, false},
		} {
			time.Sleep(test.after)
			used = test.used
			l.reported.forgetUnused(time.Now())
			require.Equal(t, test.missing, l.Of("t").Missing())
		}
	})
}

func TestWhatTheClientLimits(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		check := func(own Own, size int) *Violation {
			r := sized(size, size)
			r.Key, r.Value = make([]byte, 10), make([]byte, 80)
			r.Headers = []kgo.RecordHeader{{Key: "four", Value: make([]byte, 6)}}
			return newLimits(own).Rejecting(t.Context(), []Record{r})[0]
		}
		require.Nil(t, check(Own{}, DefaultMaxMessageBytes))
		require.Equal(t, DefaultMaxMessageBytes, check(Own{}, DefaultMaxMessageBytes+1).Limit)
		require.Nil(t, check(Own{MaxMessageBytes: 1000}, 1000))
		require.Equal(t, code.Reason{Class: code.SizeExceeded, Bytes: 1001, Limit: 1000, LimitName: OwnMaxMessageBytes}, check(Own{MaxMessageBytes: 1000}, 1001).Reason)
		require.Nil(t, check(Own{MaxRequestBytes: 2000}, 2000-requestOverhead))
		require.Equal(t, ownMaxRequestBytes, check(Own{MaxRequestBytes: 2000}, 2001-requestOverhead).LimitName)
		require.Nil(t, check(Own{MaxBufferedBytes: 100}, 200))
		require.Equal(t, code.Reason{Class: code.SizeExceeded, Bytes: 100, Limit: 99, LimitName: OwnMaxBufferedBytes}, check(Own{MaxBufferedBytes: 99}, 200).Reason)
		require.Equal(t, 1000, check(Own{MaxMessageBytes: 1000, MaxRequestBytes: 1800}, 5000).Limit, "the lowest is told")
		require.Equal(t, 788, check(Own{MaxMessageBytes: 1000, MaxRequestBytes: 1300}, 5000).Limit, "the lowest is told")
	})
}

// Harmless may be false of a record that no limit rejects, but never true of one that a limit
// may reject.
func TestHarmlessRecordsPassEveryLimit(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			name     string
			own      Own
			change   func(*Rules)
			record   func(*Record)
			harmless bool
		}{
			{"a plain record", Own{}, func(*Rules) {}, func(*Record) {}, true},
			{"as large as the limit", Own{}, func(r *Rules) { r.MaxMessageBytes = 100 }, func(*Record) {}, true},
			{"larger", Own{}, func(r *Rules) { r.MaxMessageBytes = 99 }, func(*Record) {}, false},
			{"as large as a segment", Own{}, func(r *Rules) { r.SegmentBytes = 100 }, func(*Record) {}, true},
			{"larger than a segment", Own{}, func(r *Rules) { r.SegmentBytes = 99 }, func(*Record) {}, false},
			{"as large as the buffer", Own{MaxBufferedBytes: 100}, func(*Rules) {}, func(*Record) {}, true},
			{"larger than the buffer", Own{MaxBufferedBytes: 99}, func(*Rules) {}, func(*Record) {}, false},
			{"no key where one is needed", Own{}, func(r *Rules) { r.Compacted = true }, func(*Record) {}, false},
			{"a key", Own{}, func(r *Rules) { r.Compacted = true }, func(r *Record) { r.Key = []byte{} }, true},
			{"a time, any is taken", Own{}, func(*Rules) {}, func(r *Record) { r.Timestamp = time.Now() }, true},
			{"a time, not any is taken", Own{}, func(r *Rules) { r.Before = 1 }, func(r *Record) { r.Timestamp = time.Now() }, false},
			{"a time, later ones are not taken", Own{}, func(r *Rules) { r.After = 1 }, func(r *Record) { r.Timestamp = time.Now() }, false},
			{"a time, which is compressed anew", Own{Codec: "gzip"}, func(r *Rules) { r.Compression = "lz4" }, func(r *Record) { r.Timestamp = time.Now() }, false},
			{"a time that can't be sent", Own{}, func(*Rules) {}, func(r *Record) { r.Timestamp = time.Unix(1<<40, 0) }, false},
			{"large when decompressed", Own{Codec: "gzip"}, func(r *Rules) { r.DecompressedBytes = 99 }, func(*Record) {}, false},
			{"as large when decompressed", Own{Codec: "gzip"}, func(r *Rules) { r.DecompressedBytes = 100 }, func(*Record) {}, true},
			{"never decompressed", Own{Codec: uncompressed}, func(r *Rules) { r.DecompressedBytes = 99 }, func(*Record) {}, true},
		} {
			rules := known()
			test.change(rules)
			l := newLimits(test.own, rules)
			r := sized(100, 100)
			test.record(&r)
			r.Unstamped = r.Timestamp.IsZero()
			harmless := l.Harmless("t")(r.Record, r.Size)
			require.Equal(t, test.harmless, harmless, test.name)
			require.False(t, harmless && l.MayReject(r), test.name)
		}
	})
}

// Times before 1970 can't be compressed anew, save for -1, which is Kafka's "none".
func TestTimesBefore1970(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		for _, test := range []struct {
			compression string
			ms          int64
			rejected    bool
		}{
			{"lz4", -2, true}, {"snappy", -2, true}, {"zstd", -2, true}, {"gzip", -2, false}, {"producer", -2, false}, {"uncompressed", -2, false},
			{"lz4", -1, false}, {"lz4", 0, false}, {"lz4", 1, false},
		} {
			rules := known()
			rules.Compression = test.compression
			r := sized(100, 100)
			r.Timestamp, r.Unstamped = time.UnixMilli(test.ms), false
			v := newLimits(Own{Codec: "gzip"}, rules).Rejecting(t.Context(), []Record{r})[0]
			require.Equal(t, test.rejected, v != nil, "%+v", test)
			require.True(t, v == nil || v.Kind == Negative)
		}
	})
}

// The text of a rejection names the reported limit only if that explains it.
func TestTheLimitThatIsNamed(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		rules := known()
		rules.MaxMessageBytes = 1000
		l := newLimits(Own{}, rules)
		name := func(sent int, c *kerr.Error, told int) []any {
			why := l.Observed(sized(sent, sent), sent, c.Code, told)
			return []any{why.LimitName, why.Limit}
		}
		require.Equal(t, []any{MaxMessageBytes, 1000}, name(1001, kerr.MessageTooLarge, 7))
		require.Equal(t, []any{MaxMessageBytes, 7}, name(1000, kerr.MessageTooLarge, 7))
		require.Equal(t, []any{observedLimit(MaxMessageBytes, 1000), 0}, name(1000, kerr.MessageTooLarge, 0))
		rules.SegmentBytes = 999
		require.Equal(t, []any{SegmentBytes, 999}, name(1000, kerr.MessageTooLarge, 0))
		rules.Known, rules.Unknown = false, errors.New("denied")
		require.Equal(t, []any{MaxMessageBytes, 0}, name(1000, kerr.MessageTooLarge, 0))
		require.Equal(t, []any{SegmentBytes, 0}, name(1000, kerr.RecordListTooLarge, 0))
	})
}

// Only a rejection that the reported limit does not explain teaches something.
func TestARejectionThatIsExplainedTeachesNothing(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		rules := known()
		rules.MaxMessageBytes = 1000
		l := newLimits(Own{}, rules)
		l.Rejected("t", 1, 1001, 1001, true)
		batch, _ := l.MaxBatch("t", 1)
		require.Equal(t, 1000, batch)
		require.Zero(t, l.Taken("t", 1))
		l.Acked("t", 1, 700, 0)
		require.Equal(t, 700, l.Taken("t", 1))
		l.Rejected("t", 1, 1000, 1000, true)
		batch, _ = l.MaxBatch("t", 1)
		require.Equal(t, 700, batch)
	})
}
