package output

import "github.com/kafka-guarded/kafka-guarded/guard"

// observer passes the events of guard to metrics and log.
type observer struct {
	metrics         *metrics
	notices         *notices
	maxMessageBytes int
}

func (o observer) OnRules(old, now *guard.Rules) {
	o.metrics.onRules(old, now)
	o.notices.rules(old, now, o.maxMessageBytes)
}

func (o observer) OnDifference(d guard.Difference)    { o.notices.difference(d) }
func (o observer) OnLearned(topic string, bytes int)  { o.notices.learned(topic, bytes) }
func (o observer) OnRetry(c guard.Class, records int) { o.metrics.onRetry(c, records) }
func (o observer) OnWaiting(w guard.Waiting)          { o.notices.waiting(w) }
func (o observer) OnWaits(why string, records int)    { o.metrics.onWaits(why, records) }
