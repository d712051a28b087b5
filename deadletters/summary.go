package deadletters

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Bounds of the memory of a summary.
const (
	maxGroups  = 1000  // by class, topic and reason
	maxTexts   = 20000 // error texts that are remembered with their reason
	maxLimits  = 50
	maxSamples = 2       // of a group
	allSamples = 40      // of all groups
	maxSample  = 1 << 16 // bytes of a sample that is kept with its content
)

// otherReasons stands for all further reasons, when there are too many.
const otherReasons = "other reasons"

// group counts the letters with the same cause.
type group struct {
	Class    string     `json:"class"`
	Topic    string     `json:"topic"`
	Reason   string     `json:"reason"`
	Count    int64      `json:"count"`
	Bytes    int64      `json:"bytes"`
	First    *time.Time `json:"first,omitempty"`
	Last     *time.Time `json:"last,omitempty"`
	Attempts int64      `json:"redriven,omitempty"` // letters that were sent again before, without success

	first, last time.Time
	samples     []sample
}

// sample is a letter of a group. A large one is kept without its content.
type sample struct {
	letter *Letter
	bytes  int // of the content
	whole  bool
}

// sizes counts letters over a limit by their size.
type sizes struct {
	Limit    int   `json:"limit"` // in bytes
	Count    int64 `json:"count"`
	Smallest int   `json:"smallest"`
	Largest  int   `json:"largest"`
	// Over counts the letters by their size as a multiple of the limit: one number for
	// each of ratios, and one for those above.
	Over [len(ratios) + 1]int64 `json:"over"`
}

var ratios = [...]float64{1.1, 1.5, 2, 5, 10}

// summary counts all letters.
type summary struct {
	Source   string     `json:"source"`
	Chosen   string     `json:"chosen"`
	Read     int64      `json:"read"`
	Count    int64      `json:"letters"`
	Bytes    int64      `json:"bytes"`
	First    *time.Time `json:"first,omitempty"`
	Last     *time.Time `json:"last,omitempty"`
	Groups   []*group   `json:"groups"`
	Sizes    []*sizes   `json:"sizes,omitempty"`
	Timeline []column   `json:"timeline,omitempty"`

	time        *timeline
	groups      map[groupKey]*group
	texts       map[string]*group // by class, topic and error text
	limits      map[int]*sizes
	first, last time.Time
	samples     int // how many more to keep
	scratch     []byte
}

type groupKey struct{ class, topic, reason string }

func newSummary(source, chosen string, samples int) *summary {
	return &summary{
		Source: source, Chosen: chosen, samples: samples, time: newTimeline(),
		groups: map[groupKey]*group{}, texts: map[string]*group{}, limits: map[int]*sizes{},
	}
}

// add counts a letter.
func (s *summary) add(l *Letter) {
	g := s.group(l)
	size := int64(l.size())
	s.Count++
	s.Bytes += size
	g.Count++
	g.Bytes += size
	if l.attempts > 0 {
		g.Attempts++
	}
	if at := l.time(); !at.IsZero() {
		s.time.add(at, g.Class)
		g.first, g.last = span(g.first, g.last, at)
		s.first, s.last = span(s.first, s.last, at)
	}
	if l.limit > 0 {
		s.size(l)
	}
	if s.samples > 0 && len(g.samples) < maxSamples {
		s.samples--
		g.samples = append(g.samples, sampleOf(*l))
	}
}

func sampleOf(l Letter) sample {
	s := sample{bytes: len(l.body), whole: l.size() <= maxSample}
	if !s.whole {
		l.meta = slices.DeleteFunc(slices.Clone(l.meta), func(h kgo.RecordHeader) bool { return !own(h.Key) })
		l.body = []byte{}
	}
	s.letter = l.keep()
	return s
}

func span(first, last, at time.Time) (time.Time, time.Time) {
	if first.IsZero() || at.Before(first) {
		first = at
	}
	if at.After(last) {
		last = at
	}
	return first, last
}

// group returns the group of a letter. Most texts were seen before.
func (s *summary) group(l *Letter) *group {
	s.scratch = append(append(append(append(append(s.scratch[:0], l.class...), 0), l.topic...), 0), l.err...)
	if g := s.texts[string(s.scratch)]; g != nil {
		return g
	}
	key := groupKey{text(l.class), text(l.topic), ""}
	if key.class == "" {
		key.class = noClass
	}
	key.reason = fold(text(l.err), key.class, key.topic)
	g := s.groups[key]
	if g == nil {
		if len(s.groups) >= maxGroups {
			key = groupKey{key.class, "", otherReasons}
			g = s.groups[key]
		}
		if g == nil {
			g = &group{Class: key.class, Topic: key.topic, Reason: key.reason}
			s.groups[key] = g
		}
	}
	if len(s.texts) >= maxTexts {
		clear(s.texts)
	}
	s.texts[string(s.scratch)] = g
	return g
}

func (s *summary) size(l *Letter) {
	z := s.limits[l.limit]
	if z == nil {
		if len(s.limits) >= maxLimits {
			return
		}
		z = &sizes{Limit: l.limit, Smallest: l.bytes}
		s.limits[l.limit] = z
	}
	z.Count++
	z.Smallest, z.Largest = min(z.Smallest, l.bytes), max(z.Largest, l.bytes)
	over := float64(l.bytes) / float64(l.limit)
	i := 0
	for i < len(ratios) && over > ratios[i] {
		i++
	}
	z.Over[i]++
}

// finish sorts the groups: the most frequent comes first.
func (s *summary) finish() {
	s.First, s.Last = pointer(s.first), pointer(s.last)
	s.Groups = slices.SortedFunc(maps.Values(s.groups), func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Reason, b.Reason))
	})
	for _, g := range s.Groups {
		g.First, g.Last = pointer(g.first), pointer(g.last)
	}
	s.Sizes = slices.SortedFunc(maps.Values(s.limits), func(a, b *sizes) int { return cmp.Compare(a.Limit, b.Limit) })
	s.Timeline, _ = s.time.columns(60)
}

func pointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// count is a name and its number of letters.
type count struct {
	Name  string
	Count int64
}

// by counts letters by a property of their group, most frequent first.
func (s *summary) by(of func(*group) string) []count {
	m := map[string]int64{}
	for _, g := range s.Groups {
		m[of(g)] += g.Count
	}
	var all []count
	for name, n := range m {
		all = append(all, count{name, n})
	}
	slices.SortFunc(all, func(a, b count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// json writes the summary for scripts to read.
func (s *summary) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(s)
}
