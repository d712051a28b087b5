package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
)

// intended has the intended differences between the fields of kafka_franz and those of
// kafka_guarded, each with its reason. The test fails for any other difference, and for
// one of these that no longer exists.
var intended = map[string]string{
	"inject_tracing_map: new":  "carries the trace context, as other outputs of Benthos do",
	"null_key: new":            "says which records have no key: an interpolated key is never null",
	"tombstone: new":           "says which records have no value: content is never null",
	"topic_rules: new":         "what a topic accepts is asked of the cluster",
	"retry: new":               "what fails for a while is sent again by the output",
	"permanent: new":           "which failures are for good",
	"dead_letter: new":         "where those go",
	"dead_letter_breaker: new": "when they would be nearly everything",
	"dead_letter_format: new":  "what a file gets of them",
	"report_failures: new":     "how those are reported that go nowhere",
	"delivery_report: new":     "the fate of every message",

	"max_versions: new": "some services close the connection on the newest requests",

	"delivery_report_max_elapsed_time: new": "a report changes no fate, and so holds nothing up for ever",

	"sasl.token: secret":      "a bearer token is a credential, and appears in no printed config",
	"sasl.extensions: secret": "their values may be credentials, and appear in no printed config",

	"max_message_bytes: default":     "the topic's own limit is learned; this is a further ceiling",
	"max_message_bytes: is_optional": "the topic's own limit is learned; this is a further ceiling",

	"sasl.aws.credentials.token: secret":                            "it is a credential",
	"sasl.mechanism: option REDPANDA_CLOUD_SERVICE_ACCOUNT missing": "only Redpanda Cloud itself can provide for it",
}

// spec is the part of a field's spec that decides which values a config may have, and
// what they mean.
type spec struct {
	Name             string          `json:"name"`
	Type             string          `json:"type"`
	Kind             string          `json:"kind"`
	Default          json.RawMessage `json:"default"`
	IsAdvanced       bool            `json:"is_advanced"`
	IsDeprecated     bool            `json:"is_deprecated"`
	IsOptional       bool            `json:"is_optional"`
	IsSecret         bool            `json:"is_secret"`
	Interpolated     bool            `json:"interpolated"`
	Bloblang         bool            `json:"bloblang"`
	Options          []string        `json:"options"`
	AnnotatedOptions [][2]string     `json:"annotated_options"`
	Linter           string          `json:"linter"`
	Children         []spec          `json:"children"`
}

func outputSpec(t *testing.T, name string) spec {
	t.Helper()
	view, found := service.GlobalEnvironment().GetOutputConfig(name)
	require.True(t, found, name)
	text, err := view.FormatJSON()
	require.NoError(t, err)
	var component struct {
		Config spec `json:"config"`
	}
	require.NoError(t, json.Unmarshal(text, &component))
	require.NotEmpty(t, component.Config.Children)
	return component.Config
}

func TestEveryFieldOfKafkaFranzIsThere(t *testing.T) {
	t.Parallel()
	theirs, ours := outputSpec(t, "kafka_franz"), outputSpec(t, "kafka_guarded")
	found := map[string]string{}
	compareChildren("", theirs, ours, found)
	for _, difference := range slices.Sorted(maps.Keys(found)) {
		if _, ok := intended[difference]; !ok {
			t.Errorf("%s (%s)", difference, found[difference])
		}
	}
	for difference := range intended {
		if _, ok := found[difference]; !ok {
			t.Errorf("%s: is on the list of intended differences, but is none any more", difference)
		}
	}
}

// kafka_guarded has each lint rule of kafka_franz about several fields, in its own
// words. TestWhatTheLinterRefusesOfFranzConfigsStaysRefused has a config for each rule.
// This test fails if kafka_franz gets a new rule.
func TestTheLintRulesOfKafkaFranzAreKnown(t *testing.T) {
	t.Parallel()
	var said []string
	for _, rule := range regexp.MustCompile(`=> "([^"]*)"`).FindAllStringSubmatch(outputSpec(t, "kafka_franz").Linter, -1) {
		said = append(said, rule[1])
	}
	require.ElementsMatch(t, []string{
		"a partition must be specified when the partitioner is set to manual",
		"a partition cannot be specified unless the partitioner is set to manual",
		"both timestamp and timestamp_ms cannot be specified simultaneously",
		"idempotent_write requires acks to be set to all",
		"idempotent_write requires max_in_flight_requests to be 1, set idempotent_write to false to use higher values",
	}, said)
}

// compareChildren enters the differences between the children of two fields.
func compareChildren(path string, theirs, ours spec, found map[string]string) {
	byName := map[string]spec{}
	for _, child := range ours.Children {
		byName[child.Name] = child
	}
	for _, child := range theirs.Children {
		at := strings.TrimPrefix(path+"."+child.Name, ".")
		other, ok := byName[child.Name]
		if !ok {
			found[at+": missing"] = "a " + child.Type
			continue
		}
		delete(byName, child.Name)
		compareField(at, child, other, found)
		compareChildren(at, child, other, found)
	}
	for name, child := range byName {
		found[strings.TrimPrefix(path+"."+name, ".")+": new"] = "a " + child.Type
	}
}

func compareField(at string, theirs, ours spec, found map[string]string) {
	for _, c := range []struct {
		what         string
		theirs, ours any
	}{
		{"type", theirs.Type, ours.Type},
		{"kind", theirs.Kind, ours.Kind},
		{"default", string(theirs.Default), string(ours.Default)},
		{"is_advanced", theirs.IsAdvanced, ours.IsAdvanced},
		{"is_deprecated", theirs.IsDeprecated, ours.IsDeprecated},
		{"is_optional", theirs.IsOptional, ours.IsOptional},
		{"secret", theirs.IsSecret, ours.IsSecret},
		{"interpolated", theirs.Interpolated, ours.Interpolated},
		{"bloblang", theirs.Bloblang, ours.Bloblang},
	} {
		if c.theirs != c.ours {
			found[at+": "+c.what] = fmt.Sprintf("kafka_franz has %v, kafka_guarded %v", c.theirs, c.ours)
		}
	}
	// Benthos makes a linter out of a field's options. If only our field has options,
	// our linter rejects at once what kafka_franz rejects at its start.
	if len(theirs.options()) == 0 && theirs.Linter != "" && theirs.Linter != ours.Linter {
		found[at+": linter"] = fmt.Sprintf("kafka_franz has %q, kafka_guarded %q", theirs.Linter, ours.Linter)
	}
	for _, option := range theirs.options() {
		if !slices.Contains(ours.options(), option) {
			found[at+": option "+option+" missing"] = "kafka_franz takes it"
		}
	}
	for _, option := range ours.options() {
		if !slices.Contains(theirs.options(), option) {
			found[at+": option "+option+" new"] = "kafka_franz does not take it"
		}
	}
}

// options returns the allowed values of the field, none if any is allowed.
func (s spec) options() []string {
	values := slices.Clone(s.Options)
	for _, option := range s.AnnotatedOptions {
		values = append(values, option[0])
	}
	return values
}
