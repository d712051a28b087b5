package output

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// The linter sees a config before it runs, and clientConfigFrom and
// recordConfigFrom enforce the same: a program that builds streams by itself
// need not lint. An empty value passes the linter, since that is what an
// environment variable is to those who lint without their environment.

// lintRule has the rules about more than one field.
const lintRule = `root = [
  if this.partitioner == "` + partitionerManual + `" && this.partition.or("") == "" { "a partition must be specified when the partitioner is set to manual" },
  if this.partitioner != "` + partitionerManual + `" && this.partition.or("") != "" { "a partition cannot be specified unless the partitioner is set to manual" },
  if this.timestamp.or("") != "" && this.timestamp_ms.or("") != "" { "both timestamp and timestamp_ms cannot be specified simultaneously" },
  if this.record_delivery_timeout.or("0s").parse_duration().catch(0) > 0 && (this.timestamp.or("") != "" || this.timestamp_ms.or("") != "") { "record_delivery_timeout cannot be used together with timestamp or timestamp_ms: it is counted from the timestamp of a message" },
  if this.idempotent_write.or(true) == true && this.acks.or("all") != "all" { "idempotent_write requires acks to be set to all" },
  if this.idempotent_write.or(true) == true && this.max_in_flight_requests.or(1) != 1 { "idempotent_write requires max_in_flight_requests to be 1, set idempotent_write to false to use higher values" },
  if this.permanent.or([]).contains("transient") { "permanent: the class transient can't be permanent, it passes" },
  if this.permanent.or([]).any(c -> !["size_exceeded", "invalid_record", "unroutable", "unknown_topic", "unauthorized", "refused", "transient"].contains(c)) { "permanent: there are the classes size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized and refused" },
]`

const (
	lintBrokers = `root = if this.type() == "array" && (this.length() == 0 || this.map_each(b -> b.string()).all(b -> b != "" && b.re_match("^[, ]*$"))) { ["name at least one broker as host:port"] }`

	lintTopic = `root = if this != "" && !this.contains("${") && (this == "." || this == ".." || !this.re_match("^[a-zA-Z0-9._-]{1,249}$")) { ["this is no legal topic name: it takes 1 to 249 letters, digits, dots, underscores and hyphens"] }`

	lintPartition = `root = if this.string() != "" && !this.string().contains("${") && !this.string().re_match("^[0-9]{1,10}$") { ["this must be a whole number"] }`

	lintSize = `root = if this.string() != "" && !this.string().re_match("(?i)^[0-9][0-9.,]*\\s*([kmgtpe]i?)?b?$") { ["this must be a size such as 1MiB"] }`

	lintDuration = `root = if this.string() != "" && this.string().parse_duration().catch(null) == null { ["this must be a duration such as 10s"] }`

	lintMoreThanZero = `root = match {
  this.string() == "" => deleted()
  this.string().parse_duration().catch(null) == null => ["this must be a duration such as 10s"]
  this.string().parse_duration() <= 0 => ["this must be more than 0"]
}`
)

func durationField(name string) *service.ConfigField {
	return service.NewDurationField(name).LintRule(lintDuration)
}

func lintAtLeast(least int) string {
	return fmt.Sprintf(`root = if this.number().catch(%[1]d) < %[1]d { ["this must be at least %[1]d"] }`, least)
}

// parsePartition reads a partition that every message goes to.
func parsePartition(text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, errors.New("it is negative")
	}
	return int32(n), nil
}
