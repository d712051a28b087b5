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
	// wrap puts what belongs around the output around its YAML.
	wrap func(guarded string) string
	// lines are added to the output's own.
	lines []string
	// batches override the default of compositionBatches.
	batches [][]string
	// input is YAML, overriding the default of the plain source.
	input string
	// enough is how many failed writes it takes to see that there is no end
	// to them.
	enough int
	// enoughOf is what the log says of them, other than Benthos' own line.
	enoughOf string
	// Without dead_letter, for transactions of one message and of many, when
	// the input sends again what is nacked, and when it does not.
	one, oneTold, many, manyTold string
	// with is what becomes of transactions of many in a variant, where that is
	// something else.
	with map[string]string
}

// none is for compositions that do not change the output's YAML.
func none(guarded string) string { return guarded }

// oneInFlight has the failures come from one message, where they are few.
var oneInFlight = []string{"max_in_flight: 1"}

// twoBad has two messages to fail, each with good ones in its transaction: of
// three failures, one is of a message that was sent again.
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

// compositionBatches has the good messages, which begin with an m, and the bad
// ones: three too large, and one without a legal topic.
var compositionBatches = [][]string{
	{"m0", big + "1", "m2"}, {"m3", "bad", "m5", big + "6"}, {big + "7"}, {"m8", "m9"},
}

func TestCompositions(t *testing.T) {
	t.Parallel()
	for _, comp := range compositions {
		for _, v := range variants {
			if v.resource && comp.enoughOf != "" {
				continue // its path does not tell it what it is in
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

// want returns what the table says of a row.
func (comp *composition) want(v variant, many, replay, dead bool) string {
	// What the multiplier makes of one message are many.
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
