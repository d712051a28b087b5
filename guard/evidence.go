package guard

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// outcome says what is proved of a record that failed after it was placed.
//
// NotWritten takes that every attempt since the hand-over had an answer which
// proves that nothing was appended, or that no byte was sent. It is not enough
// that the last error is a refusal: kgo hides its retries, and a broker
// validates a batch before it looks whether it has it already.
func (w *write) outcome(gen *generation, s *slot, r reading, since wire.Mark) Outcome {
	g := w.guard
	if !g.settings.answers {
		return Unknown // nothing is heard of what was sent
	}
	tp := wire.Partition{Topic: s.record().Topic, Partition: s.record().Partition}
	// kgo answers for all that it has of the partition as soon as one batch is
	// refused. What the broker makes of the batches behind it is still to come.
	if !gen.log.Quiet(tp, w.ctx.Done()) {
		return Unknown
	}
	h := gen.log.Since(tp, since)
	switch {
	case !h.Sent:
		return NotWritten
	case h.Forgotten:
		return Unknown
	}
	var code *kerr.Error
	answered := false
	isCode := errors.As(s.err, &code)
	for i := range h.Events {
		e := &h.Events[i]
		if e.Lost || e.Orphan || e.Appended && !gone(e.Code) || doubtful(e.Code) && !e.Repeated {
			return Unknown
		}
		answered = answered || isCode && e.Code == code.Code
	}
	closed := errors.Is(s.err, kgo.ErrClientClosed)
	atRest := closed && gen.log.Rested()
	switch {
	case answered:
		return r.outcome
	case h.Accepted && !atRest && (closed || !g.settings.idempotent):
		// The error is no answer: it may have struck while the request with
		// this record was under way, and that was accepted.
		return Unknown
	default:
		return NotWritten
	}
}

// stoodAlone reports whether the last refusal in a slot's partition was of a
// request that held one record, with a code that says something of it. In the
// client of all writes, that may have been another one's.
func (w *write) stoodAlone(gen *generation, s *slot, since wire.Mark) bool {
	if !gen.solo {
		return false
	}
	h := gen.log.Since(wire.Partition{Topic: s.record().Topic, Partition: s.record().Partition}, since)
	for _, e := range slices.Backward(h.Events) {
		if e.Code != 0 && !e.Passing {
			return e.Alone && e.Records == 1 && !s.anybody(e.Code)
		}
	}
	return false
}

// refusal is when a record was first in a batch that was refused, for what is in
// it, with nothing but other suspects.
type refusal struct {
	moment
	alone bool // since then it was refused alone as well, and is held
}

func (r *refusal) first() bool { return r.at.IsZero() }

// moment is a time, and how many batches of a partition brokers had accepted by then.
type moment struct {
	at       time.Time
	accepted uint64
}

// lately reports whether a moment is not long ago. A time that we chose then may be out
// of bounds only because the request took long.
func (m moment) lately() bool { return time.Since(m.at) < time.Second }

// acceptances counts, by partition, the batches that brokers accepted: what is
// accepted between two refusals of a record shows that not everybody is refused.
type acceptances struct {
	mu sync.Mutex
	of map[wire.Partition]uint64
}

func (a *acceptances) add(p wire.Partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[wire.Partition]uint64{}
	}
	a.of[p]++
}

func (a *acceptances) now(p wire.Partition) moment {
	a.mu.Lock()
	defer a.mu.Unlock()
	return moment{time.Now(), a.of[p]}
}

// controlAfter is for how long a record must be refused, where the code is one
// that a sick broker may give to anybody, before it is to blame.
const controlAfter = 3 * time.Second

// proof says whether the refusal of a record that stood alone is proof that it is
// to blame.
func (g *Guard) proof(s *slot, e *wire.Event, sent moment) bool {
	return e.Alone && e.Records == 1 && g.blames(s, e.Code, sent)
}

// blames reports whether a code that a record was given is for what it is. A code that
// says something of the record is. One that a sick broker, or a clock, may give to
// anybody is only if something else was accepted in the partition in between, and, as
// long as the record is sent again, if it lasts.
func (g *Guard) blames(s *slot, code int16, sent moment) bool {
	switch {
	case !s.anybody(code):
		return true
	case aboutTime(code) && !sent.lately():
		return false
	default:
		return g.controlled(s, sent)
	}
}

// anybody reports whether a code may be given to anybody: by a sick broker, or for
// a timestamp that we chose.
func (s *slot) anybody(code int16) bool {
	return vague(code) || s.unstamped && aboutTime(code)
}

// controlled reports whether something else was accepted in the partition after a
// record was first refused there, and before it was sent again, and whether that was
// long enough after. When the answer came says nothing: brokers may be slow, too.
func (g *Guard) controlled(s *slot, sent moment) bool {
	lasted := g.config.Retry.InitialInterval == 0 || sent.at.Sub(s.refusal.at) >= controlAfter
	return lasted && sent.accepted > s.refusal.accepted
}
