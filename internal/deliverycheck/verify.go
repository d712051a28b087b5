package deliverycheck

import (
	"fmt"
	"strings"
)

// Tally counts the messages by fate.
type Tally struct {
	Sent      int
	Delivered int            // at least once
	Dead      map[string]int // dead-lettered at least once, by the class in the letter
	// Undelivered are found nowhere, and were not reported otherwise.
	Undelivered int
	// Lost are found nowhere, and were reported as done.
	Lost int
	// Duplicates is the number of copies beyond the first of each message.
	Duplicates int
	// Both are delivered and dead-lettered.
	Both int
	// WronglyDead were dead-lettered, though they are good.
	WronglyDead int
	// Uncertain are the good ones that may have been written.
	Uncertain int
	// Spared were delivered, but must have been dead-lettered.
	Spared int
	// Misfiled were delivered to a wrong topic, or dead-lettered with a wrong
	// class or in a wrong place.
	Misfiled int
	// Disordered are behind a later message of their sequence.
	Disordered int
	// Strays were never sent.
	Strays int
}

// Tally counts the fates.
func (c *Checker) Tally() Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := Tally{Sent: len(c.fates), Dead: map[string]int{}, Strays: len(c.strays), Disordered: len(c.disordered)}
	for _, f := range c.fates {
		copies := f.Delivered + f.Dead
		t.Delivered += min(f.Delivered, 1)
		t.Duplicates += max(copies-1, 0)
		if f.Dead > 0 {
			t.Dead[f.said()]++
		}
		count := func(n *int, is bool) {
			if is {
				*n++
			}
		}
		count(&t.Undelivered, copies == 0 && f.Done == 0)
		count(&t.Lost, copies == 0 && f.Done > 0 && !f.Doomed)
		count(&t.Both, f.Delivered > 0 && f.Dead > 0)
		count(&t.WronglyDead, f.Dead > 0 && f.Class == "")
		count(&t.Uncertain, f.Dead > 0 && f.Class == "" && f.uncertain())
		count(&t.Spared, f.Delivered > 0 && f.Class != "")
		count(&t.Misfiled, f.misfiled())
	}
	return t
}

// said returns the class of the latest dead letter of the message.
func (f *Fate) said() string {
	class, _, _ := strings.Cut(f.Text, ":")
	return class
}

func (f *Fate) uncertain() bool { return strings.Contains(f.Text, mayBe) }

func (f *Fate) misfiled() bool {
	return f.Misfiled || f.Dead > 0 && f.Class != "" && f.said() != f.Class
}

// Promise is what Check demands. The zero value demands that every message is
// acknowledged, and found as often as it was reported as done.
type Promise struct {
	// Ordered demands that messages of a sequence keep their order.
	Ordered bool
	// Sure demands that each message is in one place, once: no answer was lost,
	// or in doubt.
	Sure bool
	// Uncertain allows a dead letter of a good message, or with a wrong class, if
	// its text says that the message may have been written. A good message may
	// then be in a topic, too.
	Uncertain bool
	// InDoubt reports whether a request with the message got no clear answer. Unless it
	// is nil, only such a message may be uncertain, and no answer is unsure without a
	// reason.
	InDoubt func(id string) bool
	// Again allows this number of further copies of each dead letter.
	Again int
	// Diverted allows that whole batches are dead-lettered with the error of one
	// of their messages, and that the others are in a topic as well.
	Diverted bool
}

// Check returns an error with the first few messages that break a rule:
//
//  1. Every message was acknowledged.
//  2. A bad message is in no topic, and no other is among the dead
//     letters. Each is where it belongs, and its dead letter has its class.
//  3. Every message is found, and acknowledged only after an answer "done".
//  4. The copies in topics and dead letters are as many as the answers "done".
//     Each answer "unsure" may have added one: "may have been written", an error
//     for a whole batch, or a shutdown before the answer. An answer "open" adds
//     none.
//  5. Only a message without an answer gets to the output that must get none.
func (c *Checker) Check(p Promise) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	wrong := append([]string(nil), c.strays...)
	if p.Ordered {
		wrong = append(wrong, c.disordered...)
	}
	for _, f := range c.fates {
		if text := f.wrong(p); text != "" {
			wrong = append(wrong, fmt.Sprintf("%s (%s) %s: delivered %d, dead-lettered %d (%s), caught %d; said to be done %d, open %d, unsure %d; acknowledged %v",
				short(f.ID), f.kind(), text, f.Delivered, f.Dead, f.Text, f.Caught, f.Done, f.Open, f.Unsure, f.Acked))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	const most = 20
	return fmt.Errorf("%d things are wrong with %d messages:\n%s", len(wrong), len(c.fates), strings.Join(wrong[:min(len(wrong), most)], "\n"))
}

func (f *Fate) kind() string {
	if f.Class == "" {
		return "good"
	}
	return f.Class
}

// wrong returns what is wrong with a fate, and nothing if it is as promised.
func (f *Fate) wrong(p Promise) string {
	copies, most := f.Delivered+f.Dead, f.Done+f.Unsure
	wrongly := f.Class == "" && f.Dead > 0
	inDoubt := p.InDoubt == nil || p.InDoubt(f.ID)
	uncertain := p.Uncertain && inDoubt && f.uncertain()
	diverted := p.Diverted && wrongly || wrongly && uncertain && f.Delivered <= 1 && f.Dead <= 1
	if diverted {
		most++
	}
	if f.Class != "" {
		most += p.Again
	}
	switch {
	case !f.Acked:
		return "is not acknowledged"
	case wrongly && !diverted:
		return "is dead-lettered, and good"
	case f.Class != "" && f.Delivered > 0:
		return "is delivered, and should be dead-lettered"
	case f.misfiled() && !p.Diverted && !uncertain:
		return "is in the wrong place, or has the wrong class"
	case f.Caught > f.Unsure:
		return "got to where it must not get"
	case f.Done == 0 && f.Caught == 0:
		return "was acknowledged without a word that it is done with"
	case copies < f.Done && !f.Doomed:
		return "is lost"
	case copies > most:
		return "is there too often"
	case p.Sure && f.Unsure > 0 || p.InDoubt != nil && f.Needless > 0:
		return "has an answer that is unsure"
	}
	return ""
}
