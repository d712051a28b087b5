//go:build linux || darwin

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// reader consumes the messages of a paced run. It is warm before the run begins.
type reader struct {
	client *kgo.Client
	ended  chan struct{}

	mu    sync.Mutex
	seen  []bool // by number
	read  int    // different messages
	first chan struct{}
	all   []arrival
}

// arrival is a message that was consumed for the first time.
type arrival struct{ due, at time.Time }

func startReader(t *target, topics []string, partitions int) (*reader, error) {
	r := &reader{ended: make(chan struct{}), first: make(chan struct{})}
	from := map[string]map[int32]kgo.Offset{}
	for _, topic := range topics {
		from[topic] = map[int32]kgo.Offset{}
		for p := range partitions {
			from[topic][int32(p)] = kgo.NewOffset().At(0)
		}
	}
	var err error
	r.client, err = kgo.NewClient(kgo.SeedBrokers(t.direct...), kgo.ConsumePartitions(from))
	if err != nil {
		return nil, fmt.Errorf("making the client that reads: %w", err)
	}
	go func() {
		defer close(r.ended)
		for {
			fetches := r.client.PollFetches(context.Background())
			if fetches.IsClientClosed() {
				return
			}
			r.note(time.Now(), fetches)
		}
	}()
	return r, nil
}

func (r *reader) note(at time.Time, fetches kgo.Fetches) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fetches.EachRecord(func(record *kgo.Record) {
		if len(record.Value) < stampSize {
			return
		}
		due, err := strconv.ParseInt(string(record.Value[:19]), 10, 64)
		number, err2 := strconv.Atoi(string(record.Value[20:30]))
		if err != nil || err2 != nil {
			return
		}
		if grow := number + 1 - len(r.seen); grow > 0 {
			r.seen = append(r.seen, make([]bool, grow)...)
		}
		if r.seen[number] {
			return
		}
		if r.read == 0 {
			close(r.first)
		}
		r.seen[number] = true
		r.read++
		r.all = append(r.all, arrival{time.Unix(0, due), at})
	})
}

// finish waits a limited time until so many messages were read, and ends.
func (r *reader) finish(want int) []arrival {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		done := r.read >= want
		r.mu.Unlock()
		if done {
			break
		}
	}
	r.client.Close()
	<-r.ended
	return r.all
}

// delays are the delays of the messages that were due from one time to another.
func delays(all []arrival, from, until int64) percentiles {
	var found []time.Duration
	for _, a := range all {
		if due := a.due.UnixNano(); from <= due && due < until {
			found = append(found, a.at.Sub(a.due))
		}
	}
	return percentilesOf(found)
}

// The outage of a run that measures recovery.
const (
	calm   = 2 * time.Second // before the outage, from the first message on
	outage = 10 * time.Second
	// behind is how late a message must be to count as part of the backlog.
	behind = 250 * time.Millisecond
)

// fail makes the broker unreachable, once something was read, and returns when it is
// reachable again.
func (r *reader) fail(ctx context.Context, t *target) (back time.Time) {
	select {
	case <-r.first:
	case <-ctx.Done():
		return time.Time{}
	}
	for _, step := range []struct {
		after time.Duration
		do    func(*link)
	}{{calm, (*link).cut}, {outage, (*link).mend}} {
		select {
		case <-time.After(step.after):
		case <-ctx.Done(): // mend the links all the same
		}
		for _, l := range t.links {
			step.do(l)
		}
	}
	return time.Now()
}

// recovery is the time in seconds from the broker's return to the last message of the
// backlog, and the longest time without a message.
func recovery(all []arrival, back time.Time) (gone, silence float64) {
	slices.SortFunc(all, func(a, b arrival) int { return a.at.Compare(b.at) })
	for i, a := range all {
		if a.at.Sub(a.due) > behind {
			gone = max(gone, a.at.Sub(back).Seconds())
		}
		if i > 0 {
			silence = max(silence, a.at.Sub(all[i-1].at).Seconds())
		}
	}
	return gone, silence
}
