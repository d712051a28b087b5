// Package wire stands on the connections of a kgo client to its brokers. It
// follows the produce requests and their answers, and keeps for each partition
// what kgo does not tell: what was sent, what every attempt was answered, which
// records a broker named, and what never got an answer.
//
// It also keeps off the wire what must not get there: what kgo has given up
// between the making of a request and its writing, and what would be under way
// behind a batch that may be refused.
//
// It knows codes as numbers. What they mean is for its user to say.
package wire

import (
	"slices"
	"sync"
	"time"
)

// Partition names a partition of a topic.
type Partition struct {
	Topic     string
	Partition int32
}

// Options say what a Log's user wants besides being told.
type Options struct {
	// Idempotent is whether batches have sequence numbers. Without them,
	// every batch is treated as one that may be refused.
	Idempotent bool
	// Risky reports whether a batch of so many bytes, as sent, may be refused.
	// Nothing more is sent to the partition before such a batch is answered.
	Risky func(topic string, bytes int) bool
	// Sequential reports whether there is but one writer, so that the order of
	// its records matters.
	Sequential func() bool
	// Accepted is told the size, as sent, of each batch that was accepted.
	Accepted func(p Partition, bytes int)
	// Refused is told the size, as sent, of each batch that was refused, with
	// what code, and whether it was alone in its request.
	Refused func(p Partition, code int16, bytes int, alone bool)
	// Vague reports whether a code says so little that the very same batch is
	// to be sent again, at last when Patience is over: kgo is then given the code
	// RetryAs, and sends the batch under the same sequence number.
	Vague    func(code int16) bool
	Patience time.Duration
	RetryAs  int16
}

// Log is what went over the wire of one client.
type Log struct {
	opts    Options
	redials redials

	mu         sync.Mutex
	clock      uint64 // counts what happened
	partitions map[Partition]*history
	topics     map[[16]byte]string
	ids        map[string][16]byte // the first that each topic had
	dialError  error
	acceptedAt time.Time
	ended      bool          // nothing more is sent
	rested     bool          // and all that was has its answer
	atRest     chan struct{} // closed when that is so, and nothing is under way
	cuts       cuts
	handing    int           // hand-overs that go on
	handed     chan struct{} // closed when none does any more
}

// New returns an empty log.
func New(opts Options) *Log {
	return &Log{opts: opts, partitions: map[Partition]*history{}, topics: map[[16]byte]string{}, ids: map[string][16]byte{}, atRest: make(chan struct{})}
}

// history is what a log has of one partition.
type history struct {
	held       []*flight // to be written, as soon as they may be
	open       []*flight // written, and not answered, in this order
	sentAt     uint64    // the clock at the last request
	events     []Event   // the last ones that were no acceptance
	floor      uint64    // the clock at the last event that was forgotten
	accepted   uint64    // the clock when the last batch of those was sent that were accepted
	acceptedAt time.Time
	latest     *position // the latest batch that was accepted, nil for none
	broken     *position // of the batch whose refusal kgo answers for all behind it
	kept       *position // of the batch that was last kept off the wire for that
	vague      *patience
	changed    chan struct{} // closed with the next answer, nil if nobody waits
}

// position is where a batch stands among those of its producer.
type position struct {
	producer int64
	epoch    int16
	sequence int32 // -1 without idempotence
}

// after reports whether p comes later than o in one and the same sequence.
func (p position) after(o position) bool {
	return p.producer == o.producer && p.epoch == o.epoch && p.sequence >= 0 && p.sequence-o.sequence > 0
}

// covered reports whether p is o, or comes before it in one and the same sequence:
// then it is in the log if o is.
func (p position) covered(o position) bool {
	return p.producer == o.producer && p.epoch == o.epoch && p.sequence >= 0 && p.sequence-o.sequence <= 0
}

type patience struct {
	position
	since time.Time
	tries int
}

// patientTries is how often at least a batch is sent that is refused vaguely: in most
// of the time, the broker may be away.
const patientTries = 8

// flight is a batch that is under way.
type flight struct {
	Partition
	of *history // of the partition
	position
	at      uint64
	sent    time.Time
	records int
	bytes   int
	alone   bool // in its request
	risky   bool
	// abandoned is set when kgo has given it up meanwhile: something before it was
	// refused, and it has no sequence number that would have had the broker refuse
	// it, too; its topic was created anew; there is no producer ID.
	abandoned bool
}

// Event is something that happened to a batch, other than its acceptance.
type Event struct {
	clock    uint64
	position position

	// Lost is set when no answer came, or will come.
	Lost bool
	// Orphan is set when the batch was accepted after kgo had given it up.
	Orphan bool
	// Repeated is set when the very same batch had the same code before, each
	// time that it was sent, and had enough time to be recognised if it had
	// been written.
	Repeated bool
	// Passing is set when kgo was told to send the batch again.
	Passing bool

	// Code is the broker's answer.
	Code int16
	// Appended is set when the answer says where the batch is in the log, for
	// all that it has a code: for example when the leader lost the partition
	// while it waited for the replicas. And when the batch, or one behind it,
	// was accepted before: kgo sends a batch again whose answer came before that
	// to the batch in front of it.
	Appended bool
	// Alone is set when the request held this batch and no other.
	Alone bool
	// Records is how many records the batch held, and Bytes its size as sent.
	Records int
	Bytes   int
	// Named are the indexes in the batch of the records that the broker names
	// (KIP-467), ascending, with its words about each.
	Named []Named
	// Message is what the broker said of the batch, "" for nothing.
	Message string
	// Version is that of the produce request.
	Version int16
}

// Named is a record that a broker named.
type Named struct {
	Index int
	Text  string
}

// eventsKept is how many events are remembered of a partition.
const eventsKept = 64

// Mark is a moment in a log.
type Mark uint64

// Now returns a mark for what happens from now on.
func (l *Log) Now() Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Mark(l.clock)
}

// History is what happened to a partition since a mark.
type History struct {
	// Sent is set when a request was answered or lost.
	Sent bool
	// Accepted is set when a batch was accepted that was sent since.
	Accepted bool
	// Events are in order. Forgotten is set when there were more.
	Events    []Event
	Forgotten bool
}

// Since returns what happened to a partition since the mark.
func (l *Log) Since(p Partition, m Mark) History {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.partitions[p]
	if !ok {
		return History{}
	}
	first, _ := slices.BinarySearchFunc(h.events, uint64(m), func(e Event, m uint64) int {
		if e.clock <= m {
			return -1
		}
		return 1
	})
	since := History{
		Accepted:  h.accepted > uint64(m),
		Events:    slices.Clone(h.events[first:]),
		Forgotten: h.floor > uint64(m),
	}
	since.Sent = since.Accepted || since.Forgotten || len(since.Events) > 0
	return since
}

// Last returns what last went wrong with a partition, or with connecting at all.
func (l *Log) Last(p Partition) (e Event, dial error, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.partitions[p]; h != nil && len(h.events) > 0 {
		return h.events[len(h.events)-1], l.dialError, true
	}
	return Event{}, l.dialError, l.dialError != nil
}

// Quiet waits until all that is under way to the partition now has had its
// answer, or lost it. It reports whether that was before stop was closed.
func (l *Log) Quiet(p Partition, stop <-chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.partitions[p]
	if h == nil {
		return true
	}
	for until := h.sentAt; h.underWay(until); {
		changed := h.wait()
		l.mu.Unlock()
		select {
		case <-changed:
			l.mu.Lock()
		case <-stop:
			l.mu.Lock()
			return !h.underWay(until)
		}
	}
	return true
}

func (l *Log) of(p Partition) *history {
	h := l.partitions[p]
	if h == nil {
		h = &history{}
		l.partitions[p] = h
	}
	return h
}

// wait returns a channel that is closed with the next answer.
func (h *history) wait() <-chan struct{} {
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

// underWay reports whether something that kgo had written by then has no answer yet.
func (h *history) underWay(until uint64) bool {
	old := func(f *flight) bool { return f.at <= until }
	return slices.ContainsFunc(h.open, old) || slices.ContainsFunc(h.held, old)
}

// release ends the wait of a batch: it is written now, or it never is.
func (h *history) release(f *flight) { h.take(&h.held, f) }

// take takes a flight off a list, and tells who waits. It returns false for one that
// is not there.
func (h *history) take(off *[]*flight, f *flight) bool {
	i := slices.Index(*off, f)
	if i < 0 {
		return false
	}
	*off = slices.Delete(*off, i, i+1)
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
	return true
}

func (h *history) add(l *Log, e Event) {
	l.clock++
	e.clock = l.clock
	// The same batch with the same answer again, for as long as a broker is not
	// well, proves no less than once.
	if last := len(h.events) - 1; last >= 0 && e.Code != 0 && h.events[last].same(e) {
		h.events[last] = e
		return
	}
	if len(h.events) == eventsKept {
		h.floor = h.events[0].clock
		h.events = append(h.events[:0], h.events[1:]...)
	}
	h.events = append(h.events, e)
}

// same reports whether two answers say the same of the same batch.
func (e Event) same(o Event) bool {
	return e.position == o.position && e.position.sequence >= 0 && e.Code == o.Code && e.Lost == o.Lost && e.Orphan == o.Orphan &&
		e.Repeated == o.Repeated && e.Passing == o.Passing && e.Appended == o.Appended
}

// close takes a flight off those that are under way. It returns false for one
// that is not among them.
func (h *history) close(f *flight) bool { return h.take(&h.open, f) }

// accept notes that a batch was accepted. That settles what was in doubt of it.
// Batches before it in the same sequence are then in the log, too. But a refusal may
// still be the next answer to one of them, and would seem to prove the contrary if
// the doubt were forgotten.
func (h *history) accept(l *Log, f *flight) {
	if h.broken != nil && f.after(*h.broken) || f.abandoned {
		h.add(l, Event{Orphan: true, position: f.position})
		return
	}
	if h.broken != nil && f.position == *h.broken {
		h.broken = nil // kgo had sent it again before it was refused
	}
	h.accepted, h.acceptedAt = max(h.accepted, f.at), time.Now()
	if h.latest == nil || !f.covered(*h.latest) {
		latest := f.position
		h.latest = &latest
	}
	l.acceptedAt = h.acceptedAt
	h.vague = nil
	if f.sequence >= 0 && len(h.events) > 0 {
		h.events = slices.DeleteFunc(h.events, func(e Event) bool {
			return e.position == f.position
		})
	}
}

// abandon notes that kgo gives up what is under way.
func (h *history) abandon() {
	for _, f := range h.open {
		f.abandoned = true
	}
	for _, f := range h.held {
		f.abandoned = true
	}
}

// refuse notes that a batch was refused, and returns the code to tell kgo.
func (h *history) refuse(l *Log, f *flight, e Event) (code int16) {
	e.position, e.Alone, e.Records, e.Bytes = f.position, f.alone, f.records, f.bytes
	e.Appended = e.Appended || h.latest != nil && f.covered(*h.latest)
	l.opts.Refused(f.Partition, e.Code, f.bytes, f.alone)
	code = e.Code
	if l.opts.Vague(e.Code) {
		if h.vague == nil || h.vague.position != f.position {
			h.vague = &patience{position: f.position, since: time.Now()}
		}
		h.vague.tries++
		if h.vague.tries < patientTries || f.sent.Sub(h.vague.since) < l.opts.Patience {
			e.Passing = true
			code = l.opts.RetryAs
		} else {
			e.Repeated = f.sequence >= 0
			for i := range h.events { // each of them was recognised as not written
				if o := &h.events[i]; e.Repeated && o.position == f.position && o.Code == e.Code {
					o.Repeated = true
				}
			}
			h.vague = nil
		}
	}
	if h.broken == nil && f.sequence >= 0 {
		broken := f.position
		h.broken = &broken
	}
	if f.sequence < 0 {
		for _, behind := range h.open {
			behind.abandoned = true
		}
	}
	h.add(l, e)
	return code
}

func (l *Log) name(id [16]byte) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.topics[id]
}

// HandingOver and HandedOver bracket the hand-over of records to the client. While
// there is but one writer, nothing is written in between: a refusal must not
// strike while records of the same partition are still to come.
func (l *Log) HandingOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handing++
	if l.handed == nil {
		l.handed = make(chan struct{})
	}
}

// HandedOver ends what HandingOver began.
func (l *Log) HandedOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.handing--; l.handing == 0 {
		close(l.handed)
		l.handed = nil
	}
}
