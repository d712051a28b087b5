package output

import (
	"fmt"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

const (
	fieldTopicRules        = "topic_rules"
	fieldTopicRulesEnabled = "enabled"
	fieldTopicRulesMaxAge  = "max_age"

	fieldRetry                = "retry"
	fieldRetryInitialInterval = "initial_interval"
	fieldRetryMaxInterval     = "max_interval"
	fieldRetryMaxElapsedTime  = "max_elapsed_time"

	fieldPermanent      = "permanent"
	fieldReportFailures = "report_failures"
	fieldDeadLetter     = "dead_letter"

	fieldDeadLetterFormat = "dead_letter_format"

	fieldBreaker               = "dead_letter_breaker"
	fieldBreakerEnabled        = "enabled"
	fieldBreakerMaxFailedShare = "max_failed_share"
	fieldBreakerMessages       = "messages"
	fieldBreakerMaxHold        = "max_hold"
	fieldBreakerResume         = "resume"

	fieldDeliveryReport               = "delivery_report"
	fieldDeliveryReportMaxElapsedTime = "delivery_report_max_elapsed_time"
)

// reporting says how failures are reported.
type reporting int

const (
	reportAuto reporting = iota
	reportPerMessage
	reportPerBatch
)

var reports = options[reporting]{
	{"auto", "By message where the config around the output, or its path, shows that this is right: first in a `fallback`, also inside a `switch` or `broker` there. Else by batch, with pauses if nothing is configured that takes failed messages. Not at all where Benthos loses messages by any report, such as in a `switch` that is not in a `fallback`: then the batch is held, and the failed messages are retried.", reportAuto},
	{"per_message", "By message. Right if a `fallback` takes the errors, the output is not its last one, and no processors are in between.", reportPerMessage},
	{"per_batch", "By batch. It loses nothing wherever the output is. The delivered messages of the batch are sent again with it, or go to the `fallback` as well.", reportPerBatch},
}

// fateFields are about messages that failed.
func fateFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewObjectField(fieldTopicRules,
			service.NewBoolField(fieldTopicRulesEnabled).
				Description("Whether to ask. Without, the brokers' rejections decide, and it takes extra requests to find the messages at fault.").
				Default(true),
			service.NewDurationField(fieldTopicRulesMaxAge).
				Description("How old the answer may be before it is asked for again, in the background. It is asked for at once when a broker rejects a message, and before a message fails by it.").
				Default("5m"),
		).LintRule(lintsOf(fieldTopicRules)).
			Description("Ask the cluster what each topic accepts: `max.message.bytes`, `segment.bytes`, `cleanup.policy`, `compression.type` and the bounds of timestamps. It takes the right to `DESCRIBE_CONFIGS` on the topic. A message that the topic would reject is then found without sending it, and batches are made as large as the topic accepts.").
			Advanced(),
		service.NewObjectField(fieldRetry,
			service.NewDurationField(fieldRetryInitialInterval).
				Description("The time before the first retry. It doubles, with some jitter, with each that follows.").
				Default("100ms"),
			service.NewDurationField(fieldRetryMaxInterval).
				Description("The longest time between two retries.").
				Default("5s"),
			service.NewDurationField(fieldRetryMaxElapsedTime).
				Description("After how long to give up, and report the messages as failed. `0s` is never: then only a shutdown ends the retries. The time begins with the write, and includes what messages wait in the client before they are sent: where a quota throttles the output, messages are given up that would have passed.").
				Default("0s"),
		).LintRule(lintsOf(fieldRetry)).
			Description("How to retry messages that failed with a class that is not `permanent`. Only they are sent again, and they keep their order.").
			Advanced(),
		service.NewStringListField(fieldPermanent).LintRule(lintsOf(fieldPermanent)).
			Description("The classes of failure that are not retried, but handed on: to `dead_letter`, to a `fallback`, or to the input. All others are retried until they pass: `unknown_topic`, `unauthorized` and `refused` concern every message of a topic, so that an operator's mistake would divert the whole stream. `transient` can't be listed.").
			Default([]any{guard.SizeExceeded.String(), guard.InvalidRecord.String(), guard.Unroutable.String()}).
			Advanced(),
		reports.field(fieldReportFailures).LintRule(lintsOf(fieldReportFailures)).
			Description("How to report messages that failed and are not taken by `dead_letter`. An error may list the failed messages. A `fallback` then passes on those, or else the whole batch, and an input sends those again, or else the whole batch. Benthos finds listed messages by their position in the batch. So a list loses messages if a processor drops, splits or multiplies messages on the way. Leave it at `auto` unless the log says at the start that the place of the output can't be found out.").
			Default("auto").
			Advanced(),
		service.NewOutputField(fieldDeadLetter).LintRule(lintsOf(fieldDeadLetter)).
			Description("An optional output, of any kind, for the messages that failed for good (see `permanent`). They keep content and metadata, and gain the metadata `kafka_guarded_class`, `kafka_guarded_error`, `kafka_guarded_topic`, `kafka_guarded_key` (unless it is null), `kafka_guarded_partition` (where known), `kafka_guarded_bytes` and `kafka_guarded_limit` (where size decided) and `kafka_guarded_failed_at`. For a redrive there are also `kafka_guarded_headers` (the names of the record's headers, a JSON array), `kafka_guarded_timestamp_ms` (if the config sets one) and `kafka_guarded_null` (`true` for a null value). A `file` gets all of that in an envelope, see `dead_letter_format`. The batch is acknowledged once this output has taken them. If it fails, each of them is sent alone until it is taken, so that those it had taken are there twice, and none is lost. A `batching` in it must have a `period`. Unlike a `fallback`, this stays exact whatever surrounds the output.").
			Optional(),
		formats.field(fieldDeadLetterFormat).LintRule(lintsOf(fieldDeadLetterFormat)).
			Description("How the content of a dead letter is written. Most outputs keep metadata, and get the message as it is. A file keeps the content alone.").
			Default("auto").
			Advanced(),
		service.NewObjectField(fieldBreaker,
			service.NewBoolField(fieldBreakerEnabled).
				Description("Whether to hold a topic of which too many messages fail.").
				Default(false),
			service.NewFloatField(fieldBreakerMaxFailedShare).
				Description("The share of the last messages for a topic, from 0 to 1, that may fail for good. With more, the topic is held.").
				Default(0.5),
			service.NewIntField(fieldBreakerMessages).
				Description("How many of the last messages for a topic count. With fewer since the start it is not held, so that up to so many may be in `dead_letter` before it is.").
				Default(1000),
			service.NewDurationField(fieldBreakerMaxHold).
				Description("After how long to give the messages that still fail to `dead_letter`. `0s` is never: then the topic is held until its messages pass, or `resume` is true.").
				Default("0s"),
			service.NewBloblangField(fieldBreakerResume).
				Description("An optional query that is asked before each try: while it is true, no topic is held, and `dead_letter` takes what fails. An operator makes it true when the messages really belong there.").
				Example(`file(path: "/run/kafka-guarded/resume", no_cache: true).catch("") != ""`).
				Optional(),
		).LintRule(lintsOf(fieldBreaker)).
			Description("What to do when nearly everything for a topic fails for good, because of a wrong deploy upstream, or a limit that was lowered by mistake. Instead of emptying the stream into `dead_letter`, the failed messages are held with their batch, and retried as `retry` says until they pass. Messages without a legal topic count together.").
			Advanced(),
		service.NewOutputField(fieldDeliveryReport).LintRule(lintsOf(fieldDeliveryReport)).
			Description("An optional output, of any kind, for every message once its outcome is known: Kafka's callback per record. It gets each batch as it came, in its order, with the metadata `kafka_guarded_outcome` (`delivered`, `not_written` or `unknown`), `kafka_guarded_topic`, `kafka_guarded_partition`, `kafka_guarded_offset` and `kafka_guarded_timestamp_ms` where they are known, and for failures `kafka_guarded_class` and `kafka_guarded_error`. The timestamp is the record's in the log: on a topic with `message.timestamp.type: LogAppendTime` it is the broker's. A report changes no outcome: if this output fails, only the report is tried again, as a whole, so that it may be there twice, and the batch waits for it no longer than `delivery_report_max_elapsed_time`.").
			Advanced().
			Optional(),
		service.NewDurationField(fieldDeliveryReportMaxElapsedTime).LintRule(lintsOf(fieldDeliveryReportMaxElapsedTime)).
			Description("After how long to give up a report that `delivery_report` does not take. It is then missing there, which the log says and `kafka_guarded_delivery_report_given_up` counts.").
			Default("30s").
			Advanced(),
	}
}

// fates reads how failures are found, retried and handed on.
func (c *clientConfig) fates(p *parser) {
	rules := p.in(fieldTopicRules)
	c.guard.IgnoreRules = !rules.bool(fieldTopicRulesEnabled)
	c.guard.RulesMaxAge = rules.moreThanZero(fieldTopicRulesMaxAge)
	retry := p.in(fieldRetry)
	c.guard.Retry = guard.Retry{
		InitialInterval: retry.moreThanZero(fieldRetryInitialInterval),
		MaxInterval:     retry.moreThanZero(fieldRetryMaxInterval),
		MaxElapsedTime:  retry.orZero(fieldRetryMaxElapsedTime),
	}
	if first, most := c.guard.Retry.InitialInterval, c.guard.Retry.MaxInterval; retry.fine(fieldRetryInitialInterval, fieldRetryMaxInterval) && first > most {
		retry.fail(fieldRetryInitialInterval, "is %s, which is more than %s (%s)", brief(first), fieldRetryMaxInterval, brief(most))
	}
	c.guard.Permanent = []guard.Class{}
	for i, name := range p.strings(fieldPermanent) {
		class, err := guard.ParseClass(name)
		if err != nil || class == guard.Transient {
			p.fail(fmt.Sprintf("%s[%d]", fieldPermanent, i), "is %q, it must be one of %s", name, permanentClasses())
		}
		c.guard.Permanent = append(c.guard.Permanent, class)
	}
	c.reports = pick(p, fieldReportFailures, reports)
	c.format = pick(p, fieldDeadLetterFormat, formats)
	b := p.in(fieldBreaker)
	c.breaker = breakerConfig{
		enabled:  b.bool(fieldBreakerEnabled),
		share:    b.share(fieldBreakerMaxFailedShare),
		messages: b.int(fieldBreakerMessages, 1),
		maxHold:  b.orZero(fieldBreakerMaxHold),
		resume:   mapping(b, fieldBreakerResume, b.conf.FieldBloblang),
	}
	if c.breaker.messages > breakerMessages {
		b.fail(fieldBreakerMessages, "is %d, it must be at most %d", c.breaker.messages, breakerMessages)
	}
	if b.fine(fieldBreakerEnabled) && c.breaker.enabled && !p.has(fieldDeadLetter) {
		p.clash(fieldBreaker+"."+fieldBreakerEnabled, "is true, but there is no %s to keep messages from", fieldDeadLetter)
	}
	c.reportMaxElapsedTime = p.moreThanZero(fieldDeliveryReportMaxElapsedTime)
}

// permanentClasses lists the classes that can be made permanent.
func permanentClasses() string {
	var names []string
	for class := guard.SizeExceeded; class < guard.Transient; class++ {
		names = append(names, class.String())
	}
	return strings.Join(names, ", ")
}
