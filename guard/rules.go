package guard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Rules is what a topic accepts, as far as the cluster says.
type Rules struct {
	Topic string
	// Known is false where the cluster does not say: without the right to
	// DESCRIBE_CONFIGS on the topic, on an old broker, on Redpanda. Then only
	// Topic and Unknown are set, and what the broker refuses decides.
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
	// Compacted is whether cleanup.policy has compact: then records need a
	// key.
	Compacted bool
	// Compression is the topic's compression.type, "producer" for that of
	// the client.
	Compression string
	// Before and After are by how much a record's timestamp may be off the
	// broker's clock (message.timestamp.before.max.ms and after.max.ms), in
	// milliseconds. math.MaxInt64 without a bound, and where the broker sets
	// the timestamp (message.timestamp.type LogAppendTime).
	Before, After int64
	// RefusedBytes is, where the rules are not known, the raw size of the
	// smallest record that the broker refused for its size, 0 for none.
	// Records from that size on are sent alone, so that they spoil no batch.
	RefusedBytes int

	// batch is, where the rules are not known, the raw size that batches are
	// kept to since larger ones were refused for their size, 0 for none.
	batch int

	read time.Time // when
}

// refusedFrom returns the size from which on records are sent alone.
func (r *Rules) refusedFrom() int {
	if r.Known || r.RefusedBytes == 0 {
		return math.MaxInt
	}
	return r.RefusedBytes
}

// limit returns the size of the largest batch that the topic takes, and which
// property that is. It is 0 where the rules are not known.
func (r *Rules) limit() (int, string) {
	switch {
	case !r.Known:
		return 0, ""
	case r.SegmentBytes < r.MaxMessageBytes:
		return r.SegmentBytes, limitSegmentBytes
	default:
		return r.MaxMessageBytes, limitTopic
	}
}

// MaxBatchBytes is the size of the largest batch that the topic takes: the lesser
// of MaxMessageBytes and SegmentBytes, 0 where they are not known.
func (r *Rules) MaxBatchBytes() int {
	limit, _ := r.limit()
	return limit
}

// Missing reports whether the rules are not known because the topic does not
// exist.
func (r *Rules) Missing() bool { return errors.Is(r.Unknown, kerr.UnknownTopicOrPartition) }

// String returns what matters to writers, for logs.
func (r *Rules) String() string {
	if !r.Known && r.RefusedBytes > 0 {
		return fmt.Sprintf("not known (%v), records of %d bytes are refused", r.Unknown, r.RefusedBytes)
	}
	if !r.Known {
		return fmt.Sprintf("not known (%v)", r.Unknown)
	}
	bound := func(ms int64) string {
		if ms == math.MaxInt64 {
			return "any"
		}
		return (time.Duration(ms) * time.Millisecond).String()
	}
	return fmt.Sprintf("max.message.bytes %d, segment.bytes %d, compacted %v, compression.type %s, timestamps before %s and after %s, partitions %d",
		r.MaxMessageBytes, r.SegmentBytes, r.Compacted, r.Compression, bound(r.Before), bound(r.After), r.Partitions)
}

// same reports whether two readings differ in nothing that matters.
func (r *Rules) same(o *Rules) bool {
	return r.Known == o.Known && r.ID == o.ID && r.String() == o.String()
}

const (
	// rulesWait bounds how long the first write to a topic waits for its
	// rules. Without an answer it goes ahead, and refusals decide.
	rulesWait = 5 * time.Second
	// rulesFresh is how old rules that condemn a record may be.
	rulesFresh = time.Second
	// rulesRetry is how soon rules are read again that could not be read.
	rulesRetry = 10 * time.Second
)

// rulebook has the rules of the topics in use, and reads them from the cluster:
// those of many topics in one go, and never the same twice at a time.
type rulebook struct {
	client   *kgo.Client
	life     context.Context // ends with the guard
	maxAge   time.Duration
	fresh    time.Duration // rulesFresh
	disabled bool
	changed  func(old, now *Rules) // old is nil the first time

	topics sync.Map // of topic to *Rules

	mu      sync.Mutex
	reading *round // under way
	next    *round // to start when that is done
}

// round is one reading of the rules of some topics.
type round struct {
	topics map[string]struct{}
	done   chan struct{}
}

// of returns what is known of a topic, which must have been in a learn.
func (b *rulebook) of(topic string) *Rules {
	if r, ok := b.topics.Load(topic); ok {
		return r.(*Rules)
	}
	return &Rules{Topic: topic, Unknown: errNotRead}
}

// refused notes that a record of a size was refused for it, standing alone.
func (b *rulebook) refused(topic string, size int) {
	b.note(topic, func(r *Rules) {
		if r.RefusedBytes == 0 || size < r.RefusedBytes {
			r.RefusedBytes = size
		}
	})
}

// refusedBatch notes that a batch of a size was refused for it, with nothing but
// the records of one group in it.
func (b *rulebook) refusedBatch(topic string, size int) {
	b.note(topic, func(r *Rules) {
		if half := max(size/2, minMaxMessageBytes); r.batch == 0 || half < r.batch {
			r.batch = half
		}
	})
}

// taken notes that a record of a size was accepted, standing alone.
func (b *rulebook) taken(topic string, size int) {
	b.note(topic, func(r *Rules) {
		if r.RefusedBytes > 0 && size >= r.RefusedBytes {
			r.RefusedBytes, r.batch = 0, 0
		}
	})
}

// note changes what the broker has taught of a topic whose rules are not known.
func (b *rulebook) note(topic string, change func(*Rules)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.of(topic)
	now := *old
	change(&now)
	if old.Known || now.RefusedBytes == old.RefusedBytes && now.batch == old.batch {
		return
	}
	b.topics.Store(topic, &now)
	if now.RefusedBytes != old.RefusedBytes {
		b.changed(old, &now)
	}
}

// learn sees to it that the rules of the topics are known: of those in use for
// the first time it waits, of old ones it has new ones read meanwhile.
func (b *rulebook) learn(ctx context.Context, topics []string) {
	now := time.Now()
	var missing, old []string
	for _, topic := range topics {
		r, ok := b.topics.Load(topic)
		switch {
		case !ok:
			missing = append(missing, topic)
		case now.Sub(r.(*Rules).read) > b.keep(r.(*Rules)):
			old = append(old, topic)
		}
	}
	if len(old) > 0 {
		b.read(old)
	}
	if len(missing) > 0 {
		b.wait(ctx, b.read(missing))
	}
}

// refresh waits for rules that are no older than a second.
func (b *rulebook) refresh(ctx context.Context, topics []string) {
	if !b.disabled {
		b.renew(ctx, topics)
	}
}

// partitions returns how many partitions a topic has, by an answer that is no
// older than a second. It asks also when the other rules are not to be asked for.
func (b *rulebook) partitions(ctx context.Context, topic string) int {
	b.renew(ctx, []string{topic})
	return b.of(topic).Partitions
}

func (b *rulebook) renew(ctx context.Context, topics []string) {
	now := time.Now()
	var old []string
	for _, topic := range topics {
		if now.Sub(b.of(topic).read) > b.fresh {
			old = append(old, topic)
		}
	}
	if len(old) > 0 {
		b.wait(ctx, b.read(old))
	}
}

// keep is for how long rules are used before they are read again.
func (b *rulebook) keep(r *Rules) time.Duration {
	switch {
	case r.Known || errors.Is(r.Unknown, kerr.TopicAuthorizationFailed):
		return b.maxAge
	case b.disabled && r.Partitions > 0:
		return b.maxAge
	case r.Missing():
		return min(rulesFresh, b.maxAge) // about to be created, perhaps by this write
	default:
		return min(rulesRetry, b.maxAge)
	}
}

func (b *rulebook) wait(ctx context.Context, r *round) {
	select {
	case <-r.done:
	case <-ctx.Done():
	case <-b.life.Done():
	case <-time.After(rulesWait):
	}
}

// read has the rules of the topics read, in the round that is under way if it
// has them all, else in the next.
func (b *rulebook) read(topics []string) *round {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reading != nil && b.reading.has(topics) {
		return b.reading
	}
	if b.next == nil {
		b.next = &round{topics: map[string]struct{}{}, done: make(chan struct{})}
	}
	for _, topic := range topics {
		b.next.topics[topic] = struct{}{}
	}
	r := b.next
	if b.reading == nil {
		b.reading, b.next = r, nil
		go b.run()
	}
	return r
}

func (r *round) has(topics []string) bool {
	for _, topic := range topics {
		if _, ok := r.topics[topic]; !ok {
			return false
		}
	}
	return true
}

// run reads round after round until there is no next.
func (b *rulebook) run() {
	for r := b.reading; r != nil; {
		b.readRound(slices.Sorted(maps.Keys(r.topics)))
		b.mu.Lock()
		close(r.done)
		b.reading, b.next = b.next, nil
		r = b.reading
		b.mu.Unlock()
	}
}

func (b *rulebook) readRound(topics []string) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(b.life, 2*rulesWait)
	defer cancel()
	found := make(map[string]*Rules, len(topics))
	for _, topic := range topics {
		found[topic] = &Rules{Topic: topic}
	}
	err := b.readMetadata(ctx, topics, found)
	switch {
	case err != nil:
	case b.disabled:
		err = errDisabled
	default:
		err = b.readConfigs(ctx, topics, found)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, topic := range topics {
		now := found[topic]
		before, _ := b.topics.Load(topic)
		old, _ := before.(*Rules)
		if err != nil {
			if old != nil && old.Known {
				// The cluster did not answer: what it said before holds.
				kept := *old
				kept.read = start.Add(rulesRetry - b.maxAge)
				b.topics.Store(topic, &kept)
				continue
			}
			now.Known, now.Unknown = false, err
		}
		if old != nil && !now.Known {
			now.RefusedBytes, now.batch = old.RefusedBytes, old.batch
		}
		now.read = start
		b.topics.Store(topic, now)
		if !b.disabled && (old == nil || !old.same(now)) {
			b.changed(old, now)
		}
	}
}

func (b *rulebook) readMetadata(ctx context.Context, topics []string, found map[string]*Rules) error {
	req := kmsg.NewPtrMetadataRequest()
	for _, topic := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, b.client)
	if err != nil {
		return fmt.Errorf("reading metadata: %w", err)
	}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic == nil || found[*t.Topic] == nil {
			continue
		}
		r := found[*t.Topic]
		r.ID, r.Partitions, r.Unknown = t.TopicID, len(t.Partitions), kerr.ErrorForCode(t.ErrorCode)
	}
	return nil
}

func (b *rulebook) readConfigs(ctx context.Context, topics []string, found map[string]*Rules) error {
	req := kmsg.NewPtrDescribeConfigsRequest()
	for _, topic := range topics {
		if found[topic].Unknown != nil {
			continue // not there, or not for us to know
		}
		res := kmsg.NewDescribeConfigsRequestResource()
		res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, topic
		req.Resources = append(req.Resources, res)
	}
	if len(req.Resources) == 0 {
		return nil
	}
	for _, shard := range b.client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return fmt.Errorf("describing topic configs: %w", shard.Err)
		}
		for _, res := range shard.Resp.(*kmsg.DescribeConfigsResponse).Resources {
			r := found[res.ResourceName]
			if r == nil {
				continue
			}
			if r.Unknown = kerr.ErrorForCode(res.ErrorCode); r.Unknown != nil {
				continue
			}
			configs := make(map[string]string, len(res.Configs))
			for _, c := range res.Configs {
				if c.Value != nil {
					configs[c.Name] = *c.Value
				}
			}
			r.fill(configs)
		}
	}
	return nil
}

var errDisabled = errors.New("not to be asked for")

var errNotRead = errors.New("not read from the cluster")

var errRedpanda = errors.New("the cluster is Redpanda, which checks by rules of its own")

// fill sets what the topic's properties say.
func (r *Rules) fill(configs map[string]string) {
	for name := range configs {
		if strings.HasPrefix(name, "redpanda.") {
			r.Unknown = errRedpanda
			return
		}
	}
	number := func(name string, otherwise int64) int64 {
		if n, err := strconv.ParseInt(configs[name], 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	most := number("max.message.bytes", 0)
	if most <= 0 {
		r.Unknown = errors.New("the broker does not tell max.message.bytes")
		return
	}
	r.Known = true
	r.MaxMessageBytes = int(most)
	r.SegmentBytes = int(number("segment.bytes", math.MaxInt32))
	r.Compacted = slices.Contains(strings.Split(configs["cleanup.policy"], ","), "compact")
	r.Compression = configs["compression.type"]
	r.Before, r.After = math.MaxInt64, math.MaxInt64
	if configs["message.timestamp.type"] != "CreateTime" {
		return
	}
	// From Kafka 3.6 to 3.9, the older property has a say where the newer
	// ones leave it one. Before 3.6 it is the only one.
	difference := number("message.timestamp.difference.max.ms", math.MaxInt64)
	if r.Before = number("message.timestamp.before.max.ms", math.MaxInt64); r.Before == math.MaxInt64 {
		r.Before = difference
	}
	if r.After = number("message.timestamp.after.max.ms", math.MaxInt64); r.After == math.MaxInt64 {
		r.After = difference
	}
}

// RequestLimit returns the size in bytes of the largest request that every
// broker takes (socket.request.max.bytes). To read it takes the right to
// DESCRIBE_CONFIGS on the cluster.
func (g *Guard) RequestLimit(ctx context.Context) (int, error) {
	const property = "socket.request.max.bytes"
	admin := kadm.NewClient(g.control)
	brokers, err := admin.ListBrokers(ctx)
	if err != nil {
		return 0, fmt.Errorf("listing brokers: %w", err)
	}
	configs, err := admin.DescribeBrokerConfigs(ctx, brokers.NodeIDs()...)
	if err != nil {
		return 0, fmt.Errorf("describing broker configs: %w", err)
	}
	limit := math.MaxInt
	for _, broker := range configs {
		if broker.Err != nil {
			return 0, fmt.Errorf("describing configs of broker %s: %w", broker.Name, broker.Err)
		}
		for _, c := range broker.Configs {
			if c.Key != property || c.Value == nil {
				continue
			}
			n, err := strconv.Atoi(*c.Value)
			if err != nil {
				return 0, fmt.Errorf("reading %s of broker %s: %w", property, broker.Name, err)
			}
			limit = min(limit, n)
		}
	}
	if limit == math.MaxInt {
		return 0, fmt.Errorf("no broker tells its %s", property)
	}
	return limit, nil
}
