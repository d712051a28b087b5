//go:build linux || darwin

package gateways

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/rawproduce"
)

// A gateway that encrypts makes records larger.
func TestBehindRecordEncryption(t *testing.T) {
	c := behind(t)
	g := kroxylicious(t, c, encryption)
	for n, l := range []load{
		{inFlight: 10, ignore: true},
		{inFlight: 1},
	} {
		l.topic, l.batches, l.opts = "t", 10, append(g.opts(), kgo.ProducerBatchCompression(kgo.NoCompression()))
		l.spoil = func(i int, r *kgo.Record) guard.Class {
			size := 1000
			if i%100 == 37 {
				size = 21_000
			}
			r.Value = append(r.Value, bytes.Repeat([]byte(" "), size)...)
			if size > 20_000 {
				return guard.SizeExceeded
			}
			return guard.None
		}
		t.Run(fmt.Sprintf("%d: in flight %d, topic rules ignored %t", n, l.inFlight, l.ignore), func(t *testing.T) {
			c.With(t).CreateTopic(l.topic, partitions, 1, map[string]string{"max.message.bytes": "20000"})
			l.run(t).check(t, l)
		})
	}
}

// The broker measures the encrypted batch. The simulated dialect does the same.
func TestRecordEncryptionIsTheEncryptingDialect(t *testing.T) {
	c := behind(t)
	g := kroxylicious(t, c, encryption)
	c.CreateTopic("t", 1, 1, map[string]string{"max.message.bytes": "20000"})
	fake := kafkafake.StartDialect(t, kafkafake.Encrypting(), nil)
	fake.Topic("t", 1, "max.message.bytes=20000")
	small := make([]kmsg.Record, 100)
	for i := range small {
		small[i] = rawproduce.Good()
	}
	for _, test := range []struct {
		name  string
		batch []byte
		code  *kerr.Error
	}{
		{"one record", sized(20_000 - 142), nil},
		{"one record, a byte more", sized(20_000 - 141), kerr.MessageTooLarge},
		{"100 small records", rawproduce.Batch(small...), nil},
		{"140 small records", rawproduce.Batch(append(small, small[:40]...)...), kerr.MessageTooLarge},
		{"compressed", rawproduce.Gzipped(sized(20_000 - 200)), nil},
		{"compressed, too large before", rawproduce.Gzipped(sized(30_000)), kerr.MessageTooLarge},
	} {
		for name, address := range map[string]string{"Kroxylicious": g.seeds[0], "kafkafake": fake.ListenAddrs()[0]} {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				conn, err := rawproduce.Dial(address)
				require.NoError(t, err)
				defer conn.Close()
				answers, err := conn.Produce(9, "t", [16]byte{}, rawproduce.Partition{Records: test.batch})
				require.NoError(t, err)
				require.Equal(t, test.code, codeOf(answers[0].ErrorCode))
			})
		}
	}
}

// codeOf is the error of a code, nil for none.
func codeOf(code int16) *kerr.Error {
	err, _ := kerr.ErrorForCode(code).(*kerr.Error) //nolint:errorlint // it is one
	return err
}

// sized makes a batch of one record with the given size.
func sized(size int) []byte {
	for n := size - rawproduce.HeadSize; ; n-- {
		if b := rawproduce.Batch(kmsg.Record{Key: []byte("k"), Value: make([]byte, n)}); len(b) == size {
			return b
		}
	}
}

// A gateway for many tenants translates the names of topics in all requests but
// DescribeConfigs. So it reports the configs of another topic, or of none.
func TestBehindMultitenancy(t *testing.T) {
	t.Parallel()
	c := behind(t)
	g := kroxylicious(t, c, multitenancy)
	c.CreateTopic("gateway-tenant", partitions, 1, nil)
	for _, another := range []bool{false, true} {
		if another {
			c.CreateTopic("tenant", 1, 1, map[string]string{"max.message.bytes": "600", "cleanup.policy": "compact"})
		}
		l := load{topic: "tenant", batches: 10, inFlight: 10, opts: g.opts(), spoil: func(i int, r *kgo.Record) guard.Class {
			if i%2 == 0 { // the topic of the other tenant is compacted
				r.Key = []byte("k")
			}
			r.Value = append(r.Value, bytes.Repeat([]byte(" "), 1000)...)
			return guard.None
		}}
		a := l.run(t)
		for id, v := range a.verdicts {
			require.Equal(t, guard.Delivered, v.Outcome, "message %s: %v", id, v.Err())
		}
	}
}
