package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// plan is a scenario as data. A run depends on nothing else but the order in which the
// Go scheduler runs goroutines in the same instant.
type plan struct {
	// The cluster.
	Dialect    string
	Nodes      int           `json:",omitempty"` // 0 is 1
	Partitions int           // of the topic "t"
	Topics     int           `json:",omitempty"` // "t", "t1" and so on, all alike; 0 is 1
	Configs    []string      `json:",omitempty"` // of the topic, "key=value"
	Expiry     time.Duration `json:",omitempty"` // after which brokers forget idle producers
	Clock      time.Duration `json:",omitempty"` // by how much the clocks of all brokers are ahead
	// Clocks adds to Clock for each broker, by node.
	Clocks []time.Duration `json:",omitempty"`

	// The network.
	Latency, Jitter time.Duration `json:",omitempty"`
	Rate            int           `json:",omitempty"`
	Seed            uint64        `json:",omitempty"` // of the jitter
	TLS             bool          `json:",omitempty"`
	Session         time.Duration `json:",omitempty"` // of SASL, 0 for none

	// guard, and the options of kgo.
	IgnoreRules    bool          `json:",omitempty"`
	RulesMaxAge    time.Duration `json:",omitempty"`
	MaxElapsed     time.Duration `json:",omitempty"`
	NoRetry        bool          `json:",omitempty"`
	NotIdempotent  bool          `json:",omitempty"`
	LeaderAck      bool          `json:",omitempty"`
	Keyed          bool          `json:",omitempty"` // partitioned by the hash of keys, not by the plan
	Codec          string        `json:",omitempty"` // "" is none
	MaxBuffered    int           `json:",omitempty"` // records
	MaxRequest     int           `json:",omitempty"` // bytes
	UnknownRetries int           `json:",omitempty"`
	HandOver       time.Duration `json:",omitempty"` // time that a hook takes for each record

	Writers []writer
	Faults  []fault `json:",omitempty"`
	Events  []event `json:",omitempty"`
}

// writer writes one batch after the other.
type writer struct{ Writes []write }

// write is one call of guard.Write.
type write struct {
	After   time.Duration `json:",omitempty"` // pause after the write before it
	Ends    time.Duration `json:",omitempty"` // when its context ends, 0 for never
	Records []run
}

// run is a number of records of the same shape.
type run struct {
	Shape     shape
	Partition int32 `json:",omitempty"` // the number in the key, too
	Size      int   `json:",omitempty"` // of the value, 0 is a few bytes
	Times     int   `json:",omitempty"` // 0 is 1
	Topic     int   `json:",omitempty"` // 0 is "t"
}

type shape string

const (
	good        shape = "good"
	noise       shape = "noise" // does not compress
	zeros       shape = "zeros" // compresses well
	noKey       shape = "no_key"
	emptyKey    shape = "empty_key"
	late        shape = "late"         // two hours behind
	early       shape = "early"        // two hours ahead
	beforeEpoch shape = "before_epoch" // of 1970
	marked      shape = "marked"       // content that the dialect's check rejects
	illegal     shape = "illegal"      // topic
	noPartition shape = "no_partition"
)

var shapes = []shape{good, noise, zeros, noKey, emptyKey, late, early, beforeEpoch, marked, illegal, noPartition}

// fault is a kafkafake.Fault as data.
type fault struct {
	Key        string        `json:",omitempty"` // "" is produce
	Nodes      []int32       `json:",omitempty"`
	Partitions []int32       `json:",omitempty"`
	Skip       int           `json:",omitempty"`
	Count      int           `json:",omitempty"`
	For        time.Duration `json:",omitempty"`
	From       time.Duration `json:",omitempty"` // since the begin
	Do         string
	Code       string        `json:",omitempty"`
	Pause      time.Duration `json:",omitempty"`
}

// event happens at a time.
type event struct {
	At        time.Duration
	Do        string // move, away, back, cut, set, delete, create, close
	Node      int32  `json:",omitempty"`
	Partition int32  `json:",omitempty"`
	Config    string `json:",omitempty"`
}

func (p plan) String() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (p plan) messages() (n int) {
	for _, w := range p.Writers {
		for _, wr := range w.Writes {
			for _, r := range wr.Records {
				n += max(1, r.Times)
			}
		}
	}
	return n
}

// bytes returns about how many bytes the messages have.
func (p plan) bytes() (n int) {
	for _, w := range p.Writers {
		for _, wr := range w.Writes {
			for _, r := range wr.Records {
				n += max(1, r.Times) * max(100, r.Size)
			}
		}
	}
	return n
}

func (p plan) dialect() kafkafake.Dialect {
	d, ok := kafkafake.DialectByName(p.Dialect)
	if !ok {
		panic("no dialect is named " + p.Dialect)
	}
	d.ProducerExpiry, d.ClockAhead, d.Clocks, d.Session = p.Expiry, p.Clock, p.Clocks, p.Session
	return d
}

var codecs = map[string]kgo.CompressionCodec{"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression()}

// zstdCompressor is that of kgo, made outside of all bubbles: its encoders have channels.
type zstdCompressor struct{ encoder *zstd.Encoder }

func (z zstdCompressor) Compress(dst *bytes.Buffer, src []byte, _ ...kgo.CompressFlag) ([]byte, kgo.CompressionCodecType) {
	return z.encoder.EncodeAll(src, dst.AvailableBuffer()), kgo.CodecZstd
}

var sharedZstd = func() zstdCompressor {
	e, err := zstd.NewWriter(nil, zstd.WithWindowSize(64<<10), zstd.WithZeroFrames(true))
	if err != nil {
		panic(err)
	}
	e.EncodeAll(nil, nil) // makes the channels
	return zstdCompressor{e}
}()

// compressors are shared by all scenarios.
var compressors = sync.OnceValue(func() map[string]kgo.Compressor {
	made := map[string]kgo.Compressor{"zstd": sharedZstd}
	for name, codec := range codecs {
		c, err := kgo.DefaultCompressor(codec)
		if err != nil {
			panic(err)
		}
		made[name] = c
	}
	return made
})

// compressor is the client's compressor, nil for none.
func (p plan) compressor() kgo.Compressor {
	if p.Codec == "" {
		return nil
	}
	return compressors()[p.Codec]
}

// guard returns guard's config and kgo's options.
func (p plan) guard() (guard.Config, []kgo.Opt) {
	config := guard.Config{IgnoreRules: p.IgnoreRules, RulesMaxAge: p.RulesMaxAge}
	if !p.NoRetry {
		config.Retry = guard.Retry{InitialInterval: 50 * time.Millisecond, MaxInterval: time.Second, MaxElapsedTime: p.MaxElapsed}
	}
	opts := []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner())}
	if c := p.compressor(); c != nil {
		opts = append(opts, kgo.WithCompressor(c))
	}
	if p.Keyed {
		opts = append(opts, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	}
	if p.NotIdempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	if p.LeaderAck {
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	}
	if p.MaxBuffered > 0 {
		opts = append(opts, kgo.MaxBufferedRecords(p.MaxBuffered))
	}
	if p.MaxRequest > 0 {
		opts = append(opts, kgo.BrokerMaxWriteBytes(int32(p.MaxRequest)))
	}
	if p.UnknownRetries > 0 {
		opts = append(opts, kgo.UnknownTopicRetries(p.UnknownRetries-1))
	}
	if p.HandOver > 0 {
		opts = append(opts, kgo.WithHooks(slow(p.HandOver)))
	}
	return config, opts
}

// slow is a hook that sleeps for each record, like a busy machine.
type slow time.Duration

func (s slow) OnProduceRecordBuffered(*kgo.Record) { time.Sleep(time.Duration(s)) }

// records makes the records of a write. No two records have the same value.
func (p plan) records(writer, nth int) (rs []*kgo.Record, of []run) {
	rnd := rand.New(rand.NewPCG(uint64(writer), uint64(nth)))
	for _, r := range p.Writers[writer].Writes[nth].Records {
		for range max(1, r.Times) {
			rs, of = append(rs, p.record(r, fmt.Sprintf("w%d-%04d-%05d.", writer, nth, len(rs)), rnd)), append(of, r)
		}
	}
	return rs, of
}

// idOf returns the part of a value that no other record has.
func idOf(value []byte) string { return string(value[:bytes.IndexByte(value, '.')+1]) }

func (p plan) record(r run, id string, rnd *rand.Rand) *kgo.Record {
	value := []byte(id)
	if r.Shape == marked {
		value = append(value, kafkafake.Mark...)
	}
	if more := r.Size - len(value); more > 0 {
		pad := slices.Repeat([]byte{'x'}, more)
		if r.Shape == noise {
			for i := range pad {
				pad[i] = byte(rnd.Uint32())
			}
		}
		value = append(value, pad...)
	}
	out := &kgo.Record{Topic: topicNamed(r.Topic), Key: fmt.Appendf(nil, "k%d", r.Partition), Value: value, Partition: r.Partition}
	switch r.Shape {
	case noKey:
		out.Key = nil
	case emptyKey:
		out.Key = []byte{}
	case late:
		out.Timestamp = time.Now().Add(-2 * time.Hour)
	case early:
		out.Timestamp = time.Now().Add(2 * time.Hour)
	case beforeEpoch:
		out.Timestamp = time.UnixMilli(-1_000_000)
	case illegal:
		out.Topic = "a b"
	case noPartition:
		out.Partition = int32(p.Partitions) + 7
	default:
	}
	return out
}

// topics returns the names of the topics. Events are about the first one, "t".
func (p plan) topics() (names []string) {
	for i := range max(1, p.Topics) {
		names = append(names, topicNamed(i))
	}
	return names
}

func topicNamed(i int) string {
	if i == 0 {
		return "t"
	}
	return fmt.Sprintf("t%d", i)
}

var keys = map[string]kmsg.Key{"": kmsg.Produce, "produce": kmsg.Produce, "metadata": kmsg.Metadata, "init": kmsg.InitProducerID, "configs": kmsg.DescribeConfigs}

// on returns the fault as kafkafake takes it.
func (t fault) on() kafkafake.Fault {
	out := kafkafake.Fault{Keys: []kmsg.Key{keys[t.Key]}, Nodes: t.Nodes, Partitions: t.Partitions, Skip: t.Skip, Count: t.Count, For: t.For, From: time.Now().Add(t.From), Code: codeNamed(t.Code), Pause: t.Pause}
	if t.Key == "metadata" { // a request for all topics can't be rejected
		out.When = func(r kmsg.Request) bool { return len(r.(*kmsg.MetadataRequest).Topics) > 0 }
	}
	for _, d := range kafkafake.Actions() {
		if d.String() == t.Do {
			out.Do = d
		}
	}
	return out
}

// codeNamed returns the error code with a name such as INVALID_RECORD.
func codeNamed(name string) *kerr.Error {
	for code := int16(-1); code < 140; code++ {
		var e *kerr.Error
		if err, ok := kerr.ErrorForCode(code).(*kerr.Error); ok { //nolint:errorlint // it is one
			e = err
		}
		if e != nil && e.Message == name {
			return e
		}
	}
	return nil
}

// doubtful reports whether the fault may leave a record in doubt: the answer is lost,
// or its code may come after an append.
func (t fault) doubtful() bool {
	if t.Key != "" && t.Key != "produce" {
		return false
	}
	switch t.Do {
	case "refuse", "rewrite":
		return t.Do == "rewrite" || kafkafake.Unclear(codeNamed(t.Code))
	case "delay", "delay_answer", "trickle":
		return t.Pause >= 5*time.Second // longer than a client waits for an answer
	}
	return true
}

// doubtful reports whether the plan may leave a record in doubt.
func (p plan) doubtful() bool {
	return slices.ContainsFunc(p.Faults, fault.doubtful) ||
		slices.ContainsFunc(p.Events, func(e event) bool { return slices.Contains([]string{"away", "cut", "delete"}, e.Do) })
}

// repeats reports whether the client may send a batch a second time because no answer
// came for 20 s. That is longer than leaving a record in doubt takes: after 5 s guard
// gives up records that wait behind an unanswered batch.
func (p plan) repeats() bool {
	var delays time.Duration
	rest := p.clone()
	rest.Faults = slices.DeleteFunc(rest.Faults, func(t fault) bool {
		delay := (t.Do == "delay" || t.Do == "delay_answer") && t.Count >= 0
		if delay {
			delays += t.Pause * time.Duration(max(1, t.Count))
		}
		return delay
	})
	return rest.doubtful() || delays >= 15*time.Second || delays >= 5*time.Second && p.Rate > 0
}

// calm is the time from which no fault or event is left.
func (p plan) calm() (end time.Duration) {
	for _, e := range p.Events {
		end = max(end, e.At)
		if e.Do == "close" {
			return e.At
		}
	}
	for _, t := range p.Faults {
		end = max(end, t.From+t.For+time.Duration(max(1, t.Count))*(t.Pause+time.Minute))
	}
	return end
}

// configs returns the configs that the topic has at first.
func (p plan) configs() map[string]string {
	m := map[string]string{}
	for _, c := range p.Configs {
		k, v, _ := strings.Cut(c, "=")
		m[k] = v
	}
	return m
}
