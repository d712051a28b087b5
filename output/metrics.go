package output

import (
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// metrics count messages, except for the latency, the throttling and the connections.
type metrics struct {
	delivered        *service.MetricCounter
	failed           *service.MetricCounter // by class
	rejected         *service.MetricCounter
	afterRejection   *service.MetricCounter
	uncertain        *service.MetricCounter
	retried          *service.MetricCounter // by class
	deadLettered     *service.MetricCounter // by class
	deadLetterFailed *service.MetricCounter // per try
	reportFailed     *service.MetricCounter // per try
	reportGivenUp    *service.MetricCounter
	waiting          *service.MetricGauge   // by class, or by another reason to wait
	topicMaxBytes    *service.MetricGauge   // by topic, of the first mostTopicLabels
	topicsWithout    *service.MetricCounter // topics that have no label
	throttled        *service.MetricCounter // milliseconds
	connectFailed    *service.MetricCounter // connections, by reason
	latency          *service.MetricTimer   // of batches, until the last ack or failure

	mu     sync.Mutex
	topics map[string]bool // whether a topic has a label
}

// mostTopicLabels is how many topics have a series of their own. Benthos' exporters
// never drop a series, and names of topics may be made of messages.
const mostTopicLabels = 1000

// newMetrics makes the metrics, each with a value from the start. A metric that
// appears with its first event can't be told from a missing one, and no alert sees it
// rise.
func newMetrics(m *service.Metrics) *metrics {
	all := &metrics{
		delivered:        m.NewCounter("kafka_guarded_delivered"),
		failed:           m.NewCounter("kafka_guarded_failed", "class"),
		rejected:         m.NewCounter("kafka_guarded_rejected"),
		afterRejection:   m.NewCounter("kafka_guarded_delivered_after_rejection"),
		uncertain:        m.NewCounter("kafka_guarded_uncertain"),
		retried:          m.NewCounter("kafka_guarded_retried", "class"),
		deadLettered:     m.NewCounter("kafka_guarded_dead_lettered", "class"),
		deadLetterFailed: m.NewCounter("kafka_guarded_dead_letter_failed"),
		reportFailed:     m.NewCounter("kafka_guarded_delivery_report_failed"),
		reportGivenUp:    m.NewCounter("kafka_guarded_delivery_report_given_up"),
		waiting:          m.NewGauge("kafka_guarded_waiting", "class"),
		topicMaxBytes:    m.NewGauge("kafka_guarded_topic_max_bytes", "topic"),
		topicsWithout:    m.NewCounter("kafka_guarded_topics_without_label"),
		topics:           map[string]bool{},
		throttled:        m.NewCounter("kafka_guarded_throttled_ms"),
		connectFailed:    m.NewCounter("kafka_guarded_connection_failed", "reason"),
		latency:          m.NewTimer("kafka_guarded_latency_ns"),
	}
	for _, c := range []*service.MetricCounter{all.delivered, all.rejected, all.afterRejection, all.uncertain, all.deadLetterFailed, all.reportFailed, all.reportGivenUp, all.topicsWithout, all.throttled} {
		c.Incr(0)
	}
	for class := guard.None + 1; class <= guard.Transient; class++ {
		for _, c := range []*service.MetricCounter{all.failed, all.retried, all.deadLettered} {
			c.Incr(0, class.String())
		}
		all.waiting.Set(0, class.String())
	}
	for _, reason := range connectReasons {
		all.connectFailed.Incr(0, string(reason))
	}
	for _, why := range []string{waitingForRoom, fieldDeadLetter, fieldBreaker, fieldReportFailures, fieldPermanent, fieldDeliveryReport} {
		all.waiting.Set(0, why)
	}
	return all
}

// waitingForRoom is the reason of messages that do not fit into the buffer yet, see
// guard.Waiting.
const waitingForRoom = "buffer"

// childFailed counts messages that a child output did not take, for each try.
func (m *metrics) childFailed(field string, messages int) {
	if field == fieldDeadLetter {
		m.deadLetterFailed.Incr(int64(messages))
	} else {
		m.reportFailed.Incr(int64(messages))
	}
}

// childGaveUp counts messages that a child output will never get.
func (m *metrics) childGaveUp(_ string, messages int) { m.reportGivenUp.Incr(int64(messages)) }

func (m *metrics) count(verdicts []guard.Verdict) {
	var delivered, afterRejection, rejected, uncertain int64
	var failed map[guard.Class]int64
	for i := range verdicts {
		v := &verdicts[i]
		if v.Outcome == guard.Delivered {
			delivered++
			if v.BatchRejected {
				afterRejection++
			}
			continue
		}
		if failed == nil {
			failed = map[guard.Class]int64{}
		}
		failed[v.Class]++
		if v.BatchRejected && v.Class.Permanent() {
			rejected++
		}
		if v.Outcome == guard.Unknown {
			uncertain++
		}
	}
	incr(m.delivered, delivered)
	incr(m.afterRejection, afterRejection)
	incr(m.rejected, rejected)
	incr(m.uncertain, uncertain)
	for class, n := range failed {
		m.failed.Incr(n, class.String())
	}
}

func incr(c *service.MetricCounter, n int64) {
	if n > 0 {
		c.Incr(n)
	}
}

func (m *metrics) onRetry(class guard.Class, records int) {
	m.retried.Incr(int64(records), class.String())
}

func (m *metrics) onWaits(why string, records int) { m.waiting.Set(int64(records), why) }

// onRules sets the largest batch that a topic accepts, 0 for a topic out of use.
func (m *metrics) onRules(old, now *guard.Rules) {
	switch {
	case now == nil && old.Known && m.labelled(old.Topic):
		m.topicMaxBytes.Set(0, old.Topic)
	case now != nil && now.Known && m.labelled(now.Topic):
		m.topicMaxBytes.Set(int64(now.MaxBatchBytes()), now.Topic)
	}
}

// labelled reports whether a topic has a series of its own.
func (m *metrics) labelled(topic string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	has, known := m.topics[topic]
	switch {
	case known:
	case len(m.topics) < mostTopicLabels:
		has = true
		m.topics[topic] = true
	default:
		m.topicsWithout.Incr(1)
		if len(m.topics) < 10*mostTopicLabels { // later ones may be counted twice
			m.topics[topic] = false
		}
	}
	return has
}
