package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
)

// orders knows the outcome of each order of config/example.yaml, by its ID.
type orders struct {
	deliverycheck.Checker
}

// newOrders enters the orders from 1 to sent as acknowledged: the stream ended without
// an error.
func newOrders(sent int, poison float64) *orders {
	l := &orders{}
	for n := 1; n <= sent; n++ {
		id, class := strconv.Itoa(n), kindOf(n, poison).class()
		m := deliverycheck.Message{ID: id, Class: class, Topic: topicOf(n)}
		if class != "" {
			m.Letters = fileOf(class)
		}
		l.Send(m)
		l.Hear(id, deliverycheck.Done)
		l.Acknowledge(id)
	}
	return l
}

// deliver enters a record of the log.
func (l *orders) deliver(r *kgo.Record) error {
	id, err := idOf(r.Value)
	if err != nil {
		return fmt.Errorf("reading a record of %s: %w", r.Topic, err)
	}
	l.Deliver(id, r.Topic, "")
	return nil
}

// deadLetter enters a dead letter. It does not keep the message, which may be over a
// megabyte.
func (l *orders) deadLetter(d deadLetter) error {
	id, err := idOf([]byte(d.Message))
	if err != nil {
		return fmt.Errorf("reading a dead letter in %s: %w", d.file, err)
	}
	l.DeadLetter(id, d.file, d.Error)
	return nil
}

func idOf(content []byte) (string, error) {
	var order struct{ ID int }
	err := json.Unmarshal(content, &order)
	return strconv.Itoa(order.ID), err
}

// Tally counts the messages by outcome.
type Tally struct {
	deliverycheck.Tally
	// texts has the longest error text of each kind of message.
	texts [kinds]string
}

// tally compares the places of the messages with their right places.
func (l *orders) tally(poison float64) Tally {
	t := Tally{Tally: l.Tally()}
	for i, f := range l.Fates() {
		if kind := kindOf(i+1, poison); len(f.Text) > len(t.texts[kind]) {
			t.texts[kind] = f.Text
		}
	}
	return t
}

// Err returns nil if every message had its right outcome, once.
func (t Tally) Err() error {
	var wrong []string
	for _, c := range []struct {
		n    int
		what string
	}{
		{t.Lost, "lost"},
		{t.Duplicates, "duplicates"},
		{t.WronglyDead, "good messages dead-lettered"},
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
