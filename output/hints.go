package output

import (
	"fmt"
	"regexp"
)

// hints returns what a config that works may not be meant to do: what the linter
// would say, if there were a way to say it and let the stream start.
func (p *parser) hints(c clientConfig) []string {
	var texts []string
	hint := func(text string, args ...any) { texts = append(texts, fmt.Sprintf(text, args...)) }
	tls := p.in(fieldTLS)
	encrypted := tls.bool("enabled")
	if !encrypted {
		for _, field := range []string{"root_cas", "root_cas_file"} {
			if tls.string(field) != "" {
				hint("%s.%s is set, but %s.enabled is not: connections are made without TLS", fieldTLS, field, fieldTLS)
			}
		}
		for i, c := range optional(p, fieldSASL, p.conf.FieldObjectList) {
			if p.of(c, fieldSASL).string(fieldSASLMechanism) == saslPlain {
				hint("%s[%d]: %s sends the password as it is, and %s.enabled is not set: whoever is on the way can read it", fieldSASL, i, saslPlain, fieldTLS)
			}
		}
	}
	if encrypted && tls.bool("skip_cert_verify") {
		hint("%s.skip_cert_verify is true: any server on the way can pose as the broker, and read credentials and messages. Set %[1]s.root_cas_file to the authority of the brokers' certificates in its place", fieldTLS)
	}
	if p.has(fieldKey) && !p.has(fieldNullKey) {
		if text := p.string(fieldKey); maybeNull.MatchString(text) {
			hint("%s is %s: a message for which that finds nothing gets the text null as its key, and all of these are in one partition. Have %s say which messages have no key, or name another value with .or(...)", fieldKey, text, fieldNullKey)
		}
	}
	if text := permanentHint(c.guard.Permanent); text != "" {
		texts = append(texts, text)
	}
	if p.lettersToItsOwnTopic() {
		hint("%s: its topic is that of this output: what the topic does not take, it does not take as a dead letter either", fieldDeadLetter)
	}
	if c.endpoint().eventHubs {
		texts = append(texts, p.eventHubsHints(c)...)
	}
	return texts
}

// lettersToItsOwnTopic reports whether dead letters are written where the messages
// were refused, and have nowhere else to go.
func (p *parser) lettersToItsOwnTopic() bool {
	if !p.has(fieldDeadLetter) {
		return false
	}
	v, err := p.conf.FieldAny(fieldDeadLetter)
	if node, ok := v.(interface{ Decode(any) error }); ok {
		err = node.Decode(&v)
	}
	child, _ := v.(map[string]any)
	fields, _ := child[name].(map[string]any)
	return err == nil && fields[fieldTopic] == p.string(fieldTopic) && fields[fieldDeadLetter] == nil
}

// maybeNull matches interpolations that are a path and nothing else.
var maybeNull = regexp.MustCompile(`^\$\{!\s*(json\("[^"]*"\)|this(\.[\w-]+)+|@[\w.-]+|(meta|metadata)\("[^"]*"\))\s*\}$`)
