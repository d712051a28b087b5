//go:build linux || darwin

package soak

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// write writes samples, faults, plot and account.
func (j *journal) write(totals []total) error {
	files := map[string]string{
		"account.md":    j.account(totals),
		"samples.csv":   j.csv(),
		"resources.svg": j.plot(),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(j.dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	if *writeFile == "" {
		return nil
	}
	plot := filepath.Join(filepath.Dir(*writeFile), "soak.svg")
	if err := os.WriteFile(plot, []byte(files["resources.svg"]), 0o644); err != nil {
		return err
	}
	text, err := os.ReadFile(*writeFile)
	if err != nil {
		return err
	}
	before, rest, there := strings.Cut(string(text), accountBegins)
	_, after, ends := strings.Cut(rest, accountEnds)
	if !there || !ends {
		return fmt.Errorf("%s has no place for the account: %s and %s", *writeFile, accountBegins, accountEnds)
	}
	return os.WriteFile(*writeFile, []byte(before+accountBegins+"\n\n"+files["account.md"]+
		"\n![What the process has in use over time](soak.svg)\n\n"+accountEnds+after), 0o644)
}

// The account is between these lines of a document.
const (
	accountBegins = "<!-- what make soak WRITE=1 found -->"
	accountEnds   = "<!-- end of what it found -->"
)

func (j *journal) csv() string {
	var b strings.Builder
	b.WriteString("seconds,rss_bytes,goroutines,connections,file_descriptors,acknowledged,read_back,kafka_bytes\n")
	for _, s := range j.samples {
		fmt.Fprintf(&b, "%.1f,%d,%d,%d,%d,%d,%d,%d\n", s.at.Seconds(), s.rss, s.goroutines, s.connections, s.fds, s.answered, s.found, s.disk)
	}
	return b.String()
}

// account is the account in Markdown.
func (j *journal) account(totals []total) string {
	var b strings.Builder
	var all total
	took := time.Since(j.began)
	if n := len(j.samples); n > 0 {
		took = j.samples[n-1].at
	}
	for _, t := range totals {
		all.add(t)
	}
	fmt.Fprintf(&b, "%s with %d faults, seed %d: %s messages. %s a second were acknowledged in the median, and %s at best; all ran on one machine of %d cores.\n\n",
		took.Round(time.Second), len(j.faults), *seed, thousands(all.Sent), thousands(j.rate(1./2)), thousands(j.rate(1)), runtime.NumCPU())

	b.WriteString("| stream | sent | delivered | dead letters | in doubt (in topic) | nowhere | lost | twice | wrong |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	row := func(name string, t total) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s (%s) | %s | %s | %s | %s |\n", name, thousands(t.Sent), thousands(t.Delivered), thousands(t.Dead),
			thousands(t.Doubt), thousands(t.DoubtDelivered), thousands(t.Undelivered), thousands(t.Lost), thousands(t.Duplicated), thousands(t.WronglyDead))
	}
	for i, t := range totals {
		row(loads[i].Name, t)
	}
	row("all", all)

	b.WriteString("\n*In topic*: of those in doubt, these are in the topic. *Nowhere*: reported as not delivered. *Wrong*: a good message failed.\n")
	b.WriteString("\n| message | sent | delivered | dead-lettered | in doubt |\n| --- | --- | --- | --- | --- |\n")
	for k, n := range all.Kinds {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", kind(k), thousands(n.Sent), thousands(n.Delivered), thousands(n.Dead), thousands(n.Doubt))
	}

	b.WriteString("\n| fault | times | until all streams got on, median | longest |\n| --- | --- | --- | --- |\n")
	for _, f := range faults {
		var took []time.Duration
		for _, h := range j.faults {
			if h.name == f.name {
				took = append(took, h.to-h.from)
			}
		}
		if len(took) > 0 {
			slices.Sort(took)
			fmt.Fprintf(&b, "| %s | %d | %.1f s | %.1f s |\n", f.name, len(took), took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
		}
	}

	if early, late, ok := j.growth(); ok {
		fmt.Fprintf(&b, "\n| in use by the process, median | %s | %s |\n| --- | --- | --- |\n", early.title, late.title)
		fmt.Fprintf(&b, "| memory (RSS) | %d MB | %d MB |\n| goroutines | %d | %d |\n| connections | %d | %d |\n| file descriptors | %d | %d |\n",
			early.rss>>20, late.rss>>20, early.goroutines, late.goroutines, early.connections, late.connections, early.fds, late.fds)
	}
	return b.String()
}

// rate returns the acknowledged messages per second that this share of the samples does
// not exceed.
func (j *journal) rate(share float64) int {
	var all []int
	for i := 1; i < len(j.samples); i++ {
		before, s := j.samples[i-1], j.samples[i]
		all = append(all, int(float64(s.answered-before.answered)/(s.at-before.at).Seconds()))
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(share*float64(len(all)-1))]
}

// medians are those of the samples of a span of time.
type medians struct {
	title string
	sample
}

// growth returns what was used early, after the warm-up, and at the end.
func (j *journal) growth() (early, late medians, ok bool) {
	n := len(j.samples)
	if n < 12 {
		return early, late, false
	}
	of := func(from, to int) medians {
		part := j.samples[from:to]
		median := func(by func(sample) int64) int64 {
			var all []int64
			for _, s := range part {
				all = append(all, by(s))
			}
			slices.Sort(all)
			return all[len(all)/2]
		}
		return medians{fmt.Sprintf("minutes %.1f to %.1f", part[0].at.Minutes(), part[len(part)-1].at.Minutes()), sample{
			rss:         median(func(s sample) int64 { return s.rss }),
			goroutines:  median(func(s sample) int64 { return s.goroutines }),
			connections: median(func(s sample) int64 { return s.connections }),
			fds:         median(func(s sample) int64 { return s.fds }),
		}}
	}
	return of(n/6, n/3), of(n-n/6, n), true
}

func (t *total) add(o total) {
	t.Sent += o.Sent
	t.Delivered += o.Delivered
	t.Dead += o.Dead
	t.Doubt += o.Doubt
	t.DoubtDelivered += o.DoubtDelivered
	t.Undelivered += o.Undelivered
	t.Lost += o.Lost
	t.Duplicated += o.Duplicated
	t.WronglyDead += o.WronglyDead
	for k := range t.Kinds {
		t.Kinds[k].Sent += o.Kinds[k].Sent
		t.Kinds[k].Delivered += o.Kinds[k].Delivered
		t.Kinds[k].Dead += o.Kinds[k].Dead
		t.Kinds[k].Doubt += o.Kinds[k].Doubt
	}
}

// thousands writes a number as 1,234,567.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
