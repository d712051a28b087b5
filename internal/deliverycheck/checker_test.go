package deliverycheck

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// asItShould has a good message delivered and a bad one dead-lettered, and both
// acknowledged.
func asItShould() *Checker {
	l := &Checker{}
	l.Send(Message{ID: "good", Topic: "t"})
	l.Send(Message{ID: "bad", Class: "size_exceeded", Letters: "file"})
	for _, id := range []string{"good", "bad"} {
		l.Hear(id, Done)
		l.Acknowledge(id)
	}
	l.Deliver("good", "t", "sequence")
	l.DeadLetter("bad", "file", "size_exceeded: because")
	return l
}

func TestWhatIsAsItShouldBePasses(t *testing.T) {
	t.Parallel()
	l := asItShould()
	require.NoError(t, l.Check(Promise{Ordered: true, Sure: true}))
	require.Equal(t, Tally{Sent: 2, Delivered: 1, Dead: map[string]int{"size_exceeded": 1}}, l.Tally())
}

func TestWhatIsWrongIsFoundAndCounted(t *testing.T) {
	t.Parallel()
	sent := func(l *Checker, id, class string, words ...Answer) {
		l.Send(Message{ID: id, Class: class, Topic: "t", Letters: "file"})
		for _, w := range words {
			l.Hear(id, w)
		}
		l.Acknowledge(id)
	}
	for _, test := range []struct {
		name  string
		do    func(*Checker)
		want  string // in the error
		count func(Tally) int
	}{
		{"lost", func(l *Checker) { sent(l, "m", "", Done) }, "m (good) is lost", func(t Tally) int { return t.Lost }},
		{"a dead letter is lost", func(l *Checker) { sent(l, "m", "unroutable", Done) }, "m (unroutable) is lost", func(t Tally) int { return t.Lost }},
		{"not acknowledged", func(l *Checker) { l.Send(Message{ID: "m"}); l.Hear("m", Open) }, "is not acknowledged", func(t Tally) int { return t.Undelivered }},
		{"acknowledged without a word", func(l *Checker) { sent(l, "m", "", Open) }, "without a word", func(t Tally) int { return t.Undelivered }},
		{"delivered twice", func(l *Checker) { sent(l, "m", "", Done); l.Deliver("m", "t", ""); l.Deliver("m", "t", "") }, "too often", func(t Tally) int { return t.Duplicates }},
		{"delivered though said to be open", func(l *Checker) { sent(l, "m", "", Open, Done); l.Deliver("m", "t", ""); l.Deliver("m", "t", "") }, "too often", func(t Tally) int { return t.Duplicates }},
		{"dead-lettered twice", func(l *Checker) {
			sent(l, "m", "refused", Done)
			l.DeadLetter("m", "file", "refused: x")
			l.DeadLetter("m", "file", "refused: x")
		}, "too often", func(t Tally) int { return t.Duplicates }},
		{"delivered and dead-lettered", func(l *Checker) {
			sent(l, "m", "", Done)
			l.Deliver("m", "t", "")
			l.DeadLetter("m", "file", "transient: may have been written")
		}, "and good", func(t Tally) int { return t.Both }},
		{"a good message is dead-lettered", func(l *Checker) { sent(l, "m", "", Done); l.DeadLetter("m", "file", "refused: x") }, "and good", func(t Tally) int { return t.WronglyDead }},
		{"a bad message is delivered", func(l *Checker) { sent(l, "m", "refused", Done); l.Deliver("m", "t", "") }, "should be dead-lettered", func(t Tally) int { return t.Spared }},
		{"another topic", func(l *Checker) { sent(l, "m", "", Done); l.Deliver("m", "u", "") }, "wrong place", func(t Tally) int { return t.Misfiled }},
		{"another class", func(l *Checker) { sent(l, "m", "refused", Done); l.DeadLetter("m", "file", "unroutable: x") }, "wrong class", func(t Tally) int { return t.Misfiled }},
		{"another file", func(l *Checker) { sent(l, "m", "refused", Done); l.DeadLetter("m", "other", "refused: x") }, "wrong place", func(t Tally) int { return t.Misfiled }},
		{"caught", func(l *Checker) { sent(l, "m", "", Done); l.Deliver("m", "t", ""); l.Catch("m") }, "must not get", func(t Tally) int { return t.Delivered - 1 }},
		{"never sent", func(l *Checker) { l.Deliver("m", "t", "") }, "topic t has a message that was never sent: m", func(t Tally) int { return t.Strays }},
		{"overtaken", func(l *Checker) {
			sent(l, "m", "", Done)
			sent(l, "n", "", Done)
			l.Deliver("n", "t", "sequence")
			l.Deliver("m", "t", "sequence")
		}, "m is behind n", func(t Tally) int { return t.Disordered }},
		{"unsure", func(l *Checker) { sent(l, "m", "", Unsure, Done); l.Deliver("m", "t", "") }, "unsure", func(t Tally) int { return t.Delivered - 1 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := asItShould()
			test.do(l)
			require.ErrorContains(t, l.Check(Promise{Ordered: true, Sure: true}), test.want)
			require.Equal(t, 1, test.count(l.Tally()))
		})
	}
}

func TestWhatAPromiseAllows(t *testing.T) {
	t.Parallel()
	l := asItShould()
	l.Send(Message{ID: "m"})
	l.Hear("m", Done)
	l.Acknowledge("m")
	l.Deliver("m", "t", "")
	l.DeadLetter("m", "", "transient: topic t: may have been written: x")
	require.Error(t, l.Check(Promise{}))
	require.NoError(t, l.Check(Promise{Uncertain: true}))
	require.NoError(t, l.Check(Promise{Diverted: true}))
	require.Equal(t, 1, l.Tally().Uncertain)

	never := func(string) bool { return false }
	require.ErrorContains(t, l.Check(Promise{Uncertain: true, InDoubt: never}), "m (good) is dead-lettered, and good")
	require.NoError(t, l.Check(Promise{Uncertain: true, InDoubt: func(id string) bool { return id == "m" }}))

	l.DeadLetter("bad", "file", "size_exceeded: because")
	require.Error(t, l.Check(Promise{Uncertain: true}))
	require.NoError(t, l.Check(Promise{Uncertain: true, Again: 1}))

	l.Send(Message{ID: "gone", Doomed: true})
	l.Hear("gone", Done)
	l.Acknowledge("gone")
	require.NoError(t, l.Check(Promise{Uncertain: true, Again: 1}))
}

func TestWordOf(t *testing.T) {
	t.Parallel()
	require.Equal(t, Done, AnswerOf(nil))
	require.Equal(t, Open, AnswerOf(errors.New("size_exceeded: topic t: too large")))
	require.Equal(t, Unsure, AnswerOf(errors.New("transient: topic t: may have been written: x")))
	require.Equal(t, Untold, AnswerOf(errors.New("context canceled")))
	require.Equal(t, Untold, AnswerOf(errors.New("other: x")))
}

func TestAnUnsureAnswerHasAReason(t *testing.T) {
	t.Parallel()
	never := func(string) bool { return false }
	for _, test := range []struct {
		said            Answer
		inDoubt, untold bool
		wrong           bool
	}{
		{said: Done},
		{said: Open},
		{said: Unsure, inDoubt: true},
		{said: Unsure, wrong: true},
		{said: Unsure, untold: true, wrong: true}, // it has an answer of its own
		{said: Untold, untold: true},
		{said: Untold, wrong: true},
		{said: Untold, inDoubt: true, wrong: true},
	} {
		l := asItShould()
		l.HearAll([]string{"good"}, []Answer{test.said}, []bool{test.inDoubt}, test.untold)
		if test.said == Done {
			l.Deliver("good", "t", "")
		}
		require.NoError(t, l.Check(Promise{}))
		if err := l.Check(Promise{InDoubt: never}); test.wrong {
			require.ErrorContains(t, err, "good (good) has an answer that is unsure", "%+v", test)
		} else {
			require.NoError(t, err, "%+v", test)
		}
	}
}
