package deadletters

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/check"
	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
	"github.com/kafka-guarded/kafka-guarded/output"
)

// settings are fields of a kafka_guarded output, for the connection and for writing.
type settings map[string]any

// byMessage are the fields that depend on the message. A letter has its own values for
// them.
var byMessage = []string{
	"topic", "key", "null_key", "tombstone", "partition", "partitioner", "metadata", "timestamp", "timestamp_ms",
	"inject_tracing_map", "batching", "dead_letter", "dead_letter_breaker", "delivery_report",
	"delivery_report_max_elapsed_time", "report_failures", "max_in_flight", "record_delivery_timeout",
}

// connection returns the settings without byMessage.
func (s settings) connection() settings {
	c := maps.Clone(s)
	for _, field := range byMessage {
		delete(c, field)
	}
	return c
}

// partitioner is the config's partitioner, unless it takes a partition from each
// message.
func (s settings) partitioner() string {
	if p, _ := s["partitioner"].(string); p != "" && p != "manual" {
		return p
	}
	return ""
}

// view is the view of the output's config.
func (s settings) view() (output.View, error) {
	none := output.View{}
	if len(s) == 0 {
		return none, errors.New("where is Kafka? Name the config of the stream with --config, or brokers with --brokers")
	}
	fields := s.connection()
	fields["topic"] = "none"
	yaml, err := json.Marshal(fields) // which is YAML, too
	if err != nil {
		return none, err
	}
	lints, err := service.GlobalEnvironment().NewComponentConfigLinter().LintOutputYAML(fmt.Appendf(nil, "%s: %s", errorrouting.Component, yaml))
	if err != nil {
		return none, fmt.Errorf("reading the connection settings: %w", err)
	}
	for _, l := range lints {
		return none, fmt.Errorf("reading the connection settings: %s", l.What)
	}
	conf, err := output.Spec().ParseYAML(string(yaml), nil)
	if err != nil {
		return none, fmt.Errorf("reading the connection settings: %w", err)
	}
	view, err := output.ViewOf(conf)
	if err != nil {
		return none, fmt.Errorf("reading the connection settings: %w", err)
	}
	return view, nil
}

// opts are kgo's options for a client that connects as the output does.
func (s settings) opts() ([]kgo.Opt, error) {
	view, err := s.view()
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(view.Client), kgo.SeedBrokers(view.Seeds...)), nil
}

// where says where letters are and where their topics are, by the command line.
type where struct {
	config    string
	resources []string
	set       []string
	envFiles  []string
	label     string
	brokers   []string
	fields    []string
}

// found is the output for whose messages the letters are, and where its letters are.
type found struct {
	target  settings
	letters []lettersAt // in the dead_letter of the config
}

// lettersAt is a place where a config puts letters.
type lettersAt struct {
	arg      string   // as on the command line
	settings settings // of the output that writes the topic
}

// find reads the config, and applies the fields of the command line.
func (w where) find() (found, error) {
	f := found{target: settings{}}
	if w.config != "" {
		outputs, err := check.Outputs(w.config, w.resources, w.set, w.envFiles)
		if err != nil {
			return f, err
		}
		o, err := w.choose(outputs)
		if err != nil {
			return f, err
		}
		f.target = maps.Clone(o.Fields)
		f.letters = whereTo(o.Fields["dead_letter"])
	}
	if err := w.override(f.target); err != nil {
		return f, err
	}
	for i := range f.letters {
		if s := f.letters[i].settings; s != nil {
			if err := w.override(s); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

func (w where) choose(outputs []check.Output) (check.Output, error) {
	if w.label != "" {
		for _, o := range outputs {
			if o.Label == w.label || o.Path == w.label {
				return o, nil
			}
		}
	} else if len(outputs) > 0 {
		// An output with a dead_letter comes first, then the outermost.
		for _, o := range outputs {
			if o.Fields["dead_letter"] != nil {
				return o, nil
			}
		}
		return outputs[0], nil
	}
	var names []string
	for _, o := range outputs {
		names = append(names, o.Path)
	}
	if w.label != "" {
		return check.Output{}, fmt.Errorf("--output %s: the config has no such %s output, it has: %s", w.label, errorrouting.Component, strings.Join(names, ", "))
	}
	return check.Output{}, fmt.Errorf("the config %s has no %s output", w.config, errorrouting.Component)
}

// override applies the fields of the command line.
func (w where) override(s settings) error {
	if len(w.brokers) > 0 {
		var all []any
		for _, b := range w.brokers {
			all = append(all, b)
		}
		s["seed_brokers"] = all
	}
	for _, a := range joined(w.fields) {
		path, value, ok := strings.Cut(a, "=")
		if !ok {
			return fmt.Errorf("--field %s: it takes the form field=value, such as tls.enabled=true", path)
		}
		var parsed any = value
		_ = json.Unmarshal([]byte(value), &parsed) // otherwise it is text
		at := map[string]any(s)
		segments := strings.Split(path, ".")
		for _, name := range segments[:len(segments)-1] {
			inner, is := at[name].(map[string]any)
			if !is {
				inner = map[string]any{}
			} else {
				inner = maps.Clone(inner)
			}
			at[name] = inner
			at = inner
		}
		at[segments[len(segments)-1]] = parsed
	}
	return nil
}

// whereTo finds the topics and files in the config of a dead_letter.
func whereTo(config any) (all []lettersAt) {
	switch c := config.(type) {
	case []any:
		for _, v := range c {
			all = append(all, whereTo(v)...)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(c)) {
			fields, _ := c[name].(map[string]any)
			switch topic, _ := fields["topic"].(string); {
			case name == "file":
				if path, _ := fields["path"].(string); path != "" {
					all = append(all, lettersAt{arg: prefixFile + folder(path)})
				}
			case name == errorrouting.Component && !strings.Contains(topic, "${!"):
				all = append(all, lettersAt{arg: prefixTopic + topic, settings: fields})
			case name != "processors":
				all = append(all, whereTo(c[name])...)
			}
		}
	}
	return all
}

// folder is the folder of files whose path depends on the message.
func folder(path string) string {
	fixed, _, interpolated := strings.Cut(path, "${!")
	if !interpolated {
		return path
	}
	if i := strings.LastIndexByte(fixed, '/'); i > 0 {
		return fixed[:i]
	}
	return "."
}

// joined undoes the splitting of values at commas, which the command line does.
func joined(assignments []string) (all []string) {
	for _, a := range assignments {
		if !assignment.MatchString(a) && len(all) > 0 {
			all[len(all)-1] += "," + a
			continue
		}
		all = append(all, a)
	}
	return all
}

var assignment = regexp.MustCompile(`^[a-z_.]+=`)
