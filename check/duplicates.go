package check

import (
	"strconv"

	"gopkg.in/yaml.v3"
)

// duplicates finds keys that an object of a file has twice. Benthos takes the last one
// without a warning.
func duplicates(file File) (f findings) {
	var node yaml.Node
	if yaml.Unmarshal([]byte(file.YAML), &node) != nil {
		return nil // each reader of the file reports this
	}
	f.duplicates(file.Name, "", &node)
	return f
}

func (f *findings) duplicates(file, path string, node *yaml.Node) {
	switch node.Kind {
	case yaml.DocumentNode:
		for _, inner := range node.Content {
			f.duplicates(file, path, inner)
		}
	case yaml.SequenceNode:
		for i, inner := range node.Content {
			f.duplicates(file, path+strconv.Itoa(i)+".", inner)
		}
	case yaml.MappingNode:
		first := map[string]int{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			if line, twice := first[key.Value]; twice && key.Tag != "!!merge" {
				f.add(failing, "%s: %s%s is there twice, at line %d and at line %d: the latter counts, without a word at the start. Remove one, or put both into one", file, path, key.Value, line, key.Line)
			}
			first[key.Value] = key.Line
			f.duplicates(file, path+key.Value+".", node.Content[i+1])
		}
	case yaml.ScalarNode, yaml.AliasNode: // they have no keys of their own
	}
}
