package output

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// hints returns warnings about settings that work, but may not be meant so. A finding
// of the linter would stop the start.
func (p *parser) hints(c clientConfig) []string {
	var texts []string
	hint := func(text string, args ...any) { texts = append(texts, fmt.Sprintf(text, args...)) }
	tls := p.in(fieldTLS)
	encrypted := tls.bool("enabled")
	if !encrypted {
		for _, field := range []string{"root_cas", "root_cas_file", "skip_cert_verify", "client_certs"} {
			var set bool
			switch field {
			case "skip_cert_verify":
				set = tls.bool(field)
			case "client_certs":
				set = len(optional(tls, field, tls.conf.FieldObjectList)) > 0
			default:
				set = tls.string(field) != ""
			}
			if set {
				hint("%s.%s is set, but %s.enabled is not: connections are made without TLS", fieldTLS, field, fieldTLS)
			}
		}
		for i, c := range optional(p, fieldSASL, p.conf.FieldObjectList) {
			if p.of(c, fieldSASL).string(fieldSASLMechanism) == saslPlain {
				hint("%s[%d]: %s sends the password as it is, and %s.enabled is not set: anything on the way to the broker can read it", fieldSASL, i, saslPlain, fieldTLS)
			}
		}
	}
	if encrypted && tls.bool("skip_cert_verify") {
		hint("%s.skip_cert_verify is true: any server on the way can pose as the broker, and read credentials and messages. Set %[1]s.root_cas_file to the authority of the brokers' certificates in its place", fieldTLS)
	}
	for _, field := range []string{fieldTopic, fieldKey, fieldPartition, fieldTimestamp, fieldTimestampMs} {
		if p.has(field) {
			texts = append(texts, p.interpolationHints(field, p.string(field))...)
		}
	}
	texts = append(texts, p.textHints()...)
	if most := c.guard.Retry.MaxElapsedTime; most > 0 && most < time.Second {
		hint("%s.%s is %s: messages are given up for any delay at a broker. 0s tries without end", fieldRetry, fieldRetryMaxElapsedTime, brief(most))
	}
	b := p.in(fieldBatching)
	if period, err := time.ParseDuration(b.string("period")); err == nil && period > time.Minute {
		hint("%s.period is %s: messages may wait that long for a batch to fill", fieldBatching, brief(period))
	}
	if b.fine("count", "byte_size", "period") && b.string("period") == "" && (b.int("count", 0) > 1 || b.int("byte_size", 0) > 0 || b.string("check") != "") {
		hint("%s has no period: the last messages wait until there are enough for a batch, without end if the input pauses, or waits for them before it ends. Set %s.period", fieldBatching, fieldBatching)
	}
	if text := permanentHint(c.guard.Permanent); text != "" {
		texts = append(texts, text)
	}
	if p.toItsOwnTopic(fieldDeadLetter) {
		hint("%s: its topic is that of this output: what the topic does not take, it does not take as a dead letter either", fieldDeadLetter)
	}
	if p.toItsOwnTopic(fieldDeliveryReport) {
		hint("%s: its topic is that of this output: each message is in it twice", fieldDeliveryReport)
	}
	if p.has(fieldDeadLetter) && c.format == formatAuto {
		child, _ := p.conf.FieldAny(fieldDeadLetter)
		if formatOf(formatAuto, child) == formatMessage {
			for _, f := range errorrouting.Files(child, fieldDeadLetter) {
				if f.Bare {
					texts = append(texts, bareHint(f))
				}
			}
		}
	}
	if c.endpoint().eventHubs {
		texts = append(texts, p.eventHubsHints(c)...)
	}
	return texts
}

// bareHint says that dead letters are written without their reasons.
func bareHint(f errorrouting.File) string {
	what, set := "it", ""
	if f.Name != "" {
		what = "the file"
	}
	if f.Prefixes {
		set = fmt.Sprintf("metadata.include_prefixes to [ %s_ ] there, or ", name)
	}
	return fmt.Sprintf("%s: %s gets the content of each dead letter, and not why it failed. Set %s%s to envelope, or to message if that is meant", f.Path, what, set, fieldDeadLetterFormat)
}

// toItsOwnTopic reports whether a child output writes to the topic of this output, and
// has nowhere else to go.
func (p *parser) toItsOwnTopic(field string) bool {
	if !p.has(field) {
		return false
	}
	v, err := p.conf.FieldAny(field)
	if node, ok := v.(interface{ Decode(any) error }); ok {
		err = node.Decode(&v)
	}
	child, _ := v.(map[string]any)
	fields, _ := child[name].(map[string]any)
	return err == nil && fields[fieldTopic] == p.string(fieldTopic) && fields[fieldDeadLetter] == nil
}

// textHints returns warnings about plain texts that look like an interpolation or a
// variable.
func (p *parser) textHints() (texts []string) {
	hint := func(format string, args ...any) { texts = append(texts, fmt.Sprintf(format, args...)) }
	for _, field := range []string{fieldClientID, fieldRackID} {
		if p.has(field) && strings.Contains(p.string(field), "${!") {
			hint("%s is no interpolated field: it is this very text, %s", field, p.string(field))
		}
	}
	for i, c := range optional(p, fieldSASL, p.conf.FieldObjectList) {
		for _, field := range []string{fieldSASLUsername, fieldSASLPassword, fieldSASLToken} {
			text, _ := c.FieldString(field)
			if looksLikeVariable.MatchString(text) { // the text itself may be a secret
				hint("%s[%d].%s is taken as it is: an environment variable is written ${NAME}, in braces", fieldSASL, i, field)
			}
		}
	}
	for _, field := range []string{fieldTombstone, fieldNullKey} {
		if text, err := p.conf.FieldString(field); err != nil || strings.TrimSpace(text) != "true" {
			continue
		}
		if field == fieldTombstone {
			hint("%s is true for every message: each is written with a null value, and its content is lost. It is a query, such as deleted == true", field)
		} else if p.has(fieldKey) {
			hint("%s is true for every message: none gets its %s. It is a query, such as this.customer == null", field, fieldKey)
		}
	}
	if p.has(fieldMetadata) {
		in := p.in(fieldMetadata)
		for _, prefix := range optional(in, "include_prefixes", in.conf.FieldStringList) {
			if strings.Contains(prefix, "*") {
				hint("%s.include_prefixes has %s, and no name begins with that: prefixes are no patterns. For all metadata set %s.include_patterns to [ .* ]", fieldMetadata, prefix, fieldMetadata)
			}
		}
	}
	return texts
}

// interpolationHints returns warnings about interpolations whose result may be
// unexpected.
func (p *parser) interpolationHints(field, text string) (texts []string) {
	hint := func(format string, args ...any) {
		texts = append(texts, fmt.Sprintf("%s is %s: ", field, text)+fmt.Sprintf(format, args...))
	}
	path := pathAlone.FindStringSubmatch(text)
	unquoted := withoutQuotes.FindStringSubmatch(text)
	switch {
	case !strings.Contains(text, "${!"):
		if strings.Contains(text, "${") {
			hint("every message gets this very text, since an interpolation begins with ${! and not with ${")
		} else if looksComputed.MatchString(text) {
			hint("every message gets this very text. What is to be found out for each message stands in ${! ... }")
		}
	case unquoted != nil:
		hint("without quotes, %s is a field whose value is the path to look for. Write %s(\"%s\")", unquoted[2], unquoted[1], unquoted[2])
	case path != nil && isFunction(path[1]):
		hint("without parentheses, %s is a field of the message, and not the function. Write %s()", path[1], path[1])
	case path == nil || path[1] == "this":
	case field == fieldKey && !p.has(fieldNullKey):
		hint("a message for which that finds nothing gets the text null as its key, and all of these are in one partition. Have %s say which messages have no key, or name another value with .or(...)", fieldNullKey)
	case field == fieldTopic:
		hint("a message for which that finds nothing goes to the topic named null. With .not_null() at its end it is %s, with .or(...) it goes to another topic", guard.Unroutable)
	}
	switch {
	case (field == fieldTimestampMs || field == fieldTimestamp) && inText.MatchString(text):
		hint("that is a text, and a whole number is wanted: every message would be %s. End it with %s", guard.InvalidRecord, map[string]string{fieldTimestamp: ".ts_unix()", fieldTimestampMs: ".ts_unix_milli()"}[field])
	case field == fieldTimestampMs && inSeconds.MatchString(text):
		hint("that is in seconds, and milliseconds are wanted: messages would be of the year 1970. Use timestamp_unix_milli() or ts_unix_milli()")
	case field == fieldTimestampMs && inOther.MatchString(text), field == fieldTimestamp && (inOther.MatchString(text) || inMillis.MatchString(text)):
		hint("that is in another unit than wanted, which is %s since the Unix epoch", map[string]string{fieldTimestamp: "seconds", fieldTimestampMs: "milliseconds"}[field])
	}
	return texts
}

var (
	// pathAlone matches interpolations that are just a path. They give the text null
	// for a path that does not exist.
	pathAlone = regexp.MustCompile(`^\$\{!\s*(json\("[^"]*"\)|@[\w.-]+|(?:meta|metadata)\("[^"]*"\)|[A-Za-z_]\w*(?:\.[\w-]+)*)\s*\}$`)
	// withoutQuotes matches a path without its quotes.
	withoutQuotes = regexp.MustCompile(`\b(json|meta|metadata)\(\s*([A-Za-z_][\w.]*)\s*\)`)
	// These match the units of time that an interpolation ends with.
	inSeconds = regexp.MustCompile(`\b(timestamp_unix|ts_unix)\(\)\s*\}$`)
	inMillis  = regexp.MustCompile(`\b(timestamp_unix|ts_unix)_milli\(\)\s*\}$`)
	// inText matches expressions that give a time as text.
	inText = regexp.MustCompile(`(\bnow\(\)|\.(ts_format|ts_strftime|format_timestamp\w*)\([^)]*\))\s*\}$`)
	// looksComputed matches texts that other languages would evaluate for each message.
	looksComputed = regexp.MustCompile(`^(this|root)\.\w|^\w+\(.*\)|^@\w|\{\{.*\}\}|%\{.*\}|^\$[A-Za-z(]`)
	// looksLikeVariable matches a variable in the syntax of a shell.
	looksLikeVariable = regexp.MustCompile(`^\$[A-Z_][A-Z0-9_]*$|^\$\(.*\)$|^%[A-Z_]+%$`)
	inOther           = regexp.MustCompile(`\b(timestamp_unix|ts_unix)_(micro|nano)\(\)\s*\}$`)
)

// isFunction reports whether Bloblang has a function of that name.
func isFunction(name string) (is bool) {
	bloblang.GlobalEnvironment().WalkFunctions(func(function string, _ *bloblang.FunctionView) { is = is || function == name })
	return is
}
