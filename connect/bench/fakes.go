//go:build linux || darwin

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/kafka-guarded/kafka-guarded/internal/binary"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// fakes start the embedded brokers that store nothing. Plain kfake uses little CPU. The
// ones that check records read them all, and use more.
var fakes = map[string]func() (*kfake.Cluster, error){
	blackhole: func() (*kfake.Cluster, error) {
		return kfake.NewCluster(kfake.NumBrokers(1), kfake.BlackholeProduce())
	},
	fakeKafka:    func() (*kfake.Cluster, error) { return judging(kafkafake.Kafka()) },
	fakeRedpanda: func() (*kfake.Cluster, error) { return judging(kafkafake.Redpanda()) },
	fakeGateway:  func() (*kfake.Cluster, error) { return judging(kafkafake.Encrypting()) },
}

func judging(d kafkafake.Dialect) (*kfake.Cluster, error) {
	c, err := kafkafake.Open(d, kfake.BlackholeProduce())
	if err != nil {
		return nil, err
	}
	return c.Cluster, nil
}

// startFake starts a process with serveFake.
func startFake(ctx context.Context, name string) (brokers []string, end func(), err error) {
	cmd, err := again(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	end = func() {
		in.Close()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		end()
		return nil, nil, fmt.Errorf("reading its address: %w", err)
	}
	return strings.Split(strings.TrimSpace(line), ","), end, nil
}

// serveFake runs a broker until its input ends, which it does when the parent process
// ends.
func serveFake(name string, in io.Reader, out io.Writer) error {
	binary.TuneGC()
	c, err := fakes[name]()
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintln(out, strings.Join(c.ListenAddrs(), ","))
	_, err = io.Copy(io.Discard, in)
	return err
}

// again is a command that runs this program with a subcommand.
func again(ctx context.Context, subcommand string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	return exec.CommandContext(ctx, self, subcommand), nil
}
