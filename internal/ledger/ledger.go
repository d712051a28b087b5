// Package ledger accounts for messages: what each of them deserves, what was said
// of it, and where it was found in the end. It is the judge of the tests of whole
// streams, and of the demo: every message is delivered once, or dead-lettered
// once, or still open, and its source was told so.
package ledger

import (
	"strings"
	"sync"
)

// Message is a message, and what should become of it.
type Message struct {
	ID string // unlike any other's in the ledger
	// Class is the class of failure that it should be dead-lettered with.
	// Empty is for a message that should be delivered.
	Class string
	// Topic and Letters are the topic that it belongs in, and the place for
	// its dead letter. Empty is for anywhere.
	Topic, Letters string
	// Doomed is set for a message that may be gone together with its topic.
	Doomed bool
}

// Word is what is said of a message that was sent.
type Word int

const (
	// Done is the word that the message is delivered, or dead-lettered.
	Done Word = iota
	// Open is the word that it is neither.
	Open
	// Unsure is the word that it may be, or that there was no word.
	Unsure
)

// mayBe is in the errors of messages that may be in the topic all the same.
const mayBe = "may have been written"

// classes begin the errors that are the output's own.
var classes = map[string]bool{
	"size_exceeded": true, "invalid_record": true, "unroutable": true, "unknown_topic": true,
	"unauthorized": true, "refused": true, "transient": true,
}

// WordOf reads an error that is about a single message. One of the output's own
// says that the message is open, unless it may have been written. Any other says
// nothing.
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

// Fate is all there is to know of a message.
type Fate struct {
	Message
	// What was said of the times that it was sent, so often each.
	Done, Open, Unsure int
	// Acked is set when its source has an acknowledgement.
	Acked bool
	// Where it was found, so often: in a topic, among the dead letters, and in
	// an output that is only there to catch what must not get to it.
	Delivered, Dead, Caught int
	// Misfiled is set when any of these was the wrong place.
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
	disordered []string       // descriptions of what was overtaken
	last       map[string]int // the latest message of a lane so far
}

// Send enters a message. Those with the same key are to be sent in the order
// that they are entered in.
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
		l.strays = append(l.strays, where+" has what was never sent: "+short(id))
		return nil
	}
	return l.fates[i]
}

// Hear enters what was said of a message.
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

// Deliver enters that a message is in a topic. Messages of a lane must have kept
// their order, and are to be entered in the order of their offsets. An empty lane
// is for none.
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

// Bury enters that a message is among the dead letters at a place, and why.
func (l *Ledger) Bury(id, place, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.of(id, "a dead letter"); f != nil {
		f.Dead++
		f.Text = text
		f.Misfiled = f.Misfiled || f.Letters != "" && f.Letters != place
	}
}

// Catch enters that a message got to where it must not get.
func (l *Ledger) Catch(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.of(id, "an output for nothing"); f != nil {
		f.Caught++
	}
}

// Stray enters that something was found that is no message of the ledger, or not
// as it was sent.
func (l *Ledger) Stray(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strays = append(l.strays, what)
}

// Fates returns the fates of all messages so far, in the order that they were
// sent in.
func (l *Ledger) Fates() []Fate {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Fate, len(l.fates))
	for i, f := range l.fates {
		all[i] = *f
	}
	return all
}

// short is an ID that is fit to be read: some IDs are whole messages.
func short(id string) string {
	const most = 60
	if len(id) <= most {
		return id
	}
	return id[:most/2] + ".." + id[len(id)-most/2:]
}
