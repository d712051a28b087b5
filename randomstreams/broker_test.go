package randomstreams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// broker is the cluster of a run, with the planned faults.
type broker struct {
	cluster *kfake.Cluster
	faults  map[int]fault // by produce request
	current fault         // the fault of the current request
	cut     atomic.Bool   // whether to cut the connection before the next answer
}

// newBroker starts the broker. Before each produce request it calls event.
func newBroker(p *plan, event func()) (*broker, error) {
	b := &broker{faults: p.faults}
	var err error
	b.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		return listener{l, &b.cut}, err
	}))
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		b.cluster.CreateTopic("t", int32(p.partitions), map[string]string{"max.message.bytes": strconv.Itoa(topicLimit)}),
		b.cluster.CreateTopic("letters", 1, nil))
	b.injectFaults(p.partitions, event)
	return b, err
}

// injectFaults makes the broker fail as planned, and reject records with the mark.
func (b *broker) injectFaults(partitions int, event func()) {
	requests := 0
	b.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		event()
		requests++
		b.current = b.faults[requests]
		switch b.current {
		case cutBefore:
			return nil, errors.New("cut"), true
		case cutAfter:
			b.cut.Store(true)
		default: // the faults below answer
		}
		return nil, nil, false
	})
	// The first fault that matches is the answer: a broker validates before it appends.
	for partition := range int32(partitions) {
		b.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Partitions: []int32{partition}, Err: kerr.InvalidRecord, Count: -1,
			When: func(req kmsg.Request) bool {
				for _, t := range req.(*kmsg.ProduceRequest).Topics {
					for _, p := range t.Partitions {
						if p.Partition == partition && strings.Contains(string(p.Records), poisonMark) {
							return true
						}
					}
				}
				return false
			},
		})
	}
	for t, err := range map[fault]*kerr.Error{
		unauthorized: kerr.TopicAuthorizationFailed, notEnoughReplicas: kerr.NotEnoughReplicas,
		notLeader: kerr.NotLeaderForPartition, timedOut: kerr.RequestTimedOut,
	} {
		b.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: -1,
			When: func(kmsg.Request) bool { return b.current == t },
		})
	}
}

// listener makes connections that can be cut before the broker's answer gets through.
type listener struct {
	net.Listener
	cut *atomic.Bool
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return conn{c, l.cut}, nil
}

type conn struct {
	net.Conn
	cut *atomic.Bool
}

func (c conn) Write(p []byte) (int, error) {
	if c.cut.CompareAndSwap(true, false) {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// read enters the records of the topics into the checker.
func (w *scenario) read(ctx context.Context) error {
	log, err := kafkafake.Read(ctx, w.cluster, "t")
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
	letters, err := kafkafake.Read(ctx, w.cluster, "letters")
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
