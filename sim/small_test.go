package sim

import (
	"flag"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/progress"
)

var flagAll = flag.Bool("all", false, "enumerate the whole of the small scope: hours")

// scope says how much of the small scope is enumerated.
type scope struct {
	records        int // without faults: all batches of up to so many records
	onlyKafka      int // the same, for Kafka whose configs can be read
	faults         int // at once
	faultyDialects []string
	every          int // run one in so many of the scenarios with several faults
}

// TestSmallScope enumerates small scenarios: the records, their partitions, the
// broker's dialect, and the fault at each step of the protocol. It logs how many
// scenarios each part has.
func TestSmallScope(t *testing.T) {
	s := scope{records: 2, onlyKafka: 3, faults: 2, faultyDialects: []string{"kafka"}, every: 3}
	switch {
	case *flagAll:
		s = scope{records: 4, onlyKafka: 4, faults: 2, every: 1}
	case testing.Short():
		s = scope{records: 1, onlyKafka: 2, faults: 1, faultyDialects: []string{"kafka"}}
	}
	for _, part := range []struct {
		name  string
		plans iter.Seq[plan]
	}{
		{"records", s.batches(kafkafake.Dialects(), s.records, []bool{false, true}, []string{"", "not_idempotent"})},
		{"more records", s.batches([]kafkafake.Dialect{kafkafake.Kafka()}, s.onlyKafka, []bool{false}, []string{""})},
		{"one fault", s.faulty(1, nil)},
		{"several faults", one(s.faulty(s.faults, s.faultyDialects), s.every)},
	} {
		if part.name == "several faults" && s.faults < 2 {
			continue
		}
		t.Run(part.name, func(t *testing.T) { each(t, part.plans) })
	}
}

// one returns one plan in so many.
func one(plans iter.Seq[plan], every int) iter.Seq[plan] {
	return func(yield func(plan) bool) {
		n := 0
		for p := range plans {
			if n++; n%every == 0 && !yield(p) {
				return
			}
		}
	}
}

// each runs all plans.
func each(t *testing.T, plans iter.Seq[plan]) {
	t.Helper()
	feed := make(chan plan)
	go func() {
		defer close(feed)
		for p := range plans {
			feed <- p
		}
	}()
	var scenarios, failed atomic.Int64
	var mu sync.Mutex
	known := map[string]int{}
	begin := time.Now()
	defer progress.Lines(func() string { return fmt.Sprintf("%d scenarios", scenarios.Load()) })()
	t.Run("scenarios", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for p := range feed {
					scenarios.Add(1)
					r := live(t, p)
					if r.broken == "" {
						continue
					}
					if b := knownTo(p, r); b != nil {
						mu.Lock()
						known[b.name]++
						mu.Unlock()
						continue
					}
					if failed.Add(1) <= 20 {
						t.Errorf("%s: %s\n%s", r.kind, r.broken, p)
					}
				}
			})
		}
	})
	t.Logf("%d scenarios in %s, %d broken, known breaks: %v", scenarios.Load(), time.Since(begin).Round(time.Millisecond), failed.Load(), known)
}

// smallRecords are the records of the small scope.
func smallRecords(partitions int32) (out []run) {
	for p := range partitions {
		out = append(out, run{Shape: good, Partition: p}, run{Shape: noise, Partition: p, Size: 3000}, run{Shape: zeros, Partition: p, Size: 3000},
			run{Shape: noKey, Partition: p}, run{Shape: late, Partition: p}, run{Shape: marked, Partition: p})
	}
	return append(out, run{Shape: illegal}, run{Shape: emptyKey})
}

// small is a scenario in which each record but the good one is bad for one dialect or
// another.
func small(d kafkafake.Dialect, ignore bool, mode string) plan {
	p := plan{
		Dialect: d.Name, Partitions: 2, IgnoreRules: ignore, NotIdempotent: mode == "not_idempotent", LeaderAck: mode == "leader_ack",
		Configs: []string{"max.message.bytes=2000", "cleanup.policy=compact", "message.timestamp.before.max.ms=3600000"},
		Latency: time.Millisecond,
	}
	if p.Dialect == "uneven" {
		p.Nodes, p.Configs = 2, p.Configs[1:]
	}
	return p
}

// sequences yields all sequences of up to n of the small records. The first record is
// in partition 0, since the partitions are alike.
func sequences(n int) iter.Seq[[]run] {
	all := smallRecords(2)
	var extend func(records []run, yield func([]run) bool) bool
	extend = func(records []run, yield func([]run) bool) bool {
		if len(records) > 0 && !yield(records) {
			return false
		}
		if len(records) == n {
			return true
		}
		for _, l := range all {
			if len(records) == 0 && l.Partition > 0 {
				continue
			}
			if !extend(append(slices.Clone(records), l), yield) {
				return false
			}
		}
		return true
	}
	return func(yield func([]run) bool) { extend(nil, yield) }
}

func (scope) batches(dialects []kafkafake.Dialect, n int, ignore []bool, modes []string) iter.Seq[plan] {
	return func(yield func(plan) bool) {
		for _, d := range dialects {
			for _, ignore := range ignore {
				for _, mode := range modes {
					for records := range sequences(n) {
						for _, codec := range []string{"", "lz4"} {
							if codec != "" && (!has(records, zeros) || d.Codecs != nil) {
								continue
							}
							p := small(d, ignore, mode)
							p.Codec = codec
							p.Writers = []writer{{Writes: []write{{Records: records}}}}
							if !yield(p) {
								return
							}
						}
					}
				}
			}
		}
	}
}

func has(records []run, s shape) bool {
	return slices.ContainsFunc(records, func(r run) bool { return r.Shape == s })
}

// faults are the faults at a step of the protocol. OUT_OF_ORDER_SEQUENCE_NUMBER is not
// among them: after an append, a broker answers with it only if it lost the batch,
// which kfake never does.
func faults() (out []fault) {
	for skip := range 3 {
		for _, do := range []string{"disconnect_before", "disconnect_after", "disconnect_within", "swallow", "swallow_answer"} {
			out = append(out, fault{Do: do, Skip: skip})
		}
		out = append(out, fault{Do: "delay", Pause: 3 * time.Second, Skip: skip}, fault{Do: "delay_answer", Pause: 3 * time.Second, Skip: skip})
		for _, code := range []string{"NOT_ENOUGH_REPLICAS", "TOPIC_AUTHORIZATION_FAILED", "UNKNOWN_SERVER_ERROR", "INVALID_RECORD", "MESSAGE_TOO_LARGE"} {
			out = append(out, fault{Do: "refuse", Code: code, Skip: skip})
		}
		for _, code := range []string{"REQUEST_TIMED_OUT", "KAFKA_STORAGE_ERROR", "UNKNOWN_SERVER_ERROR"} {
			out = append(out, fault{Do: "rewrite", Code: code, Skip: skip})
		}
	}
	for skip := range 2 {
		for _, key := range []string{"metadata", "init", "configs"} {
			for _, do := range []string{"disconnect_before", "disconnect_after", "swallow"} {
				out = append(out, fault{Key: key, Do: do, Skip: skip})
			}
		}
		out = append(out,
			fault{Key: "metadata", Do: "refuse", Code: "UNKNOWN_TOPIC_OR_PARTITION", Skip: skip},
			fault{Key: "metadata", Do: "refuse", Code: "TOPIC_AUTHORIZATION_FAILED", Skip: skip},
			fault{Key: "init", Do: "refuse", Code: "CLUSTER_AUTHORIZATION_FAILED", Skip: skip},
			fault{Key: "configs", Do: "refuse", Code: "TOPIC_AUTHORIZATION_FAILED", Skip: skip},
		)
	}
	return out
}

// faultyWrites are the writes of the scenarios with faults: a batch, a batch with a bad
// record, and two at a time.
func faultyWrites() [][]writer {
	clean := write{Records: []run{{Shape: good, Times: 2}, {Shape: good, Partition: 1}}}
	mixed := write{Records: []run{{Shape: good}, {Shape: noKey}, {Shape: good, Partition: 1}, {Shape: good}}}
	return [][]writer{
		{{Writes: []write{clean, clean}}},
		{{Writes: []write{mixed, clean}}},
		{{Writes: []write{mixed}}, {Writes: []write{clean}}},
	}
}

// faulty yields scenarios with n faults, with topic configs read and not read. No
// dialects means all of them.
func (scope) faulty(n int, dialects []string) iter.Seq[plan] {
	return func(yield func(plan) bool) {
		for _, d := range kafkafake.Dialects() {
			if len(dialects) > 0 && !slices.Contains(dialects, d.Name) || d.Name == "uneven" {
				continue
			}
			for _, ignore := range []bool{false, true} {
				for _, mode := range []string{"", "not_idempotent", "leader_ack"} {
					for _, writers := range faultyWrites() {
						for combination := range combinations(faults(), n) {
							if testing.Short() && (mode != "" || d.Name != "kafka" && combination[0].Skip > 0) {
								continue
							}
							if n > 1 && !*flagAll && (mode != "" || !ignore) {
								continue
							}
							p := small(d, ignore, mode)
							p.Writers, p.Faults = writers, combination
							if !yield(p) {
								return
							}
						}
					}
				}
			}
		}
	}
}

// combinations yields each fault alone, or each ordered pair if n is 2.
func combinations(of []fault, n int) iter.Seq[[]fault] {
	return func(yield func([]fault) bool) {
		if n == 1 {
			for _, a := range of {
				if !yield([]fault{a}) {
					return
				}
			}
			return
		}
		for _, a := range of {
			for _, b := range of {
				if !yield([]fault{a, b}) {
					return
				}
			}
		}
	}
}
