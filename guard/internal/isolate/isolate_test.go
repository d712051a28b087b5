package isolate

import (
	"context"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/limits"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// leader is a broker's partition and the queue before it: it follows plans as the producer
// does, a batch at a time.
type leader struct {
	isolation *Isolation
	limit     int // max.message.bytes
	lists     lists
	sick      int // so many batches get an ambiguous code

	queue    []partition.Part
	later    []*partition.Record
	acks     uint64
	requests int
	log      []*partition.Record
	failed   map[*partition.Record]*code.Reason
}

// lists is which of the rejected records a broker lists (KIP-467).
type lists int

const (
	all lists = iota
	first
	none
	fromOne // it counts from one, and lists the record behind
	listKinds
)

type owner struct{ state State }

func (o *owner) Isolation() *State { return &o.state }

// bad marks records that the broker rejects for what is in them.
var bad = kgo.RecordHeader{Key: "bad"}

func isBad(r *partition.Record) bool { return len(r.Headers) > 0 }

func newLeader(t *testing.T, limit int) *leader {
	t.Helper()
	p := &leader{limit: limit, failed: map[*partition.Record]*code.Reason{}}
	l := limits.New(limits.Config{Own: limits.Own{MaxRequestBytes: 100 << 20, Codec: "uncompressed"}, Life: t.Context(), Ignore: true, Forget: func(string) bool { return true }})
	p.isolation = &Isolation{Config: Config{
		Limits: l,
		ToCheck: func(r *partition.Record) limits.Record {
			return limits.Record{Record: r.Record, Size: int(r.Size), Sent: func() int { return int(r.Size) }}
		},
		Final:      func(c code.Class) bool { return c == code.SizeExceeded || c == code.InvalidRecord },
		RetryAfter: func(int) time.Duration { return time.Second },
		Held:       func(*partition.Batch, *partition.Record, *code.Reason) {},
		Learned:    func(string, int) {},
	}}
	return p
}

func newRecord(value []byte, key string, spoilt bool) *partition.Record {
	r := &partition.Record{Record: &kgo.Record{Topic: "t", Value: value, Timestamp: time.Now()}, Owner: &owner{}}
	if key != "" {
		r.Key = []byte(key)
	}
	if spoilt {
		r.Headers = []kgo.RecordHeader{bad}
	}
	r.Prepare()
	return r
}

// run sends records until each is in the log or has failed.
func (p *leader) run(records []*partition.Record) {
	p.queue = []partition.Part{{Records: records}}
	for len(p.queue) > 0 || len(p.later) > 0 {
		if p.requests > 100*(100+len(records)) {
			panic("it never ends")
		}
		if len(p.queue) == 0 {
			time.Sleep(4 * time.Second)
			for _, r := range p.later {
				p.queue = append(p.queue, partition.Part{Records: []*partition.Record{r}})
			}
			p.later = nil
		}
		if b := p.next(); b != nil {
			p.send(b)
		}
	}
}

// next takes a batch off the queue, as large as the limits let it be.
func (p *leader) next() *partition.Batch {
	part := p.queue[0]
	p.queue = p.queue[1:]
	most, single := p.isolation.Limits.MaxBatch("t", 0)
	b := &partition.Batch{Topic: "t", Alone: part.Alone, Attempts: 1, Acks: p.acks, Started: time.Now()}
	for n, r := range part.Records {
		if int(r.Size) >= single {
			r.Single, r.Questioned = true, true
		}
		if r.Questioned {
			if why := p.isolation.Check(r, 0); why != nil {
				p.failed[r] = why
				continue
			}
		}
		if len(b.Records) > 0 && (r.Single || b.Records[0].Single || partition.RawSize(append(slices.Clone(b.Records), r)) > most) {
			p.queue = slices.Insert(p.queue, 0, partition.Part{Records: part.Records[n:], Alone: part.Alone})
			break
		}
		b.Alone = b.Alone || r.Alone
		b.Records = append(b.Records, r)
	}
	if len(b.Records) == 0 {
		return nil
	}
	b.Sent = partition.RawSize(b.Records)
	return b
}

func (p *leader) send(b *partition.Batch) {
	p.requests++
	a := p.answer(b)
	if a.Code == 0 {
		p.acks++
		p.log = append(p.log, b.Records...)
		p.isolation.Acked(b)
		return
	}
	plan := p.isolation.Isolate(context.Background(), b, a)
	p.queue = slices.Insert(p.queue, 0, plan.Parts...)
	for _, f := range plan.Failed {
		p.failed[f.Record] = f.Reason.(*code.Reason) //nolint:errorlint // the very value
	}
	for _, l := range plan.Later {
		p.later = append(p.later, l.Record)
	}
}

func (p *leader) answer(b *partition.Batch) broker.Answer {
	reject := func(e *kerr.Error) broker.Answer {
		return broker.Answer{Code: e.Code, Err: e, Alone: b.Alone}
	}
	if p.sick > 0 {
		p.sick--
		return reject(kerr.UnknownServerError)
	}
	if b.Sent > p.limit {
		return reject(kerr.MessageTooLarge)
	}
	if !slices.ContainsFunc(b.Records, isBad) {
		return broker.Answer{}
	}
	a := reject(kerr.InvalidRecord)
	for n, r := range b.Records {
		switch {
		case !isBad(r) || p.lists == none || p.lists == first && len(a.RecordErrors) > 0:
		case p.lists == fromOne:
			a.RecordErrors = append(a.RecordErrors, broker.RecordError{Index: n + 1})
		default:
			a.RecordErrors = append(a.RecordErrors, broker.RecordError{Index: n})
		}
	}
	return a
}

// The records at fault fail, and no other, whatever the broker lists. Records with a key keep
// their order. The number of requests has a bound.
func TestTheRecordsAtFaultFail(t *testing.T) {
	t.Parallel()
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 200
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 26))
			p := newLeader(t, 2_000+rnd.IntN(50_000))
			p.lists = lists(rnd.IntN(int(listKinds)))
			p.isolation.NoRetry = rnd.IntN(2) == 0
			var records []*partition.Record
			atFault := 0
			share := []int{200, 20, 2}[rnd.IntN(3)]
			for range 1 + rnd.IntN(200) {
				size, spoilt := rnd.IntN(1000), false
				if rnd.IntN(share) == 0 {
					if spoilt = rnd.IntN(2) == 0; !spoilt {
						size = p.limit + rnd.IntN(p.limit)
					}
					atFault++
				}
				value := make([]byte, size)
				if rnd.IntN(2) == 0 {
					for n := range value {
						value[n] = byte(rnd.Uint32())
					}
				}
				records = append(records, newRecord(value, []string{"", "a", "b", "c"}[rnd.IntN(4)], spoilt))
			}
			p.run(slices.Clone(records))
			for n, r := range records {
				wrong := isBad(r) || int(r.Size) > p.limit
				require.Equal(t, wrong, p.failed[r] != nil, "seed %d: record %d of %d bytes", seed, n, r.Size)
				require.Equal(t, !wrong, slices.Contains(p.log, r), "seed %d: record %d", seed, n)
			}
			for _, key := range []string{"a", "b", "c"} {
				var want, got []*partition.Record
				for _, r := range records {
					if string(r.Key) == key && p.failed[r] == nil {
						want = append(want, r)
					}
				}
				for _, r := range p.log {
					if string(r.Key) == key {
						got = append(got, r)
					}
				}
				require.Len(t, got, len(want))
				for n := range want {
					require.Same(t, want[n], got[n], "seed %d: the order of %s", seed, key)
				}
			}
			raw := partition.RawSize(records)
			require.LessOrEqual(t, p.requests, 8+4*raw/p.limit+atFault*(3+2*bits.Len(uint(len(records)))), "seed %d: %d of %d at fault, limit %d, %d bytes, lists %d", seed, atFault, len(records), p.limit, raw, p.lists)
		})
	}
}

// The requests that it takes to find one record, by how the broker lists it.
func TestRequestsToFindOneRecord(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		lists    lists
		requests int
	}{
		{"all are listed: the batch, the record alone, the others", all, 3},
		{"nothing is listed: seven halvings of two requests", none, 15},
		{"the neighbour is listed: it is taken, and then as if nothing was listed", fromOne, 18},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newLeader(t, 1<<20)
				p.lists = test.lists
				var records []*partition.Record
				for n := range 100 {
					records = append(records, newRecord(fmt.Append(nil, n), "", n == 50))
				}
				p.run(records)
				require.Len(t, p.failed, 1)
				require.LessOrEqual(t, p.requests, test.requests)
			})
		})
	}
}

// A broker that is sick for a while fails no record.
func TestASickBrokerFailsNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 27))
			p := newLeader(t, 1<<20)
			p.sick = 1 + rnd.IntN(12)
			var records []*partition.Record
			for n := range 1 + rnd.IntN(20) {
				records = append(records, newRecord(fmt.Append(nil, n), "", false))
			}
			p.run(slices.Clone(records))
			require.Empty(t, p.failed, "seed %d", seed)
			require.Len(t, p.log, len(records))
		})
	}
}

// A record fails for the size of another only if it is no smaller, and within a second.
func TestASizeIsProofForASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newLeader(t, 10_000)
		large := func(n int) *partition.Record { return newRecord(make([]byte, n), "", false) }
		for _, test := range []struct {
			name            string
			bytes, requests int
		}{
			{"the first: alone in its batch, and then in its request", 20_000, 2},
			{"no smaller", 20_000, 0},
			{"smaller: in its batch, and then in its request", 15_000, 2},
			{"no smaller than that", 15_001, 0},
		} {
			before := p.requests
			p.run([]*partition.Record{large(test.bytes)})
			require.Equal(t, test.requests, p.requests-before, test.name)
		}
		require.Len(t, p.failed, 4)
		time.Sleep(time.Second)
		p.limit = 30_000
		p.run([]*partition.Record{large(20_000)})
		require.Len(t, p.failed, 4, "the limit was raised")
	})
}
