//go:build linux || darwin

package access

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/gatewaytest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// values returns how often each value is in a topic, and the value at each
// partition/offset.
func values(c *kafkatest.Cluster, topic string) (times map[string]int, at map[string]string) {
	times, at = map[string]int{}, map[string]string{}
	for _, r := range c.ReadAll(topic) {
		times[string(r.Value)]++
		at[fmt.Sprintf("%d/%d", r.Partition, r.Offset)] = string(r.Value)
	}
	return times, at
}

// The gateway's config on a cluster with TLS, SASL and ACLs, with the credentials in a
// file, behind the proxy of config/. Records of strangers get into the allowed topics
// and into no other. Neither answers nor the log have a secret in them.
func TestTheGatewayOfTheProgramOnASecuredCluster(t *testing.T) {
	c := onkafka.Secured(t)
	for _, topic := range []string{"orders", "orders-other", "denied", "_schemas"} {
		c.CreateTopic(topic, 1, 1, map[string]string{"max.message.bytes": "100000"})
		if topic != "denied" {
			onkafka.MayWrite(c, onkafka.Alice, topic)
		}
	}
	recipe, err := os.ReadFile("../../config/http_gateway.yaml")
	require.NoError(t, err)
	dir := t.TempDir()
	own, credentials := filepath.Join(dir, "gateway.yaml"), filepath.Join(dir, "credentials.env")
	const seeds = `        seed_brokers: [ "${KAFKA_BROKERS:localhost:9092}" ]`
	require.Contains(t, string(recipe), seeds)
	require.NoError(t, os.WriteFile(own, []byte(strings.Replace(string(recipe), seeds, seeds+`
        tls: { enabled: true, root_cas_file: `+onkafka.PemFile(t, c.Certs().CA)+` }
        sasl: [ { mechanism: SCRAM-SHA-512, username: "${KAFKA_USER}", password: "${KAFKA_PASSWORD}" } ]`, 1)), 0o600))
	require.NoError(t, os.WriteFile(credentials, []byte("KAFKA_USER="+onkafka.Alice+"\nKAFKA_PASSWORD="+onkafka.AlicePassword+"\n"), 0o600))
	g := gatewaytest.Run(t, onkafka.Program(t), []string{"--env-file", credentials, "--set", "logger.level=TRACE", own},
		"KAFKA_BROKERS="+strings.Join(c.Brokers(), ","), "HTTP_TIMEOUT=4m", "GIVE_UP_AFTER=3m",
		"ALLOWED_TOPICS=orders|denied|_schemas", "MAX_RECORDS=100", "MAX_RECORD_BYTES=200000")
	ways := map[string]*gatewaytest.Gateway{"direct": g}
	if _, err := exec.LookPath("haproxy"); err == nil {
		ways["proxy"] = g.Through("http://"+gatewaytest.Proxy(t, "../../config/http_gateway.haproxy.cfg", g.Address), nil)
	}
	const list, secret = "application/json", "0pen-5esame"
	large := gatewaytest.Incompressible(150_000)
	want := map[string]int{}
	for name, way := range ways {
		good := fmt.Sprintf("%s by %s", secret, name)
		for _, test := range []struct {
			name, topic, contentType, body string
			headers                        []string
			status                         int
			text                           string // what the answer must contain
		}{
			{"a record", "orders", list, `[ "` + good + `" ]`, nil, 200, ""},
			{"a topic in a cookie", "orders", list, `[ "` + secret + `" ]`, []string{"Cookie", "topic=orders-other"}, 403, ""},
			{"a web page", "orders", list, `[ "` + secret + `" ]`, []string{"Origin", "http://example.com"}, 403, ""},
			{"a topic that is not allowed", "orders-other", list, `[ "` + secret + `" ]`, nil, 403, "ALLOWED_TOPICS"},
			{"an internal one that the list allows", "_schemas", list, `[ "` + secret + `" ]`, nil, 403, "ALLOWED_TOPICS"},
			{"a form", "orders", "text/plain", `[ "` + secret + `" ]`, nil, 415, ""},
			{"a large body", "orders", list, `[ "` + strings.Repeat(secret, 60_000) + `" ]`, []string{"Expect", "100-continue"}, 413, ""}, // else the answer may come while the body is sent
			{"many records", "orders", list, `[ ` + strings.Repeat(`"`+secret+`",`, 100) + ` 1 ]`, nil, 413, "MAX_RECORDS"},
			{"a large record", "orders", list, `[ "` + strings.Repeat(secret, 20_000) + `" ]`, nil, 413, "MAX_RECORD_BYTES"},
			{"one that Kafka does not take", "orders", list, `[ "` + large + `" ]`, nil, 422, "size_exceeded: topic orders"},
			{"one without the right", "denied", list, `[ "` + secret + `" ]`, nil, 422, "unauthorized: topic denied"},
			{"no list", "orders", list, secret, nil, 422, "no JSON array"},
		} {
			status, results, text, err := way.Post(t.Context(), test.topic, test.contentType, test.body, test.headers...)
			require.Equal(t, test.status, status, "%s, %s: %s %v", name, test.name, text, err)
			require.Contains(t, text, test.text, test.name)
			require.NotContains(t, text, secret, test.name)
			if status == http.StatusOK {
				require.Len(t, results, 1)
				_, at := values(c, "orders")
				require.Equal(t, good, at[results[0].At()])
				want[good]++
			}
		}
	}
	// A query can't change the topic, and websockets are rejected.
	status, _, text, err := g.Post(t.Context(), "orders?topic=orders-other", list, `[ "queried" ]`)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, text)
	want["queried"]++
	for _, path := range []string{"/topics/orders", "/post/ws", "/get/ws"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.Address+path+"?topic=orders", nil)
		require.NoError(t, err)
		req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		require.NoError(t, resp.Body.Close())
		require.GreaterOrEqual(t, resp.StatusCode, 400, path)
	}
	times, _ := values(c, "orders")
	require.Equal(t, want, times)
	for _, topic := range []string{"orders-other", "denied", "_schemas"} {
		require.Empty(t, c.ReadAll(topic), topic)
	}
	for _, no := range []string{secret, onkafka.AlicePassword} {
		require.NotContains(t, g.Log(), no)
	}
}

// Kafka goes away and comes back under load. A record whose answer has an offset is
// there, once. A record whose answer says "not written" is not there. No record is
// there twice, and no answer has the address of a broker.
func TestTheGatewayOfTheProgramWhileKafkaIsAway(t *testing.T) {
	t.Parallel()
	onkafka.SkipShort(t)
	const clients = 8
	c := kafkatest.Start(t, kafkatest.Options{})
	c.CreateTopic("orders", 3, 1, nil)
	g := gatewaytest.Run(t, onkafka.Program(t), []string{"../../config/http_gateway.yaml"},
		"KAFKA_BROKERS="+strings.Join(c.Brokers(), ","), "HTTP_TIMEOUT=4m", "GIVE_UP_AFTER=2s")
	var mu sync.Mutex
	taken, not, perhaps, wrong := map[string]string{}, map[string]bool{}, map[string]bool{}, []string{}
	done := make(chan struct{})
	var load sync.WaitGroup
	for client := range clients {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-time.After(5 * time.Millisecond):
				}
				sent := []string{fmt.Sprintf("%d-%d-a", client, n), fmt.Sprintf("%d-%d-b", client, n)}
				status, results, text, err := g.Post(t.Context(), "orders", "application/json", `[ "`+strings.Join(sent, `", "`)+`" ]`)
				mu.Lock()
				if err != nil || len(results) != len(sent) || strings.Contains(text, "127.0.0.1") || status != http.StatusOK && status != http.StatusServiceUnavailable {
					wrong = append(wrong, fmt.Sprint(status, text, err))
					results = nil
				}
				for i, r := range results {
					switch at := r.At(); {
					case at != "":
						taken[sent[i]] = at
					case strings.Contains(r.Error, ": not written:"):
						not[sent[i]] = true
					default:
						perhaps[sent[i]] = true
					}
				}
				mu.Unlock()
			}
		})
	}
	more := func(of func() int, what string) {
		mu.Lock()
		before := of()
		mu.Unlock()
		onkafka.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return of() >= before+50
		}, "%s", what)
	}
	more(func() int { return len(taken) }, "records to be taken")
	c.Kill(1)
	more(func() int { return len(not) }, "records to be given up")
	c.Restart(1)
	more(func() int { return len(taken) }, "records to be taken again")
	close(done)
	load.Wait()
	require.Empty(t, wrong)
	times, at := values(c, "orders")
	for value, place := range taken {
		require.Equal(t, value, at[place], "what was answered with %s", place)
	}
	for value, n := range times {
		require.Equal(t, 1, n, value)
		require.False(t, not[value], "%s was said not to be written", value)
	}
	for value := range perhaps {
		if times[value] > 0 {
			delete(times, value)
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(taken)), slices.Collect(maps.Keys(times)))
	t.Logf("RESULT | the gateway while Kafka is away: %d records taken, %d not written, %d in doubt", len(taken), len(not), len(perhaps))
}
