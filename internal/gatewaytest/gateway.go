// Package gatewaytest runs config/http_gateway.yaml and its clients.
package gatewaytest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/config"
	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
)

// Gateway is a running config/http_gateway.yaml.
type Gateway struct {
	// Address is its listening address.
	Address string

	url    string
	client *http.Client
	log    lines
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Log returns the gateway's log so far. After Start, each line is a JSON object.
func (g *Gateway) Log() string { return g.log.String() }

// Start runs the gateway until the test ends. environment has NAME=VALUE. Without
// ALLOWED_TOPICS in it, all topics that begin with a small letter may be written to.
func Start(t testing.TB, brokers string, timeout, giveUpAfter time.Duration, environment ...string) *Gateway {
	t.Helper()
	address := freeport.Addr(t)
	env := map[string]string{"KAFKA_BROKERS": brokers, "HTTP_ADDRESS": address, "HTTP_TIMEOUT": timeout.String(), "GIVE_UP_AFTER": giveUpAfter.String(), "ALLOWED_TOPICS": "[a-z].*"}
	for _, assignment := range environment {
		name, value, _ := strings.Cut(assignment, "=")
		env[name] = value
	}
	g := newGateway(address)
	b := service.NewStreamBuilder()
	b.SetEnvVarLookupFunc(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	require.NoError(t, b.SetYAML(string(config.HTTPGateway)))
	b.SetLogger(slog.New(slog.NewJSONHandler(&g.log, nil)))
	stream, err := b.Build()
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- stream.Run(context.Background()) }()
	t.Cleanup(func() {
		g.client.CloseIdleConnections()
		require.NoError(t, stream.StopWithin(2*time.Minute))
		require.NoError(t, <-done)
	})
	waitFor(t, address, nil)
	return g
}

// Run runs the program with the gateway's config, or with a user's copy of it, until
// the test ends. args are the arguments of the command run.
func Run(t testing.TB, program string, args []string, environment ...string) *Gateway {
	t.Helper()
	g := newGateway(freeport.Addr(t))
	// The port of the engine's own API may be in use.
	cmd := exec.Command(program, append([]string{"run", "--set", "http.enabled=false"}, args...)...)
	cmd.Env = append(append(os.Environ(), "HTTP_ADDRESS="+g.Address), environment...)
	cmd.Stdout, cmd.Stderr = &g.log, &g.log
	ended := run(t, cmd)
	waitFor(t, g.Address, ended)
	require.NotContains(t, g.Log(), "level=error")
	return g
}

// Proxy runs HAProxy in front of a gateway until the test ends, with one of the configs
// for it, and returns its address.
func Proxy(t testing.TB, config, gateway string, environment ...string) string {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("HAProxy is not installed: on Debian, apt-get install haproxy")
	}
	address, said := freeport.Addr(t), &lines{}
	cmd := exec.Command(program, "-db", "-f", config)
	cmd.Env = append(append(os.Environ(), "PROXY_ADDRESS="+address, "HTTP_ADDRESS="+gateway), environment...)
	cmd.Stdout, cmd.Stderr = said, said
	ended := run(t, cmd)
	waitFor(t, address, ended)
	select {
	case <-ended:
		require.Fail(t, "HAProxy ended", said.String())
	default:
	}
	return address
}

// run runs a command until the test ends.
func run(t testing.TB, cmd *exec.Cmd) (ended chan struct{}) {
	t.Helper()
	require.NoError(t, cmd.Start())
	ended = make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	return ended
}

// waitFor waits until the address accepts connections, or the command has ended.
func waitFor(t testing.TB, address string, ended chan struct{}) {
	t.Helper()
	require.Eventually(t, func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	}, 4*time.Minute, 5*time.Millisecond)
}

func newGateway(address string) *Gateway {
	return &Gateway{Address: address, url: "http://" + address + "/topics/", client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, ExpectContinueTimeout: time.Minute}}}
}

// Result is the result of one record in an answer.
type Result struct {
	Partition *int32
	Offset    *int64
	ErrorCode int `json:"error_code"`
	Error     string
}

// At is the place of the record as partition/offset, empty if it was not written.
func (r Result) At() string {
	if r.Partition == nil || r.Offset == nil {
		return ""
	}
	return fmt.Sprintf("%d/%d", *r.Partition, *r.Offset)
}

// Post sends a request, with further headers as names and values, and returns its
// answer.
func (g *Gateway) Post(ctx context.Context, topic, contentType, body string, headers ...string) (status int, results []Result, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+topic, strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, "", err
	}
	var answer struct{ Offsets []Result }
	err = json.Unmarshal(raw, &answer)
	return resp.StatusCode, answer.Offsets, string(raw), err
}

// Incompressible is text that codecs hardly make smaller.
func Incompressible(n int) string {
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for range n {
		b.WriteByte(byte('a' + random.IntN(26)))
	}
	return b.String()
}

// Load has the answers to many requests.
type Load struct {
	Said          map[string]string // values, by the place in the answer
	Gone, Refused int               // requests whose client disconnected; records that were rejected
	Wrong         []string
	Took          []time.Duration // times of the requests that were answered
}

// Load makes clients send requests of three records each. Every tenth request has a
// record that is too large. In every fiftieth the client disconnects.
func (g *Gateway) Load(topic string, clients, requests, tooLarge int) *Load {
	l := &Load{Said: map[string]string{}}
	large := Incompressible(tooLarge)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for n := c; n < requests; n += clients {
				values := []string{fmt.Sprintf("%d-0", n), fmt.Sprintf("%d-1", n), fmt.Sprintf("%d-2", n)}
				if n%10 == 3 {
					values[1] = large
				}
				body, _ := json.Marshal(values)
				ctx, cancel := context.WithCancel(context.Background())
				leaves := n%50 == 7
				if leaves {
					go cancel()
				}
				began := time.Now()
				status, results, text, err := g.Post(ctx, topic, "application/json", string(body))
				took := time.Since(began)
				cancel()
				mu.Lock()
				if leaves && err != nil {
					l.Gone++
				} else {
					l.Took = append(l.Took, took)
					l.add(values, large, status, results, fmt.Sprint(text, err))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return l
}

func (l *Load) add(values []string, large string, status int, results []Result, text string) {
	if status != http.StatusOK || len(results) != len(values) {
		l.Wrong = append(l.Wrong, fmt.Sprint(status, " ", text))
		return
	}
	for i, r := range results {
		switch at := r.At(); {
		case values[i] == large && r.ErrorCode == 1 && strings.HasPrefix(r.Error, "size_exceeded:"):
			l.Refused++
		case values[i] == large || at == "":
			l.Wrong = append(l.Wrong, text)
		default:
			l.Said[at] = values[i]
		}
	}
}

// Check returns what is wrong with the answers. The topic's values are given by
// partition/offset. A record is wrong if it is not at its place in the answer, or if it
// is there more than once.
func (l *Load) Check(topic map[string]string) []string {
	wrong := l.Wrong
	for at, value := range l.Said {
		if topic[at] != value {
			wrong = append(wrong, at+" is not "+value)
		}
	}
	seen := map[string]bool{}
	for _, value := range topic {
		if seen[value] {
			wrong = append(wrong, value+" is there more than once")
		}
		seen[value] = true
	}
	return wrong
}

// Through returns a client of the same gateway through a proxy, for example at
// "https://127.0.0.1:8443". The transport may be nil.
func (g *Gateway) Through(proxy string, transport *http.Transport) *Gateway {
	if transport == nil {
		transport = &http.Transport{MaxIdleConnsPerHost: 64, ExpectContinueTimeout: time.Minute}
	}
	return &Gateway{Address: g.Address, url: proxy + "/topics/", client: &http.Client{Transport: transport}}
}
