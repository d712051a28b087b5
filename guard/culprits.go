package guard

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// named settles the suspects of a refused batch that the broker itself names
// (KIP-467), and goes on with the others. It reports whether it could.
//
// The batch was this group and nothing else, so that an index is a record. A
// cluster is believed once one that it named was refused alone as well. Who is
// not named is no more than sent again. Who is named for a time that we chose is
// held, since the clocks may differ.
func (i *search) named(group []*slot, e *wire.Event) bool {
	const since = 8 // the version of produce that names records
	if e.Version < since || len(e.Named) == 0 || e.Records != len(group) || !namesRecords(e.Code) {
		return false
	}
	sent := i.sent
	last := -1
	for _, n := range e.Named {
		if n.Index <= last || n.Index >= len(group) {
			return false
		}
		last = n.Index
	}
	g := i.write.guard
	if !g.namesRightly.Load() {
		first, ok := i.mayGoFirst(group, e.Named)
		if !ok {
			return false
		}
		i.send([]*slot{first}, false)
		if !g.namesRightly.Load() {
			i.clear(unsettled(group), false)
			return true
		}
	}
	i.learnKeys(e)
	var alone []int // in the group
	for n, named := range e.Named {
		s := group[named.Index]
		switch {
		case s.settled():
		case aboutKey(named.Text) || g.blames(s, e.Code, sent):
			s.failFor(InvalidRecord, NotWritten, words(e, n), s.err)
		case named.Text != "" && !wordsTime.MatchString(named.Text):
			alone = append(alone, named.Index) // it may be for something else
		default:
			s.failFor(Transient, NotWritten, "named by the broker, which may be no fault of its own: "+explain(s, e), s.err)
			i.holdKey(s)
		}
	}
	from := 0
	for _, at := range alone {
		i.clear(group[from:at], true)
		i.clear(group[at:at+1], true)
		from = at + 1
	}
	i.clear(group[from:], true)
	return true
}

// learnKeys notes that a topic takes no record without a key, where the broker says so.
func (i *search) learnKeys(e *wire.Event) {
	if g := i.write.guard; aboutKey(e.Named[0].Text) && !g.rules.of(i.tp.Topic).Known {
		g.bounds.get(i.tp.Topic).keyless.Store(time.Now().UnixNano())
		g.bounds.any.Store(true)
	}
}

// mayGoFirst returns a named record that may be sent before the others of the
// group: none with its key comes before it.
func (i *search) mayGoFirst(group []*slot, named []wire.Named) (*slot, bool) {
	for _, n := range named {
		if s := group[n.Index]; !keyIn(group[:n.Index], s) {
			return s, true
		}
	}
	return nil, false
}

// keyIn reports whether one of the slots has the key of s.
func keyIn(slots []*slot, s *slot) bool {
	key := s.record().Key
	return key != nil && slices.ContainsFunc(slots, func(o *slot) bool { return string(o.record().Key) == string(key) })
}

// Kafka's own words about a record quote no content. Those of others may.
var (
	wordsKey  = regexp.MustCompile(`^Compacted topic cannot accept message without key in topic partition [a-zA-Z0-9._-]+\.?$`)
	wordsTime = regexp.MustCompile(`^Timestamp -?\d+ of message with offset -?\d+ is out of range\. The timestamp should be within \[-?\d+, -?\d+\]\.?$`)
)

func aboutKey(text string) bool { return wordsKey.MatchString(text) }

// words says of a refused record that the broker names it, in the broker's words
// where these are known to have no content in them.
func words(e *wire.Event, n int) string {
	if n >= len(e.Named) {
		return ""
	}
	if text := e.Named[n].Text; aboutKey(text) || wordsTime.MatchString(text) {
		return "the broker says: " + text
	}
	return "the broker names this record"
}

// witness is a record that was refused alone, for its size.
type witness struct {
	raw, sent int
	event     wire.Event
	// shrinks says that whoever compresses the record makes it smaller. It is only
	// found out where the client does not compress it.
	shrinks bool
}

// testify has a record that was refused alone for its size speak against those
// that are no smaller.
func (i *search) testify(s *slot, sent int, e *wire.Event) {
	if i.witness == nil || int(s.size) < i.witness.raw {
		plain := i.write.guard.settings.compressor == nil
		i.witness = &witness{raw: int(s.size), sent: sent, event: *e, shrinks: plain && shrinks(s.record(), int(s.size))}
	}
}

// shrinks reports whether every codec makes a record of that raw size smaller,
// whatever its level: the one that makes the least of it halves it.
func shrinks(r *kgo.Record, raw int) bool {
	compressed, codec := leastOf.Compress(new(bytes.Buffer), r.Value)
	return codec == kgo.CodecSnappy && len(r.Value)-len(compressed) > raw/2
}

var leastOf, _ = kgo.DefaultCompressor(kgo.SnappyCompression())

// condemned reports whether the witness proves that a suspect is too large: the
// same leader, in the same search, would give it the same answer.
//
// What is sent is compared, for that is what the broker looks at first, and what
// is in it, for the broker may store it uncompressed. Where the broker compresses
// anew, the witness may have been refused for what became of it: then the suspect
// must be larger as sent than the witness can have become. That is no larger than
// it was if it was sent as it is and shrinks.
func (i *search) condemned(s *slot) (sent int, yes bool) {
	g, rules := i.write.guard, i.write.guard.rules.of(i.tp.Topic).condemning()
	if i.witness == nil || int(s.size) < i.witness.raw {
		return 0, false
	}
	sent = g.settings.sentSize(s.record(), int(s.size))
	asIs := rules.Known && (rules.Compression == "producer" || rules.Compression == "uncompressed" || rules.Compression == "none") ||
		!rules.Known && g.settings.compressor == nil && i.witness.shrinks
	if asIs {
		return sent, sent >= i.witness.sent
	}
	return sent, sent >= i.witness.raw+i.witness.raw/6+64
}

// condemnDominated settles whom the witness condemns: of the suspects of the
// search, and of the records of the write that would come to the partition later.
func (i *search) condemnDominated() {
	for _, s := range i.suspects {
		i.condemnIf(s)
	}
	g := i.write.guard
	rules := g.rules.of(i.tp.Topic)
	for _, s := range i.part.rest {
		if s.record().Topic != i.tp.Topic || int(s.size) < i.witness.raw {
			continue
		}
		// Other searches look at records for other partitions.
		if to := g.destination(rules, s); to == int(i.tp.Partition) || to < 0 && rules.Partitions == 1 {
			i.condemnIf(s)
		}
	}
}

func (i *search) condemnIf(s *slot) {
	if s.settled() {
		return
	}
	if sent, yes := i.condemned(s); yes {
		e := &i.witness.event
		s.failFor(SizeExceeded, NotWritten, "", codeError(e.Code))
		i.condemn(s, sent, e)
	}
}

// unlike is by how much the largest record of a group must exceed the smallest
// to be looked at by itself, for it may be too large alone.
const unlike = 8

// bySize looks for the records of a group that are too large alone, and returns
// what is left of the group. Whoever is refused alone is the witness against all
// that are no smaller.
//
// Records that are all alike need no such look: halving the group gets to the
// first of them as soon. Else the largest is sent alone, and then the smallest of
// those beyond the widest gap in size: that is all it takes where most are small
// and some are large. If it was not enough, the sizes are halved.
//
// Only records go first that no other with their key comes before.
func (i *search) bySize(group []*slot) []*slot {
	free := i.mayOvertake(group)
	if len(free) == 0 || int(free[len(free)-1].size) < unlike*int(free[0].size) {
		return group
	}
	small, large := -1, len(free) // up to here taken, from here on refused
	for at := len(free) - 1; large-small > 1; {
		s := free[at]
		switch {
		case s.settled(): // by a witness
			large = at
		case int(s.size) <= i.taken:
			small = at
		default:
			i.send([]*slot{s}, false)
			switch v := s.verdict(); {
			case v.Outcome == Delivered:
				small = at
			case v.Class == SizeExceeded && v.Outcome == NotWritten:
				large = at
			default:
				return unsettled(group) // it is held, and so is what follows
			}
		}
		switch {
		case large == len(free):
			return unsettled(group) // not even the largest is too large
		case i.halveSizes:
			at = (small + large) / 2
		case at == len(free)-1 && gap(free) < at:
			at = gap(free)
		default:
			i.halveSizes = true
			return unsettled(group)
		}
	}
	return unsettled(group)
}

// mayOvertake returns those of the group that no other with their key comes
// before, from the smallest to the largest.
func (i *search) mayOvertake(group []*slot) (free []*slot) {
	seen := map[string]struct{}{}
	for _, s := range group {
		key := s.record().Key
		if _, before := seen[string(key)]; key == nil || !before {
			free = append(free, s)
		}
		if key != nil {
			seen[string(key)] = struct{}{}
		}
	}
	slices.SortStableFunc(free, func(a, b *slot) int { return cmp.Compare(a.size, b.size) })
	return free
}

// gap returns the index of the smallest slot beyond the widest gap in size.
func gap(slots []*slot) int {
	at, widest := 0, int32(-1)
	for n := 1; n < len(slots); n++ {
		if gap := slots[n].size - slots[n-1].size; gap >= widest {
			at, widest = n, gap
		}
	}
	return at
}

var batchSizeText = regexp.MustCompile(`^batch size \d+ exceeds max (\d+)`)

// limitIn returns the limit that a broker's words tell of, 0 for none: Redpanda
// says it.
func limitIn(message string) int {
	if m := batchSizeText.FindStringSubmatch(message); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}

// explain says why the refusal of a record that stood alone is no proof.
func explain(s *slot, e *wire.Event) string {
	switch {
	case s.unstamped && aboutTime(e.Code):
		return "it bears the time at which it was sent, so compare the clocks, and see the topic's message.timestamp.before.max.ms"
	case vague(e.Code):
		return "the code says nothing of the record, and everybody may get it"
	default:
		return "it was not alone in its request"
	}
}

// codeError returns a broker's code as kgo does.
func codeError(code int16) error { return kerr.ErrorForCode(code) }
