package check

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

var (
	fieldsOfError = regexp.MustCompile(`field '([^']+)': `)
	typeOfError   = regexp.MustCompile("cannot unmarshal !!\\w+ `(.*)` into (\\w+)")
	typeNames     = map[string]string{"int": "a whole number", "bool": "true or false", "float64": "a number"}
)

// wrongType explains a value whose type is not that of its field, with file and line.
// Benthos' linter accepts such a value, and its parser does not know the place of the
// field.
func (o *found) wrongType(err error, files []File) error {
	var names []string
	for _, m := range fieldsOfError.FindAllStringSubmatch(err.Error(), -1) {
		names = append(names, m[1])
	}
	m := typeOfError.FindStringSubmatch(err.Error())
	if m == nil || len(names) == 0 || typeNames[m[2]] == "" {
		return fmt.Errorf("reading the output at %s: %w", o.path, err)
	}
	path := o.path + "." + errorrouting.Component + "." + strings.Join(names, ".")
	where, value := o.file, m[1]
	for _, file := range files {
		var node yaml.Node
		if file.Name != o.file || yaml.Unmarshal([]byte(file.YAML), &node) != nil {
			continue
		}
		if at := nodeAt(&node, strings.Split(path, ".")); at != nil {
			where, value = fmt.Sprintf("%s(%d)", o.file, at.Line), at.Value
		}
	}
	return fmt.Errorf("%s: %s is %s, it must be %s", where, path, value, typeNames[m[2]])
}

// unquoted names a secret that is a number. Benthos hides secrets by a mapping that
// fails for a number, and then does not start and names no field.
func (o *found) unquoted() error {
	logins, _ := o.fields["sasl"].([]any)
	for i, login := range logins {
		fields, _ := login.(map[string]any)
		for _, name := range []string{"password", "token"} {
			switch fields[name].(type) {
			case string, nil:
			default:
				return fmt.Errorf("%s: %s.%s.sasl.%d.%s is no text, with which Benthos does not start: put it in quotes", o.file, o.path, errorrouting.Component, i, name)
			}
		}
	}
	return nil
}

// nodeAt returns what is at a path, nil if nothing is. An element of a list is named by
// its position or its label.
func nodeAt(node *yaml.Node, path []string) *yaml.Node {
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	if len(path) == 0 {
		return node
	}
	for i, inner := range node.Content {
		switch {
		case node.Kind == yaml.MappingNode && i%2 == 0 && inner.Value == path[0]:
			return nodeAt(node.Content[i+1], path[1:])
		case node.Kind != yaml.SequenceNode:
		case strconv.Itoa(i) == path[0]:
			return nodeAt(inner, path[1:])
		default:
			if label := nodeAt(inner, []string{"label"}); label != nil && label.Value == path[0] {
				return nodeAt(inner, path[1:])
			}
		}
	}
	return nil
}
