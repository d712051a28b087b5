package output

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// notices writes the log lines of the output. No line has a part of a message. Each
// kind of line comes at most once a minute.
type notices struct {
	log      *service.Logger
	endpoint endpoint
	// deadLetter is set if there is one. Then no line advises to set one.
	deadLetter bool
	letters    *gather[failureKind, *guard.Failure]
	held       *gather[failureKind, *guard.Failure]
	others     *gather[failureKind, *guard.Failure]

	waits, topics              names
	furtherWait, furtherTopics *gather[string, struct{}] // waits and topics without a line of their own
}

// failureKind is the kind of failures that share a log line.
type failureKind struct {
	topic string // empty if the name is illegal: it may be a part of a message
	class guard.Class
	rest  bool // of many topics, which the line does not name
}

func (k failureKind) together() failureKind { return failureKind{class: k.class, rest: true} }

func newNotices(log *service.Logger, e endpoint) *notices {
	n := &notices{log: log, endpoint: e}
	latest := func(_, next *guard.Failure) *guard.Failure { return next }
	n.letters, n.held = newGather(n.sayDeadLettered, latest), newGather(n.sayUnreportable, latest)
	n.others = newGather(n.sayNotPermanent, latest)
	for _, g := range []*gather[failureKind, *guard.Failure]{n.letters, n.held, n.others} {
		g.rest = failureKind.together
	}
	none := func(struct{}, struct{}) struct{} { return struct{}{} }
	n.furtherWait, n.furtherTopics = newGather(n.sayFurtherWait, none), newGather(n.sayFurtherTopics, none)
	return n
}

func (n *notices) close() {
	n.letters.close()
	n.held.close()
	n.others.close()
	n.furtherWait.close()
	n.furtherTopics.close()
}

// mayName reports whether a line about a change of a topic may be logged. If not, it
// counts the line.
func (n *notices) mayName(topic, about string) bool {
	if n.topics.mayName(topic, about, false) {
		return true
	}
	n.furtherTopics.add(about, 1, struct{}{})
	return false
}

func (n *notices) sayFurtherTopics(about string, lines int, _ struct{}) {
	n.log.Warnf("There are lines about %s for further topics, which are left out: %d since this was last said", about, lines)
}

func (n *notices) sayFurtherWait(why string, messages int, _ struct{}) {
	n.log.Warnf("%d messages for further topics wait, or are held and tried again until it passes: %s", messages, why)
}

// The subjects of lines about a topic.
const (
	aboutLimits  = "limits"
	aboutBreaker = fieldBreaker
)

// noticeInterval is the time between two lines about a state that lasts.
const noticeInterval = time.Minute

// start logs warnings about a config that works. If it is not obvious, it also logs
// which messages go where.
func (n *notices) start(c clientConfig, around position, policy batching, deadLetter bool) {
	for _, text := range warnings(c, around.Output, policy, deadLetter) {
		n.log.Warn(text)
	}
	if deadLetter && around.Fallback {
		n.log.Infof("%s takes the messages that failed for good. The fallback around this output gets the others that failed: those given up after %s.%s, and those that may have been written", fieldDeadLetter, fieldRetry, fieldRetryMaxElapsedTime)
	}
}

// warnings returns warnings about a config that works.
func warnings(c clientConfig, around errorrouting.Output, policy batching, deadLetter bool) (texts []string) {
	warn := func(text string, args ...any) { texts = append(texts, fmt.Sprintf(text, args...)) }
	switch c.acks {
	case acksLeader:
		warn("%s is %s: a message counts as delivered once the leader of its partition has it, and is lost if that fails before another replica has it too. Set it to %q to avoid that", fieldAcks, c.acks, acksAll)
	case acksNone:
		warn("%s is %s: a message counts as delivered once it is sent. If a broker rejects or loses it, it is neither reported nor dead-lettered. Set it to %q to avoid that", fieldAcks, c.acks, acksAll)
	}
	switch {
	case deadLetter || c.reports != reportAuto:
	case !around.Routed && !around.Fallback:
		warn("Nothing takes the messages that fail for good: their whole batch comes again and again, so that its good messages are in the topic more than once. Set %s, or put this output first in a fallback", fieldDeadLetter)
	case around.Fallback && policy.on:
		warn("%s is set in an output of a fallback: when a message fails, the fallback also gets the delivered messages that came with it from the input. Set %s, or batch at the input, to avoid that", fieldBatching, fieldDeadLetter)
	case around.Fallback && around.Why != "":
		warn("When a message fails, the fallback around this output may get its whole batch, also the delivered messages: %s. Set %s to avoid that. Or, if the messages come here from the fallback in the same order and number, set %s to per_message", around.Why, fieldDeadLetter, fieldReportFailures)
	}
	if around.Loses != "" && !deadLetter && c.reports == reportAuto {
		warn("When messages fail, %s makes Benthos look for them by position, and find other messages. So failed messages are held here and retried, and their batch waits. Set %s, or put this output first in a fallback, with processors only in the pipeline. Or, if the input does not resend failed messages, set %s to per_batch", around.Loses, fieldDeadLetter, fieldReportFailures)
	}
	if around.Unread != "" && around.Loses == "" && around.Forgets == "" && !deadLetter && c.reports == reportAuto {
		warn("The resource at %s is not in the config of this stream, so it is not known what it does. If it splits batches, or drops what it has seen before as dedupe does, messages that fail would be lost. So they are held here and retried, and their batch waits. Set %s, put this output first in a fallback, or have the resource in the config. Or, if the resource does nothing of that, set %s to per_batch", around.Unread, fieldDeadLetter, fieldReportFailures)
	}
	if around.Forgets != "" && !deadLetter {
		then := "they are lost"
		if c.reports == reportAuto {
			then = "they would be lost. So failed messages are held here and retried, and their batch waits"
		}
		warn("When messages fail, they are sent again from the input, and %s drops them, because it has seen them before: %s. Set %s, or put this output first in a fallback", around.Forgets, then, fieldDeadLetter)
	}
	if around.ChildForgets != "" {
		warn(childForgets, around.ChildForgets)
	}
	return texts
}

// rules logs the limits of a topic, when they are first read and when they change.
func (n *notices) rules(old, now *guard.Rules, maxMessageBytes int) {
	if now == nil || errors.Is(now.Unknown, kgo.ErrClientClosed) { // forgotten after an hour without use, or not read because of a shutdown
		return
	}
	changed, unknown := old != nil && (old.Known || now.Known), !now.Known && !now.Missing()
	limit := now.MaxBatchBytes()
	differs := now.Known && maxMessageBytes != 0 && limit != maxMessageBytes && (old == nil || old.MaxBatchBytes() != limit)
	if (changed || unknown || differs) && !n.mayName(now.Topic, aboutLimits) {
		return
	}
	switch {
	case changed:
		n.log.Infof("What topic %s accepts has changed: it was %s, now it is %s", now.Topic, old, now)
	case now.Known:
		n.log.Debugf("What topic %s accepts: %s", now.Topic, now)
	case unknown:
		advice := ""
		if errors.Is(now.Unknown, kerr.TopicAuthorizationFailed) {
			advice = ". To read it takes " + n.endpoint.name(DescribeTopic)
		}
		n.log.Warnf("What topic %s accepts is %s. The broker's rejections decide instead, which takes extra requests%s", now.Topic, now, advice)
	}
	switch {
	case !differs:
	case maxMessageBytes < limit:
		n.log.Warnf("%s (%d) is less than topic %s accepts (%d): messages in between fail here although Kafka would take them", fieldMaxMessageBytes, maxMessageBytes, now.Topic, limit)
	default:
		n.log.Warnf("%s (%d) is more than topic %s accepts (%d): it has no effect on messages to it", fieldMaxMessageBytes, maxMessageBytes, now.Topic, limit)
	}
}

// difference warns of a limit that the cluster reports and the broker does not apply.
func (n *notices) difference(d guard.Difference) {
	if !n.mayName(d.Topic, aboutLimits) {
		return
	}
	var taken string
	switch {
	case strings.HasSuffix(d.Name, ".bytes"):
		taken = fmt.Sprintf(" (%d), but the broker took %d bytes", d.Reported, d.Taken)
	case strings.HasSuffix(d.Name, ".ms"):
		taken = fmt.Sprintf(" (%d), but the broker took a timestamp that is off by %d ms", d.Reported, d.Taken)
	default:
		taken = ", but the broker took a message that breaks it"
	}
	n.log.Warnf("The cluster reports %s for topic %s%s: the output does not go by it for this topic as long as the reported value stays the same. A gateway may report the configs of another topic", d.Name, d.Topic, taken)
}

// requestLimit warns if requests may be larger than a broker takes, which then closes
// the connection without an answer.
func (n *notices) requestLimit(own, limit int) {
	if own > limit {
		n.log.Warnf("%s (%d) is more than the brokers take (socket.request.max.bytes %d): they close the connection on larger requests, so lower the one or raise the other", fieldBrokerWriteMaxBytes, own, limit)
	}
}

// learned warns that a topic rejects messages above a size, while its configs can't be
// read.
func (n *notices) learned(topic string, bytes int) {
	if !n.mayName(topic, aboutLimits) {
		return
	}
	n.log.Warnf("Topic %s rejects messages from %d bytes on, as its rejections show: larger ones are sent alone, so that no other message is rejected with them", topic, bytes)
}

// refusesNewest logs that brokers close the connection on the newest ApiVersions
// request.
func (n *notices) refusesNewest() {
	n.log.Errorf("Brokers close the connection on an ApiVersions request of version 5 (KIP-1242), and answer to older ones: set %s to %s", fieldMaxVersions, OlderVersions)
}

// waiting logs the reason why messages wait: at its beginning, once a minute while it
// lasts, and at its end or when messages are given up.
func (n *notices) waiting(w guard.Waiting) {
	switch {
	case w.Over:
		if !n.waits.ends(w.Topic, w.Why) {
			return
		}
	case !n.waits.mayName(w.Topic, w.Why, true):
		n.furtherWait.add(w.Why, w.Records, struct{}{})
		return
	}
	lasted := time.Since(w.Since).Round(time.Second)
	soFar := ""
	if lasted > 0 {
		soFar = fmt.Sprintf(", for %s so far,", lasted)
	}
	switch {
	case w.Over && w.GivenUp:
		n.log.Warnf("Gave up on messages for topic %s after %s, held as %s%s", w.Topic, lasted, w.Why, because(w.Cause))
	case w.Over && w.Class == guard.Transient:
		n.log.Infof("Messages for topic %s no longer wait for brokers to answer, after %s", w.Topic, lasted)
	case w.Over:
		n.log.Infof("Messages for topic %s are no longer held as %s, after %s", w.Topic, w.Why, lasted)
	case w.Why == waitingForRoom:
		n.log.Warnf("%d messages for topic %s wait%s for room in the buffer (%s, %s): the messages in it wait for Kafka", w.Records, w.Topic, soFar, fieldMaxBufferedRecords, fieldMaxBufferedBytes)
	case w.Cause == nil:
		n.log.Warnf("%d messages for topic %s wait%s for a broker to acknowledge them", w.Records, w.Topic, soFar)
	default:
		n.log.Warnf("%d messages for topic %s are held%s and tried again until it passes%s%s", w.Records, w.Topic, soFar, because(w.Cause), n.endpoint.advice(w.Cause))
	}
}

// because returns a cause as the end of a line. It removes the full stop, since more
// text may follow.
func because(cause error) string {
	if cause == nil {
		return ""
	}
	return ": " + strings.TrimSuffix(cause.Error(), ".")
}

// uncertain warns of messages that may have been written.
func (n *notices) uncertain(unknown, all int) {
	n.log.Warnf("%d of the %d messages of a batch may have been written or not: sending them again may duplicate them", unknown, all)
}

// childFails logs that messages wait for a child output.
func (n *notices) childFails(field string, messages int, err error) {
	n.log.Warnf("The output of %s did not take %d messages, which are tried again while their batches wait: %v", field, messages, err)
}

func (n *notices) childTakes(field string) {
	n.log.Infof("The output of %s takes messages again", field)
}

// childGaveUp logs that messages are missing in a child output.
func (n *notices) childGaveUp(field string, messages int, err error) {
	n.log.Errorf("The output of %s did not take %d messages for too long, and they are missing there: %v", field, messages, err)
}

// forgets warns that a child output drops messages that it has seen before.
func (n *notices) forgets(at string) { n.log.Warnf(childForgets, at) }

const childForgets = "%s: a message that passes it and then fails is dropped when it is tried again, and is lost. Leave it out: a message comes here twice only if it failed before"

// kindOf returns the kind of a failure.
func kindOf(f *guard.Failure) failureKind {
	if guard.CheckTopic(f.Topic) != nil {
		return failureKind{class: f.Class}
	}
	return failureKind{topic: f.Topic, class: f.Class}
}

// deadLettered logs that the dead-letter output took a message.
func (n *notices) deadLettered(f *guard.Failure) { n.letters.add(kindOf(f), 1, f) }

func (n *notices) sayDeadLettered(kind failureKind, messages int, last *guard.Failure) {
	switch {
	case kind.rest:
		n.log.Warnf("%d messages for further topics failed for good, and are in the output of %s: %s", messages, fieldDeadLetter, kind.class)
		return
	case kind.topic == "":
		n.log.Warnf("%d messages without a legal topic failed for good, and are in the output of %s: %s", messages, fieldDeadLetter, kind.class)
		return
	}
	n.log.Warnf("%d messages for topic %s failed for good, and are in the output of %s: %v", messages, kind.topic, fieldDeadLetter, last)
}

// breakerHolds logs that a topic is held because too many messages for it fail.
func (n *notices) breakerHolds(topic string, failed, of int, last *guard.Failure) {
	if topic == "" {
		n.log.Errorf("%d of the last %d messages have no legal topic. The failed ones are held, and do not go to %s: see %s", failed, of, fieldDeadLetter, fieldBreaker)
		return
	}
	if !n.mayName(topic, aboutBreaker) {
		return
	}
	n.log.Errorf("%d of the last %d messages for topic %s failed for good. The failed ones are held and tried again, and do not go to %s: see %s. The latest: %v", failed, of, topic, fieldDeadLetter, fieldBreaker, last)
}

func (n *notices) breakerCloses(topic string) {
	if topic == "" {
		n.log.Infof("Messages without a legal topic are not held any more by %s", fieldBreaker)
		return
	}
	if !n.mayName(topic, aboutBreaker) {
		return
	}
	n.log.Infof("Messages for topic %s are not held any more by %s", topic, fieldBreaker)
}

// unreportable logs that a message is held since it can't be reported.
func (n *notices) unreportable(f *guard.Failure) { n.held.add(kindOf(f), 1, f) }

func (n *notices) sayUnreportable(kind failureKind, tries int, last *guard.Failure) {
	text := kind.class.String()
	if kind.topic != "" {
		text = last.Error()
	}
	advice := fmt.Sprintf("Set %s, and they go there", fieldDeadLetter)
	if n.deadLetter {
		advice = fmt.Sprintf("%s gets the classes that %s names, and nothing that may have been written", fieldDeadLetter, fieldPermanent)
	}
	n.log.Errorf("Messages failed that can't be reported without a loss, and are held and tried again until they pass (%d times since the last such line). %s: %s", tries, advice, text)
}

// notPermanent logs that a message is held since its class is not permanent.
func (n *notices) notPermanent(f *guard.Failure) { n.others.add(kindOf(f), 1, f) }

func (n *notices) sayNotPermanent(kind failureKind, tries int, last *guard.Failure) {
	text, to := kind.class.String(), ""
	if kind.topic != "" {
		text, to = last.Error(), " for topic "+kind.topic
	}
	n.log.Errorf("Messages%s failed, and are held and tried again until they pass (%d times since the last such line), because %s does not have %s. Add it there, and they are handed on: %s", to, tries, fieldPermanent, kind.class, text)
}
