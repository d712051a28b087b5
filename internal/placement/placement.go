// Package placement knows what Benthos does with the errors of an output, by
// where in a config the output is. It reads configs, and runs nothing.
//
// An output may name the failed messages of a batch in a BatchError. Benthos
// takes that apart by tags in the contexts of the messages, and a processor that
// works on batches hands contexts on by position: after one that drops, splits,
// merges or multiplies messages, the tags name other messages, and what is taken
// apart by them is lost. So a BatchError is right only where the component that takes it
// apart is next to the output, or where all that is in between keeps messages in
// their places.
package placement

import (
	"slices"
	"strconv"
	"strings"
)

// Component is the name of the output that this package is about.
const Component = "kafka_guarded"

// Children are the fields of the output that are outputs.
var Children = []string{"dead_letter", "delivery_report"}

// Place is what becomes of an error that leaves an output.
type Place struct {
	// TakenApart is set where the failed messages of a BatchError, and they
	// alone, get to the component that takes the errors. Elsewhere only an error about the
	// whole batch loses nothing.
	TakenApart bool
	// Routed is set where something is configured to take what fails: a
	// fallback, a dead_letter, a drop_on. Elsewhere an input sends it again.
	Routed bool
	// Fallback is set if the output is in a fallback, at whatever depth.
	Fallback bool
	// Deletes is set where the input deletes what fails (auto_replay_nacks:
	// false), and nothing else takes it.
	Deletes bool
	// Why says what keeps errors from being taken apart, if anything does.
	Why string
	// Loses says what makes Benthos itself take an error for a whole batch for
	// one of certain messages, found by position, so that what failed may be
	// lost. It is empty where nothing does.
	Loses string
	// Forgets is the path of a processor that drops a message when the input,
	// or an output around this one, sends it again after it failed. It is empty
	// where there is none.
	Forgets string
}

// root is the place of a stream's own output: what fails goes to the input.
var root = Place{Why: "its errors go to the input, which takes them apart by position"}

// unknown is the place of an output in a component that this package does not
// know.
func unknown(component string) Place {
	return Place{Why: "it is in " + component + ", of which it is not known what it does with errors"}
}

// again is the place of an output whose whole batches are sent again.
func again(component string) Place {
	return Place{Why: "it is in " + component + ", which sends the whole batch again, whatever the error says"}
}

// dropped is the place of an output whose errors are dropped.
var dropped = Place{Routed: true, Why: "it is in drop_on, which does not take errors apart"}

// inFallback is the place of an output that others of the same fallback come
// after.
var inFallback = Place{TakenApart: true, Routed: true, Fallback: true}

// inChild is the place of an output to which another kafka_guarded writes. That
// one decides by itself whether it believes a BatchError.
var inChild = Place{TakenApart: true, Routed: true}

// maybeLast is the place of an output that may be the last of its fallback.
var maybeLast = Place{Fallback: true, Why: "it is not the first of its fallback, and the last one's errors go to the input"}

const failFast = "it is in broker with a pattern that ends with the first error, whatever becomes of the batch in its other outputs"

// names notes that errors go through an output that makes of one for a batch one
// that names each of its messages. That is right for a fallback next to it, which
// takes it apart once.
func (p *Place) names(component string) {
	if !p.Fallback && !p.Routed {
		p.Loses = "the output " + component
	}
}

// OfPath returns the place of an output by its path alone, as far as the path can
// tell. It knows nothing of processors.
func OfPath(path []string) Place {
	place := unknown("a component")
	for i := 0; i < len(path); i++ {
		switch segment := path[i]; {
		case segment == "output" && i == 0:
			place = root
		case segment == "output_resources":
			place = Place{Why: "it is a resource, and its path does not tell which output uses it"}
		case segment == Component:
			if i+1 < len(path) && slices.Contains(Children, path[i+1]) {
				place = inChild
				i++
			} else {
				place = unknown(segment)
			}
		case segment == "fallback":
			if i+1 < len(path) && path[i+1] == "0" {
				place = inFallback
			} else {
				place = maybeLast
			}
			i++
		case segment == "switch" && i+3 < len(path):
			place.names(segment)
			i += 3 // cases, a number, output
		case segment == "broker" && i+2 < len(path):
			place.TakenApart, place.Why = false, "it is in broker, and its path does not tell with which pattern"
			i += 2 // outputs, a number
		case segment == "reject_errored":
			place.names(segment)
		case segment == "retry" && i+1 < len(path):
			place = again(segment)
			i++
		case segment == "dynamic" && i+2 < len(path):
			place = again(segment)
			i += 2
		case segment == "drop_on" && i+1 < len(path):
			place = dropped
			i++
		default:
			place = unknown(segment)
		}
	}
	return place
}

// Output is a kafka_guarded output in a config.
type Output struct {
	// Path and Label identify the output, with the path as Benthos has it in
	// logs and metrics, without "root". Outputs of the same resources have the
	// same path.
	Path, Label string
	Place
	// Stalls is the path of a batching in one of its children that waits for
	// more messages than may come, empty if there is none.
	Stalls string
	// Files are those that its dead_letter writes to by way of resources.
	Files []File
}

// Read returns the kafka_guarded outputs of a config, given as it is parsed: with
// the Sections that there are. A
// resource that is used in several places has the worst of these.
func Read(config map[string]any) []Output {
	r := reader{resources: byLabel(config["output_resources"]), processors: byLabel(config["processor_resources"])}
	if output := asObject(config["output"]); output != nil {
		place := root
		place.Deletes = deletes(config["input"]) || deletes(config["input_resources"])
		place.Loses = splitting("pipeline", asObject(config["pipeline"])["processors"])
		for _, section := range []string{"input", "input_resources", "buffer", "pipeline"} {
			if at := r.forgets(config[section], section); at != "" {
				place.Forgets = at
			}
		}
		r.walk(output, []string{"output"}, place)
	}
	return r.outputs
}

// Sections are the parts of a config that outputs may be in, or that decide what
// becomes of their errors.
var Sections = []string{"output", "output_resources", "pipeline", "processor_resources", "buffer", "input", "input_resources"}

// byLabel returns resources by their labels.
func byLabel(list any) map[string]object {
	labelled := map[string]object{}
	for _, resource := range asList(list) {
		o := asObject(resource)
		if label, _ := o["label"].(string); label != "" {
			labelled[label] = o
		}
	}
	return labelled
}

type reader struct {
	resources map[string]object // outputs
	// processors are the resources of that kind.
	processors map[string]object
	using      []string // the resources that are being walked
	outputs    []Output
}

// walk walks an output whose errors get to a place.
func (r *reader) walk(output object, path []string, place Place) {
	for _, processor := range asList(output["processors"]) {
		if name, ok := keepsPlaces(processor); !ok {
			place.TakenApart = false
			place.Why = "the processor " + name + " on an output may drop or multiply messages, and Benthos then takes errors apart by position"
		}
	}
	if loses := splitting("output", output["processors"]); loses != "" {
		place.Loses = loses
	}
	r.forgetting(&place, output["processors"], append(slices.Clone(path), "processors"))
	name, body := component(output)
	into := func(segments ...string) []string { return append(append(slices.Clone(path), name), segments...) }
	fields := asObject(body)
	switch name {
	case Component:
		r.forgetting(&place, fields["batching"], into("batching"))
		r.found(output, fields, path, place)
		for _, child := range Children {
			if o := asObject(fields[child]); o != nil {
				r.walk(o, into(child), inChild)
			}
		}
	case "fallback":
		tiers := asList(body)
		for i, tier := range tiers {
			at := inFallback
			if i == len(tiers)-1 {
				at = place
				at.Fallback = true
			}
			r.walk(asObject(tier), into(strconv.Itoa(i)), at)
		}
	case "switch":
		if fields["retry_until_success"] == true {
			place = again(name)
		} else {
			place.names(name)
		}
		for i, c := range asList(fields["cases"]) {
			r.walk(asObject(asObject(c)["output"]), into("cases", strconv.Itoa(i), "output"), place)
		}
	case "broker":
		if pattern, _ := fields["pattern"].(string); pattern == "" || pattern == "fan_out" || pattern == "fan_out_sequential" {
			place = again(name)
		} else {
			r.forgetting(&place, fields["batching"], into("batching"))
		}
		if endsEarly(fields) {
			place.TakenApart, place.Why = false, failFast
		}
		if batches(fields) {
			// Its batcher makes of a BatchError one for each transaction that
			// a failure is in, unless processors are in between.
			place.TakenApart = !Processed(fields["batching"]) && !endsEarly(fields)
			place.Why = "the batching of broker makes one error of all that came together from the input"
		}
		for i, o := range asList(fields["outputs"]) {
			r.walk(asObject(o), into("outputs", strconv.Itoa(i)), place)
		}
	case "reject_errored":
		place.names(name)
		r.walk(fields, into(), place)
	case "retry":
		r.walk(asObject(fields["output"]), into("output"), again(name))
	case "dynamic":
		outputs := asObject(fields["outputs"])
		for _, id := range sortedKeys(outputs) {
			r.walk(asObject(outputs[id]), into("outputs", id), again(name))
		}
	case "drop_on":
		at := dropped
		if fields["error"] != true {
			at = place
		}
		r.walk(asObject(fields["output"]), into("output"), at)
	case "resource":
		label, _ := body.(string)
		if slices.Contains(r.using, label) {
			return // a resource that uses itself, which Benthos refuses
		}
		r.using = append(r.using, label)
		r.walk(r.resources[label], []string{"output_resources"}, place)
		r.using = r.using[:len(r.using)-1]
	}
}

// forgetting notes a processor that remembers messages in a part of a config that
// they come through again when they are sent again.
func (r *reader) forgetting(place *Place, config any, path []string) {
	if at := r.forgets(config, strings.Join(path, ".")); at != "" && !place.Routed {
		place.Forgets = at
	}
}

// found adds an output, or a further use of it.
func (r *reader) found(output, fields object, path []string, place Place) {
	label, _ := output["label"].(string)
	o := Output{Path: strings.Join(path, "."), Label: label, Place: place}
	for _, child := range Children {
		if at := r.stalls(fields[child], o.Path+"."+Component+"."+child); at != "" {
			o.Stalls = at
		}
	}
	for _, f := range r.files(fields["dead_letter"], "dead_letter", true) {
		if strings.HasPrefix(f.Path, "output_resources.") {
			o.Files = append(o.Files, f)
		}
	}
	for i := range r.outputs {
		if other := &r.outputs[i]; other.Path == o.Path && other.Label == o.Label {
			if !o.TakenApart {
				other.TakenApart, other.Why = false, o.Why
			}
			other.Routed = other.Routed && o.Routed
			other.Deletes = other.Deletes || o.Deletes
			other.Fallback = other.Fallback || o.Fallback
			if other.Loses == "" {
				other.Loses = o.Loses
			}
			if other.Forgets == "" {
				other.Forgets = o.Forgets
			}
			return
		}
	}
	r.outputs = append(r.outputs, o)
}
