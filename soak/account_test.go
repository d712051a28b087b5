//go:build linux || darwin

package soak

import (
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
)

// fate is what is known of a message, as a set of bits.
type fate uint8

const (
	delivered fate = 1 << iota // found in its topic
	dead                       // found among the dead letters
	done                       // acknowledged: the output is done with it
	open                       // reported as not delivered, and not dead-lettered
	unsure                     // reported as "may have been written"
	doubt                      // its dead letter says that it may have been written
)

const pageSize = 1 << 16

// page has the fates of pageSize neighbours. Once each has the one fate that it should
// have, the page is counted and deleted. A message of it that is found after that is a
// duplicate.
type page struct {
	fates [pageSize]fate
	open  int // messages without a final fate
}

// account knows the fate of each message of a load. Package deliverycheck does the same
// where all messages fit into memory.
type account struct {
	load load

	mu       sync.Mutex
	pages    map[uint64]*page
	settled  map[uint64]bool
	sent     uint64 // known at the end
	ended    bool
	answered uint64
	found    uint64

	total    total
	letters  map[string]int // by class
	disorder map[string]uint64
}

// total counts messages by fate.
type total struct {
	Sent, Delivered, Dead, Doubt, DoubtDelivered, Undelivered       int
	Lost, Duplicated, WronglyDead, Spared, Misfiled, Strays, Behind int
	Kinds                                                           [kinds]byKind
	Examples                                                        []string // of what is wrong
}

type byKind struct{ Sent, Delivered, Dead, Doubt int }

func newAccount(l load) *account {
	return &account{load: l, pages: map[uint64]*page{}, settled: map[uint64]bool{}, letters: map[string]int{}, disorder: map[string]uint64{}}
}

// wrong counts a fault, and keeps a text for the first ones. The caller holds the lock.
func (a *account) wrong(count *int, format string, args ...any) {
	*count++
	if len(a.total.Examples) < 20 {
		a.total.Examples = append(a.total.Examples, fmt.Sprintf(format, args...))
	}
}

// of returns the page and the fate of a message, and nil if its page is settled.
func (a *account) of(n uint64) (*page, *fate) {
	at := n / pageSize
	if a.settled[at] {
		return nil, nil
	}
	p := a.pages[at]
	if p == nil {
		p = &page{open: pageSize}
		a.pages[at] = p
	}
	return p, &p.fates[n%pageSize]
}

// fine reports whether a fate is final. Any addition to it is a fault.
func (f fate) fine() bool {
	return f == done|delivered || f == done|dead
}

// set adds to the fate of a message.
func (a *account) set(n uint64, what fate) {
	p, f := a.of(n)
	if f == nil || *f&what&(delivered|dead) != 0 {
		a.wrong(&a.total.Duplicated, "message %d is there twice (%s)", n, what)
		return
	}
	was := f.fine()
	*f |= what
	if now := f.fine(); now != was {
		if now {
			p.open--
		} else {
			p.open++
		}
	}
	if p.open == 0 {
		at := n / pageSize
		a.count(at, p, pageSize)
		delete(a.pages, at)
		a.settled[at] = true
	}
}

// answer enters the acknowledgements of messages.
func (a *account) answer(e event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answered += e.Count
	for n := e.From; n < e.From+e.Count; n++ {
		what := done
		switch e.Said[n] {
		case deliverycheck.Open:
			what = open
		case deliverycheck.Unsure, deliverycheck.Untold:
			what = unsure
		default:
		}
		a.set(n, what)
	}
}

// takeDeadLetters enters dead letters.
func (a *account) takeDeadLetters(letters []letter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range letters {
		if !d.Intact {
			a.wrong(&a.total.Strays, "a dead letter is not what was sent (%d): %s", d.Number, d.Why)
			continue
		}
		a.found++
		class, _, _ := strings.Cut(d.Why, ":")
		a.letters[class]++
		what := dead
		k := a.load.kind(d.Number)
		should := a.load.class(k)
		switch {
		case strings.Contains(d.Why, "may have been written"):
			what |= doubt
		case should == "":
			a.wrong(&a.total.WronglyDead, "message %d (%s) is dead-lettered, and good: %s", d.Number, k, d.Why)
		case should != class:
			a.wrong(&a.total.Misfiled, "message %d (%s) is dead-lettered for another reason: %s", d.Number, k, d.Why)
		}
		a.set(d.Number, what)
	}
}

// deliver enters a message that was found in its topic.
func (a *account) deliver(n uint64, m message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found++
	if a.load.class(m.kind) != "" {
		a.wrong(&a.total.Spared, "message %d (%s) is delivered, and should be dead-lettered", n, m.kind)
	}
	if a.load.ordered() && m.kind != goodKeyed {
		if last, ok := a.disorder[m.key]; ok && n < last {
			a.wrong(&a.total.Behind, "message %d is behind %d in the log", n, last)
		}
		a.disorder[m.key] = max(n, a.disorder[m.key])
	}
	a.set(n, delivered)
}

// stray enters a record that is no message of the load.
func (a *account) stray(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrong(&a.total.Strays, format, args...)
}

// count adds the first messages of a page to the total.
func (a *account) count(at uint64, p *page, first int) {
	t := &a.total
	t.Sent += first
	for i, f := range p.fates[:first] {
		n := at*pageSize + uint64(i)
		k := a.load.kind(n)
		of := &t.Kinds[k]
		of.Sent++
		switch {
		case f&(done|open|unsure) == 0:
			a.wrong(&t.Undelivered, "nobody was told of message %d (%s) (%s)", n, k, f)
		case f&open != 0 && f&delivered != 0:
			a.wrong(&t.Misfiled, "message %d (%s) is said to be open, and is delivered", n, k)
		case f&(doubt|unsure) != 0:
			t.Doubt++
			of.Doubt++
			if f&delivered != 0 {
				t.DoubtDelivered++
			}
		case f&(delivered|dead) == delivered|dead:
			a.wrong(&t.Duplicated, "message %d (%s) is delivered and dead-lettered (%s)", n, k, f)
		case f&delivered != 0:
			t.Delivered++
			of.Delivered++
		case f&dead != 0:
			t.Dead++
			of.Dead++
		case f&done != 0:
			a.wrong(&t.Lost, "message %d (%s) is lost (%s)", n, k, f)
		default:
			a.wrong(&t.Undelivered, "message %d (%s) is undelivered (%s)", n, k, f)
		}
	}
}

// close counts the pages that are left, and returns the total.
func (a *account) close() total {
	a.mu.Lock()
	defer a.mu.Unlock()
	for at, p := range maps.All(a.pages) {
		a.count(at, p, int(min(pageSize, a.sent-min(a.sent, at*pageSize))))
		for i, f := range p.fates {
			if n := at*pageSize + uint64(i); n >= a.sent && f != 0 {
				a.wrong(&a.total.Strays, "message %d was never sent (%s)", n, f)
			}
		}
	}
	clear(a.pages)
	return a.total
}

// progress returns how many messages were acknowledged, and how many were found.
func (a *account) progress() (answered, found uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answered, a.found
}

func (f fate) String() string {
	var words []string
	for i, word := range []string{"delivered", "dead-lettered", "said to be done", "said to be open", "unsure", "in doubt"} {
		if f&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	if words == nil {
		return "nothing known"
	}
	return strings.Join(words, ", ")
}
