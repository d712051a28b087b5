// Package errorrouting finds out how Benthos handles the errors of an output. That
// depends on the position of the output in the config. The package reads configs, and
// runs nothing.
//
// An output may list the failed messages of a batch in a BatchError. Benthos finds
// the listed messages by tags in their contexts. A processor that works on batches
// passes contexts on by position: if it drops, splits, merges or multiplies
// messages, a tag is then on another message. The component that reads the list
// resends or dead-letters the wrong messages, and the failed ones are lost.
//
// So a BatchError is right only where the component that reads it is next to the
// output, or where each processor in between keeps all messages in their positions.
package errorrouting

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Component is the name of the output that this package is about.
const Component = "kafka_guarded"

// Children are the fields of the output that are outputs.
var Children = []string{"dead_letter", "delivery_report"}

// Routing is where the errors of an output go, and what happens there.
type Routing struct {
	// PerMessage is set where the component that receives a BatchError handles
	// the listed messages, and no others. Elsewhere only an error for the whole
	// batch loses nothing.
	PerMessage bool
	// Routed is set where a fallback, a dead_letter or a drop_on takes the failed
	// messages. Elsewhere the input resends them.
	Routed bool
	// Fallback is set if the output is in a fallback, at whatever depth.
	Fallback bool
	// Deletes is set where the input deletes failed messages (auto_replay_nacks:
	// false), and no other component takes them.
	Deletes bool
	// Why is the reason if PerMessage is not set.
	Why string
	// Loses names the component through which Benthos itself turns an error for
	// the whole batch into one for certain messages. It finds them by position,
	// so that failed messages may be lost. It is empty if there is none.
	Loses string
	// Forgets is the path of a processor that drops a message which is resent
	// after it failed, as dedupe does. It is empty if there is none.
	Forgets string
	// Unread is the path of a resource that the config does not have, as one in a file
	// of its own (run -r). It may have processors that split batches or that drop
	// resent messages. It is empty if there is none.
	Unread string
}

// root is for a stream's own output: its errors go to the input.
var root = Routing{Why: "its errors go to the input, which takes them apart by position"}

// unknown is for an output in a component that this package does not know.
func unknown(component string) Routing {
	return Routing{Why: "it is in " + component + ", of which it is not known what it does with errors"}
}

// again is for an output in a component that resends the whole batch.
func again(component string) Routing {
	return Routing{Why: "it is in " + component + ", which sends the whole batch again, whatever the error says"}
}

// dropped is for an output whose errors are dropped.
var dropped = Routing{Routed: true, Why: "it is in drop_on, which does not take errors apart"}

// inFallback is for each output of a fallback but the last.
var inFallback = Routing{PerMessage: true, Routed: true, Fallback: true}

// inChild is for a child output of another kafka_guarded, which decides by itself
// whether it goes by a BatchError.
var inChild = Routing{PerMessage: true, Routed: true}

// maybeLast is for an output that may be the last of its fallback.
var maybeLast = Routing{Fallback: true, Why: "it is not the first of its fallback, and the last one's errors go to the input"}

const failFast = "it is in broker with a pattern that ends with the first error, whatever becomes of the batch in its other outputs"

// namesEach notes that errors go through a component that turns an error for a
// batch into one that lists each message. A fallback next to it reads the list
// once, and handles it right.
func (r *Routing) namesEach(component string) {
	if !r.Fallback && !r.Routed {
		r.Loses = "the output " + component
	}
}

// OfPath returns the routing as far as the path of the output tells it. The path
// does not tell where processors are.
func OfPath(path []string) Routing {
	routing := unknown("a component")
	for i := 0; i < len(path); i++ {
		switch segment := path[i]; {
		case segment == "output" && i == 0:
			routing = root
		case segment == "output_resources":
			routing = Routing{Why: "it is a resource, and its path does not tell which output uses it"}
		case segment == Component:
			if i+1 < len(path) && slices.Contains(Children, path[i+1]) {
				routing = inChild
				i++
			} else {
				routing = unknown(segment)
			}
		case segment == "fallback":
			if i+1 < len(path) && path[i+1] == "0" {
				routing = inFallback
			} else {
				routing = maybeLast
			}
			i++
		case segment == "switch" && i+3 < len(path):
			routing.namesEach(segment)
			i += 3 // cases, a number, output
		case segment == "broker" && i+2 < len(path):
			routing.PerMessage, routing.Why = false, "it is in broker, and its path does not tell with which pattern"
			i += 2 // outputs, a number
		case segment == "reject_errored":
			routing.namesEach(segment)
		case segment == "retry" && i+1 < len(path):
			routing = again(segment)
			i++
		case segment == "dynamic" && i+2 < len(path):
			routing = again(segment)
			i += 2
		case segment == "drop_on" && i+1 < len(path):
			routing = dropped
			i++
		default:
			routing = unknown(segment)
		}
	}
	return routing
}

// Output is a kafka_guarded output in a config.
type Output struct {
	// Path and Label identify the output, with the path as Benthos has it in
	// logs and metrics, without "root". Outputs of the same resources have the
	// same path.
	Path, Label string
	Routing
	// Stalls is the path of a batching in one of its children that waits for
	// more messages than may come, empty if there is none.
	Stalls string
	// ChildForgets is the path of a processor that drops what is resent, as Forgets is,
	// in a resource that one of its children uses.
	ChildForgets string
	// Files are the files that its dead_letter writes to through resources.
	Files []File
}

// Read returns the kafka_guarded outputs of a parsed config, of which it needs the
// Sections. A resource that several components use has the worst routing of these.
func Read(config map[string]any) []Output {
	r := reader{resources: byLabel(config["output_resources"]), processors: byLabel(config["processor_resources"]), inputs: byLabel(config["input_resources"])}
	if output := asObject(config["output"]); output != nil {
		routing := root
		routing.Deletes = deletes(config["input"]) || deletes(config["input_resources"])
		for _, section := range []string{"input", "input_resources", "buffer", "pipeline"} {
			routing.Loses = cmp.Or(r.splits(config[section], section), routing.Loses)
			routing.Forgets = cmp.Or(r.forgets(config[section], section), routing.Forgets)
			routing.Unread = cmp.Or(r.unread(config[section], section), routing.Unread)
		}
		r.walk(output, []string{"output"}, routing)
	}
	return r.outputs
}

// Sections are the parts of a config that have outputs, or that decide where their
// errors go.
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
	inputs     map[string]object
	using      []string // the resources that are being walked
	outputs    []Output
}

// walk reads an output whose errors are routed like this, and the outputs in it.
func (r *reader) walk(output object, path []string, routing Routing) {
	for _, processor := range asList(output["processors"]) {
		if name, ok := keepsPositions(processor); !ok {
			routing.PerMessage = false
			routing.Why = "the processor " + name + " on an output may drop or multiply messages, and Benthos then takes errors apart by position"
		}
	}
	routing.Loses = cmp.Or(r.splits(output["processors"], "output"), routing.Loses)
	r.forgetting(&routing, output["processors"], append(slices.Clone(path), "processors"))
	name, body := component(output)
	into := func(segments ...string) []string { return append(append(slices.Clone(path), name), segments...) }
	fields := asObject(body)
	switch name {
	case Component:
		r.forgetting(&routing, fields["batching"], into("batching"))
		r.found(output, fields, path, routing)
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
				at = routing
				at.Fallback = true
			}
			r.walk(asObject(tier), into(strconv.Itoa(i)), at)
		}
	case "switch":
		if fields["retry_until_success"] == true {
			routing = again(name)
		} else {
			routing.namesEach(name)
		}
		for i, c := range asList(fields["cases"]) {
			r.walk(asObject(asObject(c)["output"]), into("cases", strconv.Itoa(i), "output"), routing)
		}
	case "broker":
		if pattern, _ := fields["pattern"].(string); pattern == "" || pattern == "fan_out" || pattern == "fan_out_sequential" {
			routing = again(name)
		} else {
			r.forgetting(&routing, fields["batching"], into("batching"))
		}
		if endsEarly(fields) {
			routing.PerMessage, routing.Why = false, failFast
		}
		if batches(fields) {
			// Its batcher makes of a BatchError one for each transaction that
			// a failure is in, unless processors are in between.
			routing.PerMessage = !Processed(fields["batching"]) && !endsEarly(fields)
			routing.Why = "the batching of broker makes one error of all that came together from the input"
		}
		for i, o := range asList(fields["outputs"]) {
			r.walk(asObject(o), into("outputs", strconv.Itoa(i)), routing)
		}
	case "reject_errored":
		routing.namesEach(name)
		r.walk(fields, into(), routing)
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
			at = routing
		}
		r.walk(asObject(fields["output"]), into("output"), at)
	case "resource":
		label, _ := body.(string)
		if slices.Contains(r.using, label) {
			return // a resource that uses itself, which Benthos refuses
		}
		r.using = append(r.using, label)
		r.walk(r.resources[label], []string{"output_resources"}, routing)
		r.using = r.using[:len(r.using)-1]
	}
}

// forgetting enters a processor that drops resent messages, in a part of the config
// that resent messages pass again.
func (r *reader) forgetting(routing *Routing, config any, path []string) {
	if routing.Routed {
		return
	}
	at := strings.Join(path, ".")
	routing.Forgets = cmp.Or(r.forgets(config, at), routing.Forgets)
	routing.Unread = cmp.Or(r.unread(config, at), routing.Unread)
}

// found adds an output, or merges a further use of a resource.
func (r *reader) found(output, fields object, path []string, routing Routing) {
	label, _ := output["label"].(string)
	o := Output{Path: strings.Join(path, "."), Label: label, Routing: routing}
	for _, child := range Children {
		if at := r.stalls(fields[child], o.Path+"."+Component+"."+child); at != "" {
			o.Stalls = at
		}
		if at := r.forgets(fields[child], child); !strings.HasPrefix(at, child) {
			o.ChildForgets = cmp.Or(o.ChildForgets, at)
		}
	}
	for _, f := range r.files(fields["dead_letter"], "dead_letter", true) {
		if strings.HasPrefix(f.Path, "output_resources.") {
			o.Files = append(o.Files, f)
		}
	}
	for i := range r.outputs {
		if other := &r.outputs[i]; other.Path == o.Path && other.Label == o.Label {
			if !o.PerMessage {
				other.PerMessage, other.Why = false, o.Why
			}
			other.Routed = other.Routed && o.Routed
			other.Deletes = other.Deletes || o.Deletes
			other.Fallback = other.Fallback || o.Fallback
			other.Loses = cmp.Or(other.Loses, o.Loses)
			other.Forgets = cmp.Or(other.Forgets, o.Forgets)
			other.Unread = cmp.Or(other.Unread, o.Unread)
			return
		}
	}
	r.outputs = append(r.outputs, o)
}
