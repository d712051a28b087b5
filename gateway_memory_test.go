package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// A hundred requests at a time, with the largest bodies that the proxies of config/ let
// through, fit into 512 MB with the GOMEMLIMIT of the config.
func TestGatewayMemoryIsBounded(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("it reads /proc")
	}
	if testing.Short() {
		t.Skip("it takes half a minute of CPU")
	}
	const requests, most, body = 100, 512_000_000, 1 << 19
	c := kafkafake.New(t)
	c.Topic("orders", 3)
	address := freeport.Addr(t)
	// The port of the engine's own API may be in use.
	cmd := program("run", "--set", "http.enabled=false", "config/http_gateway.yaml")
	cmd.Env = append(cmd.Env, "GOMEMLIMIT=400MiB", "KAFKA_BROKERS="+c.ListenAddrs()[0], "HTTP_ADDRESS="+address, "HTTP_TIMEOUT=9m", "GIVE_UP_AFTER=8m")
	require.NoError(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	}, 4*time.Minute, 10*time.Millisecond)
	fill := func(open, each, end string) string {
		return open + strings.Repeat(each, (body-len(open)-len(end))/len(each)) + end
	}
	for _, test := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"records", "application/json", "[ " + strings.Repeat(`"`+strings.Repeat("x", 500)+`",`, 999) + "1 ]", 200},
		{"records with keys", "application/json", `{ "records": [ ` + strings.Repeat(`{ "key": "k", "value": { "a": [ 1, 2, 3, `+strings.Repeat(`"b", `, 85)+` null ] } },`, 999) + `{} ] }`, 200},
		{"numbers", "application/json", fill("[", "1,", "1]"), 413},
		{"objects", "application/json", fill("[", `{"a":0},`, "1]"), 413},
	} {
		var wg sync.WaitGroup
		for range requests {
			wg.Go(func() {
				resp, err := http.Post("http://"+address+"/topics/orders", test.contentType, strings.NewReader(test.body))
				if assert.NoError(t, err, test.name) {
					text, _ := io.ReadAll(resp.Body)
					assert.Equal(t, test.status, resp.StatusCode, "%s: %.300s", test.name, text)
					assert.NoError(t, resp.Body.Close())
				}
			})
		}
		wg.Wait()
		t.Logf("RESULT | after %d requests at a time, %s: at most %d MB", requests, test.name, peak(t, cmd.Process.Pid)/1_000_000)
	}
	require.Less(t, peak(t, cmd.Process.Pid), most)
}

// peak is the most memory that a process has had resident, in bytes.
func peak(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, found, string(status))
	kb, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return kb << 10
}
