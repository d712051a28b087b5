package producer

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// partition has what is to be written to a partition, and what is in flight.
type partition struct {
	topic   *topic
	number  int32
	queued  atomic.Int64 // records, for partitioners that go by it
	acks    atomic.Uint64
	trouble atomic.Pointer[error]

	mu       sync.Mutex
	node     *node
	moved    *node // of the new leader, for when nothing is in flight
	queue    []*Record
	resend   []*Batch // before the queue
	inFlight *Batch
	asking   *Batch // the Policy about it
	paused   bool
	listed   bool // by its node
	asksID   bool
	gone     bool // closed, or forgotten
	// evacuated has all records go back to the topic, which has no such partition
	// any more.
	evacuated bool

	order  uint64 // of the last record
	single int    // see Config.MaxBatch

	woken []woken // to be told of
	drops bool    // records have ended that may still be queued

	// See blocked.go.
	blocked map[string]*block
	later   map[*Record]*time.Timer

	// See sequence.go.
	hasID, ownID bool
	producer     producerID
	sequence     int32
	forgets      bool      // a batch in doubt was given up
	doubts       []int     // how many records batches in doubt have
	doubtful     []*Record // of these
	deferred     []*Record // that failed, and are in doubt
}

var errClosed error = kgo.ErrClientClosed

// enqueue queues records, and returns the node that is to be kicked.
func (p *partition) enqueue(records []*Record) *node {
	p.mu.Lock()
	defer p.unlock()
	for _, r := range records {
		p.order++
		r.Record.Partition, r.order = p.number, p.order
		r.part.Store(p)
	}
	p.queued.Add(int64(len(records)))
	if p.gone {
		p.finish(records, NotWritten, errClosed)
		return nil
	}
	p.queue = append(p.queue, records...)
	return p.list()
}

// finish ends those of the records that have not ended. Their writes hear of it with unlock:
// from then on a record may be used for something else.
func (p *partition) finish(records []*Record, o Outcome, why error) {
	p.drops = p.drops || o != Acked
	before := len(p.woken)
	p.woken = p.topic.all.endRecords(p.woken, records, o, why)
	for _, w := range p.woken[before:] {
		p.queued.Add(-int64(w.records))
	}
}

// unlock unlocks the partition, and tells writes of records that have ended.
func (p *partition) unlock() {
	if p.drops {
		p.drops = false
		p.dropEnded()
		p.doubtful = slices.DeleteFunc(p.doubtful, ended)
		p.deferred = slices.DeleteFunc(p.deferred, ended)
	}
	if len(p.woken) == 0 {
		p.mu.Unlock()
		return
	}
	var few [8]woken
	all := append(few[:0], p.woken...)
	clear(p.woken)
	p.woken = p.woken[:0]
	p.mu.Unlock()
	for _, w := range all {
		w.write.ended(w.records)
	}
}

// goOn has the partition's node send what is ready. It unlocks the partition.
func (p *partition) goOn() {
	if p.evacuated && p.inFlight == nil && p.asking == nil && p.queued.Load() > 0 {
		go p.topic.reclaim(p)
	}
	n := p.list()
	p.unlock()
	if n != nil {
		n.kick()
	}
}

// list has the partition taken into the next request of its node, which it returns, if
// there is something to be sent.
func (p *partition) list() *node {
	if p.inFlight != nil || p.asking != nil || p.paused || p.asksID || p.gone || p.evacuated || p.listed {
		return nil
	}
	if len(p.resend) == 0 && len(p.queue) == 0 {
		if len(p.deferred) > 0 {
			p.loseTrack(nil) // nothing comes that could tell
		}
		return nil
	}
	if p.moved != nil {
		p.node, p.moved = p.moved, nil
	}
	all := p.topic.all
	if p.node == nil {
		all.meta.want()
		return nil
	}
	if all.cfg.Idempotent && !p.hasID && !all.ids.assign(p) {
		return nil
	}
	p.listed = true
	p.node.list(p)
	return p.node
}

// lead notes which node leads the partition.
func (p *partition) lead(n *node) {
	p.mu.Lock()
	switch {
	case p.node == n:
		p.moved = nil
	case p.inFlight == nil && !p.listed:
		p.node, p.moved = n, nil
	default:
		p.moved = n
	}
	p.goOn()
}

// taking is what came of asking a partition for a batch.
type taking uint8

const (
	nothing taking = iota
	taken
	noRoom
)

// take returns the next batch for a request of a node that has room for it. The first of
// a request always has.
func (p *partition) take(n *node, room int, first bool) (*Batch, taking) {
	p.mu.Lock()
	defer p.unlock()
	if p.moved != nil && p.inFlight == nil {
		p.node, p.moved = p.moved, nil
	}
	if p.node != n {
		p.listed = false
		if to := p.list(); to != nil {
			go to.kick()
		}
		return nil, nothing
	}
	if p.inFlight != nil || p.asking != nil || p.paused || p.asksID || p.gone || p.topic.all.cfg.Idempotent && !p.hasID {
		p.listed = false
		p.list()
		return nil, nothing
	}
	if !first && p.leastRoom() > room {
		return nil, noRoom
	}
	most, single := p.topic.all.cfg.MaxBatch(p.topic.name, n.id)
	p.single = single
	if limit := n.batchLimit(); limit < most {
		most = limit
	}
	if !first {
		most = min(most, room-batchInRequest)
	}
	b := p.nextBatch(most)
	p.listed = false
	if b == nil {
		p.list()
		return nil, nothing
	}
	if b.unanswered && b.producer != p.producer { // its numbers are of no use any more
		p.resend = slices.Insert(p.resend, 0, b)
		p.loseTrack(errInFlight)
		if to := p.list(); to != nil {
			go to.kick()
		}
		return nil, nothing
	}
	if !p.numberIsFree(b) {
		if len(b.Records) == 1 {
			p.resend = slices.Insert(p.resend, 0, b)
			p.loseTrack(nil)
			if to := p.list(); to != nil {
				go to.kick()
			}
			return nil, nothing
		}
		last := len(b.Records) - 1
		p.resend = slices.Insert(p.resend, 0, p.partOf(b, b.Records[last:]))
		b.mu.Lock()
		b.Records = b.Records[:last]
		b.recount()
		b.mu.Unlock()
	}
	b.producer, b.sequence = p.producer, -1
	if p.topic.all.cfg.Idempotent {
		b.sequence = p.sequence
	}
	b.Leader, b.Acks, b.Started = n.id, p.acks.Load(), time.Now()
	p.inFlight = b
	return b, taken
}

// leastRoom is what the next batch takes of a request, at least.
func (p *partition) leastRoom() int {
	if len(p.resend) > 0 {
		b := p.resend[0]
		if b.Alone || b.Records[0].Alone {
			return 1 << 30
		}
		if b.unanswered {
			return b.size + batchInRequest
		}
		return int(b.Records[0].Size) + batchInRequest
	}
	if len(p.queue) > 0 {
		if p.queue[0].Alone {
			return 1 << 30
		}
		return int(p.queue[0].Size) + batchInRequest
	}
	return 0
}

// batchInRequest is what a batch takes in a request besides itself, at most.
const batchInRequest = 16

// nextBatch takes the next batch off what is to be sent, nil if there is none.
func (p *partition) nextBatch(most int) *Batch {
	for len(p.resend) > 0 {
		b := p.resend[0]
		p.resend = slices.Delete(p.resend, 0, 1)
		if b.unanswered && b.toAnother(p.topic.id.Load()) {
			b.unanswered = false
			for _, r := range b.Records {
				r.doubt = false
			}
		}
		if b.unanswered {
			if b.stale {
				b.stale = false
				b.restamp()
			}
			return b
		}
		records := b.Records
		if half := len(records) / 2; b.rejected && half > 0 {
			right := p.partOf(b, records[half:])
			left := p.partOf(b, records[:half])
			left.twin = right
			p.resend = slices.Insert(p.resend, 0, left, right)
			continue
		}
		b.Records = make([]*Record, 0, len(records))
		if rest := records[p.fill(b, records, most):]; len(rest) > 0 {
			p.resend = slices.Insert(p.resend, 0, p.partOf(b, rest))
		}
		if len(b.Records) > 0 {
			return b
		}
	}
	for len(p.queue) > 0 {
		b := p.topic.all.newBatch(p)
		records := p.queue
		p.queue = nil // what fill unblocks is put there
		p.queue = append(p.queue, slices.Delete(records, 0, p.fill(b, records, most))...)
		if len(b.Records) > 0 {
			return b
		}
		p.topic.all.batches.Put(b)
	}
	return nil
}

// partOf returns a batch to be of some of the records of another.
func (p *partition) partOf(b *Batch, records []*Record) *Batch {
	part := p.topic.all.newBatch(p)
	part.Records = append(part.Records, records...)
	part.Alone, part.First, part.Attempts = b.Alone, b.First, b.Attempts
	return part
}

// fill fills a batch with the first of the records, as many as fit, and returns how many of
// them are done with: these are in the batch, blocked or failed.
func (p *partition) fill(b *Batch, records []*Record, most int) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.UnixMilli(time.Now().UnixMilli())
	for n, r := range records {
		if p.blocked != nil && p.waitsBehind(r) {
			continue
		}
		if int(r.Size) >= p.single {
			r.Single, r.Questioned = true, true
		}
		if r.Questioned && p.node != nil {
			if err := p.topic.all.cfg.Policy.Check(r, p.node.id); err != nil {
				p.endFailed([]Failed{{r, err}})
				continue
			}
		}
		if len(b.Records) > 0 && (r.Single || r.Apart != b.Records[0].Apart) {
			return n
		}
		if r.Unstamped {
			r.Timestamp = now
		}
		if !b.add(r, most) {
			return n
		}
		if r.Single {
			b.Alone = b.Alone || r.Alone
			return n + 1
		}
	}
	return len(records)
}

// toAnother reports whether the batch was sent to a topic of the same name that is no more:
// what was appended is gone with it.
func (b *Batch) toAnother(id [16]byte) bool { return b.topicID != [16]byte{} && b.topicID != id }

// acked ends the records of a batch.
func (p *partition) acked(b *Batch, offset, appended int64) {
	p.mu.Lock()
	if p.inFlight != b {
		p.unlock()
		return
	}
	p.inFlight = nil
	p.acks.Add(1)
	p.sequence = next(b.sequence, len(b.Records))
	if appended >= 0 && !b.unanswered {
		p.topic.logTime.Store(true)
	} else if appended >= 0 && !p.topic.logTime.Load() {
		appended = -1 // a duplicate is answered with a time whatever the topic's is
	}
	for i, r := range b.Records {
		if r.Ended() {
			continue
		}
		if offset >= 0 {
			r.Offset = offset + int64(i)
		}
		r.Appended, r.doubt = appended, false
	}
	all := p.topic.all
	all.cfg.Policy.Acked(b)
	if e := p.trouble.Load(); e != nil {
		p.trouble.Store(nil)
	}
	p.finish(b.Records, Acked, nil)
	p.resolved()
	for _, r := range b.Records {
		p.unblock(r)
	}
	if b.twin != nil {
		b.twin.rejected = true
	}
	clear(b.Records)
	all.batches.Put(b)
	p.goOn()
}

// answered deals with a batch that was not acked.
func (p *partition) answered(b *Batch, a Answer) {
	p.mu.Lock()
	defer p.unlock()
	if p.inFlight != b {
		return
	}
	p.inFlight = nil
	all := p.topic.all
	m := code.Of(a.Code)
	if a.Code != 0 && a.Err == nil {
		a.Err = code.Error(a.Code)
	}
	p.trouble.Store(&a.Err)
	switch {
	case a.Code != 0 && code.TopicGone(a.Code):
		// What was appended is gone with the topic.
	case a.Code != 0 && m.Scope == code.OfProducer:
		p.loseTrack(a.Err)
	case m.Doubt || a.Offset:
		p.inDoubt(b)
	}
	if code.LeaderMoved(a.Code) {
		all.meta.want()
	}
	p.ask(b, a)
}

// lost deals with a batch that has no answer. Sent says whether it left to its last byte.
func (p *partition) lost(b *Batch, sent bool, a Answer) {
	p.mu.Lock()
	defer p.unlock()
	if p.inFlight != b {
		return
	}
	p.inFlight = nil
	p.trouble.Store(&a.Err)
	if sent {
		p.inDoubt(b)
	}
	p.ask(b, a)
}

// refused puts what is next before the Policy, since the broker lets nothing be sent.
func (p *partition) refused(err error) {
	p.mu.Lock()
	defer p.unlock()
	p.listed = false
	if p.inFlight != nil || p.asking != nil {
		return
	}
	if b := p.nextBatch(unbounded); b != nil {
		p.ask(b, Answer{Err: err})
	}
}

// ask puts a batch before the Policy.
func (p *partition) ask(b *Batch, a Answer) {
	p.endLeaving(b)
	if p.gone {
		p.endAll(b.Records, errClosed)
		return
	}
	if b.abandoned() {
		p.mayForget()
		if to := p.list(); to != nil {
			go to.kick()
		}
		return
	}
	b.Attempts++
	if b.First.IsZero() {
		b.First = time.Now()
	}
	p.asking = b
	go func() {
		plan := p.topic.all.cfg.Policy.Next(b, a)
		p.follow(b, plan)
	}()
}

// follow does what a plan says.
func (p *partition) follow(b *Batch, plan Plan) {
	p.mu.Lock()
	p.asking = nil
	p.endLeaving(b)
	p.mayForget()
	if p.gone {
		p.endAll(b.Records, errClosed)
		p.unlock()
		return
	}
	var parts []*Batch
	switch {
	case plan.Same:
		parts = []*Batch{b}
		if plan.Restamp && b.unanswered {
			b.stale = true
		}
	default:
		for _, part := range plan.Parts {
			nb := p.topic.all.newBatch(p)
			nb.Records = slices.DeleteFunc(append(nb.Records, part.Records...), isOut)
			nb.Alone, nb.First, nb.Attempts = part.Alone, b.First, b.Attempts
			if n := len(parts); n > 0 && plan.Parts[n-1].Half {
				parts[n-1].twin = nb
			}
			parts = append(parts, nb)
		}
		p.endFailed(plan.Failed)
	}
	p.resend = slices.Insert(p.resend, 0, parts...)
	for _, l := range plan.Later {
		p.holdBack(l)
	}
	p.dropEnded()
	if plan.Pause > 0 {
		p.paused = true
		time.AfterFunc(plan.Pause, p.resume)
		p.unlock()
		return
	}
	p.goOn()
}

// endFailed ends the records that the Policy has failed. What is in doubt is kept until
// that is resolved.
func (p *partition) endFailed(failed []Failed) {
	for _, f := range failed {
		r := f.Record
		if r.Ended() || r.Write == nil {
			continue
		}
		switch {
		case !r.doubt:
			p.finish([]*Record{r}, NotWritten, f.Reason)
		case p.topic.all.cfg.Idempotent:
			r.Reason = f.Reason
			p.deferred = append(p.deferred, r)
		default:
			p.finish([]*Record{r}, Unknown, f.Reason)
		}
		p.unblock(r)
	}
}

func (p *partition) resume() {
	p.mu.Lock()
	p.paused = false
	p.goOn()
}

// dropEnded takes out of what is to be sent the records that have ended.
func (p *partition) dropEnded() {
	p.resend = slices.DeleteFunc(p.resend, func(b *Batch) bool {
		b.dropEnded()
		return len(b.Records) == 0
	})
	p.queue = slices.DeleteFunc(p.queue, ended)
	p.dropBlocked()
}

func ended(r *Record) bool { return r.Ended() }

// abandoned reports whether no record of a batch is waited for any more.
func (b *Batch) abandoned() bool {
	return !slices.ContainsFunc(b.Records, func(r *Record) bool { return !r.Ended() && r.Write != nil })
}

// dropEnded takes out of a batch what has ended. One that may have been appended stays
// whole as long as any of it is waited for.
func (b *Batch) dropEnded() {
	if b.unanswered && !b.abandoned() {
		return
	}
	if slices.ContainsFunc(b.Records, isOut) {
		b.mu.Lock()
		b.Records = slices.DeleteFunc(slices.Clone(b.Records), isOut)
		b.mu.Unlock()
	}
}

// isOut reports whether nothing waits for a record any more.
func isOut(r *Record) bool { return ended(r) || r.Write == nil }

// endAll ends records that are not sent any more.
func (p *partition) endAll(records []*Record, why error) {
	for _, r := range records {
		o := NotWritten
		if r.doubt {
			o = Unknown
		}
		p.finish([]*Record{r}, o, why)
	}
}

// close ends all that is queued. What is in flight ends with its request.
func (p *partition) close() {
	p.mu.Lock()
	defer p.unlock()
	p.gone = true
	for _, b := range p.resend {
		p.endAll(b.Records, errClosed)
	}
	p.endAll(p.queue, errClosed)
	for _, bl := range p.blocked {
		p.endAll(bl.behind, errClosed)
	}
	for r, t := range p.later {
		t.Stop()
		p.endAll([]*Record{r}, errClosed)
	}
	p.finish(p.deferred, Unknown, errClosed)
	p.resend, p.queue, p.blocked, p.later, p.deferred = nil, nil, nil, nil, nil
}

// Withdrawal is which records are taken back.
type Withdrawal uint8

const (
	// Queued are those that are not in flight, and not before the Policy.
	Queued Withdrawal = iota
	// Doubtful are the queued that may have been written.
	Doubtful
	// All are also those in flight.
	All
)

// Withdraw ends records: those that may have been written are Unknown, the others
// NotWritten.
func (p *Producer) Withdraw(records []*Record, which Withdrawal, why func(r *Record) error) {
	byPartition := map[*partition][]*Record{}
	var pending []*Record
	for _, r := range records {
		if part := r.part.Load(); part != nil {
			byPartition[part] = append(byPartition[part], r)
		} else {
			pending = append(pending, r)
		}
	}
	// Some may have got a partition meanwhile.
	for _, r := range p.withdrawPending(pending, which, why) {
		if part := r.part.Load(); part != nil {
			byPartition[part] = append(byPartition[part], r)
		}
	}
	for part, rs := range byPartition {
		part.withdraw(rs, which, why)
	}
}

var errInFlight = errors.New("given up before the broker answered")

func (p *partition) withdraw(records []*Record, which Withdrawal, why func(r *Record) error) {
	p.mu.Lock()
	defer p.unlock()
	leave := map[*Record]bool{}
	for _, b := range []*Batch{p.inFlight, p.asking} {
		if b == nil {
			continue
		}
		for _, r := range b.Records {
			leave[r] = true
		}
	}
	var out []*Record
	for _, r := range records {
		if r.part.Load() == p && !r.Ended() && (which == All || !leave[r]) && (which != Doubtful || r.doubt) {
			out = append(out, r)
		}
	}
	if which == Queued {
		for _, r := range records {
			if !r.Ended() && leave[r] && r.leaving == nil {
				r.leaving = func() error { return why(r) }
			}
		}
	}
	if len(out) == 0 {
		return
	}
	gone := map[*Record]bool{}
	for _, r := range out {
		gone[r] = true
	}
	for _, b := range p.resend {
		b.keep(gone)
	}
	if p.inFlight != nil {
		p.inFlight.copyOut(gone)
	}
	if p.asking != nil {
		p.asking.keep(gone)
	}
	for _, r := range out {
		o := NotWritten
		if r.doubt || p.inFlight != nil && leave[r] && !slices.Contains(asked(p.asking), r) {
			o = Unknown
		}
		reason := why(r)
		r.Reason = nil
		p.finish([]*Record{r}, o, reason)
	}
	abandoned := slices.ContainsFunc(p.resend, func(b *Batch) bool { return b.unanswered && b.abandoned() })
	p.doubtful = slices.DeleteFunc(p.doubtful, ended)
	p.deferred = slices.DeleteFunc(p.deferred, ended)
	p.dropEnded()
	if abandoned || len(p.doubts) > 0 && len(p.doubtful) == 0 {
		p.forgets = true
	}
	p.mayForget()
	if to := p.list(); to != nil {
		go to.kick()
	}
}

// keep has a batch that may have been appended keep the content of records that are given
// up, since it is sent again.
func (b *Batch) keep(gone map[*Record]bool) {
	if b.unanswered {
		b.copyOut(gone)
	}
}

func (b *Batch) copyOut(gone map[*Record]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, r := range b.Records {
		if gone[r] {
			b.Records[i] = r.copied()
		}
	}
}

// endLeaving ends those records of a batch that were given up while it was in flight. A copy
// stands in for each record that has ended, so that an answer's indexes stay right.
func (p *partition) endLeaving(b *Batch) {
	gone := map[*Record]bool{}
	for _, r := range b.Records {
		if r.leaving != nil && !r.Ended() {
			o := NotWritten
			if r.doubt {
				o = Unknown
			}
			p.finish([]*Record{r}, o, r.leaving())
		}
		if r.Ended() {
			gone[r] = true
		}
	}
	if len(gone) == 0 {
		return
	}
	b.copyOut(gone)
	p.doubtful = slices.DeleteFunc(p.doubtful, ended)
	if b.unanswered && b.abandoned() || len(p.doubts) > 0 && len(p.doubtful) == 0 {
		p.forgets = true
	}
}

// mayForget gives the sequence up where a batch in doubt is not sent again, once nothing is in
// flight and nothing is before the Policy.
func (p *partition) mayForget() {
	if p.forgets && p.inFlight == nil && p.asking == nil {
		p.forgets = false
		p.loseTrack(errInFlight)
	}
}

func asked(b *Batch) []*Record {
	if b == nil {
		return nil
	}
	return b.Records
}

// copied returns a copy that nothing waits for, with content of its own.
func (r *Record) copied() *Record {
	kr := &kgo.Record{Topic: r.Topic, Timestamp: r.Timestamp, Key: slices.Clone(r.Key), Value: slices.Clone(r.Value), Headers: make([]kgo.RecordHeader, len(r.Headers))}
	for i, h := range r.Headers {
		kr.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: slices.Clone(h.Value)}
	}
	c := &Record{Record: kr, Size: r.Size, fixed: r.fixed, Single: r.Single}
	c.part.Store(r.part.Load())
	return c
}
