package output

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite docs/reference.md")

const referenceFile = "../docs/reference.md"

// docs/reference.md is generated from the spec alone.
func TestReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	want := reference(t)
	if *update {
		require.NoError(t, os.WriteFile(referenceFile, want, 0o644))
	}
	have, err := os.ReadFile(referenceFile)
	require.NoError(t, err)
	require.Equal(t, string(want), string(have), "docs/reference.md is not what the spec says. Run: go test ./output -run TestReferenceIsUpToDate -update")
}

// specField is a field, as Benthos describes it in JSON. The template data lacks some
// of it: whether a field is optional, advanced or deprecated.
type specField struct {
	Name         string
	Type         string
	Kind         string
	Description  string
	IsAdvanced   bool `json:"is_advanced"`
	IsDeprecated bool `json:"is_deprecated"`
	IsOptional   bool `json:"is_optional"`
	IsSecret     bool `json:"is_secret"`
	Default      json.RawMessage
	Interpolated bool
	Bloblang     bool
	Examples     []any
	Annotated    [][2]string `json:"annotated_options"`
	Options      []string
	Children     []specField
}

func reference(t *testing.T) []byte {
	view, ok := service.GlobalEnvironment().GetOutputConfig(name)
	require.True(t, ok)
	data, err := view.TemplateData()
	require.NoError(t, err)
	text, err := view.FormatJSON()
	require.NoError(t, err)
	var spec struct {
		Config struct{ Children []specField }
	}
	require.NoError(t, json.Unmarshal(text, &spec))

	var b bytes.Buffer
	fmt.Fprintf(&b, "<!-- Generated from the spec: go test ./output -run TestReferenceIsUpToDate -update -->\n\n# %s\n\n%s\n\n", name, data.Summary)

	groups := grouped(t, spec.Config.Children)
	for _, g := range groups {
		var links []string
		for _, f := range g.fields {
			links = append(links, fmt.Sprintf("[`%s`](#%s)", f.Name, f.Name))
		}
		fmt.Fprintf(&b, "- [%s](#%s): %s\n", g.title, strings.ToLower(g.title), strings.Join(links, ", "))
	}
	fmt.Fprint(&b, "- [Examples](#examples)\n")
	fmt.Fprintf(&b, "\n```yaml\n%s```\n", data.CommonConfigYAML)
	fmt.Fprintf(&b, "\n<details><summary>With all fields</summary>\n\n```yaml\n%s```\n\n</details>\n", data.AdvancedConfigYAML)
	fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(data.Description))
	examples := map[string][]string{} // as YAML, by the full name of the field
	for _, f := range data.Fields {
		examples[f.FullName] = f.ExamplesMarshalled
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n", g.title)
		walkReference(g.fields, "", func(path string, f specField) { printField(&b, path, f, examples[path]) })
	}
	fmt.Fprint(&b, "\n## Examples\n")
	for _, e := range data.Examples {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n```yaml\n%s```\n", e.Title, e.Summary, strings.TrimPrefix(e.Config, "\n"))
	}
	return b.Bytes()
}

// fieldGroup is a part of the reference.
type fieldGroup struct {
	title  string
	fields []specField
}

// grouped returns the fields by group. The spec has them in that order.
func grouped(t *testing.T, fields []specField) (groups []fieldGroup) {
	begins := map[string]string{fieldSeedBrokers: "Connection", fieldTopic: "Record", fieldMaxInFlight: "Producer", fieldTopicRules: "Failures"}
	for _, f := range fields {
		if title, ok := begins[f.Name]; ok {
			groups = append(groups, fieldGroup{title: title})
		}
		last := &groups[len(groups)-1]
		last.fields = append(last.fields, f)
	}
	require.Len(t, groups, len(begins))
	return groups
}

func walkReference(fields []specField, prefix string, do func(string, specField)) {
	for _, f := range fields {
		do(prefix+f.Name, f)
		inner := prefix + f.Name
		switch f.Kind {
		case "array":
			inner += "[]"
		case "map":
			inner += ".<name>"
		}
		walkReference(f.Children, inner+".", do)
	}
}

// crossReference is a link into another documentation, in the fields that come with
// Benthos.
var crossReference = regexp.MustCompile(`(?:xref|https?):[^\s\[\]]*\[([^\]^]*)\^?\]`)

// allOptional reports whether an object may be left out, since each field in it may be.
func allOptional(f specField) bool {
	for _, child := range f.Children {
		if child.Default == nil && !child.IsOptional {
			return false
		}
	}
	return len(f.Children) > 0 && f.Kind != "array"
}

func printField(b *bytes.Buffer, path string, f specField, examples []string) {
	kind := f.Type
	switch f.Kind {
	case "array":
		kind = "list of " + f.Type + "s"
	case "map":
		kind = "map of " + f.Type + "s"
	}
	facts := []string{kind}
	add := func(is bool, fact string) {
		if is {
			facts = append(facts, fact)
		}
	}
	add(f.Bloblang, "Bloblang mapping")
	add(f.Interpolated, "interpolated")
	switch {
	case f.Default != nil && !bytes.Equal(f.Default, []byte("null")):
		facts = append(facts, "default `"+string(f.Default)+"`")
	case f.IsOptional || f.IsDeprecated:
		facts = append(facts, "optional")
	case f.Type == "object" && f.Kind == "scalar", allOptional(f):
	default:
		facts = append(facts, "**required**")
	}
	add(f.IsAdvanced, "advanced")
	add(f.IsDeprecated, "deprecated")
	add(f.IsSecret, "secret: `echo` and `/debug/config` hide it, `GET /streams/ID` of streams mode shows it")
	heading := "###"
	if strings.Contains(path, ".") {
		heading = "####"
	}
	fmt.Fprintf(b, "\n%s `%s`\n\n%s\n", heading, path, strings.Join(facts, ", "))
	if f.Description != "" {
		fmt.Fprintf(b, "\n%s\n", crossReference.ReplaceAllString(strings.TrimSpace(f.Description), "$1"))
	}
	if len(f.Annotated) > 0 {
		fmt.Fprint(b, "\n| option | meaning |\n| --- | --- |\n")
		for _, o := range f.Annotated {
			fmt.Fprintf(b, "| `%s` | %s |\n", o[0], o[1])
		}
	} else if len(f.Options) > 0 {
		fmt.Fprintf(b, "\nOptions: `%s`.\n", strings.Join(f.Options, "`, `"))
	}
	if len(examples) > 0 {
		fmt.Fprintf(b, "\n```yaml\n%s```\n", strings.Join(examples, "# or\n"))
	}
}
