//go:build linux || darwin

package kafkatest

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Admin returns a client that may do everything. It belongs to the cluster:
// don't close it.
func (c *Cluster) Admin() *kadm.Client { return c.c.admin }

// ClientOpts returns what a client needs to connect to the client listener:
// seeds, TLS, and the first mechanism of Options.SASL as the given user. Leave
// the user empty to connect without authentication.
func (c *Cluster) ClientOpts(user string) []kgo.Opt {
	c.tb.Helper()
	if user == "" {
		return c.clientOpts()
	}
	if len(c.c.opts.SASL) == 0 {
		c.tb.Fatalf("kafkatest: user %q on a cluster without SASL", user)
	}
	return c.ClientOptsWith(c.c.opts.SASL[0], user)
}

// ClientOptsWith is ClientOpts with another mechanism of Options.SASL.
func (c *Cluster) ClientOptsWith(mechanism, user string) []kgo.Opt {
	c.tb.Helper()
	return append(c.clientOpts(), kgo.SASL(c.mechanism(mechanism, user)))
}

func (c *Cluster) clientOpts() []kgo.Opt {
	c.tb.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers()...)}
	if c.c.opts.TLS {
		opts = append(opts, kgo.DialTLSConfig(c.TLSConfig()))
	}
	return opts
}

func (c *Cluster) mechanism(mechanism, user string) sasl.Mechanism {
	c.tb.Helper()
	o := c.c.opts
	password, known := o.Users[user]
	if !slices.Contains(o.SASL, mechanism) || !known && mechanism != OAuthBearer {
		c.tb.Fatalf("kafkatest: no %s user %q in Options", mechanism, user)
	}
	switch mechanism {
	case Plain:
		return plain.Auth{User: user, Pass: password}.AsMechanism()
	case ScramSHA256:
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	case ScramSHA512:
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
	}
	return oauth.Oauth(func(context.Context) (oauth.Auth, error) {
		return oauth.Auth{Token: UnsecuredToken(user, time.Hour)}, nil
	})
}

// UnsecuredToken makes the OAUTHBEARER token of a user: a JWT without a
// signature, which only the unsecured validator takes. With a negative
// lifetime it is expired.
func UnsecuredToken(user string, lifetime time.Duration) string {
	now := time.Now()
	encode := func(v any) string {
		b, _ := json.Marshal(v) // maps of strings and numbers only
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return encode(map[string]string{"alg": "none"}) + "." + encode(map[string]any{
		"sub": user,
		"iat": now.Add(min(0, 2*lifetime)).Unix(),
		"exp": now.Add(lifetime).Unix(),
	}) + "."
}

// Certs returns what a client of the TLS listener needs, in PEM.
func (c *Cluster) Certs() Certs {
	c.tb.Helper()
	if c.c.certs == nil {
		c.tb.Fatalf("kafkatest: certificates of a cluster without Options.TLS")
	}
	return *c.c.certs
}

// TLSConfig returns a configuration that trusts the cluster's CA and shows the
// client certificate.
func (c *Cluster) TLSConfig() *tls.Config {
	c.tb.Helper()
	certs := c.Certs()
	cfg, err := certs.tlsConfig()
	c.must(err, "making the TLS configuration")
	return cfg
}
