//go:build linux || darwin

package access

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
	"github.com/kafka-guarded/kafka-guarded/internal/proxytest"
)

// everything is a level below all others, so that nothing is left out of a log.
const everything = slog.Level(-100)

func TestEveryMechanismDelivers(t *testing.T) {
	c := onkafka.Secured(t)
	for _, mechanism := range []string{kafkatest.Plain, kafkatest.ScramSHA256, kafkatest.ScramSHA512, kafkatest.OAuthBearer} {
		t.Run(mechanism, func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("sasl", 1, 1, nil)
			onkafka.MayWrite(c, onkafka.Alice, "sasl")
			l := onkafka.NewChecker(t, "security/"+mechanism)
			f := onkafka.As(t, c, mechanism, onkafka.Alice, onkafka.AlicePassword)
			s := onkafka.StartAt(l, f, onkafka.Batches(onkafka.Around("sasl", "a", 20, onkafka.Good("sasl", "huge").Padded(2<<20, onkafka.Noise).Bad(onkafka.SizeExceeded))), everything)
			s.Wait()
			l.CheckTopics(c, "sasl")
			requireNoSecret(t, s.Log.String(), f)
		})
	}
}

// requireNoSecret checks that the log has no password and no token in it.
func requireNoSecret(t *testing.T, log string, f onkafka.Fields) {
	t.Helper()
	require.NotEmpty(t, log)
	for _, login := range f["sasl"].([]any) {
		for _, field := range []string{"password", "token"} {
			secret, _ := login.(onkafka.Fields)[field].(string)
			if secret == "" {
				continue
			}
			require.NotContains(t, log, secret, "the %s is in the log", field)
			require.NotContains(t, log, base64.StdEncoding.EncodeToString([]byte(secret)))
		}
	}
}

func TestClientCertificatesDeliver(t *testing.T) {
	t.Parallel()
	onkafka.SkipShort(t)
	c := kafkatest.Start(t, kafkatest.Options{TLS: true, TLSClientAuth: true, ACLs: true})
	c.CreateTopic("certified", 1, 1, nil)
	c.Grant(kafkatest.ClientCertPrincipal, kadm.OpWrite, kafkatest.TopicResource("certified"))
	certs := c.Certs()
	f := onkafka.Defaults(c)
	f["tls"] = onkafka.Fields{
		"enabled":       true,
		"root_cas_file": onkafka.PemFile(t, certs.CA),
		"client_certs":  []any{onkafka.Fields{"cert_file": onkafka.PemFile(t, certs.ClientCert), "key_file": onkafka.PemFile(t, certs.ClientKey)}},
	}
	l := onkafka.NewChecker(t, "security/client certificate")
	onkafka.Run(l, f, onkafka.Around("certified", "a", 20))
	l.CheckTopics(c, "certified")

	t.Run("without one it is said", func(t *testing.T) {
		c := c.With(t)
		f := onkafka.Defaults(c)
		f["tls"] = onkafka.Fields{"enabled": true, "root_cas_file": onkafka.PemFile(t, certs.CA)}
		requireNoConnection(t, f, "remote error: tls:")
	})
}

// With an expired certificate the broker accepts no connection. The certificate is
// renewed on disk, as cert-manager does.
func TestAClientCertificateIsRenewedOnDisk(t *testing.T) {
	t.Parallel()
	onkafka.SkipShort(t)
	p, err := proxytest.New()
	require.NoError(t, err)
	c := kafkatest.Start(t, kafkatest.Options{TLS: true, TLSClientAuth: true, ACLs: true, AdvertisedPorts: map[int]int{1: p.Port()}})
	p.Connect(c.ClientAddr(1))
	c.CreateTopic("certified", 3, 1, nil)
	c.Grant(kafkatest.ClientCertPrincipal, kadm.OpWrite, kafkatest.TopicResource("certified"))
	certs := c.Certs()
	certFile, keyFile := onkafka.PemFile(t, nil), onkafka.PemFile(t, nil)
	issue := func(until time.Time) {
		cert, key, err := certs.Issue(until)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(certFile, cert, 0o600))
		require.NoError(t, os.WriteFile(keyFile, key, 0o600))
	}
	issue(time.Now().Add(time.Hour))
	l := onkafka.NewChecker(t, "security/client certificate renewed on disk")
	next := make(chan []onkafka.Message, 100)
	s := onkafka.Start(l, onkafka.Defaults(c).With(onkafka.Fields{"max_in_flight": 10, "tls": onkafka.Fields{
		"enabled":       true,
		"root_cas_file": onkafka.PemFile(t, certs.CA),
		"client_certs":  []any{onkafka.Fields{"cert_file": certFile, "key_file": keyFile}},
	}}), onkafka.Channel(next))
	next <- onkafka.Around("certified", "before", 50)
	onkafka.Eventually(t, func() bool { return l.Acknowledged() == 1 }, "the batch before")
	issue(time.Now().Add(-time.Minute))
	p.Cut() // no request is in flight
	p.Connect(c.ClientAddr(1))
	for b := range 9 {
		next <- onkafka.Around("certified", fmt.Sprint("expired-", b), 50)
	}
	time.Sleep(5 * time.Second)
	require.Equal(t, 1, l.Acknowledged(), "with an expired certificate")
	issue(time.Now().Add(time.Hour))
	close(next)
	s.Wait()
	l.CheckTopics(c, "certified")
}

// A user's password changes while the stream runs, so the broker rejects the next
// connection. The messages wait, the log says why, and all are delivered once when the
// broker accepts the password again.
func TestCredentialsThatARunningStreamLoses(t *testing.T) {
	t.Parallel()
	onkafka.SkipShort(t)
	p, err := proxytest.New()
	require.NoError(t, err)
	c := kafkatest.Start(t, kafkatest.Options{
		SASL: []string{kafkatest.ScramSHA256}, Users: map[string]string{onkafka.Alice: onkafka.AlicePassword},
		AdvertisedPorts: map[int]int{1: p.Port()},
	})
	p.Connect(c.ClientAddr(1))
	c.CreateTopic("t", 1, 1, nil)
	setPassword := func(password string) {
		changed, err := c.Admin().AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{{
			User: onkafka.Alice, Mechanism: kadm.ScramSha256, Iterations: 4096, Password: password,
		}})
		require.NoError(t, err)
		require.NoError(t, changed.Error())
		p.Cut() // end the connections that are authenticated
		p.Connect(c.ClientAddr(1))
	}
	f := onkafka.Defaults(c)
	f["sasl"] = []any{onkafka.Fields{"mechanism": kafkatest.ScramSHA256, "username": onkafka.Alice, "password": onkafka.AlicePassword}}
	l := onkafka.NewChecker(t, "security/credentials lost")
	next := make(chan []onkafka.Message, 100)
	s := onkafka.StartAt(l, f, onkafka.Channel(next), everything)
	next <- onkafka.Around("t", "before", 50)
	onkafka.Eventually(t, func() bool { return l.Acknowledged() == 1 }, "the batch before")
	setPassword("other-31c9ab")
	for b := range 3 {
		next <- onkafka.Around("t", fmt.Sprint("meanwhile-", b), 50)
	}
	onkafka.Eventually(t, func() bool {
		for line := range strings.Lines(s.Log.String()) {
			if strings.Contains(line, "messages for topic t are held") && strings.Contains(line, "SASL mechanism SCRAM-SHA-256. Check the credentials in sasl") {
				return true
			}
		}
		return false
	}, "a line that says which messages wait, and why")
	require.Equal(t, 1, l.Acknowledged(), "with a password that is refused")
	setPassword(onkafka.AlicePassword)
	close(next)
	s.Wait()
	l.CheckTopics(c, "t")
	requireNoSecret(t, s.Log.String(), f)
}

func TestAFailureToConnectSaysWhy(t *testing.T) {
	t.Parallel()
	c := onkafka.Secured(t)
	const wrong = "wrong-31c9ab"
	for _, mechanism := range []string{kafkatest.Plain, kafkatest.ScramSHA256, kafkatest.ScramSHA512} {
		t.Run("wrong password, "+mechanism, func(t *testing.T) {
			c := c.With(t)
			requireNoConnection(t, onkafka.As(t, c, mechanism, onkafka.Alice, wrong), "SASL mechanism "+mechanism+": check the credentials")
		})
	}
	t.Run("mechanisms that the broker does not offer", func(t *testing.T) {
		c := kafkatest.Start(t, kafkatest.Options{SASL: []string{kafkatest.Plain, kafkatest.ScramSHA256}, Users: map[string]string{onkafka.Alice: onkafka.AlicePassword}})
		f := onkafka.Defaults(c)
		f["sasl"] = []any{onkafka.Fields{"mechanism": kafkatest.ScramSHA512, "username": onkafka.Alice, "password": onkafka.AlicePassword}}
		requireNoConnection(t, f, "the broker offers PLAIN, SCRAM-SHA-256, and the field sasl has SCRAM-SHA-512")
		t.Run("but the last of them", func(t *testing.T) {
			c := c.With(t)
			f["sasl"] = []any{
				onkafka.Fields{"mechanism": kafkatest.ScramSHA512, "username": onkafka.Alice, "password": "other"},
				onkafka.Fields{"mechanism": kafkatest.OAuthBearer, "token": kafkatest.UnsecuredToken(onkafka.Alice, time.Hour)},
				onkafka.Fields{"mechanism": kafkatest.Plain, "username": onkafka.Alice, "password": onkafka.AlicePassword},
			}
			c.CreateTopic("sasl", 1, 1, nil)
			l := onkafka.NewChecker(t, "security/the last of several mechanisms")
			onkafka.Run(l, f, onkafka.Around("sasl", "a", 20))
			l.CheckTopics(c, "sasl")
		})
	})
	t.Run("SASL to a listener without", func(t *testing.T) {
		c := kafkatest.Start(t, kafkatest.Options{})
		f := onkafka.Defaults(c)
		f["sasl"] = []any{onkafka.Fields{"mechanism": kafkatest.Plain, "username": onkafka.Alice, "password": onkafka.AlicePassword}}
		requireNoConnection(t, f, "the listener is one without SASL")
	})
	t.Run("no SASL to a listener with", func(t *testing.T) {
		c := c.With(t)
		f := onkafka.As(t, c, kafkatest.Plain, onkafka.Alice, onkafka.AlicePassword)
		f["sasl"] = []any{}
		requireNoConnection(t, f, "SASL")
	})
	t.Run("expired token", func(t *testing.T) {
		c := c.With(t)
		f := onkafka.As(t, c, kafkatest.OAuthBearer, onkafka.Alice, "")
		f["sasl"] = []any{onkafka.Fields{"mechanism": kafkatest.OAuthBearer, "token": kafkatest.UnsecuredToken(onkafka.Alice, -time.Hour)}}
		requireNoConnection(t, f, "SASL mechanism OAUTHBEARER")
	})
	t.Run("unknown CA", func(t *testing.T) {
		c := c.With(t)
		f := onkafka.As(t, c, kafkatest.Plain, onkafka.Alice, onkafka.AlicePassword)
		f["tls"] = onkafka.Fields{"enabled": true}
		requireNoConnection(t, f, "certificate signed by unknown authority")
	})
	t.Run("expired certificate", func(t *testing.T) {
		c := kafkatest.Start(t, kafkatest.Options{TLS: true, ExpiredCert: true})
		f := onkafka.Defaults(c)
		f["tls"] = onkafka.Fields{"enabled": true, "root_cas_file": onkafka.PemFile(t, c.Certs().CA)}
		f["sasl"] = []any{}
		requireNoConnection(t, f, "certificate has expired")
	})
}

// requireNoConnection checks that a stream with these fields does not connect, that its
// log says why and has no secret, and that no message is acknowledged.
func requireNoConnection(t *testing.T, f onkafka.Fields, why string) {
	t.Helper()
	l := onkafka.NewChecker(t, t.Name())
	s := onkafka.StartAt(l, f, onkafka.Batches([]onkafka.Message{onkafka.Good("nowhere", "m")}), everything)
	onkafka.Eventually(t, func() bool {
		for line := range strings.Lines(s.Log.String()) {
			if strings.Contains(line, why) && strings.Contains(line, "level=ERROR") {
				return true
			}
		}
		return false
	}, "an error in the log that contains %q", why)
	s.End()
	_ = s.Built.StopWithin(time.Second) // the stream can't end: its message waits
	require.Zero(t, l.Acknowledged())
	if logins, ok := f["sasl"].([]any); ok && len(logins) > 0 {
		requireNoSecret(t, s.Log.String(), f)
	}
}
