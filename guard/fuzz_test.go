package guard

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
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
		wire := &kafkafake.Wire{ID: func(value []byte) string { return string(value) }}
		g := newGuard(t, c, config, kgo.Dialer(wire.Dialer(new(net.Dialer).DialContext)), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(50+rnd.IntN(500)))

		faults := rnd.IntN(2) * rnd.IntN(6)
		var schedule []kfake.Fault
		for range faults {
			schedule = append(schedule, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{rnd.Int32N(partitions)}, Err: codes[rnd.IntN(len(codes))]})
		}
		c.Fault(schedule...)

		writes := 1 + rnd.IntN(4)
		rs, vs, bad := make([][]*kgo.Record, writes), make([][]Verdict, writes), map[string]Class{}
		for w := range writes {
			rs[w] = records("t", fmt.Sprintf("w%d", w), 1+rnd.IntN(120), rnd.IntN(200))
			share := []int{1000, 50, 2}[rnd.IntN(3)]
			for i, r := range rs[w] {
				r.Partition = rnd.Int32N(partitions)
				if rnd.IntN(share) > 0 {
					continue
				}
				class := SizeExceeded
				switch rnd.IntN(4) {
				case 0: // a timestamp of its own: one that guard sets is replaced
					poison(rs[w], i)
					r.Timestamp = time.Now()
					class = InvalidRecord
				case 1: // over the topic's limit, and alone with kgo's rounding
					rs[w][i] = record("t", fmt.Sprintf("w%d-big-%d", w, i), 10_000+rnd.IntN(9_950))
					rs[w][i].Partition = r.Partition
				case 2: // over the client's limit
					rs[w][i] = record("t", fmt.Sprintf("w%d-huge-%d", w, i), 30_000)
					rs[w][i].Partition = r.Partition
				case 3:
					r.Partition = partitions + rnd.Int32N(3)
					class = Unroutable
				}
				bad[string(rs[w][i].Value)] = class
			}
		}
		var wg sync.WaitGroup
		for w := range writes {
			wg.Go(func() {
				vs[w] = g.Write(t.Context(), rs[w])
			})
		}
		wg.Wait()
		d := &deserves{retries: retries, bad: bad, schedule: schedule, wire: wire, records: slices.Concat(rs...)}
		require.NoError(t, d.check(c, slices.Concat(vs...)))
		most := 10.0 // and some for what happens once, such as a new leader
		for _, of := range rs {
			bytes, rejected := 0, 5*faults
			for _, r := range of {
				bytes += len(r.Value) + 100
				if _, isBad := bad[string(r.Value)]; isBad {
					rejected++
				}
			}
			most += deliverycheck.MostRequests(int(partitions), bytes, 10_000, len(of), rejected)
		}
		require.LessOrEqual(t, float64(wire.Requests()), most)
	})
}

// deserves is what the records of a schedule deserve, under faults as well: by the
// broker's true limits, and by the answers that the client got.
type deserves struct {
	retries  bool
	bad      map[string]Class // by value
	schedule []kfake.Fault
	wire     *kafkafake.Wire
	records  []*kgo.Record
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

// lied reports whether a fault rejected a record itself with a code of the class, or for
// its size one that is no larger.
func (d *deserves) lied(r *kgo.Record, class Class) bool {
	switch {
	case class == SizeExceeded:
		return slices.ContainsFunc(d.records, func(o *kgo.Record) bool {
			return len(o.Value) <= len(r.Value) && d.wire.Rejected(string(o.Value), kerr.MessageTooLarge)
		})
	case class == InvalidRecord && !d.retries: // ambiguous codes count only without retries
		return d.wire.Rejected(string(r.Value), kerr.InvalidRecord, kerr.UnknownServerError, kerr.CorruptMessage)
	}
	return class == InvalidRecord && d.wire.Rejected(string(r.Value), kerr.InvalidRecord)
}

// settles reports whether a retry settles a doubt about a record: no fault rejected a batch
// with it.
func (d *deserves) settles(r *kgo.Record) bool {
	return d.retries && !slices.ContainsFunc(d.wire.Attempts(string(r.Value)), func(a kafkafake.Attempt) bool {
		return slices.ContainsFunc([]*kerr.Error{kerr.InvalidRecord, kerr.MessageTooLarge, kerr.OutOfOrderSequenceNumber}, func(e *kerr.Error) bool {
			return a.Code == e.Code && d.faults(r.Partition, e) > 0
		})
	})
}

func (d *deserves) check(c *kafkafake.Cluster, verdicts []Verdict) error {
	end := time.Now()
	for i, v := range verdicts {
		r := d.records[i]
		want, isBad := d.bad[string(r.Value)]
		if isBad && v.Class != want && (d.faults(r.Partition) == 0 && !d.lied(r, v.Class) || want == Unroutable) {
			return fmt.Errorf("record %d: its class must be %s: %w", i, want, v.Err())
		}
	}
	return compare(c, d.records, verdicts, func(i int) deliverycheck.Record {
		r, class := d.records[i], verdicts[i].Class
		_, isBad := d.bad[string(r.Value)]
		lied, calm := d.lied(r, class), d.faults(r.Partition) == 0
		return deliverycheck.Record{
			MayFail:      isBad || lied,
			MayBeUnknown: d.wire.InDoubt(string(r.Value), end),
			Settles:      !isBad && d.settles(r),
			MustFail:     isBad && (d.retries || calm),
			MustArrive:   !isBad && !lied && (d.retries || calm),
		}
	})
}

// TestTheOracleNoticesWrongVerdicts changes right verdicts of a write with a fault.
func TestTheOracleNoticesWrongVerdicts(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("t", 1)
	fault := kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{0}, Err: kerr.NotEnoughReplicas}
	c.Fault(fault)
	wire := &kafkafake.Wire{ID: func(value []byte) string { return string(value) }}
	g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Millisecond}}, kgo.Dialer(wire.Dialer(new(net.Dialer).DialContext)))
	rs := records("t", "r", 3, 10)
	vs := g.Write(t.Context(), rs)
	failed := Verdict{Outcome: NotWritten, Class: InvalidRecord, Failure: &Failure{}}
	unknown := Verdict{Class: Transient, Failure: &Failure{}}
	d := &deserves{retries: true, schedule: []kfake.Fault{fault}, wire: wire, records: rs}
	require.NoError(t, d.check(c, vs))

	with := func(last *kgo.Record, v Verdict) error {
		d.records = append(slices.Clone(rs[:2]), last)
		return d.check(c, append(slices.Clone(vs[:2]), v))
	}
	missing := record("t", "missing", 10)
	require.ErrorContains(t, with(missing, failed), "no limit rejects it")
	require.ErrorContains(t, with(missing, Verdict{Outcome: NotWritten, Class: Transient, Failure: &Failure{}}), "no limit rejects it")
	require.ErrorContains(t, with(missing, vs[2]), "it is not in the log")
	require.ErrorContains(t, with(rs[2], failed), "it is in the log")
	require.ErrorContains(t, with(rs[2], unknown), "each request that held it was answered")

	g.Write(t.Context(), []*kgo.Record{record("t", "r-00002", 10)})
	require.ErrorContains(t, with(rs[2], vs[2]), "it is in the log 2 times")
}
