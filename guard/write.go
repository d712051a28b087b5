package guard

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// write is one call of Guard.Write.
type write struct {
	guard    *Guard
	ctx      context.Context
	records  []*kgo.Record
	verdicts []Verdict
	slots    []slot
	all      []*slot // the slots
	open     []*slot // those that preflight let pass, and no part has taken yet

	values []context.Context // the records' own Contexts, nil if they have none

	mu   sync.Mutex
	errs map[*slot]error // that kgo ended records with
}

// slot is the place of one record in a write. It rides in the record's Context
// to where kgo is done with the record, and so needs no allocation of its own.
type slot struct {
	write *write
	index int32
	size  int32 // raw
	// partitions is how many the topic has, if the partitioner chose another.
	partitions int32
	// placed is set once the record is buffered for a partition.
	placed bool
	// alone has the record go by the solo client, and in a batch alone.
	alone bool
	// state is no longer pending once kgo is done with the record: then
	// partitions, placed and err hold.
	state atomic.Int32
}

const (
	pending = iota // for kgo to be done
	taken
	failed
)

func (s *slot) record() *kgo.Record { return s.write.records[s.index] }
func (s *slot) verdict() *Verdict   { return &s.write.verdicts[s.index] }

// err returns what kgo ended the record with.
func (s *slot) err() error {
	s.write.mu.Lock()
	defer s.write.mu.Unlock()
	return s.write.errs[s]
}

// The Context of a record that is being produced never ends, for kgo would fail
// its whole partition. It has the values of the record's own.
func (*slot) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*slot) Done() <-chan struct{}       { return nil }
func (*slot) Err() error                  { return nil }
func (s *slot) Value(key any) any {
	if own := s.own(); own != nil {
		return own.Value(key)
	}
	return nil
}

// own returns the record's own Context.
func (s *slot) own() context.Context {
	if s.write.values == nil {
		return nil
	}
	return s.write.values[s.index]
}

// slotHook is the one promise that all records share: kgo calls it when a record
// has a partition, and when it is done with the record.
type slotHook struct{}

func (slotHook) OnProduceRecordPartitioned(r *kgo.Record, _ int32) {
	if s, ok := r.Context.(*slot); ok {
		s.placed = true
	}
}

func (slotHook) OnProduceRecordUnbuffered(r *kgo.Record, err error) {
	s, ok := r.Context.(*slot)
	switch {
	case !ok:
	case err == nil:
		s.state.Store(taken)
	default:
		w := s.write
		w.mu.Lock()
		if w.errs == nil {
			w.errs = map[*slot]error{}
		}
		w.errs[s] = err
		w.mu.Unlock()
		s.state.Store(failed)
	}
}

// begin opens a slot for each record.
func (g *Guard) begin(ctx context.Context, records []*kgo.Record) *write {
	w, _ := g.writes.Get().(*write)
	if w == nil {
		w = &write{guard: g}
	}
	w.ctx, w.records, w.verdicts = ctx, records, make([]Verdict, len(records))
	if len(records) > cap(w.slots) {
		w.slots = make([]slot, len(records))
		w.all = make([]*slot, len(records))
		for i := range w.slots {
			s := &w.slots[i]
			s.write, s.index = w, int32(i)
			w.all[i] = s
		}
	}
	w.slots, w.all = w.slots[:len(records)], w.all[:len(records)]
	return w
}

// end returns the verdicts. The rest is used again for another write, unless kgo
// may still come back to it.
func (w *write) end() []Verdict {
	verdicts := w.verdicts
	if w.ctx.Err() == nil {
		w.ctx, w.records, w.verdicts, w.open, w.values, w.errs = nil, nil, nil, nil, nil, nil
		w.guard.writes.Put(w)
	}
	return verdicts
}

// preflight settles the records that no request is needed to refuse, by rules
// that are fresh enough to condemn by.
func (w *write) preflight() {
	var topics distinct
	legal := "" // the last topic
	passed := 0
	for i := range w.slots {
		s := &w.slots[i]
		s.placed, s.alone, s.partitions = false, false, 0
		r := s.record()
		if f := w.guard.preflightTopic(r, legal); f != nil {
			s.fail(f, NotWritten)
			continue
		}
		legal = r.Topic
		if r.Context != nil {
			if w.values == nil {
				w.values = make([]context.Context, len(w.slots))
			}
			w.values[i] = r.Context
		}
		s.size = int32(min(rawSize(r), math.MaxInt32))
		topics.add(r.Topic)
		passed++
	}
	w.open = w.all
	if passed < len(w.all) {
		w.open = unsettled(w.all)
	}
	w.guard.rules.learn(w.ctx, topics.names)
	w.open = w.judge(w.open)
}

// distinct collects names that are often the same as the last one.
type distinct struct {
	names []string
	seen  map[string]struct{} // once there are two
}

func (d *distinct) add(name string) {
	switch {
	case len(d.names) == 0:
		d.names = []string{name}
		return
	case d.names[len(d.names)-1] == name:
		return
	case d.seen == nil:
		d.seen = map[string]struct{}{d.names[0]: {}}
	}
	if _, ok := d.seen[name]; !ok {
		d.seen[name] = struct{}{}
		d.names = append(d.names, name)
	}
}

// judge settles those of the slots that the rules condemn, and returns the
// others. Rules that condemn are read again first, unless they are fresh.
func (w *write) judge(slots []*slot) (passed []*slot) {
	g := w.guard
	type sentence struct {
		slot  *slot
		rules *Rules
		*Failure
	}
	var condemned []sentence
	var topics distinct
	var rules *Rules
	var harmless func(r *kgo.Record, raw int) bool
	for _, s := range slots {
		if rules == nil || rules.Topic != s.record().Topic {
			rules = g.rules.of(s.record().Topic)
			harmless = g.harmless(rules)
		}
		if harmless(s.record(), int(s.size)) {
			continue
		}
		if f := g.preflight(s.record(), int(s.size), rules); f != nil {
			condemned = append(condemned, sentence{s, rules, f})
			topics.add(rules.Topic)
		}
	}
	if len(condemned) == 0 {
		return slots
	}
	g.rules.refresh(w.ctx, topics.names)
	for _, c := range condemned {
		f := c.Failure
		if now := g.rules.of(c.rules.Topic); now != c.rules {
			f = g.preflight(c.slot.record(), int(c.slot.size), now)
		}
		if f != nil {
			f.Partition = c.slot.partition()
			c.slot.fail(f, NotWritten)
		}
	}
	return unsettled(slots)
}

// unsettled returns those of the slots that have no verdict yet.
func unsettled(slots []*slot) (open []*slot) {
	for _, s := range slots {
		if !s.settled() {
			open = append(open, s)
		}
	}
	return open
}

// reconsider judges what the broker refused by rules that are fresh: the limit
// may be lower than it was.
func (w *write) reconsider(p *part) {
	if !slices.ContainsFunc(p.slots, func(s *slot) bool { return !s.alone }) {
		return
	}
	var topics []string
	for _, t := range p.topics {
		topics = append(topics, t.rules.Topic)
	}
	w.guard.rules.refresh(w.ctx, topics)
	suspects := len(p.slots)
	p.slots = w.judge(p.slots)
	p.judged = len(p.slots) < suspects
	for _, t := range p.topics {
		t.set(w.guard)
	}
}

// settled reports whether the slot has its verdict.
func (s *slot) settled() bool {
	return s.verdict().Outcome == Delivered || s.verdict().Failure != nil
}

func (s *slot) deliver(answers bool) {
	v := s.verdict()
	v.Outcome, v.Class = Delivered, None
	r := s.record()
	v.Partition, v.Offset, v.Timestamp = r.Partition, -1, r.Timestamp
	if answers {
		v.Offset = r.Offset
	}
}

func (s *slot) fail(f *Failure, outcome Outcome) {
	f.Outcome = outcome
	v := s.verdict()
	v.Outcome, v.Class, v.Partition, v.Offset, v.Failure = outcome, f.Class, f.Partition, -1, f
}

// failWith settles the slot with an error that kgo ended its record with, as
// read by classify.
func (s *slot) failWith(r reading, err error) {
	s.fail(&Failure{Class: r.class, Topic: s.record().Topic, Partition: s.partition(), Cause: err}, r.outcome)
}

// partition returns the partition of a record that kgo is done with, -1 if it
// never got one.
func (s *slot) partition() int32 {
	if !s.placed {
		return -1
	}
	return s.record().Partition
}

// part is what of a write's records is handed over in one go, and dealt with to
// the end before the next: so they keep their order.
type part struct {
	all    []*slot
	slots  []*slot // of these, those that are to be dealt with next
	topics []*partTopic
	byName map[string]*partTopic
	count  int64 // of records
	bytes  int64 // of what they count against max_buffered_bytes
	alone  bool  // some of the slots are
	judged bool  // some of the suspects are condemned by fresh rules
	retry  retry
	busy   sync.WaitGroup // for kgo
}

// partTopic is a topic of a part.
type partTopic struct {
	rules   *Rules
	limit   int     // of a batch
	largest int     // raw size of a record
	batch   int     // raw size of a batch of all records
	spread  *spread // nil while that keeps to the limit
	closed  []bool  // by partition: that have a record which goes alone, nil if none
}

func (t *partTopic) set(g *Guard) {
	t.rules = g.rules.of(t.rules.Topic)
	t.limit, _ = g.limit(t.rules)
	if t.rules.batch > 0 {
		t.limit = min(t.limit, max(t.rules.batch, t.largest+kgoRounding))
	}
}

// spread is how many bytes of records go to each partition of a topic.
type spread struct {
	partitions []int
	largest    int // of these
	anywhere   int // that no key tells the partition of
}

func (s *spread) add(partition, bytes int) {
	if partition < 0 {
		s.anywhere += bytes
		return
	}
	s.partitions[partition] += bytes
	s.largest = max(s.largest, s.partitions[partition])
}

// with returns the most that a partition may have to take, with some more bytes.
func (s *spread) with(partition, bytes int) int {
	if partition < 0 {
		return s.anywhere + s.largest + bytes
	}
	return s.anywhere + max(s.largest, s.partitions[partition]+bytes)
}

// topic returns the part's entry for a topic.
func (p *part) topic(g *Guard, name string) *partTopic {
	if len(p.topics) == 1 && p.byName == nil {
		if p.topics[0].rules.Topic == name {
			return p.topics[0]
		}
		p.byName = map[string]*partTopic{p.topics[0].rules.Topic: p.topics[0]}
	}
	if t, ok := p.byName[name]; ok {
		return t
	}
	t := &partTopic{rules: g.rules.of(name), batch: batchOverhead}
	t.set(g)
	p.topics = append(p.topics, t)
	if p.byName != nil {
		p.byName[name] = t
	}
	return t
}

// next takes the next part, nil when there is none.
//
// A part holds no more of a partition than fits into one batch: kgo begins to
// send when a batch is full, and a refusal must not arrive while records of the
// same partition are still being handed over, lest these overtake the refused.
//
// A record that goes alone is the last of its partition in a part. The partition's
// others are left for the next one.
func (w *write) next() *part {
	if len(w.open) == 0 || w.open[0].settled() { // abandoned
		return nil
	}
	g, p := w.guard, &part{}
	var t *partTopic
	var later []*slot
	seen := 0
scan:
	for i, s := range w.open {
		if t == nil || t.rules.Topic != s.record().Topic {
			t = p.topic(g, s.record().Topic)
		}
		size, buffered := int(s.size), 0
		if g.bytes != nil {
			buffered = bufferedSize(s.record())
		}
		first := p.count == 0
		if !first && !g.fits(p, buffered) {
			break
		}
		s.alone = size > t.limit-kgoRounding || size >= t.rules.refusedFrom()
		to := -1
		if s.alone || t.closed != nil || t.overflows(s) {
			to = g.destination(t.rules, s)
		}
		switch {
		case to < 0 && (s.alone && !first || t.closed != nil):
			break scan
		case t.closed != nil && t.closed[to]:
			later = append(later, s)
			seen = i + 1
			continue
		case s.alone:
			p.alone = true
			if to >= 0 {
				t.close(to)
			}
		case !first && !t.takes(g, s, to, p.all):
			break scan
		default:
			t.add(s, to)
		}
		p.count++
		p.bytes += int64(buffered)
		seen = i + 1
		if later == nil {
			p.all = w.open[:seen:seen]
		} else {
			p.all = append(p.all, s)
		}
		if s.alone && to < 0 {
			break
		}
	}
	p.slots = p.all
	w.open = w.open[seen:]
	if later != nil {
		w.open = slices.Concat(later, w.open)
	}
	return p
}

// overflows reports whether a batch can't hold s and all that the part has of the
// topic: then it matters which partition a record goes to.
func (t *partTopic) overflows(s *slot) bool {
	return t.batch+int(s.size)-batchOverhead > t.limit-kgoRounding
}

// takes reports whether none of the topic's partitions has more than a batch with
// s, given its partition and the part's slots so far.
func (t *partTopic) takes(g *Guard, s *slot, to int, sofar []*slot) bool {
	if !t.overflows(s) {
		return true
	}
	if t.rules.Partitions < 2 {
		return false
	}
	if t.spread == nil {
		t.spread = &spread{partitions: make([]int, t.rules.Partitions)}
		for _, earlier := range sofar {
			if !earlier.alone && earlier.record().Topic == t.rules.Topic {
				t.spread.add(g.destination(t.rules, earlier), int(earlier.size)-batchOverhead)
			}
		}
	}
	return batchOverhead+t.spread.with(to, int(s.size)-batchOverhead) <= t.limit-kgoRounding
}

// destination returns the partition that a record goes to for its own sake, such
// as its key's, or -1.
func (g *Guard) destination(rules *Rules, s *slot) int {
	if rules.Partitions == 0 { // not known
		return -1
	}
	partition, ok := g.choices.fixed(g.settings.partitioner, s.record(), rules.Partitions)
	if !ok || partition < 0 || partition >= rules.Partitions {
		return -1
	}
	return partition
}

// kgoRounding is by how much kgo may count a batch larger than it is: it adds
// the length that a request puts before it.
const kgoRounding = 4

// add counts s, which goes to the partition, to the topic's part.
func (t *partTopic) add(s *slot, to int) {
	t.largest = max(t.largest, int(s.size))
	t.batch += int(s.size) - batchOverhead
	if t.spread != nil {
		t.spread.add(to, int(s.size)-batchOverhead)
	}
}

// close has the partition take nothing more in this part.
func (t *partTopic) close(partition int) {
	if t.closed == nil {
		t.closed = make([]bool, t.rules.Partitions)
	}
	t.closed[partition] = true
}

// fits reports whether the part with one more record keeps within
// max_buffered_records and max_buffered_bytes.
func (g *Guard) fits(p *part, buffered int) bool {
	return p.count < int64(g.settings.maxBufferedRecords) &&
		(g.bytes == nil || p.bytes+int64(buffered) <= int64(g.settings.maxBufferedBytes))
}

// admit waits until the part has room in the buffer, or ctx ends. It keeps
// Produce from blocking, which could not be ended without failing others.
func (g *Guard) admit(ctx context.Context, p *part) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := g.records.Acquire(ctx, p.count); err != nil {
		return nil, err
	}
	if g.bytes == nil {
		return func() { g.records.Release(p.count) }, nil
	}
	if err := g.bytes.Acquire(ctx, p.bytes); err != nil {
		g.records.Release(p.count)
		return nil, err
	}
	return func() { g.records.Release(p.count); g.bytes.Release(p.bytes) }, nil
}

// release gives the part's room in the buffer back, once kgo is done with all of
// its records: that may be long after the write's context has ended.
func (w *write) release(p *part, release func()) {
	if w.ctx.Err() == nil {
		p.busy.Wait()
		release()
		return
	}
	go func() {
		p.busy.Wait()
		release()
	}()
}

// produce hands the records to the client and waits until it is done with them
// all, or the write's context ends.
//
// kgo.ProduceSync has the records linger until the last is handed over, so that
// they leave in as few batches as can be. Then it sends them at once.
//
// It returns the mark of the attempts before the hand-over.
func (w *write) produce(p *part, gen *generation, slots []*slot) (since uint64) {
	since = gen.attempts.now()
	records := w.records
	if len(slots) < len(w.slots) {
		records = make([]*kgo.Record, len(slots))
		for i, s := range slots {
			records[i] = s.record()
		}
	}
	for _, s := range slots {
		s.record().Context = s
		s.placed, s.partitions = false, 0
		s.state.Store(pending)
	}
	finished := make(chan struct{})
	w.guard.borrow(gen)
	p.busy.Go(func() {
		defer close(finished)
		defer w.guard.done(gen)
		gen.ProduceSync(w.guard.ctx, records...)
	})
	if w.await(finished, slots) {
		for _, s := range slots {
			s.record().Context = s.own()
		}
	}
	return since
}

// await waits for kgo to be done, and reports whether it is before the write's
// context ends. When it takes long, it tells.
func (w *write) await(finished <-chan struct{}, slots []*slot) bool {
	var held map[topicClass]int
	defer func() { w.guard.waiting.move(held, nil, nil) }()
	stall := time.NewTimer(stallAfter)
	defer stall.Stop()
	for {
		select {
		case <-finished:
			return true
		case <-w.ctx.Done():
			return false
		case <-stall.C:
			open := map[topicClass]int{}
			for _, s := range slots {
				if s.state.Load() == pending {
					open[topicClass{s.record().Topic, Transient}]++
				}
			}
			w.guard.waiting.move(held, open, nil)
			held = open
			stall.Reset(stallAfter)
		}
	}
}

// stallAfter is how long kgo may take before that is told of.
const stallAfter = 10 * time.Second

// read reads the error that kgo ended a slot's record with in the light of the
// attempts since it was handed over.
func (c *client) read(s *slot, since uint64) reading {
	r := classify(s.err())
	switch {
	case !s.placed:
		r.outcome = NotWritten // it was never sent
	case c.attempts.inDoubt(topicPartition{s.record().Topic, s.record().Partition}, since, r.reach):
		r.outcome = Unknown
	}
	return r
}

// bulk sends a part by the bulk client and settles what can be settled. What
// remains are suspects, and the records that go alone.
func (w *write) bulk(p *part) {
	batch := p.slots
	if p.alone {
		batch = slices.DeleteFunc(slices.Clone(batch), func(s *slot) bool { return s.alone })
	}
	if len(batch) == 0 {
		return
	}
	gen, err := w.guard.bulk(p)
	if err != nil {
		w.abandon(err)
		p.slots = nil
		return
	}
	defer w.guard.done(gen)
	since := w.produce(p, gen, batch)
	var left []*slot
	for _, s := range p.slots {
		if !s.alone {
			if w.settle(gen.client, s, since) {
				continue
			}
			s.verdict().Suspected = true
		}
		left = append(left, s)
	}
	p.slots = left
}

// settle gives a slot its verdict unless it is a suspect.
func (w *write) settle(c *client, s *slot, since uint64) bool {
	switch {
	case s.state.Load() == pending:
		s.fail(&Failure{Class: Transient, Topic: s.record().Topic, Partition: -1, Cause: context.Cause(w.ctx)}, Unknown)
	case s.state.Load() == taken:
		s.deliver(w.guard.settings.answers)
	case s.partitions > 0:
		s.fail(w.noSuchPartition(s), NotWritten)
	default:
		r := c.read(s, since)
		if r.reach == ofBatch && r.outcome == NotWritten {
			return false
		}
		s.failWith(r, s.err())
	}
	return true
}

// abandon settles as not written what was not handed over.
func (w *write) abandon(err error) {
	for i := range w.slots {
		if s := &w.slots[i]; !s.settled() {
			s.fail(&Failure{Class: Transient, Topic: s.record().Topic, Partition: -1, Problem: "not sent", Cause: err}, NotWritten)
		}
	}
}
