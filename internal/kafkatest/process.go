//go:build linux || darwin

package kafkatest

import (
	"os/exec"
	"runtime"
	"sync"
)

// process is a started command and how it ended.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait, to be read after done is closed
}

// spawner starts commands on one OS thread that lives as long as the test
// binary. On Linux the kernel kills a child when the thread that forked it
// ends, not when the whole process does, so a child must not be forked by a
// thread that the runtime may end.
var spawner = sync.OnceValue(func() chan<- func() {
	ch := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range ch {
			f()
		}
	}()
	return ch
})

// startProcess starts cmd so that it ends with the test binary at the latest,
// however the test binary ends.
func startProcess(cmd *exec.Cmd) (*process, error) {
	started := make(chan error)
	spawner() <- func() { started <- startTied(cmd) }
	if err := <-started; err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// ended tells whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process at once and waits until it has ended. It works on a
// frozen process, too.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}
