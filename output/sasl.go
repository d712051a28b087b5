package output

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
)

// mechanisms is the one SASL mechanism that the Kafka client gets. It stands for all
// configured mechanisms, and uses one that the brokers offer.
//
// kgo itself would try one after the other on the same connection. But Apache Kafka
// closes the connection when it rejects the first one. So mechanisms reads the answers
// on the connection. A broker that rejects a mechanism lists those that it offers, and
// the next connection uses the first of these. A connection that is opened at that
// moment may fail, and is opened again.
type mechanisms struct {
	all []sasl.Mechanism // in order of preference

	mu      sync.Mutex
	current sasl.Mechanism
	offered []string // by the broker that rejected the last mechanism
}

// newMechanisms returns nil if there are none.
func newMechanisms(all []sasl.Mechanism) *mechanisms {
	if len(all) == 0 {
		return nil
	}
	return &mechanisms{all: all, current: all[0]}
}

func (m *mechanisms) names() []string {
	if m == nil {
		return nil
	}
	var names []string
	for _, one := range m.all {
		names = append(names, one.Name())
	}
	return names
}

func (m *mechanisms) use() sasl.Mechanism {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

// Name implements sasl.Mechanism.
func (m *mechanisms) Name() string { return m.use().Name() }

// Authenticate implements sasl.Mechanism. Its errors name the mechanism, since the text
// for a rejected OAUTHBEARER token says only that the answer was unexpected.
func (m *mechanisms) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	one := m.use()
	session, write, err := one.Authenticate(ctx, host)
	return namedSession{session, one.Name()}, write, nameMechanism(one.Name(), err)
}

type namedSession struct {
	sasl.Session
	name string
}

func (s namedSession) Challenge(answer []byte) (bool, []byte, error) {
	done, write, err := s.Session.Challenge(answer)
	return done, write, nameMechanism(s.name, err)
}

func nameMechanism(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("authenticating with SASL mechanism %s: check the credentials: %w", name, err)
}

// refused chooses the mechanism for the next connection: the first configured one that
// the broker offers.
func (m *mechanisms) refused(offered []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offered = offered
	for _, one := range m.all {
		if slices.Contains(offered, one.Name()) {
			m.current = one
			return
		}
	}
}

// explain adds to the error of a rejected authentication which mechanisms were tried,
// and what to do.
func (m *mechanisms) explain(err error) error {
	if m == nil {
		return err
	}
	switch {
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		m.mu.Lock()
		defer m.mu.Unlock()
		return fmt.Errorf("the broker offers %s, and the field %s has %s: %w", strings.Join(m.offered, ", "), fieldSASL, strings.Join(m.names(), ", "), err)
	case errors.Is(err, kerr.IllegalSaslState):
		return fmt.Errorf("the listener is one without SASL: leave out the field %s, or name a listener with SASL in %s: %w", fieldSASL, fieldSeedBrokers, err)
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return nameMechanism(m.Name(), err)
	}
	return err
}

// listen wraps connections, to read which mechanisms a broker offers.
func (m *mechanisms) listen(dial dialFunc) dialFunc {
	if m == nil {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &handshakeConn{Conn: conn, refused: m.refused}, nil
	}
}

// handshakeConn listens to the SASL handshake of a connection. kgo writes each
// request with one Write, and until the handshake is done waits for the answer
// before it writes the next.
type handshakeConn struct {
	net.Conn
	refused func(offered []string)

	state  handshakeState
	answer []byte // the part that was read
}

type handshakeState int

const (
	handshakeToCome handshakeState = iota
	handshakeAsked
	handshakeDone
)

func (c *handshakeConn) Write(request []byte) (int, error) {
	// A request begins with its length in four bytes and its key in two.
	if c.state == handshakeToCome && len(request) >= 6 {
		switch kmsg.Key(binary.BigEndian.Uint16(request[4:])) {
		case kmsg.ApiVersions: // it comes before the handshake
		case kmsg.SASLHandshake:
			c.state = handshakeAsked
		default:
			c.state = handshakeDone
		}
	}
	return c.Conn.Write(request)
}

func (c *handshakeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.state == handshakeAsked {
		c.hear(b[:n])
	}
	return n, err
}

// hear reads a part of the answer to the handshake. The answer has four bytes with its
// length, four with the number of its request, and the content.
func (c *handshakeConn) hear(part []byte) {
	c.answer = append(c.answer, part...)
	if len(c.answer) < 4 {
		return
	}
	end := 4 + int(binary.BigEndian.Uint32(c.answer))
	if len(c.answer) < end {
		return
	}
	said := kmsg.NewPtrSASLHandshakeResponse()
	if end >= 8 && said.ReadFrom(c.answer[8:end]) == nil && said.ErrorCode == kerr.UnsupportedSaslMechanism.Code {
		c.refused(said.SupportedMechanisms)
	}
	c.state, c.answer = handshakeDone, nil
}
