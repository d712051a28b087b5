package kafkafake

import (
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fault is a fault of requests, or of their answers.
type Fault struct {
	// Keys are the kinds of requests that fail, nil for produce. Nodes are the brokers,
	// nil for all. Partitions are those of a produce request, nil for all. Refuse and
	// Rewrite leave other partitions of the request alone.
	Keys       []kmsg.Key
	Nodes      []int32
	Topic      string
	Partitions []int32
	// When is called after all other conditions hold, nil for always.
	When func(kmsg.Request) bool

	// Skip is the number of such requests that pass first. Count is the number that
	// fail then: 0 means one, -1 all until Over.
	Skip, Count int
	// For is the time for which requests fail, from the first one on, 0 for no end. No
	// request fails before From.
	For  time.Duration
	From time.Time

	Do Action
	// Code is for Refuse and Rewrite.
	Code *kerr.Error
	// Pause is for the actions that take time.
	Pause time.Duration
}

// Action is what a Fault does.
type Action uint8

const (
	// Refuse answers with the code. The broker does not get the request.
	Refuse Action = iota
	// Rewrite passes the request to the broker, and replaces the code in the answer.
	Rewrite
	// DisconnectBefore closes the connection before the broker sees the request.
	DisconnectBefore
	// DisconnectAfter closes the connection after the broker has done the request, and
	// before its answer.
	DisconnectAfter
	// DisconnectWithin closes the connection in the middle of the answer.
	DisconnectWithin
	// Swallow drops the request, and all later ones on the connection, before the
	// broker gets them.
	Swallow
	// SwallowAnswer passes the request to the broker. It drops the answer, and all
	// later requests on the connection.
	SwallowAnswer
	// Delay passes the request to the broker after the pause.
	Delay
	// DelayAnswer passes the answer to the client after the pause.
	DelayAnswer
	// Trickle sends the answer to the client byte by byte, with the pause between
	// two bytes.
	Trickle
)

// Actions returns all actions.
func Actions() []Action {
	return []Action{Refuse, Rewrite, DisconnectBefore, DisconnectAfter, DisconnectWithin, Swallow, SwallowAnswer, Delay, DelayAnswer, Trickle}
}

// String returns the action's name.
func (d Action) String() string {
	return [...]string{"refuse", "rewrite", "disconnect_before", "disconnect_after", "disconnect_within", "swallow", "swallow_answer", "delay", "delay_answer", "trickle"}[d]
}

// FaultHandle refers to a Fault that was added.
type FaultHandle struct {
	Fault
	mu    sync.Mutex
	seen  int
	hits  int
	until time.Time
	over  bool
}

// Hits returns how many requests the fault has applied to.
func (h *FaultHandle) Hits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hits
}

// Over ends the fault.
func (h *FaultHandle) Over() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
}

// strikes reports whether the fault applies to a request to a node.
func (h *FaultHandle) strikes(node int32, req kmsg.Request, names []string) bool {
	keys := h.Keys
	if keys == nil {
		keys = []kmsg.Key{kmsg.Produce}
	}
	if !slices.Contains(keys, kmsg.Key(req.Key())) || h.Nodes != nil && !slices.Contains(h.Nodes, node) || !h.concerns(req, names) || h.When != nil && !h.When(req) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if now.Before(h.From) {
		return false
	}
	h.seen++
	switch {
	case h.over, h.seen <= h.Skip, h.Count >= 0 && h.hits >= max(1, h.Count), !h.until.IsZero() && now.After(h.until):
		return false
	}
	if h.hits++; h.hits == 1 && h.For > 0 {
		h.until = now.Add(h.For)
	}
	return true
}

// concerns reports whether the fault applies to a partition of a produce request. names
// are the names of the request's topics.
func (h *FaultHandle) concerns(req kmsg.Request, names []string) bool {
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

func (h *FaultHandle) covers(topic string, partition int32) bool {
	return (h.Topic == "" || h.Topic == topic) && (h.Partitions == nil || slices.Contains(h.Partitions, partition))
}
