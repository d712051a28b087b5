package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

func TestConnectionsThatFailAreCountedByReason(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", "secret"))
	refuseAuthentication(c)
	broker := c.ListenAddrs()[0]
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	closed := freeport.Addr(t)
	web, secure := httptest.NewServer(nil), httptest.NewTLSServer(nil)
	t.Cleanup(web.Close)
	t.Cleanup(secure.Close)
	for _, test := range []struct {
		name, seed string
		lines      []string
		want       string
	}{
		{"wrong password", broker, []string{"sasl: [ { mechanism: PLAIN, username: alice, password: wrong } ]"}, "credentials"},
		{"no listener", closed, nil, "no_listener"},
		// No host answers within a nanosecond.
		{"no route", broker, []string{"tcp: { connect_timeout: 1ns }"}, "no_route"},
		{"no such host", "kafka.invalid:9092", nil, "unknown_host"},
		{"no answer to the handshake", silent.Addr().String(), []string{"tls: { enabled: true }", "tcp: { connect_timeout: 2s }"}, "tls"},
		{"another answer to the handshake", web.Listener.Addr().String(), []string{"tls: { enabled: true }"}, "tls"},
		{"a certificate of an authority that is not known", secure.Listener.Addr().String(), []string{"tls: { enabled: true }"}, "tls"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newCounted()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s := &streamtest.Stream{Config: streamtest.Config{Metrics: m}, Batches: [][]string{{"a"}}, Enough: 1, EnoughOf: "Failed to connect to kafka_guarded"}
			yaml := "kafka_guarded:" + streamtest.Indent("seed_brokers: [ '"+test.seed+"' ]\ntopic: t\ndead_letter: { drop: {} }", 2)
			for _, line := range test.lines {
				yaml += "  " + line + "\n"
			}
			require.False(t, s.Run(t, ctx, yaml))
			require.Positive(t, m.own()["kafka_guarded_connection_failed{reason="+test.want+"}"], "%v\n%s", m.own(), s.Log)
			require.Len(t, m.own(), 1)
			require.Equal(t, test.seed == secure.Listener.Addr().String(), s.Log.Count("its certificate goes into tls.root_cas_file") > 0)
		})
	}
}

func TestTheReasonOfADialThatFails(t *testing.T) {
	t.Parallel()
	dial := func(err error) error { return fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: err}) }
	for want, errs := range map[connectReason][]error{
		reasonNoListener:  {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED))},
		reasonNoRoute:     {dial(syscall.EHOSTUNREACH), dial(syscall.ENETUNREACH), context.DeadlineExceeded, dial(os.ErrDeadlineExceeded)},
		reasonUnknownHost: {dial(&net.DNSError{Err: "no such host", IsNotFound: true})},
		reasonTLS:         {handshakeError{context.DeadlineExceeded}, fmt.Errorf("dial: %w", handshakeError{io.EOF})},
		reasonOther:       {errors.New("something else"), dial(syscall.EACCES)},
	} {
		for _, err := range errs {
			require.Equal(t, want, dialReason(err), "%v", err)
		}
	}
}
