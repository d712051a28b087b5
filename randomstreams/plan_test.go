package randomstreams

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// The ways in which the broker fails a produce request.
var (
	unauthorized      = kafkafake.Fault{Code: kerr.TopicAuthorizationFailed}
	notEnoughReplicas = kafkafake.Fault{Code: kerr.NotEnoughReplicas}
	notLeader         = kafkafake.Fault{Code: kerr.NotLeaderForPartition}
	timedOut          = kafkafake.Fault{Do: kafkafake.Rewrite, Code: kerr.RequestTimedOut}
	cutBefore         = kafkafake.Fault{Do: kafkafake.DisconnectBefore}
	cutAfter          = kafkafake.Fault{Do: kafkafake.DisconnectAfter}
)

// fates says which component gets the messages that fail for good.
type fates int

const (
	deadLetter fates = iota // the output's dead_letter
	fallback                // a fallback around the output
	byInput                 // the input sends them again until they are accepted
)

func (f fates) String() string { return [...]string{"dead_letter", "fallback", "input"}[f] }

// plan is everything that a seed decides.
type plan struct {
	composition composition
	child       child
	spy         bool // an output around ours notes each error
	budget      bool // max_elapsed_time is short
	replay      bool // the input resends messages that are nacked
	rules       bool // the output reads topic configs
	inFlight    int
	partitions  int
	kinds       []kind                  // by message
	pads        []int                   // by message
	batches     [][]int                 // of messages
	faults      map[int]kafkafake.Fault // by produce request
	childFails  int                     // number of calls of the child that fail, for a part or for all, or hang
	stops       []stop
	fates       fates
	breaker     bool // dead_letter_breaker opens soon, for a short time
	perMessage  bool // the output tells the spy of each message what became of it
	// Processors in the pipeline, on the output, and on the child.
	inPipeline, onOutput, onChild processing
}

// stop is a shutdown.
type stop struct {
	events int // number of events until then: reads, produce requests, calls of the child
	force  bool
	child  bool // at the first call of the child instead, which fails from then on
}

// newPlan makes a plan for about n messages.
func newPlan(rng *rand.Rand, n int) *plan {
	p := &plan{
		composition: compositions[rng.IntN(len(compositions))],
		child:       children[rng.IntN(len(children))],
		spy:         rng.IntN(2) == 0,
		replay:      rng.IntN(2) == 0,
		rules:       rng.IntN(2) == 0,
		inFlight:    []int{1, 1, 3, 10}[rng.IntN(4)],
		partitions:  1 + rng.IntN(3),
		faults:      map[int]kafkafake.Fault{},
	}
	p.fill(rng, n)
	p.drawFaults(rng)
	budget := rng.IntN(3) == 0
	p.fates = []fates{deadLetter, deadLetter, deadLetter, fallback, byInput}[rng.IntN(5)]
	if rng.IntN(2) == 0 {
		*[]*processing{&p.inPipeline, &p.inPipeline, &p.onOutput}[rng.IntN(3)] = newProcessing(rng)
	}
	if rng.IntN(2) == 0 {
		p.onChild = newProcessing(rng)
	}
	switch p.fates {
	case deadLetter: // anything may be around the output
	case fallback:
		// At a shutdown, messages that wait go to the fallback, too. And if the last
		// output of a fallback fails, Benthos sends the whole batch again. So there are
		// neither shutdowns nor failures here.
		p.composition = fallbacks[rng.IntN(len(fallbacks))]
		p.spy, p.stops, p.childFails = false, nil, 0
		// Without OnConfigParse the output does not see its own processors. It may then
		// list failed messages wrongly.
		if !p.composition.diverts {
			p.onOutput = nil
		}
		// In these compositions whole batches may get there, and messages in doubt.
		p.onChild = slices.DeleteFunc(p.onChild, func(one processor) bool { return one.name == filter.name })
		if p.child.inDeadLetter {
			p.child = children[0]
		}
	case byInput:
		// An illegal topic is illegal for a while, and then legal. All other messages
		// are good.
		for i, k := range p.kinds {
			if k != illegal {
				p.kinds[i], p.pads[i] = good, min(p.pads[i], 100)
			}
		}
		p.onChild, p.spy, p.childFails = nil, true, 0
		if p.composition.drops {
			p.composition = compositions[0]
		}
		for i := range p.stops {
			p.stops[i].child = false
		}
	}
	if p.around().batches() || p.composition.named && p.around().moves() {
		// If processors make several batches of one, or move messages below a switch,
		// Benthos turns an error for a batch into one that lists other messages. So
		// nothing may be reported as an error here.
		if p.fates != deadLetter {
			p.inPipeline, p.onOutput = nil, nil
		} else {
			budget, p.stops = false, nil
			for at, t := range p.faults {
				if t.Do != kafkafake.Refuse {
					delete(p.faults, at)
				}
			}
		}
	}
	if p.around().has(merge) {
		// A merged message has no ID and no kind, which other processors would need.
		p.onChild = slices.DeleteFunc(p.onChild, func(one processor) bool { return one.name != split.name })
		for i, k := range p.kinds {
			if k != oversize {
				p.pads[i] = min(p.pads[i], 100)
			}
		}
	}
	// The input can't count messages that a component below it sends again.
	p.spy = p.spy || p.doubtful() && p.fates != fallback
	// A forced shutdown waits for messages in flight in two cases: below a spy, since
	// its OwnedOutput knows no other shutdown, and for a resource, without an end. So
	// the child must come back there.
	resource := p.child.name == "resource" || p.composition.resource
	if p.child.name == "resource" && p.composition.resource {
		p.stops = nil // one is closed while the other still needs it
	}
	if p.replay && p.composition.input != "" {
		// A stream that misses its end is forced to stop. An input that batches loses
		// messages then.
		p.stops = nil
	}
	for i, s := range p.stops {
		p.stops[i].child = s.child && !p.spy && !resource && !p.composition.retries
		p.stops[i].force = s.force && !(p.spy && resource) && !p.composition.retries
	}
	// Only the input may get what the output gives up, and no fallback.
	p.budget = p.spy && p.composition.name != "fallback" && budget
	p.breaker = p.fates == deadLetter && rng.IntN(3) == 0
	// Elsewhere an error for a whole batch is right. What moves messages, or takes errors
	// apart by position, would lose some.
	p.perMessage = p.spy && len(p.around()) == 0 && p.composition.told && rng.IntN(2) == 0
	return p
}

// fill makes the messages.
func (p *plan) fill(rng *rand.Rand, n int) {
	bad := []float64{0, 0.01, 0.05, 0.3}[rng.IntN(4)]
	most := []int{1, 5, 50, 200}[rng.IntN(4)] // messages of a batch
	if most < 50 {
		n /= 4 // it takes longer than the others
	}
	for len(p.kinds) < n {
		var batch []int
		for range 1 + rng.IntN(most) {
			k := good
			if rng.Float64() < bad {
				k = kind(1 + rng.IntN(3))
			}
			pad := rng.IntN(100)
			switch {
			case k == oversize:
				pad = topicLimit + rng.IntN(5000)
			case rng.IntN(100) == 0:
				pad = rng.IntN(topicLimit / 2)
			}
			batch = append(batch, len(p.kinds))
			p.kinds, p.pads = append(p.kinds, k), append(p.pads, pad)
		}
		p.batches = append(p.batches, batch)
	}
}

// drawFaults draws the faults.
func (p *plan) drawFaults(rng *rand.Rand) {
	requests := len(p.batches)
	if rng.IntN(3) == 0 { // one is enough: kgo waits up to 5 s for new metadata
		p.faults[1+rng.IntN(requests)] = []kafkafake.Fault{notEnoughReplicas, notLeader, timedOut}[rng.IntN(3)]
	}
	for range rng.IntN(4) {
		at := 1 + rng.IntN(requests)
		switch rng.IntN(3) {
		case 0:
			p.faults[at] = cutBefore
		case 1:
			p.faults[at] = cutAfter
		default:
			for i := range 1 + rng.IntN(4) {
				p.faults[at+i] = unauthorized
			}
		}
	}
	p.childFails = rng.IntN(10)
	if rng.IntN(2) == 0 {
		for range 1 + rng.IntN(3) {
			// An input that batches loses messages at a forced stop, see package
			// upstream.
			force := rng.IntN(3) > 0 && p.composition.input == ""
			child := force && p.child.fails && rng.IntN(2) == 0
			p.stops = append(p.stops, stop{1 + rng.IntN(2*requests), force, child})
		}
	}
}

// newProcessing draws one or two processors.
func newProcessing(rng *rand.Rand) (p processing) {
	a, b := rng.IntN(len(processors)), rng.IntN(len(processors))
	p = processing{processors[min(a, b)]}
	if a != b {
		p = append(p, processors[max(a, b)])
	}
	return p
}

func (p *plan) String() string {
	return fmt.Sprintf("%s, %s takes what fails, child %s, processors [%s] in the pipeline, [%s] on the output, [%s] on the child, breaker %v, per message %v, spy %v, budget %v, replay %v, rules %v, max_in_flight %d, %d partitions, %d messages in %d batches, faults %v, %d failures of the child, stops %v",
		p.composition.name, p.fates, p.child.name, p.inPipeline, p.onOutput, p.onChild, p.breaker, p.perMessage, p.spy, p.budget, p.replay, p.rules, p.inFlight, p.partitions, len(p.kinds), len(p.batches), p.faults, p.childFails, p.stops)
}

// around returns the processors before Kafka.
func (p *plan) around() processing { return slices.Concat(p.inPipeline, p.onOutput) }

// deserved returns the failure class that a message of the kind must have.
func (p *plan) deserved(k kind) string {
	if p.fates == byInput {
		return ""
	}
	return k.class()
}

// sure reports whether no message can be in doubt: no shutdown, no message given up,
// and no produce request with an unknown outcome.
func (p *plan) sure() bool {
	return len(p.stops) == 0 && !p.doubtful() && !p.budget && p.fates != byInput
}

// doubtful reports whether the outcome of a request may be unknown.
func (p *plan) doubtful() bool {
	for _, f := range p.faults {
		if f.Do != kafkafake.Refuse {
			return true
		}
	}
	return false
}

// exactly reports whether the spy, or else the input, gets an error for the right
// message: no processor is in between.
func (p *plan) exactly() bool {
	return len(p.onOutput) == 0 && (p.spy || len(p.inPipeline) == 0)
}
