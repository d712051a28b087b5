package guard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// newGuard returns a Guard on the cluster that does not compress, so that a test
// can look into batches.
func newGuard(t testing.TB, c *kafkafake.Cluster, config Config, opts ...kgo.Opt) *Guard {
	t.Helper()
	g, err := New(config, append([]kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }),
		kgo.MetadataMinAge(10 * time.Millisecond),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}

// account compares the verdicts with the log. A value must be in one record only.
func account(t testing.TB, c *kafkafake.Cluster, records []*kgo.Record, verdicts []Verdict) {
	t.Helper()
	require.NoError(t, compare(c, records, verdicts, func(int) deliverycheck.Record {
		return deliverycheck.Record{MayFail: true, MayBeUnknown: true}
	}))
}

// compare compares the verdicts with the log, and with what a test knows of each record.
func compare(c *kafkafake.Cluster, records []*kgo.Record, verdicts []Verdict, known func(i int) deliverycheck.Record) error {
	if len(verdicts) != len(records) {
		return fmt.Errorf("%d verdicts for %d records", len(verdicts), len(records))
	}
	log := map[string][]*kgo.Record{}
	seen := map[string]bool{}
	for _, r := range records {
		if r != nil && CheckTopic(r.Topic) == nil && !seen[r.Topic] {
			seen[r.Topic] = true
			for _, l := range c.Log(r.Topic) {
				log[l.Topic+string(l.Value)] = append(log[l.Topic+string(l.Value)], l)
			}
		}
	}
	for i, r := range records {
		v := verdicts[i]
		broken := ""
		if (v.Outcome == Delivered) != (v.Failure == nil) || (v.Outcome == Delivered) != (v.Class == None) {
			broken = "it has a failure, or none, that does not fit the outcome"
		}
		if r != nil && broken == "" {
			found, is := log[r.Topic+string(r.Value)], known(i)
			is.Outcome, is.Permanent, is.Copies = v.Outcome.String(), v.Class.Permanent(), len(found)
			_, broken = is.Wrong()
			if broken == "" && v.Outcome == Delivered && (found[0].Partition != v.Partition || v.Offset >= 0 && found[0].Offset != v.Offset || !found[0].Timestamp.Equal(v.Timestamp)) {
				broken = fmt.Sprintf("it is in partition %d at offset %d with the timestamp %s", found[0].Partition, found[0].Offset, found[0].Timestamp)
			}
		}
		if broken != "" {
			return fmt.Errorf("record %d: %s; the verdict is %+v: %w", i, broken, v, v.Err())
		}
	}
	return nil
}

// classes returns the classes of what is not delivered, by index.
func classes(verdicts []Verdict) map[int]Class {
	m := map[int]Class{}
	for i, v := range verdicts {
		if v.Outcome != Delivered {
			m[i] = v.Class
		}
	}
	return m
}

// records makes n records of about size bytes each, with distinct values that
// begin with the prefix. All are for partition 0 of the topic.
func records(topic, prefix string, n, size int) []*kgo.Record {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = record(topic, fmt.Sprintf("%s-%05d", prefix, i), size)
	}
	return rs
}

func record(topic, value string, size int) *kgo.Record {
	if pad := size - len(value); pad > 0 {
		value += strings.Repeat("x", pad)
	}
	return &kgo.Record{Topic: topic, Value: []byte(value)}
}

// poison marks the records at the indexes for Refuse.
func poison(rs []*kgo.Record, at ...int) {
	for _, i := range at {
		rs[i].Value = append(rs[i].Value, kafkafake.Mark...)
	}
}

// observer is an Observer of functions.
type observer struct {
	NoObserver
	onRules      func(old, now *Rules)
	onDifference func(Difference)
	onLearned    func(topic string, bytes int)
	onRetry      func(Class, int)
	onWaiting    func(Waiting)
}

func (o observer) OnRules(old, now *Rules) {
	if o.onRules != nil {
		o.onRules(old, now)
	}
}

func (o observer) OnDifference(d Difference) {
	if o.onDifference != nil {
		o.onDifference(d)
	}
}

func (o observer) OnLearned(topic string, bytes int) {
	if o.onLearned != nil {
		o.onLearned(topic, bytes)
	}
}

func (o observer) OnRetry(class Class, records int) {
	if o.onRetry != nil {
		o.onRetry(class, records)
	}
}

func (o observer) OnWaiting(w Waiting) {
	if o.onWaiting != nil {
		o.onWaiting(w)
	}
}
