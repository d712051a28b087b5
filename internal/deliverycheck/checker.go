// Package deliverycheck checks deliveries. A test enters each message that it sends, with
// its right outcome. Then it enters each answer to the source, and each topic or dead
// letter in which it finds the message. Check compares: every message must be delivered
// once, or dead-lettered once, or reported as not delivered.
package deliverycheck

import (
	"strings"
	"sync"
)

// Message is a message, and its right outcome.
type Message struct {
	ID string // unique in the checker
	// Class is the class of failure with which it must be dead-lettered. It is
	// empty for a message that must be delivered.
	Class string
	// Topic and Letters are its topic, and the place for its dead letter. Empty
	// means any.
	Topic, Letters string
	// Doomed is set for a message whose topic is deleted: it may be gone.
	Doomed bool
}

// Answer is an answer to a message that was sent.
type Answer int

const (
	// Done says that the message is delivered, or dead-lettered.
	Done Answer = iota
	// Open says that it is neither.
	Open
	// Unsure says that it may have been written. It also stands for no answer.
	Unsure
	// Untold is an error that does not tell what became of the message: it is for the
	// whole batch, or is that of another component.
	Untold
)

// mayBe is in the errors of messages that may be in the topic.
const mayBe = "may have been written"

// classes begin the errors that are the output's own.
var classes = map[string]bool{
	"size_exceeded": true, "invalid_record": true, "unroutable": true, "unknown_topic": true,
	"unauthorized": true, "refused": true, "transient": true,
}

// AnswerOf reads an error about a single message. After an error of the output the
// message is open, or unsure if it may have been written. Any other error tells nothing.
func AnswerOf(err error) Answer {
	if err == nil {
		return Done
	}
	class, _, found := strings.Cut(err.Error(), ":")
	switch {
	case !found || !classes[class]:
		return Untold
	case strings.Contains(err.Error(), mayBe):
		return Unsure
	}
	return Open
}

// Fate is the history of a message.
type Fate struct {
	Message
	// How often each answer was given. A message may be sent several times. Untold counts
	// as unsure.
	Done, Open, Unsure int
	// Needless is how many of the unsure answers had no reason.
	Needless int
	// Acked is set when its source has an acknowledgement.
	Acked bool
	// How often it was found in a topic, among the dead letters, and in an
	// output that must get no message.
	Delivered, Dead, Caught int
	// Misfiled is set if it was found in a wrong place.
	Misfiled bool
	Text     string // the error of its latest dead letter
}

// Checker has the fates of all messages. It is safe for concurrent use, and its
// zero value is ready to use.
type Checker struct {
	mu    sync.Mutex
	fates []*Fate
	index map[string]int // into fates

	strays     []string       // descriptions of records that were not sent
	disordered []string       // descriptions of messages behind a later one
	last       map[string]int // the latest message so far, by sequence
}

// Send enters a message that is sent. Enter messages with the same key in the order
// in which they are sent.
func (c *Checker) Send(m Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index == nil {
		c.index, c.last = map[string]int{}, map[string]int{}
	}
	if _, ok := c.index[m.ID]; ok {
		panic("two messages have the ID " + m.ID)
	}
	c.index[m.ID] = len(c.fates)
	c.fates = append(c.fates, &Fate{Message: m})
}

// of returns the fate of a message, and nil for a stray.
func (c *Checker) of(id, where string) *Fate {
	i, ok := c.index[id]
	if !ok {
		c.strays = append(c.strays, where+" has a message that was never sent: "+short(id))
		return nil
	}
	return c.fates[i]
}

// Hear enters an answer to a message. Nothing is a reason for it to be unsure.
func (c *Checker) Hear(id string, w Answer) { c.HearOf(id, w, false) }

// HearOf enters an answer to a message. Reason is set if it may be unsure or
// untold.
func (c *Checker) HearOf(id string, w Answer, reason bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.of(id, "an answer")
	switch {
	case f == nil:
	case w == Done:
		f.Done++
	case w == Open:
		f.Open++
	default:
		f.Unsure++
		if !reason {
			f.Needless++
		}
	}
}

// HearAll enters the answers to a batch. A message that is in doubt is a reason to be
// unsure of it. Untold is set if the batch may have an error that tells nothing of it.
func (c *Checker) HearAll(ids []string, said []Answer, inDoubt []bool, untold bool) {
	for i, id := range ids {
		c.HearOf(id, said[i], said[i] == Untold && untold || said[i] == Unsure && inDoubt[i])
	}
}

// Acknowledge enters that the source need not send it again.
func (c *Checker) Acknowledge(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.of(id, "an acknowledgement"); f != nil {
		f.Acked = true
	}
}

// Deliver enters that a message is in a topic. Messages of one sequence, such as a
// key, must keep their order: enter them by offset. It is empty for a message whose
// order does not matter.
func (c *Checker) Deliver(id, topic, sequence string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.of(id, "topic "+topic)
	if f == nil {
		return
	}
	f.Delivered++
	f.Misfiled = f.Misfiled || f.Topic != "" && f.Topic != topic
	if sequence == "" || f.Delivered > 1 {
		return
	}
	i := c.index[id]
	if before, ok := c.last[sequence]; ok && i < before {
		c.disordered = append(c.disordered, short(id)+" is behind "+short(c.fates[before].ID)+" in the log")
	}
	c.last[sequence] = max(c.last[sequence], i)
}

// DeadLetter enters that a message is among the dead letters at a place, with its error.
func (c *Checker) DeadLetter(id, place, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.of(id, "a dead letter"); f != nil {
		f.Dead++
		f.Text = text
		f.Misfiled = f.Misfiled || f.Letters != "" && f.Letters != place
	}
}

// Catch enters that a message got to an output that must get none.
func (c *Checker) Catch(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.of(id, "an output for nothing"); f != nil {
		f.Caught++
	}
}

// Stray enters a description of a record that was not sent, or not like this.
func (c *Checker) Stray(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strays = append(c.strays, what)
}

// Fates returns the fates of all messages so far, in the order of Send.
func (c *Checker) Fates() []Fate {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Fate, len(c.fates))
	for i, f := range c.fates {
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
