//go:build linux || darwin

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// pacedInput is the input of a stream that keeps to a schedule.
const pacedInput = "bench_paced"

// pace is a schedule, and how well it was kept. A message has its due time in it, even
// if the stream was not ready then. So a stream that is late for one message is late
// for all that waited behind it. Without a rate, a message is due when the stream takes
// it.
type pace struct {
	job   job
	text  []byte
	began time.Time
	next  int // the number of the next message
	mark  [2]usage

	mu      sync.Mutex
	batches []acknowledged
}

// acknowledged is a batch with the time of its ack.
type acknowledged struct {
	messages int
	due, at  time.Time
}

// stamp is the beginning of a message: its due time and its number.
const stamp = "%019d %010d "

const stampSize = 19 + 1 + 10 + 1

// batch returns the next messages, and when they are due.
func (p *pace) batch() (service.MessageBatch, time.Time) {
	due := time.Now()
	if p.job.Load.Rate > 0 {
		due = p.began.Add(time.Duration(float64(p.next) / p.job.Load.Rate * float64(time.Second)))
		pause(time.Until(due))
	}
	made := make(service.MessageBatch, p.job.Load.Batch)
	for i := range made {
		value := bytes.Clone(p.text)
		_ = fmt.Appendf(value[:0], stamp, due.UnixNano(), p.next) // in place
		made[i] = service.NewMessage(value)
		made[i].MetaSetMut("key", strconv.Itoa(firstKey+p.next))
		if topics := p.job.Load.Topics; topics > 1 {
			made[i].MetaSetMut("topic", strconv.Itoa(p.next%topics))
		}
		p.next++
	}
	return made, due
}

// from is when the measurement begins, until is when the schedule ends.
func (p *pace) from() time.Time { return p.began.Add(seconds(p.job.Warm)) }

func (p *pace) until() time.Time { return p.from().Add(seconds(p.job.Seconds)) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (p *pace) Connect(context.Context) error { return nil }

func (p *pace) ReadBatch(context.Context) (service.MessageBatch, service.AckFunc, error) {
	if p.began.IsZero() {
		p.began = time.Now()
	}
	if p.mark[0] == (usage{}) && !time.Now().Before(p.from()) {
		p.mark[0] = now()
	}
	batch, due := p.batch()
	if !due.Before(p.until()) {
		p.mark[1] = now()
		p.next -= len(batch)
		return nil, nil, service.ErrEndOfInput
	}
	return batch, func(_ context.Context, err error) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.batches = append(p.batches, acknowledged{len(batch), due, time.Now()})
		return err
	}, nil
}

func (p *pace) Close(context.Context) error { return nil }

// config is the paced stream.
func (p *pace) config() (string, error) {
	b, err := json.Marshal(object{
		"http":    object{"enabled": false},
		"metrics": object{"none": object{}},
		"input":   object{pacedInput: object{}},
		"output":  p.job.output(),
	})
	return string(b), err
}

// measurePaced runs a paced stream.
func (j job) measurePaced(ctx context.Context) (m measurement, err error) {
	p := &pace{job: j, text: []byte(j.Load.text())[:j.Load.Size]}
	env := service.GlobalEnvironment().Clone()
	err = env.RegisterBatchInput(pacedInput, service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
		return service.AutoRetryNacksBatched(p), nil
	})
	if err != nil {
		return m, fmt.Errorf("registering the input: %w", err)
	}
	config, err := p.config()
	if err != nil {
		return m, fmt.Errorf("writing the config: %w", err)
	}
	s, err := build(env, config)
	if err != nil {
		return m, err
	}
	if err := s.Run(ctx); err != nil {
		return m, err
	}
	return p.measured(), nil
}

// measured is the result: the rate of the messages that were acked in the measured
// time, and the delays of the messages that were due in it.
func (p *pace) measured() measurement {
	used := p.mark[1].minus(p.mark[0])
	m := measurement{
		Sent: p.next, Good: p.next, From: p.from().UnixNano(), Until: p.until().UnixNano(),
		Seconds: used.seconds, CPU: used.cpu, Allocs: used.allocs, Bytes: used.bytes, PeakRSS: peakRSS(),
	}
	var delays []time.Duration
	begin, end := p.from(), p.from().Add(seconds(used.seconds))
	for _, b := range p.batches {
		if !b.at.Before(begin) && b.at.Before(end) {
			m.Messages += b.messages
		}
		if !b.due.Before(begin) && b.due.Before(p.until()) {
			delays = append(delays, b.at.Sub(b.due))
		}
	}
	m.Acked = percentilesOf(delays)
	return m
}

// percentiles are of delays, in milliseconds.
type percentiles struct{ P50, P99, P999, Most float64 }

func percentilesOf(delays []time.Duration) percentiles {
	if len(delays) == 0 {
		return percentiles{}
	}
	slices.Sort(delays)
	at := func(share float64) float64 {
		i := int(math.Ceil(share*float64(len(delays)))) - 1
		return float64(delays[max(0, i)]) / float64(time.Millisecond)
	}
	return percentiles{at(0.5), at(0.99), at(0.999), at(1)}
}
