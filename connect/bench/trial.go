//go:build linux || darwin

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// key names what is measured.
type key struct{ Scenario, Target, Row string }

// sample is the result of one run.
type sample struct {
	key
	Round int
	measurement
	Arrived     int     // messages
	Wall        float64 // seconds from the start of the process to its end
	Requests    float64 // produce requests, if they were counted
	Connections float64 // at most at a time to a node, through a proxy
	BrokersCPU  float64 // seconds, from the start of the process to its end

	// Of a paced run: the delays from the time a message was due until it was consumed.
	// After an outage: the seconds from the broker's return until messages were on time
	// again, and the longest time without a message.
	Consumed      percentiles `json:",omitzero"`
	Gone, Silence float64     `json:",omitempty"`
}

// trial is a run that is still to be done.
type trial struct {
	options
	table
	row   row
	round int
}

// childTimeout is how long a run may take.
const childTimeout = 2 * time.Minute

func (t trial) key() key { return key{t.scenario.name, t.target.name, t.row.title()} }

// run measures once, with new topics. counts keeps the calibrated numbers of messages
// for later rounds.
func (t trial) run(ctx context.Context, counts map[key]int) (s sample, err error) {
	s = sample{key: t.key(), Round: t.round}
	ctx, cancel := context.WithTimeout(ctx, childTimeout)
	defer cancel()
	t.target.set()
	if t.scenario.kind == finding {
		return t.find(ctx)
	}
	j := job{
		Runner:  t.row.runner,
		Load:    base.with(t.scenario.change).with(t.row.change),
		Brokers: t.target.brokers,
		Seconds: max(t.seconds, t.scenario.seconds),
		Count:   t.scenario.count,
		Kind:    t.scenario.kind,
		Stock:   t.row.stock,
	}
	switch j.Kind {
	case paced, recovering, firstWrites:
		return t.bySchedule(ctx, j, counts)
	case rates, once, finding:
	}
	if j.Count == 0 {
		j.Count = counts[s.key]
	}
	if t.short && j.Count == 0 {
		j.Count = 10 * j.few()
	}
	if j.Count == 0 {
		found, err := t.measure(ctx, j)
		if err != nil {
			return s, fmt.Errorf("calibrating: %w", err)
		}
		counts[s.key], j.Count = found.Messages, found.Messages
	}
	s, err = t.measure(ctx, j)
	return s, t.complete(s, err)
}

// complete is an error if a message of ours is missing, or there twice.
func (t trial) complete(s sample, err error) error {
	if err == nil && s.Arrived != s.Good && (t.row.runner == guarded || t.row.runner == guardWrite) {
		err = fmt.Errorf("of %d messages %d arrived, and not %d", s.Sent, s.Arrived, s.Good)
	}
	return err
}

// bySchedule does a paced run.
func (t trial) bySchedule(ctx context.Context, j job, counts map[key]int) (s sample, err error) {
	const warm = 1
	j.Warm = warm
	if t.short {
		j.Seconds = t.seconds
	}
	if j.Load.HalfOfMost {
		most, err := t.most(ctx, counts)
		if err != nil {
			return sample{key: t.key()}, err
		}
		j.Load.Rate = most / 2
	}
	s, err = t.measure(ctx, j)
	return s, t.complete(s, err)
}

// most is the rate of kafka_franz on this target. It is measured once.
func (t trial) most(ctx context.Context, counts map[key]int) (float64, error) {
	const seconds = 1
	k := key{t.scenario.name, t.target.name, "the most of " + franz}
	if counts[k] == 0 {
		j := job{Runner: franz, Load: base.with(t.scenario.change), Brokers: t.target.brokers, Seconds: seconds}
		found, err := t.measure(ctx, j)
		if err != nil {
			return 0, fmt.Errorf("calibrating: %w", err)
		}
		counts[k] = found.Messages
	}
	return float64(counts[k]) / seconds, nil
}

// measure does the job in a child process.
func (t trial) measure(ctx context.Context, j job) (s sample, err error) {
	s = sample{key: t.key(), Round: t.round}
	j.Topic = topicName()
	topics := j.Load.topics(j.Topic)
	if err := t.target.create(ctx, topics, j.Load); err != nil {
		return s, err
	}
	defer func() {
		if e := t.target.remove(context.WithoutCancel(ctx), topics); err == nil {
			err = e
		}
	}()
	var read *reader
	back := make(chan time.Time, 1)
	failing, calmDown := context.WithCancel(ctx)
	defer calmDown()
	if (j.Kind == paced || j.Kind == recovering) && j.Load.Rate > 0 {
		if read, err = startReader(t.target, topics, j.Load.Partitions); err != nil {
			return s, err
		}
		if j.Kind == recovering {
			go func() { back <- read.fail(failing, t.target) }()
		}
	}
	t.target.connections() // count from here on
	start, before := time.Now(), brokersCPU()
	s.measurement, err = j.inChild(ctx, t.env)
	s.BrokersCPU = brokersCPU() - before
	if read != nil {
		all := read.finish(s.Good)
		s.Consumed = delays(all, s.From, s.Until)
		if j.Kind == recovering {
			calmDown() // mend the links before the next run
			s.Gone, s.Silence = recovery(all, <-back)
		}
	}
	if err != nil {
		return s, err
	}
	s.Wall = time.Since(start).Seconds()
	s.Connections = float64(t.target.connections())
	s.Arrived, err = t.target.arrived(ctx, topics)
	return s, err
}

// inChild starts a process for the job.
func (j job) inChild(ctx context.Context, env []string) (m measurement, err error) {
	cmd, err := again(ctx, "child")
	if err != nil {
		return m, err
	}
	in, err := json.Marshal(j)
	if err != nil {
		return m, err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("it took more than %s, or was ended", childTimeout)
		}
		return m, fmt.Errorf("%w\n%s", err, tail(stderr.Bytes()))
	}
	if err := json.Unmarshal(stdout.Bytes(), &m); err != nil {
		return m, fmt.Errorf("reading the measurement: %w", err)
	}
	return m, nil
}

// tail is the end of a process' output.
func tail(b []byte) []byte {
	const most = 4000
	return b[max(0, len(b)-most):]
}
