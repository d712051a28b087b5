//go:build linux || darwin

package gateways

import (
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

// A gateway that checks content rejects a whole request for one record. The other
// records are delivered all the same.
func TestBehindRecordValidation(t *testing.T) {
	t.Parallel()
	c := behind(t)
	g := kroxylicious(t, c, validation)
	bad := func(i int, r *kgo.Record) guard.Class {
		if i%100 != 37 {
			return guard.None
		}
		r.Value = []byte("no JSON")
		return guard.InvalidRecord
	}
	for n, l := range []load{
		{inFlight: 1, ignore: true, spoil: bad},
		{inFlight: 10, spoil: bad},
		{inFlight: 10},
	} {
		l.topic, l.batches, l.opts = fmt.Sprintf("valid-%d", n), 20, g.opts()
		t.Run(fmt.Sprintf("in flight %d, topic rules ignored %t, clean %t", l.inFlight, l.ignore, l.spoil == nil), func(t *testing.T) {
			c.With(t).CreateTopic(l.topic, partitions, 1, nil)
			l.run(t).check(t, l)
		})
	}
	t.Run("the gateway is killed", func(t *testing.T) {
		l := load{topic: "valid-killed", batches: 40, inFlight: 10, opts: g.opts(), spoil: bad, halfway: func() {
			g.Kill()
			g.start()
		}}
		c.With(t).CreateTopic(l.topic, partitions, 1, nil)
		l.run(t).check(t, l)
	})
}

// The simulated dialects of the gateway answer as the gateway does.
func TestRecordValidationIsTheGatewayDialect(t *testing.T) {
	t.Parallel()
	const topic = "valid-answers"
	c := behind(t)
	g := kroxylicious(t, c, validation)
	c.CreateTopic(topic, partitions, 1, nil)
	fake := kafkafake.StartDialect(t, kafkafake.Gateway(), nil)
	fake.Topic(topic, partitions)

	good, noJSON := kmsg.Record{Value: []byte(`{"good":1}`)}, kmsg.Record{Value: []byte(kafkafake.Mark)}
	want := []string{
		"INVALID_RECORD at 0, named [], text true",
		"INVALID_RECORD at 0, named [1], text true",
		"INVALID_RECORD at 0, named [], text true",
	}
	for name, address := range map[string]string{"Kroxylicious": g.seeds[0], "kafkafake": fake.ListenAddrs()[0]} {
		conn, err := rawproduce.Dial(address)
		require.NoError(t, err)
		defer conn.Close()
		id, err := conn.NewProducer()
		require.NoError(t, err)
		// The bootstrap port leads to the only node.
		answers, err := conn.Produce(9, topic, [16]byte{},
			rawproduce.Partition{Partition: 0, Records: rawproduce.Numbered(rawproduce.Batch(good), id, 0, 0)},
			rawproduce.Partition{Partition: 1, Records: rawproduce.Numbered(rawproduce.Batch(good, noJSON), id, 0, 0)},
			rawproduce.Partition{Partition: 2, Records: rawproduce.Batch(good)})
		require.NoError(t, err)
		said := make([]string, partitions)
		for _, a := range answers {
			named := []int32{}
			for _, r := range a.ErrorRecords {
				named = append(named, r.RelativeOffset)
			}
			code, _ := kerr.ErrorForCode(a.ErrorCode).(*kerr.Error) //nolint:errorlint // it is one
			require.NotNil(t, code, name)
			said[a.Partition] = fmt.Sprintf("%s at %d, named %v, text %t", code.Message, a.BaseOffset, named, a.ErrorMessage != nil)
		}
		require.Equal(t, want, said, name)

		// The rejected batch did not reach the broker, so the broker still expects its
		// number.
		for _, next := range []struct {
			sequence int32
			code     int16
		}{{0, 0}, {2, kerr.OutOfOrderSequenceNumber.Code}, {1, 0}} {
			answers, err := conn.Produce(9, topic, [16]byte{}, rawproduce.Partition{Partition: 1, Records: rawproduce.Numbered(rawproduce.Batch(good), id, 0, next.sequence)})
			require.NoError(t, err)
			require.Equal(t, next.code, answers[0].ErrorCode, "%s, sequence %d", name, next.sequence)
		}
	}
}
