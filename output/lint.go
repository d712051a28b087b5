package output

import (
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// The parser alone finds mistakes in a config. The linter calls it through a Bloblang
// method, since a lint rule is a mapping. The rule of a field sees the value of the
// field alone, and reports its line. The rule of the output sees all fields, and
// reports the line of the output: it finds missing fields, and fields that exclude
// each other.
//
// If a number or a bool has a value of another type, Benthos runs neither its rule nor
// that of the output, and reports nothing. The command check and the start do.
const (
	lintMethod = "kafka_guarded_lints"
	lintRule   = "root = this." + lintMethod + "()"
)

// lintsOf returns the lint rule of a field.
func lintsOf(field string) string { return fmt.Sprintf("root = this.%s(%q)", lintMethod, field) }

// registerLint comes before the spec that has the rules.
func registerLint() {
	bloblang.MustRegisterMethodV2(lintMethod,
		bloblang.NewPluginSpec().Description("Says what is wrong with the fields of a `kafka_guarded` output. It is its lint rule, and of no use in mappings.").
			Param(bloblang.NewStringParam("field").Default("").Description("The field that the value is of. Left out, it is all fields of an output.")),
		func(args *bloblang.ParsedParams) (bloblang.Method, error) {
			field, err := args.GetString("field")
			if err != nil {
				return nil, err
			}
			return func(v any) (any, error) {
				found := []any{}
				for _, m := range lint(field, v) {
					found = append(found, m.text)
				}
				return found, nil
			}, nil
		})
}

// lint returns the mistakes in the value of a field, or in all fields of an output.
func lint(field string, v any) []mistake {
	if field != "" {
		return lintField(field, v)
	}
	fields, _ := v.(map[string]any)
	return lintFields(fields)
}

// lintField returns the mistakes in the value of a field, without looking at others.
//
// An empty text passes, except for the brokers and the topic: an environment variable
// that is not set while linting reads as one. Benthos' own linter checks the rest:
// child components, mappings, and values of a wrong type.
func lintField(field string, v any) (found []mistake) {
	switch {
	case v == nil || v == "" && field != fieldTopic:
		return nil
	case field == fieldDeadLetter || field == fieldDeliveryReport:
		return lintChild(field, v)
	}
	fields := map[string]any{fieldSeedBrokers: []any{"localhost:9092"}, fieldTopic: "any"}
	if fields[field] = v; field != fieldTopic {
		fields[field] = set(v)
	}
	for _, m := range mistakesIn(fields) {
		if m.field == field && !m.across {
			found = append(found, m)
		}
	}
	return found
}

// lintFields returns which fields of an output do not exist, which are missing, and
// which exclude each other.
func lintFields(fields map[string]any) []mistake {
	found := misspelt(fields)
	fields = maps.Clone(fields)
	for _, child := range []string{fieldDeadLetter, fieldDeliveryReport} {
		if fields[child] != nil {
			fields[child] = map[string]any{"drop": map[string]any{}}
		}
	}
	if _, ok := fields[fieldTopic]; !ok {
		fields[fieldTopic] = "missing" // Benthos' own linter reports that it is missing
	}
	topic := fields[fieldTopic]
	fields = set(fields).(map[string]any)
	fields[fieldTopic] = topic
	for _, m := range mistakesIn(fields) {
		_, given := fields[m.field]
		if m.across || !given || !hasRule(m.field) {
			found = append(found, m)
		}
	}
	return found
}

// lintSpec is Spec made once: that parses the rules of all fields, and each field asks
// for it.
var lintSpec = sync.OnceValue(Spec)

// mistakesIn returns the parser's mistakes in the fields of an output, and none if
// Benthos can't parse them.
func mistakesIn(fields map[string]any) []mistake {
	if batching, ok := fields[fieldBatching].(map[string]any); ok {
		batching = maps.Clone(batching)
		delete(batching, "processors")
		fields[fieldBatching] = batching
	}
	yaml, err := json.Marshal(fields) // which is YAML, too
	if err != nil {
		return nil
	}
	conf, err := lintSpec().ParseYAML(string(yaml), nil)
	if err != nil {
		return nil
	}
	p := newParser(conf)
	p.linting = true
	p.config(nil)
	p.batching()
	return p.found.all
}

// lintChild returns the mistakes in a child output, except those in its own fields,
// which Benthos' own linter finds.
func lintChild(field string, v any) []mistake {
	child, _ := v.(map[string]any)
	if len(child) == 0 {
		return []mistake{{field: field, text: field + " " + noOutputGiven}}
	}
	p := &parser{found: &mistakes{fields: map[string]struct{}{}}, linting: true}
	p.child(field, child)
	return p.found.all
}

const noOutputGiven = "must be an output, such as file: { path: ./dead-letters.jsonl }"

// set returns the value without its null and empty parts.
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

// config reads all fields. It does not make the child outputs.
func (p *parser) config(log *service.Logger) (client clientConfig, records recordConfig) {
	p.int(fieldMaxInFlight, 1)
	records.read(p)
	p.children()
	client.read(p, log)
	return client, records
}
