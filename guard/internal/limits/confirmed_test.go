package limits

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// reported returns Limits that know a topic of these configs.
func reported(t *testing.T, configs map[string]string) *Limits {
	t.Helper()
	l := New(Config{Own: Own{MaxRequestBytes: 100 << 20, Codec: uncompressed}, Life: t.Context(), Forget: func(string) bool { return true }, Differs: func(Difference) {}})
	read(t, l, configs)
	return l
}

// read has limits read a topic's configs now.
func read(t *testing.T, l *Limits, configs map[string]string) {
	t.Helper()
	r := &Rules{Topic: "t", read: time.Now()}
	r.fill(configs)
	require.True(t, r.Known)
	old := &claims{}
	if before, ok := l.reported.topics.Load("t"); ok {
		old = before.(*Rules).claims
	}
	r.claim(old)
	l.reported.topics.Store("t", r)
}

func ofSize(n int) Record {
	return Record{Record: &kgo.Record{Topic: "t", Value: make([]byte, n)}, Size: n, Unstamped: true, Sent: func() int { return n }}
}

func ofAge(age time.Duration) Record {
	r := ofSize(10)
	r.Timestamp, r.Unstamped = time.Now().Add(-age), false
	return r
}

func TestALimitIsConfirmedForAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		configs := map[string]string{"max.message.bytes": "1000"}
		l := reported(t, configs)
		check := func(n int) *Violation { return l.rejecting(ofSize(n), time.Now()) }
		require.Nil(t, check(1000))
		require.False(t, check(1001).Confirmed())
		check(2000).Confirm()
		require.True(t, check(2000).Confirmed(), "as large")
		require.True(t, check(2001).Confirmed(), "larger")
		require.False(t, check(1999).Confirmed(), "smaller")
		check(1500).Confirm()
		require.True(t, check(1500).Confirmed())
		check(3000).Confirm()
		require.True(t, check(1500).Confirmed(), "a larger one says less")
		time.Sleep(claimAge - time.Second)
		read(t, l, configs)
		require.True(t, check(1500).Confirmed())
		time.Sleep(time.Second)
		read(t, l, configs)
		require.False(t, check(1500).Confirmed(), "after a minute")
	})
}

func TestAnotherValueIsAnotherClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := reported(t, map[string]string{"max.message.bytes": "1000"})
		check := func(n int) *Violation { return l.rejecting(ofSize(n), time.Now()) }
		check(2000).Confirm()
		check(5000).claims.refute(check(5000))
		require.Nil(t, check(2000), "it is not believed")
		read(t, l, map[string]string{"max.message.bytes": "1000"})
		require.Nil(t, check(2000), "nor when it is read again")
		read(t, l, map[string]string{"max.message.bytes": "1500"})
		require.NotNil(t, check(2000), "another value is believed")
		require.False(t, check(2000).Confirmed(), "and not confirmed")
		old := check(2000)
		read(t, l, map[string]string{"max.message.bytes": "1600"})
		require.False(t, check(2000).Confirmed())
		old.claims.refute(old)
		require.NotNil(t, check(2000), "what an old value rejected says nothing of a new one")
	})
}

func TestClaimsOfOtherKindsAreApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := reported(t, map[string]string{
			"max.message.bytes": "1000", "cleanup.policy": "compact", "message.timestamp.type": "CreateTime",
			"message.timestamp.before.max.ms": "3600000", "message.timestamp.after.max.ms": "3600000", "compression.type": "gzip",
		})
		check := func(r Record) *Violation { return l.rejecting(r, time.Now()) }
		keyed := func(r Record) Record { r.Key = []byte("k"); return r }
		require.Equal(t, Key, check(ofSize(10)).Kind)
		require.Equal(t, Older, check(keyed(ofAge(2*time.Hour))).Kind)
		require.Equal(t, Newer, check(keyed(ofAge(-2*time.Hour))).Kind)
		before1970 := keyed(ofSize(10))
		before1970.Timestamp, before1970.Unstamped = time.UnixMilli(-5000), false
		require.Equal(t, Negative, check(before1970).Kind)
		require.Nil(t, check(keyed(ofAge(time.Hour+clockMargin))), "the margin is the broker's to decide")
		require.NotNil(t, check(keyed(ofAge(time.Hour+clockMargin+time.Millisecond))))

		check(ofSize(10)).claims.refute(check(ofSize(10)))
		require.Nil(t, check(ofSize(10)), "keys")
		require.Equal(t, Size, check(ofSize(2000)).Kind, "sizes still count")
		check(keyed(ofAge(3 * time.Hour))).Confirm()
		require.True(t, check(keyed(ofAge(3*time.Hour-timeSlack))).Confirmed())
		require.False(t, check(keyed(ofAge(3*time.Hour-timeSlack-time.Millisecond))).Confirmed())
		require.False(t, check(keyed(ofAge(-3*time.Hour))).Confirmed())
	})
}

func TestLimitsThatAreNotFreshRejectNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := reported(t, map[string]string{"max.message.bytes": "1000"})
		l.rejecting(ofSize(2000), time.Now()).Confirm()
		require.NotNil(t, l.Rejects(ofSize(2000)))
		time.Sleep(Fresh)
		require.NotNil(t, l.Rejects(ofSize(2000)))
		time.Sleep(time.Millisecond)
		require.Nil(t, l.Rejects(ofSize(2000)))
	})
}

func TestOneProbeAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := reported(t, map[string]string{"max.message.bytes": "1000"})
		v := l.rejecting(ofSize(2000), time.Now())
		done, _ := v.Probe()
		require.NotNil(t, done)
		again, wait := l.rejecting(ofSize(3000), time.Now()).Probe()
		require.Nil(t, again)
		select {
		case <-wait:
			require.Fail(t, "the first has no answer yet")
		default:
		}
		v.Confirm()
		done()
		<-wait
		again, wait = l.rejecting(ofSize(3000), time.Now()).Probe()
		require.Nil(t, again, "it is confirmed")
		<-wait
		again, _ = l.rejecting(ofSize(1500), time.Now()).Probe()
		require.NotNil(t, again, "of a smaller one nothing is known")
		// A new value ends what waits for the old one.
		_, wait = l.rejecting(ofSize(1600), time.Now()).Probe()
		read(t, l, map[string]string{"max.message.bytes": "1400"})
		require.False(t, l.rejecting(ofSize(1500), time.Now()).Confirmed())
		<-wait
		again()
	})
}

func TestTheLimitOfDecompressedRecordsIsByLength(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 62, 63, 64, 65, 8190, 8191, 8192, 8193, 1 << 20} {
		lengths := []int{1, 2, 3, 4, 5}
		bounds := []int{0, 64, 8192, 1 << 20, 1 << 27, math.MaxInt32}
		size := 0
		for i, length := range lengths {
			if n >= bounds[i] && n < bounds[i+1] {
				size = batchOverhead + length + n
			}
		}
		require.Equal(t, n, recordLength(size))
	}
}
