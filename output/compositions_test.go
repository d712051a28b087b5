package output

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// composition is a way to put the output into a config: a row of the table.
type composition struct {
	name string
	// wrap returns the YAML around the YAML of the output.
	wrap func(guarded string) string
	// lines are further fields of the output.
	lines []string
	// batches override the default of compositionBatches.
	batches [][]string
	// input is YAML. It replaces the plain source.
	input string
	// enough is the number of failed writes after which a stream counts as one that
	// never ends.
	enough int
	// enoughOf is the log line that counts a failed write, if it is not Benthos' own.
	enoughOf string
	// The outcomes without dead_letter, for transactions of one message and of many.
	// The input resends nacked messages, or is only told of them.
	one, oneTold, many, manyTold string
	// with has other outcomes of transactions of many, by variant.
	with map[string]string
}

// none leaves the output's YAML as it is.
func none(guarded string) string { return guarded }

// oneInFlight makes the failures come from one message, if there are few.
var oneInFlight = []string{"max_in_flight: 1"}

// twoBad has two bad messages, each in a transaction with good ones. Of three failures,
// one is then of a message that was sent again.
var twoBad = [][]string{{"m0", big + "1", "m2"}, {"m3", "bad"}, {"m5"}}

// compositions is the table of docs/compositions.md.
var compositions = []composition{
	{
		name: "none", wrap: none, enough: 8,
		one: forEver, oneTold: told, many: duplicates, manyTold: toldAll,
	},
	{
		name: "fallback", enough: 8, with: map[string]string{"as a resource": diverted},
		wrap: func(g string) string { return "fallback:\n  -" + streamtest.Indent(g, 4) + "  - capture: {}\n" },
		one:  exact, oneTold: exact, many: exact, manyTold: exact,
	},
	{
		name: "switch on fallback_error", enough: 8, with: map[string]string{"as a resource": diverted},
		wrap: func(g string) string {
			return "fallback:\n  -" + streamtest.Indent(g, 4) + `
  - switch:
      cases:
        - check: '@fallback_error.has_prefix("size_exceeded:")'
          output: { capture: {} }
        - output: { capture: {} }
`
		},
		one: exact, oneTold: exact, many: exact, manyTold: exact,
	},
	{
		name: "fallback whose last output fails", enough: 3, lines: oneInFlight, batches: twoBad,
		wrap: func(g string) string { return "fallback:\n  -" + streamtest.Indent(g, 4) + "  - refuse: {}\n" },
		one:  forEver, oneTold: told, many: duplicates, manyTold: toldAll,
	},
	{
		name: "switch", enough: 2, enoughOf: "can't be reported without a loss",
		wrap: func(g string) string {
			return "switch:\n  cases:\n    - check: 'false'\n      output: { reject: never }\n    - output:" + streamtest.Indent(g, 8)
		},
		one: forEver, oneTold: forEver, many: forEver, manyTold: forEver,
	},
	{
		name: "retry", enough: 3, lines: oneInFlight, batches: twoBad,
		wrap: func(g string) string {
			return "retry:\n  backoff: { initial_interval: 1ms, max_interval: 10ms }\n  output:" + streamtest.Indent(g, 4)
		},
		one: forEver, oneTold: forEver, many: duplicates, manyTold: duplicates,
	},
	{
		name: "broker fan-out", enough: 3, lines: oneInFlight, batches: twoBad,
		wrap: func(g string) string {
			return "broker:\n  outputs:\n    -" + streamtest.Indent(g, 6) + "    - drop: {}\n"
		},
		one: forEver, oneTold: forEver, many: duplicates, manyTold: duplicates,
	},
	{
		name: "broker fan_out_fail_fast", enough: 8,
		wrap: func(g string) string {
			return "broker:\n  pattern: fan_out_fail_fast\n  outputs:\n    -" + streamtest.Indent(g, 6) + "    - drop: {}\n"
		},
		one: forEver, oneTold: told, many: duplicates, manyTold: toldAll,
	},
	{
		name: "dynamic", enough: 3, lines: oneInFlight, batches: twoBad,
		wrap: func(g string) string { return "dynamic:\n  outputs:\n    only:" + streamtest.Indent(g, 6) },
		one:  forEver, oneTold: forEver, many: duplicates, manyTold: duplicates,
	},
	{
		name: "output-level batching", wrap: none, enough: 8,
		lines: []string{"batching: { count: 3, period: 5ms }"},
		one:   forEver, oneTold: told, many: duplicates, manyTold: toldAll,
	},
	{
		name: "output-level batching in a fallback", enough: 8,
		lines: []string{"batching: { count: 3, period: 5ms }"},
		wrap:  func(g string) string { return "fallback:\n  -" + streamtest.Indent(g, 4) + "  - capture: {}\n" },
		one:   exact, oneTold: exact, many: diverted, manyTold: diverted,
	},
	{
		name: "upstream batching", wrap: none, enough: 8,
		input: "broker:\n  inputs: [ { source: {} } ]\n  batching: { count: 3, period: 5ms }\n",
		one:   mayDuplicate, oneTold: toldAll, many: duplicates, manyTold: toldAll,
	},
	{
		name: "upstream batching and a fallback", enough: 8, with: map[string]string{"as a resource": diverted},
		input: "broker:\n  inputs: [ { source: {} } ]\n  batching: { count: 3, period: 5ms }\n",
		wrap:  func(g string) string { return "fallback:\n  -" + streamtest.Indent(g, 4) + "  - capture: {}\n" },
		one:   exact, oneTold: exact, many: exact, manyTold: exact,
	},
	{
		name: "drop_on error", enough: 8,
		wrap: func(g string) string { return "drop_on:\n  error: true\n  output:" + streamtest.Indent(g, 4) },
		one:  dropped, oneTold: dropped, many: dropped, manyTold: dropped,
	},
}

// compositionBatches has good messages, which begin with an m, and bad ones: three are
// too large, and one has no legal topic.
var compositionBatches = [][]string{
	{"m0", big + "1", "m2"}, {"m3", "bad", "m5", big + "6"}, {big + "7"}, {"m8", "m9"},
}

func TestCompositions(t *testing.T) {
	t.Parallel()
	for _, comp := range compositions {
		for _, v := range variants {
			if v.resource && comp.enoughOf != "" {
				continue // its path does not show that it is in the fallback
			}
			for _, many := range []bool{false, true} {
				for _, replay := range []bool{true, false} {
					for _, dead := range []bool{false, true} {
						name := fmt.Sprintf("%s, %s, replay %v, dead_letter %v", comp.name, transactions(many), replay, dead)
						if v.name != "" {
							name += ", " + v.name
						}
						t.Run(name, func(t *testing.T) {
							t.Parallel()
							got, detail := comp.run(t, v, many, replay, dead)
							want := comp.want(v, many, replay, dead)
							if want == mayDuplicate && got == forEver {
								return
							}
							require.Equal(t, strings.TrimPrefix(want, may), got, detail)
						})
					}
				}
			}
		}
	}
}

func transactions(many bool) string {
	if many {
		return "n-message transactions"
	}
	return "1-message transactions"
}

// want returns the outcome in the table.
func (comp *composition) want(v variant, many, replay, dead bool) string {
	// The multiplier makes many messages of one.
	many = many || v.name == "with a multiplier"
	switch {
	case dead:
		return exact
	case comp.with[v.name] != "" && (many || comp.input != ""):
		return comp.with[v.name]
	case many && replay:
		return comp.many
	case many:
		return comp.manyTold
	case replay:
		return comp.one
	}
	return comp.oneTold
}
