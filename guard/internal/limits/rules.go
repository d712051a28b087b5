package limits

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Rules is what a topic accepts, as the cluster reports it.
type Rules struct {
	Topic string
	// Known is false if the cluster does not report it: without the right to
	// DESCRIBE_CONFIGS on the topic, or on an old broker. Then rejections decide, and
	// only Topic, Unknown and, if the topic exists, ID and Partitions are set.
	Known bool
	// Unknown says why the rules are not known.
	Unknown error
	// ID is the topic's ID (KIP-516), which changes when a topic is deleted
	// and created again. Zero before Kafka 2.8.
	ID [16]byte
	// Partitions is the number of partitions.
	Partitions int
	// MaxMessageBytes is the topic's max.message.bytes: the size of the
	// largest batch, as sent.
	MaxMessageBytes int
	// SegmentBytes is the topic's segment.bytes, which bounds batches, too.
	SegmentBytes int
	// DecompressedBytes is the topic's max.decompressed.message.bytes: the size
	// of the largest record in a compressed batch. math.MaxInt32 before Kafka 4.4.
	DecompressedBytes int
	// Compacted is set if cleanup.policy has compact. Records then need a key.
	Compacted bool
	// Compression is the topic's compression.type, "producer" for the client's codec.
	Compression string
	// Before and After bound how far a record's timestamp may be behind and ahead of
	// the broker's clock, in milliseconds (message.timestamp.before.max.ms and
	// after.max.ms). They are math.MaxInt64 without a bound, and if the broker sets the
	// timestamp (message.timestamp.type LogAppendTime).
	Before, After int64

	read    time.Time     // when
	asked   time.Time     // when the cluster was last asked, even without an answer
	used    *atomic.Int64 // time of the last use, in nanoseconds
	leaders []int32       // of the partitions, -1 for none

	// A config that is not set for the topic is each broker's own default, and the
	// leader of a partition applies its own. The fields above are then the strictest of
	// the brokers that were asked, since they bound batches.
	from   int32   // the broker that answered
	others []int32 // leaders of partitions that did not answer
	fixed  *Rules  // the configs of the topic itself, which are the same for all leaders
	mild   *Rules  // the mildest of all leaders, if they were asked

	// claims has which limits are confirmed. It is kept when the configs are read
	// again.
	claims *claims
}

// claim gives the rules the claims of the topic.
func (r *Rules) claim(c *claims) {
	for _, rules := range []*Rules{r, r.fixed, r.mild} {
		if rules != nil {
			rules.claims = c
		}
	}
	c.sync(r)
}

// bound returns the limit of a kind.
func (r *Rules) bound(k Kind) int64 {
	switch {
	case !r.Known:
		return 0
	case k == Size:
		return int64(min(r.MaxMessageBytes, r.SegmentBytes))
	case k == Decompressed:
		return int64(r.DecompressedBytes)
	case k == Older:
		return r.Before
	case k == Newer:
		return r.After
	case k == Key && !r.Compacted:
		return 0
	default:
		return 1
	}
}

// mildest returns the mildest rules of the leaders, as far as they were asked.
func (r *Rules) mildest() *Rules {
	if r.mild != nil {
		return r.mild
	}
	return r
}

// strict returns the limits that may reject a record, since no leader has milder ones.
// A leader that did not answer may have any defaults, so only the topic's own configs
// count then.
func (r *Rules) strict() *Rules {
	if r.Known && len(r.others) > 0 {
		return r.fixed
	}
	return r.mildest()
}

// join adds the answer of another leader.
func (r *Rules) join(o *Rules) {
	m := r.mild
	m.MaxMessageBytes, m.SegmentBytes = max(m.MaxMessageBytes, o.MaxMessageBytes), max(m.SegmentBytes, o.SegmentBytes)
	m.Before, m.After = max(m.Before, o.Before), max(m.After, o.After)
	m.DecompressedBytes = max(m.DecompressedBytes, o.DecompressedBytes)
	m.Compacted = m.Compacted && o.Compacted
	r.MaxMessageBytes, r.SegmentBytes = min(r.MaxMessageBytes, o.MaxMessageBytes), min(r.SegmentBytes, o.SegmentBytes)
	r.Before, r.After = min(r.Before, o.Before), min(r.After, o.After)
	r.DecompressedBytes = min(r.DecompressedBytes, o.DecompressedBytes)
	r.Compacted = r.Compacted || o.Compacted
	if r.Compression != o.Compression {
		r.Compression, m.Compression = "", "" // they differ, so nothing follows from it
	}
	r.others = slices.DeleteFunc(r.others, func(id int32) bool { return id == o.from })
}

// limit returns the size of the largest batch that the topic accepts, and the name of
// its config. It is 0 if unknown.
func (r *Rules) limit() (int, string) {
	switch {
	case !r.Known || !r.claims.believes(Size):
		return 0, ""
	case r.SegmentBytes < r.MaxMessageBytes:
		return r.SegmentBytes, SegmentBytes
	default:
		return r.MaxMessageBytes, MaxMessageBytes
	}
}

// MaxBatchBytes is the size of the largest batch that the topic accepts: the smaller
// one of MaxMessageBytes and SegmentBytes, 0 if unknown.
func (r *Rules) MaxBatchBytes() int {
	limit, _ := r.limit()
	return limit
}

// Missing reports whether the topic does not exist.
func (r *Rules) Missing() bool {
	return r.Partitions == 0 && errors.Is(r.Unknown, kerr.UnknownTopicOrPartition)
}

// Further reasons why limits are unknown, beside the cluster's answer.
var (
	// ErrNotTold is the reason if an answer lacks max.message.bytes.
	ErrNotTold = errors.New("the broker does not report max.message.bytes")
	// ErrOtherTopics is the reason if DescribeConfigs does not know a topic that
	// exists, as behind gateways that rename topics.
	ErrOtherTopics = errors.New("the topic exists, but DescribeConfigs does not know it, as behind a gateway that renames topics")
	errDisabled    = errors.New("reading it is turned off")
	errHangs       = errors.New("the cluster does not answer")
	errNotRead     = errors.New("not read from the cluster")
)

// String returns the limits that matter to writers, for logs.
func (r *Rules) String() string {
	if !r.Known {
		return fmt.Sprintf("not known (%v)", r.Unknown)
	}
	bound := func(ms int64) string {
		if ms == math.MaxInt64 {
			return "any"
		}
		return (time.Duration(ms) * time.Millisecond).String()
	}
	decompressed := ""
	if r.DecompressedBytes < math.MaxInt32-8 { // Kafka's default
		decompressed = fmt.Sprintf("max.decompressed.message.bytes %d, ", r.DecompressedBytes)
	}
	return fmt.Sprintf("max.message.bytes %d, segment.bytes %d, %scompacted %v, compression.type %s, timestamps before %s and after %s, partitions %d",
		r.MaxMessageBytes, r.SegmentBytes, decompressed, r.Compacted, r.Compression, bound(r.Before), bound(r.After), r.Partitions)
}

// same reports whether two readings have the same limits.
func (r *Rules) same(o *Rules) bool {
	return r.Known == o.Known && r.ID == o.ID && r.String() == o.String()
}

// fix keeps the configs that are set for the topic, and so do not depend on the leader.
func (r *Rules) fix(told, set map[string]string) {
	const size, newer, older = "max.message.bytes", "message.timestamp.before.max.ms", "message.timestamp.difference.max.ms"
	if set[size] == "" {
		set[size] = strconv.Itoa(math.MaxInt32)
	}
	if _, ok := told[newer]; ok {
		delete(set, older) // the newer one may be a broker's default, and come first
	}
	for name, value := range told {
		if strings.HasPrefix(name, redpanda) {
			set[name] = value
		}
	}
	r.fixed = &Rules{Topic: r.Topic}
	r.fixed.fill(set)
}

// redpanda is the beginning of configs that only Redpanda has.
const redpanda = "redpanda."

// fill sets the fields from the topic's configs.
func (r *Rules) fill(configs map[string]string) {
	isRedpanda := false
	for name := range configs {
		isRedpanda = isRedpanda || strings.HasPrefix(name, redpanda)
	}
	// Kafka has no limits below least. Other brokers write -1 or 0 for none.
	number := func(name string, least, otherwise int64) int64 {
		if n, err := strconv.ParseInt(configs[name], 10, 64); err == nil && n >= least {
			return n
		}
		return otherwise
	}
	most := number("max.message.bytes", 1, 0)
	if most == 0 {
		r.Unknown = ErrNotTold
		return
	}
	r.Known = true
	r.MaxMessageBytes = int(most)
	r.SegmentBytes = int(number("segment.bytes", 1, math.MaxInt32))
	r.DecompressedBytes = int(number("max.decompressed.message.bytes", 1, math.MaxInt32))
	r.Compacted = slices.Contains(strings.Split(configs["cleanup.policy"], ","), "compact")
	r.Compression = configs["compression.type"]
	r.Before, r.After = math.MaxInt64, math.MaxInt64
	if isRedpanda {
		r.fillRedpanda()
	}
	if configs["message.timestamp.type"] != "CreateTime" {
		return
	}
	// From Kafka 3.6 to 3.9, the older config counts if the newer ones are not set.
	// Before 3.6 there is only the older one.
	difference := number("message.timestamp.difference.max.ms", 0, math.MaxInt64)
	if r.Before = number("message.timestamp.before.max.ms", 0, math.MaxInt64); r.Before == math.MaxInt64 {
		r.Before = difference
	}
	if r.After = number("message.timestamp.after.max.ms", 0, math.MaxInt64); r.After == math.MaxInt64 {
		r.After = difference
	}
	for _, bound := range []*int64{&r.Before, &r.After} {
		if *bound >= unbounded {
			*bound = math.MaxInt64
		}
	}
}

// fillRedpanda removes the limits that Redpanda does not check: the size of segments,
// and keys on compacted topics. It checks the size of a batch as sent. Whether it
// compresses anew depends on its version, so that rejects no record. It reports its
// bounds on timestamps.
func (r *Rules) fillRedpanda() {
	r.SegmentBytes, r.Compacted, r.Compression = math.MaxInt32, false, ""
}

// unbounded is the number of milliseconds from which on a bound on timestamps is no
// bound: a time in nanoseconds can't be further off.
const unbounded = math.MaxInt64 / 1_000_000
