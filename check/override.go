package check

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// override sets fields of a config as the flag --set of the command run does, each
// given as path=value.
func override(config map[string]any, set []string) error {
	for _, assignment := range set {
		path, text, ok := strings.Cut(assignment, "=")
		if !ok {
			return fmt.Errorf("setting %s: it takes the form path=value", assignment)
		}
		var value any = text
		var parsed any
		if json.Unmarshal([]byte(text), &parsed) == nil {
			value = parsed // a number, true, false, null, or a list
		}
		segments := strings.Split(path, ".")
		if segments[0] != "output" && segments[0] != "output_resources" && segments[0] != "pipeline" {
			continue // not in an output
		}
		if _, err := assign(config, segments, value); err != nil {
			return fmt.Errorf("setting %s: %w", path, err)
		}
	}
	return nil
}

// assign returns the part of a config with a value in it.
func assign(part any, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch part := part.(type) {
	case nil:
		inner, err := assign(nil, path[1:], value)
		return map[string]any{path[0]: inner}, err
	case map[string]any:
		inner, err := assign(part[path[0]], path[1:], value)
		part[path[0]] = inner
		return part, err
	case []any:
		if path[0] == "-" { // append to the list
			inner, err := assign(nil, path[1:], value)
			return append(part, inner), err
		}
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(part) {
			return nil, fmt.Errorf("the list has no item %s", path[0])
		}
		part[i], err = assign(part[i], path[1:], value)
		return part, err
	}
	return nil, fmt.Errorf("there is no field %s", path[0])
}
