package output

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kerr"
)

// connectReason is why a connection could not be made.
type connectReason string

// The reasons. Each calls for another remedy.
const (
	reasonCredentials connectReason = "credentials"  // the broker refuses user, password, token or mechanism
	reasonNoListener  connectReason = "no_listener"  // nothing listens at the address
	reasonNoRoute     connectReason = "no_route"     // no answer in time, or no way there
	reasonUnknownHost connectReason = "unknown_host" // DNS does not know the name
	reasonTLS         connectReason = "tls"          // the handshake failed: the certificate is not trusted, or the listener has no TLS
	reasonOther       connectReason = "other"
)

var connectReasons = []connectReason{reasonCredentials, reasonNoListener, reasonNoRoute, reasonUnknownHost, reasonTLS, reasonOther}

// dialReason returns why a connection could not be opened.
func dialReason(err error) connectReason {
	var (
		dns     *net.DNSError
		secure  handshakeError
		timeout net.Error
	)
	switch {
	case errors.As(err, &secure):
		return reasonTLS
	case errors.As(err, &dns):
		return reasonUnknownHost
	case errors.Is(err, syscall.ECONNREFUSED):
		return reasonNoListener
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return reasonNoRoute
	}
	return reasonOther
}

// refusesCredentials reports whether a broker answered, but does not take the credentials.
func refusesCredentials(err error) bool {
	return errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.UnsupportedSaslMechanism) || errors.Is(err, kerr.IllegalSaslState)
}

// connectFailures counts connections that could not be made. The metric exists as soon
// as the output does.
type connectFailures struct{ metric *service.MetricCounter }

func (f *connectFailures) add(reason connectReason) {
	if f != nil && f.metric != nil {
		f.metric.Incr(1, string(reason))
	}
}

// counted counts failed dials, except those that the caller gave up.
func (f *connectFailures) counted(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil && !errors.Is(err, context.Canceled) {
			f.add(dialReason(err))
		}
		return conn, err
	}
}
