package demo

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func comma(n int) string { return humanize.Comma(int64(n)) }

// print prints the numbers, and an error text of each kind.
func (t Tally) print(w io.Writer, took time.Duration) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name, value string) {
		// Right-aligned cells, and left-aligned names of one width.
		fmt.Fprintf(tw, "%-34s\t%s\t\n", name, value)
	}
	fmt.Fprintln(tw)
	row("sent", comma(t.Sent))
	row("delivered", comma(t.Delivered))
	for _, class := range slices.Sorted(maps.Keys(t.Dead)) {
		row("dead-lettered, "+class, comma(t.Dead[class]))
	}
	row("duplicates", comma(t.Duplicates))
	row("good messages dead-lettered", comma(t.WronglyDead))
	row("poison delivered", comma(t.Spared))
	row("in the wrong place", comma(t.Misfiled+t.Strays))
	row("lost", comma(t.Lost))
	row("time", took.Round(time.Millisecond).String())
	row("messages per second", comma(int(float64(t.Sent)/took.Seconds())))
	tw.Flush()

	var texts []string
	for _, text := range t.texts {
		if text != "" {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return
	}
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) })
	fmt.Fprintln(w, "\nWhy, as the dead letters say it:")
	for _, text := range texts {
		fmt.Fprintf(w, "  %s\n", text)
	}
}

// printNext prints what to try next.
func printNext(w io.Writer) {
	fmt.Fprintf(w, `
What next:
  %[1]s demo --messages 2000 --poison 0.2   a fifth of them bad
  %[1]s demo --recipe fallback              the same by a fallback around the output
  %[1]s demo --keep                         look at the topics yourself
  %[1]s demo --config YOUR.yaml             your config, with ${KAFKA_BROKERS} in it
  KAFKA_BROKERS=HOST:9092 %[1]s run config/example.yaml
`, command())
}

// command returns how the user runs this program.
func command() string {
	path, err := os.Executable()
	if err != nil || strings.Contains(path, "go-build") {
		return "go run ."
	}
	return filepath.Base(path)
}

const (
	// firstValues is how many values of a topic are printed.
	firstValues = 3
	// valueLength is how many characters of each.
	valueLength = 100
)

// printTopics prints the records of the topics.
func (b *broker) printTopics(ctx context.Context, w io.Writer) error {
	ends, err := b.ends(ctx)
	if err != nil {
		return err
	}
	values := map[string][]string{}
	if err := b.each(ctx, func(r *kgo.Record) error {
		if len(values[r.Topic]) < firstValues {
			values[r.Topic] = append(values[r.Topic], short(r.Value))
		}
		return nil
	}); err != nil {
		return err
	}
	topics, err := b.topics(ctx)
	if err != nil {
		return err
	}
	if len(topics) == 0 {
		fmt.Fprintln(w, "\nThere is no topic: nothing was written.")
	}
	for _, topic := range topics {
		var records []string
		sum := int64(0)
		for _, o := range slices.SortedFunc(maps.Values(ends[topic]), func(a, b kadm.ListedOffset) int { return int(a.Partition - b.Partition) }) {
			records = append(records, humanize.Comma(o.Offset))
			sum += o.Offset
		}
		fmt.Fprintf(w, "\n%s: %s records in %d partitions (%s)\n", topic, humanize.Comma(sum), len(records), strings.Join(records, " + "))
		for _, v := range values[topic] {
			fmt.Fprintf(w, "  %s\n", v)
		}
	}
	return nil
}

// short returns a value fit to print, cut short.
func short(value []byte) string {
	if value == nil {
		return "null"
	}
	text := string(value)
	if !utf8.Valid(value) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		text = strconv.Quote(text)
	}
	if r := []rune(text); len(r) > valueLength {
		return string(r[:valueLength]) + "..."
	}
	return text
}
