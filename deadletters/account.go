package deadletters

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/twmb/franz-go/pkg/kadm"
)

// account has the outcome of the chosen letters. Each is in one of the last four
// numbers.
type account struct {
	Chosen      int64 `json:"chosen"`
	Delivered   int64 `json:"delivered"`
	FailedAgain int64 `json:"failed_again"` // letters again
	Dropped     int64 `json:"dropped"`      // deleted by the mapping
	Left        int64 `json:"left"`         // not sent, or not known whether they were

	// Perhaps is how many further copies there may be, at most: runs that were killed
	// may have sent these letters.
	Perhaps int64 `json:"perhaps_more"`
	// Doubt is how many of the letters that failed again may have been written.
	Doubt int64 `json:"in_doubt"`
}

func (a *account) add(b account) {
	a.Chosen += b.Chosen
	a.Delivered += b.Delivered
	a.FailedAgain += b.FailedAgain
	a.Dropped += b.Dropped
	a.Left += b.Left
	a.Perhaps += b.Perhaps
	a.Doubt += b.Doubt
}

func (a *account) balances() bool {
	return a.Chosen == a.Delivered+a.FailedAgain+a.Dropped+a.Left
}

// print writes the account, with what was checked and where letters that failed again
// are.
func (a *account) print(w io.Writer, checked, again string) {
	line := func(name string, n int64, notes ...string) {
		notes = slices.DeleteFunc(notes, func(note string) bool { return note == "" })
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-12s %11s  %s", name, humanize.Comma(n), strings.Join(notes, ", ")), " "))
	}
	perhaps, doubt := "", ""
	if a.Perhaps > 0 {
		perhaps = fmt.Sprintf("with up to %s copies more: a run was killed while it sent them", humanize.Comma(a.Perhaps))
	}
	if a.Doubt > 0 {
		doubt = fmt.Sprintf("%s of them may have been written all the same", humanize.Comma(a.Doubt))
	}
	if a.FailedAgain == 0 {
		again = ""
	} else {
		again = "they are letters again, " + again
	}
	line("chosen", a.Chosen)
	line("delivered", a.Delivered, checked, perhaps)
	line("failed again", a.FailedAgain, again, doubt)
	if a.Dropped > 0 {
		line("dropped", a.Dropped, "the mapping has deleted them")
	}
	line("left", a.Left)
}

// stretch is a range of offsets, without its end.
type stretch struct{ from, to int64 }

// offsets are the offsets of delivered letters, as few stretches as possible.
type offsets struct {
	all map[topicPartition][]stretch
	// untold counts letters that were acked without an offset.
	untold int64
}

type topicPartition struct {
	topic     string
	partition int32
}

func (o *offsets) add(topic string, partition int32, offset int64) {
	if offset < 0 {
		o.untold++
		return
	}
	if o.all == nil {
		o.all = map[topicPartition][]stretch{}
	}
	tp := topicPartition{topic, partition}
	all := o.all[tp]
	// Mostly it is the next offset.
	if n := len(all); n > 0 && all[n-1].to == offset {
		all[n-1].to++
		return
	}
	i, found := slices.BinarySearchFunc(all, offset, func(s stretch, offset int64) int {
		switch {
		case offset < s.from:
			return 1
		case offset >= s.to:
			return -1
		}
		return 0
	})
	if found {
		return // the same offset twice: the count shows it
	}
	all = slices.Insert(all, i, stretch{offset, offset + 1})
	if i+1 < len(all) && all[i].to == all[i+1].from {
		all[i].to = all[i+1].to
		all = slices.Delete(all, i+1, i+2)
	}
	if i > 0 && all[i-1].to == all[i].from {
		all[i-1].to = all[i].to
		all = slices.Delete(all, i, i+1)
	}
	o.all[tp] = all
}

// count is the number of different offsets.
func (o *offsets) count() (n int64) {
	for _, all := range o.all {
		for _, s := range all {
			n += s.to - s.from
		}
	}
	return n
}

func (o *offsets) topics() []string {
	m := map[string]bool{}
	for tp := range o.all {
		m[tp.topic] = true
	}
	return slices.Sorted(maps.Keys(m))
}

// check compares the offsets with the logs of their topics. There must be as many as
// delivered letters, and each log must reach beyond them.
func (o *offsets) check(ctx context.Context, admin *kadm.Client, delivered int64) (said string, err error) {
	if delivered == 0 {
		return "", nil
	}
	if o.untold > 0 {
		return "their offsets are not checked: with acks none, brokers tell none", nil
	}
	if n := o.count(); n != delivered {
		return "", fmt.Errorf("%d letters were acknowledged, at only %d different offsets", delivered, n)
	}
	topics := o.topics()
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return "", fmt.Errorf("checking the offsets of what was delivered: %w", err)
	}
	for tp, all := range o.all {
		end := ends[tp.topic][tp.partition]
		if end.Err != nil {
			return "", fmt.Errorf("checking the offsets of what was delivered to topic %s partition %d: %w", tp.topic, tp.partition, end.Err)
		}
		if last := all[len(all)-1].to; end.Offset < last {
			return "", fmt.Errorf("topic %s partition %d ends at offset %d, but a letter was acknowledged at offset %d", tp.topic, tp.partition, end.Offset, last-1)
		}
	}
	return "at as many offsets of " + strings.Join(topics, ", "), nil
}
