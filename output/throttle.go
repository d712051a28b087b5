package output

import (
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

// throttles is a kgo hook that logs and counts the throttling of brokers: with a
// quota exceeded, a broker answers a request and tells the client how long to
// wait before the next one.
type throttles struct {
	log   *service.Logger
	total *service.MetricCounter // milliseconds
	lines *gather[int32, throttle]
}

var _ kgo.HookBrokerThrottle = (*throttles)(nil)

// throttle is what one broker imposed since it was last logged.
type throttle struct{ total, longest time.Duration }

func newThrottles(log *service.Logger, m *metrics) *throttles {
	t := &throttles{log: log, total: m.throttled}
	t.lines = newGather(t.say, throttle.and)
	return t
}

func (t *throttles) close() { t.lines.close() }

// OnBrokerThrottle is called by kgo with each answer that imposes a throttle.
func (t *throttles) OnBrokerThrottle(broker kgo.BrokerMetadata, interval time.Duration, _ bool) {
	t.total.Incr(interval.Milliseconds())
	t.lines.add(broker.NodeID, 1, throttle{interval, interval})
}

func (t throttle) and(next throttle) throttle {
	return throttle{t.total + next.total, max(t.longest, next.longest)}
}

// longThrottle is the shortest throttle that is logged at WARN. Shorter ones are usual
// for a client that is a little too fast for its quota.
const longThrottle = time.Second

func (t *throttles) say(broker int32, times int, of throttle) {
	logf := t.log.Infof
	if of.longest >= longThrottle {
		logf = t.log.Warnf
	}
	if times == 1 {
		logf("Broker %d throttles this output, because of a quota: it takes no further request for %s", broker, of.total)
		return
	}
	logf("Broker %d has throttled this output %d times since the last such line, because of a quota: for %s in all, %s at most", broker, times, of.total, of.longest)
}
