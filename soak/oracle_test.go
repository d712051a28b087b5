//go:build linux || darwin

package soak

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
)

// asItShould enters the right fate for each message of a page but one. For that one it
// calls instead.
func asItShould(a *account, but uint64, instead func(should fate)) {
	a.sent = pageSize
	for n := range uint64(pageSize) {
		should := delivered
		if a.load.class(a.load.kind(n)) != "" {
			should = dead
		}
		if n == but {
			instead(should)
			continue
		}
		fulfil(a, n, should)
	}
}

func fulfil(a *account, n uint64, should fate) {
	a.answer(event{Answered: true, From: n, Count: 1})
	find(a, n, should)
}

func find(a *account, n uint64, should fate) {
	if should == dead {
		a.takeDeadLetters([]letter{{Number: n, Why: a.load.class(a.load.kind(n)) + ": because", Intact: true}})
		return
	}
	a.deliver(n, a.load.message(n, time.Time{}))
}

const (
	aGood   = 10*onePoison + 2
	aPoison = 10*onePoison + poisonAt // tooLarge
)

func TestWhatIsWrongIsFoundAndCounted(t *testing.T) {
	t.Parallel()
	say := func(w deliverycheck.Answer) func(a *account, n uint64) {
		return func(a *account, n uint64) {
			a.answer(event{Answered: true, From: n, Count: 1, Said: map[uint64]deliverycheck.Answer{n: w}})
		}
	}
	for _, test := range []struct {
		name  string
		n     uint64
		do    func(a *account, n uint64)
		count func(total) int
	}{
		{"lost", aGood, func(a *account, n uint64) { say(deliverycheck.Done)(a, n) }, func(t total) int { return t.Lost }},
		{"a dead letter is lost", aPoison, func(a *account, n uint64) { say(deliverycheck.Done)(a, n) }, func(t total) int { return t.Lost }},
		{"not answered", aGood, func(a *account, n uint64) { find(a, n, delivered) }, func(t total) int { return t.Undelivered }},
		{"open and found nowhere", aGood, say(deliverycheck.Open), func(t total) int { return t.Undelivered }},
		{"open and delivered", aGood, func(a *account, n uint64) { say(deliverycheck.Open)(a, n); find(a, n, delivered) }, func(t total) int { return t.Misfiled }},
		{"in doubt", aGood, say(deliverycheck.Unsure), func(t total) int { return t.Doubt }},
		{"in doubt and delivered", aGood, func(a *account, n uint64) { say(deliverycheck.Unsure)(a, n); find(a, n, delivered) }, func(t total) int { return t.DoubtDelivered }},
		{"delivered twice", aGood, func(a *account, n uint64) { fulfil(a, n, delivered); find(a, n, delivered) }, func(t total) int { return t.Duplicated }},
		{"dead-lettered twice", aPoison, func(a *account, n uint64) { fulfil(a, n, dead); find(a, n, dead) }, func(t total) int { return t.Duplicated }},
		{"delivered and dead-lettered", aPoison, func(a *account, n uint64) { fulfil(a, n, dead); a.set(n, delivered) }, func(t total) int { return t.Duplicated }},
		{"a good message is dead-lettered", aGood, func(a *account, n uint64) {
			say(deliverycheck.Done)(a, n)
			a.takeDeadLetters([]letter{{Number: n, Why: "size_exceeded: x", Intact: true}})
		}, func(t total) int { return t.WronglyDead }},
		{"a bad message is delivered", aPoison, func(a *account, n uint64) { fulfil(a, n, delivered) }, func(t total) int { return t.Spared }},
		{"another class", aPoison, func(a *account, n uint64) {
			say(deliverycheck.Done)(a, n)
			a.takeDeadLetters([]letter{{Number: n, Why: "unroutable: x", Intact: true}})
		}, func(t total) int { return t.Misfiled }},
		{"another content", aPoison, func(a *account, n uint64) { fulfil(a, n, dead); a.takeDeadLetters([]letter{{Number: n}}) }, func(t total) int { return t.Strays }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(loads[0])
			asItShould(a, test.n, func(fate) { test.do(a, test.n) })
			got := a.close()
			require.Equal(t, 1, test.count(got), "%+v", got)
			require.Equal(t, pageSize, got.Sent)
		})
	}
}

func TestAPageThatIsAsItShouldBeIsForgotten(t *testing.T) {
	t.Parallel()
	a := newAccount(loads[0])
	asItShould(a, aGood, func(should fate) { fulfil(a, aGood, should) })
	require.Empty(t, a.pages)
	require.Empty(t, a.total.Examples)
	find(a, aGood, delivered)
	require.Equal(t, 1, a.close().Duplicated, "found after that")
}

func TestWhatIsOvertakenIsFound(t *testing.T) {
	t.Parallel()
	a := newAccount(loads[2])
	require.True(t, a.load.ordered())
	find(a, 2+4*keysPlain, delivered)
	find(a, 2, delivered)
	require.Equal(t, 1, a.total.Behind)
}
