package deadletters

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// limits compares letters with the limits of their topics, and writes none.
type limits struct {
	guard      *guard.Guard
	own        int // max_message_bytes of the config, 0 for none
	compressor kgo.Compressor
	topics     map[string]guard.Rules
}

// batchOverhead is the size of the header of a record batch.
const batchOverhead = 61

func newLimits(s settings, opts []kgo.Opt) (*limits, error) {
	g, err := guard.New(guard.Config{}, opts...)
	if err != nil {
		return nil, err
	}
	l := &limits{guard: g, topics: map[string]guard.Rules{}}
	view, err := s.view()
	if err != nil {
		g.Close()
		return nil, err
	}
	l.own = view.Guard.MaxMessageBytes
	codec := kgo.SnappyCompression()
	switch s["compression"] {
	case "none":
		codec = kgo.NoCompression()
	case "gzip":
		codec = kgo.GzipCompression()
	case "lz4":
		codec = kgo.Lz4Compression()
	case "zstd":
		codec = kgo.ZstdCompression()
	}
	if l.compressor, err = kgo.DefaultCompressor(codec); err != nil {
		g.Close()
		return nil, err
	}
	return l, nil
}

// check gives an item the fate that it would probably have. It reports whether the
// topic's limits are known.
func (l *limits) check(ctx context.Context, it *item) (known bool) {
	if it.fate.kind != unknown {
		return true
	}
	r := &it.record
	fail := func(class guard.Class, problem string, args ...any) bool {
		it.fate.kind, it.fate.class = failedAgain, class.String()
		it.fate.err = fmt.Sprintf("%s: topic %s: ", class, r.topic) + fmt.Sprintf(problem, args...)
		return true
	}
	if err := guard.CheckTopic(r.topic); err != nil {
		return fail(guard.Unroutable, "%v", err)
	}
	rules, asked := l.topics[r.topic]
	if !asked {
		rules = l.guard.Rules(ctx, r.topic)
		l.topics[r.topic] = rules
	}
	if rules.Missing() {
		return fail(guard.UnknownTopic, "it does not exist")
	}
	if n := rules.Partitions; n > 0 && int(r.partition) >= n {
		return fail(guard.Unroutable, "no such partition: the topic has %d", n)
	}
	if !rules.Known {
		return false
	}
	if rules.Compacted && r.key == nil {
		return fail(guard.InvalidRecord, "no key, and the topic is compacted (cleanup.policy)")
	}
	if r.timestamp != noTime && r.timestamp != -1 { // which is Kafka's "none"
		off := time.Now().UnixMilli() - r.timestamp
		if rules.Before < math.MaxInt64 && off > rules.Before || rules.After < math.MaxInt64 && -off > rules.After {
			return fail(guard.InvalidRecord, "the timestamp is out of the topic's bounds (message.timestamp.before.max.ms, message.timestamp.after.max.ms)")
		}
	}
	limit, name := rules.MaxBatchBytes(), "the topic's max.message.bytes"
	if l.own > 0 && l.own < limit {
		limit, name = l.own, "max_message_bytes"
	}
	if n := l.size(it); n > limit {
		it.fate.bytes, it.fate.limit = fmt.Sprint(n), fmt.Sprint(limit)
		return fail(guard.SizeExceeded, "%d bytes exceed %s (%d)", n, name, limit)
	}
	it.fate.kind = delivered
	return true
}

// size is the size of a batch with the item alone, as sent.
func (l *limits) size(it *item) int {
	record := kmsg.Record{Key: it.record.key, Value: it.content}
	if it.record.null {
		record.Value = nil
	}
	for _, h := range it.record.headers {
		record.Headers = append(record.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
	}
	body := record.AppendTo(nil)
	record.Length = int32(len(body) - 1) // without the length, which is one byte for zero
	body = record.AppendTo(body[:0])
	if l.compressor != nil {
		var dst bytes.Buffer
		if compressed, _ := l.compressor.Compress(&dst, body); compressed != nil && len(compressed) < len(body) {
			return batchOverhead + len(compressed)
		}
	}
	return batchOverhead + len(body)
}

// dryRun prints what would happen to the letters.
func (r *redrive) dryRun(ctx context.Context, s settings, opts []kgo.Opt) (account, error) {
	if err := r.begin(ctx); err != nil {
		return account{}, err
	}
	l, err := newLimits(s, opts)
	if err != nil {
		return account{}, err
	}
	defer l.guard.Close()
	p := startProgress(r.log, "checking", r.source.size())
	a, untold := account{}, int64(0)
	err = r.source.read(ctx, r.from(), func(letter *Letter) error {
		if !r.chosen(letter) {
			return nil
		}
		p.letters.Add(1)
		a.Chosen++
		it := prepare(letter, r.mapping)
		if !l.check(ctx, it) {
			untold++
		}
		switch it.fate.kind {
		case failedAgain:
			a.FailedAgain++
			again := newLetter(letter.at, it.again(time.Now()), nil, time.Time{})
			again.attempts = letter.attempts
			r.failed.add(&again)
		case dropped:
			a.Dropped++
		default:
			a.Delivered++
		}
		return nil
	}, p.passed)
	p.stop()
	if err != nil {
		return account{}, err
	}
	fmt.Fprintf(r.out, "%s: %s: nothing is written\n", r.source, r.filter)
	fmt.Fprintf(r.out, "  %s letters are chosen\n  %s would be delivered, as far as can be told\n", humanize.Comma(a.Chosen), humanize.Comma(a.Delivered))
	if untold > 0 {
		fmt.Fprintf(r.out, "  %s of these are for topics that do not tell what they take (it takes the right to DESCRIBE_CONFIGS)\n", humanize.Comma(untold))
	}
	if a.Dropped > 0 {
		fmt.Fprintf(r.out, "  %s the mapping would drop\n", humanize.Comma(a.Dropped))
	}
	if r.before > 0 {
		fmt.Fprintf(r.out, "  %s letters were dealt with before, and would not be sent again\n", humanize.Comma(r.before))
	}
	fmt.Fprintf(r.out, "  %s would fail again\n", humanize.Comma(a.FailedAgain))
	if r.failed.finish(); len(r.failed.Groups) > 0 {
		r.failed.table(r.out)
	}
	return a, nil
}
