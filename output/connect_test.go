package output

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	bigmath "math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// connectionTest makes the engine test the connection of an output.
func connectionTest(t *testing.T, yaml string) service.ConnectionTestResults {
	t.Helper()
	b := service.NewResourceBuilder()
	require.NoError(t, b.AddOutputYAML("label: out\n"+yaml))
	resources, stop, err := b.BuildSuspended()
	require.NoError(t, err)
	defer func() {
		// An output that was never started does not end.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = stop(ctx)
	}()
	results, err := resources.ConnectionTest(t.Context())
	require.NoError(t, err)
	return results
}

// refuseAuthentication makes the brokers reject all credentials, as Kafka does. kfake
// itself closes the connection without an answer.
func refuseAuthentication(c *cluster) {
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
}

func TestConnectionTest(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	config := c.alone("topic: t")
	results := connectionTest(t, config)
	require.Len(t, results, 1)
	require.NoError(t, results[0].Err)
	require.Equal(t, "out", results[0].Label)

	c.Close()
	results = connectionTest(t, config)
	require.Len(t, results, 1)
	require.Error(t, results[0].Err)
}

func TestConnectionTestOfTheDeadLetterOutput(t *testing.T) {
	t.Parallel()
	c, gone := newCluster(t), newCluster(t)
	config := c.withDeadLetter(gone.alone("topic: letters"), "topic: t")
	gone.Close()
	results := connectionTest(t, config)
	require.Len(t, results, 2)
	require.NoError(t, results[0].Err)
	require.Error(t, results[1].Err)
	require.Contains(t, results[1].Path, fieldDeadLetter)
}

func TestConnectionTestNamesTheMechanismAndNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "open-sesame"
	c := newCluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "admin", secret))
	config := c.config("topic: t", "sasl: [ { mechanism: SCRAM-SHA-512, username: admin, password: "+secret+" } ]")
	results := connectionTest(t, "kafka_guarded:"+streamtest.Indent(config, 2))
	require.NoError(t, results[0].Err)

	refuseAuthentication(c)
	results = connectionTest(t, "kafka_guarded:"+streamtest.Indent(config, 2))
	require.ErrorContains(t, results[0].Err, "SCRAM-SHA-512")
	require.NotContains(t, results[0].Err.Error(), secret)
}

// outputOf makes an output from YAML, without connecting it.
func outputOf(t *testing.T, yaml string) *output {
	t.Helper()
	conf, err := Spec().ParseYAML(yaml, nil)
	require.NoError(t, err)
	o, err := newOutput(conf, conf.Resources())
	require.NoError(t, err)
	t.Cleanup(func() { _ = o.Close(context.Background()) })
	return o
}

// deaf is an address that accepts connections and never answers.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestASeedThatDoesNotAnswerKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kfake.TLS(serverTLS(t)))
	c.Topic("t", 1)
	o := outputOf(t, "topic: t\ntls: { enabled: true, skip_cert_verify: true }\ntcp: { connect_timeout: 1h }\nseed_brokers: [ '"+deaf(t)+"', '"+c.ListenAddrs()[0]+"' ]\n")
	require.NoError(t, o.Connect(t.Context()))
	require.NoError(t, o.WriteBatch(t.Context(), streamtest.Batch("a")), "the first client does not go to that seed either")
}

// Without its own time-out, a dial would take as long as the operating system lets it:
// two minutes and more.
func TestDialsHaveATimeOut(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]time.Duration{"": dialTimeout, "tcp: { tcp_user_timeout: 1s }": dialTimeout, "tcp: { connect_timeout: 3s }": 3 * time.Second} {
		conf, err := Spec().ParseYAML("topic: t\nseed_brokers: [ a:1 ]\n"+field, nil)
		require.NoError(t, err)
		require.Equal(t, want, newParser(conf).dialer().timeout)
	}
	o := outputOf(t, "topic: t\nseed_brokers: [ '"+deaf(t)+"' ]\ntls: { enabled: true }\ntcp: { connect_timeout: 10ms }\n")
	require.ErrorContains(t, o.Connect(t.Context()), "no connection within 10ms (tcp.connect_timeout)", "a handshake that never ends counts")
}

// serverTLS has a self-signed certificate for 127.0.0.1.
func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: bigmath.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// A Kafka that does not answer is tried again soon. One that rejects the connection is
// not, since it may count each try as an attack.
func TestOnlyRejectedConnectionsWait(t *testing.T) {
	t.Parallel()
	gone := newCluster(t)
	addr := gone.ListenAddrs()[0]
	gone.Close()
	var backOff *service.ErrBackOff
	o := outputOf(t, "topic: t\nseed_brokers: [ '"+addr+"' ]\n")
	err := o.Connect(t.Context())
	require.ErrorContains(t, err, "no broker of seed_brokers can be used: "+addr+": unable to dial: dial tcp")
	require.NotErrorAs(t, err, &backOff)

	c := newCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "admin", "right"))
	refuseAuthentication(c)
	o = outputOf(t, c.config("topic: t", "sasl: [ { mechanism: PLAIN, username: admin, password: wrong } ]"))
	err = o.Connect(t.Context())
	require.ErrorContains(t, err, "authenticating with SASL mechanism PLAIN: check the credentials")
	require.ErrorAs(t, err, &backOff)
}

// offer makes the brokers reject all mechanisms but these, as Kafka does: the answer
// lists them, and is the last on that connection.
func offer(c *cluster, mechanisms ...string) {
	c.ControlKey(int16(kmsg.SASLHandshake), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if slices.Contains(mechanisms, kreq.(*kmsg.SASLHandshakeRequest).Mechanism) {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		resp.SupportedMechanisms = mechanisms
		return resp, nil, true
	})
}

func TestTheFirstMechanismThatTheBrokerOffersIsUsed(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "admin", "secret"))
	offer(c, "PLAIN", "SCRAM-SHA-512")
	o := outputOf(t, c.config("topic: t", "sasl:",
		"  - { mechanism: OAUTHBEARER, token: x }",
		"  - { mechanism: SCRAM-SHA-256, username: admin, password: other }",
		"  - { mechanism: SCRAM-SHA-512, username: admin, password: secret }"))
	require.NoError(t, o.Connect(t.Context()))
	require.Equal(t, "SCRAM-SHA-512", o.client.sasl.Name())
}

func TestMechanismsThatTheBrokerDoesNotOfferAreSaid(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "admin", "secret"))
	offer(c, "PLAIN", "GSSAPI")
	o := outputOf(t, c.config("topic: t", "sasl: [ { mechanism: SCRAM-SHA-256, username: admin, password: secret }, { mechanism: OAUTHBEARER, token: x } ]"))
	err := o.Connect(t.Context())
	require.ErrorContains(t, err, "the broker offers PLAIN, GSSAPI, and the field sasl has SCRAM-SHA-256, OAUTHBEARER: UNSUPPORTED_SASL_MECHANISM")
	require.NotContains(t, err.Error(), "secret")
}

func TestSASLToAListenerWithoutIsSaid(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.ControlKey(int16(kmsg.SASLHandshake), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		resp := kreq.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.ErrorCode = kerr.IllegalSaslState.Code // as Kafka answers; kfake closes the connection
		return resp, nil, true
	})
	o := outputOf(t, c.config("topic: t", "sasl: [ { mechanism: PLAIN, username: admin, password: secret } ]"))
	require.ErrorContains(t, o.Connect(t.Context()), "the listener is one without SASL: leave out the field sasl, or name a listener with SASL in seed_brokers")
}

// A Kafka that starts after the stream is found.
func TestKafkaThatComesUpLaterIsFound(t *testing.T) {
	t.Parallel()
	port, err := freeport.Port()
	require.NoError(t, err)
	turnedDown, ended := make(chan struct{}), make(chan bool)
	var said sync.Once
	s := &streamtest.Stream{Batches: [][]string{{"a"}}, Hear: func(line string) {
		if strings.Contains(line, "Failed to connect to kafka_guarded") {
			said.Do(func() { close(turnedDown) })
		}
	}}
	go func() {
		ended <- s.Run(t, t.Context(), "kafka_guarded: { seed_brokers: [ '127.0.0.1:"+strconv.Itoa(port)+"' ], topic: t, dead_letter: { drop: {} } }")
	}()
	<-turnedDown
	c := newCluster(t, kfake.Ports(port))
	c.Topic("t", 1)
	up := time.Now()
	require.True(t, <-ended)
	t.Logf("delivered %s after Kafka came up", time.Since(up))
	require.Equal(t, once("a"), c.Values("t"))
}

// What Connect began ends with Close: a goroutine that is left makes synctest panic.
func TestCloseEndsWhatConnectBegan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newVirtualCluster(t)
		conf, err := Spec().ParseYAML("seed_brokers: [ '"+c.ListenAddrs()[0]+"' ]\ntopic: t", nil)
		require.NoError(t, err)
		o, err := newOutput(conf, conf.Resources())
		require.NoError(t, err)
		o.client.dialer.open = c.dial
		require.NoError(t, o.Connect(t.Context()))
		for range 2 {
			require.NoError(t, o.Close(t.Context()))
		}
		require.ErrorIs(t, o.WriteBatch(t.Context(), streamtest.Batch("a")), service.ErrNotConnected)
		time.Sleep(time.Second) // connections end
	})
}
