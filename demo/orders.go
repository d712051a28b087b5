package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ledger has, for every message by its ID, where it was found.
type ledger struct {
	sent      int // the IDs are 1 to sent
	poison    float64
	delivered map[int][]string // topics
	dead      map[int][]deadLetter
	strays    int // messages that nobody sent
}

func newLedger(sent int, poison float64) *ledger {
	return &ledger{sent: sent, poison: poison, delivered: map[int][]string{}, dead: map[int][]deadLetter{}}
}

// deliver enters a record that is in the log.
func (l *ledger) deliver(r *kgo.Record) error {
	id, err := l.id(r.Value)
	if err != nil {
		return fmt.Errorf("reading a record of %s: %w", r.Topic, err)
	}
	l.delivered[id] = append(l.delivered[id], r.Topic)
	return nil
}

// deadLetter enters a dead letter. The message may be over a megabyte, and is
// not kept.
func (l *ledger) deadLetter(d deadLetter) error {
	id, err := l.id([]byte(d.Message))
	if err != nil {
		return fmt.Errorf("reading a dead letter in %s: %w", d.file, err)
	}
	d.Message = ""
	l.dead[id] = append(l.dead[id], d)
	return nil
}

func (l *ledger) id(content []byte) (int, error) {
	var order struct{ ID int }
	if err := json.Unmarshal(content, &order); err != nil {
		return 0, err
	}
	if order.ID < 1 || order.ID > l.sent {
		l.strays++
	}
	return order.ID, nil
}

// Tally is how many messages had which fate.
type Tally struct {
	Sent      int
	Delivered int            // at least once
	Dead      map[string]int // dead-lettered at least once, by class
	// Duplicates is how often messages were found beyond the first time.
	Duplicates int
	// Innocents were dead-lettered, though nothing is wrong with them.
	Innocents int
	// Spared were delivered, though they should have been dead-lettered.
	Spared int
	// Misfiled were delivered to another topic, or dead-lettered with another
	// class or in another file, than they should have been.
	Misfiled int
	// Strays were never sent.
	Strays int
	// Lost were found nowhere.
	Lost int
	// texts has the longest error text of each kind of message.
	texts [kinds]string
}

// tally compares where the messages are with where they should be.
func (l *ledger) tally() Tally {
	t := Tally{Sent: l.sent, Dead: map[string]int{}, Strays: l.strays}
	for id := 1; id <= l.sent; id++ {
		topics, letters := l.delivered[id], l.dead[id]
		kind := kindOf(id, l.poison)
		if found := len(topics) + len(letters); found == 0 {
			t.Lost++
		} else {
			t.Duplicates += found - 1
		}
		if len(topics) > 0 {
			t.Delivered++
			if kind != good {
				t.Spared++
			} else if topics[0] != topicOf(id) {
				t.Misfiled++
			}
		}
		if len(letters) > 0 {
			class, _, _ := strings.Cut(letters[0].Error, ":")
			t.Dead[class]++
			if kind == good {
				t.Innocents++
			} else if class != kind.class() || letters[0].file != fileOf(class) {
				t.Misfiled++
			}
			if text := letters[0].Error; len(text) > len(t.texts[kind]) {
				t.texts[kind] = text
			}
		}
	}
	return t
}

// Err returns nil if every message had the fate it should have, and had it
// once.
func (t Tally) Err() error {
	var wrong []string
	for _, c := range []struct {
		n    int
		what string
	}{
		{t.Lost, "lost"},
		{t.Duplicates, "duplicates"},
		{t.Innocents, "innocents dead-lettered"},
		{t.Spared, "poison delivered"},
		{t.Misfiled, "in the wrong place"},
		{t.Strays, "never sent"},
	} {
		if c.n > 0 {
			wrong = append(wrong, fmt.Sprintf("%s %s", comma(c.n), c.what))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New("the accounts do not balance: " + strings.Join(wrong, ", "))
}
