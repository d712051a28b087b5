// Package check looks at the kafka_guarded outputs of a config before it runs:
// what would fail, and what to do about it.
package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/output"
)

const (
	component  = "kafka_guarded"
	deadLetter = "dead_letter"
)

// errFailing means that there are findings that are failing.
var errFailing = errors.New("messages would fail, or wait without end: see the lines that begin with fail")

// outputConfig is a kafka_guarded output in a config.
type outputConfig struct {
	file        int // which of the files it is in
	path, label string
	fields      map[string]any
	processed   bool // its messages go through processors of its own
	checked     *checker
}

// Run checks the outputs of the config, given as YAML, and of resources that go
// with it, and prints what it finds. The error is also about findings.
func Run(ctx context.Context, w io.Writer, config string, resources ...string) error {
	outputs, err := find(config, resources)
	if err != nil {
		return err
	}
	if len(outputs) == 0 {
		return fmt.Errorf("the config has no %s output", component)
	}
	bad := false
	for i := range outputs {
		o := &outputs[i]
		if err := o.check(ctx); err != nil {
			return fmt.Errorf("reading the output at %s: %w", o.path, err)
		}
		if source := sourceOf(outputs, o); source != nil {
			o.asDeadLetter(source)
		}
		o.print(w)
		bad = bad || o.checked.failing()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if bad {
		return errFailing
	}
	return nil
}

// find returns the outputs of the config in the order of their nesting: those
// that have others in them come before these.
func find(config string, resources []string) ([]outputConfig, error) {
	b := service.NewStreamBuilder()
	if err := b.SetYAML(config); err != nil {
		return nil, fmt.Errorf("reading the config: %w", err)
	}
	for _, r := range resources {
		if err := b.AddResourcesYAML(r); err != nil {
			return nil, fmt.Errorf("reading resources: %w", err)
		}
	}
	var outputs []outputConfig
	for file, yaml := range append([]string{config}, resources...) {
		found, err := findIn(yaml)
		if err != nil {
			return nil, fmt.Errorf("looking for outputs: %w", err)
		}
		for _, o := range found {
			o.file = file
			outputs = append(outputs, o)
		}
	}
	return outputs, nil
}

// findIn returns the outputs of a config that passes the linter. The stream
// builder could walk its config itself, but hides the secrets in it.
func findIn(yaml string) ([]outputConfig, error) {
	schema := service.GlobalEnvironment().FullConfigSchema("", "")
	file, err := schema.NewConfigQuerier().ParseYAML(yaml)
	if err != nil {
		return nil, err
	}
	config := map[string]any{}
	for _, section := range []string{"output", "output_resources"} {
		at, err := file.FieldAtPath(section)
		if err != nil {
			continue // it is not there
		}
		if config[section], err = at.FieldAny(); err != nil {
			return nil, err
		}
	}
	var outputs []outputConfig
	err = schema.NewStreamConfigWalker().WalkComponentsAny(config, func(c *service.WalkedComponent) error {
		if c.ComponentType != "output" || c.Name != component {
			return nil
		}
		conf, err := c.ConfigAny()
		if err != nil {
			return err
		}
		whole, _ := conf.(map[string]any)
		fields, _ := whole[component].(map[string]any)
		processors, _ := whole["processors"].([]any)
		outputs = append(outputs, outputConfig{path: c.Path, label: c.Label, fields: fields, processed: len(processors) > 0})
		return nil
	})
	return outputs, err
}

func (o *outputConfig) check(ctx context.Context) error {
	yaml, err := json.Marshal(o.fields) // which is YAML, too
	if err != nil {
		return err
	}
	conf, err := output.Spec().ParseYAML(string(yaml), nil)
	if err != nil {
		return err
	}
	o.checked = inspect(ctx, conf)
	return nil
}

// sourceOf returns the output whose dead letters go to o, nil if there is none.
func sourceOf(outputs []outputConfig, o *outputConfig) *outputConfig {
	i := strings.LastIndex(o.path, "."+component+"."+deadLetter)
	if i < 0 {
		return nil
	}
	for n := range outputs {
		if outputs[n].file == o.file && outputs[n].path == o.path[:i] {
			return &outputs[n]
		}
	}
	return nil
}

// asDeadLetter compares what a dead-letter topic takes with what the topic takes
// whose dead letters it gets.
func (o *outputConfig) asDeadLetter(source *outputConfig) {
	have, want := o.checked.maxBatchBytes, source.checked.maxBatchBytes
	if classes, ok := source.fields["permanent"].([]any); ok && !slices.Contains(classes, any(guard.SizeExceeded.String())) {
		return
	}
	switch {
	case have == 0 || want == 0:
	case have > want:
		o.checked.add(fine, "size: as a dead-letter topic, %s takes larger messages (%d bytes) than topic %s (%d)", o.checked.topic, have, source.checked.topic, want)
	case o.onlyWay(source):
		o.checked.add(failing, "size: the dead-letter topic %s takes no larger messages (%d bytes) than topic %s (%d): what is too large for the one is too large for the other, and holds up its batch. Raise max.message.bytes of %s, give this output a %s of its own, or make dead letters smaller with processors", o.checked.topic, have, source.checked.topic, want, o.checked.topic, deadLetter)
	default:
		o.checked.add(doubtful, "size: the dead-letter topic %s takes no larger messages (%d bytes) than topic %s (%d): make sure that what is too large gets there smaller, or goes elsewhere", o.checked.topic, have, source.checked.topic, want)
	}
}

// onlyWay reports whether every dead letter of the source gets here as it is,
// and has nowhere else to go.
func (o *outputConfig) onlyWay(source *outputConfig) bool {
	_, further := o.fields[deadLetter]
	return o.path == source.path+"."+component+"."+deadLetter && !o.processed && !further
}

func (o *outputConfig) print(w io.Writer) {
	fmt.Fprint(w, o.path)
	if o.label != "" {
		fmt.Fprintf(w, " (%s)", o.label)
	}
	fmt.Fprintln(w)
	o.checked.print(w)
}
