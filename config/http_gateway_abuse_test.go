package config_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/gatewaytest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// Benthos makes metadata from the path, the query and cookies alike. The last of these
// wins.
func TestHTTPGatewayTakesTheTopicFromThePathAlone(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 30*time.Second, 20*time.Second)
	c.Topic("t", 1)
	c.Topic("other", 1)
	post := func(topic string, headers ...string) (int, string) {
		status, _, text, err := g.Post(t.Context(), topic, "application/json", `[ 1 ]`, headers...)
		require.NoError(t, err)
		return status, text
	}
	for _, cookie := range []string{"topic=other", "http_server_request_path=/topics/other", "Cookie=", "a=b"} {
		status, text := post("t", "Cookie", cookie)
		require.Equal(t, http.StatusForbidden, status, text)
		require.Contains(t, text, "with cookies are not taken")
	}
	require.Empty(t, c.Log("t"))
	status, text := post("t?topic=other&key=other&tombstone=true", "Key", "other", "Topic", "other")
	require.Equal(t, http.StatusOK, status, text)
	require.Empty(t, c.Log("other"))
	log := c.Log("t")
	require.Len(t, log, 1)
	require.Nil(t, log[0].Key)
	require.Equal(t, "1", string(log[0].Value))
}

// A value is written with the digits that were sent. An ID of 64 bits does not become a
// float.
func TestHTTPGatewayKeepsNumbers(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 2*time.Minute, time.Minute)
	c.Topic("t", 1)
	values := []string{"9007199254740993", "-12345678901234567890", "1.10", "1e400", `{"id":9007199254740993,"text":"<&>"}`}
	for _, body := range []string{"[ " + strings.Join(values, ", ") + " ]", `{ "records": [ { "key": 9007199254740993, "value": ` + strings.Join(values, ` }, { "value": `) + ` } ] }`} {
		status, _, text, err := g.Post(t.Context(), "t", "application/json", body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, text)
	}
	log := c.Log("t")
	require.Len(t, log, 2*len(values))
	for i, r := range log {
		require.Equal(t, values[i%len(values)], string(r.Value))
	}
	require.Equal(t, "9007199254740993", string(log[len(values)].Key))
}

func TestHTTPGatewayRefuses(t *testing.T) {
	t.Parallel()
	const secret, list = "open-sesame", "application/json"
	c := kafkafake.New(t)
	for _, topic := range []string{"orders", "orders-eu", "payments", "_schemas", "connect-configs", "orders-store-changelog"} {
		c.Topic(topic, 1)
	}
	// The pattern allows internal topics, too.
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 2*time.Minute, time.Minute,
		"ALLOWED_TOPICS=orders.*|_schemas|connect-configs", "MAX_BODY_BYTES=3000", "MAX_RECORDS=10", "MAX_RECORD_BYTES=1000")
	one := `[ "` + secret + `" ]`
	for _, test := range []struct {
		name, topic, contentType, body string
		headers                        []string
		status                         int
		want                           string // in the answer
	}{
		{"a topic that is not allowed", "payments", list, one, nil, 403, "ALLOWED_TOPICS"},
		{"a part of a name that is allowed", "my-orders", list, one, nil, 403, "ALLOWED_TOPICS"},
		{"schemas", "_schemas", list, one, nil, 403, "ALLOWED_TOPICS"},
		{"configs of Kafka Connect", "connect-configs", list, one, nil, 403, "ALLOWED_TOPICS"},
		{"a changelog of Kafka Streams", "orders-store-changelog", list, one, nil, 403, "ALLOWED_TOPICS"},
		{"a newline in the topic", "orders%0Aeu", list, one, nil, 403, "ALLOWED_TOPICS"},
		{"a page of another origin", "orders", list, one, []string{"Origin", "http://example.com"}, 403, "Origin"},
		{"a page that names its header away", "orders?Origin=&Content-Type=" + list, "text/plain", one, []string{"Origin", "http://example.com"}, 403, "Origin"},
		{"text", "orders", "text/plain", one, nil, 415, "Content-Type"},
		{"a form", "orders", "application/x-www-form-urlencoded", secret + "=1", nil, 415, "Content-Type"},
		{"no type", "orders", "", one, nil, 415, "Content-Type"},
		{"a large body", "orders", list, `[ "` + strings.Repeat(secret, 300) + `" ]`, nil, 413, "MAX_BODY_BYTES"},
		{"many records", "orders", list, `[ ` + strings.Repeat(`"`+secret+`",`, 10) + ` 1 ]`, nil, 413, "MAX_RECORDS"},
		{"many lines", "orders", "application/x-ndjson", strings.Repeat(secret+"\n", 11), nil, 413, "MAX_RECORDS"},
		{"a large record", "orders", list, `[ "` + strings.Repeat(secret, 100) + `" ]`, nil, 413, "MAX_RECORD_BYTES"},
		{"a large key", "orders", list, `{ "records": [ { "key": "` + strings.Repeat(secret, 100) + `" } ] }`, nil, 413, "MAX_RECORD_BYTES"},
		{"no JSON", "orders", list, secret, nil, 422, "no JSON array"},
		{"JSON that is no list", "orders", list, `{ "` + secret + `": 1 }`, nil, 422, "no JSON array"},
		{"records that are no list", "orders", list, `{ "records": { "` + secret + `": 1 } }`, nil, 422, "no JSON array"},
		{"a record that is none", "orders", list, `{ "records": [ {}, "` + secret + `" ] }`, nil, 422, "no JSON array"},
		{"no UTF-8", "orders", list, "[ \"\xff\xfe" + secret, nil, 422, "no JSON array"},
	} {
		status, _, text, err := g.Post(t.Context(), test.topic, test.contentType, test.body, test.headers...)
		require.NoError(t, err, test.name)
		require.Equal(t, test.status, status, "%s: %s", test.name, text)
		require.Contains(t, text, test.want, test.name)
		require.NotContains(t, text, secret, test.name)
	}
	// Each part is answered: the answer is no JSON.
	status, _, text, _ := g.Post(t.Context(), "orders?Content-Type="+list, "multipart/form-data; boundary=a", "--a\r\n\r\n"+one+"\r\n--a\r\n\r\n"+one+"\r\n--a--")
	require.Equal(t, http.StatusUnsupportedMediaType, status, text)
	for _, topic := range []string{"orders", "payments", "_schemas", "connect-configs", "orders-store-changelog"} {
		require.Empty(t, c.Log(topic), topic)
	}
	status, _, text, err := g.Post(t.Context(), "orders-eu", "application/vnd.kafka.json.v2+json; charset=utf-8", one)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, text)
	require.Len(t, c.Log("orders-eu"), 1)
	require.NotContains(t, g.Log(), secret)
	require.Contains(t, g.Log(), "Requests are refused with 403")
}

// A thousand rejected requests make one line for each reason, or two if a minute ends
// meanwhile.
func TestHTTPGatewaySaysRefusalsOnce(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 2*time.Minute, time.Minute, "ALLOWED_TOPICS=orders")
	began := time.Now()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for n := range 100 {
				_, _, _, err := g.Post(t.Context(), fmt.Sprint("other-", n), "application/json", "[ 1 ]")
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	minutes := int(time.Since(began)/time.Minute) + 2
	said := strings.Count(g.Log(), "Requests are refused with 403")
	require.NotZero(t, said)
	require.LessOrEqual(t, said, minutes, g.Log())
	require.Less(t, strings.Count(g.Log(), "\n"), 20+minutes, g.Log())
}

// Three hundred clients write to topics that do not exist. The log has a few lines, and
// records for an existing topic get through. The producer does not ask for the missing
// topics, which would take five metadata requests and 1.8 s for each.
func TestHTTPGatewayUnknownTopics(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 5*time.Minute, 4*time.Minute)
	c.Topic("t", 1)
	requests := 6000
	if testing.Short() {
		requests = 1500
	}
	const clients = 300
	var asked atomic.Int64 // the most topics that a metadata request has asked for
	c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if n := int64(len(r.(*kmsg.MetadataRequest).Topics)); n > asked.Load() {
			asked.Store(n)
		}
		return nil, nil, false
	})
	var good, unknown []time.Duration
	var mu sync.Mutex
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for n := client; n < requests; n += clients {
				topic, want := fmt.Sprint("missing-", n/2), http.StatusUnprocessableEntity
				if n%10 == 0 {
					topic, want = "t", http.StatusOK
				}
				began := time.Now()
				status, _, text, err := g.Post(t.Context(), topic, "application/json", "[ 1 ]")
				took := time.Since(began)
				assert.Equal(t, want, status, "%s %v", text, err)
				mu.Lock()
				if topic == "t" {
					good = append(good, took)
				} else {
					unknown = append(unknown, took)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(good)
	slices.Sort(unknown)
	lines := strings.Count(g.Log(), "\n")
	t.Logf("RESULT | %d requests for unknown topics: p50 %s, p99 %s | beside them, for a known one: p50 %s, p99 %s | %d log lines",
		len(unknown), unknown[len(unknown)/2], unknown[len(unknown)*99/100], good[len(good)/2], good[len(good)*99/100], lines)
	require.Less(t, lines, len(unknown)/20, g.Log()) // some a minute, and one for each request before
	require.LessOrEqual(t, asked.Load(), int64(clients), "topics of which it is known that they are not there are asked for again")
}

// No answer of the gateway has the address of a broker.
func TestHTTPGatewayTellsNoAddresses(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], time.Minute, 2*time.Second)
	c.Topic("t", 1)
	status, _, text, err := g.Post(t.Context(), "t", "application/json", `[ 1 ]`)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, text)
	addresses := c.ListenAddrs()
	c.Close()
	status, results, text, err := g.Post(t.Context(), "t", "application/json", `[ 2 ]`)
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, status, text)
	require.Len(t, results, 1)
	require.Contains(t, results[0].Error, "transient: ")
	for _, address := range addresses {
		_, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		require.NotContains(t, text, port)
	}
	require.NotContains(t, text, "127.0.0.1")
}

// FuzzHTTPGatewayText sends any topic, headers and body. Each answer is one line of
// JSON without a part of the body. Each line of the log is one of the gateway's own.
func FuzzHTTPGatewayText(f *testing.F) {
	const secret = "0pen-5esame"
	for _, text := range []string{"", "t", "a\nb", "t\r\nSet-Cookie: a=b", "\x1b[31m", "\u2028", "\xff", "\x00", `"`, "${! content() }", "a/b", "..", strings.Repeat("t", 300)} {
		f.Add(text, text, text)
	}
	c := kafkafake.New(f)
	g := gatewaytest.Start(f, c.ListenAddrs()[0], 2*time.Minute, time.Minute, "ALLOWED_TOPICS=t")
	c.Topic("t", 1)
	f.Fuzz(func(t *testing.T, topic, contentType, text string) {
		if topic == "." || topic == ".." || topic == "" || strings.ContainsFunc(contentType, unicode.IsControl) {
			return // the client changes such a path, and sends no such header
		}
		before := len(g.Log())
		for _, body := range []string{secret + text, `[ "` + secret + `", ` + text + ` ]`} {
			status, _, answer, err := g.Post(t.Context(), url.PathEscape(topic), contentType, body)
			if status == http.StatusNotFound || status == http.StatusBadRequest {
				continue // the engine's router answers
			}
			require.NoError(t, err, answer)
			require.NotContains(t, answer, secret)
			require.True(t, json.Valid([]byte(answer)), answer)
			for _, r := range answer {
				require.True(t, unicode.IsPrint(r), "%q", answer)
			}
		}
		log := g.Log()[before:]
		require.NotContains(t, log, secret)
		for line := range strings.Lines(log) {
			require.True(t, json.Valid([]byte(line)), line)
		}
	})
}
