package deadletters

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// quietFor is the time between two lines about progress without a terminal.
const quietFor = 10 * time.Second

// progress shows the progress of reading: a bar on a terminal, else a line now and
// then.
type progress struct {
	out     io.Writer
	what    string
	total   int64
	done    atomic.Int64
	letters atomic.Int64
	bar     *progressbar.ProgressBar
	end     chan struct{}
	ended   chan struct{}
}

// startProgress shows progress until stop is called.
func startProgress(out io.Writer, what string, total int64) *progress {
	p := &progress{out: out, what: what, total: total, end: make(chan struct{}), ended: make(chan struct{})}
	interval := quietFor
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		interval = 200 * time.Millisecond
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(30),
			progressbar.OptionClearOnFinish(),
		)
	}
	go p.run(interval)
	return p
}

func (p *progress) run(interval time.Duration) {
	defer close(p.ended)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-p.end:
			return
		case <-ticker.C:
		}
		if p.bar != nil {
			_ = p.bar.Set64(min(p.done.Load(), p.total))
			continue
		}
		fmt.Fprintf(p.out, "%s: %s letters, %d %%\n", p.what, humanize.Comma(p.letters.Load()), min(100, 100*p.done.Load()/max(p.total, 1)))
	}
}

// passed is called by the source with the size that it has read.
func (p *progress) passed(n int64) { p.done.Add(n) }

func (p *progress) stop() {
	close(p.end)
	<-p.ended
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
