//go:build linux || darwin

package soak

import (
	"encoding/gob"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// process is the writer, as the test sees it.
type process struct {
	cmd        *exec.Cmd
	goroutines atomic.Int64
	ended      chan struct{} // closed when the writer has ended
	err        error         // the reason; read it after ended is closed

	mu      sync.Mutex
	to      *gob.Encoder
	reasons map[string]bool // why the sources are paused
}

// launch starts the writer, and enters its events into the accounts.
func launch(s setup, log *os.File, accounts []*account) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	events, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self), ended: make(chan struct{}), reasons: map[string]bool{}}
	p.cmd.Env = append(os.Environ(), writerEnv+"=1", "GOTRACEBACK=all")
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.ExtraFiles = []*os.File{theirs}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	theirs.Close()
	p.to = gob.NewEncoder(in)
	if err := p.to.Encode(s); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		p.err = p.listen(gob.NewDecoder(events), accounts)
		if err := p.cmd.Wait(); err != nil && p.err == nil {
			p.err = err
		}
	}()
	return p, nil
}

// listen enters events until the last one, and returns what is wrong with them.
func (p *process) listen(from *gob.Decoder, accounts []*account) error {
	left := len(accounts)
	for {
		var e event
		if err := from.Decode(&e); err != nil {
			if left > 0 {
				return fmt.Errorf("the writer has ended before %d of its streams: %w", left, err)
			}
			return nil
		}
		a := accounts[e.Load]
		switch {
		case e.Goroutines > 0:
			p.goroutines.Store(int64(e.Goroutines))
		case e.Ended:
			left--
			a.mu.Lock()
			a.sent, a.ended = e.From, true
			a.mu.Unlock()
			if e.Error != "" {
				return fmt.Errorf("the stream %q ended: %s", a.load.Name, e.Error)
			}
		case e.Answered:
			a.answer(e)
		default:
			a.takeDeadLetters(e.Letters)
		}
	}
}

// pause stops the sources, for a reason.
func (p *process) pause(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reasons[reason] = true; len(p.reasons) == 1 {
		_ = p.to.Encode(pause)
	}
}

// goOn ends a reason to pause. The sources go on when none is left.
func (p *process) goOn(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reasons[reason] {
		return
	}
	if delete(p.reasons, reason); len(p.reasons) == 0 {
		_ = p.to.Encode(goOn)
	}
}

// finish makes the sources end.
func (p *process) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.to.Encode(finish)
}

// kill ends the writer at once. With dump, the writer first logs the stacks of its
// goroutines.
func (p *process) kill(dump bool) {
	if dump {
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-p.ended:
			return
		case <-time.After(10 * time.Second):
		}
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
}
