package sim

import (
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var flagShrink = flag.String("shrink", "", "with -seed or -plan: make the plan as small as it can be while it still breaks in the same way, and write it to this file")

// tries is how often a plan is run before it counts as one that does not break.
const tries = 8

// breaks reports whether a plan breaks with this kind.
func breaks(t *testing.T, p plan, kind string) bool {
	for range tries {
		if live(t, p).kind == kind {
			return true
		}
	}
	return false
}

// TestShrink makes a plan that breaks smaller.
//
//	go test ./sim -run TestShrink -seed 123 -shrink testdata/name.json -v
func TestShrink(t *testing.T) {
	if *flagShrink == "" {
		t.Skip("for -shrink")
	}
	p := random(*flagSeed)
	if *flagPlan != "" {
		p = load(t, *flagPlan)
	}
	kind := ""
	for range *flagTimes {
		if r := live(t, p); r.broken != "" {
			kind = r.kind
			t.Logf("%s: %s", r.kind, r.broken)
			break
		}
	}
	require.NotEmpty(t, kind, "it does not break")
	for smaller := true; smaller; {
		smaller = false
		for _, q := range simpler(p) {
			if breaks(t, q, kind) {
				p, smaller = q, true
				break
			}
		}
	}
	for range *flagTimes {
		if r := live(t, p); r.broken != "" {
			t.Logf("%s: %s", r.kind, r.broken)
			break
		}
	}
	t.Log(p)
	b, err := json.MarshalIndent(p, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(*flagShrink, append(b, '\n'), 0o600))
}

// simpler returns plans that are one step simpler, largest steps first.
func simpler(p plan) (out []plan) {
	change := func(f func(*plan)) {
		q := p.clone()
		f(&q)
		if q.String() != p.String() && q.messages() > 0 {
			out = append(out, q)
		}
	}
	for i := range p.Writers {
		change(func(q *plan) { q.Writers = slices.Delete(q.Writers, i, i+1) })
	}
	for i := range p.Faults {
		change(func(q *plan) { q.Faults = slices.Delete(q.Faults, i, i+1) })
	}
	for i := range p.Events {
		change(func(q *plan) { q.Events = slices.Delete(q.Events, i, i+1) })
	}
	for w := range p.Writers {
		for i := range p.Writers[w].Writes {
			change(func(q *plan) { q.Writers[w].Writes = slices.Delete(q.Writers[w].Writes, i, i+1) })
		}
	}
	change(func(q *plan) { q.Nodes = 0; q.clampNodes() })
	change(func(q *plan) { q.oneTopic() })
	change(func(q *plan) { q.Expiry = 0 })
	change(func(q *plan) { q.Clock = 0 })
	change(func(q *plan) { q.TLS = false })
	change(func(q *plan) { q.Session = 0 })
	change(func(q *plan) { q.Latency = 0 })
	change(func(q *plan) { q.Jitter = 0 })
	change(func(q *plan) { q.Rate = 0 })
	change(func(q *plan) { q.MaxElapsed = 0 })
	change(func(q *plan) { q.NoRetry = false })
	change(func(q *plan) { q.NotIdempotent, q.LeaderAck = false, false })
	change(func(q *plan) { q.Codec = "" })
	change(func(q *plan) { q.MaxBuffered = 0 })
	change(func(q *plan) { q.UnknownRetries = 0 })
	change(func(q *plan) { q.HandOver = 0 })
	change(func(q *plan) { q.Keyed = false })
	change(func(q *plan) { q.Dialect = "kafka" })
	change(func(q *plan) { q.IgnoreRules = false })
	for i := range p.Configs {
		change(func(q *plan) { q.Configs = slices.Delete(q.Configs, i, i+1) })
	}
	for w := range p.Writers {
		for i := range p.Writers[w].Writes {
			change(func(q *plan) { q.Writers[w].Writes[i].After = 0 })
			change(func(q *plan) { q.Writers[w].Writes[i].Ends = 0 })
			n := len(p.Writers[w].Writes[i].Records)
			if n > 3 {
				change(func(q *plan) { x := &q.Writers[w].Writes[i]; x.Records = x.Records[:n/2] })
				change(func(q *plan) { x := &q.Writers[w].Writes[i]; x.Records = x.Records[n/2:] })
			}
			for r := range n {
				if n <= 8 {
					change(func(q *plan) { x := &q.Writers[w].Writes[i]; x.Records = slices.Delete(x.Records, r, r+1) })
				}
				change(func(q *plan) { q.Writers[w].Writes[i].Records[r].Times /= 2 })
				if n <= 8 && p.Writers[w].Writes[i].Records[r].Shape == good {
					change(func(q *plan) { q.Writers[w].Writes[i].Records[r].Size = 0 })
				}
			}
		}
	}
	return out
}

func (p plan) clone() (q plan) {
	if err := json.Unmarshal([]byte(p.String()), &q); err != nil {
		panic(err)
	}
	return q
}

// clampNodes replaces the numbers of nodes that the plan does not have.
func (p *plan) clampNodes() {
	for i := range p.Faults {
		p.Faults[i].Nodes = nil
	}
	for i := range p.Events {
		p.Events[i].Node = 0
	}
}

// oneTopic sends all records to the first topic.
func (p *plan) oneTopic() {
	p.Topics = 0
	for _, w := range p.Writers {
		for _, x := range w.Writes {
			for i := range x.Records {
				x.Records[i].Topic = 0
			}
		}
	}
}
