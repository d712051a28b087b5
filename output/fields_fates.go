package output

import (
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

	fieldPermanent  = "permanent"
	fieldDeadLetter = "dead_letter"
)

const fateLints = `
  if this.permanent.or([]).contains("transient") { "permanent: the class transient can't be permanent, it passes" },
  if this.permanent.or([]).any(c -> !["size_exceeded", "invalid_record", "unroutable", "unknown_topic", "unauthorized", "refused", "transient"].contains(c)) { "permanent: there are the classes size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized and refused" },`

// fateFields are about what becomes of messages that are refused.
func fateFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewObjectField(fieldTopicRules,
			service.NewBoolField(fieldTopicRulesEnabled).
				Description("Whether to ask. Without, what brokers refuse decides, and it takes extra requests to find the messages to blame.").
				Default(true),
			durationField(fieldTopicRulesMaxAge).
				LintRule(lintMoreThanZero).
				Description("How old the answer may be before it is asked for again, in the background. It is asked for at once when a broker refuses a message, or the answer would.").
				Default("5m"),
		).
			Description("Ask the cluster what each topic accepts: `max.message.bytes`, `segment.bytes`, `cleanup.policy`, `compression.type` and the bounds of timestamps. It takes the right to `DESCRIBE_CONFIGS` on the topic. What a topic would refuse is then found without sending it, and batches are made as large as the topic accepts.").
			Advanced(),
		service.NewObjectField(fieldRetry,
			durationField(fieldRetryInitialInterval).
				LintRule(lintMoreThanZero).
				Description("The time before the first retry. It doubles, with some jitter, with each that follows.").
				Default("100ms"),
			durationField(fieldRetryMaxInterval).
				Description("The longest time between two retries.").
				Default("5s"),
			durationField(fieldRetryMaxElapsedTime).
				Description("After how long to give up, and report the messages as failed. `0s` is never: then only a shutdown ends the retries.").
				Default("0s"),
		).
			Description("How to send messages again that failed with a class that is not `permanent`. Only they are sent again, while the rest of the batch is long done, and they keep their order.").
			Advanced(),
		service.NewStringListField(fieldPermanent).
			Description("The classes of failure that are handed on, to a `fallback` or to the input, and not retried. All others are held until they pass: `unknown_topic`, `unauthorized` and `refused` hit every message of a topic, so that to hand them on would divert the stream for an operator's slip. `transient` can't be named.").
			Default([]any{guard.SizeExceeded.String(), guard.InvalidRecord.String(), guard.Unroutable.String()}).
			Advanced(),
		service.NewOutputField(fieldDeadLetter).
			Description("An optional output, of any kind, for the messages that failed for good (see `permanent`). They keep content and metadata, and gain the metadata `kafka_guarded_class`, `kafka_guarded_error`, `kafka_guarded_topic`, `kafka_guarded_key` (unless it is null), `kafka_guarded_partition` (where known), `kafka_guarded_bytes` and `kafka_guarded_limit` (where size decided) and `kafka_guarded_failed_at`. The batch is acknowledged once this output has taken them; while it fails, only they are tried again. Unlike a `fallback`, this stays exact whatever surrounds the output.").
			Optional(),
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
		MaxInterval:     retry.duration(fieldRetryMaxInterval),
		MaxElapsedTime:  retry.duration(fieldRetryMaxElapsedTime),
	}
	c.guard.Permanent = []guard.Class{}
	for _, name := range p.strings(fieldPermanent) {
		class, err := guard.ParseClass(name)
		if err != nil {
			p.fail("reading %s: %w", fieldPermanent, err)
		}
		c.guard.Permanent = append(c.guard.Permanent, class)
	}
}
