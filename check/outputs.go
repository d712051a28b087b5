package check

// Output is a kafka_guarded output of a config, with the fields that it has there.
type Output struct {
	Path, Label string
	Fields      map[string]any
}

// Outputs returns the kafka_guarded outputs of a config, in its order: an output
// comes before those that are its children. The paths may be patterns, and set has
// fields of the config as path=value. Environment variables of files are set in
// this process, as run does.
func Outputs(path string, resources, set, envFiles []string) ([]Output, error) {
	if err := setEnvironment(envFiles); err != nil {
		return nil, err
	}
	files, err := read([]string{path})
	if err != nil {
		return nil, err
	}
	shared, err := read(resources)
	if err != nil {
		return nil, err
	}
	c, err := find(files[0], shared, set)
	if err != nil {
		return nil, err
	}
	var all []Output
	for _, o := range c.outputs {
		all = append(all, Output{Path: o.path, Label: o.label, Fields: o.fields})
	}
	return all, nil
}
