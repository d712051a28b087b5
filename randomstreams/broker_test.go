package randomstreams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// newBroker starts the cluster of a run, with the planned faults. Before each produce
// request it calls event.
func newBroker(p *plan, event func(), wire *kafkafake.Wire) (*kafkafake.Cluster, error) {
	c, err := kafkafake.Open(kafkafake.Kafka())
	if err != nil {
		return nil, err
	}
	c.Note(wire)
	err = errors.Join(
		c.CreateTopic("t", int32(p.partitions), map[string]string{"max.message.bytes": strconv.Itoa(topicLimit)}),
		c.CreateTopic("letters", 1, nil))
	c.AddFault(kafkafake.Fault{Count: -1, When: func(kmsg.Request) bool {
		event()
		return false
	}})
	for request, f := range p.faults {
		f.Skip = request - 1
		c.AddFault(f)
	}
	for partition := range int32(p.partitions) { // last, since a broker validates before it appends
		c.AddFault(kafkafake.Fault{Topic: "t", Partitions: []int32{partition}, Code: kerr.InvalidRecord, Count: -1, When: kafkafake.Holds(partition, poisonMark)})
	}
	return c, err
}

// messageOf returns the ID of a record's message. What was merged is never in doubt.
func messageOf(value []byte) string {
	all, err := contents(value)
	if err != nil || len(all) == 0 {
		return ""
	}
	return strconv.Itoa(all[0].ID)
}

// read enters the records of the topics into the checker.
func (w *scenario) read(ctx context.Context) error {
	log, err := w.cluster.Read(ctx, "t")
	if err != nil {
		return err
	}
	for _, r := range log {
		all, err := contents(r.Value)
		if err != nil {
			return err
		}
		sequence := fmt.Sprintf("%d/%s", r.Partition, r.Key)
		if len(w.around()) > 0 {
			sequence = "" // the pipeline has a thread per CPU, so it changes the order
		}
		for _, c := range all {
			w.Deliver(c.unit(), "t", sequence)
		}
	}
	letters, err := w.cluster.Read(ctx, "letters")
	if err != nil {
		return err
	}
	for _, r := range letters {
		why := ""
		for _, h := range r.Headers {
			if h.Key == "kafka_guarded_error" {
				why = string(h.Value)
			}
		}
		if err := w.deadLetter(r.Value, why); err != nil {
			return err
		}
	}
	return nil
}

// deadLetter enters a dead letter. A fallback may get two more kinds of messages: a
// batch as it was before the output's processors, and copies that its own processors
// made of good messages.
func (w *scenario) deadLetter(text []byte, why string) error {
	all, err := contents(text)
	for _, c := range all {
		if w.onOutput.has(filter) && w.dropped(c.ID) || c.Letter > 0 && w.deserved(w.kinds[c.ID]) == "" {
			continue
		}
		units := []string{c.unit()}
		if w.fates == fallback && w.onOutput.has(multiply) {
			// The unprocessed message stands for all units that were made of it.
			units = slices.DeleteFunc(w.units(c.ID), func(u string) bool { return !strings.HasSuffix(u, fmt.Sprint(".", c.Letter)) })
		}
		for _, u := range units {
			w.DeadLetter(u, "", why)
		}
	}
	return err
}
