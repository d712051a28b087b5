package config_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/gatewaytest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// hostile is how many connections never finish their request in TestGoodBesideHostile:
//
//	go test ./config -run GoodBesideHostile -v -hostile 1000 | grep RESULT
var hostile = flag.Int("hostile", 100, "connections that never finish their request")

// certificate writes a self-signed certificate for 127.0.0.1, with its key.
func certificate(t *testing.T) (path string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	path = filepath.Join(t.TempDir(), "gateway.pem")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	pair, err = tls.X509KeyPair(text, text)
	require.NoError(t, err)
	return path, pair
}

func TestProxyInFrontOfTheGateway(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 2*time.Minute, time.Minute)
	c.Topic("t", 1)
	pemFile, pair := certificate(t)
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	type way struct {
		name    string
		g       *gatewaytest.Gateway
		headers []string
	}
	plain := "http://" + gatewaytest.Proxy(t, "http_gateway.haproxy.cfg", g.Address)
	password := "https://" + gatewaytest.Proxy(t, "http_gateway_auth.haproxy.cfg", g.Address, "GATEWAY_CERTIFICATE="+pemFile, "GATEWAY_PASSWORD=open-sesame")
	mutual := "https://" + gatewaytest.Proxy(t, "http_gateway_auth.haproxy.cfg", g.Address, "GATEWAY_CERTIFICATE="+pemFile, "GATEWAY_CLIENT_CA="+pemFile)
	known := func() *http.Transport { return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}} }
	shown := known()
	shown.TLSClientConfig.Certificates = []tls.Certificate{pair}
	const basic = "Basic d3JpdGVyOm9wZW4tc2VzYW1l" // writer:open-sesame
	written := 0
	for _, way := range []way{
		{"plain", g.Through(plain, nil), nil},
		{"password", g.Through(password, known()), []string{"Authorization", basic}},
		{"client certificate", g.Through(mutual, shown), nil},
	} {
		for _, test := range []struct {
			name, topic, contentType, body string
			headers                        []string
			status                         int
		}{
			{"a record", "t", "application/json", "[ 1 ]", nil, 200},
			{"an answer that may be compressed, and is not", "t", "application/json", "[ 1 ]", []string{"Accept-Encoding", "gzip"}, 200},
			{"a large one", "t", "application/x-ndjson; charset=utf-8", strings.Repeat(strings.Repeat("x", 499)+"\n", 1000), nil, 200},
			{"another path", "t/other", "application/json", "[ 1 ]", nil, 404},
			{"a query", "t?topic=other", "application/json", "[ 1 ]", nil, 403},
			{"a cookie", "t", "application/json", "[ 1 ]", []string{"Cookie", "topic=other"}, 403},
			{"a web page", "t", "application/json", "[ 1 ]", []string{"Origin", "http://example.com"}, 403},
			{"a header that comes twice", "t", "application/json, multipart/form-data; boundary=a", "[ 1 ]", nil, 415},
			{"a form", "t", "multipart/form-data; boundary=a", "--a\r\n\r\n1\r\n--a--", nil, 415},
		} {
			status, _, text, err := way.g.Post(t.Context(), test.topic, test.contentType, test.body, append(test.headers, way.headers...)...)
			if status == http.StatusOK {
				require.NoError(t, err)
				written++
			}
			require.Equal(t, test.status, status, "%s: %s: %s %v", way.name, test.name, text, err)
		}
	}
	require.Len(t, c.Log("t"), 3*1002)
	require.Equal(t, 9, written)

	for name, refused := range map[string]*gatewaytest.Gateway{
		"no password":            g.Through(password, known()),
		"no client certificate":  g.Through(mutual, known()),
		"no authority to trust":  g.Through(password, nil),
		"without TLS":            g.Through(strings.Replace(password, "https", "http", 1), nil),
		"with TLS 1.1, as known": g.Through(mutual, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: shown.TLSClientConfig.Certificates, MaxVersion: tls.VersionTLS11}}), //nolint:gosec // that is refused
	} {
		status, _, _, err := refused.Post(t.Context(), "t", "application/json", "[ 1 ]")
		require.NotEqual(t, http.StatusOK, status, name)
		require.True(t, err != nil || status >= 400, name)
	}
	require.Len(t, c.Log("t"), 3*1002)

	// A request whose headers are wrong is rejected before its body comes.
	for headers, want := range map[string]string{
		"Content-Length: 524289":     "413",
		"Transfer-Encoding: chunked": "411",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(plain, "http://"))
		require.NoError(t, err)
		_, err = io.WriteString(conn, "POST /topics/t HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"+headers+"\r\n\r\n")
		require.NoError(t, err)
		status, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, status, " "+want+" ")
		require.NoError(t, conn.Close())
	}
}

// The proxy ends requests that are never finished. The gateway does not get them.
func TestProxyEndsSlowRequests(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits for the time-outs of the proxy")
	}
	gateway, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer gateway.Close()
	var heard atomic.Int64
	go func() {
		for {
			conn, err := gateway.Accept()
			if err != nil {
				return
			}
			heard.Add(1)
			_ = conn.Close()
		}
	}()
	address := gatewaytest.Proxy(t, "http_gateway.haproxy.cfg", gateway.Addr().String())
	var wg sync.WaitGroup
	var closed atomic.Int64
	for n := range 80 { // an address may have 100
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		wg.Go(func() {
			defer conn.Close()
			_, _ = io.WriteString(conn, slow(n))
			if _, err := io.Copy(io.Discard, conn); err == nil {
				closed.Add(1)
			}
		})
	}
	wg.Wait() // for ever, if the proxy does not close them
	require.EqualValues(t, 80, closed.Load())
	require.Zero(t, heard.Load())
}

// slow is the beginning of a request that stops there.
func slow(n int) string {
	head := "POST /topics/t HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n"
	switch n % 4 {
	case 0:
		return "" // nothing at all
	case 1:
		return head[:40] // in the middle of a header
	case 2:
		return head + "\r\n[" // a byte of its body
	default:
		return head + "\r\n" + strings.Repeat("[", 60_000) // more than a usual buffer
	}
}

// Connections of many addresses never finish their request, and are opened anew when
// they are closed. Other clients get right answers. Their latency is logged.
func TestGoodBesideHostile(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("it takes the many loopback addresses of Linux")
	}
	requests := 500
	if *hostile >= 1000 {
		requests = 4000 // enough for a p99
	}
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 5*time.Minute, 4*time.Minute)
	c.Topic("t", 3, "max.message.bytes=2000")
	address := gatewaytest.Proxy(t, "http_gateway.haproxy.cfg", g.Address)
	good := g.Through("http://"+address, nil)
	before := good.Load("t", 8, requests, 3000)
	require.Empty(t, before.Wrong)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var open, opened atomic.Int64
	for n := range *hostile {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+n%200))} // of the loopback network, as any of 127/8
				dialer := net.Dialer{LocalAddr: from, Timeout: time.Minute}
				conn, err := dialer.Dial("tcp", address)
				if err != nil {
					continue
				}
				open.Add(1)
				opened.Add(1)
				_, _ = io.WriteString(conn, slow(n))
				done := make(chan struct{})
				go func() {
					select {
					case <-stop:
					case <-done:
					}
					_ = conn.Close()
				}()
				_, _ = io.Copy(io.Discard, conn)
				close(done)
				open.Add(-1)
			}
		})
	}
	require.Eventually(t, func() bool { return open.Load() > int64(*hostile)*9/10 }, 4*time.Minute, 10*time.Millisecond)
	beside := good.Load("t", 8, requests, 3000)
	close(stop)
	wg.Wait()
	require.Empty(t, beside.Wrong)
	require.NotZero(t, beside.Refused)
	p := func(l *gatewaytest.Load, share int) time.Duration {
		slices.Sort(l.Took)
		return l.Took[len(l.Took)*share/100].Round(10 * time.Microsecond)
	}
	t.Logf("RESULT | %d requests, 8 clients, alone: p50 %s, p99 %s | beside %d hostile connections, %d opened: p50 %s, p99 %s",
		requests, p(before, 50), p(before, 99), *hostile, opened.Load(), p(beside, 50), p(beside, 99))
}
