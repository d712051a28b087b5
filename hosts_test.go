//go:build linux

package main

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// The process has no socket to anything but the brokers: it sends no telemetry, looks
// for no updates, and resolves no names. Its sockets are read repeatedly until it ends.
func TestNothingIsContactedButTheConfigured(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	c.Topic("orders", 1)
	broker := c.ListenAddrs()[0]
	config := filepath.Join(t.TempDir(), "stream.yaml")
	require.NoError(t, os.WriteFile(config, []byte(`
http: { enabled: false }
input: { generate: { count: 200, interval: 5ms, mapping: 'root = "x"' } }
output: { kafka_guarded: { seed_brokers: [ '`+broker+`' ], topic: orders, dead_letter: { drop: {} } } }
`), 0o600))
	for _, test := range []struct {
		args  []string
		kafka bool // it talks to the broker long enough to be seen
	}{
		{[]string{"run", config}, true},
		{[]string{"check", config}, false},
		{[]string{"lint", config}, false},
		{[]string{"list", "outputs"}, false},
		{[]string{"--version"}, false},
	} {
		cmd := program(test.args...)
		cmd.Env = append(cmd.Env, "KAFKA_BROKERS="+broker)
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		peers := map[string]bool{}
		for running := true; running; {
			select {
			case err := <-ended:
				require.NoError(t, err, test.args)
				running = false
			default:
				addPeers(cmd.Process.Pid, peers)
			}
		}
		if test.kafka {
			require.Contains(t, peers, broker, test.args)
		}
		delete(peers, broker)
		require.Empty(t, peers, test.args)
	}
}

// addPeers adds the addresses that the sockets of a process are connected to, or
// connect to.
func addPeers(pid int, peers map[string]bool) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(files) == 0 {
		return
	}
	own := map[string]bool{}
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil {
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && own[fields[9]] && !strings.HasSuffix(fields[2], ":0000") {
				peers[peerOf(fields[2])] = true
			}
		}
	}
}

// peerOf returns an address of /proc/net, where each four bytes are in the order of the
// machine.
func peerOf(text string) string {
	host, port, _ := strings.Cut(text, ":")
	ip, err := hex.DecodeString(host)
	if err != nil {
		return text
	}
	for i := 0; i+3 < len(ip); i += 4 {
		ip[i], ip[i+1], ip[i+2], ip[i+3] = ip[i+3], ip[i+2], ip[i+1], ip[i]
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return text
	}
	return net.JoinHostPort(net.IP(ip).String(), strconv.FormatUint(n, 10))
}
