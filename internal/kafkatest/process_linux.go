package kafkatest

import (
	"os/exec"
	"syscall"
)

// startTied starts cmd, to be killed by the kernel when the calling thread
// ends. It gets a process group of its own, so that Ctrl-C reaches the test
// binary alone and a node's log does not show a shutdown that no test asked for.
func startTied(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,
		Pdeathsig: syscall.SIGKILL,
	}
	return cmd.Start()
}
