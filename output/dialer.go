package output

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/utils/netutil"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialTimeout is how long opening a connection may take, with TLS, unless the field
// tcp.connect_timeout is set. It is kgo's own default, which kgo applies only to its
// own dialer.
const dialTimeout = 10 * time.Second

// dialer opens the connections.
type dialer struct {
	open    dialFunc
	timeout time.Duration
}

func (p *parser) dialer() *dialer {
	d := &dialer{timeout: dialTimeout}
	tcp := &net.Dialer{}
	if p.has(fieldTCP) {
		in := p.in(fieldTCP)
		if timeout := in.orZero("connect_timeout"); timeout > 0 {
			d.timeout = timeout
		}
		in.orZero("tcp_user_timeout")
		if p.found.none() {
			c := parse(p, fieldTCP, func(...string) (netutil.DialerConfig, error) { return netutil.DialerConfigFromParsed(in.conf) })
			if err := netutil.DecorateDialer(tcp, c); err != nil {
				p.fail(fieldTCP, "can't be used: %v", err)
			}
		}
	}
	d.open = tcp.DialContext
	if conf := p.tls(); conf != nil {
		d.open = p.renewed(conf, tcp)
	}
	return d
}

// renewed dials with the certificates and keys that the files have now, so that
// renewed ones need no restart. If they can't be used, for example while they are
// being written, it uses the previous ones.
func (p *parser) renewed(conf *tls.Config, tcp *net.Dialer) dialFunc {
	var latest atomic.Pointer[tls.Config]
	latest.Store(conf)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		files := newParser(p.conf)
		if now := files.tls(); files.found.none() {
			latest.Store(now)
		}
		conn, err := tcp.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return handshake(ctx, conn, latest.Load(), address)
	}
}

// handshakeError is a TLS handshake that failed, in whatever way: a listener without
// TLS closes the connection, or says nothing.
type handshakeError struct{ error }

func (e handshakeError) Error() string {
	advice := ""
	if errors.As(e.error, new(x509.UnknownAuthorityError)) {
		advice = " (its certificate goes into " + fieldTLS + ".root_cas_file)"
	}
	return "TLS handshake: " + e.error.Error() + advice
}

func (e handshakeError) Unwrap() error { return e.error }

// handshake does what tls.Dialer does after it connected. tls.Dialer itself does not
// tell a failed connection from a failed handshake.
func handshake(ctx context.Context, conn net.Conn, conf *tls.Config, address string) (net.Conn, error) {
	if conf.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address
		}
		conf = conf.Clone()
		conf.ServerName = host
	}
	secure := tls.Client(conn, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, handshakeError{err}
	}
	return secure, nil
}

// tls returns nil if TLS is not enabled. A certificate file without certificates is a
// mistake: Benthos takes it, and then no broker is trusted.
func (p *parser) tls() *tls.Config {
	in := p.in(fieldTLS)
	if !in.bool("enabled") {
		return nil
	}
	certificates := func(field string, pem []byte) {
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			in.fail(field, "has no certificate in PEM (-----BEGIN CERTIFICATE-----)")
		}
	}
	if text := in.string("root_cas"); text != "" {
		certificates("root_cas", []byte(text))
	}
	if path := in.string("root_cas_file"); path != "" {
		if pem, err := os.ReadFile(path); err != nil {
			in.fail("root_cas_file", "can't be read: %v", err)
		} else {
			certificates("root_cas_file", pem)
		}
	}
	if !in.fine("root_cas", "root_cas_file") {
		return nil
	}
	conf, _, err := p.conf.FieldTLSToggled(fieldTLS)
	if err != nil {
		p.fail(fieldTLS, "can't be used: %v", err)
	}
	return conf
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	return d.open(ctx, network, address)
}
