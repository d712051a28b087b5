package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// addToSBOM puts the licences of modules into a CycloneDX document that was made of
// the program's binary. cyclonedx-gomod's own detection takes a module as a whole.
func addToSBOM(document string, packages []linkedPackage) error {
	raw, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	var bom map[string]any
	if err := json.Unmarshal(raw, &bom); err != nil {
		return fmt.Errorf("reading %s: %w", document, err)
	}
	byModule := map[string][]linkedPackage{}
	for _, p := range packages {
		byModule[p.module.path] = append(byModule[p.module.path], p)
	}
	components, _ := bom["components"].([]any)
	if metadata, ok := bom["metadata"].(map[string]any); ok {
		components = append(components, metadata["component"])
	}
	for _, c := range components {
		component, ok := c.(map[string]any)
		if !ok {
			continue
		}
		name, _ := component["name"].(string)
		var expression string
		switch linked, ok := byModule[name]; {
		case ok && linked[0].module.own():
			expression = "Apache-2.0"
		case ok:
			expression = strings.Join(licensesOf(linked), " AND ")
		default:
			return fmt.Errorf("%s has module %s, of which no package was found in the program", document, name)
		}
		component["licenses"] = []any{map[string]any{"expression": expression}}
	}
	raw, err = json.MarshalIndent(bom, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(document, append(raw, '\n'), 0o644)
}
