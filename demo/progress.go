package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how many messages have arrived while a stream runs: as a bar
// on a terminal, else as a line per second.
type progress struct {
	out   io.Writer
	total int // -1 if unknown
	bar   *progressbar.ProgressBar
	// count returns how many messages have arrived, in the log or elsewhere.
	count func(context.Context) (int, error)
}

func newProgress(out io.Writer, total int, plain bool, count func(context.Context) (int, error)) *progress {
	p := &progress{out: out, total: total, count: count}
	if f, ok := out.(*os.File); ok && !plain && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetWidth(40),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionClearOnFinish(),
		)
	}
	return p
}

// start shows progress until stop is called. stop waits for the last line.
func (p *progress) start(ctx context.Context) (stop func()) {
	interval := time.Second
	if p.bar != nil {
		interval = 100 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// An error is left to the end, where the text is better.
			if n, err := p.count(ctx); err == nil {
				p.show(n)
			}
		}
	}()
	return func() {
		cancel()
		<-done
		if p.bar != nil {
			_ = p.bar.Clear()
		}
	}
}

func (p *progress) show(n int) {
	switch {
	case p.bar != nil:
		_ = p.bar.Set(n)
	case p.total < 0:
		fmt.Fprintf(p.out, "%s records in the topics\n", comma(n))
	default:
		fmt.Fprintf(p.out, "%s of %s messages\n", comma(n), comma(p.total))
	}
}
