package output

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/redpanda-data/benthos/v4/public/utils/netutil"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialTimeout is how long a connection may take to be there, with TLS, if the
// field tcp.connect_timeout says nothing else. It is kgo's own, which a dialer of
// ours would be without.
const dialTimeout = 10 * time.Second

// dialer opens the connections.
type dialer struct {
	open    dialFunc
	timeout time.Duration
}

func newDialer(conf *service.ParsedConfig) (*dialer, error) {
	tlsConf, enabled, err := conf.FieldTLSToggled(fieldTLS)
	if err != nil {
		return nil, err
	}
	tcp := &net.Dialer{}
	if conf.Contains(fieldTCP) {
		c, err := netutil.DialerConfigFromParsed(conf.Namespace(fieldTCP))
		if err != nil {
			return nil, err
		}
		if err := netutil.DecorateDialer(tcp, c); err != nil {
			return nil, err
		}
	}
	d := &dialer{open: tcp.DialContext, timeout: tcp.Timeout}
	if d.timeout == 0 {
		d.timeout = dialTimeout
	}
	if enabled {
		d.open = (&tls.Dialer{NetDialer: tcp, Config: tlsConf}).DialContext
	}
	return d, nil
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	return d.open(ctx, network, address)
}
