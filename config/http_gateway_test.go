package config_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// gateway is http_gateway.yaml, with a broker in the process.
type gateway struct {
	t      *testing.T
	kafka  *kafkafake.Cluster
	url    string
	client *http.Client
}

// incompressible is text that no codec makes much smaller.
func incompressible(n int) string {
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for range n {
		b.WriteByte(byte('a' + random.IntN(26)))
	}
	return b.String()
}

func newGateway(t *testing.T, timeout, giveUpAfter string) *gateway {
	t.Helper()
	c := kafkafake.New(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	env := map[string]string{"KAFKA_BROKERS": c.ListenAddrs()[0], "HTTP_ADDRESS": address, "HTTP_TIMEOUT": timeout, "GIVE_UP_AFTER": giveUpAfter}
	yaml, err := os.ReadFile("http_gateway.yaml")
	require.NoError(t, err)
	b := service.NewStreamBuilder()
	b.SetEnvVarLookupFunc(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	require.NoError(t, b.SetYAML(string(yaml)))
	require.NoError(t, b.SetLoggerYAML("level: NONE"))
	stream, err := b.Build()
	require.NoError(t, err)
	g := &gateway{t, c, "http://" + address + "/topics/", &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	done := make(chan error, 1)
	go func() { done <- stream.Run(context.Background()) }()
	t.Cleanup(func() {
		g.client.CloseIdleConnections()
		require.NoError(t, stream.StopWithin(10*time.Second))
		require.NoError(t, <-done)
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, 20*time.Second, 5*time.Millisecond)
	return g
}

// result is what the answer says of one record.
type result struct {
	Partition *int32
	Offset    *int64
	ErrorCode int `json:"error_code"`
	Error     string
}

func (g *gateway) post(ctx context.Context, topic, contentType, body string) (status int, results []result, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+topic, strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, "", err
	}
	var answer struct{ Offsets []result }
	err = json.Unmarshal(raw, &answer)
	return resp.StatusCode, answer.Offsets, string(raw), err
}

// at returns the topic's records by where they are.
func (g *gateway) at(topic string) map[string]*kgo.Record {
	m := map[string]*kgo.Record{}
	for _, r := range g.kafka.Log(topic) {
		m[fmt.Sprintf("%d/%d", r.Partition, r.Offset)] = r
	}
	return m
}

func TestHTTPGatewayBodies(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "30s", "20s")
	g.kafka.Topic("t", 1, "max.message.bytes=2000")
	long := incompressible(3000)
	const array, lines = "application/json", "text/plain"
	for _, test := range []struct {
		name, topic, contentType, body string
		status                         int
		want                           []string // "" for a record that is there, or how its error begins
		values                         []string // of those that are there
		keys                           []string
	}{
		{"an array", "t", array, `[ {"id": 1}, "two", 3, [4], true ]`, 200, []string{"", "", "", "", ""}, []string{`{"id":1}`, "two", "3", "[4]", "true"}, nil},
		{"records", "t", array, `{ "records": [ {"key": "a", "value": {"id": 1}}, {"key": 7, "value": null} ] }`, 200, []string{"", ""}, []string{`{"id":1}`, ""}, []string{"a", "7"}},
		{"lines", "t", lines, "one\ntwo\n\nthree\n", 200, []string{"", "", ""}, []string{"one", "two", "three"}, nil},
		{"one is too large", "t", array, `[ "a", "` + long + `", "b" ]`, 200, []string{"", "size_exceeded: topic t:", ""}, []string{"a", "b"}, nil},
		{"all are too large", "t", array, `[ "` + long + `" ]`, 422, []string{"size_exceeded:"}, nil, nil},
		{"no such topic", "missing", array, `[ 1, 2 ]`, 422, []string{"unknown_topic: topic missing", "unknown_topic: topic missing"}, nil, nil},
		{"an illegal topic", "a:b", array, `[ 1 ]`, 422, []string{"unroutable:"}, nil, nil},
		{"no JSON", "t", array, `[ 1, `, 422, nil, nil, nil},
		{"no array", "t", array, `{ "a": 1 }`, 422, nil, nil, nil},
		{"no records", "t", array, `[]`, 422, nil, nil, nil},
		{"no objects", "t", array, `{ "records": [ 1 ] }`, 422, nil, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) { //nolint:paralleltest // they share a topic, on purpose
			status, results, text, err := g.post(t.Context(), test.topic, test.contentType, test.body)
			require.NoError(t, err, text)
			require.Equal(t, test.status, status, text)
			require.Len(t, results, len(test.want), text)
			var there map[string]*kgo.Record
			if test.values != nil {
				there = g.at(test.topic)
			}
			for i, want := range test.want {
				r := results[i]
				if want != "" {
					require.Equal(t, 1, r.ErrorCode)
					require.True(t, strings.HasPrefix(r.Error, want), r.Error)
					require.Nil(t, r.Offset)
					continue
				}
				record := there[fmt.Sprintf("%d/%d", *r.Partition, *r.Offset)]
				require.NotNil(t, record, text)
				require.Equal(t, test.values[0], string(record.Value))
				test.values = test.values[1:]
				if test.keys == nil {
					require.Nil(t, record.Key)
					continue
				}
				require.Equal(t, test.keys[i], string(record.Key))
				require.Equal(t, i == 1, record.Value == nil, "a value of null is a tombstone")
			}
			if test.want == nil {
				require.Contains(t, text, "the body is no JSON array, no object with records, and no lines")
			}
		})
	}
}

// Many clients at a time, some of which go away: each result is true, and each
// record is there once.
func TestHTTPGatewayResultsAreTrue(t *testing.T) {
	t.Parallel()
	requests := 2000
	if testing.Short() {
		requests = 500
	}
	const clients, perRequest = 16, 3
	g := newGateway(t, "30s", "20s")
	g.kafka.Topic("t", 3, "max.message.bytes=2000")
	long := incompressible(3000)
	var mu sync.Mutex
	said := map[string]string{} // values, by where they are said to be
	var gone, refused int
	var failed []string
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for n := c; n < requests; n += clients {
				ctx, cancel := context.WithCancel(context.Background())
				if n%50 == 7 {
					go cancel()
				}
				values := []string{fmt.Sprintf("%d-0", n), fmt.Sprintf("%d-1", n), fmt.Sprintf("%d-2", n)}
				if n%10 == 3 {
					values[1] = long
				}
				body, _ := json.Marshal(values)
				status, results, text, err := g.post(ctx, "t", "application/json", string(body))
				cancel()
				mu.Lock()
				switch {
				case err != nil && n%50 == 7:
					gone++
				case err != nil || status != 200 || len(results) != perRequest:
					failed = append(failed, fmt.Sprint(status, text, err))
				default:
					for i, r := range results {
						if values[i] == long {
							refused++
							if r.ErrorCode != 1 || !strings.HasPrefix(r.Error, "size_exceeded:") {
								failed = append(failed, text)
							}
						} else if r.Offset == nil {
							failed = append(failed, text)
						} else {
							said[fmt.Sprintf("%d/%d", *r.Partition, *r.Offset)] = values[i]
						}
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Empty(t, failed)
	require.NotZero(t, gone, "no client went away")
	require.NotZero(t, refused)
	there := g.at("t")
	for at, value := range said {
		if r := there[at]; r == nil || string(r.Value) != value {
			failed = append(failed, at+" is not "+value)
		}
	}
	for value, n := range g.kafka.Values("t") {
		if n != 1 {
			failed = append(failed, value+" is there more than once")
		}
	}
	require.Empty(t, failed)
}

func TestHTTPGatewayWithoutKafka(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "2s", "300ms")
	g.kafka.Topic("t", 1)
	status, _, text, err := g.post(t.Context(), "t", "application/json", `[ 1 ]`)
	require.NoError(t, err)
	require.Equal(t, 200, status, text)
	g.kafka.RefuseAll("t", kerr.NotEnoughReplicas)
	status, results, text, err := g.post(t.Context(), "t", "application/json", `[ 2, 3 ]`)
	if status == http.StatusRequestTimeout {
		return // the client in it did not hand the records back in time
	}
	require.NoError(t, err)
	require.Equal(t, 503, status, text)
	require.Len(t, results, 2)
	for _, r := range results {
		require.Equal(t, 2, r.ErrorCode)
		require.True(t, strings.HasPrefix(r.Error, "transient:"), r.Error)
	}
}
