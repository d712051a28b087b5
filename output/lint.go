package output

import (
	"encoding/json"
	"maps"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// What is wrong with a config is found in one place, the parser. So the linter
// asks it, by way of a Bloblang method, since a lint rule is a mapping.
const (
	lintMethod = "kafka_guarded_lints"
	lintRule   = "root = this." + lintMethod + "()"
)

// registerLint comes before the spec that has the rule.
func registerLint() {
	bloblang.MustRegisterMethodV2(lintMethod,
		bloblang.NewPluginSpec().Description("Says what is wrong with the fields of a `kafka_guarded` output. It is its lint rule, and of no use in mappings."),
		func(*bloblang.ParsedParams) (bloblang.Method, error) {
			return bloblang.ObjectMethod(func(fields map[string]any) (any, error) {
				found := []any{}
				for _, text := range lint(fields) {
					found = append(found, text)
				}
				return found, nil
			}), nil
		})
}

// lint returns what is wrong with the fields of an output.
//
// An empty text passes the linter, but for the brokers and the topic: it is what
// an environment variable is to those who lint without their environment. What
// Benthos' own linter looks at is left out: child components, mappings, and
// required fields that are missing.
func lint(fields map[string]any) []string {
	fields = maps.Clone(fields)
	var texts []string
	for _, field := range []string{fieldDeadLetter, fieldDeliveryReport} {
		switch child := fields[field].(type) {
		case nil:
		case map[string]any:
			if len(child) == 0 {
				texts = append(texts, field+" "+noOutputGiven)
			}
		default:
			texts = append(texts, field+" "+noOutputGiven)
		}
		delete(fields, field)
	}
	if batching, ok := fields[fieldBatching].(map[string]any); ok {
		batching = maps.Clone(batching)
		delete(batching, "processors")
		fields[fieldBatching] = batching
	}
	if _, ok := fields[fieldTopic]; !ok {
		fields[fieldTopic] = "missing"
	}
	topic := fields[fieldTopic]
	fields = set(fields).(map[string]any)
	fields[fieldTopic] = topic

	yaml, err := json.Marshal(fields) // which is YAML, too
	if err != nil {
		return texts
	}
	conf, err := Spec().ParseYAML(string(yaml), nil)
	if err != nil {
		return texts // Benthos' own linter says which value is of the wrong type
	}
	p := newParser(conf)
	p.linting = true
	p.config(nil)
	p.batching()
	return append(texts, p.found.texts...)
}

const noOutputGiven = "must be an output, such as file: { path: ./dead-letters.jsonl }"

// set returns the value without what is null or empty in it.
func set(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, inner := range v {
			switch {
			case inner == nil:
			case inner != "":
				m[name] = set(inner)
			case name == fieldSASLUsername || name == fieldSASLPassword || name == fieldSASLToken:
				m[name] = "not known here"
			}
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = set(v[i])
		}
		return list
	}
	return v
}

// config reads all fields but the child outputs.
func (p *parser) config(log *service.Logger) (client clientConfig, records recordConfig) {
	p.int(fieldMaxInFlight, 1)
	records.read(p)
	client.read(p, log)
	return client, records
}
