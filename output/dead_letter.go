package output

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// The metadata of a dead letter, besides that of its message.
const (
	metaClass     = "kafka_guarded_class"
	metaError     = "kafka_guarded_error"
	metaTopic     = "kafka_guarded_topic"
	metaKey       = "kafka_guarded_key"       // unless it is null
	metaPartition = "kafka_guarded_partition" // where known
	metaBytes     = "kafka_guarded_bytes"     // where size decided
	metaLimit     = "kafka_guarded_limit"     // where size decided, and it is known
	metaFailedAt  = "kafka_guarded_failed_at" // RFC 3339
)

// deadLetters is the child output for what fails for good.
type deadLetters struct {
	out     *service.OwnedOutput
	classes []guard.Class // that fail for good
	retry   guard.Retry
	notices notices
	metrics *metrics

	prime  sync.Once
	primed bool
}

// open starts the child, once.
func (d *deadLetters) open() (err error) {
	d.prime.Do(func() {
		err = d.out.Prime()
		d.primed = err == nil
	})
	return err
}

// closeWait bounds how long the end of the child is waited for. A child that
// never got a connection does not end. What it had to do it has acknowledged, or
// is reported as open after lastChance.
const closeWait = 2 * time.Second

func (d *deadLetters) close(ctx context.Context) error {
	if !d.primed {
		return nil // it would wait for the end of what never began
	}
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	return d.out.Close(ctx)
}

// lastChance is for how long a write to the child that is under way when the
// stream is shut down may still succeed: else its messages might be both there
// and reported as failed.
const lastChance = 5 * time.Second

// deliver writes those messages of the batch that failed for good to the child,
// and returns which it has taken. It tries again until it has taken them all, or
// ctx ends.
func (d *deadLetters) deliver(ctx context.Context, batch service.MessageBatch, records []*kgo.Record, verdicts []guard.Verdict) map[int]bool {
	var open []int
	for i := range verdicts {
		if v := &verdicts[i]; v.Outcome == guard.NotWritten && slices.Contains(d.classes, v.Class) {
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return nil
	}
	now := time.Now().UTC().Format(time.RFC3339)
	letters := make(map[int]*service.Message, len(open))
	for _, i := range open {
		letters[i] = letter(batch[i], records[i], verdicts[i].Failure, now)
	}
	taken := make(map[int]bool, len(open))
	pauses := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(d.retry.InitialInterval),
		backoff.WithMaxInterval(max(d.retry.MaxInterval, d.retry.InitialInterval)),
		backoff.WithMultiplier(2),
		backoff.WithMaxElapsedTime(0), // the budget is for what may pass
	)
	said := time.Time{}
	for {
		failed, err := d.write(ctx, open, letters)
		for _, i := range open {
			if _, ok := failed[i]; !ok {
				taken[i] = true
				d.metrics.deadLettered.Incr(1, verdicts[i].Class.String())
			}
		}
		if len(failed) == 0 {
			if !said.IsZero() {
				d.notices.lettersTaken()
			}
			return taken
		}
		rest := open[:0]
		for _, i := range open {
			if _, ok := failed[i]; ok {
				rest = append(rest, i)
			}
		}
		open = rest
		d.metrics.deadLetterFailed.Incr(int64(len(open)))
		if ctx.Err() != nil {
			return taken
		}
		if time.Since(said) >= noticeInterval {
			said = time.Now()
			d.notices.lettersHeld(len(open), err)
		}
		select {
		case <-time.After(pauses.NextBackOff()):
		case <-ctx.Done():
			return taken
		}
	}
}

// write writes the letters of the indexes to the child in one batch, and returns
// those that it did not take.
func (d *deadLetters) write(ctx context.Context, open []int, letters map[int]*service.Message) (failed map[int]struct{}, err error) {
	batch := make(service.MessageBatch, len(open))
	for n, i := range open {
		batch[n] = letters[i].Copy()
	}
	index := batch.Index()

	// The child gets a context that outlives a shutdown for a while: what it
	// is at when that begins should have an end that is known.
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastChance, cancel) })
	defer stop()
	if err = d.out.WriteBatch(patient, batch); err == nil {
		return nil, nil
	}
	failed = map[int]struct{}{}
	var batchErr *service.BatchError
	if errors.As(err, &batchErr) && batchErr.IndexedErrors() > 0 {
		batchErr.WalkMessagesIndexedBy(index, func(n int, _ *service.Message, err error) bool {
			if err != nil && n >= 0 && n < len(open) {
				failed[open[n]] = struct{}{}
			}
			return true
		})
	}
	if len(failed) == 0 { // it is about none in particular, so about all
		for _, i := range open {
			failed[i] = struct{}{}
		}
	}
	return failed, err
}

// letter makes a dead letter of a message.
func letter(msg *service.Message, r *kgo.Record, f *guard.Failure, now string) *service.Message {
	l := msg.Copy()
	l.MetaSetMut(metaClass, f.Class.String())
	l.MetaSetMut(metaError, f.Error())
	l.MetaSetMut(metaTopic, f.Topic)
	l.MetaSetMut(metaFailedAt, now)
	if r != nil && r.Key != nil {
		l.MetaSetMut(metaKey, string(r.Key))
	}
	if f.Partition >= 0 {
		l.MetaSetMut(metaPartition, strconv.Itoa(int(f.Partition)))
	}
	if f.LimitName != "" {
		l.MetaSetMut(metaBytes, strconv.Itoa(f.Bytes))
		if f.Limit > 0 {
			l.MetaSetMut(metaLimit, strconv.Itoa(f.Limit))
		}
	}
	return l
}
