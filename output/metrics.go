package output

import (
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// metrics count messages, not batches, but for the latency.
type metrics struct {
	delivered        *service.MetricCounter
	failed           *service.MetricCounter // by class
	culprits         *service.MetricCounter
	innocentsCleared *service.MetricCounter
	uncertain        *service.MetricCounter
	retried          *service.MetricCounter // by class
	deadLettered     *service.MetricCounter // by class
	deadLetterFailed *service.MetricCounter // tries
	topicMaxBytes    *service.MetricGauge   // by topic
	latency          *service.MetricTimer   // of batches, until Kafka is done with them
}

func newMetrics(m *service.Metrics) metrics {
	return metrics{
		delivered:        m.NewCounter("kafka_guarded_delivered"),
		failed:           m.NewCounter("kafka_guarded_failed", "class"),
		culprits:         m.NewCounter("kafka_guarded_culprits"),
		innocentsCleared: m.NewCounter("kafka_guarded_innocents_cleared"),
		uncertain:        m.NewCounter("kafka_guarded_uncertain"),
		retried:          m.NewCounter("kafka_guarded_retried", "class"),
		deadLettered:     m.NewCounter("kafka_guarded_dead_lettered", "class"),
		deadLetterFailed: m.NewCounter("kafka_guarded_dead_letter_failed"),
		topicMaxBytes:    m.NewGauge("kafka_guarded_topic_max_bytes", "topic"),
		latency:          m.NewTimer("kafka_guarded_latency_ns"),
	}
}

func (m *metrics) count(verdicts []guard.Verdict) {
	var delivered, cleared, culprits, uncertain int64
	var failed map[guard.Class]int64
	for i := range verdicts {
		v := &verdicts[i]
		if v.Outcome == guard.Delivered {
			delivered++
			if v.Suspected {
				cleared++
			}
			continue
		}
		if failed == nil {
			failed = map[guard.Class]int64{}
		}
		failed[v.Class]++
		if v.Suspected && v.Class.Permanent() {
			culprits++
		}
		if v.Outcome == guard.Unknown {
			uncertain++
		}
	}
	incr(m.delivered, delivered)
	incr(m.innocentsCleared, cleared)
	incr(m.culprits, culprits)
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

func (m *metrics) onRules(rules *guard.Rules) {
	if rules.Known {
		m.topicMaxBytes.Set(int64(rules.MaxBatchBytes()), rules.Topic)
	}
}
