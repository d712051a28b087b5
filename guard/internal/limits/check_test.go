package limits

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// A record is measured as it is sent, unless the broker stores it uncompressed.
func TestHowARecordIsMeasured(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		const limit, long = 2000, 1000
		type rejected struct {
			kind         Kind
			own          bool
			bytes, limit int
			name, config string
		}
		size := func(bytes int) rejected {
			return rejected{Size, false, bytes, limit, MaxMessageBytes, "max.message.bytes"}
		}
		for _, test := range []struct {
			name       string
			codec      string
			change     func(*Rules)
			size, sent int
			want       *Violation
			is         rejected
		}{
			{"compressed to the limit", "gzip", nil, 3000, limit, nil, rejected{}},
			{"compressed to more", "gzip", nil, 3000, limit + 1, &Violation{}, size(limit + 1)},
			{"stored uncompressed", "gzip", func(r *Rules) { r.Compression = uncompressed }, 3000, 100, &Violation{}, size(3000)},
			{"a smaller segment", "gzip", func(r *Rules) { r.SegmentBytes = 1999 }, 3000, limit, &Violation{}, rejected{Size, false, 2000, 1999, SegmentBytes, "segment.bytes"}},
			{"as long as a record may be", "gzip", func(r *Rules) { r.DecompressedBytes = long }, long + 63, 100, nil, rejected{}},
			{"longer", "gzip", func(r *Rules) { r.DecompressedBytes = long }, long + 64, 100, &Violation{}, rejected{Decompressed, false, 1001, 1000, decompressedBytes, "max.decompressed.message.bytes"}},
			{"longer, stored uncompressed", "gzip", func(r *Rules) { r.DecompressedBytes, r.Compression = long, uncompressed }, 1990, 100, &Violation{}, rejected{Decompressed, false, 1927, 1000, decompressedBytes, "max.decompressed.message.bytes"}},
			{"longer, but it does not get smaller", "gzip", func(r *Rules) { r.DecompressedBytes = long }, 1990, 1990, nil, rejected{}},
			{"longer and larger", "gzip", func(r *Rules) { r.DecompressedBytes = long }, 5000, 2001, &Violation{}, size(2001)},
			{"longer, never compressed", uncompressed, func(r *Rules) { r.DecompressedBytes = long }, 1990, 100, nil, rejected{}},
			{"longer, which the broker took", "gzip", func(r *Rules) { r.DecompressedBytes = long; r.claims.refuted.Store(1 << Decompressed) }, 1990, 100, nil, rejected{}},
			{"not known", "gzip", func(r *Rules) { r.Known, r.DecompressedBytes = false, long }, 1990, 100, nil, rejected{}},
		} {
			rules := known()
			rules.MaxMessageBytes = limit
			l := newLimits(Own{Codec: test.codec}, rules)
			if test.change != nil {
				test.change(rules)
			}
			v := l.Rejecting(t.Context(), []Record{sized(test.size, test.sent)})[0]
			if test.want == nil {
				require.Nil(t, v, test.name)
				continue
			}
			require.NotNil(t, v, test.name)
			got := rejected{v.Kind, v.Own, v.Bytes, v.Limit, v.LimitName, v.config}
			require.Equal(t, test.is, got, test.name)
			require.Equal(t, []any{code.SizeExceeded, int64(v.Bytes), "t"}, []any{v.Class, v.measure, v.topic}, test.name)
		}
		l := newLimits(Own{Codec: "gzip"}, known())
		r := sized(5000, 0)
		r.Sent = func() int { t.Error("it is not compressed to find out its size"); return 0 }
		require.Nil(t, l.Rejecting(t.Context(), []Record{r})[0])
	})
}

// Requests and the buffer are bounded by sizes before compression. Of equal limits the first one
// is told.
func TestWhichLimitOfTheClientIsTold(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		check := func(own Own, size, sent int, rules ...*Rules) code.Reason {
			own.Codec = "gzip"
			r := sized(size, sent)
			r.Value = make([]byte, 10)
			v := newLimits(own, rules...).Rejecting(t.Context(), []Record{r})[0]
			if v == nil {
				return code.Reason{}
			}
			require.True(t, v.Own)
			require.True(t, v.Confirmed(), "it needs no word of the cluster")
			v.Confirm()
			return v.Reason
		}
		require.Equal(t, code.Reason{Class: code.SizeExceeded, Bytes: 5000, Limit: 1488, LimitName: ownMaxRequestBytes}, check(Own{MaxRequestBytes: 2000}, 5000, 100))
		require.Equal(t, OwnMaxMessageBytes, check(Own{MaxMessageBytes: 1000, MaxRequestBytes: 1512}, 5000, 5000).LimitName)
		require.Equal(t, code.Reason{Class: code.SizeExceeded, Bytes: 10, Limit: 1, LimitName: OwnMaxBufferedBytes}, check(Own{MaxBufferedBytes: 1}, 100, 100))
		require.Empty(t, check(Own{}, 100, 100))
		same := known()
		same.MaxMessageBytes = 1000
		require.Equal(t, OwnMaxMessageBytes, check(Own{MaxMessageBytes: 1000}, 5000, 5000, same).LimitName)

		batch, _ := newLimits(Own{MaxRequestBytes: 2000}).MaxBatch("t", 1)
		require.Equal(t, 2000-requestOverhead, batch)
	})
}

func TestWhatIsRejectedForItsContent(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		rules := known()
		rules.Compacted, rules.Compression, rules.Before, rules.After = true, "lz4", 0, 0
		l := newLimits(Own{Codec: "gzip"}, rules)
		at := func(when time.Time) Record {
			r := sized(100, 100)
			r.Key, r.Timestamp, r.Unstamped = []byte("k"), when, false
			return r
		}
		type rejected struct {
			kind    Kind
			class   code.Class
			measure int64
			bound   int64
		}
		reject := func(r Record) any {
			v := l.Rejecting(t.Context(), []Record{r})[0]
			if v == nil {
				return nil
			}
			return rejected{v.Kind, v.Class, v.measure, v.bound}
		}
		require.Equal(t, rejected{Key, code.InvalidRecord, 0, 1}, reject(sized(100, 100)))
		require.Equal(t, rejected{Negative, code.InvalidRecord, 0, 1}, reject(at(time.UnixMilli(-2))))
		now := time.Now().UnixMilli()
		require.Equal(t, rejected{Older, code.InvalidRecord, now, 0}, reject(at(time.UnixMilli(0))))
		require.Equal(t, rejected{Older, code.InvalidRecord, now - 1, 0}, reject(at(time.UnixMilli(1))))
		require.Nil(t, reject(at(time.UnixMilli(-1))), "Kafka's none")
		require.Nil(t, reject(at(time.Now())))
		for kind := range kinds {
			rules.claims.refuted.Or(1 << kind)
		}
		require.Nil(t, reject(sized(100, 100)))
		require.Nil(t, reject(at(time.UnixMilli(-2))))
		require.Nil(t, reject(at(time.UnixMilli(1))))
		require.Nil(t, reject(at(time.Now().Add(time.Hour))))
	})
}

// Consumers read times in nanoseconds, which are of the years from 1677 to 2262.
func TestWhichTimesCanBeSent(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		l := newLimits(Own{})
		reject := func(when time.Time) *Violation {
			r := sized(100, 100)
			r.Timestamp, r.Unstamped = when, false
			return l.Rejecting(t.Context(), []Record{r})[0]
		}
		ms := int64(time.Millisecond)
		require.Nil(t, reject(time.Unix(0, math.MinInt64+ms)))
		require.Nil(t, reject(time.Unix(0, math.MaxInt64-ms)))
		for _, when := range []time.Time{time.Unix(0, math.MinInt64+ms-1), time.Unix(0, math.MaxInt64-ms+1)} {
			v := reject(when)
			require.Equal(t, []any{true, code.InvalidRecord}, []any{v.Own, v.Class})
			require.Contains(t, v.Problem, "those that can be sent are from 1677 to 2262, so check its unit")
		}
	})
}

// What any codec makes smaller by half is proof without knowing the broker's codec.
func TestWhatShrinks(t *testing.T) {
	t.Parallel()
	value := func(random, same int) *kgo.Record {
		r := &kgo.Record{Value: make([]byte, random+same)}
		chacha := rand.NewChaCha8([32]byte{})
		_, _ = chacha.Read(r.Value[:random])
		return r
	}
	require.True(t, shrinks(value(3000, 7000), 10_000))
	require.False(t, shrinks(value(6000, 4000), 10_000))
	require.False(t, shrinks(value(10_000, 0), 10_000))
}

func TestHowLongAConfirmationCounts(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		configs := map[string]string{"max.message.bytes": "1000"}
		l := reported(t, configs)
		check := func(n int) *Violation { return l.rejecting(ofSize(n), l.Of("t").read) }
		check(2000).Confirm()
		time.Sleep(claimAge / 2)
		check(2000).Confirm()
		time.Sleep(claimAge - 1)
		require.True(t, check(2000).Confirmed(), "it was confirmed again")
		check(3000).Confirm()
		require.True(t, check(2000).Confirmed())
		time.Sleep(time.Nanosecond)
		require.False(t, check(3000).Confirmed())
		check(3000).Confirm()
		require.True(t, check(3000).Confirmed(), "what was confirmed a minute ago is no more")
		require.False(t, check(2000).Confirmed())
		check(3000).claims.refute(check(3000))
		for _, size := range []string{"1500", "1000"} {
			configs["max.message.bytes"] = size
			read(t, l, configs)
		}
		require.False(t, check(3000).Confirmed(), "what was known of the value that it had before")
	})
}

func TestTheAgeOfLaterTimesDiffersToo(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		l := reported(t, map[string]string{"max.message.bytes": "1000", "message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": "3600000"})
		check := func(ahead time.Duration) *Violation { return l.rejecting(ofAge(-ahead), time.Now()) }
		check(3 * time.Hour).Confirm()
		require.True(t, check(3*time.Hour-timeSlack).Confirmed())
		require.False(t, check(3*time.Hour-timeSlack-time.Millisecond).Confirmed())
	})
}

// Behind large requests, limits that were read within the last minute explain a lost connection.
func TestLimitsThatWereReadLately(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		l := reported(t, map[string]string{"max.message.bytes": "1000"})
		time.Sleep(claimAge)
		require.NotNil(t, l.Lately(ofSize(2000)))
		time.Sleep(time.Nanosecond)
		require.Nil(t, l.Lately(ofSize(2000)))
	})
}

func TestWhichRecordsGoAlone(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		special := func(l *Limits, size int) []bool {
			single, apart := l.Special(sized(size, size))
			return []bool{single, apart}
		}
		l := newLimits(Own{})
		require.Equal(t, []bool{false, false}, special(l, 5000))
		l.Rejected("t", 1, 10_000, 10_000, true)
		l.NeedsKey("another")
		require.Equal(t, []bool{false, false}, special(l, 5000), "a batch was rejected, and no record")
		l.RejectedAlone(sized(5000, 5000), 2, Rejection{Started: time.Now()})
		require.Equal(t, []bool{true, false}, special(l, 5000))
		require.Equal(t, []bool{false, false}, special(l, 4999))
		l.NeedsKey("t")
		require.Equal(t, []bool{true, false}, special(l, 5000))
		require.Equal(t, []bool{false, true}, special(l, 4999))

		for codec, want := range map[string]int{"gzip": 1061, uncompressed: math.MaxInt32} {
			rules := known()
			rules.DecompressedBytes = 1000
			_, single := newLimits(Own{Codec: codec}, rules).MaxBatch("t", 1)
			require.Equal(t, want, single, codec)
		}
	})
}

// A size that is rejected again counts anew.
func TestASizeThatIsRejectedAgain(t *testing.T) {
	inVirtualTime(t, func(t *testing.T) {
		k := &learned{}
		reject := func() { k.rejectedAlone(Rejection{raw: 1000, Started: time.Now()}) }
		reject()
		time.Sleep(proofAge - 1)
		reject()
		time.Sleep(proofAge - 1)
		require.NotNil(t, k.proof(1000))
		time.Sleep(learnedAge - proofAge + 1)
		_, single := k.batch()
		require.Equal(t, 1000, single)
		time.Sleep(time.Nanosecond)
		_, single = k.batch()
		require.Equal(t, math.MaxInt32, single)

		l := newLimits(Own{})
		l.Acked("t", 1, 7000, 0)
		l.Rejected("t", 1, 5000, 5000, true)
		require.Zero(t, l.Taken("t", 1), "the limit is a lower one now")
		why := l.Observed(sized(100, 100), 100, kerr.MessageTooLarge.Code, 0)
		require.Equal(t, code.SizeExceeded, why.Class)
		require.Equal(t, []int{100, 0}, []int{why.Bytes, why.Limit})
	})
}
