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

// account says what became of the letters that were chosen. Each is in one of the
// last four.
type account struct {
	Chosen      int64 `json:"chosen"`
	Delivered   int64 `json:"delivered"`
	FailedAgain int64 `json:"failed_again"` // they are letters again
	Dropped     int64 `json:"dropped"`      // the mapping has deleted them
	Left        int64 `json:"left"`         // they were not sent, or it is not known

	// Perhaps is how many copies more there may be, at most: runs that were
	// killed were at these letters.
	Perhaps int64 `json:"perhaps_more"`
	// Doubt counts those among the ones that failed again that may have been
	// written.
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

// print writes the account, with what was checked of what was delivered, and with
// where the letters are that failed again.
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

// stretch is a number of offsets in a row, the end excluded.
type stretch struct{ from, to int64 }

// offsets are those that the cluster has given to letters, in as many stretches as
// it takes.
type offsets struct {
	all map[topicPartition][]stretch
	// untold counts the letters that were acknowledged without an offset.
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
	// Mostly it is the next one.
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
		return // twice the same: the count will show it
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

// count is how many different offsets there are.
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

// check holds the offsets against the logs of their topics: there are as many as
// letters were delivered, and each log reaches beyond them.
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
