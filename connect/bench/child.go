//go:build linux || darwin

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/kafka-guarded/kafka-guarded/internal/binary"
)

// job is the work of a child process.
type job struct {
	Runner  string
	Load    load
	Brokers []string
	Topic   string // what the names of the topics begin with
	Count   int    // messages; 0 lets the child find how many take Seconds
	Seconds float64
	Kind    kind
	Warm    float64 // seconds of the schedule before the measurement
	Stock   bool    // with Go's default garbage collector

	metadata *metadataTime // nil if not measured
}

// measurement is the result of a child.
type measurement struct {
	Messages int     // measured ones, without the start-up
	Sent     int     // messages in all
	Good     int     // of these, those that the topic takes
	Seconds  float64 // of the measured messages, as are CPU, Allocs and Bytes
	CPU      float64 // of the measured seconds, user and system
	Allocs   float64
	Bytes    float64 // allocated
	PeakRSS  int64   // bytes, of the whole process

	// Of a paced run: when the measurement began and ended (Unix time in ns), and the
	// delays from the time a message was due to its ack.
	From, Until int64       `json:",omitempty"`
	Acked       percentiles `json:",omitzero"`
}

// child reads a job, does it, and prints the measurement.
func child(ctx context.Context, in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("reading the job: %w", err)
	}
	if !j.Stock {
		binary.TuneGC()
	}
	m, err := j.measure(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(m)
}

// measure sends a few messages twice, and then all. The cheaper of the first two runs
// is the cost of a start, which is subtracted from the third.
func (j job) measure(ctx context.Context) (measurement, error) {
	switch {
	case j.Kind == paced || j.Kind == recovering:
		return j.measurePaced(ctx)
	case j.Kind == firstWrites:
		return j.measureFirst(ctx)
	case j.Count == 0:
		return j.calibrate(ctx)
	}
	var m measurement
	send := func(n int) (usage, error) {
		before := now()
		if err := j.send(ctx, n); err != nil {
			return usage{}, fmt.Errorf("sending %d messages: %w", n, err)
		}
		m.Sent += n
		m.Good += n - j.Load.poison(n)
		return now().minus(before), nil
	}
	var start usage
	if j.Kind != once {
		first, err := send(j.few())
		if err != nil {
			return m, err
		}
		second, err := send(j.few())
		if err != nil {
			return m, err
		}
		start = first.least(second)
		m.Messages = -j.few()
	}
	all, err := send(j.Count)
	if err != nil {
		return m, err
	}
	used := all.minus(start)
	m.Messages += j.Count
	m.Seconds, m.CPU, m.Allocs, m.Bytes = used.seconds, used.cpu, used.allocs, used.bytes
	m.PeakRSS = peakRSS()
	return m, nil
}

// few is the number of messages of a start: each partition gets some.
func (j job) few() int { return max(2*j.Load.Batch, 4*j.Load.Topics*j.Load.Partitions) }

// maxCount is the most messages of a run.
const maxCount = 5_000_000

// calibrate finds how many messages take the wanted time. A start may take longer than
// they do, so it sends more and more until they take long besides one.
func (j job) calibrate(ctx context.Context) (m measurement, err error) {
	took := func(n int) (float64, error) {
		before := now()
		if err := j.send(ctx, n); err != nil {
			return 0, fmt.Errorf("sending %d messages: %w", n, err)
		}
		return now().minus(before).seconds, nil
	}
	if _, err := took(j.few()); err != nil { // the first start is the longest
		return m, err
	}
	start, err := took(j.few())
	if err != nil {
		return m, err
	}
	for n := 4 * j.few(); ; n *= 4 {
		all, err := took(n)
		if err != nil {
			return m, err
		}
		if all-start < j.Seconds/3 && n < maxCount {
			continue
		}
		batches := math.Ceil(float64(n-j.few()) * j.Seconds / (all - start) / float64(j.Load.Batch))
		m.Messages = max(min(int(batches)*j.Load.Batch, maxCount), 3*j.few())
		return m, nil
	}
}

func (j job) send(ctx context.Context, count int) error {
	if writers[j.Runner] != nil {
		return j.loop(ctx, count)
	}
	return j.stream(ctx, count)
}

// usage is what the process has used so far.
type usage struct {
	seconds, cpu, allocs, bytes float64
}

var started = time.Now()

func now() usage {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	r := resources()
	return usage{
		seconds: time.Since(started).Seconds(),
		cpu:     time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds(),
		allocs:  float64(memory.Mallocs),
		bytes:   float64(memory.TotalAlloc),
	}
}

func (u usage) minus(v usage) usage {
	return usage{u.seconds - v.seconds, u.cpu - v.cpu, u.allocs - v.allocs, u.bytes - v.bytes}
}

func (u usage) least(v usage) usage {
	return usage{min(u.seconds, v.seconds), min(u.cpu, v.cpu), min(u.allocs, v.allocs), min(u.bytes, v.bytes)}
}

func resources() (r syscall.Rusage) {
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // it can't fail for the process itself
	return r
}

// peakRSS is the largest memory that the process had. On Linux, getrusage begins with
// the peak of the parent process, so /proc is asked first.
func peakRSS() int64 {
	if runtime.GOOS != "linux" {
		return resources().Maxrss
	}
	if f, err := os.Open("/proc/self/status"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var kib int64
			if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
				if _, err := fmt.Sscan(rest, &kib); err == nil {
					return kib << 10
				}
			}
		}
	}
	return resources().Maxrss << 10
}
