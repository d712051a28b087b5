//go:build linux || darwin

package kafkatest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
)

// Jars returns the directory with the jars that a pom.xml names, for a program
// that runs beside Kafka. The first run copies them to the user's cache directory.
// It skips the test where Java or Maven is missing, as Require does.
func Jars(tb testing.TB, name string, pom []byte) string {
	tb.Helper()
	Require(tb)
	r, err := findRuntime(DefaultVersion)
	if err != nil {
		tb.Fatalf("kafkatest: %v", err)
	}
	sum := sha256.Sum256(pom)
	dir := filepath.Join(filepath.Dir(r.jars), fmt.Sprintf("%s-%x", name, sum[:4]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		tb.Skipf("kafkatest: getting the jars of %s needs Maven, and there is no mvn; %s", name, howToGetIt)
	}
	if err := copyJars(context.Background(), mvn, pom, dir); err != nil {
		tb.Fatalf("kafkatest: getting the jars of %s: %v", name, err)
	}
	return dir
}

// Program is a process that a test has started.
type Program struct {
	tb   testing.TB
	p    *process
	file string
}

// Run starts a command, which ends with the test at the latest. Its output goes to
// a file, which a failed test shows the end of.
func Run(tb testing.TB, cmd *exec.Cmd) *Program {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "log")
	log, err := os.Create(file)
	if err != nil {
		tb.Fatalf("kafkatest: making a log file: %v", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	p, err := startProcess(cmd)
	if err != nil {
		tb.Fatalf("kafkatest: starting %s: %v", cmd.Path, err)
	}
	g := &Program{tb, p, file}
	tb.Cleanup(func() {
		g.Kill()
		if tb.Failed() {
			tb.Logf("the end of the log of %s:\n%s", cmd.Path, tail(file))
		}
	})
	return g
}

// Kill ends the program at once, and waits until it has ended.
func (g *Program) Kill() { g.p.kill() }

// WaitPort waits until the program listens on a port.
func (g *Program) WaitPort(port int) {
	g.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err := poll(ctx, func() (bool, error) {
		if g.p.ended() {
			return false, fmt.Errorf("the program has ended: %w", errors.Join(g.p.err, fs.ErrClosed))
		}
		conn, err := net.Dial("tcp", freeport.At(port))
		if err != nil {
			return false, nil
		}
		return true, conn.Close()
	})
	if err != nil {
		g.tb.Fatalf("kafkatest: waiting for port %d: %v, its log:\n%s", port, err, tail(g.file))
	}
}
