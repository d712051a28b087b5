//go:build linux || darwin

package soak

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// verifier reads the topics while they are written, enters the messages into the
// accounts, and deletes what it has read.
type verifier struct {
	client   *kgo.Client
	admin    *kadm.Client
	epoch    time.Time
	accounts []*account
	end      context.CancelFunc
	ended    sync.WaitGroup

	mu   sync.Mutex
	next map[string]map[int32]int64

	// trouble is an error that kept the verifier from reading all: of the cluster, or
	// of the verifier itself. It is no fault of the output.
	trouble atomic.Pointer[error]
}

func verify(admin *kadm.Client, epoch time.Time, accounts []*account, opts []kgo.Opt) (*verifier, error) {
	v := &verifier{admin: admin, epoch: epoch, accounts: accounts, next: map[string]map[int32]int64{}}
	for _, a := range accounts {
		v.next[a.load.plain()], v.next[a.load.compacted()] = map[int32]int64{}, map[int32]int64{}
	}
	var topics []string
	for topic := range v.next {
		topics = append(topics, topic)
	}
	var err error
	v.client, err = kgo.NewClient(append(opts,
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(8<<20),
		kgo.FetchMaxPartitionBytes(2<<20),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.MetadataMaxAge(10*time.Second),
		kgo.RequestTimeoutOverhead(5*time.Second),
	)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.end = cancel
	v.ended.Go(func() { v.read(ctx) })
	v.ended.Go(func() { v.trim(ctx) })
	return v, nil
}

func (v *verifier) close() {
	v.end()
	v.ended.Wait()
	v.client.Close()
}

func (v *verifier) fail(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	v.trouble.CompareAndSwap(nil, &err)
}

func (v *verifier) read(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := v.client.PollRecords(ctx, 20_000)
		fetches.EachError(func(topic string, partition int32, err error) {
			var lost *kgo.ErrDataLoss
			if errors.As(err, &lost) {
				v.fail("the cluster lost what it had acknowledged: %w", err)
			}
		})
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) == 0 {
				return // kgo returns an error of the whole client without a topic
			}
			v.mu.Lock()
			next := v.next[p.Topic][p.Partition]
			v.mu.Unlock()
			for _, r := range p.Records {
				switch {
				case r.Offset < next:
					continue // kgo reads records again after a change of leaders
				case r.Offset > next:
					v.fail("partition %d of %s goes on at offset %d, not at %d", r.Partition, r.Topic, r.Offset, next)
				}
				next = r.Offset + 1
				v.enter(r)
			}
			v.mu.Lock()
			v.next[p.Topic][p.Partition] = next
			v.mu.Unlock()
		})
	}
}

// enter enters a record into the account of its load, after comparing it with the
// message that was sent.
func (v *verifier) enter(r *kgo.Record) {
	load, n, ok := numberOf(r.Value)
	if !ok {
		v.accounts[0].stray("partition %d of %s has at offset %d what nobody sent: %.40q", r.Partition, r.Topic, r.Offset, r.Value)
		return
	}
	a := v.accounts[load]
	m := a.load.message(n, v.epoch)
	sameKey := string(r.Key) == m.key && (r.Key == nil) == (m.key == "")
	if r.Topic != m.topic || !m.is(r.Value) || !sameKey || a.load.Times && r.Timestamp.UnixMilli() != m.time.UnixMilli() {
		a.stray("message %d (%s) is in partition %d of %s at offset %d, and not as it was sent", n, m.kind, r.Partition, r.Topic, r.Offset)
		return
	}
	a.deliver(n, m)
}

// trim deletes from the topics what was read.
func (v *verifier) trim(ctx context.Context) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		offsets := kadm.Offsets{}
		v.mu.Lock()
		for topic, partitions := range v.next {
			for p, next := range partitions {
				if next > 0 {
					offsets.AddOffset(topic, p, next, -1)
				}
			}
		}
		v.mu.Unlock()
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, _ = v.admin.DeleteRecords(within, offsets) // tried again in two seconds
		cancel()
	}
}

// caughtUp reports whether all records that the topics have by now were read.
func (v *verifier) caughtUp(ctx context.Context) (bool, error) {
	var topics []string
	for topic := range v.next {
		topics = append(topics, topic)
	}
	ends, err := v.admin.ListEndOffsets(ctx, topics...)
	if err = errors.Join(err, ends.Error()); err != nil {
		return false, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for topic, partitions := range ends {
		for p, end := range partitions {
			if v.next[topic][p] < end.Offset {
				return false, fmt.Errorf("partition %d of %s was read up to offset %d of %d", p, topic, v.next[topic][p], end.Offset)
			}
		}
	}
	return true, nil
}
