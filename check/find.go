package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// File is a config or a file with resources.
type File struct{ Name, YAML string }

// found is a kafka_guarded output in a config.
type found struct {
	file        string
	path, label string
	fields      map[string]any
	processed   bool // its messages go through processors of its own
	around      errorrouting.Output
	checked     *checker
}

// config is the outputs of a config and its resources.
type config struct {
	outputs []*found
	// users has the paths that use an output resource by its label.
	users map[string][]string
}

// find reads a config and its resources. Outputs that have others in them come
// before these.
func find(main File, resources []File, set []string) (*config, error) {
	if err := lint(main, resources, len(set) > 0); err != nil {
		return nil, err
	}
	c := &config{users: map[string][]string{}}
	whole := map[string]any{}
	shared := map[string][]any{} // the resources of all files, by their kind
	for i, file := range append([]File{main}, resources...) {
		parsed, err := parse(file)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			if err := override(parsed, set); err != nil {
				return nil, err
			}
			whole = parsed
			if len(set) > 0 {
				if err := lintParsed(file.Name, parsed); err != nil {
					return nil, err
				}
			}
		}
		for kind, list := range parsed {
			if list, ok := list.([]any); ok && strings.HasSuffix(kind, "_resources") {
				shared[kind] = append(shared[kind], list...)
			}
		}
		if err := c.walk(file.Name, parsed); err != nil {
			return nil, err
		}
	}
	around := maps.Clone(whole)
	for kind, list := range shared {
		around[kind] = list
	}
	c.place(errorrouting.Read(around))
	return c, nil
}

// lint runs Benthos' linter on all of a config. With incomplete, required fields may be
// missing: --set sets them later.
func lint(main File, resources []File, incomplete bool) error {
	b := service.NewStreamBuilder()
	if !incomplete {
		if err := b.SetYAML(main.YAML); err != nil {
			return fmt.Errorf("reading %s: %w", main.Name, err)
		}
	}
	for _, r := range resources {
		if err := b.AddResourcesYAML(r.YAML); err != nil {
			return fmt.Errorf("reading resources of %s: %w", r.Name, err)
		}
	}
	return nil
}

func lintParsed(name string, parsed map[string]any) error {
	yaml, err := json.Marshal(parsed) // which is YAML, too
	if err != nil {
		return err
	}
	lints, err := schema().NewStreamConfigLinter().LintYAML(yaml)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	var errs []error
	for _, l := range lints {
		errs = append(errs, fmt.Errorf("reading %s: %s", name, l.What))
	}
	return errors.Join(errs...)
}

func schema() *service.ConfigSchema {
	return service.GlobalEnvironment().FullConfigSchema("", "")
}

// parse returns the sections of a file. The stream builder could return its config
// itself, but without the secrets.
func parse(file File) (map[string]any, error) {
	query, err := schema().NewConfigQuerier().ParseYAML(file.YAML)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file.Name, err)
	}
	parsed := map[string]any{}
	for _, section := range errorrouting.Sections {
		at, err := query.FieldAtPath(section)
		if err != nil {
			continue // it is not there
		}
		v, err := at.FieldAny()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file.Name, err)
		}
		if v = decoded(v); v != nil {
			parsed[section] = v
		}
	}
	return parsed, nil
}

// decoded returns a part of a config without YAML nodes, and without the empty lists
// that stand for missing ones.
func decoded(v any) any {
	switch v := v.(type) {
	case interface{ Decode(any) error }: // a YAML node
		var plain any
		_ = v.Decode(&plain) // it was parsed before
		return plain
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i := range v {
			v[i] = decoded(v[i])
		}
	case map[string]any:
		for name := range v {
			if v[name] = decoded(v[name]); v[name] == nil {
				delete(v, name)
			}
		}
	}
	return v
}

// walk adds the outputs of a file.
func (c *config) walk(file string, parsed map[string]any) error {
	outputs := map[string]any{}
	for _, section := range []string{"output", "output_resources"} {
		if v, ok := parsed[section]; ok {
			outputs[section] = v
		}
	}
	return schema().NewStreamConfigWalker().WalkComponentsAny(outputs, func(w *service.WalkedComponent) error {
		if w.ComponentType != "output" {
			return nil
		}
		conf, err := w.ConfigAny()
		if err != nil {
			return err
		}
		whole, _ := conf.(map[string]any)
		switch w.Name {
		case "resource":
			label := fmt.Sprint(whole["resource"])
			c.users[label] = append(c.users[label], w.Path)
		case errorrouting.Component:
			fields, _ := whole[errorrouting.Component].(map[string]any)
			processors, _ := whole["processors"].([]any)
			c.outputs = append(c.outputs, &found{file: file, path: w.Path, label: w.Label, fields: fields, processed: len(processors) > 0})
		}
		return nil
	})
}

// place tells each output its position in the config.
func (c *config) place(outputs []errorrouting.Output) {
	for _, o := range c.outputs {
		for _, p := range outputs {
			if p.Label == o.label && samePlace(p.Path, o.path) {
				o.around = p
				break
			}
		}
	}
}

// samePlace reports whether two paths are paths of the same output. In one, resources
// have their label, in the other their number.
func samePlace(a, b string) bool {
	const resources = "output_resources."
	if strings.HasPrefix(a, resources) && strings.HasPrefix(b, resources) {
		_, a, _ = strings.Cut(strings.TrimPrefix(a, resources), ".")
		_, b, _ = strings.Cut(strings.TrimPrefix(b, resources), ".")
	}
	return a == b
}

// sources returns the outputs whose failed messages get to o: it is their dead_letter,
// or it comes later in a fallback in which they are first.
func (c *config) sources(o *found) []*found {
	var all []*found
	for _, path := range c.uses(o.path, o.label) {
		if i := strings.LastIndex(path, "."+errorrouting.Component+".dead_letter"); i >= 0 {
			all = append(all, c.at(path[:i])...)
			continue
		}
		before, after, ok := cutLast(path, ".fallback.")
		if n, _, _ := strings.Cut(after, "."); ok && n != "0" {
			all = append(all, c.at(before+".fallback.0")...)
		}
	}
	return all
}

func cutLast(text, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

// uses returns the paths where an output is used: its own, or those of its users if it
// is a resource.
func (c *config) uses(path, label string) []string {
	if !strings.HasPrefix(path, "output_resources.") || label == "" {
		return []string{path}
	}
	return c.users[label]
}

// at returns the outputs that are used at a path, directly or as a resource.
func (c *config) at(path string) []*found {
	var all []*found
	for _, o := range c.outputs {
		for _, used := range c.uses(o.path, o.label) {
			if used == path {
				all = append(all, o)
			}
		}
	}
	return all
}
