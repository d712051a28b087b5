package model

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// fate is what there is to know of one message.
type fate struct {
	kind  kind
	acked bool // the input has an acknowledgement
	// What was said of the times that it was sent: so often that it is done
	// with, so often nothing that could be relied on.
	done, unsure int
	// Where it is, in the end: so often in the topic, in the dead letters,
	// and in the output that is only there to catch what must not go on.
	topic, dead, caught int
	class               string // of its dead letter
}

// ledger has the fates of all messages of a run.
type ledger struct {
	mu    sync.Mutex
	fates []fate
}

// word is what is said of a message that was sent.
type word int

const (
	// saysDone: it is delivered, or dead-lettered.
	saysDone word = iota
	// saysOpen: it is neither, for sure.
	saysOpen
	// saysUnsure: it may be, or there is no word of it.
	saysUnsure
)

// hear enters what was said of a message.
func (l *ledger) hear(id int, w word) {
	switch w {
	case saysOpen: // the source sends it again
	case saysDone:
		l.fates[id].done++
	case saysUnsure:
		l.fates[id].unsure++
	}
}

// words reads the answer to a batch of n messages, which was indexed before.
//
// An error of the output's own begins with a class. It says of its message that
// this is open, unless it has "may have been written" in it. One that is about
// more than one message at a time, and any other, says nothing.
func words(n int, index *service.Indexer, err error) []word {
	ws := make([]word, n)
	if err == nil {
		return ws
	}
	var batchErr *service.BatchError
	if errors.As(err, &batchErr) && batchErr.IndexedErrors() > 0 {
		batchErr.WalkMessagesIndexedBy(index, func(i int, _ *service.Message, err error) bool {
			if err != nil {
				ws[i] = wordOf(err)
			}
			return true
		})
		return ws
	}
	for i := range ws {
		ws[i] = saysUnsure
	}
	if n == 1 {
		ws[0] = wordOf(err)
	}
	return ws
}

func wordOf(err error) word {
	text := err.Error()
	class, _, found := strings.Cut(text, ":")
	if !found || !classes[class] || strings.Contains(text, "may have been written") {
		return saysUnsure
	}
	return saysOpen
}

var classes = map[string]bool{
	"size_exceeded": true, "invalid_record": true, "unroutable": true, "unknown_topic": true,
	"unauthorized": true, "refused": true, "transient": true,
}

// oracle says what is wrong, if anything is, once all is over:
//
//  1. Every message was acknowledged to the input. (The last stream of a run
//     goes on until that is so.)
//  2. A message that is to blame is never in the topic, and no other is ever
//     in the dead letters. Its dead letter has the right class.
//  3. Every message is somewhere, and no acknowledgement comes without the
//     output's word that the message is done with.
//  4. A message is in topic and dead letters together as often as the output
//     said that it is done with. Each time that it was sent and there was no
//     such word may have added one, and no more: that the message may have been
//     written, an error for a whole batch, or a shutdown that kept the answer
//     from whoever listens. An error for the message alone that does not say
//     "may have been written" must have added none.
//  5. Without shutdowns, and without attempts in doubt, there is always such a
//     word. So every message is in one place, once.
//  6. Only a message without such a word is passed on to a fallback.
//
// Who listens is the input, or a spy right above the output. A shutdown by
// force keeps all answers from the input. The spy hears them, for below it such
// a shutdown waits for what is under way. A letter that a dead_letter output on
// a Kafka topic had no time to finish when it was shut down may be there again:
// slack is for how often that may have been.
func (l *ledger) oracle(sure bool, slack int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wrong []string
	blame := func(id int, text string) {
		f := l.fates[id]
		wrong = append(wrong, fmt.Sprintf("message %d (%s): %s: in the topic %d, in the dead letters %d (%s), caught %d, said to be done %d, unsure %d, acknowledged %v", id, f.kind, text, f.topic, f.dead, f.class, f.caught, f.done, f.unsure, f.acked))
	}
	for id := range l.fates {
		f := &l.fates[id]
		copies, most := f.topic+f.dead, f.done+f.unsure
		if f.kind != good {
			most += slack
		}
		switch {
		case !f.acked:
			blame(id, "it is not acknowledged")
		case f.kind == good && f.dead > 0:
			blame(id, "an innocent is dead-lettered")
		case f.kind != good && f.topic > 0:
			blame(id, "it can't be in the topic")
		case f.kind != good && f.dead > 0 && f.class != f.kind.class():
			blame(id, "its class is wrong")
		case f.caught > f.unsure:
			blame(id, "it was passed on")
		case f.done == 0 && f.caught == 0:
			blame(id, "it was acknowledged without the output's word")
		case copies < f.done:
			blame(id, "it is lost")
		case copies > most:
			blame(id, "it is there too often")
		case sure && f.unsure > 0:
			blame(id, "nothing was to be unsure")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	n := len(wrong)
	return fmt.Errorf("%d messages are wrong:\n%s", n, strings.Join(wrong[:min(n, 10)], "\n"))
}
