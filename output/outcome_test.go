package output

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// The outcomes for a user of a composition, in the words of docs/compositions.md.
const (
	// exact: each good message is in the topic once, each bad one is in the
	// dead letters once, and the input has an acknowledgement for all.
	exact = "exact"
	// told: the input is told which messages failed. The rest is exact.
	told = "the input is told of exactly the failed"
	// toldAll: the input is told that whole transactions failed, though their good
	// messages are delivered. If it sends them again, they are duplicates.
	toldAll = "the input is told that good messages failed, too"
	// forEver: only the failed messages are sent again, for ever. Later messages may
	// wait for them.
	forEver = "exactly the failed are sent again for ever"
	// duplicates: the same, but good messages are sent again with them.
	duplicates = "duplicates, for ever"
	// mayDuplicate: duplicates or forEver. That depends on which messages the input
	// puts into one batch.
	mayDuplicate = may + duplicates
	may          = "perhaps "
	// diverted: good messages are in the dead letters as well as in the topic.
	diverted = "good messages are dead-lettered, too"
	// dropped: the failed messages are gone, on purpose. The rest is exact.
	dropped = "exactly the failed are dropped"
	// lost: an acknowledged message is nowhere.
	lost = "lost"
)

// variant is a further part of a config: a column of the table.
type variant struct {
	name       string
	processors []string // in the pipeline
	// batches changes the batches of the composition so that they are the original ones
	// once they are processed. Without many, each has one message.
	batches  func(batches [][]string, many bool) [][]string
	resource bool // the output is a resource
}

var variants = []variant{
	{name: "", batches: asTheyAre},
	{name: "with a filter", batches: withDropped, processors: []string{drops}},
	{name: "with a multiplier", batches: inLines, processors: []string{multiplies}},
	{name: "as a resource", batches: asTheyAre, resource: true},
}

func asTheyAre(batches [][]string, many bool) [][]string {
	if many {
		return batches
	}
	var ones [][]string
	for _, b := range batches {
		for _, m := range b {
			ones = append(ones, []string{m})
		}
	}
	return ones
}

// withDropped adds a message for the filter before the others of each batch.
func withDropped(batches [][]string, many bool) [][]string {
	var all [][]string
	for i, b := range batches {
		all = append(all, append([]string{fmt.Sprint("drop", i)}, b...))
	}
	return asTheyAre(all, many)
}

// inLines joins the first two messages of each batch, or all of them, into one.
func inLines(batches [][]string, many bool) [][]string {
	var all [][]string
	for _, b := range batches {
		n := len(b)
		if many {
			n = min(n, 2)
		}
		all = append(all, append([]string{strings.Join(b[:n], "\n")}, b[n:]...))
	}
	return all
}

// messages returns the messages that a content becomes, in any variant.
func messages(content string) []deliverycheck.Message {
	var all []deliverycheck.Message
	for _, line := range strings.Split(content, "\n") {
		switch {
		case strings.HasPrefix(line, "drop"):
		case strings.HasPrefix(line, "m"):
			all = append(all, deliverycheck.Message{ID: line})
		case line == "bad":
			all = append(all, deliverycheck.Message{ID: line, Class: "unroutable"})
		default:
			all = append(all, deliverycheck.Message{ID: line, Class: "size_exceeded"})
		}
	}
	return all
}

// run runs a stream in the composition until it ends, or until it has failed often
// enough. It returns the outcome of its messages.
func (comp *composition) run(t *testing.T, v variant, many, replay, dead bool) (got, detail string) {
	t.Helper()
	c := newCluster(t)
	c.Topic("t", 1, limited)
	batches := comp.batches
	if batches == nil {
		batches = compositionBatches
	}
	lines := append([]string{topicByContent}, comp.lines...)
	guarded := c.alone(append(lines, "retry: { initial_interval: 1ms, max_interval: 10ms }")...)
	if dead {
		guarded = c.withDeadLetter("capture: {}", lines...)
	}
	s := &streamtest.Stream{
		Config:  streamtest.Config{Replay: replay, Input: comp.input, Processors: v.processors},
		Batches: v.batches(batches, many), Enough: comp.enough, EnoughOf: comp.enoughOf,
	}
	if v.resource {
		s.Resources = "output_resources:\n  - label: guarded" + streamtest.Indent(guarded, 4)
		guarded = "resource: guarded"
	}
	ended := s.Run(t, t.Context(), comp.wrap(guarded))
	return outcome(s, c.Values("t"), ended)
}

// outcome returns the outcome of a stream from the values of the topic, and whether the
// stream ended.
func outcome(s *streamtest.Stream, topic map[string]int, ended bool) (got, detail string) {
	l := s.Checker(topic, messages)
	n := l.Tally()
	detail = fmt.Sprintf("%+v; ended %v\n%s", n, ended, short(s.Log.String()))
	var missing, twice, gone, open, letters, toldOf, toldGood int
	for _, f := range l.Fates() {
		switch good := f.Class == ""; {
		case f.Dead > 1:
			return "a message is dead-lettered twice", detail
		case !good && f.Delivered > 0:
			return "a bad message is in the topic", detail
		case good && f.Delivered+f.Dead == 0 && f.Acked:
			return lost, detail
		case good:
			missing += btoi(f.Delivered+f.Dead == 0)
			twice += btoi(f.Delivered > 1)
			toldGood += f.Open + f.Unsure
		default:
			letters += f.Dead
			open += btoi(f.Dead == 0 && !f.Acked)
			gone += btoi(f.Dead == 0 && f.Acked)
			toldOf += f.Open + f.Unsure
		}
	}
	switch {
	case n.Strays > 0:
		return "messages that nobody sent", detail
	case gone > 0 && (open+letters+twice > 0 || n.Both > 0):
		return lost, detail
	case n.Both > 0:
		return diverted, detail
	case twice > 0 && !ended:
		return duplicates, detail
	case twice > 0:
		return "duplicates", detail
	case missing > 0 && ended:
		return lost, detail
	case gone > 0:
		return dropped, detail
	case !ended:
		return forEver, detail
	case toldGood > 0:
		return toldAll, detail
	case toldOf > 0 && letters == 0:
		return told, detail
	case toldOf == 0 && open == 0 && l.Check(deliverycheck.Promise{}) == nil:
		return exact, detail
	}
	return "nothing that has a name", detail
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// short shortens runs of filler in a text.
func short(text string) string {
	for _, filler := range []string{big, strings.Repeat("B", 100)} {
		text = strings.ReplaceAll(text, filler, "B..")
	}
	return text
}
