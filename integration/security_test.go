//go:build linux || darwin

package integration

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
	"github.com/kafka-guarded/kafka-guarded/internal/proxytest"
)

// everything is the level at which nothing is left out of a log.
const everything = slog.Level(-100)

func TestEveryMechanismDelivers(t *testing.T) {
	c := secured(t)
	for _, mechanism := range []string{kafkatest.Plain, kafkatest.ScramSHA256, kafkatest.ScramSHA512, kafkatest.OAuthBearer} {
		t.Run(mechanism, func(t *testing.T) {
			c := c.With(t)
			c.CreateTopic("sasl", 1, 1, nil)
			mayWrite(c, alice, "sasl")
			l := newLedger(t, "security/"+mechanism)
			f := as(t, c, mechanism, alice, alicePassword)
			s := startAt(l, f, batches(around("sasl", "a", 20, good("sasl", "huge").padded(2<<20, noise).bad(sizeExceeded))), everything)
			s.wait()
			l.check(c, "sasl")
			requireNoSecret(t, s.log.String(), f)
		})
	}
}

// requireNoSecret checks that the log has no password and no token in it.
func requireNoSecret(t *testing.T, log string, f fields) {
	t.Helper()
	require.NotEmpty(t, log)
	for _, login := range f["sasl"].([]any) {
		for _, field := range []string{"password", "token"} {
			secret, _ := login.(fields)[field].(string)
			if secret == "" {
				continue
			}
			require.NotContains(t, log, secret, "the %s is in the log", field)
			require.NotContains(t, log, base64.StdEncoding.EncodeToString([]byte(secret)))
		}
	}
}

func TestClientCertificatesDeliver(t *testing.T) {
	skipShort(t)
	c := kafkatest.Start(t, kafkatest.Options{TLS: true, TLSClientAuth: true, ACLs: true})
	c.CreateTopic("certified", 1, 1, nil)
	c.Grant(kafkatest.ClientCertPrincipal, kadm.OpWrite, kafkatest.TopicResource("certified"))
	certs := c.Certs()
	f := defaults(c)
	f["tls"] = fields{
		"enabled":       true,
		"root_cas_file": pemFile(t, certs.CA),
		"client_certs":  []any{fields{"cert_file": pemFile(t, certs.ClientCert), "key_file": pemFile(t, certs.ClientKey)}},
	}
	l := newLedger(t, "security/client certificate")
	run(l, f, around("certified", "a", 20))
	l.check(c, "certified")

	t.Run("without one it is said", func(t *testing.T) {
		c := c.With(t)
		f := defaults(c)
		f["tls"] = fields{"enabled": true, "root_cas_file": pemFile(t, certs.CA)}
		requireNoConnection(t, f, "remote error: tls:")
	})
}

// A certificate that has expired keeps the broker from taking connections. It is
// renewed on disk, as cert-manager and the like do.
func TestAClientCertificateIsRenewedOnDisk(t *testing.T) {
	skipShort(t)
	p, err := proxytest.New()
	require.NoError(t, err)
	c := kafkatest.Start(t, kafkatest.Options{TLS: true, TLSClientAuth: true, ACLs: true, AdvertisedPorts: map[int]int{1: p.Port()}})
	p.Connect(c.ClientAddr(1))
	c.CreateTopic("certified", 3, 1, nil)
	c.Grant(kafkatest.ClientCertPrincipal, kadm.OpWrite, kafkatest.TopicResource("certified"))
	certs := c.Certs()
	certFile, keyFile := pemFile(t, nil), pemFile(t, nil)
	issue := func(until time.Time) {
		cert, key, err := certs.Issue(until)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(certFile, cert, 0o600))
		require.NoError(t, os.WriteFile(keyFile, key, 0o600))
	}
	expiry := time.Now().Add(5 * time.Second).Truncate(time.Second)
	issue(expiry)
	l := newLedger(t, "security/client certificate renewed on disk")
	next := make(chan []message, 100)
	s := start(l, defaults(c).with(fields{"max_in_flight": 10, "tls": fields{
		"enabled":       true,
		"root_cas_file": pemFile(t, certs.CA),
		"client_certs":  []any{fields{"cert_file": certFile, "key_file": keyFile}},
	}}), channel(next))
	next <- around("certified", "before", 50)
	eventually(t, func() bool { return l.acknowledged() == 1 }, "the batch before")
	time.Sleep(time.Until(expiry.Add(time.Second)))
	p.Cut() // nothing is under way
	p.Connect(c.ClientAddr(1))
	for b := range 9 {
		next <- around("certified", fmt.Sprint("expired-", b), 50)
	}
	time.Sleep(5 * time.Second)
	require.Equal(t, 1, l.acknowledged(), "with an expired certificate")
	issue(time.Now().Add(time.Hour))
	close(next)
	s.wait()
	l.check(c, "certified")
}

func TestAFailureToConnectSaysWhy(t *testing.T) {
	c := secured(t)
	const wrong = "wrong-31c9ab"
	for _, mechanism := range []string{kafkatest.Plain, kafkatest.ScramSHA256, kafkatest.ScramSHA512} {
		t.Run("wrong password, "+mechanism, func(t *testing.T) {
			c := c.With(t)
			requireNoConnection(t, as(t, c, mechanism, alice, wrong), "SASL mechanism "+mechanism+": check the credentials")
		})
	}
	t.Run("mechanisms that the broker does not offer", func(t *testing.T) {
		c := kafkatest.Start(t, kafkatest.Options{SASL: []string{kafkatest.Plain, kafkatest.ScramSHA256}, Users: map[string]string{alice: alicePassword}})
		f := defaults(c)
		f["sasl"] = []any{fields{"mechanism": kafkatest.ScramSHA512, "username": alice, "password": alicePassword}}
		requireNoConnection(t, f, "the broker offers PLAIN, SCRAM-SHA-256, and the field sasl has SCRAM-SHA-512")
		t.Run("but the last of them", func(t *testing.T) {
			c := c.With(t)
			f["sasl"] = []any{
				fields{"mechanism": kafkatest.ScramSHA512, "username": alice, "password": "other"},
				fields{"mechanism": kafkatest.OAuthBearer, "token": kafkatest.UnsecuredToken(alice, time.Hour)},
				fields{"mechanism": kafkatest.Plain, "username": alice, "password": alicePassword},
			}
			c.CreateTopic("sasl", 1, 1, nil)
			l := newLedger(t, "security/the last of several mechanisms")
			run(l, f, around("sasl", "a", 20))
			l.check(c, "sasl")
		})
	})
	t.Run("SASL to a listener without", func(t *testing.T) {
		c := kafkatest.Start(t, kafkatest.Options{})
		f := defaults(c)
		f["sasl"] = []any{fields{"mechanism": kafkatest.Plain, "username": alice, "password": alicePassword}}
		requireNoConnection(t, f, "the listener is one without SASL")
	})
	t.Run("no SASL to a listener with", func(t *testing.T) {
		c := c.With(t)
		f := as(t, c, kafkatest.Plain, alice, alicePassword)
		f["sasl"] = []any{}
		requireNoConnection(t, f, "SASL")
	})
	t.Run("expired token", func(t *testing.T) {
		c := c.With(t)
		f := as(t, c, kafkatest.OAuthBearer, alice, "")
		f["sasl"] = []any{fields{"mechanism": kafkatest.OAuthBearer, "token": kafkatest.UnsecuredToken(alice, -time.Hour)}}
		requireNoConnection(t, f, "SASL mechanism OAUTHBEARER")
	})
	t.Run("unknown CA", func(t *testing.T) {
		c := c.With(t)
		f := as(t, c, kafkatest.Plain, alice, alicePassword)
		f["tls"] = fields{"enabled": true}
		requireNoConnection(t, f, "certificate signed by unknown authority")
	})
	t.Run("expired certificate", func(t *testing.T) {
		c := kafkatest.Start(t, kafkatest.Options{TLS: true, ExpiredCert: true})
		f := defaults(c)
		f["tls"] = fields{"enabled": true, "root_cas_file": pemFile(t, c.Certs().CA)}
		f["sasl"] = []any{}
		requireNoConnection(t, f, "certificate has expired")
	})
}

// requireNoConnection checks that a stream with these fields does not connect,
// that it says so in a line of its log which contains why, that it says nothing
// secret, and that no message is done with.
func requireNoConnection(t *testing.T, f fields, why string) {
	t.Helper()
	l := newLedger(t, t.Name())
	s := startAt(l, f, batches([]message{good("nowhere", "m")}), everything)
	eventually(t, func() bool {
		for line := range strings.Lines(s.log.String()) {
			if strings.Contains(line, why) && strings.Contains(line, "level=ERROR") {
				return true
			}
		}
		return false
	}, "an error in the log that contains %q", why)
	s.end()
	_ = s.built.StopWithin(time.Second)
	require.Zero(t, l.acknowledged())
	if logins, ok := f["sasl"].([]any); ok && len(logins) > 0 {
		requireNoSecret(t, s.log.String(), f)
	}
}
