package kafkafake

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ask sends a request over a connection, and returns the error code that its answer begins
// with.
func ask(c net.Conn, req kmsg.Request) (code int16, err error) {
	if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		return 0, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return 0, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, answer); err != nil {
		return 0, err
	}
	at := 4
	if req.IsFlexible() {
		at++
	}
	return int16(binary.BigEndian.Uint16(answer[at:])), nil
}

// TestASessionHasToBeRenewed holds the encrypted network and SASL sessions (KIP-368).
func TestASessionHasToBeRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Second) }) // last, for what is under way
		n := &Network{Latency: time.Millisecond, TLS: true}
		c := StartDialect(t, Dialect{Session: 10 * time.Second}, n)
		c.Topic("t", 1)

		conn, err := n.Dial(t.Context(), "tcp", c.ListenAddrs()[0])
		require.NoError(t, err)
		defer conn.Close()
		handshake, login := kmsg.NewPtrSASLHandshakeRequest(), kmsg.NewPtrSASLAuthenticateRequest()
		handshake.Version, handshake.Mechanism = 1, "PLAIN"
		login.Version, login.SASLAuthBytes = 2, []byte("\x00producer\x00secret")
		init := kmsg.NewPtrInitProducerIDRequest()
		init.Version, init.TransactionTimeoutMillis = 1, 1000
		for range 2 {
			code, err := ask(conn, handshake)
			require.NoError(t, err)
			require.Zero(t, code)
			code, err = ask(conn, login)
			require.NoError(t, err)
			require.Zero(t, code)
			time.Sleep(9 * time.Second)
			_, err = ask(conn, init)
			require.NoError(t, err)
		}
		time.Sleep(2 * time.Second)
		_, err = ask(conn, init)
		require.Error(t, err, "the session has ended")

		cl, err := kgo.NewClient(append(c.Opts(), kgo.DefaultProduceTopic("t"))...)
		require.NoError(t, err)
		defer cl.Close()
		logins := c.Count(kmsg.SASLAuthenticate)
		require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord("first")).FirstErr())
		dialed, first := n.Dialed(), logins.Hits()
		time.Sleep(15 * time.Second) // kgo closes what is idle for 20
		require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord("second")).FirstErr())
		require.Equal(t, dialed, n.Dialed(), "kgo renews the session of a connection")
		require.Greater(t, logins.Hits(), first)
		require.Len(t, c.Log("t"), 2)
	})
}

func TestTheWireHasEachAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Second) }) // last, for what is under way
		n := &Network{Latency: time.Millisecond, TLS: true}
		c := StartDialect(t, Kafka(), n)
		c.Topic("t", 2)
		broker := &Wire{ID: func(value []byte) string { return string(value) }}
		c.Note(broker)
		w := &Wire{ID: func(value []byte) string { return string(value) }}
		cl, err := kgo.NewClient(append(c.Opts(), kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.SnappyCompression()), kgo.Dialer(w.Dialer(n.Dial)))...)
		require.NoError(t, err)
		defer cl.Close()
		c.AddFault(Fault{Do: DisconnectAfter})
		c.AddFault(Fault{Do: Refuse, Code: kerr.NotEnoughReplicas, Skip: 1, Partitions: []int32{1}})
		began := time.Now()
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Value: []byte("a")}, &kgo.Record{Value: []byte("b"), Partition: 1}, &kgo.Record{Value: []byte("c"), Partition: 1}).FirstErr())
		codes := map[string][]int16{}
		for _, id := range []string{"a", "b", "c", "d"} {
			for _, a := range w.Attempts(id) {
				require.False(t, a.Sent.Before(began))
				code := int16(-2) // no answer
				if !a.Answered.IsZero() {
					require.Equal(t, 2*time.Millisecond, a.Answered.Sub(a.Sent))
					code = a.Code
				}
				codes[id] = append(codes[id], code)
			}
		}
		require.Equal(t, map[string][]int16{"a": {-2, 0}, "b": {-2, kerr.NotEnoughReplicas.Code, 0}, "c": {-2, kerr.NotEnoughReplicas.Code, 0}}, codes)
		require.Equal(t, 3, w.Requests())
		require.Equal(t, 3, broker.Requests())
		c.AddFault(Fault{Do: Refuse, Code: kerr.NotEnoughReplicas})
		require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord("d")).FirstErr())
		for _, end := range []*Wire{w, broker} {
			require.True(t, end.InDoubt("a", time.Now()))
			require.False(t, end.InDoubt("d", time.Now()), "it was answered")
			require.True(t, end.InDoubt("d", began), "not yet")
			require.True(t, end.Rejected("d", kerr.NotEnoughReplicas), "alone")
			require.False(t, end.Rejected("b", kerr.NotEnoughReplicas), "it was not alone")
		}
		c.AddFault(Fault{Do: DisconnectAfter})
		require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord("e")).FirstErr())
		require.False(t, w.InDoubt("d", time.Now()), "the client has read the answer")
		require.True(t, broker.InDoubt("d", time.Now()), "the client may not have read the answer")
	})
}
