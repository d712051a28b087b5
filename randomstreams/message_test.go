package randomstreams

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// kind says what is wrong with a message.
type kind int

const (
	good     kind = iota
	oversize      // it is larger than the topic takes
	illegal       // its topic can't exist, or not yet
	poison        // the broker rejects its content
)

var kindNames = [...]string{"good", "oversize", "illegal", "poison"}

func (k kind) String() string { return kindNames[k] }

// class returns the failure class of a kind.
func (k kind) class() string {
	return [...]string{"", "size_exceeded", "unroutable", "invalid_record"}[k]
}

// The topic rejects larger batches, and batches with the mark in them.
const (
	topicLimit = 20_000
	poisonMark = "POISON"
)

// content is the content of a message. Processors may make several messages of one:
// these differ by copy, or by letter if the message was a dead letter. They may also
// merge several messages into one, whose content is a list.
type content struct {
	ID     int    `json:"id"`
	Kind   string `json:"kind"`
	Copy   int    `json:"copy"`
	Letter int    `json:"letter"`
	Pad    string `json:"pad"`
}

func (c content) unit() string { return unit(c.ID, c.Copy, c.Letter) }

// unit is the checker's ID of a message, or of a copy that processors made of it.
func unit(id, nth, letter int) string { return fmt.Sprintf("%d.%d.%d", id, nth, letter) }

// message makes the message with the ID.
func (p *plan) message(id int) *service.Message {
	c := content{ID: id, Kind: p.kinds[id].String(), Pad: strings.Repeat("x", p.pads[id])}
	if p.kinds[id] == poison {
		c.Pad = poisonMark + c.Pad
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return service.NewMessage(text)
}

// contents reads the content of a message: one, or a list, also of lists.
func contents(text []byte) (all []content, err error) {
	if len(text) == 0 || text[0] != '[' {
		all = make([]content, 1)
		err = json.Unmarshal(text, &all[0])
	} else {
		var list []json.RawMessage
		err = json.Unmarshal(text, &list)
		for _, one := range list {
			some, oneErr := contents(one)
			all, err = append(all, some...), errors.Join(err, oneErr)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("no message of ours: %w", err)
	}
	return all, nil
}

// processor changes the positions of messages in a batch. Afterwards a message may have
// the tags of another one.
type processor struct {
	name string
	yaml []string
}

// groupByKind comes before archive, which gives the metadata of the first message to
// all of them. The class of a dead letter is in its metadata, so one archive must have
// one class.
const groupByKind = `group_by_value: { value: '${! json("kind") }' }`

var (
	filter   = processor{"filter", []string{"mapping: 'root = if this.id % 5 == 3 { deleted() }'"}}
	multiply = processor{"multiply", []string{"mapping: 'root = [ this, this.assign({\"%s\": 1}) ]'", "unarchive: { format: json_array }"}}
	split    = processor{"split", []string{"split: { size: 3 }"}}
	reorder  = processor{"reorder", []string{"archive: { format: json_array }", "mapping: 'root = this.sort_by(m -> 0 - m.id)'", "unarchive: { format: json_array }"}}
	merge    = processor{"merge", []string{groupByKind, "split: { size: 30 }", "archive: { format: json_array }"}}
)

// processors are in the order in which they follow each other. merge is last: a merged
// message has no ID that the others could use.
var processors = []processor{filter, multiply, split, reorder, merge}

// processing is the list of processors at a position in the config.
type processing []processor

func (p processing) has(one processor) bool {
	return slices.ContainsFunc(p, func(p processor) bool { return p.name == one.name })
}

func (p processing) String() string {
	names := make([]string, len(p))
	for i, one := range p {
		names[i] = one.name
	}
	return strings.Join(names, "+")
}

// yaml returns the processors, each as YAML. They number the copies in the given field.
func (p processing) yaml(field string) []string {
	var all []string
	if field == "letter" && p.has(reorder) {
		all = append(all, groupByKind)
	}
	for _, one := range p {
		for _, y := range one.yaml {
			all = append(all, strings.ReplaceAll(y, "%s", field))
		}
	}
	return all
}

// on returns the YAML of an output with these processors on it.
func (p processing) on(output, field string) string {
	if len(p) == 0 {
		return output
	}
	text := strings.TrimRight(output, "\n") + "\nprocessors:\n"
	for _, y := range p.yaml(field) {
		text += "  - " + y + "\n"
	}
	return text
}

// batches reports whether the processors make several batches of one.
func (p processing) batches() bool { return p.has(split) || p.has(merge) }

// moves reports whether the processors change the position of messages in a batch.
func (p processing) moves() bool { return p.has(filter) || p.has(reorder) || p.batches() }

// dropped reports whether processors drop the message before the output.
func (p *plan) dropped(id int) bool { return p.around().has(filter) && id%5 == 3 }

// units returns the units that a message becomes on its way to the output: none if it
// is dropped. Each must be in the topic or among the dead letters.
func (p *plan) units(id int) []string {
	around := p.around()
	k := p.kinds[id]
	if p.dropped(id) || p.deserved(k) != "" && p.onChild.has(filter) && id%5 == 3 {
		return nil
	}
	copies, letters := 1, 1
	if around.has(multiply) {
		copies = 2
	}
	if p.deserved(k) != "" && p.onChild.has(multiply) {
		letters = 2
	}
	var all []string
	for c := range copies {
		for l := range letters {
			all = append(all, unit(id, c, l))
		}
	}
	return all
}
