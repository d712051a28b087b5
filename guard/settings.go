package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/wire"
)

// settings are those of the caller's kgo options that guard goes by.
type settings struct {
	dial               wire.Dial
	idempotent         bool
	defaultTopic       string
	defaultTopicAlways bool
	partitioner        kgo.Partitioner
	maxBufferedRecords int
	maxBufferedBytes   int // 0: no limit
	maxRequestBytes    int
	answers            bool           // acks other than none
	compressor         kgo.Compressor // nil: none
	codec              string         // its name in Kafka's compression.type
	logger             kgo.Logger     // may be nil
}

// readSettings reads the options by way of a client that never connects.
func readSettings(opts []kgo.Opt) (settings, error) {
	probe, err := kgo.NewClient(opts...)
	if err != nil {
		return settings{}, err
	}
	defer probe.Close()
	if probe.OptValue(kgo.TransactionalID) != "" {
		return settings{}, errors.New("a transactional ID is set: guard does not write in transactions")
	}
	if probe.OptValue(kgo.ManualFlushing) == true {
		return settings{}, errors.New("manual flushing is set: guard flushes by itself")
	}
	s := settings{
		idempotent:         probe.OptValue(kgo.DisableIdempotentWrite) == false,
		defaultTopic:       probe.OptValue(kgo.DefaultProduceTopic).(string),
		defaultTopicAlways: probe.OptValue(kgo.DefaultProduceTopicAlways) == true,
		partitioner:        probe.OptValue(kgo.RecordPartitioner).(kgo.Partitioner),
		maxBufferedRecords: int(probe.OptValue(kgo.MaxBufferedRecords).(int64)),
		maxBufferedBytes:   int(probe.OptValue(kgo.MaxBufferedBytes).(int64)),
		maxRequestBytes:    int(probe.OptValue(kgo.BrokerMaxWriteBytes).(int32)),
		answers:            probe.OptValue(kgo.RequiredAcks) != kgo.NoAck(),
	}
	s.compressor, _ = probe.OptValue(kgo.WithCompressor).(kgo.Compressor)
	s.codec = codecOf(s.compressor)
	s.logger, _ = probe.OptValue(kgo.WithLogger).(kgo.Logger)
	// The dialer is where the options for TLS and dial time-outs end up.
	switch dial := probe.OptValue(kgo.Dialer).(type) {
	case func(context.Context, string, string) (net.Conn, error):
		s.dial = dial
	default:
		return settings{}, fmt.Errorf("reading the client's dialer: it is a %T", dial)
	}
	return s, nil
}

// codecOf returns the name of a compressor's codec, by what it makes of something
// that any codec makes smaller.
func codecOf(c kgo.Compressor) string {
	if c == nil {
		return "uncompressed"
	}
	var dst bytes.Buffer
	_, codec := c.Compress(&dst, make([]byte, 4096))
	switch codec {
	case kgo.CodecGzip:
		return "gzip"
	case kgo.CodecSnappy:
		return "snappy"
	case kgo.CodecLz4:
		return "lz4"
	case kgo.CodecZstd:
		return "zstd"
	default:
		return "uncompressed"
	}
}

// quietLogger leaves out what kgo complains of because the connection took it out
// of a request: it is never in the answer, and kgo sends it again if it has to.
type quietLogger struct{ kgo.Logger }

func (l quietLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	const missing = "broker did not reply to all topics / partitions in the produce request! reenqueuing missing partitions"
	if msg != missing {
		l.Logger.Log(level, msg, keyvals...)
	}
}
