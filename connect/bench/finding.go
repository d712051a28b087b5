//go:build linux || darwin

package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// haystack is the number of records among which the bad ones are found.
const haystack = 1000

// find counts the produce requests that it takes to find the bad records among small
// ones. It runs in this process, since nothing is timed.
func (t trial) find(ctx context.Context) (s sample, err error) {
	s = sample{key: t.key(), Round: t.round}
	l := base.with(t.scenario.change)
	l.Partitions, l.IgnoreRules = 1, true
	j := job{Runner: t.row.runner, Load: l, Brokers: t.target.brokers, Topic: topicName()}
	topics := l.topics(j.Topic)
	if err := t.target.create(ctx, topics, l); err != nil {
		return s, err
	}
	defer func() {
		if e := t.target.remove(context.WithoutCancel(ctx), topics); err == nil {
			err = e
		}
	}()
	g, err := guard.New(guard.Config{IgnoreRules: true}, append(j.options(), kgo.MaxBufferedBytes(maxBufferedBytes))...)
	if err != nil {
		return s, fmt.Errorf("making the client: %w", err)
	}
	defer g.Close()
	// The first write shows that the cluster's record errors are right. Guard believes
	// them from then on.
	if _, err := l.seek(ctx, g, topics[0], 2, 1); err != nil {
		return s, err
	}
	link := t.target.links[0]
	before := link.produces.Load()
	found, err := l.seek(ctx, g, topics[0], haystack, t.row.bad)
	if err != nil {
		return s, err
	}
	s.Requests = float64(link.produces.Load() - before)
	s.Messages, s.Sent, s.Good = haystack, haystack+2, haystack+2-found-1
	s.Arrived, err = t.target.arrived(ctx, topics)
	return s, err
}

// seek writes records of which some are bad. It returns an error unless exactly these
// fail.
func (l load) seek(ctx context.Context, g *guard.Guard, topic string, records, bad int) (found int, err error) {
	all := make([]*kgo.Record, records)
	for i := range all {
		r := kgo.Record{Topic: topic, Key: strconv.AppendInt(nil, int64(i), 10), Value: []byte("a small record")}
		// The bad ones are spread over the batch.
		if (i*bad)%records < bad {
			if l.NoKeys {
				r.Key = nil
			} else {
				r.Value = make([]byte, poisonSize)
			}
		}
		all[i] = &r
	}
	for i, v := range g.Write(ctx, all) {
		bad := all[i].Key == nil || len(all[i].Value) == poisonSize
		if bad != (v.Outcome != guard.Delivered) {
			return found, fmt.Errorf("record %d of %d: %s, %w", i, records, v.Outcome, v.Err())
		}
		if bad {
			found++
		}
	}
	return found, nil
}

// topicName is a prefix for the topics of a run.
func topicName() string { return fmt.Sprintf("bench-%d", time.Now().UnixNano()) }
