package errorrouting

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

type object = map[string]any

// asObject returns a part of a config as an object, nil if it is none.
func asObject(v any) object {
	if node, ok := v.(interface{ Decode(any) error }); ok { // a YAML node
		var decoded any
		if node.Decode(&decoded) != nil {
			return nil
		}
		v = decoded
	}
	o, _ := v.(object)
	return o
}

func asList(v any) []any {
	if node, ok := v.(interface{ Decode(any) error }); ok {
		var decoded any
		if node.Decode(&decoded) != nil {
			return nil
		}
		v = decoded
	}
	l, _ := v.([]any)
	return l
}

func sortedKeys(o object) []string { return slices.Sorted(maps.Keys(o)) }

// component returns the name and the fields of a component.
func component(o object) (name string, fields any) {
	if kind, ok := o["type"].(string); ok {
		return kind, o[kind]
	}
	for _, key := range sortedKeys(o) {
		if !slices.Contains([]string{"label", "processors", "plugin"}, key) {
			return key, o[key]
		}
	}
	return "", nil
}

// keepsPositions reports whether a processor leaves each message at its position in
// the batch, and returns the name of the processor.
func keepsPositions(processor any) (name string, keeps bool) {
	name, body := component(asObject(processor))
	switch name {
	case "mapping", "mutation", "bloblang":
		// A mapping can drop a message, with deleted(), and multiplies none.
		// An imported mapping, which is not read here, may do so too.
		text, _ := body.(string)
		return name, !strings.Contains(text, "deleted") && !strings.Contains(text, "import") && !strings.Contains(text, "from \"")
	case "branch", "compress", "decompress", "jmespath", "log", "metric", "noop", "rate_limit", "sleep":
		return name, true
	}
	return name, false
}

// splits names the first processor in a part of the config that may split a batch into
// several. It is empty if there is none.
func (r *reader) splits(config any, of string) string {
	at := r.find(config, of, func(_, name string, _ any) bool {
		return name == "split" || name == "group_by" || name == "group_by_value"
	})
	if at == "" {
		return ""
	}
	return "the processor " + at[strings.LastIndexByte(at, '.')+1:] + " of the " + of
}

// deletes reports whether an input, or one in it, deletes what fails.
func deletes(config any) bool {
	if list := asList(config); list != nil {
		return slices.ContainsFunc(list, deletes)
	}
	for key, v := range asObject(config) {
		if key == "auto_replay_nacks" && text(v) == "false" || deletes(v) {
			return true
		}
	}
	return false
}

// batches reports whether fields have a batching that joins messages.
func batches(fields object) bool {
	b := asObject(fields["batching"])
	return number(b["count"]) > 1 || number(b["byte_size"]) > 0 || text(b["check"]) != "" || text(b["period"]) != "" || len(asList(b["processors"])) > 0
}

// Processed reports whether the config of a component, or of a batching, has
// processors.
func Processed(config any) bool { return len(asList(asObject(config)["processors"])) > 0 }

// Stalls returns the path of a batching in the config of a child output that has
// no period. It may wait for more messages than will ever come. It is empty if
// there is none. Resources are not read.
func Stalls(child any, path string) string { return (&reader{}).stalls(child, path) }

func (r *reader) stalls(config any, path string) string {
	if list := asList(config); list != nil {
		for i, v := range list {
			if at := r.stalls(v, path+"."+strconv.Itoa(i)); at != "" {
				return at
			}
		}
		return ""
	}
	o := asObject(config)
	if b := asObject(o["batching"]); text(b["period"]) == "" && (number(b["count"]) > 1 || number(b["byte_size"]) > 0 || text(b["check"]) != "") {
		return path + ".batching"
	}
	for _, key := range sortedKeys(o) {
		if label, ok := o[key].(string); ok && key == "resource" && r.resources[label] != nil {
			at := inside(r.resources, label, func(resource object) string { return r.stalls(resource, "output_resources."+label) })
			if at != "" {
				return at
			}
		}
		if at := r.stalls(o[key], path+"."+key); at != "" {
			return at
		}
	}
	return ""
}

// Forgets returns the path of a processor in the config of a child output that
// remembers messages, and drops one that is resent after it failed. It is empty if
// there is none. Resources are not read.
func Forgets(child any, path string) string { return (&reader{}).forgets(child, path) }

func (r *reader) forgets(config any, path string) string {
	return r.find(config, path, func(_, name string, body any) bool {
		// A cache with the operator add fails if it has the key. The processor
		// after it then drops the message.
		return name == "dedupe" || name == "cache" && text(asObject(body)["operator"]) == "add"
	})
}

// find returns the path of the first processor of a kind in a part of the config, and in the
// resources that it uses. It is empty if there is none.
func (r *reader) find(config any, path string, is func(at, name string, body any) bool) string {
	for i, v := range asList(config) {
		if at := r.find(v, path+"."+strconv.Itoa(i), is); at != "" {
			return at
		}
	}
	o := asObject(config)
	for _, key := range sortedKeys(o) {
		at := path + "." + key
		if is(at, key, o[key]) {
			return at
		}
		if label, ok := o[key].(string); ok && key == "resource" {
			for _, of := range []struct {
				kind      string
				resources map[string]object
			}{{"output_resources", r.resources}, {"processor_resources", r.processors}} {
				if of.resources[label] == nil {
					continue
				}
				found := inside(of.resources, label, func(resource object) string { return r.find(resource, of.kind+"."+label, is) })
				if found != "" {
					return found
				}
			}
		}
		if at := r.find(o[key], at, is); at != "" {
			return at
		}
	}
	return ""
}

// inside looks into a resource. It is not among the others meanwhile, since one may use
// itself.
func inside[T any](resources map[string]object, label string, look func(resource object) T) T {
	resource := resources[label]
	delete(resources, label)
	defer func() { resources[label] = resource }()
	return look(resource)
}

// unread returns the path of the first input or processor in a part of the config that
// is a resource which the config does not have. It is empty if there is none. The
// resource of a cache or rate_limit processor is a field of it, and drops no messages.
func (r *reader) unread(config any, path string) string {
	return r.find(config, path, func(at, name string, body any) bool {
		label, is := body.(string)
		if !is || name != "resource" || r.processors[label] != nil || r.inputs[label] != nil || r.resources[label] != nil {
			return false
		}
		in := strings.Split(strings.TrimSuffix(at, ".resource"), ".")
		last := in[len(in)-1]
		_, err := strconv.Atoi(last) // of a list of components
		return err == nil || last == "input" || len(in) > 1 && in[len(in)-2] == "inputs" || len(in) == 2 && in[0] == "processor_resources"
	})
}

// Rejects reports whether an output, given by its config, takes no message.
func Rejects(config any) bool {
	name, _ := component(asObject(config))
	return name == "reject"
}

// File is an output that is a file, or another that writes messages without their
// metadata.
type File struct {
	Path string // where the config has it: of a file its field path
	Name string // the value of that field, which may be interpolated. Empty if it is no file
	// Bare is set if it gets messages as they are, and writes them without metadata.
	Bare bool
	// Replaced is set if each message takes the place of the one before.
	Replaced bool
	// Prefixes is set if its field metadata.include_prefixes changes that.
	Prefixes bool
}

// withoutMetadata says of the outputs that write the content alone whether they have a
// field metadata.include_prefixes, by which they write the metadata, too.
var withoutMetadata = map[string]bool{
	Component: true, "kafka_franz": true, "redpanda": true, "redpanda_common": true, "http_client": true,
	"stdout": false, "socket": false, "websocket": false, "subprocess": false,
}

func isBare(kind string) bool {
	_, is := withoutMetadata[kind]
	return is
}

// includesMetadata reports whether an output writes some of the metadata. Headers of an
// HTTP request may be interpolated.
func includesMetadata(fields object) bool {
	included := asObject(fields["metadata"])
	return asList(included["include_prefixes"]) != nil || asList(included["include_patterns"]) != nil || strings.Contains(fmt.Sprint(asObject(fields["headers"])), "${!")
}

// Files returns the files in the config of a child output. Resources are not read,
// nor the children of a kafka_guarded in it, which reads them itself.
func Files(child any, path string) []File { return (&reader{}).files(child, path, true) }

func (r *reader) files(config any, path string, bare bool) (all []File) {
	for i, v := range asList(config) {
		all = append(all, r.files(v, path+"."+strconv.Itoa(i), bare)...)
	}
	o := asObject(config)
	bare = bare && !Processed(o)
	for _, key := range sortedKeys(o) {
		at := path + "." + key
		switch fields, label := asObject(o[key]), text(o[key]); {
		case key == "processors":
		case key == "file" && fields != nil:
			f := File{Path: at + ".path", Name: text(fields["path"]), Bare: bare}
			f.Replaced = text(fields["codec"]) == "all-bytes" && !strings.Contains(f.Name, "${")
			all = append(all, f)
		case isBare(key):
			if bare && !includesMetadata(fields) {
				all = append(all, File{Path: at, Bare: true, Prefixes: withoutMetadata[key]})
			}
		case key == "resource" && r.resources[label] != nil:
			all = append(all, inside(r.resources, label, func(resource object) []File { return r.files(resource, "output_resources."+label, bare) })...)
		default:
			all = append(all, r.files(o[key], at, bare)...)
		}
	}
	return all
}

// PlainFile reports whether an output, given by its config, is a file of which each
// line is the content of a message. It returns the path of the file.
func PlainFile(config any) (path string, plain bool) {
	o := asObject(config)
	name, body := component(o)
	fields := asObject(body)
	codec := text(fields["codec"])
	return text(fields["path"]), name == "file" && !Processed(o) && (codec == "" || codec == "lines")
}

// KeepsPositions reports whether a BatchError of an output, given by its config,
// lists the failed messages and no others. That is so if no processor, batching or
// resource is in it, and no broker that ends with the first error of several
// outputs. A template is read as the output that has its name.
func KeepsPositions(config any) bool {
	if list := asList(config); list != nil {
		return !slices.ContainsFunc(list, func(v any) bool { return !KeepsPositions(v) })
	}
	o := asObject(config)
	if Processed(o) || batches(o) || o["resource"] != nil || endsEarly(asObject(o["broker"])) {
		return false
	}
	for _, v := range o {
		if !KeepsPositions(v) {
			return false
		}
	}
	return true
}

// endsEarly reports whether a broker returns the first error of several outputs.
// The other outputs may have failed on other messages, or on none.
func endsEarly(broker object) bool {
	return strings.HasSuffix(text(broker["pattern"]), "fail_fast") && (len(asList(broker["outputs"])) > 1 || number(broker["copies"]) > 1)
}

// number returns a number of a config, 0 if it is none.
func number(v any) float64 {
	n, _ := strconv.ParseFloat(text(v), 64)
	return n
}

// text returns a scalar of a config as text, empty if it is not there.
func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
