// Package ledger checks deliveries. A test enters each message that it sends, with
// the outcome that is right for it; each answer that the source gets; and each place
// where it finds the message in the end. Check then compares: every message is
// delivered once, or dead-lettered once, or reported as not delivered.
package ledger

import (
	"strings"
	"sync"
)

// Message is a message, and its right outcome.
type Message struct {
	ID string // unique in the ledger
	// Class is the class of failure with which it must be dead-lettered. It is
	// empty for a message that must be delivered.
	Class string
	// Topic and Letters are its topic, and the place for its dead letter. Empty
	// means any.
	Topic, Letters string
	// Doomed is set for a message whose topic is deleted: it may be gone.
	Doomed bool
}

// Word is an answer to a message that was sent.
type Word int

const (
	// Done says that the message is delivered, or dead-lettered.
	Done Word = iota
	// Open says that it is neither.
	Open
	// Unsure says that it may have been written. It also stands for no answer.
	Unsure
)

// mayBe is in the errors of messages that may be in the topic.
const mayBe = "may have been written"

// classes begin the errors that are the output's own.
var classes = map[string]bool{
	"size_exceeded": true, "invalid_record": true, "unroutable": true, "unknown_topic": true,
	"unauthorized": true, "refused": true, "transient": true,
}

// WordOf reads an error about a single message. An error of the output says that the
// message is open, unless it may have been written. Another error says nothing.
func WordOf(err error) Word {
	if err == nil {
		return Done
	}
	class, _, found := strings.Cut(err.Error(), ":")
	if !found || !classes[class] || strings.Contains(err.Error(), mayBe) {
		return Unsure
	}
	return Open
}

// Fate is the history of a message.
type Fate struct {
	Message
	// How often each answer was given. A message may be sent several times.
	Done, Open, Unsure int
	// Acked is set when its source has an acknowledgement.
	Acked bool
	// How often it was found in a topic, among the dead letters, and in an
	// output that must get no message.
	Delivered, Dead, Caught int
	// Misfiled is set if it was found in a wrong place.
	Misfiled bool
	Text     string // the error of its latest dead letter
}

// Ledger has the fates of all messages. It is safe for concurrent use, and its
// zero value is ready to use.
type Ledger struct {
	mu    sync.Mutex
	fates []*Fate
	index map[string]int // into fates

	strays     []string       // descriptions of records that were not sent
	disordered []string       // descriptions of messages behind a later one
	last       map[string]int // the latest message so far, by lane
}

// Send enters a message that is sent. Enter messages with the same key in the order
// in which they are sent.
func (l *Ledger) Send(m Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.index == nil {
		l.index, l.last = map[string]int{}, map[string]int{}
	}
	if _, ok := l.index[m.ID]; ok {
		panic("two messages have the ID " + m.ID)
	}
	l.index[m.ID] = len(l.fates)
	l.fates = append(l.fates, &Fate{Message: m})
}

// of returns the fate of a message, and nil for a stray.
func (l *Ledger) of(id, where string) *Fate {
	i, ok := l.index[id]
	if !ok {
		l.strays = append(l.strays, where+" has a message that was never sent: "+short(id))
		return nil
	}
	return l.fates[i]
}

// Hear enters an answer to a message.
func (l *Ledger) Hear(id string, w Word) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.of(id, "an answer"); f != nil {
		switch w {
		case Done:
			f.Done++
		case Open:
			f.Open++
		case Unsure:
			f.Unsure++
		}
	}
}

// Acknowledge enters that the source need not send it again.
func (l *Ledger) Acknowledge(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.of(id, "an acknowledgement"); f != nil {
		f.Acked = true
	}
}

// Deliver enters that a message is in a topic. A lane is a set of messages whose
// order must be kept, such as those of a key: enter them in the order of their
// offsets. The order does not matter if the lane is empty.
func (l *Ledger) Deliver(id, topic, lane string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.of(id, "topic "+topic)
	if f == nil {
		return
	}
	f.Delivered++
	f.Misfiled = f.Misfiled || f.Topic != "" && f.Topic != topic
	if lane == "" || f.Delivered > 1 {
		return
	}
	i := l.index[id]
	if before, ok := l.last[lane]; ok && i < before {
		l.disordered = append(l.disordered, short(id)+" is behind "+short(l.fates[before].ID)+" in the log")
	}
	l.last[lane] = max(l.last[lane], i)
}

// Bury enters that a message is among the dead letters at a place, with its error.
func (l *Ledger) Bury(id, place, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.of(id, "a dead letter"); f != nil {
		f.Dead++
		f.Text = text
		f.Misfiled = f.Misfiled || f.Letters != "" && f.Letters != place
	}
}

// Catch enters that a message got to an output that must get none.
func (l *Ledger) Catch(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.of(id, "an output for nothing"); f != nil {
		f.Caught++
	}
}

// Stray enters a description of a record that was not sent, or not like this.
func (l *Ledger) Stray(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strays = append(l.strays, what)
}

// Fates returns the fates of all messages so far, in the order of Send.
func (l *Ledger) Fates() []Fate {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Fate, len(l.fates))
	for i, f := range l.fates {
		all[i] = *f
	}
	return all
}

// short shortens an ID for an error text: some IDs are whole messages.
func short(id string) string {
	const most = 60
	if len(id) <= most {
		return id
	}
	return id[:most/2] + ".." + id[len(id)-most/2:]
}
