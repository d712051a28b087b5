package guard

import (
	"fmt"
	"math/rand/v2"
	"slices"
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

// faultCodes are what a schedule has the broker answer, once each. It has all but
// the last of them, or all but the first two, which leave a batch in doubt. A broker
// that has appended a batch, and then finds it out of order, has lost it: on that kgo
// sends it again under a new epoch, and here it is there still. And kgo sends what is
// in doubt under the epoch that it had, when a refusal in another partition has
// raised that of the producer; kfake, unlike Kafka, has one epoch for all partitions.
var faultCodes = []*kerr.Error{
	kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut,
	kerr.NotEnoughReplicas, kerr.NotLeaderForPartition,
	kerr.InvalidRecord, kerr.MessageTooLarge, kerr.UnknownServerError, kerr.CorruptMessage,
	kerr.TopicAuthorizationFailed, kerr.PolicyViolation, kerr.OutOfOrderSequenceNumber,
}

// FuzzWriteAgainstTheLog writes random batches with random bad records, while the
// broker answers by a random schedule, and holds each verdict against the log.
// An entry of the seed corpus is a schedule that once failed.
func FuzzWriteAgainstTheLog(f *testing.F) {
	for seed := range uint64(24) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		c := kafkafake.New(t)
		partitions, codes := 1+rnd.Int32N(3), faultCodes[2:]
		if rnd.IntN(2) == 0 {
			partitions, codes = 1, faultCodes[:len(faultCodes)-1]
		}
		c.Topic("t", partitions, "max.message.bytes=10000")
		for p := range partitions {
			c.Refuse("t", p, kafkafake.Mark, kerr.InvalidTimestamp)
		}
		config := Config{MaxMessageBytes: 20_000, IgnoreRules: rnd.IntN(2) == 0}
		retries := rnd.IntN(2) == 0
		if retries {
			config.Retry.InitialInterval = time.Millisecond
		}
		g := newGuard(t, c, config, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(50+rnd.IntN(500)))

		faults := rnd.IntN(2) * rnd.IntN(6)
		var schedule []kfake.Fault
		for range faults {
			schedule = append(schedule, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{rnd.Int32N(partitions)}, Err: codes[rnd.IntN(len(codes))]})
		}
		c.Fault(schedule...)

		writes := 1 + rnd.IntN(4)
		rs, vs, bad := make([][]*kgo.Record, writes), make([][]Verdict, writes), make([]map[int]Class, writes)
		for w := range writes {
			bad[w] = map[int]Class{}
			rs[w] = records("t", fmt.Sprintf("w%d", w), 1+rnd.IntN(120), rnd.IntN(200))
			share := []int{1000, 50, 2}[rnd.IntN(3)]
			for i, r := range rs[w] {
				r.Partition = rnd.Int32N(partitions)
				if rnd.IntN(share) > 0 {
					continue
				}
				switch rnd.IntN(4) {
				case 0: // a timestamp of its own: one that guard sets is replaced
					poison(rs[w], i)
					r.Timestamp = time.Now()
					bad[w][i] = InvalidRecord
				case 1: // over the topic's limit, and alone with kgo's rounding
					rs[w][i] = record("t", fmt.Sprintf("w%d-big-%d", w, i), 10_000+rnd.IntN(9_950))
					rs[w][i].Partition = r.Partition
					bad[w][i] = SizeExceeded
				case 2: // over the client's limit
					rs[w][i] = record("t", fmt.Sprintf("w%d-huge-%d", w, i), 30_000)
					rs[w][i].Partition = r.Partition
					bad[w][i] = SizeExceeded
				case 3:
					r.Partition = partitions + rnd.Int32N(3)
					bad[w][i] = Unroutable
				}
			}
		}
		var wg sync.WaitGroup
		for w := range writes {
			wg.Go(func() {
				vs[w] = g.Write(t.Context(), rs[w])
			})
		}
		wg.Wait()
		account(t, c, slices.Concat(rs...), slices.Concat(vs...))
		deserved := deserves{retries: retries, bad: bad, schedule: schedule}
		for w := range writes {
			deserved.check(t, w, rs[w], vs[w])
		}
		deserved.bounds(t)
	})
}

// deserves checks the failed records, under faults as well: by the broker's true limits,
// and by the faults of the partition.
type deserves struct {
	retries  bool
	bad      []map[int]Class // by write and record
	schedule []kfake.Fault

	failed  map[Class]int // records that no limit rejects
	unknown int           // of these, with retries
}

// faults returns how many faults with one of the codes a partition got.
func (d *deserves) faults(partition int32, codes ...*kerr.Error) (n int) {
	for _, f := range d.schedule {
		if slices.Contains(f.Partitions, partition) && (len(codes) == 0 || slices.Contains(codes, f.Err)) {
			n++
		}
	}
	return n
}

var (
	// ambiguous codes count only without retries.
	ambiguousCodes = []*kerr.Error{kerr.UnknownServerError, kerr.CorruptMessage}
	doubtfulCodes  = append([]*kerr.Error{kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut}, ambiguousCodes...)
)

func (d *deserves) check(t *testing.T, write int, records []*kgo.Record, verdicts []Verdict) {
	t.Helper()
	if d.failed == nil {
		d.failed = map[Class]int{}
	}
	for i, v := range verdicts {
		p := records[i].Partition
		want, isBad := d.bad[write][i]
		if v.Outcome == Unknown {
			require.NotZero(t, d.faults(p, doubtfulCodes...), "write %d, record %d: nothing leaves it in doubt: %v", write, i, v.Err())
		}
		if v.Outcome == Unknown && d.retries && !isBad {
			d.unknown++
		}
		if d.retries && v.Outcome == NotWritten {
			require.True(t, v.Class.Permanent(), "write %d, record %d: %v", write, i, v.Err())
		}
		switch {
		case isBad && (d.faults(p) == 0 || want == Unroutable):
			require.Equal(t, want, v.Class, "write %d, record %d: %v", write, i, v.Err())
		case isBad:
			require.NotEqual(t, Delivered, v.Outcome, "write %d, record %d", write, i)
		case v.Outcome != Delivered:
			require.NotZero(t, d.faults(p), "write %d, record %d: no limit rejects it, and no fault struck: %v", write, i, v.Err())
			d.failed[v.Class]++
		}
	}
}

// bounds holds the records that failed although no limit rejects them against the faults that
// explain them.
func (d *deserves) bounds(t *testing.T) {
	t.Helper()
	all := func(codes ...*kerr.Error) (n int) {
		for p := range int32(3) {
			n += d.faults(p, codes...)
		}
		return n
	}
	explained := all(kerr.InvalidRecord)
	if !d.retries {
		explained += all(ambiguousCodes...)
	}
	require.LessOrEqual(t, d.failed[InvalidRecord], explained, "each fault fails the record that it struck alone")
	if all(kerr.MessageTooLarge) == 0 {
		require.LessOrEqual(t, d.unknown, all(kerr.InvalidRecord), "a retry settles what is in doubt, unless a fault fails the record then")
		require.Zero(t, d.failed[SizeExceeded])
	}
	require.Zero(t, d.failed[Unroutable])
}
