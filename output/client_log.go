package output

import (
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clientLog passes on the log lines of kgo: each kind of line at once, and then at
// most once a minute, with the number of lines, partitions and brokers. While a
// broker is away, kgo logs a line for each partition several times a second.
type clientLog struct {
	log      *service.Logger
	lines    *gather[clientLine, clientLines]
	failures *connectFailures // counts credentials that a broker refuses
}

// clientLine is a kind of line.
type clientLine struct {
	level kgo.LogLevel
	text  string
}

// clientLines are the fields of the latest line of a kind, and the partitions and
// brokers of all of them.
type clientLines struct {
	fields              []any
	partitions, brokers map[string]struct{}
}

func newClientLog(log *service.Logger) clientLog {
	return clientLog{log: log, lines: newGather(func(line clientLine, n int, lines clientLines) {
		fields := lines.fields
		if n > 1 {
			fields = append(fields[:len(fields):len(fields)], "times", n)
			if len(lines.partitions) > 0 {
				fields = append(fields, "partitions", len(lines.partitions))
			}
			if len(lines.brokers) > 0 {
				fields = append(fields, "brokers", len(lines.brokers))
			}
		}
		if line.level == kgo.LogLevelError {
			log.With(fields...).Error(line.text)
		} else {
			log.With(fields...).Warn(line.text)
		}
	}, clientLines.and)}
}

func linesOf(fields []any) clientLines {
	lines := clientLines{fields: fields}
	var topic, partition string
	for i := 0; i+1 < len(fields); i += 2 {
		switch value := fmt.Sprint(fields[i+1]); fields[i] {
		case "topic":
			topic = value
		case "partition":
			partition = value
		case "broker":
			lines.brokers = map[string]struct{}{value: {}}
		}
	}
	if partition != "" {
		lines.partitions = map[string]struct{}{topic + "/" + partition: {}}
	}
	return lines
}

// and adds a later line.
func (l clientLines) and(next clientLines) clientLines {
	l.fields = next.fields
	l.partitions = union(l.partitions, next.partitions)
	l.brokers = union(l.brokers, next.brokers)
	return l
}

func fieldOf(fields []any, name string) any {
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == name {
			return fields[i+1]
		}
	}
	return nil
}

func union(into, from map[string]struct{}) map[string]struct{} {
	if into == nil {
		return from
	}
	for k := range from {
		into[k] = struct{}{}
	}
	return into
}

func (l clientLog) close() { l.lines.close() }

func (clientLog) Level() kgo.LogLevel { return kgo.LogLevelInfo }

// noProducerIDs is logged by kgo at a low level. But without producer IDs a retry may
// duplicate.
const noProducerIDs = "unable to initialize a producer id because the broker is too old or the client is pinned to an old version, continuing without a producer id"

// Log logs kgo's info lines at debug level, as kafka_franz does. It bounds warnings and
// errors.
func (l clientLog) Log(level kgo.LogLevel, text string, fields ...any) {
	if err, ok := fieldOf(fields, "err").(error); ok && level == kgo.LogLevelError && refusesCredentials(err) {
		l.failures.add(reasonCredentials)
	}
	switch {
	case text == noProducerIDs:
		l.lines.add(clientLine{kgo.LogLevelWarn, "The cluster has no producer IDs, so that " + fieldIdempotentWrite + " has no effect: what is sent again after a lost answer may be in the topic twice"}, 1, clientLines{})
	case level == kgo.LogLevelError, level == kgo.LogLevelWarn:
		l.lines.add(clientLine{level, text}, 1, linesOf(fields))
	case level == kgo.LogLevelInfo:
		// kgo writes such a line for each rejected batch. To build a logger
		// with its fields would cost more than the rejection itself.
		l.log.Debugf("%s: %v", text, fields)
	}
}
