package kafkafake

import (
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Trouble is something that goes wrong with requests, or with their answers.
type Trouble struct {
	// Keys are the kinds of requests that it strikes, nil for produce. Nodes
	// are the brokers, nil for all. Partitions are those of a produce request,
	// nil for all: a Refuse or Rewrite leaves the others alone.
	Keys       []kmsg.Key
	Nodes      []int32
	Topic      string
	Partitions []int32
	// When is asked last, nil for always.
	When func(kmsg.Request) bool

	// Skip is how many such requests it lets pass first, Count how many it then
	// strikes: 0 is one, and -1 all until Over.
	Skip, Count int
	// For is how long it strikes, from the first strike on, 0 for ever.
	For time.Duration

	Do Deed
	// Code is for Refuse and Rewrite.
	Code *kerr.Error
	// Pause is for the deeds that take time.
	Pause time.Duration
}

// Deed is what a Trouble does.
type Deed uint8

const (
	// Refuse answers with the code, and does nothing else.
	Refuse Deed = iota
	// Rewrite has the broker do what it is asked, and answers with the code.
	Rewrite
	// CutBefore closes the connection before the broker sees the request.
	CutBefore
	// CutAfter closes it when the broker has done what it is asked, and before
	// it answers.
	CutAfter
	// CutWithin closes it in the middle of the answer.
	CutWithin
	// Swallow has the broker not see the request, and nothing that comes after
	// it on the connection.
	Swallow
	// SwallowAnswer is the same, once the broker has done what it is asked.
	SwallowAnswer
	// Delay has the broker see the request after the pause.
	Delay
	// DelayAnswer has the client see the answer after the pause.
	DelayAnswer
	// Trickle has the client see the answer byte by byte, with the pause
	// between two of them.
	Trickle
)

// Deeds returns all deeds.
func Deeds() []Deed {
	return []Deed{Refuse, Rewrite, CutBefore, CutAfter, CutWithin, Swallow, SwallowAnswer, Delay, DelayAnswer, Trickle}
}

// String returns the deed's name.
func (d Deed) String() string {
	return [...]string{"refuse", "rewrite", "cut_before", "cut_after", "cut_within", "swallow", "swallow_answer", "delay", "delay_answer", "trickle"}[d]
}

// TroubleHandle refers to a Trouble that was added.
type TroubleHandle struct {
	Trouble
	mu    sync.Mutex
	seen  int
	hits  int
	until time.Time
	over  bool
}

// Hits returns how many requests it has struck.
func (h *TroubleHandle) Hits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hits
}

// Over ends the trouble.
func (h *TroubleHandle) Over() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
}

// strikes reports whether the trouble befalls a request to a node.
func (h *TroubleHandle) strikes(node int32, req kmsg.Request, names []string) bool {
	keys := h.Keys
	if keys == nil {
		keys = []kmsg.Key{kmsg.Produce}
	}
	if !slices.Contains(keys, kmsg.Key(req.Key())) || h.Nodes != nil && !slices.Contains(h.Nodes, node) || !h.concerns(req, names) || h.When != nil && !h.When(req) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen++
	now := time.Now()
	switch {
	case h.over, h.seen <= h.Skip, h.Count >= 0 && h.hits >= max(1, h.Count), !h.until.IsZero() && now.After(h.until):
		return false
	}
	if h.hits++; h.hits == 1 && h.For > 0 {
		h.until = now.Add(h.For)
	}
	return true
}

// concerns reports whether a produce request has a partition that the trouble is
// about. Names are those of the request's topics.
func (h *TroubleHandle) concerns(req kmsg.Request, names []string) bool {
	produce, ok := req.(*kmsg.ProduceRequest)
	if !ok {
		return true
	}
	for i, t := range produce.Topics {
		for _, p := range t.Partitions {
			if h.covers(names[i], p.Partition) {
				return true
			}
		}
	}
	return false
}

func (h *TroubleHandle) covers(topic string, partition int32) bool {
	return (h.Topic == "" || h.Topic == topic) && (h.Partitions == nil || slices.Contains(h.Partitions, partition))
}
