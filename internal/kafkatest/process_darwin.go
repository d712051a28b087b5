package kafkatest

import (
	"os/exec"
	"strconv"
	"syscall"
)

// startTied starts cmd and beside it a shell that kills it when the test
// binary has ended: the shell's standard input is a pipe of which the test
// binary has the only writing end.
func startTied(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	guard := exec.Command("/bin/sh", "-c", "cat >/dev/null; kill -9 "+pid)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	}
	return nil
}
