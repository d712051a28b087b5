package guard

import (
	"slices"
	"sync"
	"time"
)

// part is what of a write's records is handed over in one go, and dealt with to
// the end before the next: so they keep their order.
type part struct {
	all      []*slot
	rest     []*slot // of the write, that come later
	together []*slot // by the bulk client, in as few batches as can be
	alone    []*slot // by the solo client, each in a batch of its own
	topics   []*partTopic
	byName   map[string]*partTopic
	bytes    int64         // of what the records count against max_buffered_bytes
	paused   time.Duration // before this try
	busy     sync.WaitGroup
}

// partTopic is a topic of a part.
type partTopic struct {
	rules   *Rules
	limit   int     // of a batch, and so of a record, by the rules
	target  int     // up to which batches are made, unless a record is larger
	most    int     // that a batch may have, by what is known
	largest int     // raw size of a record that does not go alone
	batch   int     // raw size of a batch of all records that go together
	spread  *spread // nil while that keeps to the target
	closed  []bool  // by partition: that have a record which goes alone, nil if none
}

// friendlyBatch is up to which size batches are made where the topic takes more:
// many an endpoint closes the connection on requests of more than a megabyte.
const friendlyBatch = 960_000

// set has the topic judged by what is known of it by now.
func (t *partTopic) set(g *Guard) {
	t.rules = g.rules.of(t.rules.Topic)
	t.limit, _ = g.limit(t.rules)
	t.target, t.most = min(t.limit, friendlyBatch), t.limit
	if request := int(g.requestLimit.Load()); request > 0 {
		t.target = min(t.target, request-requestOverhead)
	}
	b := g.bounds.of(t.rules)
	if batch := b.batch(); batch > 0 {
		t.target = min(t.target, batch)
		t.most = min(t.most, int(b.over.Load())-1)
	}
}

// ceiling is the size up to which kgo makes the topic's batches: where a record is
// larger than they are to be, all that is known to be taken, so that the next one
// that is larger still takes no other client.
func (t *partTopic) ceiling() int {
	if t.largest+kgoRounding <= t.target {
		return t.target
	}
	return max(t.most, t.largest+kgoRounding)
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

// names returns the names of the part's topics.
func (p *part) names() (names []string) {
	for _, t := range p.topics {
		names = append(names, t.rules.Topic)
	}
	return names
}

// cut takes the next part off the open records, and returns the rest.
//
// A part holds no more of a partition than fits into one batch: kgo begins to
// send when a batch is full, and a refusal must not arrive while records of the
// same partition are still being handed over, lest these overtake the refused.
//
// A record that goes alone is the last of its partition in a part. The partition's
// others are left for the next part, in front of what comes after this one.
func (g *Guard) cut(open []*slot) (p *part, rest []*slot) {
	p = &part{}
	var t *partTopic
	var bounds *bounds
	var passed []*slot // over, because their partition is closed
	seen := 0
scan:
	for i, s := range open {
		if t == nil || t.rules.Topic != s.record().Topic {
			t = p.topic(g, s.record().Topic)
			bounds = g.bounds.of(t.rules)
		}
		size, buffered := int(s.size), 0
		if g.room.bytes != nil {
			buffered = bufferedSize(s.record())
		}
		first := len(p.all) == 0
		if !first && !g.room.fits(len(p.all)+1, p.bytes+int64(buffered)) {
			break scan // the buffer would be full
		}
		alone := size > min(t.limit, t.most)-kgoRounding || size >= bounds.single() || g.overRequest(s)
		to := -1 // the partition, where it matters and is known
		if alone || t.closed != nil || t.overflows(s) {
			to = g.destination(t.rules, s)
		}
		switch {
		case to < 0 && (alone && !first || t.closed != nil):
			break scan // it may go to a partition that has to be left alone
		case t.closed != nil && t.closed[to]:
			passed = append(passed, s)
			seen = i + 1
			continue
		case alone:
			if p.alone == nil {
				p.together = slices.Clone(p.all)
			}
			p.alone = append(p.alone, s)
			if to >= 0 {
				t.close(to)
			}
		case !first && !t.takes(g, s, to, p.all):
			break scan // the partition's batch would be full
		default:
			t.add(s, to)
		}
		seen = i + 1
		if len(p.all) == i { // all so far: no copy is needed
			p.all = open[:seen:seen]
		} else {
			p.all = append(p.all, s)
		}
		p.bytes += int64(buffered)
		switch {
		case p.alone == nil:
			p.together = p.all
		case !alone:
			p.together = append(p.together, s)
		case to < 0:
			break scan // nothing may follow it to a partition that is not known
		}
	}
	rest = open[seen:]
	if passed != nil {
		rest = slices.Concat(passed, rest)
	}
	p.rest = rest
	return p, rest
}

// overflows reports whether a batch can't hold s and all that the part has of the
// topic: then it matters which partition a record goes to.
func (t *partTopic) overflows(s *slot) bool {
	return t.batch+int(s.size)-batchOverhead > t.ceiling()-kgoRounding
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
		for _, earlier := range sofar { // those that go alone are in no batch, but rare
			if earlier.record().Topic == t.rules.Topic {
				t.spread.add(g.destination(t.rules, earlier), int(earlier.size)-batchOverhead)
			}
		}
	}
	return batchOverhead+t.spread.with(to, int(s.size)-batchOverhead) <= t.ceiling()-kgoRounding
}

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

// kgoRounding is by how much kgo may count a batch larger than it is: it adds
// the length that a request puts before it.
const kgoRounding = 4

// spread is how many bytes of records go to each partition of a topic.
type spread struct {
	partitions []int
	largest    int // of these
	anywhere   int // of records without a partition of their own
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
