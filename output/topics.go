package output

import (
	"context"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// topics tells, in log and metrics, what the topics in use accept.
type topics struct {
	log             *service.Logger
	maxBytes        *service.MetricGauge
	maxMessageBytes int // 0 if not configured
}

func newTopics(mgr *service.Resources, maxMessageBytes int) *topics {
	return &topics{
		log:             mgr.Logger(),
		maxBytes:        mgr.Metrics().NewGauge("kafka_guarded_topic_max_bytes", "topic"),
		maxMessageBytes: maxMessageBytes,
	}
}

// onRules is told the rules of a topic when they are read first, and when they
// have changed.
func (t *topics) onRules(old, now *guard.Rules) {
	if now.Known {
		t.maxBytes.Set(int64(now.MaxBatchBytes()), now.Topic)
	}
	switch {
	case old != nil && (old.Known || now.Known):
		t.log.Infof("What topic %s accepts has changed: it was %s, now it is %s", now.Topic, old, now)
	case now.Known:
		t.log.Debugf("What topic %s accepts: %s", now.Topic, now)
	case !now.Missing():
		t.log.Warnf("What topic %s accepts is %s. What the broker refuses decides instead, which takes extra requests. To read it takes the right to DESCRIBE_CONFIGS on the topic", now.Topic, now)
	}
	if limit := now.MaxBatchBytes(); now.Known && t.maxMessageBytes > 0 && (old == nil || old.MaxBatchBytes() != limit) {
		switch {
		case t.maxMessageBytes < limit:
			t.log.Warnf("%s (%d) is less than topic %s accepts (%d): messages in between are refused here although Kafka would take them", fieldMaxMessageBytes, t.maxMessageBytes, now.Topic, limit)
		case t.maxMessageBytes > limit:
			t.log.Warnf("%s (%d) is more than topic %s accepts (%d): it has no effect on messages to it", fieldMaxMessageBytes, t.maxMessageBytes, now.Topic, limit)
		}
	}
}

// requestLimitWait bounds how long to wait for the brokers' own limit.
const requestLimitWait = 10 * time.Second

// checkRequestLimit warns when requests may be larger than a broker takes: it
// would close the connection without a word. Who has no right to read the limit
// is not warned.
func (t *topics) checkRequestLimit(ctx context.Context, g *guard.Guard, maxRequestBytes int) {
	ctx, cancel := context.WithTimeout(ctx, requestLimitWait)
	defer cancel()
	if limit, err := g.RequestLimit(ctx); err == nil && maxRequestBytes > limit {
		t.log.Warnf("%s (%d) is more than the brokers take (socket.request.max.bytes %d): they close the connection on larger requests, so lower the one or raise the other", fieldBrokerWriteMaxBytes, maxRequestBytes, limit)
	}
}
